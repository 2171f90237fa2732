"""The destinations that this process claims: making the claims, recording outcomes, and who holds the others.

Trouble with one destination does not stop the others: it is noted, and the destination left out.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import inf
from pathlib import Path
from typing import Final, TypeVar, cast

from arkcli.errors import Broken, Gone, Held, NotRecorded
from arkcli.model import Delivery, Event, RetrySchedule
from arkcli.queue import engine
from arkcli.queue.engine import Holder, Recorded, Result
from arkcli.queue.local.claim import Claim
from arkcli.queue.local.eventlog import EventLog
from arkcli.queue.local.fit import check_fit
from arkcli.queue.local.journal import Journal
from arkcli.queue.local.members import Members
from arkcli.queue.local.notes import end_noted
from arkcli.queue.local.stored import StoredEvent
from arkcli.queue.local.trouble import NO_ROOM, part_of
from arkcli.queue.local.view import View
from arkcli.system import descriptors, files

#: How often, in milliseconds, every destination is looked at, even if nothing was due: at least, and for each of them,
#: so that 10,000 take no more of the time than 1,000.
_LOOK_AT_ALL_EVERY: Final = 30_000
_FOR_EACH: Final = 30
#: Bytes: more than the outcomes of all attempts in flight take, including the disk blocks they begin.
_RESERVED: Final = 256 * 1024
#: With fewer free descriptors than this, attempts need the one that the reserve would take.
_MANY_DESCRIPTORS: Final = 24
Found = TypeVar("Found")


class Claims:
    """The claims of one process on the destinations of a queue."""

    def __init__(self, directory: Path, log: EventLog, members: Members, schedule: RetrySchedule) -> None:
        """Claims nothing yet. `directory` is the queue's."""
        self._log = log
        self._members = members
        self._schedule = schedule
        self._journals: dict[str, Journal] = {}
        self._reserve = Reserve(directory)
        self.idle = Idle()
        #: The destinations whose part could not be used at the last try, and why.
        self.broken: dict[str, str] = {}

    def claim_due(self, ids: Iterable[str], most: int, purpose: str, now: int) -> list[Claim]:
        """See `engine.Queue.claim_due`. Raises NotRecorded."""
        return [claim for claim, _ in self._each(ids, most, purpose, lambda claim: claim.is_due(now))]

    def claim_first(self, event: Event, ids: Iterable[str], most: int) -> list[tuple[Claim, Delivery]]:
        """See `engine.Queue.claim_first`. Raises NotRecorded."""
        return self._each(ids, most, "send", lambda claim: claim.first_attempt(cast("StoredEvent", event)))

    def _each(
        self, ids: Iterable[str], most: int, purpose: str, ask: Callable[[Claim], Found | None]
    ) -> list[tuple[Claim, Found]]:
        """Claims free destinations; keeps up to `most` for which `ask` returns something, and releases the others."""
        self._reserve.hold()
        self._log.look()
        kept: list[tuple[Claim, Found]] = []
        for destination_id in ids:
            if len(kept) >= most:
                break
            with self.noted(destination_id), contextlib.ExitStack() as unless_kept:
                claim = self._claim(destination_id, purpose)
                if claim is not None:
                    unless_kept.callback(claim.release)
                    if found := ask(claim):
                        unless_kept.pop_all()
                        kept.append((claim, found))
        return kept

    @contextlib.contextmanager
    def noted(self, destination_id: str) -> Iterator[None]:
        """Notes a destination's trouble within the block in `broken`, until a claim of it succeeds.

        Ignores a destination that was just removed.
        """
        try:
            with part_of(self._members.path_of(destination_id)):
                yield
        except Gone:
            pass
        except Broken as broken:
            self.broken[destination_id] = str(broken)

    def claim(self, destination_id: str, purpose: str) -> Claim | None:
        """Claims a destination until the claim is released; None if another process has claimed it.

        The lock file shows `purpose` to others. Raises Gone, Broken and NotRecorded.
        """
        self._log.look()
        return self._claim(destination_id, purpose)

    def _claim(self, destination_id: str, purpose: str) -> Claim | None:
        """Like `claim`, when the log has just been looked at."""
        place = self._members.place_of(destination_id)
        with part_of(place):
            lock = files.Lock(place / "lock")
            if not lock.try_acquire():
                lock.close()
                return None
            try:
                self._log.check()
                ended = end_noted(lock.signed())
                journal = self._journals.get(destination_id)
                if journal is None:
                    journal = self._journals[destination_id] = self._members.journal_at(place)
                journal.load_to_append(ended)
                with contextlib.suppress(OSError):
                    # For people to read. ark can deliver even if the disk is too full for this.
                    lock.sign(f"{os.getpid()} {purpose}\n")
                # The journal may record events that this process has not seen yet: this looks at the log then.
                check_fit(journal, self._log)
                claim = Claim(lock, self._log, journal, self._schedule, self.idle.note)
            except BaseException:
                lock.close()
                # The next claim reads the journal again: it may be repaired by then.
                self.forget(destination_id)
                raise
            self.broken.pop(destination_id, None)
            return claim

    def view(self, destination_id: str) -> View:
        """A destination's deliveries, to be read without its lock. Close it after use. Raises Broken."""
        journal = self._members.journal_at(self._members.place_of(destination_id), to_read=True)
        return View(self._log, journal, self._schedule)

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
        """See `engine.Queue.record`."""
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
            # Outcomes of attempts in flight are still recorded, but no more may begin.
            return Recorded(claim.record(attempts, now), error)

    def holder(self, destination_id: str) -> Holder | None:
        """See `engine.Queue.holder`."""
        try:
            lock = files.Lock(self._members.path_of(destination_id) / "lock", os.O_RDONLY)
        except OSError:
            # A try to claim the destination reports why this failed.
            return None
        with contextlib.closing(lock):
            return None if lock.try_acquire(shared=True) else self._signed(destination_id)

    def _signed(self, destination_id: str) -> Holder:
        """The last holder of a destination's lock, as written in the lock file."""
        said = files.read_holder(self._members.place_of(destination_id) / "lock")
        process, _, purpose = said.strip().partition(" ")
        return Holder(int(process), purpose) if process.isdecimal() else Holder(None, "")

    def forget(self, destination_id: str) -> None:
        """Forgets what this process has read of a destination's journal."""
        journal = self._journals.pop(destination_id, None)
        if journal is not None:
            journal.close()

    def close(self) -> None:
        """Closes what is open. Does not release claims."""
        for journal in self._journals.values():
            journal.close()
        self._reserve.close()


