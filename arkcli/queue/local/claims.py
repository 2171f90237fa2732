"""The destinations that this process claims: taking the claims, writing down what came of them, and who has the others.

One destination's trouble stops nobody else: it is noted, and the destination left out.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import cast

from arkcli.errors import Broken, Gone, Held, NotRecorded
from arkcli.model import Delivery, Event, RetrySchedule
from arkcli.queue import engine
from arkcli.queue.engine import Holder, Recorded, Result
from arkcli.queue.local.claim import Claim
from arkcli.queue.local.deadletters import DeadLetters
from arkcli.queue.local.eventlog import EventLog
from arkcli.queue.local.fit import check_fit
from arkcli.queue.local.journal import Journal
from arkcli.queue.local.members import Members
from arkcli.queue.local.memory import Idle
from arkcli.queue.local.outage import OutageNote
from arkcli.queue.local.reserve import Reserve
from arkcli.queue.local.stored import StoredEvent
from arkcli.queue.local.trouble import part_of
from arkcli.system import files


class Claims:
    """The claims of one process on the destinations of a queue."""

    def __init__(self, directory: Path, log: EventLog, members: Members, schedule: RetrySchedule) -> None:
        """Claims nothing. `directory` is the queue's."""
        self._log = log
        self._members = members
        self._schedule = schedule
        self._journals: dict[str, Journal] = {}
        self._reserve = Reserve(directory)
        self.idle = Idle()
        #: The destinations whose part could not be used when it was tried last, and why.
        self.broken: dict[str, str] = {}

    def claim_due(self, ids: Iterable[str], most: int, purpose: str, now: int) -> list[Claim]:
        """See `engine.Queue.claim_due`. Raises NotRecorded."""
        self._reserve.hold()
        claims: list[Claim] = []
        for destination_id in ids:
            if len(claims) >= most:
                break
            with self.noted(destination_id):
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
    def noted(self, destination_id: str) -> Iterator[None]:
        """One destination's trouble within the block stands in `broken` until it is claimed.

        One that was removed a moment ago is none.
        """
        try:
            with part_of(destination_id, self._members.path_of(destination_id)):
                yield
        except Gone:
            pass
        except Broken as broken:
            self.broken[destination_id] = str(broken)

    def claim_first(self, event: Event, ids: Iterable[str], most: int) -> list[tuple[Claim, Delivery]]:
        """See `engine.Queue.claim_first`. Raises NotRecorded."""
        self._reserve.hold()
        firsts: list[tuple[Claim, Delivery]] = []
        for destination_id in ids:
            if len(firsts) >= most:
                break
            with self.noted(destination_id):
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
        place = self._members.place_of(destination_id)
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
            journal = self._journals.get(destination_id)
            if journal is None:
                journal = self._journals[destination_id] = self._members.journal_at(place)
            journal.load_to_append()
            # The journal may tell of events that this process has not seen yet.
            self._log.look()
            check_fit(place, journal.state, self._log)
            dead, note = DeadLetters(place / "dead.jsonl"), OutageNote(place / "outage.json")
            claim = Claim(destination_id, place, lock, self._log, journal, dead, self._schedule, self.idle.note, note)
        except BaseException:
            lock.close()
            # The next claim reads the journal again: somebody may have repaired it by then.
            self.forget(destination_id)
            raise
        self.broken.pop(destination_id, None)
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
            # What is under way is still written down; but nothing more may be begun.
            return Recorded(claim.record(attempts, now), error)

    def holder(self, destination_id: str) -> Holder | None:
        """See `engine.Queue.holder`."""
        try:
            lock = files.Lock(self._members.path_of(destination_id) / "lock", os.O_RDONLY)
        except OSError:
            # Whoever wants to claim it is told why that cannot be done.
            return None
        try:
            return None if lock.try_acquire(shared=True) else self._signed(destination_id)
        finally:
            lock.close()

    def _signed(self, destination_id: str) -> Holder:
        """Who last held a destination's lock, as it said itself."""
        said = files.read_holder(self._members.place_of(destination_id) / "lock")
        process, _, purpose = said.strip().partition(" ")
        return Holder(int(process) if process.isdecimal() else None, purpose)

    def forget(self, destination_id: str) -> None:
        """Forgets what is known of a destination's journal."""
        journal = self._journals.pop(destination_id, None)
        if journal is not None:
            journal.close()

    def close(self) -> None:
        """Closes what is open. What is claimed is released by whoever has it."""
        for journal in self._journals.values():
            journal.close()
        self._reserve.close()
