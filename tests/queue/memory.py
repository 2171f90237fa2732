"""A queue in memory: the smallest engine with the full interface, for tests that need no files.

Each `MemoryQueue` on the same `Content` plays a separate process. Each destination has a list of unfinished deliveries;
to send one again is to replace its entry.
"""

import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate, islice, takewhile
from typing import TypeVar, cast

import msgspec

from arkcli import times
from arkcli.errors import Busy, Held, UsageError
from arkcli.model import AHEAD, Answer, Attempt, Delivery, Draft, Event, RetrySchedule, State, attempt_of
from arkcli.queue import engine
from arkcli.queue.engine import (
    Checked,
    Holder,
    Pending,
    Record,
    Recorded,
    Replay,
    Result,
    Selection,
    Standing,
    Totals,
)
from arkcli.queue.memo import Memo
from arkcli.queue.outage import Outage
from arkcli.queue.pace import Pace, Terms, Turn, Turns

Item = TypeVar("Item")


def holds(selection: Selection, pending: Pending) -> bool:
    """Whether a delivery is selected. Ignores the destination."""
    return pending.event.id in selection.event_ids or (selection.dead and pending.state is State.DEAD)


class _Event(Event, frozen=True):
    """An event in the log, and its number there: an id may be given twice."""

    number: int = 0


class _Entry:
    """An unfinished delivery. `is_first` says that it was not sent again by hand."""

    def __init__(self, event: _Event, due_at: int, *, is_first: bool = True) -> None:
        self.event = event
        self.is_first = is_first
        self.state = State.WAITING
        self.attempt = 0
        self.due_at: int | None = due_at
        self.failed_at: int | None = None
        self.status: int | None = None
        self.error: str | None = None
        #: The claim that has it in flight, and when somebody asked to send it again since then.
        self.claim: MemoryClaim | None = None
        self.asked_at: int | None = None

    def is_due(self, now: int) -> bool:
        """Whether it is due, or the clock was set back to before its failure."""
        if self.due_at is None:
            return False
        return self.failed_at is None or now >= self.due_at or self.failed_at > now + AHEAD

    def is_first_of(self, event: Event) -> bool:
        """Whether it waits for the first attempt at an event that was not sent again."""
        return self.is_first and self.waits_for(event)

    def waits_for(self, event: Event) -> bool:
        """Whether it waits for the first attempt at an event."""
        is_its = isinstance(event, _Event) and event.number == self.event.number
        return is_its and self.state is State.WAITING

    def due_by(self, now: int | None) -> int | None:
        """When it is due; `now` if it is dated later because the clock was set back."""
        if self.due_at is None or now is None:
            return self.due_at
        return now if (self.failed_at or self.due_at) > now + AHEAD else self.due_at

    def pending(self, now: int | None = None) -> Pending:
        """The same without the engine's own fields."""
        return Pending(self.event, self.state, self.attempt, self.due_by(now), self.status, self.error)


class _Told(msgspec.Struct):
    """A line of the history: an attempt at an event or, without one, that the delivery was dropped."""

    serial: int
    number: int
    event_id: str
    at: int
    state: State
    attempt: Attempt | None = None


class _Place:
    """A destination: its unfinished deliveries, in the order of their last change, and its history."""

    def __init__(self, schedule: RetrySchedule) -> None:
        self.schedule = schedule
        self.entries: list[_Entry] = []
        self.told: list[_Told] = []
        self.serial = 0
        self.last: Attempt | None = None
        self.outage: Outage | None = None
        self.pace = Pace()
        self.claim: MemoryClaim | None = None

    @property
    def attempts(self) -> list[Attempt]:
        """The attempts still in the history."""
        return [told.attempt for told in self.told if told.attempt is not None]

    def in_state(self, state: State) -> list[_Entry]:
        return [entry for entry in self.entries if entry.state is state]

    def tell(self, number: int, attempt: Attempt) -> State:
        """Adds an attempt to the history; returns the delivery's new state."""
        self.serial += 1
        self.last = attempt
        state = self.schedule.state_after(attempt.attempt, attempt.outcome)
        self.told.append(_Told(self.serial, number, attempt.event_id, attempt.at, state, attempt))
        return state

    def tell_dropped(self, number: int, event_id: str, now: int) -> None:
        self.serial += 1
        self.told.append(_Told(self.serial, number, event_id, now, State.DROPPED))

    def send_again(self, entry: _Entry, now: int) -> None:
        """Replaces an entry by a new delivery. If it is in flight, only when that attempt is not recorded."""
        if entry.claim is not None:
            entry.asked_at = now
            return
        self.entries.remove(entry)
        # An entry that was already due stays due since then.
        self.entries.append(_Entry(entry.event, min(now, entry.due_at or now), is_first=False))


