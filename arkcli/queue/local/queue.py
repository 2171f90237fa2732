"""The local engine: the event log, and a journal for each destination. docs/internals.md describes its files."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from arkcli.errors import Unreadable
from arkcli.model import Attempt, Draft, Event, RetrySchedule
from arkcli.queue.engine import Checked, Claim, Record, Recorded, Replay, Result, Selection, Standing, Totals
from arkcli.queue.local import memo
from arkcli.queue.local.claims import Claims
from arkcli.queue.local.drains import Drains
from arkcli.queue.local.eventlog import EventLog
from arkcli.queue.local.members import Members, loss
from arkcli.queue.local.moving import Version, kept_still
from arkcli.queue.local.opening import prepare
from arkcli.queue.local.segments import SEGMENT_SIZE
from arkcli.queue.local.stored import StoredEvent
from arkcli.queue.local.trouble import NO_ROOM, no_room
from arkcli.queue.local.view import View
from arkcli.queue.memo import Memo
from arkcli.system import files
from arkcli.system.refused import in_words

if TYPE_CHECKING:
    from arkcli.queue.local.check import Inspection


class LocalQueue:
    """A queue in one directory, shared by any number of processes on this host."""

    def __init__(
        self, directory: Path, schedule: RetrySchedule, segment_size: int = SEGMENT_SIZE, *, is_moving: bool = False
    ) -> None:
        """Opens the queue, or makes it if there is none. Raises Unreadable, and NotAccepted if the disk is full.

        `is_moving`: for a move, which may use a queue that nobody else can use now.
        """
        self._directory = directory
        self._schedule = schedule
        self._watched: dict[str, View] = {}
        self._members = Members(directory, len(schedule.delays), segment_size)
        self._drains = Drains(directory / "drains")
        self._is_still = False
        version = Version(directory, is_moving=is_moving)
        try:
            self.unwritable = prepare(directory, version)
            fixed = self.unwritable is not None
            self._log = EventLog(directory / "events", segment_size, self._members.furthest, fixed)
            self._log.check = version.check
        except OSError as error:
            if error.errno in NO_ROOM:
                raise no_room(error, directory, "the queue cannot be opened") from error
            where = error.filename or directory
            raise Unreadable(f"the queue cannot be opened: {where}: {in_words(error, directory)}") from error
        self._need = os.R_OK if fixed else os.R_OK | os.W_OK
        # Documented in `engine.Queue`.
        self._claims = claims = Claims(directory, self._log, self._members, schedule)
        self.claim, self.held, self.holder, self.view = claims.claim, claims.held, claims.holder, claims.view
        self.claim_due, self.claim_first, self.record = claims.claim_due, claims.claim_first, claims.record
        self.events, self.recent_events = self._log.events, self._log.tail
        self.find, self.find_prefix = self._log.find, self._log.find_prefix
        self.broken: Mapping[str, str] = claims.broken

    def _check_writable(self, *, unless: bool = False) -> None:
        if self.unwritable is not None and not unless:
            raise Unreadable(self.unwritable)

    def join(self, ids: Iterable[str], *, to_read: bool = False) -> Mapping[str, str]:
        """See `engine.Queue.join`. A new place starts at the log's end. Raises NotAccepted and OSError."""
        missing = [found for found in ids if self._members.is_missing(found)]
        self._check_writable(unless=to_read)
        if self.unwritable is not None:
            self._members.join_unwritten(missing, self._log.look())
            return {}
        if not missing and self._members.path.exists():
            return {}
        try:
            return {found: loss(found) for found in self._members.join(missing, self._log.look())}
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            raise no_room(error, self._directory, "there is no room for another destination") from error

    def leave(self, destination_id: str) -> int:
        """Removes a destination and its pending deliveries; returns how many those were. Raises Held."""
        with self.held(destination_id, "remove"):
            undone = self.standing(destination_id).undone
            # Remove first: writing the roll may need the freed space.
            files.remove_tree(self._members.place_of(destination_id))
            self._members.forget(destination_id, left=True)
            self._watched.pop(destination_id, None)
            self._claims.forget(destination_id)
        return undone

    def accept(self, drafts: Sequence[Draft], *, unique: bool = False) -> list[StoredEvent]:
        """Makes events durable, all or none. See `EventLog.accept`. Raises NotAccepted."""
        self._check_writable()
        return self._log.accept(drafts, unique=unique)

    def drains(self) -> int:
        """The number of drains that share this queue now. The first call adds this process, until `close`."""
        self._check_writable()
        return self._drains.count()

    def look(self, ids: Sequence[str], now: int) -> list[str]:
        """The destinations that may have something due."""
        return self._claims.idle.others(ids, self._log.look(), now)

    def outcomes(self, event: Event, ids: Iterable[str]) -> dict[str, Attempt]:
        """The newest attempt that others have made at an event, by destination."""
        found = {}
        for destination_id in ids:
            with self._claims.noted(destination_id):
                if destination_id not in self._watched:
                    self._watched[destination_id] = self.view(destination_id)
                # Close the files after each: there may be a thousand destinations.
                with contextlib.closing(self._watched[destination_id]) as view:
                    attempt = view.outcome(cast("StoredEvent", event))
                if attempt is not None:
                    found[destination_id] = attempt
        return found

    def late(self) -> Sequence[tuple[Claim, Sequence[Result], Recorded]]:
        """There are none: what cannot be recorded is an error."""
        return ()

    def standing(self, destination_id: str, now: int | None = None) -> Standing:
        """What is pending at a destination."""
        with contextlib.closing(self.view(destination_id)) as view:
            return view.standing(now)

    def standings(self, ids: Iterable[str], now: int | None = None) -> Mapping[str, Standing]:
        """What is pending at each destination that has a place."""
        standings = {}
        self._log.look()
        for found in ids:
            with self._claims.noted(found), contextlib.closing(self.view(found)) as view:
                standings[found] = view.standing(now, look=False)
        return standings

    @property
    def totals(self) -> Totals:
        """The number of events in the log, and its size in bytes."""
        return Totals(*self._log.totals)

    def retry(self, selection: Selection, now: int, *, dry: bool = False) -> int:
        """Makes retrying deliveries due now and revives dead ones; returns how many. Raises NotAccepted."""
        from arkcli.queue.local import requeue

        return requeue.retry(self._claims, self.accept, selection, now, dry=dry)

    def drop(self, selection: Selection, now: int, *, dry: bool = False) -> int:
        """Discards deliveries; returns how many. Raises Held."""
        from arkcli.queue.local import requeue

        self._check_writable(unless=dry)
        return requeue.drop(self._claims, selection, now, dry=dry)

    def replay(self, chosen: Replay, now: int, *, dry: bool = False) -> int:
        """Sends old events again; returns how many events. Raises UsageError and NotAccepted."""
        from arkcli.queue.local import requeue

        return requeue.replay(self._claims, self._log, self.accept, chosen, now, dry=dry)

    def dump(self) -> Iterator[Record]:
        """The content of the queue. Claims every destination until the iterator ends; the first record raises Held."""
        from arkcli.queue.local import dump

        held = (lambda *_: contextlib.nullcontext()) if self._is_still else self.held
        return dump.dump(held, self._log, self._members.places, self._schedule)

    @contextlib.contextmanager
    def still(self) -> Iterator[None]:
        """Keeps others from accepting and delivering during a block, in which `dump` works. Raises Held."""
        with kept_still(self._directory, self.held):
            self._is_still = True
            try:
                yield
            finally:
                self._is_still = False

    def restore(self, records: Iterable[Record]) -> None:
        """Fills an empty queue. See `restore.restore`. Raises NotAccepted, Busy, and UsageError if it is not empty."""
        from arkcli.queue.local import restore

        restore.restore(self._directory, self._log, self._schedule, records)
        self._members.join((), 0)

    def memo(self, name: str) -> contextlib.AbstractContextManager[Memo]:
        """Holds a small document during a block, then stores it. Raises Busy, NotRecorded and Unreadable."""
        self._check_writable()
        return memo.held(self._directory, name)

    def read_memo(self, name: str) -> bytes | None:
        """A small document; None if there is none. Raises OSError."""
        return memo.read(self._directory, name)

    def check(self, *, repair_at: str | None = None) -> Checked:
        """Checks everything for damage; with `repair_at`, the time as text, sets the damage aside. Raises Busy."""
        self._check_writable(unless=repair_at is None)
        return self._inspection(None).run(repair_at=repair_at)

    def check_recent(self, size: int) -> Checked:
        """Checks only the last `size` bytes of each file for damage. Line numbers are then counted from there."""
        return self._inspection(size).run()

    def _inspection(self, tail: int | None) -> "Inspection":
        from arkcli.queue.local.check import Inspection
        from arkcli.queue.local.misfits import Misfits

        misfits = Misfits(self._members, self._log)
        return Inspection(self._directory, misfits.all if tail is None else misfits.losses, self._need, tail=tail)

    def tidy(self, ids: Iterable[str], before: int) -> None:
        """Removes what is older than a time (milliseconds, UTC), passed by every destination and not needed by a retry.

        `ids` must be all destinations. The journal of a destination claimed by another process stays for now.
        """
        everybody = list(ids)
        expired = self._log.expired(before)
        for destination_id in everybody if expired > self._log.start else ():
            # A destination that was just removed needs nothing; what a broken one needs is not known.
            with self._claims.noted(destination_id), contextlib.closing(self.view(destination_id)) as view:
                expired = view.needed_from(expired)
            if destination_id in self._claims.broken:
                expired = self._log.start
        if expired > self._log.start:
            self._log.remove_before(expired)
        for destination_id in everybody:
            with self._claims.noted(destination_id):
                self._expire_journal(destination_id, before)

    def _expire_journal(self, destination_id: str, before: int) -> None:
        if len(list((self._members.place_of(destination_id) / "journal").iterdir())) > 1:
            claim = self.claim(destination_id, "expire")
            if claim is not None:
                claim.expire(before)
                claim.release()

    def close(self) -> None:
        """Closes what is open."""
        self._claims.close()
        self._drains.close()
        self._log.close()
