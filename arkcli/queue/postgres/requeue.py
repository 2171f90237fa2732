"""What an operator does to deliveries: retry now, drop, replay. Each is one transaction, 10,000 rows at a time."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from arkcli.database.connection import Cursor
from arkcli.errors import NotAccepted, Unreachable, UsageError
from arkcli.queue.engine import Replay, Selection
from arkcli.queue.postgres.access import LONG, Access
from arkcli.queue.postgres.leases import Leases
from arkcli.queue.postgres.stored import IS_FOR, IS_RESERVED, to_column
from arkcli.queue.postgres.view import WAITS

_BATCH: Final = 10_000
_PLACES: Final = "select id, destination from ark.share where id = any(%s)"
_SEQS: Final = "select seq from ark.event where id = any(%s)"
#: Pending deliveries that were chosen because of their events, and those because they are dead, in order.
_NAMED: Final = "select * from ark.pending p where p.destination = any(%(places)s) and p.seq = any(%(seqs)s)"
_DEAD: Final = f"""
select * from ark.pending p where p.destination = any(%(places)s) and p.due_at is null and p.seq <> all(%(seqs)s)
 and (p.destination, p.seq) > (%(place)s, %(seq)s) order by p.destination, p.seq limit {_BATCH}
"""
_COUNT_DEAD: Final = """
select count(*) from ark.pending p
where p.destination = any(%(places)s) and p.due_at is null and %(dead)s and p.seq <> all(%(seqs)s)
"""
_MAY_RETRY: Final = f"p.attempt > 0 and not coalesce({IS_RESERVED}, false)"
#: What was due already stays due since then.
_AGAIN: Final = """
attempt = 0, due_at = least(p.due_at, now()), holder = null, failed_at = null, status = null, error = null
"""
#: Changes chosen deliveries; returns how many those were, and the last one.
_CHANGE: Final = """
with chosen as ({chosen}), changed as ({change})
select (select count(*) from chosen), destination, seq from chosen order by destination desc, seq desc limit 1
"""
_RETRY: Final = f"""
update ark.pending p set round = p.round + 1, {_AGAIN}
from chosen c where p.destination = c.destination and p.seq = c.seq
"""
_NOTE: Final = "insert into ark.attempt (destination, seq, round, attempt, at, outcome)"
_DROP: Final = f"""
delete from ark.pending p using chosen c where p.destination = c.destination and p.seq = c.seq
), noted as ({_NOTE} select destination, seq, round, attempt + 1, now(), 'x' from chosen order by seq
"""
_WAITING: Final = f"""
select s.destination, e.seq from ark.event e join ark.share s on s.destination = any(%(places)s)
where e.seq = any(%(seqs)s) and {WAITS}
"""
_DROP_WAITING: Final = f"{_NOTE} select destination, seq, 0, 1, now(), 'x' from ({_WAITING}) w order by seq"

_FIRSTS: Final = "select id, min(seq) from ark.event where id = any(%s) and seq > 0 group by id"
#: Which events are sent again, and where.
_TARGETS: Final = f"""
select e.seq, s.destination from (
 select * from ark.event where {{among}}
) e cross join ark.share s left join ark.pending p on p.destination = s.destination and p.seq = e.seq
where s.id = any(%(ids)s)
 and (%(since)s::float8 is null or e.at >= to_timestamp(%(since)s / 1000.0))
 and (%(until)s::float8 is null or e.at <= to_timestamp(%(until)s / 1000.0))
 and (%(event)s::text is null or e.name = %(event)s)
 and not (%(everybody)s and not {IS_FOR})
 and case when p.seq is null then not %(failed)s and not {WAITS} else {_MAY_RETRY} end
"""
_STRETCH: Final = _TARGETS.format(among="seq > %(after)s and seq <= %(end)s")
_CHOSEN: Final = _TARGETS.format(among="seq = any(%(firsts)s)")
_REPLAY: Final = f"""
with targets as ({{targets}}), again as (
 insert into ark.pending as p (destination, seq, round, attempt, due_at)
 select destination, seq, 1 + coalesce((select max(round) from ark.attempt a
  where a.destination = t.destination and a.seq = t.seq), 0), 0, now()
 from targets t on conflict (destination, seq) do update set round = p.round + 1, {_AGAIN}
) select count(distinct seq) from targets
"""
_COUNT: Final = "select count(distinct seq) from ({targets}) t"
_ENDS: Final = "select coalesce(min(seq), 1), coalesce(max(seq), 0) from ark.event where seq > 0"


def _values(access: Access, selection: Selection) -> dict[str, Any]:
    """The numbers of what was selected."""
    places = dict(access.rows(_PLACES, (list(map(to_column, selection.destination_ids)),)))
    seqs = access.rows(_SEQS, (list(map(to_column, selection.event_ids)),)) if selection.event_ids else []
    return {"places": list(places.values()), "seqs": [seq for (seq,) in seqs], "dead": selection.dead}


def _count(access: Access, statement: str, values: Mapping[str, object]) -> int:
    row = access.row(statement, values, patience=LONG)
    return int(row[0]) if row else 0


def _change(cursor: Cursor, change: str, values: Mapping[str, object], condition: str = "true") -> int:
    """Changes the selected deliveries; returns how many those were."""
    named = f"{_NAMED} and {condition}"
    cursor.execute(_CHANGE.format(chosen=named, change=change), values)
    changed: int = (cursor.fetchone() or (0,))[0]
    place = seq = 0
    while values["dead"]:
        dead = {"place": place, "seq": seq}
        cursor.execute(_CHANGE.format(chosen=_DEAD, change=change), {**values, **dead})
        count, place, seq = cursor.fetchone() or (0, 0, 0)
        changed += count
        if count < _BATCH:
            break
    return changed


def retry(access: Access, selection: Selection, *, dry: bool) -> int:
    """Makes retrying deliveries due now and revives dead ones; returns how many. Raises NotAccepted."""
    try:
        values = _values(access, selection)
        if dry:
            named = f"select count(*) from ({_NAMED} and {_MAY_RETRY}) n"
            return _count(access, named, values) + _count(access, _COUNT_DEAD, values)
        with access.transaction(durable=True, pipelined=False, patience=LONG) as cursor:
            return _change(cursor, _RETRY, values, _MAY_RETRY)
    except Unreachable as error:
        raise NotAccepted(str(error), "no delivery was changed") from error


def drop(leases: Leases, selection: Selection, *, dry: bool) -> int:
    """Discards waiting, retrying or dead deliveries; returns how many. Raises Held and Unreachable."""
    access, dropped = leases.access, 0
    places = dict(access.rows(_PLACES, (list(map(to_column, selection.destination_ids)),)))
    values = _values(access, selection)
    for destination_id in selection.destination_ids:
        if (place := places.get(to_column(destination_id))) is None:
            continue
        values["places"] = [place]
        if dry:
            counts = (f"select count(*) from ({_NAMED}) n", _COUNT_DEAD, f"select count(*) from ({_WAITING}) w")
            dropped += sum(_count(access, statement, values) for statement in counts)
            continue
        with access.transaction(durable=True, pipelined=False, patience=LONG) as cursor:
            leases.lock(cursor, destination_id)
            dropped += _change(cursor, _DROP, values)
            cursor.execute(_DROP_WAITING, values)
            dropped += cursor.rowcount
    return dropped


def replay(access: Access, chosen: Replay, *, dry: bool) -> int:
    """Sends events of the log again; returns how many events. Raises UsageError and NotAccepted."""
    try:
        firsts = _firsts(access, chosen.event_ids) if chosen.event_ids else None
        begin, end = access.row(_ENDS) or (1, 0)
        values = {
            "ids": list(map(to_column, chosen.destination_ids)),
            "firsts": firsts,
            "since": chosen.since,
            "until": chosen.until,
            "event": None if chosen.event is None else to_column(chosen.event),
            "everybody": chosen.everybody,
            "failed": chosen.failed,
        }
        statement = (_COUNT if dry else _REPLAY).format(targets=_STRETCH if firsts is None else _CHOSEN)
        found = 0
        with access.transaction(durable=True, pipelined=False, patience=LONG) as cursor:
            for after in range(begin - 1, end, _BATCH) if firsts is None else (0,):
                cursor.execute(statement, values | {"after": after, "end": min(after + _BATCH, end)})
                found += (cursor.fetchone() or (0,))[0]
    except Unreachable as error:
        raise NotAccepted(str(error), "nothing was sent again") from error
    return found


def _firsts(access: Access, event_ids: frozenset[str]) -> Sequence[int]:
    """The numbers of the chosen events. Raises UsageError."""
    numbers: dict[str, int] = dict(access.rows(_FIRSTS, (list(map(to_column, event_ids)),)))
    for event_id in sorted(event_ids):
        if to_column(event_id) not in numbers:
            raise UsageError(
                f"there is no event {event_id!r} in the queue, or not any more; `ark log` shows past attempts"
            )
    return sorted(numbers.values())