class Content:
    """The content of a queue, shared by all who have it open."""

    def __init__(self) -> None:
        self.events: list[_Event] = []
        self.count = 0
        self.places: dict[str, _Place] = {}
        self.drains: list[MemoryQueue] = []
        self.memos: dict[str, bytes] = {}
        self.held: set[str] = set()

    def add(self, event: Draft | Event) -> _Event:
        """Adds an event to the log only."""
        added = _copy(event, self.count)
        self.count += 1
        self.events.append(added)
        return added


class _Delivery(Delivery, frozen=True):
    """An attempt that is due, and the entry that it belongs to."""

    entry: _Entry


class MemoryClaim:
    """The exclusive right to deliver to one destination."""

    def __init__(self, destination_id: str, place: _Place, holder: Holder) -> None:
        self.destination_id = destination_id
        self.holder = holder
        self._place = place
        self._behind: int | None = None
        self._turns = Turns(claim=str(place.serial) + str(id(self)))
        self._period = self._admitted_at = 0
        place.claim = self

    @property
    def outage(self) -> Outage | None:
        return self._place.outage

    @property
    def has_lapsed(self) -> bool:
        return False

    def note(self, outage: Outage | None) -> None:
        self._place.outage = outage

    def begin_first(self, entry: _Entry) -> _Delivery:
        """Takes the first attempt at an event; `take_behind` continues from there."""
        self._behind = entry.event.number
        return self.begin(entry)

    def take_behind(self, most: int) -> list[_Delivery]:
        behind = self._behind
        free = [entry for entry in self._place.entries if entry.claim is None and entry.state is State.WAITING]
        return [
            self.begin(entry)
            for entry in [one for one in free if behind is not None and one.event.number > behind][:most]
        ]

    def begin(self, entry: _Entry) -> _Delivery:
        """Takes one delivery."""
        entry.claim = self
        return _Delivery(entry.event, entry.attempt + 1, entry)

    def take(self, now: int, most: int) -> list[_Delivery]:
        due = [entry for entry in self._place.entries if entry.claim is None and entry.is_due(now)]
        due.sort(key=lambda entry: entry.due_at or 0)
        return [self.begin(entry) for entry in due[:most]]

    def is_due(self, now: int) -> bool:
        return any(entry.claim is None and entry.is_due(now) for entry in self._place.entries)

    def admit(self, terms: Terms, most: int, now: int) -> Turn:
        self._period, self._admitted_at = terms.period, now
        return self._turns.admit(self._place.pace, terms, most, now)

    def give_back(self, count: int) -> None:
        self._turns.give_back(count)

    def next_due_at(self) -> int | None:
        free = [entry for entry in self._place.entries if entry.claim is None]
        return min((entry.due_at for entry in free if entry.due_at is not None), default=None)

    def record(self, delivery: _Delivery, answer: Answer, now: int) -> State | None:
        """Records the outcome of one attempt; None if this claim no longer has the delivery."""
        entry, place = delivery.entry, self._place
        self._turns.ended(1, now)
        if entry.claim is not self:
            return None
        attempt = attempt_of(delivery, answer, now)
        state = place.tell(entry.event.number, attempt)
        place.entries.remove(entry)
        if state is not State.DELIVERED:
            entry.claim = entry.asked_at = None
            entry.state, entry.attempt, entry.failed_at = state, attempt.attempt, now
            entry.due_at = place.schedule.next_attempt_at(attempt.attempt, now)
            entry.status, entry.error = attempt.status, attempt.error
            place.entries.append(entry)
        return state

    def release(self) -> None:
        self._place.claim = None
        self._turns.tell(self._place.pace, self._period, self._admitted_at)
        for entry in [entry for entry in self._place.entries if entry.claim is self]:
            entry.claim = None
            if entry.asked_at is not None:
                self._place.send_again(entry, entry.asked_at)


