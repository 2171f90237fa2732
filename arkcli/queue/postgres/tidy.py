"""Removes what is old and not needed any more, 10,000 rows at a time; and checks that the tables agree."""

from typing import Final

from arkcli import times
from arkcli.errors import InDoubt, Unreachable
from arkcli.queue.engine import Checked, Damage
from arkcli.queue.postgres.access import Access
from arkcli.queue.postgres.view import WAITS

#: Only one process tidies up at a time. The number has no meaning.
_LOCK: Final = "select pg_try_advisory_xact_lock(4785076321)"
_BATCH: Final = 10_000
#: A destination that nobody has claimed for long because nothing was for it.
_CURSORS: Final = f"""
update ark.share s set cursor = n.seq from (
 select s.destination, coalesce(
  (select e.seq from ark.event e where e.seq >= greatest(s.cursor, 1) and {WAITS} order by e.seq limit 1),
  (select max(seq) + 1 from ark.event where seq > 0), s.cursor) as seq
 from ark.share s where s.until is null
) n where n.destination = s.destination and s.until is null and n.seq > s.cursor
"""
_WORKERS: Final = "delete from ark.worker where until < now() - interval '1 day'"
_STRAY: Final = f"""
delete from ark.{{0}} where ctid = any(array(
 select t.ctid from ark.{{0}} t where not exists (select from ark.share s where s.destination = t.destination)
 limit {_BATCH}))
"""
_ATTEMPTS: Final = f"""
delete from ark.attempt where ctid = any(array(
 select o.ctid from ark.share s cross join lateral (
  select ctid, seq, at from ark.attempt where destination = s.destination order by n limit {_BATCH}
 ) o where o.at < %(before)s and o.seq < s.cursor))
"""
_EVENTS: Final = f"""
delete from ark.event where seq = any(array(
 select seq from ark.event e where at < %(before)s
  and seq < (select least(min(s.cursor), (select max(seq) from ark.event)) from ark.share s)
  and not exists (select from ark.pending p where p.seq = e.seq)
  and not exists (select from ark.share s join ark.attempt a using (destination) where a.seq = e.seq)
 order by seq limit {_BATCH})) returning seq
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
    statements = [_STRAY.format("pending"), _STRAY.format("attempt"), _ATTEMPTS, _EVENTS]
    try:
        with access.transaction(pipelined=False) as cursor:
            cursor.execute(_CURSORS)
            cursor.execute(_WORKERS)
        while statements:
            with access.transaction(pipelined=False) as cursor:
                cursor.execute(_LOCK)
                if not (cursor.fetchone() or (False,))[0]:
                    return
                cursor.execute(statements[0], values)
                removed = cursor.rowcount
                if statements[0] is _EVENTS and removed:
                    cursor.execute(_FLOOR, (max(seq for (seq,) in cursor.fetchall()) + 1,))
            if not removed:
                del statements[0]
    except (Unreachable, InDoubt):
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
        lines += (access.row(f"select count(*) from {table}") or (0,))[0]
        damaged += [Damage(table, number, problem) for number, problem in access.rows(statement)]
    return Checked(lines, damaged, None)
