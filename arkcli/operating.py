"""What an operator does to deliveries: retrying now, dropping, replaying.

To retry now, to revive and to replay are one thing: a fresh line in the event log, with the same id and body, that
takes the place of the delivery that waits. docs/internals.md, section 2, says why that cannot fork a delivery.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from arkcli import files, metrics, times
from arkcli.delivery.drain import SEND_HOLDS_FOR
from arkcli.environment import Environment
from arkcli.errors import Busy, UsageError
from arkcli.model import DEAD, Destination, Draft, Event, Instead, State
from arkcli.queue.claim import Claim
from arkcli.queue.lines import DropLine
from arkcli.queue.view import Pending, Standing

#: How many lines are written at once, and of how many bytes.
_BATCH: Final = 1_000
_BATCH_SIZE: Final = 4 * 1024 * 1024
Item = TypeVar("Item")


class Selection(msgspec.Struct, frozen=True):
    """Which deliveries: those of certain events, or every dead one."""

    event_ids: frozenset[str]
    dead: bool = False

    def holds(self, pending: Pending) -> bool:
        """Whether a delivery is among them."""
        return pending.event.id in self.event_ids or (self.dead and pending.state is State.DEAD)


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """Which old events: certain ones, or those accepted within a time (milliseconds, UTC)."""

    event_ids: frozenset[str]
    since: int | None = None
    until: int | None = None
    event: str | None = None
    failed: bool = False

    def holds(self, event: Event) -> bool:
        """Whether an event is among them. One that was itself sent again is not: its original is."""
        if event.instead is not None or self.event not in (None, event.name):
            return False
        if self.event_ids:
            return event.id in self.event_ids
        at = times.from_text(event.at)
        return (self.since is None or at >= self.since) and (self.until is None or at <= self.until)


def pending(environment: Environment, destinations: Iterable[Destination]) -> Iterator[tuple[Destination, Pending]]:
    """Every delivery that is not done, destination by destination."""
    for destination in destinations:
        with contextlib.closing(environment.queue.view(destination.id)) as view:
            for found in view.deliveries():
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
    events, size = environment.queue.totals
    text = metrics.exposition(standings, events, size, environment.clock.now())
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
    for _, found in pending(environment, destinations if left else ()):
        if found.state in wanted:
            left.discard(found.event.id)
        if not left:
            break
    return sorted(left)


def retry(environment: Environment, destinations: Sequence[Destination], selection: Selection, *, dry: bool) -> int:
    """Makes what is retrying due now, and revives what is dead; returns how many deliveries. Raises NotAccepted."""
    now = times.to_text(environment.clock.now())

    def again() -> Iterator[Draft]:
        for destination, found in pending(environment, destinations):
            if found.state is not State.WAITING and selection.holds(found):
                event, key = found.event, {destination.id: found.key}
                yield Draft(event.id, event.name, now, event.body, (destination.id,), key)

    return _accept(environment, again(), dry=dry)


def drop(environment: Environment, destinations: Sequence[Destination], selection: Selection, *, dry: bool) -> int:
    """Gives deliveries up, waiting, retrying or dead; returns how many. Raises Busy while another process delivers."""
    dropped = 0
    for destination in destinations:
        if dry:
            dropped += sum(selection.holds(found) for _, found in pending(environment, [destination]))
            continue
        with _claimed(environment, destination) as claim:
            now = times.to_text(environment.clock.now())
            chosen = (found for _, found in pending(environment, [destination]) if selection.holds(found))
            lines = (tuple(_drop_lines(found, destination, now)) for found in chosen)
            for batch in _batches(lines, len):
                claim.drop(list(chain.from_iterable(batch)))
                dropped += len(batch)
    return dropped


@contextlib.contextmanager
def _claimed(environment: Environment, destination: Destination) -> Iterator[Claim]:
    queue, clock = environment.queue, environment.clock
    until = clock.monotonic() + SEND_HOLDS_FOR
    while (claim := queue.claim(destination.id, "drop")) is None:
        if clock.monotonic() > until:
            raise Busy(
                f"{queue.holder(destination.id)} is delivering to {destination.name}; "
                f"pause it with `ark dest pause {destination.name}`, drop, and resume it"
            )
        clock.sleep(0.05)
    try:
        yield claim
    finally:
        claim.release()


def _drop_lines(found: Pending, destination: Destination, now: str) -> Iterator[DropLine]:
    event = found.event
    instead = event.instead.get(destination.id) if event.instead and found.state is State.WAITING else None
    for attempt, start, length in filter(None, (found.key, instead)):
        if attempt in (1, DEAD):
            yield DropLine(start, length, event.id, event.name, "drop", attempt, now)
        else:
            after = (start, length)
            yield DropLine(event.position, event.length, event.id, event.name, "drop", attempt, now, after)


def replay(
    environment: Environment,
    destinations: Sequence[Destination],
    everybody: bool,
    chosen: Replay,
    *,
    dry: bool,
) -> int:
    """Sends old events again, delivered or not; returns how many events. Raises UsageError and NotAccepted.

    A destination for which an event still waits for its first attempt is left out: it gets it anyway.
    """
    now = times.to_text(environment.clock.now())
    targets = {destination.id: _Target(environment, destination) for destination in destinations}
    try:
        drafts = (
            Draft(event.id, event.name, now, event.body, tuple(places), {to: key for to, key in places.items() if key})
            for event in _chosen(environment, chosen)
            if (places := _places(event, targets, everybody=everybody, failed=chosen.failed))
        )
        return _accept(environment, drafts, dry=dry)
    finally:
        for target in targets.values():
            target.view.close()


def _chosen(environment: Environment, chosen: Replay) -> Iterator[Event]:
    if not chosen.event_ids:
        # Events that are accepted from here on, by this very replay among others, are not old.
        end = environment.queue.end
        yield from (event for event in environment.queue.events() if event.position < end and chosen.holds(event))
        return
    for event_id in sorted(chosen.event_ids):
        event = environment.queue.find(event_id)
        if event is None:
            raise UsageError(f"there is no event {event_id!r} in the log (any more); `ark log` shows what there was")
        if chosen.holds(event):
            yield event


class _Target:
    """What is pending at a destination, by event id: what a replayed event must take the place of, or leave alone."""

    def __init__(self, environment: Environment, destination: Destination) -> None:
        self.view = environment.queue.view(destination.id)
        self.keys: dict[str, Instead] = {}
        self.waiting: set[str] = set()
        for found in self.view.deliveries():
            if found.state is not State.WAITING:
                self.keys[found.event.id] = found.key
            elif found.event.instead is not None:
                self.waiting.add(found.event.id)


def _places(event: Event, targets: dict[str, _Target], *, everybody: bool, failed: bool) -> dict[str, Instead | None]:
    """Where an event is to be sent again, and whose place it takes there."""
    found: dict[str, Instead | None] = {}
    for to, target in targets.items():
        if everybody and event.to is not None and to not in event.to:
            continue
        if event.id in target.waiting or target.view.is_waiting(event):
            continue
        key = target.keys.get(event.id)
        if key is not None or not failed:
            found[to] = key
    return found


def _accept(environment: Environment, drafts: Iterable[Draft], *, dry: bool) -> int:
    if dry:
        return sum(1 for _ in drafts)
    return sum(len(environment.queue.accept(batch)) for batch in _batches(drafts, lambda draft: len(draft.body)))


def _batches(items: Iterable[Item], size: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Items in lists that are neither long nor, by the sum of their sizes, large."""
    batch: list[Item] = []
    total = 0
    for item in items:
        batch.append(item)
        total += size(item)
        if len(batch) >= _BATCH or total >= _BATCH_SIZE:
            yield batch
            batch, total = [], 0
    if batch:
        yield batch