class Idle:
    """Which destinations had nothing due: up to where the log was searched, and when something is due next."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, int | None]] = {}
        self._forgot_at = 0
        #: The last ids of which none had anything due, with which end of the log, and until when that holds.
        self._quiet: tuple[Sequence[str], int, float] = (), -1, 0

    def note(self, destination_id: str, end: int, next_due_at: int | None) -> None:
        """Remembers that a destination has nothing due before `next_due_at`, unless the log grows beyond `end`."""
        self._known[destination_id] = end, next_due_at
        self._quiet = (), -1, 0

    def others(self, ids: Sequence[str], end: int, now: int) -> list[str]:
        """The destinations that may have something due now, if the log ends at `end`.

        The same tuple of ids as before takes no time while nothing is due: there may be 10,000.
        """
        if not 0 <= now - self._forgot_at < max(_LOOK_AT_ALL_EVERY, _FOR_EACH * len(self._known)):
            self._known.clear()
            self._quiet = (), -1, 0
            self._forgot_at = now
        quiet, quiet_end, until = self._quiet
        if ids is quiet and end == quiet_end and now < until:
            return []
        looked = [(found, *self._known.get(found, (-1, None))) for found in ids]
        due = [found for found, known, due_at in looked if known != end or (due_at is not None and due_at <= now)]
        if not due and isinstance(ids, tuple):
            self._quiet = ids, end, min((due_at for *_, due_at in looked if due_at is not None), default=inf)
        return due


class Reserve:
    """Disk space for the outcomes of attempts in flight: ark makes no attempt whose outcome it could not record.

    It is held from the first claim on, and freed when the disk is full and outcomes still have to be recorded.
    """

    def __init__(self, directory: Path) -> None:
        """Holds nothing yet."""
        self._directory = directory
        self._descriptor: int | None = None
        self._is_held = False

    def hold(self) -> None:
        """Reserves the space. Raises NotRecorded if there is too little."""
        if self._is_held or descriptors.free() < _MANY_DESCRIPTORS:
            return
        try:
            self._descriptor = files.reserve(self._directory, _RESERVED)
        except OSError as error:
            if error.errno not in NO_ROOM:
                reason = f"{self._directory} cannot be used ({error.strerror})"
                raise NotRecorded(f"nothing was attempted: {reason}") from error
            # If the disk only lacks inodes, lines can still be written.
            if files.has_inodes(self._directory):
                raise NotRecorded(
                    f"the disk is full ({self._directory}): nothing was attempted, since ark could not record the "
                    "outcome. Waiting deliveries are kept; free some space"
                ) from error
        self._is_held = True

    def give_up(self, error: BaseException | None) -> bool:
        """Frees the space after an error of a full disk; False if there is none to free."""
        if self._descriptor is None or not isinstance(error, OSError) or error.errno not in NO_ROOM:
            return False
        self.close()
        return True

    def close(self) -> None:
        """Frees the space."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        self._is_held = False
