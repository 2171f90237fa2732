"""Fills an empty queue from any engine's dump. See `Record` for the order.

In each destination's journal the first segment holds the dumped history. The second begins with a snapshot of the
destination's state, which counts even if it does not follow from the history. If damage makes ark fold the state from
the first segment on, every delivery that was pending is pending again, perhaps with an earlier attempt.
"""

from array import array
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import closing
from itertools import chain, groupby, pairwise
from operator import attrgetter
from pathlib import Path
from typing import Final

import msgspec

from arkcli import times
from arkcli.errors import Busy, NotAccepted, UsageError
from arkcli.model import Attempt, Draft, Event, Outcome, RetrySchedule, State
from arkcli.queue.engine import Pending, Record
from arkcli.queue.local import lines
from arkcli.queue.local.deadletters import DeadLetters
from arkcli.queue.local.eventlog import EventLog, is_for
from arkcli.queue.local.journal import Journal
from arkcli.queue.local.lines import AttemptLine, DeadLine, DropLine, Snapshot
from arkcli.queue.local.members import hidden_place, remove_hidden
from arkcli.queue.local.notes import write_outage
from arkcli.queue.local.progress import Progress
from arkcli.queue.local.segments import Segments
from arkcli.queue.local.state import DestinationState, joined
from arkcli.queue.local.stored import StoredDraft
from arkcli.system import files

#: The most lines, and about the most body bytes, written at once.
_BATCH: Final = 1_000
_BATCH_SIZE: Final = 4 * 1024 * 1024
#: The event's position and length in a journal line if the event is gone, or if the line must not count in a fold.
_NOWHERE: Final = (-1, 0)
_MISPLACED: Final = "a record of a destination comes before its place, or an event comes after a place"
_DISTURBED: Final = (
    "another process sent events while the queue was filled; remove the queue, stop that process and try again"
)

#: The last attempt of a retrying delivery: event id, number, and when it failed.
_Key = tuple[str, int, int]
#: Start and length of a line.
_Line = tuple[int, int]


def restore(directory: Path, log: EventLog, schedule: RetrySchedule, records: Iterable[Record]) -> None:
    """Fills the queue in a directory, where nothing has been accepted and no destination has joined, and syncs it.

    `schedule` must be that of the dumped queue: retries fall due by it, counted from the last failed attempt. The
    destinations appear when all of them are complete. Takes memory for the ids of all events and for what is pending.
    Raises UsageError if the queue is not empty or the records are invalid, NotAccepted if the disk is full, and Busy if
    another process used the queue. After these, and after a crash, the queue may be filled in part: then another try
    raises UsageError, which says so, and the directory has to be removed first.
    """
    places = directory / "destinations"
    with closing(files.Lock(directory / "lock")) as lock, lock.held():
        _check_empty(directory, log)
        try:
            remove_hidden(places)
            for hidden, place in _fill(places, log, schedule, records):
                files.rename(hidden, place)
        except (OSError, NotAccepted) as error:
            reason = error.reason if isinstance(error, NotAccepted) else error.strerror or str(error)
            raise NotAccepted(reason, f"{directory} was filled only in part; try again") from error
        finally:
            remove_hidden(places)


def _check_empty(directory: Path, log: EventLog) -> None:
    holds = "events" if log.look() else ""
    if any(not found.name.startswith(".") for found in (directory / "destinations").iterdir()):
        holds = "destinations"
    if holds:
        raise UsageError(
            f"the queue in {directory} already has {holds}; only an empty queue can be filled. "
            "After an interrupted try, remove that directory first"
        )


def _fill(places: Path, log: EventLog, schedule: RetrySchedule, records: Iterable[Record]) -> list[tuple[Path, Path]]:
    """Writes everything; returns the destinations' hidden directories, and their final names."""
    events = _Events(log)
    made: list[tuple[Path, Path]] = []
    for destination_id, group in groupby(records, attrgetter("destination_id")):
        first = next(group)
        if destination_id is None and not made:
            for record in chain((first,), group):
                events.add(record)
        elif destination_id is not None and first.passed is not None:
            hidden = hidden_place(places, destination_id)
            made.append((hidden, places / destination_id))
            with closing(_Filled(hidden, first, events, schedule)) as place:
                for record in group:
                    place.take(record)
                place.finish()
        else:
            raise UsageError(_MISPLACED)
    events.finish()
    return made


