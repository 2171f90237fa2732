"""What is due for a destination: first attempts from the event log, retries from its journal.

There are five lanes, each first in, first out. A lane knows its head without reading further. `pop` marks deliveries as
in flight; it may return none if the head turned out void or damaged, and the journal then says why.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, NamedTuple

from arkcli import times
from arkcli.model import Outcome, RetrySchedule
from arkcli.queue.local import lines
from arkcli.queue.local.addressed import id_sum
from arkcli.queue.local.deadletters import DeadLetters
from arkcli.queue.local.eventlog import EventLog, is_for
from arkcli.queue.local.journal import Journal
from arkcli.queue.local.lines import AttemptLine, DropLine
from arkcli.queue.local.progress import Progress
from arkcli.queue.local.segments import Line
from arkcli.queue.local.stored import Instead, StoredDelivery, StoredEvent

_FAILED: Final = b'"outcome":"failed"'
#: If fewer than one event in this many is for a destination, its events are read one by one.
_SPARSE: Final = 8
#: How many of those are read at a time.
_AT_ONCE: Final = 32
#: Skipping this many bytes counts as one line when a checkpoint is considered.
_LINE: Final = 1024


class UnderWay:
    """What a claim has in flight, not yet recorded: events and journal lines, by position.

    A lane that is read again must not return them twice, and nothing may replace a delivery that is in flight.
    """

    def __init__(self, beyond: int) -> None:
        """`beyond` is one more than the last attempt."""
        self._beyond = beyond
        self.events: set[int] = set()
        self.lines: set[int] = set()

    def begin(self, delivery: StoredDelivery) -> None:
        """Adds a delivery that is being attempted."""
        if delivery.after is None:
            self.events.add(delivery.event.position)
        else:
            self.lines.add(delivery.after[0])
        instead = delivery.instead
        if instead is not None and instead[0] != self._beyond:
            self.lines.add(instead[1])

    def end(self, deliveries: Iterable[StoredDelivery]) -> None:
        """Removes deliveries that the journal has recorded."""
        for delivery in deliveries:
            after, instead = delivery.after, delivery.instead
            if after is None:
                self.events.discard(delivery.event.position)
            else:
                self.lines.discard(after[0])
            if instead is not None and instead[0] != self._beyond:
                self.lines.discard(instead[1])


def arrived_at(event: StoredEvent, now: int | None) -> int:
    """When an event was accepted, and so its first attempt due (milliseconds, UTC); at most `now`, if given."""
    at = times.from_text(event.at)
    return at if now is None else min(at, now)


class Arrivals:
    """First attempts: the event log from the destination's cursor on."""

    def __init__(self, log: EventLog, journal: Journal, under_way: UnderWay, dead: DeadLetters) -> None:
        """`dead` has the destination's dead letters, perhaps including some that are no longer dead."""
        self._destination_id = journal.directory.name
        self._log = log
        self._journal = journal
        self._under_way = under_way
        self._dead = dead
        self._state = journal.state
        self._position = journal.state.first.cursor
        self._starts_at = 0
        self._read: deque[StoredEvent] = deque()
        #: Whether nearly all of the last block was for other destinations.
        self._is_sparse = False

    def behind(self, event: StoredEvent) -> "Arrivals":
        """A second reading, of the events accepted after this one. Both share what is in flight."""
        found = Arrivals(self._log, self._journal, self._under_way, self._dead)
        found._starts_at = found._position = event.position + event.length
        return found

    def head(self) -> StoredEvent | None:
        """The next event, without removing it."""
        if self._state is not self._journal.state:
            self._state = self._journal.state
            self._position = max(self._state.first.cursor, self._starts_at)
            self._read.clear()
        if not self._read and self._position < self._log.end:
            self._read_on()
        return self._read[0] if self._read else None

    def _read_on(self) -> None:
        progress = self._state.first
        while not self._read and self._position < self._log.end:
            passed = progress.passed(self._position)
            if passed is not None:
                self._position = passed
                continue
            if self._position < self._log.start:
                self._position = self._log.start
                progress.skip_to(self._position)
            if self._is_sparse and self._read_own(progress):
                continue
            events, following = self._log.block(self._position)
            if following == self._position:
                break
            # After everything that is finished, no event has to be looked up.
            is_news = self._position >= progress.end
            for event in events:
                position = event.position
                is_done = not is_news and progress.passed(position) is not None
                if is_done or position in self._under_way.events:
                    continue
                if isinstance(event, StoredEvent) and is_for(event, self._destination_id):
                    self._read.append(event)
                else:
                    progress.finish(position, position + event.length, 0)
            if is_news and isinstance(event, StoredEvent):
                self._state.newest = event.position, event.length, event.id
            self._position = following
            self._is_sparse = len(self._read) * _SPARSE < len(events)
            self._journal.passed_over(len(events) - len(self._read))

    def _read_own(self, progress: Progress) -> bool:
        """Reads events whose `to` names this destination, up to the next event for all destinations; skips the others.

        False if the next event is for all destinations.
        """
        begin, is_news = self._position, self._position >= progress.end
        until = self._log.addressed.without_broadcast(begin, self._log.end)
        own = list(islice(self._log.addressed.index.rows(self._destination_id, begin, until), _AT_ONCE))
        for _, start, length, _ in own:
            progress.pass_over(self._position, start)
            self._position = start + length
            if progress.passed(start) is None and start not in self._under_way.events:
                event = self._log.event_at(start, length)
                if event is not None and is_for(event, self._destination_id):
                    self._read.append(event)
                else:
                    progress.pass_over(start, self._position)
        if len(own) < _AT_ONCE:
            progress.pass_over(self._position, until)
            self._position, self._is_sparse = max(self._position, until), False
        seen = self._log.last_before(self._position) if is_news and self._position > begin else None
        if seen is not None:
            self._state.newest = seen.position, seen.length, seen.id
        self._journal.passed_over((self._position - begin) // _LINE)
        return self._position > begin

    def due_at(self, now: int | None = None) -> int | None:
        """When the oldest event was accepted (milliseconds, UTC) and so became due. None if there is none.

        With `now`, an event dated later is due now: the clock was set back.
        """
        event = self.head()
        return None if event is None else arrived_at(event, now)

    def oldest_at(self) -> int | None:
        """When the oldest event was accepted."""
        return self.due_at()

    def is_due(self, now: int) -> bool:  # noqa: ARG002 - an accepted event is due, whatever the clock says
        """Whether there is an event."""
        return bool(self._read) or self.head() is not None

    def each(self) -> Iterator[StoredEvent]:
        """Removes and yields all events, with no other effect."""
        while self.head() is not None:
            yield self._read.popleft()

    def pop(self, most: int) -> list[StoredDelivery]:
        """Takes up to `most` first attempts, oldest first, from the events that have been read.

        Voids an event that was to replace a delivery that has gone on.
        """
        found: list[StoredDelivery] = []
        while self._read and len(found) < most:
            event = self._read.popleft()
            if event.instead is None:
                # Nearly always: the same as `begin`, without its calls.
                found.append(StoredDelivery(event, 1))
                self._under_way.events.add(event.position)
            elif (delivery := self.begin(event)) is None:
                self._void(event)
            else:
                found.append(delivery)
        return found

    def begin(self, event: StoredEvent) -> StoredDelivery | None:
        """Takes an event's first attempt; None if it was to replace a delivery that has gone on."""
        instead = event.instead.get(self._destination_id) if event.instead else None
        if instead is not None and not self.may_replace(instead, id_sum(event.id)):
            return None
        delivery = StoredDelivery(event, 1, None, instead)
        # At once: the next event may want to replace the same delivery.
        self._under_way.begin(delivery)
        return delivery

    def settle(self) -> None:
        """Voids heads that were to replace a delivery that has gone on: they are not due."""
        while (event := self.head()) is not None and event.instead:
            instead = event.instead.get(self._destination_id)
            if instead is None or self.may_replace(instead, id_sum(event.id)):
                return
            self._read.popleft()
            self._void(event)

    def _void(self, event: StoredEvent) -> None:
        self._journal.append([DropLine(event.position, event.length, event.id, event.name, "void", 1, event.at)])

    def may_replace(self, instead: Instead, event_sum: int) -> bool:
        """Whether the delivery to replace still waits and is not in flight. `event_sum` is the event's `id_sum`."""
        attempt, start, length = instead
        if attempt == self._journal.state.beyond:
            return self._dead.holds(start) and start not in self._journal.state.gone
        if not 2 <= attempt < self._journal.state.beyond or start in self._under_way.lines:
            return False
        if self._journal.state.lanes[attempt - 2].passed(start) is not None:
            return False
        # After a power failure, other lines may be at a position where the journal once had this one.
        entry = self._journal.entry_at(start, length)
        return isinstance(entry, AttemptLine) and (id_sum(entry.id), entry.attempt) == (event_sum, attempt - 1)


class Waiting(NamedTuple):
    """A journal line "attempt k failed" whose retry waits. Times are milliseconds, UTC."""

    start: int
    end: int
    entry: AttemptLine
    failed_at: int


class Retries:
    """Deliveries that wait after `attempt` failed: the journal's lines about that, from the lane's cursor on."""

    def __init__(
        self,
        attempt: int,
        log: EventLog,
        journal: Journal,
        schedule: RetrySchedule,
        under_way: UnderWay,
        before: int | None = None,
    ) -> None:
        """With `before`, leaves out deliveries whose events are at or after that position in the log."""
        self._before = before
        self._attempt = attempt
        self._words = b'"attempt":%d,' % attempt
        self._log = log
        self._journal = journal
        self._under_way = under_way
        self._state = journal.state
        self._schedule = schedule
        self._position = self._state.lanes[attempt - 1].cursor
        self._read: deque[Waiting] = deque()

    def head(self) -> Waiting | None:
        """The line of the earliest failure, without removing it."""
        if not self._journal.state.retrying[self._attempt - 1]:
            return None
        if self._state is not self._journal.state:
            self._state = self._journal.state
            self._position = self._state.lanes[self._attempt - 1].cursor
            self._read.clear()
        while self._read and self._is_settled(self._read[0].start):
            self._read.popleft()
        if not self._read:
            self._read_on()
        return self._read[0] if self._read else None

    def _is_settled(self, start: int) -> bool:
        return start in self._under_way.lines or self._state.lanes[self._attempt - 1].passed(start) is not None

    def _read_on(self) -> None:
        progress = self._state.lanes[self._attempt - 1]
        self._position = max(self._position, progress.cursor)
        while not self._read and self._position < self._state.journal:
            passed = progress.passed(self._position)
            if passed is not None:
                self._position = passed
                continue
            block, following = self._journal.block(self._position)
            if not block:
                return
            for line in block:
                if not self._is_settled(line.start):
                    self._sort_out(line)
                if self._state is not self._journal.state:
                    self.head()
                    return
            self._position = following

    def _sort_out(self, line: Line) -> None:
        # The line was whole when the state was saved, so the state counts it.
        if not line.is_whole and self._journal.rebuild(line.start):
            return
        # Most lines are not of this lane; looking for the words is cheaper than decoding.
        mine = self._words in line.text and _FAILED in line.text
        if mine and self._before is not None and lines.position_of(line.text) >= self._before:
            return
        entry = self._journal.decode(line) if mine else None
        if isinstance(entry, AttemptLine) and entry.attempt == self._attempt and entry.outcome == Outcome.FAILED:
            self._read.append(Waiting(line.start, line.end, entry, times.from_text(entry.at)))
        else:
            self._state.lanes[self._attempt - 1].finish(line.start, line.end, 0)

    def due_at(self, now: int | None = None) -> int | None:
        """When the head is due (milliseconds, UTC). See `Arrivals.due_at`."""
        head = self.head()
        return None if head is None else self._schedule.next_attempt_at(self._attempt, head.failed_at, now)

    def oldest_at(self) -> int | None:
        """When the head's event was accepted; None if the lane is empty or the event cannot be read."""
        head = self.head()
        event = self._log.event_at(head.entry.pos, head.entry.len) if head else None
        return times.from_text(event.at) if event else None

    def is_due(self, now: int) -> bool:
        """Whether the head is due, or the clock was set back to before its failure."""
        head = self.head()
        return head is not None and self._schedule.is_due(self._attempt, head.failed_at, now)

    def each(self) -> Iterator[Waiting]:
        """Removes and yields all lines, with no other effect."""
        while self.head() is not None:
            yield self._read.popleft()

    def pop(self, most: int) -> list[StoredDelivery]:  # noqa: ARG002 - the next one may not be due yet
        """The head's next attempt. If its event cannot be read, returns none and discards it in the journal."""
        start, end, entry, _ = self._read.popleft()
        event = self._log.event_at(entry.pos, entry.len)
        after = (start, end - start)
        if event is not None and event.id == entry.id:
            delivery = StoredDelivery(event, entry.attempt + 1, after)
            self._under_way.begin(delivery)
            return [delivery]
        self._journal.append(
            [DropLine(entry.pos, entry.len, entry.id, entry.event, "damaged", entry.attempt + 1, entry.at, after)]
        )
        return []
