"""The event log: accepting, and finding events.

Accepting is serialised by the lock of ark.meta, so that events become visible in the order of their numbers: a reader
never passes one that is still to come.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from arkcli.database import schema
from arkcli.database.connection import Cursor
from arkcli.errors import ArkError, Filling, InDoubt, NotAccepted, Unreachable
from arkcli.model import Draft
from arkcli.queue.engine import Totals
from arkcli.queue.postgres.access import Access
from arkcli.queue.postgres.stored import EVENT, StoredEvent, array_of, event_of, stored, to_column

_LOCK: Final = "select reads_from, state, place from ark.meta for no key update"
_KNOWN: Final = f"select {EVENT} from ark.event e where e.id = any(%s) and e.seq > 0 order by e.seq"
_LAST: Final = """
select coalesce(max(seq), 0) seq, coalesce(max(addressed), 0) addressed, coalesce(max(bytes), 0) bytes
 from (select seq, addressed, bytes from ark.event where seq > 0 order by seq desc limit 1) last
"""
_INSERT: Final = f"""
insert into ark.event (seq, id, name, at, addressed, bytes, "to", body)
select l.seq + t.n, t.id, t.name, t.at::timestamptz, l.addressed + t.addressed, l.bytes + t.bytes, t."to"::text[],
 t.body
