"""Removes what is old and not needed any more, 10,000 rows at a time; and checks that the tables agree."""

from typing import Any, Final

from arkcli import times
from arkcli.errors import InDoubt, Unreachable
from arkcli.queue.engine import Checked, Damage
from arkcli.queue.postgres.access import LONG, Access
from arkcli.queue.postgres.view import WAITS

#: Only one process tidies up at a time. The number has no meaning.
_LOCK: Final = "select pg_try_advisory_xact_lock(4785076321)"
_BATCH: Final = 10_000
#: A destination that nobody has claimed for long because nothing was for it: up to 20,000 events at a time.
_CURSORS: Final = f"""
update ark.share s set cursor = n.seq from (
 select s.destination, coalesce(
  (select e.seq from ark.event e where e.seq >= greatest(s.cursor, 1) and e.seq < greatest(s.cursor, 1) + 20000
   and {WAITS} order by e.seq limit 1), least(greatest(s.cursor, 1) + 20000, l.last + 1)) as seq
 from ark.share s, (select greatest(max(seq), 0) as last from ark.event) l where s.until is null
) n where n.destination = s.destination and s.until is null and n.seq > s.cursor
"""
_WORKERS: Final = "delete from ark.worker where until < now() - interval '1 day'"
#: What is left of destinations that have been removed. The numbers of those that have rows are found by the index.
_STRAY: Final = f"""
with recursive known as (
 select min(destination) as destination from ark.{{0}}
 union all
 select (select min(t.destination) from ark.{{0}} t where t.destination > k.destination) from known k
 where k.destination is not null
), stray as (select destination from known k where not exists (
 select from ark.share s where s.destination = k.destination))
delete from ark.{{0}} where ctid = any(array(
 select t.ctid from stray join ark.{{0}} t using (destination) limit {_BATCH}))
"""
_ATTEMPTS: Final = f"""
delete from ark.attempt where ctid = any(array(
 select o.ctid from ark.share s cross join lateral (
  select ctid, seq, at from ark.attempt where destination = s.destination order by n limit {_BATCH}
 ) o where o.at < %(before)s and o.seq < s.cursor))
"""
_RANGE: Final = """
select coalesce(min(seq), 1), coalesce(max(seq), 0), (select min(cursor) from ark.share) from ark.event
"""
#: In a stretch of the log: the last event that was removed, and whether there are any that are not old.
_EVENTS: Final = """
with gone as (
 delete from ark.event e where seq between %(begin)s and %(end)s and at < %(before)s
  and not exists (select from ark.pending p where p.seq = e.seq)
  and not exists (select from ark.share s join ark.attempt a using (destination) where a.seq = e.seq)
 returning seq
) select (select max(seq) from gone),
 exists (select from ark.event where seq between %(begin)s and %(end)s and at >= %(before)s)
"""
_FLOOR: Final = "update ark.meta set floor = greatest(floor, %s)"

_CHECKS: Final = {
    "ark.event": """
select seq, 'the events before it are missing' from (
 select seq, lag(seq) over (order by seq) as before from ark.event where seq >= (select floor from ark.meta)
) e where seq > before + 1
""",
    "ark.share": """
select destination, 'its cursor is beyond the end of the log' from ark.share
where cursor > (select coalesce(max(seq), 0) + 1 from ark.event)
""",
    "ark.pending": """
select p.seq, 'its event is missing' from ark.pending p join ark.share using (destination)
where not exists (select from ark.event e where e.seq = p.seq)
""",
    "ark.attempt": """
select a.seq, 'its event is missing' from ark.attempt a join ark.share using (destination)
where not exists (select from ark.event e where e.seq = a.seq)
""",
}


def tidy(access: Access, before: int) -> None:
    """Removes attempts and events older than a time (milliseconds, UTC) that nothing needs any more.

    Does nothing while another process does it. If the database cannot be reached, the rest is for the next time.
    """
    values = {"before": times.to_text(before)}
    try:
        while _locked(access, _CURSORS, {}):
            pass
        _locked(access, _WORKERS, {})
        for statement in (_STRAY.format("pending"), _STRAY.format("attempt"), _ATTEMPTS):
            while _locked(access, statement, values):
                pass
        _remove_events(access, values)
    except (Unreachable, InDoubt):
        return


def _locked(access: Access, statement: str, values: dict[str, Any]) -> int:
    """Runs a statement unless another process tidies up; returns how many rows it changed."""
    with access.transaction(pipelined=False, patience=LONG) as cursor:
        cursor.execute(_LOCK)
        if not (cursor.fetchone() or (False,))[0]:
            return 0
        cursor.execute(statement, values)
        return cursor.rowcount


def _remove_events(access: Access, values: dict[str, Any]) -> None:
    first, last, cursor = access.row(_RANGE) or (1, 0, None)
    # The last event stays, so that no number is given twice.
    end = last - 1 if cursor is None else min(last, cursor) - 1
    for begin in range(first, end + 1, _BATCH):
        stretch = values | {"begin": begin, "end": min(begin + _BATCH - 1, end)}
        removed, is_young = access.row(_EVENTS, stretch, patience=LONG) or (None, True)
        if removed is not None:
            access.run(_FLOOR, (removed + 1,))
        if is_young:
            return


def check(access: Access, size: int | None = None) -> Checked:
    """Looks for rows that do not fit together. With `size`, checks only the newest events, about that many bytes."""
    if size is not None:
        count = (
            access.row("select count(*) from (select from ark.event order by seq desc limit %s) e", (size // 100,))
            or (0,)
        )[0]
        return Checked(count, [], None)
    lines, damaged = 0, []
    for table, statement in _CHECKS.items():
        lines += (access.row(f"select count(*) from {table}", patience=LONG) or (0,))[0]
        damaged += [Damage(table, number, problem) for number, problem in access.rows(statement, patience=LONG)]
    return Checked(lines, damaged, None)
