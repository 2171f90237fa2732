"""What is due for a destination: first attempts from the event log, retries from its journal.

There are five lanes, and each is first in, first out. A lane's head is known without looking behind it.
"""

from collections import deque
from typing import Final, Protocol

from arkcli import times
from arkcli.model import Delivery, Event, Outcome
from arkcli.queue.eventlog import EventLog, Gap, is_for
from arkcli.queue.journal import Journal
from arkcli.queue.lines import AttemptLine, DropLine
from arkcli.queue.segments import Line
from arkcli.schedule import RetrySchedule

_FAILED: Final = b'"outcome":"failed"'


class Lane(Protocol):
    """One lane, read from its head."""

    def due_at(self) -> int | None:
        """When the head is due (milliseconds, UTC); None when the lane is empty."""

    def is_due(self, now: int) -> bool:
        """Whether the head may be attempted now."""

    def oldest_at(self) -> int | None:
        """When the head's event was accepted (milliseconds, UTC)."""

    def pop(self) -> Delivery | None:
        """Takes the head off; None when it turns out to be unreadable."""


class Arrivals:
    """First attempts: the event log from the destination's cursor on."""

    def __init__(self, destination_id: str, log: EventLog, journal: Journal) -> None:
        self._destination_id = destination_id
        self._log = log
        self._progress = journal.state.first
        self._position = self._progress.cursor
        self._read: deque[Event] = deque()
        self.damaged = 0

    def head(self) -> Event | None:
        """The next event, left where it is."""
        while not self._read and self._position < self._log.end:
            passed = self._progress.passed(self._position)
            if passed is not None and passed > self._position:
                self._position = passed
                continue
            if self._position < self._log.start:
                self._position = self._log.start
                self._progress.skip_to(self._position)
            events, following = self._log.block(self._position)
            if following == self._position:
                break
            for event in events:
                self._sort_out(event)
            self._position = following
        return self._read[0] if self._read else None

    def _sort_out(self, event: Event | Gap) -> None:
        if self._progress.passed(event.position) is not None:
            return
        if isinstance(event, Event) and is_for(event, self._destination_id):
            self._read.append(event)
            return
        self.damaged += isinstance(event, Gap)
        self._progress.finish(event.position, event.position + event.length, 0)

    def due_at(self) -> int | None:
        """When the oldest event was accepted: it has been due since."""
        event = self.head()
        return None if event is None else times.from_text(event.at)

    def oldest_at(self) -> int | None:
        """When the oldest event was accepted."""
        return self.due_at()

    def is_due(self, now: int) -> bool:  # noqa: ARG002 - what has arrived is due, whatever the clock says
        """Whether there is one."""
        return self.head() is not None

    def pop(self) -> Delivery | None:
        """The first attempt of the oldest event."""
        return Delivery(self._read.popleft(), 1)


class Retries:
    """What waits for its next attempt after `attempt` failed: those lines of the journal, from the lane's cursor on."""

    def __init__(self, attempt: int, log: EventLog, journal: Journal, schedule: RetrySchedule) -> None:
        self._attempt = attempt
        self._words = b'"attempt":%d,' % attempt
        self._log = log
        self._journal = journal
        self._progress = journal.state.lanes[attempt - 1]
        self._delay = schedule.delays[attempt - 1]
        self._position = self._progress.cursor
        self._read: deque[tuple[int, int, AttemptLine, int]] = deque()

    def head(self) -> tuple[AttemptLine, int] | None:
        """The line that failed first, and when that was; left where it is."""
        state = self._journal.state
        if not state.retrying[self._attempt - 1]:
            return None
        self._position = max(self._position, self._progress.cursor)
        while not self._read and self._position < state.journal:
            passed = self._progress.passed(self._position)
            if passed is not None and passed > self._position:
                self._position = passed
                continue
            block, following = self._journal.block(self._position)
            if not block:
                break
            for line in block:
                if self._progress.passed(line.start) is not None:
                    continue
                self._sort_out(line)
            self._position = following
        if not self._read:
            return None
        _, _, entry, failed_at = self._read[0]
        return entry, failed_at

    def _sort_out(self, line: Line) -> None:
        # Most lines are not of this lane; looking for the words is cheaper than decoding.
        entry = self._journal.decode(line) if self._words in line.text and _FAILED in line.text else None
        if isinstance(entry, AttemptLine) and entry.attempt == self._attempt and entry.outcome == Outcome.FAILED:
            self._read.append((line.start, line.end, entry, times.from_text(entry.at)))
        else:
            self._progress.finish(line.start, line.end, 0)

    def due_at(self) -> int | None:
        """When the head is due (milliseconds, UTC)."""
        head = self.head()
        return None if head is None else head[1] + self._delay

    def oldest_at(self) -> int | None:
        """When the event of the head was accepted; None when the lane is empty or its event cannot be read."""
        head = self.head()
        event = self._log.event_at(head[0].pos, head[0].len) if head else None
        return times.from_text(event.at) if event else None

    def is_due(self, now: int) -> bool:
        """Whether the head's time has come, or the clock was set back behind its failure."""
        head = self.head()
        return head is not None and (now >= head[1] + self._delay or head[1] > now)

    def pop(self) -> Delivery | None:
        """The next attempt of the head. None when its event cannot be read: then it is given up in the journal."""
        start, end, entry, _ = self._read.popleft()
        event = self._log.event_at(entry.pos, entry.len)
        after = (start, end - start)
        if event is not None and event.id == entry.id:
            return Delivery(event, entry.attempt + 1, after)
        drop = DropLine(entry.pos, entry.len, entry.id, entry.event, "damaged", entry.attempt + 1, entry.at, after)
        self._journal.append([drop])
        return None
