"""Dumps everything in a queue as records that every engine can restore. See `Record` for their order.

A line that sends an event again is dumped as a waiting delivery, not as an event. If the event's own line is gone, that
line, or a dead letter, is dumped as the event.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from itertools import chain
from pathlib import Path

import msgspec

from arkcli import times
from arkcli.model import Event, RetrySchedule, State
from arkcli.queue.engine import Pending, Record
from arkcli.queue.local.deadletters import DeadLetters
from arkcli.queue.local.eventlog import EventLog, is_for
from arkcli.queue.local.journal import Journal
from arkcli.queue.local.lines import AttemptLine, DeadLine
from arkcli.queue.local.notes import read_outage
from arkcli.queue.local.stored import StoredEvent, StoredPending
from arkcli.queue.local.view import View

#: Claims a destination for a block. Takes its id and a purpose shown to others. Raises Held.
Claiming = Callable[[str, str], AbstractContextManager[object]]


def dump(held: Claiming, log: EventLog, places: Path, schedule: RetrySchedule) -> Iterator[Record]:
    """Everything in the queue except what is damaged. `places` is the directory of the destinations.

    Every destination stays claimed from the first record to the last, or until the iterator is closed. The first record
    raises Held if another process has claimed one. Memory grows with the pending and resent deliveries, not with the
    number of events. The log is read twice, and once more for each destination from its cursor on.
    """
    ids = sorted(found.name for found in places.iterdir() if found.is_dir() and not found.name.startswith("."))
    with ExitStack() as stack:
        for destination_id in ids:
            stack.enter_context(held(destination_id, "dump"))
        end = log.look()
        found = [_Given(places / destination_id, log, schedule) for destination_id in ids]
        yield from _Dump(log, end, found, schedule).records()


class _Sought(msgspec.Struct):
    """An event that was sent again or is dead somewhere, so that it must be found by its id.

    `to`: the destinations concerned. `letter`: the event's position in its oldest dead letter. `is_logged`: whether its
    own line is known to be in the log. `given`: the event as dumped, without its body.
    """

    to: set[str]
    letter: int | None = None
    is_logged: bool = False
    given: Event | None = None


class _Given:
    """A destination while it is dumped: what it has passed, as numbers of events."""

    def __init__(self, directory: Path, log: EventLog, schedule: RetrySchedule) -> None:
        self.destination_id = directory.name
        self.journal = Journal(directory, len(schedule.delays))
        self._letters = DeadLetters(directory / "dead.jsonl")
        self.view = View(log, self.journal, schedule)
        # A damaged line makes the journal fold its state again, so read all retries before using the state.
        self.view.needed_from(log.end)
        self.view.close()
        self.first = self.journal.state.first
        self.died_at = {letter.pos: times.from_text(letter.died_at) for letter in self.letters()}
        self.passed = 0
        self.ahead: list[int] = []

    def letters(self) -> Iterator[DeadLine]:
        """The letters of deliveries that are still dead."""
        return (letter for letter in self._letters if letter.pos not in self.journal.state.gone)

    def see(self, number: int, position: int, event: Event, *, is_done: bool) -> None:
        """Counts an event at or after the cursor."""
        is_done = is_done or self.first.passed(position) is not None
        is_mine = is_for(event, self.destination_id)
        if number == self.passed and (is_done or not is_mine):
            self.passed += 1
        elif is_done and is_mine:
            self.ahead.append(number)


class _Dump:
    """One dump of a queue whose destinations are all claimed."""

    def __init__(self, log: EventLog, end: int, places: Sequence[_Given], schedule: RetrySchedule) -> None:
        self._log = log
        self._end = end
        self._places = places
        self._schedule = schedule
        self._sought: dict[str, _Sought] = {}
        self._count = 0
        #: The destinations whose cursors have not been reached, the next one last; and those whose cursors have.
        self._before = sorted(places, key=lambda place: place.first.cursor, reverse=True)
        self._reached: list[_Given] = []

    def records(self) -> Iterator[Record]:
        """All records, in order."""
        self._seek()
        yield from (Record(event=event) for event in chain(self._from_letters(), self._from_log()))
        for place in self._before:
            place.passed = self._count
        for place in self._places:
            yield from self._place(place)

    def _events(self) -> Iterator[StoredEvent]:
        return (event for event in self._log.events() if event.position < self._end)

    def _seek(self) -> None:
        """Finds the events that have dead letters or were sent again, and may have no line of their own."""
        for place in self._places:
            for letter in place.letters():
                sought = self._sought.setdefault(letter.id, _Sought(set()))
                sought.to.add(place.destination_id)
                sought.letter = letter.pos if sought.letter is None else min(sought.letter, letter.pos)
        for event in self._events():
            if event.instead is not None:
                self._sought.setdefault(event.id, _Sought(set())).to.update(event.to or ())
            elif event.id in self._sought:
                self._sought[event.id].is_logged = True

    def _from_letters(self) -> Iterator[Event]:
        """The events that exist only as dead letters, because they are older than the log."""
        for place in self._places:
            for letter in place.letters():
                sought = self._sought[letter.id]
                if sought.given is None and not sought.is_logged and letter.pos == sought.letter:
                    event = Event(letter.id, letter.event, letter.at, letter.body, tuple(sorted(sought.to)))
                    sought.given = _without_body(event)
                    self._count += 1
                    yield event

    def _from_log(self) -> Iterator[Event]:
        for event in self._events():
            sought = self._sought.get(event.id)
            is_again = event.instead is not None
            if is_again and sought is not None and sought.given is not None:
                continue
            # The event's own line is gone, and with it its destinations. Use those to which it was sent again.
            to = tuple(sorted(sought.to)) if is_again and sought is not None else event.to
            given = Event(event.id, event.name, event.at, event.body, to)
            if sought is not None and sought.given is None:
                sought.given = _without_body(given)
            # If it still waits to be sent again, that is dumped as a delivery.
            self._pass(event.position, given, is_done=is_again)
            yield given

    def _pass(self, position: int, event: Event, *, is_done: bool) -> None:
        while self._before and self._before[-1].first.cursor <= position:
            place = self._before.pop()
            place.passed = self._count
            self._reached.append(place)
        for place in self._reached:
            place.see(self._count, position, event, is_done=is_done)
        self._count += 1

    def _place(self, place: _Given) -> Iterator[Record]:
        to = place.destination_id
        outage = read_outage(place.journal.directory)
        yield Record(destination_id=to, passed=place.passed, ahead=tuple(place.ahead), outage=outage)
        given: set[str] = set()
        for found in place.view.deliveries():
            event = found.event
            if found.state is State.WAITING and (event.instead is None or event.position >= self._end):
                continue
            if found.state is State.WAITING and event.id in given:
                # It was resent twice at the same moment.
                continue
            given.add(event.id)
            yield Record(destination_id=to, pending=self._plain(found), failed_at=self._failed_at(place, found))
        yield from self._told(place)
        place.view.close()

    def _plain(self, found: StoredPending) -> Pending:
        event, sought = found.event, self._sought.get(found.event.id)
        if sought is not None and sought.given is not None:
            plain = msgspec.structs.replace(sought.given, body=event.body)
        else:
            plain = Event(event.id, event.name, event.at, event.body, event.to)
        return Pending(plain, found.state, found.attempt, found.next_attempt_at, found.last_status, found.last_error)

    def _failed_at(self, place: _Given, found: StoredPending) -> int | None:
        if found.state is State.DEAD:
            return place.died_at[found.event.position]
        if found.state is State.WAITING or found.next_attempt_at is None:
            return None
        return found.next_attempt_at - self._schedule.delays[found.attempt - 1]

    def _told(self, place: _Given) -> Iterator[Record]:
        """The journal's history."""
        to, is_silent = place.destination_id, True
        for entry in place.journal.entries():
            if isinstance(entry, AttemptLine):
                is_silent = False
                yield Record(destination_id=to, attempt=entry.to_attempt())
            elif entry.action != "void":
                yield Record(destination_id=to, dropped=entry.id, failed_at=times.from_text(entry.at))
        last = place.journal.state.last
        if is_silent and last is not None:
            # The last attempt is still shown, although its line has been removed.
            yield Record(destination_id=to, attempt=last.to_attempt())


def _without_body(event: Event) -> Event:
    return msgspec.structs.replace(event, body=b"")
