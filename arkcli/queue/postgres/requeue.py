"""What an operator does to deliveries: retry now, drop, replay. Each is one transaction, 10,000 rows at a time."""

from collections.abc import Mapping
from typing import Any, Final

from arkcli.database.connection import Cursor
from arkcli.errors import NotAccepted, Unreachable, UsageError
from arkcli.queue.engine import Replay, Selection
from arkcli.queue.postgres.access import Access
from arkcli.queue.postgres.leases import Leases
from arkcli.queue.postgres.stored import IS_FOR, IS_RESERVED, to_column
from arkcli.queue.postgres.view import WAITS

_BATCH: Final = 10_000
#: What of a destination is chosen: by the ids of events, or because it is dead.
_CHOSEN: Final = """
s.id = any(%(ids)s) and (p.seq = any(array(select seq from ark.event where id = any(%(events)s)))
 or (%(dead)s and p.due_at is null))
"""
_RETRIED: Final = f"""
select p.destination, p.seq from ark.pending p join ark.share s using (destination)
where {_CHOSEN} and p.attempt > 0 and not coalesce({IS_RESERVED}, false)
"""
#: What was due already stays due since then.
_RETRY: Final = f"""
update ark.pending p set round = p.round + 1, attempt = 0, due_at = least(p.due_at, now()), holder = null,
 failed_at = null, status = null, error = null
from ({_RETRIED} limit {_BATCH}) c where p.destination = c.destination and p.seq = c.seq
"""
_DROPPED: Final = f"select p.* from ark.pending p join ark.share s using (destination) where {_CHOSEN}"
_DROPPED_WAITING: Final = f"""
select s.destination, e.seq from ark.event e join ark.share s on s.id = any(%(ids)s)
where e.id = any(%(events)s) and e.seq > 0 and {WAITS}
"""
_NOTE: Final = "insert into ark.attempt (destination, seq, round, attempt, at, outcome)"
_DROP: Final = f"""
with gone as (
 delete from ark.pending p using ({_DROPPED} limit {_BATCH}) c
 where p.destination = c.destination and p.seq = c.seq returning p.*
) {_NOTE} select destination, seq, round, attempt + 1, now(), 'x' from gone order by seq
"""
_DROP_WAITING: Final = f"{_NOTE} select destination, seq, 0, 1, now(), 'x' from ({_DROPPED_WAITING}) w order by seq"

_FIRSTS: Final = "select id, min(seq) from ark.event where id = any(%s) and seq > 0 group by id"
#: What of a stretch of the log is sent again, and where.
_TARGETS: Final = f"""
select e.seq, s.destination from (
 select * from ark.event where seq > %(after)s and seq <= %(end)s
) e cross join ark.share s left join ark.pending p on p.destination = s.destination and p.seq = e.seq
where s.id = any(%(ids)s) and (%(firsts)s::bigint[] is null or e.seq = any(%(firsts)s))
 and (%(since)s::float8 is null or e.at >= to_timestamp(%(since)s / 1000.0))
 and (%(until)s::float8 is null or e.at <= to_timestamp(%(until)s / 1000.0))
 and (%(event)s::text is null or e.name = %(event)s)
 and not (%(everybody)s and not {IS_FOR})
 and case when p.seq is null then not %(failed)s and not {WAITS}
  else p.attempt > 0 and not coalesce({IS_RESERVED}, false) end
"""
_REPLAY: Final = f"""
with targets as ({_TARGETS}), again as (
 insert into ark.pending (destination, seq, round, attempt, due_at)
 select destination, seq, 1 + coalesce((select max(round) from ark.attempt a
  where a.destination = t.destination and a.seq = t.seq), 0), 0, now()
 from targets t
 on conflict (destination, seq) do update set round = pending.round + 1, attempt = 0, holder = null,
  due_at = least(pending.due_at, now()), failed_at = null, status = null, error = null
) select count(distinct seq) from targets
"""
_COUNT_REPLAYED: Final = f"select count(distinct seq) from ({_TARGETS}) t"
_END: Final = "select coalesce(min(seq), 1), coalesce(max(seq), 0) from ark.event where seq > 0"


