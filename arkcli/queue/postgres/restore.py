"""Fills an empty queue from any engine's dump, in batches. See `Record` for the order.

Until all of it is there the state of the queue is `moving`: then nothing is accepted or claimed, and another try starts
again. A queue that a move has begun to fill stays so until the move has ended.
"""

from collections.abc import Iterable, Sequence
from itertools import chain, groupby
from operator import attrgetter
from typing import Any, Final

import msgspec

from arkcli import times
from arkcli.database.connection import TWICE
from arkcli.errors import InDoubt, NotAccepted, Refused, Unreachable, Unreadable, UsageError
from arkcli.model import Attempt, Event, Outcome, State
from arkcli.queue.engine import Pending, Record
from arkcli.queue.outage import Outage
from arkcli.queue.postgres.access import Access
from arkcli.queue.postgres.stored import to_column

#: The most rows, and about the most bytes of bodies, written at once.
_BATCH: Final = 5_000
_BATCH_SIZE: Final = 4 * 1024 * 1024
_MISPLACED: Final = "a record of a destination comes before its place, or an event comes after a place"
_STATE: Final = """
select state, state = 'moving' and move <> '', exists (select from ark.event), exists (select from ark.share)
from ark.meta for update
"""
_EMPTY: Final = "truncate ark.event, ark.share, ark.pending, ark.attempt"
_BEGIN: Final = "update ark.meta set state = 'moving', floor = 1"
_READY: Final = "update ark.meta set state = 'ready'"
_PLACE: Final = "insert into ark.share (id, joined, cursor, outage) values (%s, %s, %s, %s) returning destination"
_ROUNDS: Final = """
update ark.pending p set round = t.round + (p.attempt = 0)::int from unnest(%s::bigint[], %s::int[]) t(seq, round)
where p.destination = %s and p.seq = t.seq
"""
_COLUMNS: Final = {
    "event": 'seq, id, name, at, addressed, bytes, "to", body',
    "pending": "destination, seq, round, attempt, due_at, failed_at, status, error",
    "attempt": "destination, seq, round, attempt, at, outcome, status, ms, error, excerpt",
}
_OUTCOMES: Final = {Outcome.DELIVERED: "d", Outcome.FAILED: "f"}


def restore(access: Access, records: Iterable[Record]) -> None:
    """Fills the queue. Raises UsageError if it is not empty or the records are invalid, and NotAccepted.

    Takes memory for the ids of all events.
    """
    try:
        with access.transaction(durable=True, pipelined=False) as cursor:
            cursor.execute(_STATE)
            state, is_move, has_events, has_shares = cursor.fetchone() or ("ready", False, False, False)
            if state == "ready" and (has_events or has_shares):
                holds = "events" if has_events else "destinations"
                where = access.database.address.masked
                raise UsageError(f"the queue in {where} already has {holds}; only an empty queue can be filled")
            if has_events or has_shares:
                # An earlier try has not come to its end.
                cursor.execute(_EMPTY)
            cursor.execute(_BEGIN)
        _fill(_Filling(access), records)
        if not is_move:
            with access.transaction(durable=True) as cursor:
                cursor.execute(_READY)
    except (Unreachable, InDoubt) as error:
        raise NotAccepted(str(error), "the queue was filled only in part; try again") from error
    except Refused as error:
        if error.state != TWICE:
            raise
        raise Unreadable(
            "the same delivery is there twice, because a line of a journal is missing; `ark queue list` shows it. "
            "Nothing was copied. Discard it with `ark queue drop`, and try again"
        ) from error


def _fill(filling: "_Filling", records: Iterable[Record]) -> None:
    has_places = False
    for destination_id, group in groupby(records, attrgetter("destination_id")):
        first = next(group)
        if destination_id is None and not has_places:
            for record in chain((first,), group):
                filling.add_event(record.event)
        elif destination_id is not None and first.passed is not None:
            has_places = True
            filling.begin(destination_id, first.passed, first.ahead, first.outage)
            for record in group:
                filling.add(record)
            filling.end()
        else:
            raise UsageError(_MISPLACED)
    filling.flush()