from ark.meta m, ({_LAST}) l, (
 select id, name, at, "to", body, row_number() over written n,
  count("to") over written addressed, sum(octet_length(body)) over written bytes
 from unnest(%(id)s::text[], %(name)s::text[], %(at)s::text[], %(to)s::text[], %(body)b::bytea[])
  with ordinality d(id, name, at, "to", body, n)
 where not %(unique)s or not exists (select from ark.event e where e.id = d.id and e.seq > 0)
 window written as (order by n)
) t
where m.state = 'ready' and m.reads_from <= %(version)s
order by t.n
returning seq, id
"""
#: Many events are copied: less work for both sides than an insert, and a few more round trips. Without `repeat`, glibc
#: returns the server's memory to the system and takes it again for every other row, which is a fifth of the server's
#: work: it keeps what is freed only after a block larger than 128 KiB has been freed.
_LAST_BEFORE_COPY: Final = f"select last.*, octet_length(repeat(repeat(' ', 1000), 300)) from ({_LAST}) last"
_COPY: Final = 'copy ark.event (seq, id, name, at, addressed, bytes, "to", body) from stdin (format binary)'
_TYPES: Final = ("int8", "text", "text", "timestamptz", "int8", "int8", "text[]", "bytea")
_MANY: Final = 100
_FIND: Final = f"select {EVENT} from ark.event e where e.id = %s and e.seq > 0 order by e.seq limit 1"
#: An id is text in the collation "C", so that all with a prefix are one range.
_FIND_PREFIX: Final = f"""
with recursive found as (
 (select e.*, 1 as n from ark.event e where e.id >= %(prefix)s and e.id < %(end)s and e.seq > 0
  order by e.id, e.seq limit 1)
 union all
 (select e.*, f.n + 1 from found f, lateral (
   select * from ark.event e where e.id > f.id and e.id < %(end)s and e.seq > 0 order by e.id, e.seq limit 1) e
  where f.n < 2)
) select {EVENT} from found e order by e.id
"""
#: The events from a number on, as many as fit into a page.
PAGE: Final = f"""
select {EVENT} from (
 select *, sum(octet_length(body)) over (order by seq) - octet_length(body) as before
 from (select * from ark.event where seq >= %s and seq > 0 order by seq limit %s) e
) e where before < 4194304 order by seq
"""
PAGE_SIZE: Final = 256
#: The newest events; each counts as 100 bytes and its body.
_RECENT: Final = f"""
select {EVENT} from (
 select *, sum(octet_length(body) + 100) over (order by seq desc) as total
 from (select * from ark.event where seq > 0 order by seq desc limit %(size)s / 100 + 1) e
) e where total <= %(size)s order by seq
"""
#: From ark.meta.floor on the log has no gaps, so what is there need not be counted.
_TOTALS: Final = """
select coalesce(l.seq - f.seq + 1 + o.count, 0), coalesce(l.bytes - f.bytes + octet_length(f.body) + o.bytes, 0)
from ark.meta m
left join lateral (select seq, bytes from ark.event where seq > 0 order by seq desc limit 1) l on true
left join lateral (select seq, bytes, body from ark.event where seq >= m.floor order by seq limit 1) f on true
left join lateral (
 select count(*), coalesce(sum(octet_length(body)), 0) as bytes from ark.event where seq > 0 and seq < m.floor
) o on true
"""
#: The share of an event beside its body, about.
_OVERHEAD: Final = 100
_TRY_AGAIN: Final = "nothing was accepted; try again when it has ended"
#: How long to find out whether an event was accepted, in seconds, and the pauses between tries.
_DOUBT: Final = 30.0
_PAUSES: Final = (0.1, 5.0)


class Log:
    """The event log."""

    def __init__(self, access: Access) -> None:
        """Reads nothing yet."""
        self._access = access

    def accept(self, drafts: Sequence[Draft], *, unique: bool = False) -> list[StoredEvent]:
        """Makes events durable, all or none. See `Queue.accept`. Raises NotAccepted, InDoubt and Unreadable.

        If the connection is lost while the database commits, asks again for up to 30 s.
        """
        if not drafts:
            return []
        try:
            return self._write(drafts, unique=unique)
        except Unreachable as error:
            raise NotAccepted(str(error), "nothing was accepted") from error
        except InDoubt as doubt:
            return self._ask(drafts, doubt)

    def _ask(self, drafts: Sequence[Draft], doubt: InDoubt) -> list[StoredEvent]:
        """Writes what was not written. Whoever has the log's lock knows that the lost transaction has ended."""
        clock, (pause, longest) = self._access.clock, _PAUSES
        until = clock.monotonic() + _DOUBT
        while True:
            try:
                return self._write(drafts, unique=True)
            except (Unreachable, InDoubt) as error:
                doubt = InDoubt(str(error))
            except ArkError as error:
                raise InDoubt(f"{_unknown(drafts)} ({error})") from error
            if clock.monotonic() + pause > until:
                raise InDoubt(f"{_unknown(drafts)} ({doubt})")
            clock.sleep(pause)
            pause = min(2 * pause, longest)

    def _write(self, drafts: Sequence[Draft], *, unique: bool) -> list[StoredEvent]:
        return self._insert(drafts, unique=unique) if unique or len(drafts) < _MANY else self._copy(drafts)

    def _copy(self, drafts: Sequence[Draft]) -> list[StoredEvent]:
        events = []
        with self._access.transaction(durable=True, pipelined=False) as cursor:
            cursor.execute(_LOCK)
            self._check_open(cursor)
            cursor.execute(_LAST_BEFORE_COPY)
            seq, addressed, size, _ = cursor.fetchone() or (0, 0, 0, 0)
            with cursor.copy(_COPY) as copy:
                copy.set_types(_TYPES)
                for draft in drafts:
                    to = None if draft.to is None else list(map(to_column, draft.to))
                    seq, addressed, size = seq + 1, addressed + (to is not None), size + len(draft.body)
                    identity = to_column(draft.id), to_column(draft.name), datetime.fromisoformat(draft.at)
                    copy.write_row((seq, *identity, addressed, size, to, draft.body))
                    events.append(stored(draft, seq))
        self._access.last = max(self._access.last, seq)
        return events

    def _insert(self, drafts: Sequence[Draft], *, unique: bool) -> list[StoredEvent]:
        fresh = [draft for draft, is_first in zip(drafts, _firsts(drafts), strict=True) if is_first or not unique]
        ids = [to_column(draft.id) for draft in fresh]
        values = {
            "id": ids,
            "name": [to_column(draft.name) for draft in fresh],
            "at": [draft.at for draft in fresh],
            "to": [None if draft.to is None else array_of(draft.to) for draft in fresh],
            "body": [draft.body for draft in fresh],
            "unique": unique,
            "version": schema.VERSION,
        }
        known, written = [], []
        with self._access.transaction(durable=True) as cursor:
            cursor.execute(_LOCK)
            seen = cursor.connection.cursor(binary=True)
            if unique:
                seen.execute(_KNOWN, (ids,))
            inserted = cursor.connection.cursor(binary=True)
            inserted.execute(_INSERT, values)
        self._check_open(cursor)
        known = list(map(event_of, seen.fetchall())) if unique else []
        written = sorted(inserted.fetchall())
        if written:
            self._access.last = max(self._access.last, written[-1][0])
        if not unique:
            return [stored(draft, seq) for draft, (seq, _) in zip(drafts, written, strict=True)]
        numbers = {found: seq for seq, found in written}
        events = {
            draft.id: stored(draft, numbers[found]) for draft, found in zip(fresh, ids, strict=True) if found in numbers
        }
        events.update({event.id: event for event in reversed(known)})
        return [events[draft.id] for draft in drafts]

    def _check_open(self, cursor: Cursor) -> None:
        """Raises what keeps events from being accepted. The cursor has just locked the log."""
        reads_from, state, place = cursor.fetchone() or (0, "ready", "")
        schema.check_reads_from(reads_from)
        name = self._access.database.address.masked
        try:
            schema.check_state(state, name, place)
        except Filling as filling:
            raise NotAccepted(f"{name} is being filled by a move from {place}", _TRY_AGAIN) from filling

    def find(self, event_id: str) -> StoredEvent | None:
        """The first event accepted under an id."""
        row = self._access.row(_FIND, (to_column(event_id),))
        return None if row is None else event_of(row)

    def find_prefix(self, beginning: str) -> list[StoredEvent]:
        """The first events of up to two ids with this prefix."""
        prefix = to_column(beginning)
        return [
            event_of(row) for row in self._access.rows(_FIND_PREFIX, {"prefix": prefix, "end": prefix + "\U0010ffff"})
        ]

    def events(self, after: int = 0, until: int | None = None) -> Iterator[StoredEvent]:
        """The events with numbers above `after`, up to `until`, oldest first."""
        while True:
            found = [event_of(row) for row in self._access.rows(PAGE, (after + 1, PAGE_SIZE))]
            for event in found:
                if until is not None and event.seq > until:
                    return
                yield event
            if not found:
                return
            after = found[-1].seq

    def recent(self, size: int) -> list[StoredEvent]:
        """The newest events, about `size` bytes, oldest first."""
        return [event_of(row) for row in self._access.rows(_RECENT, {"size": size})]

    @property
    def totals(self) -> Totals:
        """The number of events, and about how many bytes they take."""
        events, size = self._access.row(_TOTALS) or (0, 0)
        return Totals(events, size + _OVERHEAD * events)


def _firsts(drafts: Sequence[Draft]) -> list[bool]:
    """For each draft, whether it is the first with its id."""
    seen: set[str] = set()
    return [not (draft.id in seen or seen.add(draft.id)) for draft in drafts]  # type: ignore[func-returns-value]


def _unknown(drafts: Sequence[Draft]) -> str:
    first = drafts[0].id
    more = f" and {len(drafts) - 1} more" if len(drafts) > 1 else ""
    return f"not known whether {first}{more} was accepted; run again with --id {first}"