class _Events:
    """The restored events, by number and by id, and where their lines are."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._batch: list[Draft] = []
        self._size = 0
        self._starts, self._lengths = array("q"), array("q")
        self._numbers: dict[str, int] = {}
        self._end = 0

    def add(self, record: Record) -> None:
        """Adds the next event. Raises UsageError."""
        event = record.event
        if event is None:
            raise UsageError(_MISPLACED)
        self._add(Draft(event.id, event.name, event.at, event.body, event.to))

    def add_for(self, destination_id: str, event: Event) -> _Line:
        """Adds an event that was not dumped with the others, for one destination; returns its line."""
        self._flush()
        (added,) = self._accept([Draft(event.id, event.name, event.at, event.body, (destination_id,))])
        return added

    def send_again(self, destination_id: str, event: Event, at: str) -> None:
        """Writes a line that sends an event again to one destination, due at `at` (ISO 8601)."""
        self._add(StoredDraft(event.id, event.name, at, event.body, (destination_id,), {}))

    def _add(self, draft: Draft) -> None:
        self._batch.append(draft)
        self._size += len(draft.body)
        if len(self._batch) >= _BATCH or self._size >= _BATCH_SIZE:
            self._flush()

    def _flush(self) -> None:
        batch, self._batch, self._size = self._batch, [], 0
        for draft, (start, length) in zip(batch, self._accept(batch), strict=True):
            if not isinstance(draft, StoredDraft):
                self._numbers.setdefault(draft.id, len(self._starts))
                self._starts.append(start)
                self._lengths.append(length)

    def _accept(self, drafts: Sequence[Draft]) -> list[_Line]:
        found = [(event.position, event.length) for event in self._log.accept(drafts)]
        if found and found[0][0] != self._end:
            raise Busy(_DISTURBED)
        self._end = sum(found[-1]) if found else self._end
        return found

    def finish(self) -> None:
        """Writes what is left."""
        self._flush()
        if self._log.look() != self._end:
            raise Busy(_DISTURBED)

    def line_of(self, event_id: str) -> _Line | None:
        """The line of the first event restored under an id."""
        number = self._numbers.get(event_id)
        return None if number is None else (self._starts[number], self._lengths[number])

    def progress(self, passed: int, ahead: Iterable[int], undone: Iterable[str] = ()) -> Progress:
        """Progress in positions from progress in event numbers; the events `undone` count as unfinished."""
        self._flush()
        left = {self._numbers[event_id] for event_id in undone if event_id in self._numbers}
        within = sorted(number for number in left if number < passed)
        stretches = [(before + 1, after) for before, after in pairwise([-1, *within, passed])]
        found = Progress(self._start(stretches[0][1]))
        for begin, end in stretches[1:]:
            if begin < end:
                found.finish(self._start(begin), self._start(end), end - begin)
        for number in sorted(set(ahead) - left):
            found.finish(self._start(number), self._start(number + 1))
        return found

    def _start(self, number: int) -> int:
        """Where an event's line begins; for the number after the last event, where that one ends."""
        if number < len(self._starts):
            return self._starts[number]
        return self._starts[-1] + self._lengths[-1] if self._starts else 0


