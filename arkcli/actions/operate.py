"""What an operator looks at and does: what waits, retrying now, dropping, replaying, metrics."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from arkcli.actions import metrics
from arkcli.environment import Environment
from arkcli.errors import Broken, Gone, Held, UsageError
from arkcli.model import Destination, State
from arkcli.queue.engine import Pending, Replay, Selection, Standing, View
from arkcli.queue.patience import patiently
from arkcli.system import files

Item = TypeVar("Item")


class Parts:
    """What the queue tells of destinations, each for itself: one's trouble hides nothing of the others.

    One that was removed a moment ago is passed over; one whose part cannot be read is left out, and is in `broken`.
    """

    def __init__(self, environment: Environment, destinations: Iterable[Destination]) -> None:
        """Gives each of them its place in the queue."""
        self.destinations = environment.joined(destinations, to_read=True)
        self._environment = environment
        self._reasons: dict[str, str] = {}

    @property
    def broken(self) -> dict[str, str]:
        """Those that could not be used so far, by name, and why, in words."""
        reasons = {**self._environment.queue.broken, **self._reasons} if self.destinations else {}
        return {known.name: reasons[known.id] for known in self.destinations if known.id in reasons}

    def read(self, destination: Destination, ask: Callable[[View], Iterable[Item]]) -> Iterator[Item]:
        """What is found in its deliveries, as far as they can be read."""
        try:
            with closing(self._environment.queue.view(destination.id)) as view:
                yield from ask(view)
        except Gone:
            pass
        except Broken as error:
            self._reasons[destination.id] = str(error)

    def standings(self) -> dict[str, Standing]:
        """What waits for each of them, by id."""
        ids = [known.id for known in self.destinations]
        return dict(self._environment.queue.standings(ids, self._environment.clock.now())) if ids else {}

    def deliveries(self, chosen: Selection | None = None) -> Iterator[tuple[Destination, Pending]]:
        """Every delivery that is not done, or those chosen, destination by destination."""
        now = self._environment.clock.now()
        for destination in self.destinations:
            for found in self.read(destination, lambda view: view.deliveries(chosen, now)):
                yield destination, found

    def due(self, at: int) -> Iterator[tuple[Destination, Pending]]:
        """What would be attempted at a time (milliseconds, UTC)."""
        for destination, found in self.deliveries():
            if found.next_attempt_at is not None and found.next_attempt_at <= at:
                yield destination, found

    def missing(self, selection: Selection, states: Iterable[State]) -> list[str]:
        """The ids among those selected of which no delivery is in one of these states, in order."""
        left, wanted = set(selection.event_ids), frozenset(states)
        named = Selection(destination_ids=(), event_ids=selection.event_ids)
        for _, found in self.deliveries(named) if left else ():
            if found.state in wanted:
                left.discard(found.event.id)
            if not left:
                break
        return sorted(left)


def write_metrics(
    environment: Environment, path: Path, standings: Sequence[tuple[Destination, Standing]], broken: Iterable[str]
) -> None:
    """Replaces a file with the metrics of the queue; `broken` names destinations whose part of it cannot be read.

    Raises UsageError where the file cannot be written.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        # Replacing it by a file of the same name would break whoever needs the device.
        raise UsageError(f"{path} cannot be replaced: it is a device or a pipe; name a file")
    text = metrics.exposition(standings, environment.queue.totals, environment.clock.now(), broken)
    try:
        files.replace(path, text, durable=False, mode=files.PUBLIC_MODE)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
    except ValueError:
        raise UsageError(f"{path} cannot be written: it is a directory; name a file in it") from None


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
