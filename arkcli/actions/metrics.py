"""The queue in Prometheus's text format (version 0.0.4), for node_exporter's textfile collector."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from arkcli.actions.reading import Overview
from arkcli.errors import UsageError
from arkcli.model import Destination
from arkcli.queue.engine import Standing, Totals
from arkcli.system import files

_HELP: Final = {
    "ark_deliveries": "Deliveries waiting, retrying or dead, by destination and state.",
    "ark_oldest_age_seconds": "Age of the oldest event that is waiting or retrying; 0 if there is none.",
    "ark_overdue_seconds": "How long the next delivery has been due; 0 if none is.",
    "ark_last_attempt_timestamp_seconds": "When the last attempt was made, in Unix time.",
    "ark_paused": "Whether the destination is paused.",
    "ark_broken": "Whether the destination's part of the queue cannot be read; if so, it has no other metrics.",
    "ark_log_events": "Events in the event log.",
    "ark_log_bytes": "Bytes in the event log.",
}


class _Sample(NamedTuple):
    metric: str
    labels: dict[str, str]
    value: float


def write(path: Path, text: bytes) -> None:
    """Replaces a file with metrics, in one step. Raises UsageError if it cannot be written."""
    if path.is_dir():
        raise UsageError(f"{path} cannot be written: it is a directory; give a file in it")
    if path.exists() and not path.is_file():
        # Replacing a device such as /dev/null with a file would break other programs.
        raise UsageError(f"{path} cannot be replaced: it is a device or a pipe; give a regular file")
    try:
        files.replace(path, text, durable=False, mode=files.PUBLIC_MODE)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error


def exposition(overview: Overview, totals: Totals, now: int) -> bytes:
    """All metrics as of a time (milliseconds, UTC)."""
    log = [_Sample("ark_log_events", {}, totals.events), _Sample("ark_log_bytes", {}, totals.size)]
    unread = [_Sample("ark_broken", {"destination": name}, 1) for name in overview.broken]
    samples = [*_samples(overview.readable, now), *unread, *log]
    lines = []
    for metric, meaning in _HELP.items():
        lines += [f"# HELP {metric} {meaning}", f"# TYPE {metric} gauge"]
        lines += [f"{metric}{_labels(found.labels)} {found.value!r}" for found in samples if found.metric == metric]
    return "\n".join([*lines, ""]).encode()


def _samples(standings: Iterable[tuple[Destination, Standing]], now: int) -> Iterator[_Sample]:
    for destination, held in standings:
        name = {"destination": destination.name}
        states = {"waiting": held.waiting, "retrying": sum(held.retrying), "dead": held.dead}
        for state, count in states.items():
            yield _Sample("ark_deliveries", {**name, "state": state}, count)
        yield _Sample("ark_oldest_age_seconds", name, _since(held.oldest_at, now))
        yield _Sample("ark_overdue_seconds", name, _since(held.next_due_at, now))
        if held.last is not None:
            yield _Sample("ark_last_attempt_timestamp_seconds", name, held.last.at / 1000)
        yield _Sample("ark_paused", name, int(destination.paused))
        yield _Sample("ark_broken", name, 0)


def _since(at: int | None, now: int) -> float:
    return 0.0 if at is None else max(now - at, 0) / 1000


def _labels(labels: dict[str, str]) -> str:
    escaped = {
        name: value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") for name, value in labels.items()
    }
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped.items()) + "}" if labels else ""
