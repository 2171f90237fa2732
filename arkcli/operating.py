"""What an operator looks at and does: what waits, retrying now, dropping, replaying, metrics."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from arkcli import files, metrics
from arkcli.environment import Environment
from arkcli.errors import Held, UsageError
from arkcli.model import Destination, State
from arkcli.queue.engine import Pending, Replay, Selection, Standing
from arkcli.queue.patience import patiently


def pending(
    environment: Environment, destinations: Iterable[Destination], chosen: Selection | None = None
) -> Iterator[tuple[Destination, Pending]]:
    """Every delivery that is not done, or those chosen, destination by destination."""
    for destination in destinations:
        with contextlib.closing(environment.queue.view(destination.id)) as view:
            for found in view.deliveries(chosen):
                yield destination, found


def due(
    environment: Environment, destinations: Iterable[Destination], at: int
) -> Iterator[tuple[Destination, Pending]]:
    """What would be attempted at a time (milliseconds, UTC)."""
    for destination, found in pending(environment, destinations):
        if found.next_attempt_at is not None and found.next_attempt_at <= at:
            yield destination, found


def write_metrics(environment: Environment, path: Path, standings: Sequence[tuple[Destination, Standing]]) -> None:
    """Replaces a file with the metrics of the queue. Raises UsageError where it cannot be written."""
    if path.exists() and not path.is_file() and not path.is_dir():
        # Replacing it by a file of the same name would break whoever needs the device.
        raise UsageError(f"{path} cannot be replaced: it is a device or a pipe; name a file")
    text = metrics.exposition(standings, environment.queue.totals, environment.clock.now())
    try:
        files.replace(path, text, durable=False, public=True)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
    except ValueError:
        raise UsageError(f"{path} cannot be written: it is a directory; name a file in it") from None


def missing(
    environment: Environment, destinations: Iterable[Destination], selection: Selection, states: Iterable[State]
) -> list[str]:
    """The ids among those selected of which no delivery is in one of these states, in order."""
    left, wanted = set(selection.event_ids), frozenset(states)
    named = Selection(destination_ids=(), event_ids=selection.event_ids)
    for _, found in pending(environment, destinations if left else (), named):
        if found.state in wanted:
            left.discard(found.event.id)
        if not left:
            break
    return sorted(left)


def retry(environment: Environment, selection: Selection, *, dry: bool) -> int:
    """Makes what is retrying due now, and revives what is dead; returns how many deliveries. Raises NotAccepted."""
    return environment.queue.retry(selection, environment.clock.now(), dry=dry)


def drop(environment: Environment, destinations: Sequence[Destination], selection: Selection, *, dry: bool) -> int:
    """Discards deliveries, waiting, retrying or dead; returns how many. Raises Busy while another process delivers."""
    dropped = 0
    for destination in destinations:
        part = Selection(destination_ids=(destination.id,), event_ids=selection.event_ids, dead=selection.dead)

        def of_one(part: Selection = part) -> int:
            return environment.queue.drop(part, environment.clock.now(), dry=dry)

        def busy(held: Held, name: str = destination.name) -> str:
            return f"{held.holder} is delivering to {name}; pause it with `ark dest pause {name}`, drop, and resume it"

        dropped += patiently(environment.clock, of_one, busy)
    return dropped


def replay(environment: Environment, chosen: Replay, *, dry: bool) -> int:
    """Sends old events again, delivered or not; returns how many events. Raises UsageError and NotAccepted."""
    return environment.queue.replay(chosen, environment.clock.now(), dry=dry)
