"""The queue on this host: the event log, and a journal for each destination. docs/internals.md describes it.

What the delivery loop asks of a queue is: accept events, claim a destination, hand out what is due, record outcomes.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from arkcli import files, times
from arkcli.errors import NotRecorded, Unreadable
from arkcli.model import Answer, Attempt, Delivery, Event, State
from arkcli.queue.deadletters import DeadLetters
from arkcli.queue.eventlog import Draft, EventLog
from arkcli.queue.journal import Journal
from arkcli.queue.lanes import Arrivals, Lane, Retries
from arkcli.queue.lines import AttemptLine
from arkcli.queue.segments import SEGMENT_SIZE
from arkcli.queue.state import LANES, joined
from arkcli.schedule import RetrySchedule

VERSION: Final = 1


class Standing(NamedTuple):
    """What waits for a destination. Times are milliseconds, UTC."""

    waiting: int
    retrying: tuple[int, ...]
    dead: int
    next_due_at: int | None
    oldest_at: int | None
    last: Attempt | None


class LocalQueue:
    """A queue in one directory, shared by any number of processes on this host."""

    def __init__(self, directory: Path, schedule: RetrySchedule, segment_size: int = SEGMENT_SIZE) -> None:
        """Opens the queue, and makes it where there is none. Raises Unreadable."""
        self._directory = directory
        self._schedule = schedule
        self._segment_size = segment_size
        self._journals: dict[str, Journal] = {}
        try:
            files.make_directory(directory / "events")
            files.make_directory(directory / "destinations")
            _check_version(directory / "VERSION")
            files.raise_descriptor_limit()
            self._log = EventLog(directory / "events", segment_size)
        except OSError as error:
            raise Unreadable(f"the queue in {directory} cannot be opened: {error.strerror}") from error

    def join(self, destination_ids: Iterable[str]) -> None:
        """Makes sure that each destination has its place; a new one starts at the end of the log."""
        for destination_id in destination_ids:
            place = self._place(destination_id)
            if place.is_dir():
                continue
            made = place.with_name(f".joining-{destination_id}-{os.getpid()}")
            files.remove_tree(made)
            Journal.create(made, joined(self._log.look()))
            try:
                files.rename(made, place)
            except OSError:
                # Another process was quicker.
                files.remove_tree(made)
                if not place.is_dir():
                    raise

    def leave(self, destination_id: str) -> None:
        """Forgets a destination and all that waits for it. The caller holds no claim on it."""
        files.remove_tree(self._place(destination_id))

    def accept(self, drafts: Sequence[Draft], *, unique: bool = False) -> list[Event]:
        """Makes events durable, all or none. See `EventLog.accept`. Raises NotAccepted."""
        return self._log.accept(drafts, unique=unique)

    @property
    def end(self) -> int:
        """The position behind the last event, as of the last look."""
        return self._log.end

    def look(self) -> int:
        """Looks for events that others have accepted; returns the position behind the last."""
        return self._log.look()

    def claim(self, destination_id: str, purpose: str) -> "Claim | None":
        """The sole right to deliver to a destination, until released; None when another process has it.

        `purpose` is what the lock file then says of the holder.
        """
        lock = files.Lock(self._place(destination_id) / "lock")
        if not lock.try_acquire():
            lock.close()
            return None
        try:
            lock.sign(f"{os.getpid()} {purpose}\n")
            journal = self._journal(destination_id)
            journal.load_to_append()
            return Claim(destination_id, self._place(destination_id), lock, self._log, journal, self._schedule)
        except BaseException:
            lock.close()
            raise

    def holder(self, destination_id: str) -> tuple[str, str]:
        """Who last held a destination's lock: the process id and the purpose, as it said itself."""
        process, _, purpose = files.read_holder(self._place(destination_id) / "lock").strip().partition(" ")
        return process, purpose

    def standing(self, destination_id: str) -> Standing:
        """What waits for a destination, read without its lock."""
        journal = Journal(self._place(destination_id), self._segment_size)
        try:
            state = journal.load()
            lanes = _lanes(destination_id, self._log, journal, self._schedule)
            due = [at for lane in lanes if (at := lane.due_at()) is not None]
            return Standing(
                waiting=self._log.count(destination_id, state.first.cursor) - state.first.ahead,
                retrying=tuple(state.retrying),
                dead=state.dead,
                next_due_at=min(due, default=None),
                oldest_at=min((at for lane in lanes if (at := lane.oldest_at()) is not None), default=None),
                last=state.last.to_attempt() if state.last else None,
            )
        finally:
            journal.close()

    def watch(self, destination_id: str) -> Callable[[Event], Attempt | None]:
        """A function that tells what became of an event's first attempt since now, made by whoever holds the lock."""
        journal = Journal(self._place(destination_id), self._segment_size)
        position = journal.end
        journal.close()
        seen: dict[int, Attempt] = {}

        def outcome(event: Event) -> Attempt | None:
            nonlocal position
            found, position = journal.since(position)
            for line in found:
                entry = journal.decode(line)
                if isinstance(entry, AttemptLine):
                    seen[entry.pos] = entry.to_attempt()
            journal.close()
            return seen.get(event.position)

        return outcome

    @property
    def totals(self) -> tuple[int, int]:
        """How many events are in the log, and how many bytes they take."""
        return self._log.totals

    def close(self) -> None:
        """Closes what is open."""
        for journal in self._journals.values():
            journal.close()
        self._log.close()

    def _place(self, destination_id: str) -> Path:
        return self._directory / "destinations" / destination_id

    def _journal(self, destination_id: str) -> Journal:
        journal = self._journals.get(destination_id)
        if journal is None:
            journal = self._journals[destination_id] = Journal(self._place(destination_id), self._segment_size)
        return journal


