"""The engine over PostgreSQL: an event log, a place and a lease for each destination, and rows for what failed.

The database's clock decides what is due. docs/internals.md describes the tables and why they are safe.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Final, cast

from arkcli.database.connection import Database
from arkcli.errors import InDoubt, NotAccepted, Refused, Unreachable
from arkcli.model import Attempt, Delivery, Event, RetrySchedule
from arkcli.queue import engine
from arkcli.queue.engine import Checked, Record, Recorded, Replay, Result, Selection, Standing, Totals
from arkcli.queue.memo import Memo
from arkcli.queue.postgres import dump, memo, requeue, restore, tidy, view
from arkcli.queue.postgres.access import Access
from arkcli.queue.postgres.claim import Claim
from arkcli.queue.postgres.leases import Leases
from arkcli.queue.postgres.log import Log
from arkcli.queue.postgres.moving import DatabaseMoves
from arkcli.queue.postgres.pages import Pages
from arkcli.queue.postgres.record import Part, Recorder
from arkcli.queue.postgres.reserved import Reservations
from arkcli.queue.postgres.stored import StoredEvent, to_column
from arkcli.queue.postgres.view import View
from arkcli.system.clock import Clock, SystemClock

_JOIN: Final = """
insert into ark.share (id, joined, cursor)
select id, l.next, l.next from unnest(%s::text[]) i(id), (select coalesce(max(seq), 0) + 1 as next from ark.event) l
on conflict (id) do nothing
"""
_LEAVE: Final = (
    "delete from ark.pending p using ark.share s where p.destination = s.destination and s.id = %s",
    "delete from ark.share where id = %s",
)


class PostgresQueue:
    """A queue in a database, shared by any number of processes on any number of hosts."""

    #: Nothing is broken for one destination alone.
    broken: Mapping[str, str] = {}
    unwritable: str | None = None

    def __init__(
        self, database: Database, schedule: RetrySchedule, clock: Clock | None = None, *, is_moving: bool = False
    ) -> None:
        """Asks the database nothing yet. `clock` counts time; what the time is, the database says.

        `is_moving`: for a move, which may use a queue that nobody else can use now.
        """
        self._database = database
        self._schedule = schedule
        self._access = access = Access(database, clock or SystemClock(), is_moving=is_moving)
        self._log = log = Log(access)
        self._leases = Leases(access, Pages(access))
        self._reservations = Reservations(self._leases)
        self._recorder = Recorder(access, self._leases, schedule)
        self._joined: set[str] = set()
        # Documented in `engine.Queue`.
        self.accept, self.find, self.find_prefix = log.accept, log.find, log.find_prefix
        self.events, self.recent_events = log.events, log.recent
        self.drains, self.holder = self._leases.drains, self._leases.holder
        self.late = self._recorder.late

    @property
    def store_seen(self) -> tuple[float, int]:
        """When the last look was, by the clock's `monotonic`, and the version of the store then."""
        return self._leases.store_seen

    def join(self, ids: Iterable[str], *, to_read: bool = False) -> Mapping[str, str]:
        """Gives destinations their places; a new one starts after the last event. Raises Unreachable."""
        missing = [found for found in ids if found not in self._joined]
        if missing:
            try:
                self._access.run(_JOIN, (list(map(to_column, missing)),), durable=True)
            except Refused:
                if not to_read:
                    raise
            self._joined.update(missing)
        return {}

    def leave(self, destination_id: str) -> int:
        """Removes a destination and its pending deliveries; returns how many those were. Raises Held and Gone."""
        undone = self.view(destination_id).standing().undone
        with self._access.transaction(durable=True, pipelined=False) as cursor:
            self._leases.lock(cursor, destination_id)
            for statement in _LEAVE:
                cursor.execute(statement, (to_column(destination_id),))
        self._joined.discard(destination_id)
        return undone

    def look(self, ids: Sequence[str], now: int) -> list[str]:  # noqa: ARG002 - the database knows the time
        """The destinations that may have something due. Raises Unreachable."""
        return self._leases.look(ids)

    def claim_due(
        self,
        ids: Iterable[str],
        most: int,
        purpose: str,
        now: int,  # noqa: ARG002 - the database knows the time
    ) -> list[Claim]:
        """Claims up to `most` destinations that have something due. Raises Unreachable."""
        return self._leases.claim_due(ids, most, purpose)

    def claim_first(self, event: Event, ids: Iterable[str], most: int) -> list[tuple[engine.Claim, Delivery]]:
        """Reserves the first attempts at an event, which is less than claiming its destinations. Raises Unreachable."""
        return list(self._reservations.claim_first(cast("StoredEvent", event), ids, most))

    def record(
        self,
        results: Sequence[tuple[engine.Claim, Sequence[Result]]],
        now: int,  # noqa: ARG002 - as in `look`
    ) -> list[Recorded]:
        """Records the outcomes of attempts. Keeps them while the database cannot be reached; see `Recorder`."""
        return self._recorder.record(cast("Sequence[Part]", results))

    def outcomes(self, event: Event, ids: Iterable[str]) -> dict[str, Attempt]:
        """The newest attempt that others have made at an event, by destination."""
        return view.outcomes(self._access, cast("StoredEvent", event), ids)

    def view(self, destination_id: str) -> View:
        """A destination's deliveries."""
        return View(self._access, destination_id, self._schedule)

    def standings(self, ids: Iterable[str], now: int | None = None) -> Mapping[str, Standing]:
        """What is pending at each destination that has a place."""
        return view.standings(self._access, ids, self._schedule, is_now=now is not None)

    @property
    def totals(self) -> Totals:
        """The number of events in the log, and about its size in bytes."""
        return self._log.totals

    def retry(self, selection: Selection, now: int, *, dry: bool = False) -> int:  # noqa: ARG002 - as in `look`
        """Makes retrying deliveries due now and revives dead ones; returns how many. Raises NotAccepted."""
        return requeue.retry(self._access, selection, dry=dry)

    def drop(self, selection: Selection, now: int, *, dry: bool = False) -> int:  # noqa: ARG002 - as in `look`
        """Discards deliveries; returns how many. Raises Held."""
        return requeue.drop(self._leases, selection, dry=dry)

    def replay(self, chosen: Replay, now: int, *, dry: bool = False) -> int:  # noqa: ARG002 - as in `look`
        """Sends old events again; returns how many events. Raises UsageError and NotAccepted."""
        return requeue.replay(self._access, chosen, dry=dry)

    def dump(self) -> Iterator[Record]:
        """The content of the queue. Claims every destination until the iterator ends; the first record raises Held."""
        return dump.dump(self._leases, self._log, self._schedule)

    def restore(self, records: Iterable[Record]) -> None:
        """Fills an empty queue. Raises NotAccepted, and UsageError if it is not empty."""
        restore.restore(self._access, records)

    def memo(self, name: str) -> AbstractContextManager[Memo]:
        """Holds a small document during a block, then stores it. Raises Busy, Unreachable and InDoubt."""
        return memo.held(self._access, name)

    def read_memo(self, name: str) -> bytes | None:
        """A small document; None if there is none. Raises Unreachable."""
        return memo.read(self._access, name)

    def tidy(self, ids: Iterable[str], before: int) -> None:  # noqa: ARG002 - the database knows all destinations
        """Removes what is older than a time (milliseconds, UTC) and not needed any more."""
        tidy.tidy(self._access, before)

    def check(self, *, repair_at: str | None = None) -> Checked:  # noqa: ARG002 - nothing can be set aside
        """Checks whether the tables agree. Changes nothing: a damaged database is restored from a backup."""
        return tidy.check(self._access)

    def check_recent(self, size: int) -> Checked:
        """Checks only the newest part of the log, about `size` bytes."""
        return tidy.check(self._access, size)

    def moves(self, database: Database) -> DatabaseMoves:
        """The queue's side in a move. `database` is another connection."""
        return DatabaseMoves(database, self._leases)

    def close(self) -> None:
        """Ends all claims, and closes the connection."""
        with suppress(Unreachable, InDoubt, NotAccepted):
            self._leases.close()
            self._reservations.close()
        self._database.close()
