"""Targets for atheris, a coverage-guided fuzzer: `python -m tests.fuzzing NAME`.

A target ignores the errors that invalid input must cause; every other error is a finding. Options of libFuzzer may
follow the name, such as `-max_total_time=60` (seconds).
"""

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import atheris

with atheris.instrument_imports(include=["arkcli"]):
    from arkcli import signing
    from arkcli.contract import assignments
    from arkcli.contract.bodies import Filling, check_object, make_body
    from arkcli.contract.events import EVENTS
    from arkcli.errors import PayloadError, Unreadable, UsageError
    from arkcli.queue.local import lines
    from arkcli.queue.local.lines import Damaged
    from arkcli.receiver import plan
    from arkcli.signing.explain.search import explain
    from arkcli.store.store import Store
    from arkcli.text import clean

FILLING: Final = Filling(timestamp="2026-11-23T11:28:48.123Z", batch_id="batch_1")
NAMES: Final = tuple(EVENTS)


def payload(data: bytes) -> None:
    with suppress(PayloadError):
        body = make_body(NAMES[len(data) % 4], data, FILLING, validate=len(data) % 3 > 0)
        assert b"\n" not in body


def queue_line(data: bytes) -> None:
    """Adds a valid checksum, so that the fuzzer reaches the code behind the check."""
    for line in (data, lines.seal(data)[:-1]):
        for read in (lines.decode_journal, lines.decode_dead, lines.event_counts):
            with suppress(Damaged):
                read(line)
        with suppress(Damaged):
            event = lines.decode_event(line, 0)
            event.body.decode("utf-8", "replace")


def store(data: bytes) -> None:
    with suppress(Unreadable):
        Store(Path("/nowhere"))._parse(data)


def setting(data: bytes) -> None:
    text, _, rest = data.partition(b"\0")
    with suppress(UsageError):
        made = assignments.put(rest, [assignments.parse(text.decode("utf-8", "surrogateescape"))])
        check_object(made)


def signature(data: bytes) -> None:
    text, _, body = data.partition(b"\0")
    assert not signing.verify("secret", body, text)
    clean(text.decode("utf-8", "surrogateescape")).encode()


def explanation(data: bytes) -> None:
    text, _, body = data[:3_000].partition(b"\0")
    explain(body, text.decode("latin-1"), [signing.Secret("secret")])


def answers(data: bytes) -> None:
    with suppress(ValueError):
        plan.parse(data.decode("utf-8", "replace"))


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    found.__name__: found for found in (payload, queue_line, store, setting, signature, explanation, answers)
}

if __name__ == "__main__":
    atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[sys.argv[1]])
    atheris.Fuzz()
