"""Reads the queue: an overview, the unfinished deliveries, and one event's history.

Changes nothing, except that a new destination gets its place in the queue. The values are frozen; callers render them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import takewhile
from typing import Final, TypeVar

import msgspec

from arkcli.actions.home import Home
from arkcli.errors import Broken, Gone, UsageError
from arkcli.model import Attempt, Destination, Event, Outcome, State
from arkcli.queue.engine import Pending, Selection, Standing, Totals, View
from arkcli.queue.outage import Outage

Item = TypeVar("Item")
#: How much of the end of the event log holds the newest event: usually, and always. Bytes.
_LITTLE: Final = 64 * 1024
_MUCH: Final = 8 * 1024 * 1024
Named = tuple[Destination, Pending]


class Place(msgspec.Struct, frozen=True, gc=False):
    """A destination and what waits for it; None if that cannot be read."""

    destination: Destination
    standing: Standing | None


class Overview(msgspec.Struct, frozen=True):
    """What waits for destinations. `broken`: by name, why a destination's part of the queue cannot be read."""

    places: Sequence[Place]
    broken: Mapping[str, str]

    @property
    def readable(self) -> list[tuple[Destination, Standing]]:
        """The destinations whose part of the queue could be read, and what waits for them."""
        return [(place.destination, place.standing) for place in self.places if place.standing is not None]


class Delivered(msgspec.Struct, frozen=True):
    """An event's state at one destination, and its attempts there, oldest first.

    `next_attempt_at` (milliseconds, UTC) is None if no attempt is to come; `outage` is set while it is held back.
    """

    destination: Destination
    state: State
    attempts: Sequence[Attempt]
    next_attempt_at: int | None = None
    outage: Outage | None = None


class Story(msgspec.Struct, frozen=True):
    """One event and its delivery to each of its destinations. `broken` is as in an Overview."""

    event: Event
    deliveries: Sequence[Delivered]
    broken: Mapping[str, str]