class Claim:
    """The sole right to deliver to one destination."""

    def __init__(
        self,
        destination_id: str,
        place: Path,
        lock: files.Lock,
        log: EventLog,
        journal: Journal,
        schedule: RetrySchedule,
    ) -> None:
        self._lock = lock
        self._log = log
        self._journal = journal
        self._dead = DeadLetters(place / "dead.jsonl")
        self._lanes = _lanes(destination_id, log, journal, schedule)
        self._keep_forgotten_dead()

    def is_anything_due(self, now: int) -> bool:
        """Whether `take` would give something."""
        return any(lane.is_due(now) for lane in self._lanes)

    def take(self, now: int) -> Delivery | None:
        """The next delivery that is due, the one that has been due longest first; None when nothing is."""
        while True:
            ready = [lane for lane in self._lanes if lane.is_due(now)]
            if not ready:
                return None
            lane = ready[0] if len(ready) == 1 else min(ready, key=lambda lane: lane.due_at() or 0)
            delivery = lane.pop()
            if delivery is not None:
                return delivery

    def first_attempt(self, event: Event) -> Delivery | None:
        """The first attempt of one event, out of turn; None when it has been made."""
        return None if self._journal.state.first.passed(event.position) is not None else Delivery(event, 1)

    def next_due_at(self) -> int | None:
        """When the next delivery falls due (milliseconds, UTC); None when nothing waits."""
        return min((at for lane in self._lanes if (at := lane.due_at()) is not None), default=None)

    @property
    def last(self) -> Attempt | None:
        """The attempt that was recorded last."""
        last = self._journal.state.last
        return last.to_attempt() if last else None

    def record(self, results: Sequence[tuple[Delivery, Answer]], now: int) -> list[State]:
        """Writes down what came of attempts, at `now` (milliseconds, UTC), and tells where it leaves each delivery.

        Raises NotRecorded.
        """
        at = times.to_text(now)
        entries = [
            AttemptLine(
                pos=delivery.event.position,
                len=delivery.event.length,
                id=delivery.event.id,
                event=delivery.event.name,
                attempt=delivery.attempt,
                at=at,
                outcome=answer.outcome,
                ms=answer.duration_ms,
                status=answer.status,
                error=answer.error,
                excerpt=answer.excerpt,
                after=delivery.after,
            )
            for delivery, answer in results
        ]
        self._journal.append(entries)
        if self._journal.state.newly_dead:
            dead = {entry.pos for entry in self._journal.state.newly_dead}
            self._keep([delivery.event for delivery, _ in results if delivery.event.position in dead])
        self._journal.save_if_worth_it(going_on=True)
        return [entry.state for entry in entries]

    def release(self) -> None:
        """Gives the right back."""
        with contextlib.suppress(OSError):
            self._journal.save_if_worth_it()
        self._journal.close()
        self._lock.close()

    def _keep(self, events: list[Event]) -> None:
        try:
            self._dead.keep(events)
        except OSError as error:
            raise NotRecorded(f"a dead letter cannot be kept ({error.strerror}): delivering stopped") from error

    def _keep_forgotten_dead(self) -> None:
        """Makes the copies that a crash between the journal and the dead letters left out."""
        if not self._journal.state.newly_dead:
            return
        kept = {event.position for event in self._dead}
        missing = [entry for entry in self._journal.state.newly_dead if entry.pos not in kept]
        events = [self._log.event_at(entry.pos, entry.len) for entry in missing]
        self._keep([event for event in events if event is not None])
        self._journal.save()


def _lanes(destination_id: str, log: EventLog, journal: Journal, schedule: RetrySchedule) -> tuple[Lane, ...]:
    retries = (Retries(attempt, log, journal, schedule) for attempt in range(1, LANES + 1))
    return (Arrivals(destination_id, log, journal), *retries)


def _check_version(path: Path) -> None:
    try:
        found = path.read_text("utf-8", "replace").strip()
    except FileNotFoundError:
        files.replace(path, b"%d\n" % VERSION)
        return
    if found != str(VERSION):
        raise Unreadable(
            f"{path} says {found[:40]!r}, and this ark reads version {VERSION}: it is untouched; update ark to use it"
        )