class _Filled:
    """A destination while it is filled, in a hidden directory."""

    def __init__(self, directory: Path, record: Record, events: _Events, schedule: RetrySchedule) -> None:
        self.destination_id = record.destination_id or ""
        self._directory = directory
        self._passed = record.passed or 0
        self._ahead = record.ahead
        self._events = events
        self._schedule = schedule
        self._first = events.progress(self._passed, self._ahead)
        files.make_directory(directory)
        write_outage(directory, record.outage)
        self._dead_letters = DeadLetters(directory / "dead.jsonl")
        self._letters: list[DeadLine] = []
        self._size = 0
        self._dead: set[str] = set()
        #: The last attempts of retrying deliveries, and the lines of their events.
        self._retrying: dict[_Key, tuple[Attempt, _Line]] = {}
        #: The ids of events with a pending delivery.
        self._pending: set[str] = set()
        #: The history waits here until all of it has come: only then is it known which lines matter.
        self._spool = files.nameless(directory)
        self._count = 0
        #: Numbers of history records: the newest first attempts at pending events, and the failures whose retries wait.
        self._begun: dict[str, int] = {}
        self._waiting: dict[_Key, int] = {}

    def take(self, record: Record) -> None:
        """Adds a delivery or a history record. Raises UsageError."""
        if record.passed is not None:
            raise UsageError(_MISPLACED)
        if record.pending is not None:
            self._take_pending(record.pending, record.failed_at)
            return
        if record.attempt is not None:
            key = _key(record.attempt)
            if key[0] in self._pending and record.attempt.attempt == 1:
                self._begun[key[0]] = self._count
            if key in self._retrying and record.attempt.outcome is Outcome.FAILED:
                self._waiting[key] = self._count
        self._spool.write(msgspec.json.encode(record) + b"\n")
        self._count += 1

    def _take_pending(self, pending: Pending, failed_at: int | None) -> None:
        event, attempt = pending.event, pending.attempt
        if pending.state is State.WAITING and self._is_to_come(event):
            # Its place in the log says that it waits.
            return
        self._pending.add(event.id)
        line = self._line_of(event)
        if pending.state is State.WAITING:
            due_at = pending.next_attempt_at
            self._events.send_again(self.destination_id, event, event.at if due_at is None else times.to_text(due_at))
            return
        failed = times.from_text(event.at) if failed_at is None else failed_at
        status, error = pending.last_status, pending.last_error
        if pending.state is State.DEAD:
            at = times.to_text(failed)
            self._bury(DeadLine(*line, event.id, event.at, event.name, at, event.body, status, error))
        elif 1 <= attempt < self._schedule.attempts:
            made = Attempt(event.id, event.name, attempt, failed, Outcome.FAILED, status, error, 0, "")
            self._retrying[_key(made)] = made, line
        else:
            raise UsageError(f"attempt {attempt} at {event.id} cannot be followed by another one in this schedule")

    def _is_to_come(self, event: Event) -> bool:
        """Whether the event still waits in the log for its first attempt."""
        line = self._events.line_of(event.id)
        return line is not None and self._first.passed(line[0]) is None and is_for(event, self.destination_id)

    def _line_of(self, event: Event) -> _Line:
        """The line of an event whose first attempt has been made."""
        line = self._events.line_of(event.id)
        if line is None or self._is_to_come(event):
            # The dump did not contain it, or contained another one with this id.
            line = self._events.add_for(self.destination_id, event)
            self._first.finish(line[0], sum(line))
        return line

    def _bury(self, letter: DeadLine) -> None:
        self._dead.add(letter.id)
        self._letters.append(letter)
        self._size += len(letter.body)
        if len(self._letters) >= _BATCH or self._size >= _BATCH_SIZE:
            self._keep_letters()

    def _keep_letters(self) -> None:
        if self._letters:
            self._dead_letters.keep(self._letters)
            self._letters, self._size = [], 0

    def finish(self) -> None:
        """Writes what is left; returns when all of it is on stable storage."""
        self._keep_letters()
        writer = _Writer(self._directory, self._beginning(), len(self._schedule.delays))
        with closing(writer):
            self._write_told(writer)
            writer.finish(self._first, len(self._dead))
        files.sync_directory(self._directory)

    def close(self) -> None:
        """Closes what is open."""
        self._spool.close()

    def _beginning(self) -> Snapshot:
        """The state before the history, which leads to roughly the final state. Nothing pending has been attempted."""
        undone = {event_id for event_id, _, _ in self._retrying} | (self._dead & self._begun.keys())
        first = self._events.progress(self._passed, self._ahead, undone)
        beginning = joined(first.cursor, len(self._schedule.delays))
        dead = len(self._dead - self._begun.keys())
        return msgspec.structs.replace(beginning, first=(first.cursor, first.ranges), dead=dead)

    def _write_told(self, writer: "_Writer") -> None:
        untold = (found for key, found in self._retrying.items() if key not in self._waiting)
        missing = deque(sorted(untold, key=lambda found: found[0].at))
        waiting = set(self._waiting.values())
        self._spool.seek(0)
        for number, text in enumerate(self._spool):
            told = msgspec.json.decode(text, type=Record)
            if told.attempt is not None:
                # Lines have to be in the order in which they fall due.
                while missing and missing[0][0].at < told.attempt.at:
                    writer.attempt(*missing.popleft(), waits=True)
                writer.attempt(told.attempt, self._line_told(number, told.attempt), waits=number in waiting)
            elif told.dropped is not None:
                writer.drop(told.dropped, told.failed_at or 0)
        for attempt, line in missing:
            writer.attempt(attempt, line, waits=True)
        for event_id, (_, at, _, _) in list(writer.failed.items()):
            kept = self._events.line_of(event_id)
            # A delivery that failed and does not wait was dropped.
            if event_id not in self._pending and (kept is None or self._first.passed(kept[0]) is not None):
                writer.drop(event_id, at)

    def _line_told(self, number: int, attempt: Attempt) -> _Line:
        """The line of an attempt's event, as its journal line is to name it."""
        key, event_id = _key(attempt), attempt.event_id
        if self._waiting.get(key) == number:
            return self._retrying[key][1]
        is_older = event_id in self._pending and number < self._begun.get(event_id, self._count)
        return _NOWHERE if is_older else self._events.line_of(event_id) or _NOWHERE