class _Filling:
    """What has been restored so far."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._rows: dict[str, list[Sequence[Any]]] = {"event": [], "pending": [], "attempt": []}
        self._size = 0
        self._last = self._addressed = self._bytes = 0
        #: The numbers of events by id. Events that have left the log, but not the history, have none above 0.
        self._numbers: dict[str, int] = {}
        self._gone = 0
        self._destination = 0
        #: The last attempt in the history of each event, and the round of those that were sent again.
        self._attempts = bytearray()
        self._rounds: dict[int, int] = {}

    def add_event(self, event: Event | None) -> None:
        """Adds the next event of the log."""
        if event is None:
            raise UsageError(_MISPLACED)
        self._last += 1
        self._addressed += event.to is not None
        self._bytes += len(event.body)
        self._numbers.setdefault(event.id, self._last)
        self._add_event(self._last, event)

    def _add_event(self, seq: int, event: Event) -> None:
        to = None if event.to is None else list(map(to_column, event.to))
        about = (to_column(event.id), to_column(event.name), event.at)
        self._add("event", (seq, *about, self._addressed, self._bytes, to, event.body), len(event.body))

    def _add(self, table: str, row: Sequence[Any], size: int = 0) -> None:
        self._rows[table].append(row)
        self._size += size
        if len(self._rows[table]) >= _BATCH or self._size >= _BATCH_SIZE:
            self.flush()

    def flush(self) -> None:
        """Writes what is left."""
        with self._access.transaction(pipelined=False) as cursor:
            for table, rows in self._rows.items():
                if rows:
                    with cursor.copy(f"copy ark.{table} ({_COLUMNS[table]}) from stdin") as copy:
                        for row in rows:
                            copy.write_row(row)
        for rows in self._rows.values():
            rows.clear()
        self._size = 0

    def begin(self, destination_id: str, passed: int, ahead: Iterable[int], outage: Outage | None) -> None:
        """Begins with a destination."""
        cursor = passed + 1
        stored = None if outage is None else msgspec.json.encode(outage).decode()
        row = self._access.row(_PLACE, (to_column(destination_id), cursor, cursor, stored))
        self._destination = row[0] if row else 0
        self._attempts, self._rounds = bytearray(self._last + 1), {}
        for number in ahead:
            self._add("attempt", (self._destination, number + 1, 0, 0, times.to_text(0), "p", None, None, None, None))

    def add(self, record: Record) -> None:
        """Adds a delivery or a record of the history."""
        if record.passed is not None:
            raise UsageError(_MISPLACED)
        if record.pending is not None:
            self._add_pending(record.pending, record.failed_at)
        elif record.attempt is not None:
            self._add_attempt(record.attempt)
        elif record.dropped is not None:
            seq = self._number(record.dropped, "", record.failed_at or 0)
            at = times.to_text(record.failed_at or 0)
            round_, attempt = self._next(seq, None)
            self._add("attempt", (self._destination, seq, round_, attempt, at, "x", None, None, None, None))

    def _add_pending(self, pending: Pending, failed_at: int | None) -> None:
        seq = self._numbers.get(pending.event.id)
        if seq is None:
            raise UsageError(f"the dump has a delivery of {pending.event.id}, but not that event")
        due_at, error = pending.next_attempt_at, pending.last_error
        round_ = int(pending.state is State.WAITING)
        self._add("pending", (
            *(self._destination, seq, round_, pending.attempt, _time(due_at), _time(failed_at), pending.last_status),
            None if error is None else to_column(error),
        ))  # fmt: skip

    def _add_attempt(self, made: Attempt) -> None:
        seq = self._number(made.event_id, made.event, made.at)
        round_, attempt = self._next(seq, made.attempt)
        about = (self._destination, seq, round_, attempt, times.to_text(made.at), _OUTCOMES[made.outcome])
        error = None if made.error is None else to_column(made.error)
        self._add("attempt", (*about, made.status, made.duration_ms, error, to_column(made.excerpt)))

    def _number(self, event_id: str, name: str, at: int) -> int:
        """The number of an event. One that is not in the dump any more gets one before the log."""
        if event_id not in self._numbers:
            self._numbers[event_id] = self._gone
            self._add_event(self._gone, Event(event_id, name, times.to_text(at), b"", ()))
            self._gone -= 1
        return self._numbers[event_id]

    def _next(self, seq: int, attempt: int | None) -> tuple[int, int]:
        """The round and number for an attempt; None: for what was dropped instead of one."""
        is_kept = seq > 0
        before = self._attempts[seq] if is_kept else 0
        number = before + 1 if attempt is None else attempt
        if not is_kept or number <= before:
            self._rounds[seq] = self._rounds.get(seq, 0 if is_kept else -1) + 1
        if is_kept:
            self._attempts[seq] = min(number, 255)
        return self._rounds.get(seq, 0), number

    def end(self) -> None:
        """Ends a destination: a delivery that was sent again continues in a later round than its history."""
        self.flush()
        again = {seq: round_ for seq, round_ in self._rounds.items() if seq > 0 and round_}
        if again:
            self._access.run(_ROUNDS, (list(again), list(again.values()), self._destination))


def _time(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else times.to_text(milliseconds)
