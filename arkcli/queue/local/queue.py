"""The local engine: the event log, and a journal for each destination. docs/internals.md describes its files."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

from arkcli import files
from arkcli.errors import Broken, Gone, Held, NotRecorded, Unreadable, in_words
from arkcli.model import Attempt, Delivery, Draft, Event
from arkcli.queue import engine
from arkcli.queue.engine import Checked, Holder, Record, Recorded, Replay, Result, Selection, Standing, Totals
from arkcli.queue.local import dump, requeue, restore
from arkcli.queue.local.check import Check
from arkcli.queue.local.claim import Claim
from arkcli.queue.local.deadletters import DeadLetters
from arkcli.queue.local.drains import Drains
from arkcli.queue.local.eventlog import EventLog
from arkcli.queue.local.fit import Misfits, check_fit
from arkcli.queue.local.journal import Journal, Origin
from arkcli.queue.local.members import Members, loss
from arkcli.queue.local.memory import Idle
from arkcli.queue.local.opening import is_a_link, prepare
from arkcli.queue.local.outage import OutageNote
from arkcli.queue.local.reserve import Reserve
from arkcli.queue.local.segments import SEGMENT_SIZE
from arkcli.queue.local.stored import StoredEvent
from arkcli.queue.local.trouble import NO_ROOM, no_room, part_of
from arkcli.queue.local.view import View
from arkcli.schedule import RetrySchedule


class LocalQueue:
    """A queue in one directory, shared by any number of processes on this host."""

    def __init__(self, directory: Path, schedule: RetrySchedule, segment_size: int = SEGMENT_SIZE) -> None:
        """Opens the queue, and makes it where there is none. Raises Unreadable, and ArkError when the disk is full."""
        self._directory = directory
        self._schedule = schedule
        self._retries = len(schedule.delays)
        self._segment_size = segment_size
        self._journals: dict[str, Journal] = {}
        self._watched: dict[str, View] = {}
        self._idle = Idle()
        self._broken: dict[str, str] = {}
        self._members = Members(directory)
        self._drains = Drains(directory / "drains")
        self._reserve = Reserve(directory)
        try:
            prepare(directory)
            files.raise_descriptor_limit()
            self._log = EventLog(directory / "events", segment_size, lambda: self._members.furthest(self._journal_at))
        except OSError as error:
            if error.errno in NO_ROOM:
                raise no_room(error, directory, "the queue cannot be opened") from error
            where = error.filename or directory
            raise Unreadable(f"the queue cannot be opened: {where}: {in_words(error, directory)}") from error

    def join(self, ids: Iterable[str]) -> Mapping[str, str]:
        """See `engine.Queue.join`. A new place starts at the end of the log. Raises NotAccepted and OSError."""
        missing = [found for found in ids if self._members.is_missing(found)]
        if not missing and self._members.path.exists():
            return {}
        try:
            return {found: loss(found) for found in self._members.join(missing, self._log.look(), self._retries)}
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            raise no_room(error, self._directory, "there is no place for another destination") from error

    def leave(self, destination_id: str) -> int:
        """Forgets a destination and all that waits for it; returns how many deliveries. Raises Held."""
        with self.held(destination_id, "remove") as claim:
            undone = self.standing(destination_id).undone
            # It may need the room that this makes.
            files.remove_tree(self._place(destination_id))
            self._members.forget(destination_id, left=True)
            self._forget(claim.destination_id)
        return undone

    def _forget(self, destination_id: str) -> None:
        self._watched.pop(destination_id, None)
        journal = self._journals.pop(destination_id, None)
        if journal is not None:
            journal.close()

    def accept(self, drafts: Sequence[Draft], *, unique: bool = False) -> list[StoredEvent]:
        """Makes events durable, all or none. See `EventLog.accept`. Raises NotAccepted."""
        return self._log.accept(drafts, unique=unique)

    def drains(self) -> int:
        """How many drains share this queue now. The first call makes this process one of them, until `close`."""
        return self._drains.count()

    def look(self, ids: Sequence[str], now: int) -> list[str]:
        """Those of the destinations that may have something due."""
        return self._idle.others(ids, self._log.look(), now)

    def claim_due(self, ids: Iterable[str], most: int, purpose: str, now: int) -> list[Claim]:
        """Claims destinations, in this order, that nobody else has and for which something is due: `most` at most.

        Raises NotRecorded.
        """
        self._reserve.hold()
        claims: list[Claim] = []
        for destination_id in ids:
            if len(claims) >= most:
                break
            with self._noted(destination_id):
                claim = self.claim(destination_id, purpose)
                if claim is not None:
                    claims += [claim] if self._is_worth_it(claim, now) else []
        return claims

    def _is_worth_it(self, claim: Claim, now: int) -> bool:
        """Whether something is due; else the claim is released."""
        is_due = False
        try:
            is_due = claim.is_anything_due(now)
        finally:
            if not is_due:
                claim.release()
        return is_due

    @contextlib.contextmanager
    def _noted(self, destination_id: str) -> Iterator[None]:
        """One destination's trouble within the block stops nobody else: it stands in `broken` until it is claimed.

        One that was removed a moment ago is none.
        """
        try:
            with part_of(destination_id, self._path(destination_id)):
                yield
        except Gone:
            pass
        except Broken as broken:
            self._broken[destination_id] = str(broken)

    def claim_first(self, event: Event, ids: Iterable[str], most: int) -> list[tuple[Claim, Delivery]]:
        """Claims destinations for the first attempt at an event that was just accepted. Raises NotRecorded."""
        self._reserve.hold()
        firsts: list[tuple[Claim, Delivery]] = []
        for destination_id in ids:
            if len(firsts) >= most:
                break
            with self._noted(destination_id):
                claim = self.claim(destination_id, "send")
                if claim is None:
                    continue
                first = claim.first_attempt(cast("StoredEvent", event))
                if first is not None:
                    firsts.append((claim, first))
                else:
                    claim.release()
        return firsts

    def claim(self, destination_id: str, purpose: str) -> Claim | None:
        """The sole right to deliver to a destination, until released; None when another process has it.

        `purpose` is what the lock file then says of the holder. Raises Gone, Broken and NotRecorded.
        """
        place = self._place(destination_id)
        with part_of(destination_id, place):
            return self._claim(destination_id, place, purpose)

    def _claim(self, destination_id: str, place: Path, purpose: str) -> Claim | None:
        lock = files.Lock(place / "lock")
        if not lock.try_acquire():
            lock.close()
            return None
        try:
            with contextlib.suppress(OSError):
                # For people to read; a disk too full for it can still be delivered from.
                lock.sign(f"{os.getpid()} {purpose}\n")
            journal = self._journal(destination_id)
            journal.load_to_append()
            # The journal may tell of events that this process has not seen yet.
            self._log.look()
            check_fit(place, journal.state, self._log)
            dead = self._dead_letters(destination_id)
            note = OutageNote(place / "outage.json")
            claim = Claim(destination_id, place, lock, self._log, journal, dead, self._schedule, self._idle.note, note)
        except BaseException:
            lock.close()
            # It is read anew when it is tried again: somebody may have repaired it.
            self._forget(destination_id)
            raise
        self._broken.pop(destination_id, None)
        return claim

    @contextlib.contextmanager
    def held(self, destination_id: str, purpose: str) -> Iterator[Claim]:
        """Claims a destination for a block. Raises Held, Gone, Broken and NotRecorded."""
        claim = self.claim(destination_id, purpose)
        if claim is None:
            raise Held(destination_id, self._signed(destination_id))
        try:
            yield claim
        finally:
            claim.release()

    def record(self, results: Sequence[tuple[engine.Claim, Sequence[Result]]], now: int) -> list[Recorded]:
        """Writes down what came of attempts, one append for each claim."""
        recorded = []
        for claim, attempts in results:
            try:
                recorded.append(self._record(cast("Claim", claim), attempts, now))
            except (Broken, NotRecorded) as error:
                recorded.append(Recorded([None] * len(attempts), error))
        return recorded

    def _record(self, claim: Claim, attempts: Sequence[Result], now: int) -> Recorded:
        try:
            return Recorded(claim.record(attempts, now))
        except NotRecorded as error:
            if not self._reserve.give_up(error.__cause__):
                raise
            # What is under way is still written down; but nothing more may be begun.
            return Recorded(claim.record(attempts, now), error)

    def outcomes(self, event: Event, ids: Iterable[str]) -> dict[str, Attempt]:
        """The first attempts that others have made at an event, by destination."""
        found = {}
        for destination_id in ids:
            with self._noted(destination_id):
                attempt = self._outcome(cast("StoredEvent", event), destination_id)
                if attempt is not None:
                    found[destination_id] = attempt
        return found

    def _outcome(self, event: StoredEvent, destination_id: str) -> Attempt | None:
        view = self._watched.get(destination_id)
        if view is None:
            view = self._watched[destination_id] = self.view(destination_id)
        try:
            view.watch(event)
            return view.outcome()
        finally:
            # What it opened is not kept: there may be a thousand of them.
            view.close()

    @property
    def broken(self) -> Mapping[str, str]:
        """The destinations whose part could not be used when it was tried last, and why."""
        return self._broken

    def holder(self, destination_id: str) -> Holder | None:
        """Who has claimed a destination; None when nobody has."""
        path = self._path(destination_id) / "lock"
        if not os.path.exists(path):  # noqa: PTH110 - it raises nothing where the directory cannot be read
            return None
        try:
            lock = files.Lock(path)
        except OSError:
            # Whoever wants to claim it is told why that cannot be done.
            return None
        try:
            return None if lock.try_acquire(shared=True) else self._signed(destination_id)
        finally:
            lock.close()

    def _signed(self, destination_id: str) -> Holder:
        """Who last held a destination's lock, as it said itself."""
        process, _, purpose = files.read_holder(self._place(destination_id) / "lock").strip().partition(" ")
        return Holder(int(process) if process.isdecimal() else None, purpose)

    def view(self, destination_id: str) -> View:
        """A destination's deliveries, to be read without its lock. Close it after use."""
        place = self._place(destination_id)
        journal = self._journal_at(place)
        return View(destination_id, place, self._log, journal, self._dead_letters(destination_id), self._schedule)

    def standing(self, destination_id: str, now: int | None = None) -> Standing:
        """What waits for a destination."""
        with contextlib.closing(self.view(destination_id)) as view:
            return view.standing(now)

    def standings(self, ids: Iterable[str], now: int | None = None) -> Mapping[str, Standing]:
        """What waits for each destination that has a place."""
        standings = {}
        for found in ids:
            with self._noted(found):
                standings[found] = self.standing(found, now)
        return standings

    def events(self) -> Iterator[StoredEvent]:
        """Every event in the log that can be read, oldest first."""
        return self._log.events()

    def recent_events(self, size: int) -> list[StoredEvent]:
        """The events within the last `size` bytes of the log, oldest first."""
        return self._log.tail(size)

    def find(self, event_id: str) -> StoredEvent | None:
        """The event as it was first accepted under an id; None when the log has none (any more)."""
        return self._log.find(event_id)

    def find_prefix(self, beginning: str) -> list[StoredEvent]:
        """The first events of at most two ids that begin so. See `EventLog.find_prefix`."""
        return self._log.find_prefix(beginning)

    @property
    def totals(self) -> Totals:
        """How many events are in the log, and how many bytes they take."""
        return Totals(*self._log.totals)

    def retry(self, selection: Selection, now: int, *, dry: bool = False) -> int:
        """Makes due now what is retrying, and revives what is dead; returns how many. Raises NotAccepted."""
        return requeue.retry(self, self._noted, selection, now, dry=dry)

    def drop(self, selection: Selection, now: int, *, dry: bool = False) -> int:
        """Discards deliveries; returns how many. Raises Held."""
        return requeue.drop(self, self._noted, selection, now, dry=dry)

    def replay(self, chosen: Replay, now: int, *, dry: bool = False) -> int:
        """Sends old events again; returns how many events. Raises UsageError and NotAccepted."""
        return requeue.replay(self, self._noted, chosen, now, self._log.look(), dry=dry)

    def dump(self) -> Iterator[Record]:
        """Everything that the queue holds. Claims every destination until the iterator ends; its start raises Held."""
        return dump.dump(self.held, self._log, self._directory / "destinations", self._schedule)

    def restore(self, records: Iterable[Record]) -> None:
        """Fills an empty queue. See `restore.restore`. Raises NotAccepted, Busy, and UsageError for one that is not."""
        restore.restore(self._directory, self._log, self._schedule, records)
        self._members.join((), 0, self._retries)

    def check(self, *, repair_at: str | None = None) -> Checked:
        """Reads everything for damage; with `repair_at`, which names the time, sets it aside. Raises Busy."""
        return Check(self._directory, self._misfits().all).run(repair_at=repair_at)

    def check_recent(self, size: int) -> Checked:
        """Reads only the last `size` bytes of each file for damage. Line numbers are then unknown."""
        return Check(self._directory, self._misfits().losses, tail=size).run()

    def _misfits(self) -> Misfits:
        return Misfits(self._directory / "destinations", self._members, self._log, self._journal_at, self._retries)

    def tidy(self, ids: Iterable[str], before: int) -> None:
        """Removes what every destination has passed, no retry needs, and is older than a time (milliseconds, UTC).

        `ids` are all there are. A destination that another process holds keeps its journal for now.
        """
        everybody = list(ids)
        expired = self._log.expired(before)
        for destination_id in everybody if expired > self._log.start else ():
            # One that has been removed meanwhile needs nothing; of a broken one, nobody knows what it needs.
            with self._noted(destination_id), contextlib.closing(self.view(destination_id)) as view:
                expired = view.needed_from(expired)
            if destination_id in self._broken:
                expired = self._log.start
        if expired > self._log.start:
            self._log.remove_before(expired)
        for destination_id in everybody:
            with self._noted(destination_id):
                self._expire_journal(destination_id, before)

    def _expire_journal(self, destination_id: str, before: int) -> None:
        if len(list((self._place(destination_id) / "journal").iterdir())) > 1:
            claim = self.claim(destination_id, "expire")
            if claim is not None:
                claim.expire(before)
                claim.release()

    def close(self) -> None:
        """Closes what is open."""
        for journal in self._journals.values():
            journal.close()
        for view in self._watched.values():
            view.close()
        self._drains.close()
        self._reserve.close()
        self._log.close()

    def _path(self, destination_id: str) -> Path:
        return self._directory / "destinations" / destination_id

    def _place(self, destination_id: str) -> Path:
        """A destination's directory. Raises Broken where it is a link, which would lead out of the queue."""
        place = self._path(destination_id)
        for path in (place, place / "journal"):
            if os.path.islink(path):  # noqa: PTH114 - it raises nothing where the directory cannot be read
                raise Broken(destination_id, is_a_link(path))
        return place

    def _dead_letters(self, destination_id: str) -> DeadLetters:
        return DeadLetters(self._place(destination_id) / "dead.jsonl")

    def _journal(self, destination_id: str) -> Journal:
        journal = self._journals.get(destination_id)
        if journal is None:
            place = self._place(destination_id)
            journal = self._journals[destination_id] = self._journal_at(place)
        return journal

    def _journal_at(self, place: Path) -> Journal:
        found = place.name
        origin = Origin(lambda: self._members.read().begins.get(found), lambda: self._members.keep(found))
        return Journal(place, self._retries, self._segment_size, origin)