class MemoryView:
    """The deliveries of one destination."""

    def __init__(self, place: _Place) -> None:
        self._place = place
        self._followed = 0

    def standing(self, now: int | None = None) -> Standing:
        place = self._place
        counts = [0] * len(place.schedule.delays)
        for entry in place.in_state(State.RETRYING):
            counts[entry.attempt - 1] += 1
        alive = [entry for entry in place.entries if entry.state is not State.DEAD]
        return Standing(
            waiting=len(place.in_state(State.WAITING)),
            retrying=tuple(counts),
            dead=len(place.in_state(State.DEAD)),
            next_due_at=min((at for entry in alive if (at := entry.due_by(now)) is not None), default=None),
            oldest_at=min((times.from_text(entry.event.at) for entry in alive), default=None),
            last=place.last,
            outage=place.outage,
        )

    def deliveries(self, chosen: Selection | None = None, now: int | None = None) -> Iterator[Pending]:
        retrying = sorted(self._place.in_state(State.RETRYING), key=lambda entry: -entry.attempt)
        for entry in (*retrying, *self._place.in_state(State.WAITING), *self._place.in_state(State.DEAD)):
            if chosen is None or holds(chosen, entry.pending(now)):
                yield entry.pending(now)

    def is_waiting(self, event: Event) -> bool:
        return isinstance(event, _Event) and any(entry.is_first_of(event) for entry in self._place.entries)

    def attempts(self) -> Iterator[Attempt]:
        self._followed = self._place.serial
        return iter(self._place.attempts)

    def new_attempts(self) -> Iterator[Attempt]:
        since, self._followed = self._followed, self._place.serial
        told = [told.attempt for told in self._place.told if told.serial > since and told.attempt is not None]
        return iter(told)

    def recent(self, size: int) -> tuple[list[Attempt], bool]:
        found = _newest(self._place.attempts, size, lambda attempt: len(msgspec.json.encode(attempt)))
        return found, len(found) == len(self._place.attempts)

    def history(self, event_id: str) -> tuple[State | None, list[Attempt]]:
        told = [one for one in self._place.told if one.event_id == event_id]
        state = told[-1].state if told else None
        for entry in self._place.entries:
            if entry.event.id == event_id and not entry.is_first_of(entry.event):
                state = entry.state
        return state, [one.attempt for one in told if one.attempt is not None]

    def close(self) -> None:
        pass