def _key(attempt: Attempt) -> _Key:
    return attempt.event_id, attempt.attempt, attempt.at


class _Writer:
    """Writes a new journal, and keeps count of what waits in it."""

    def __init__(self, directory: Path, beginning: Snapshot, retries: int) -> None:
        Journal.create(directory, beginning)
        self._segments = Segments(directory / "journal")
        self._batch: list[bytes] = []
        self._written = self._end = self._segments.look()
        self._state = DestinationState(joined(0, retries))
        for lane in self._state.lanes:
            lane.finish(0, self._end, 0)
        #: The last attempt of each failed delivery, by event id: number, time, and start and length of its line.
        self.failed: dict[str, tuple[int, int, int, int]] = {}

    def attempt(self, made: Attempt, event: _Line, *, waits: bool) -> None:
        """Writes an attempt at the event with this line. `waits`: its retry is still to be made."""
        number, _, *before = self.failed.pop(made.event_id, (0, 0, 0, 0))
        after = (before[0], before[1]) if 0 < number == made.attempt - 1 else None
        about = (made.event_id, made.event, made.attempt, times.to_text(made.at), made.outcome, made.duration_ms)
        result = (made.status, made.error, made.excerpt, after)
        self._state.last = AttemptLine(*(*event, *about, *result))
        begin = self._write(lines.encode(self._state.last), made.attempt - 1 if waits else None)
        if waits:
            self._state.retrying[made.attempt - 1] += 1
        if made.outcome is Outcome.FAILED:
            self.failed[made.event_id] = (made.attempt, made.at, begin, self._end - begin)

    def drop(self, event_id: str, at: int) -> None:
        """Writes a line for a dropped delivery."""
        self.failed.pop(event_id, None)
        self._write(lines.encode(DropLine(*_NOWHERE, event_id, "", "drop", 1, times.to_text(at))), None)

    def _write(self, text: bytes, lane: int | None) -> int:
        """Writes a line that waits in a lane, or in none; returns where it begins."""
        begin, self._end = self._end, self._end + len(text)
        for number, progress in enumerate(self._state.lanes):
            if number != lane:
                progress.finish(begin, self._end, 0)
        self._batch.append(text)
        if len(self._batch) >= _BATCH:
            self._flush()
        return begin

    def _flush(self) -> None:
        self._segments.append(b"".join(self._batch), self._written)
        self._batch, self._written = [], self._end

    def finish(self, first: Progress, dead: int) -> None:
        """Ends the journal with the final state, and syncs it."""
        self._flush()
        self._state.journal, self._state.first, self._state.dead = self._end, first, dead
        self._segments.begin(self._end)
        self._segments.append(lines.encode_snapshot(self._state.snapshot()), self._end)
        self._segments.sync()

    def close(self) -> None:
        """Closes what is open."""
        self._segments.close()