def _values(selection: Selection) -> dict[str, Any]:
    return {
        "ids": list(map(to_column, selection.destination_ids)),
        "events": list(map(to_column, selection.event_ids)),
        "dead": selection.dead,
    }


def _count(access: Access, statement: str, values: Mapping[str, object]) -> int:
    row = access.row(f"select count(*) from ({statement}) found", values)
    return int(row[0]) if row else 0


def retry(access: Access, selection: Selection, *, dry: bool) -> int:
    """Makes retrying deliveries due now and revives dead ones; returns how many. Raises NotAccepted."""
    values = _values(selection)
    if dry:
        return _count(access, _RETRIED, values)
    try:
        with access.transaction(durable=True, pipelined=False) as cursor:
            return _repeated(cursor, _RETRY, values)
    except Unreachable as error:
        raise NotAccepted(str(error), "no delivery was changed") from error


def _repeated(cursor: Cursor, statement: str, values: Mapping[str, object]) -> int:
    """Runs a statement that changes up to 10,000 rows until all are changed; returns how many those were."""
    changed = 0
    while True:
        cursor.execute(statement, values)
        changed += cursor.rowcount
        if cursor.rowcount < _BATCH:
            return changed


def drop(leases: Leases, selection: Selection, *, dry: bool) -> int:
    """Discards waiting, retrying or dead deliveries; returns how many. Raises Held."""
    access, dropped = leases.access, 0
    for destination_id in selection.destination_ids:
        values = _values(selection) | {"ids": [to_column(destination_id)]}
        if dry:
            dropped += _count(access, _DROPPED, values) + _count(access, _DROPPED_WAITING, values)
            continue
        with access.transaction(durable=True, pipelined=False) as cursor:
            leases.lock(cursor, destination_id)
            dropped += _repeated(cursor, _DROP, values)
            cursor.execute(_DROP_WAITING, values)
            dropped += cursor.rowcount
    return dropped


def replay(access: Access, chosen: Replay, *, dry: bool) -> int:
    """Sends events of the log again; returns how many events. Raises UsageError and NotAccepted."""
    firsts = _firsts(access, chosen) if chosen.event_ids else None
    begin, end = access.row(_END) or (1, 0)
    if firsts:
        begin, end = min(firsts), max(firsts)
    values = {
        "ids": list(map(to_column, chosen.destination_ids)),
        "firsts": firsts,
        "since": chosen.since,
        "until": chosen.until,
        "event": None if chosen.event is None else to_column(chosen.event),
        "everybody": chosen.everybody,
        "failed": chosen.failed,
    }
    stretches = range(begin - 1, end, _BATCH) if firsts is None else [begin - 1]
    found = 0
    try:
        with access.transaction(durable=True, pipelined=False) as cursor:
            for after in stretches:
                until = end if firsts is not None else min(after + _BATCH, end)
                cursor.execute(_COUNT_REPLAYED if dry else _REPLAY, values | {"after": after, "end": until})
                found += (cursor.fetchone() or (0,))[0]
    except Unreachable as error:
        raise NotAccepted(str(error), "nothing was sent again") from error
    return found


def _firsts(access: Access, chosen: Replay) -> list[int]:
    """The numbers of the chosen events. Raises UsageError."""
    numbers: dict[str, int] = dict(access.rows(_FIRSTS, (list(map(to_column, chosen.event_ids)),)))
    for event_id in sorted(chosen.event_ids):
        if to_column(event_id) not in numbers:
            raise UsageError(
                f"there is no event {event_id!r} in the queue, or not any more; `ark log` shows past attempts"
            )
    return sorted(numbers.values())