class MemoryQueue:
    """One process's access to a queue. Given the content of another queue, it plays a second process."""

    def __init__(self, schedule: RetrySchedule, content: Content | None = None) -> None:
        self.content = content or Content()
        self._schedule = schedule

    @property
    def broken(self) -> dict[str, str]:
        return {}

    @property
    def unwritable(self) -> None:
        return None

    def join(self, ids: Iterable[str], *, to_read: bool = False) -> dict[str, str]:
        for destination_id in ids:
            self.content.places.setdefault(destination_id, _Place(self._schedule))
        return {}

    def leave(self, destination_id: str) -> int:
        self._check_free(destination_id)
        return len(self.content.places.pop(destination_id).entries)

    def _check_free(self, destination_id: str) -> None:
        holder = self.holder(destination_id)
        if holder is not None:
            raise Held(destination_id, holder)

    def accept(self, drafts: Sequence[Draft], *, unique: bool = False) -> list[_Event]:
        return [(unique and self.find(draft.id)) or self._accept(draft) for draft in drafts]

    def _accept(self, draft: Draft) -> _Event:
        event = self.content.add(draft)
        for destination_id, place in self.content.places.items():
            if _is_for(event, destination_id):
                place.entries.append(_Entry(event, times.from_text(event.at)))
        return event

    def drains(self) -> int:
        if self not in self.content.drains:
            self.content.drains.append(self)
        return len(self.content.drains)

    def look(self, ids: Sequence[str], now: int) -> list[str]:
        places = self.content.places
        return [found for found in ids if found in places and any(one.is_due(now) for one in places[found].entries)]

    def claim_due(self, ids: Iterable[str], most: int, purpose: str, now: int) -> list[MemoryClaim]:
        free = (found for found in self.look(list(ids), now) if self.content.places[found].claim is None)
        return [self._claim(found, purpose) for found in islice(free, max(most, 0))]

    def _claim(self, destination_id: str, purpose: str) -> MemoryClaim:
        return MemoryClaim(destination_id, self.content.places[destination_id], Holder(os.getpid(), purpose))

    def claim_first(self, event: Event, ids: Iterable[str], most: int) -> list[tuple[MemoryClaim, Delivery]]:
        firsts: list[tuple[MemoryClaim, Delivery]] = []
        for destination_id in ids:
            place = self.content.places[destination_id]
            first = next((entry for entry in place.entries if entry.waits_for(event)), None)
            if len(firsts) < most and first is not None and place.claim is None:
                claim = self._claim(destination_id, "send")
                firsts.append((claim, claim.begin_first(first)))
        return firsts

    def record(self, results: Sequence[tuple[engine.Claim, Sequence[Result]]], now: int) -> list[Recorded]:
        return [
            Recorded([cast("MemoryClaim", claim).record(cast("_Delivery", one), answer, now) for one, answer in part])
            for claim, part in results
        ]

    def late(self) -> list[tuple[engine.Claim, Sequence[Result], Recorded]]:
        return []

    def outcomes(self, event: Event, ids: Iterable[str]) -> dict[str, Attempt]:
        number = cast("_Event", event).number
        found: dict[str, Attempt] = {}
        for destination_id in ids:
            for told in self.content.places[destination_id].told:
                if told.number == number and told.attempt is not None:
                    found.setdefault(destination_id, told.attempt)
        return found

    def holder(self, destination_id: str) -> Holder | None:
        place = self.content.places.get(destination_id)
        return place.claim.holder if place and place.claim else None

    def view(self, destination_id: str) -> MemoryView:
        return MemoryView(self.content.places[destination_id])

    def standings(self, ids: Iterable[str], now: int | None = None) -> Mapping[str, Standing]:
        return {found: self.view(found).standing(now) for found in ids if found in self.content.places}

    def find(self, event_id: str) -> _Event | None:
        return next((event for event in self.content.events if event.id == event_id), None)

    def find_prefix(self, beginning: str) -> list[_Event]:
        ids = sorted({event.id for event in self.content.events if event.id.startswith(beginning)})
        return [event for found in ids[:2] if (event := self.find(found)) is not None]

    def events(self) -> Iterator[_Event]:
        return iter(list(self.content.events))

    def recent_events(self, size: int) -> list[_Event]:
        return _newest(list(self.events()), size, lambda event: len(event.body))

    @property
    def totals(self) -> Totals:
        return Totals(len(self.content.events), sum(len(event.body) for event in self.content.events))

    def retry(self, selection: Selection, now: int, *, dry: bool = False) -> int:
        chosen = [(place, entry) for place, entry in self._selected(selection) if entry.state is not State.WAITING]
        for place, entry in () if dry else chosen:
            place.send_again(entry, now)
        return len(chosen)

    def _selected(self, selection: Selection) -> list[tuple[_Place, _Entry]]:
        places = [self.content.places[found] for found in selection.destination_ids if found in self.content.places]
        return [(place, entry) for place in places for entry in place.entries if holds(selection, entry.pending())]

    def drop(self, selection: Selection, now: int, *, dry: bool = False) -> int:
        dropped = 0
        for destination_id in selection.destination_ids:
            if not dry:
                self._check_free(destination_id)
            chosen = self._selected(msgspec.structs.replace(selection, destination_ids=(destination_id,)))
            for place, entry in () if dry else chosen:
                place.entries.remove(entry)
                place.tell_dropped(entry.event.number, entry.event.id, now)
            dropped += len(chosen)
        return dropped

    def replay(self, chosen: Replay, now: int, *, dry: bool = False) -> int:
        replayed = 0
        for event in self._chosen(chosen):
            is_wanted = False
            for destination_id in chosen.destination_ids:
                place = self.content.places.get(destination_id)
                if place is None:
                    continue
                entry = next((entry for entry in place.entries if entry.event.id == event.id), None)
                if chosen.everybody and not _is_for(event, destination_id):
                    continue
                if chosen.failed if entry is None else entry.state is State.WAITING:
                    continue
                is_wanted = True
                if not dry and entry is None:
                    place.entries.append(_Entry(event, now, is_first=False))
                elif not dry and entry is not None:
                    place.send_again(entry, now)
            replayed += is_wanted
        return replayed

    def _chosen(self, chosen: Replay) -> list[_Event]:
        events = self.content.events
        if chosen.event_ids:
            first = {event.id: event for event in reversed(events)}
            missing = chosen.event_ids - first.keys()
            if missing:
                raise UsageError(f"there is no event {min(missing)!r} in the log (any more)")
            found = [first[event_id] for event_id in sorted(chosen.event_ids)]
        else:
            since, until = chosen.since or 0, chosen.until
            by_time = [(times.from_text(event.at), event) for event in events]
            found = [event for at, event in by_time if since <= at and (until is None or at <= until)]
        return [event for event in found if chosen.event in (None, event.name)]

    def dump(self) -> Iterator[Record]:
        events = self.content.events
        yield from (Record(event=event) for event in events)
        for destination_id, place in self.content.places.items():
            left = {event.number for event in events if any(entry.is_first_of(event) for entry in place.entries)}
            done = [index for index, event in enumerate(events) if event.number not in left]
            passed = next((count for count, number in enumerate(done) if count != number), len(done))
            yield Record(destination_id=destination_id, passed=passed, ahead=tuple(done[passed:]), outage=place.outage)
            for entry in place.entries:
                if not entry.is_first_of(entry.event):
                    yield Record(destination_id=destination_id, pending=entry.pending(), failed_at=entry.failed_at)
            for told in place.told:
                if told.attempt is not None:
                    yield Record(destination_id=destination_id, attempt=told.attempt)
                else:
                    yield Record(destination_id=destination_id, dropped=told.event_id, failed_at=told.at)

    def restore(self, records: Iterable[Record]) -> None:
        if self.content.events or self.content.places:
            raise UsageError("the queue is not empty")
        for record in records:
            if record.destination_id is None and record.event is not None:
                self.content.add(record.event)
            elif record.destination_id is not None:
                self._restore(record, record.destination_id)

    def _restore(self, record: Record, destination_id: str) -> None:
        place = self.content.places.setdefault(destination_id, _Place(self._schedule))
        if record.passed is not None:
            place.outage = record.outage
            for number, event in enumerate(self.content.events):
                if number >= record.passed and number not in record.ahead and _is_for(event, destination_id):
                    place.entries.append(_Entry(event, times.from_text(event.at)))
        if record.pending is not None:
            self._restore_pending(place, record.pending, record.failed_at)
        if record.attempt is not None:
            known = self.find(record.attempt.event_id)
            place.tell(known.number if known else -1, record.attempt)
        if record.dropped is not None:
            place.tell_dropped(-1, record.dropped, record.failed_at or 0)

    def _restore_pending(self, place: _Place, pending: Pending, failed_at: int | None) -> None:
        # The event of a dead delivery may be gone from the log.
        event = self.find(pending.event.id) or _copy(pending.event, -1)
        entry = _Entry(event, pending.next_attempt_at or 0, is_first=False)
        entry.state, entry.attempt, entry.failed_at = pending.state, pending.attempt, failed_at
        entry.due_at, entry.status, entry.error = pending.next_attempt_at, pending.last_status, pending.last_error
        place.entries.append(entry)

    @contextmanager
    def memo(self, name: str) -> Iterator[Memo]:
        if name in self.content.held:
            raise Busy(f"another process holds {name}")
        self.content.held.add(name)
        try:
            memo = Memo(self.content.memos.get(name))
            yield memo
            if memo.data is None:
                self.content.memos.pop(name, None)
            else:
                self.content.memos[name] = memo.data
        finally:
            self.content.held.remove(name)

    def read_memo(self, name: str) -> bytes | None:
        return self.content.memos.get(name)

    def tidy(self, ids: Iterable[str], before: int) -> None:
        content = self.content
        places = [content.places[found] for found in ids if found in content.places]
        needed = {one.event.number for place in places for one in place.entries if one.state is not State.DEAD}
        gone = takewhile(lambda one: one.number not in needed and times.from_text(one.at) < before, content.events)
        del content.events[: len(list(gone))]
        for place in places:
            place.told = [told for told in place.told if told.at >= before]

    def check(self, *, repair_at: str | None = None) -> Checked:
        return Checked(len(self.content.events), [], None)

    def check_recent(self, size: int) -> Checked:
        return Checked(len(self.recent_events(size)), [], None)

    def close(self) -> None:
        if self in self.content.drains:
            self.content.drains.remove(self)


def _copy(event: Draft | Event, number: int) -> _Event:
    return _Event(event.id, event.name, event.at, event.body, event.to, number)


def _is_for(event: Event, destination_id: str) -> bool:
    return event.to is None or destination_id in event.to


def _newest(found: list[Item], size: int, size_of: Callable[[Item], int]) -> list[Item]:
    """The newest items, at most `size` bytes in total."""
    sizes = list(accumulate(map(size_of, reversed(found))))
    return found[len(found) - bisect_right(sizes, size) :]