class Reading:
    """Reads the queue destination by destination, so that a failure at one does not hide the others.

    A destination that has just been removed is skipped; one whose part cannot be read is left out and is in `broken`.
    """

    def __init__(self, home: Home, destinations: Iterable[Destination], *, join: bool = True) -> None:
        """Gives each destination its place in the queue; without `join`, one that has none yet is skipped."""
        self.destinations = home.joined(destinations, to_read=True) if join else list(destinations)
        self._home = home
        self._reasons: dict[str, str] = {}

    @property
    def broken(self) -> dict[str, str]:
        """Destinations that could not be read so far: the reason by name."""
        reasons = {**self._home.queue.broken, **self._reasons} if self.destinations else {}
        return {known.name: reasons[known.id] for known in self.destinations if known.id in reasons}

    def overview(self) -> Overview:
        """What waits for each destination."""
        ids = [known.id for known in self.destinations]
        now = self._home.clock.now()
        standings = self._home.queue.standings(ids, now) if ids else {}
        found = {known: _as_of(standing, now) for known, standing in standings.items()}
        broken = self.broken
        # A destination that has just been removed has no standing and is not broken.
        present = (known for known in self.destinations if known.id in found or known.name in broken)
        return Overview([Place(known, found.get(known.id)) for known in present], broken)

    def deliveries(self, chosen: Selection | None = None) -> Iterator[Named]:
        """All unfinished deliveries, or the chosen ones, destination by destination."""
        now = self._home.clock.now()
        for destination in self.destinations:
            for found in self._read(destination, lambda view: view.deliveries(chosen, now)):
                yield destination, found

    def due(self, at: int) -> Iterator[Named]:
        """What would be attempted at a time (milliseconds, UTC)."""
        for destination, found in self.deliveries():
            if found.next_attempt_at is not None and found.next_attempt_at <= at:
                yield destination, found

    def missing(self, selection: Selection, states: Iterable[State]) -> list[str]:
        """The selected event ids that have no delivery in any of these states, sorted."""
        left, wanted = set(selection.event_ids), frozenset(states)
        named = Selection(destination_ids=(), event_ids=selection.event_ids)
        for _, found in self.deliveries(named) if left else ():
            if found.state in wanted:
                left.discard(found.event.id)
            if not left:
                break
        return sorted(left)

    def event(self, given: str) -> Event:
        """The event that an id names: the whole id, a beginning of it that no other has, or `last` for the newest.

        `evt_` may be left out. Events whose only trace is a dead delivery are found, too. Raises UsageError.
        """
        queue = self._home.queue
        if given == "last":
            newest = [*queue.recent_events(_LITTLE)[-1:]] or [*queue.recent_events(_MUCH)[-1:]]
            if not newest:
                raise UsageError("the queue has no event yet; send one with `ark send`")
            # It may be one that was sent again: its first line has the id, too.
            return queue.find(newest[0].id) or newest[0]
        # Dead deliveries outlive the event log. A whole id must never be taken for the beginning of another one.
        exactly = Selection(destination_ids=(), event_ids=frozenset((given,)))
        event = queue.find(given) or next((found.event for _, found in self.deliveries(exactly)), None)
        if event is not None:
            return event
        begun = self._beginning(given) if given else []
        if not begun:
            raise UsageError(f"no event in the queue has the id {given!r}, or one that begins so; `ark log` shows ids")
        if len(begun) > 1:
            some = f"such as {begun[0].id} and {begun[1].id}"
            raise UsageError(f"several events have an id that begins with {given!r}, {some}; give more of it")
        return begun[0]

    def _beginning(self, given: str) -> list[Event]:
        """The events whose ids begin so, with or without `evt_`, in the log or dead. Two are one too many."""
        beginnings = (given, f"evt_{given}")
        found = [event for begin in beginnings for event in self._home.queue.find_prefix(begin)]
        if len(found) < 2:
            dead = self.deliveries(Selection(destination_ids=(), dead=True))
            found += [one.event for _, one in dead if one.event.id.startswith(beginnings)]
        return list({event.id: event for event in found}.values())

    def story(self, given: str, to: Sequence[Destination] | None = None) -> Story:
        """The story of one event, perhaps only `to` some destinations; see `event` for what names it.

        Raises UsageError.
        """
        event = self.event(given)
        deliveries = list(self._delivered(event, self.destinations if to is None else to))
        return Story(event, deliveries, self.broken)

    def _delivered(self, event: Event, to: Sequence[Destination]) -> Iterator[Delivered]:
        chosen, now = Selection(destination_ids=(), event_ids=frozenset((event.id,))), self._home.clock.now()

        def of_one(view: View) -> Iterator[tuple[State | None, Sequence[Attempt], int | None, Outage | None]]:
            state, attempts = view.history(event.id)
            # After a damaged journal line, an event may have recorded attempts and still count as waiting.
            state = State.WAITING if view.is_waiting(event) else state
            due = [one.next_attempt_at for one in view.deliveries(chosen, now) if one.next_attempt_at is not None]
            yield state, attempts, min(due, default=None), _as_of(view.standing(now), now).outage if due else None

        for destination in to:
            for state, attempts, next_at, outage in self._read(destination, of_one):
                if state is not None:
                    yield Delivered(destination, state, attempts, next_at, outage)

    @property
    def totals(self) -> Totals:
        """The size of the event log, for all destinations together."""
        return self._home.queue.totals

    def recent(self, destination: Destination, size: int) -> tuple[Sequence[Attempt], bool] | None:
        """A destination's newest attempts, from about the last `size` bytes, oldest first, and whether these are all.

        None if they cannot be read.
        """
        return next(self._read(destination, lambda view: [view.recent(size)]), None)

    def failing_since(self, destination: Destination) -> tuple[int, bool] | None:
        """When the first of a destination's newest attempts that all failed was made (milliseconds, UTC).

        And whether that is certain: only about the last 64 KiB of attempts are read. None if the newest did not fail.
        """
        attempts, is_all = self.recent(destination, _LITTLE) or ((), True)
        failed = list(takewhile(lambda attempt: attempt.outcome is Outcome.FAILED, reversed(attempts)))
        return (failed[-1].at, is_all or len(failed) < len(attempts)) if failed else None

    def _read(self, destination: Destination, ask: Callable[[View], Iterable[Item]]) -> Iterator[Item]:
        """Yields what `ask` finds in a destination's view; notes in `broken` if it cannot be read."""
        try:
            with closing(self._home.queue.view(destination.id)) as view:
                yield from ask(view)
        except Gone:
            pass
        except Broken as error:
            self._reasons[destination.id] = str(error)


def _as_of(standing: Standing, now: int) -> Standing:
    """A standing without a time that its receiver asked for and that is over."""
    return standing._replace(outage=None) if standing.outage and standing.outage.is_over(now) else standing
