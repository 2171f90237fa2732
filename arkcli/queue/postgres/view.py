"""Reads a destination's deliveries while others deliver. Lists are read in pages, so that they take little memory."""

import heapq
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from arkcli import times
from arkcli.errors import Gone, InDoubt, Unreachable
from arkcli.model import Attempt, Event, RetrySchedule, State
from arkcli.queue.engine import Selection, Standing
from arkcli.queue.postgres.access import LONG, Access
from arkcli.queue.postgres.stored import (
    ATTEMPT,
    EVENT,
    IS_FIRST,
    IS_FOR,
    IS_KNOWN,
    SET_BACK,
    StoredEvent,
    StoredPending,
    attempt_of_row,
    event_of,
    from_column,
    ms,
    outage_of,
    to_column,
)

#: Whether an event `e` waits in the log for its first attempt by a share `s`.
WAITS: Final = f"(e.seq >= s.cursor and {IS_FOR} and not {IS_KNOWN})"
#: When a pending delivery `p` at an event `e` is due; what a wrong clock dated later is due now, if that is wanted.
_DUE_AT: Final = f"case when {IS_FIRST} then e.at else p.due_at end"
_DUE_NOW: Final = f"case when coalesce(p.failed_at, {_DUE_AT}) > {SET_BACK} then now() else {_DUE_AT} end"
_STANDINGS: Final = f"""
select s.id, s.outage, k.attempts, k.counts, {ms("least(k.due_at, f.at)")}, {ms("o.at")}, {ms("w.at")},
 case when s.cursor > l.seq then 0 else
  l.seq - greatest(s.cursor, 1) + 1 - (l.addressed - b.addressed)
  + (select count(*) from ark.event e where e.seq >= s.cursor and e."to" is not null and s.id = any(e."to"))
  - (select count(*) from (
    select seq from ark.attempt a where a.destination = s.destination and a.seq >= s.cursor union
    select seq from ark.pending p where p.destination = s.destination and p.seq >= s.cursor
   ) r join ark.event e using (seq) where {IS_FOR})
 end, {ms("now()")}
from ark.share s
cross join lateral (select coalesce(max(seq), 0) seq, coalesce(max(addressed), 0) addressed
 from (select seq, addressed from ark.event where seq > 0 order by seq desc limit 1) e) l
left join lateral (select addressed - ("to" is not null)::int as addressed from ark.event
 where seq >= greatest(s.cursor, 1) order by seq limit 1) b on true
left join lateral (
 select array_agg(attempt) as attempts, array_agg(count) as counts, min(due_at) as due_at, min(alive) as alive,
  min(first) as first
 from (select case when p.due_at is null then -1 else p.attempt end as attempt, count(*) as count,
   min(case when {IS_FIRST} then null when %(now)s and coalesce(p.failed_at, p.due_at) > {SET_BACK} then now()
    else p.due_at end) as due_at,
   min(case when p.due_at is not null then p.seq end) as alive, min(case when {IS_FIRST} then p.seq end) as first
  from ark.pending p where p.destination = s.destination group by 1) g) k on true
left join ark.event o on o.seq = k.alive
left join lateral (select case when %(now)s then least(at, now()) else at end as at from ark.event
 where seq = k.first) f on true
left join lateral (
 select e.at from ark.event e where e.seq >= greatest(s.cursor, 1) and {WAITS} order by e.seq limit 1) w on true
where s.id = any(%(ids)s)
"""
_LAST: Final = f"""
select s.id, {ATTEMPT} from ark.share s cross join lateral (
 select * from ark.attempt where destination = s.destination and outcome in ('d', 'f') order by n desc limit 1
) a join ark.event e using (seq) where s.id = any(%(ids)s)
"""
_COLUMNS: Final = f"""
p.attempt, p.round, {ms(f"case when %(now)s then {_DUE_NOW} else {_DUE_AT} end")}, p.due_at is null, p.status, p.error,
{ms("p.failed_at")}, {EVENT}
"""
#: A page of what is pending in one state, by number.
_LIST: Final = f"""
select {_COLUMNS} from (
 select * from ark.pending where destination = %(destination)s and seq > %(after)s and {{which}} order by seq limit 256
) p join ark.event e using (seq) order by p.seq
"""
_RETRYING: Final = _LIST.format(which="attempt = %(attempt)s and due_at is not null")
_AGAIN: Final = _LIST.format(which="attempt = 0 and due_at is not null")
_DEAD: Final = _LIST.format(which="due_at is null")
_WAITING: Final = f"""
select {EVENT}, {ms("now()")} from ark.event e join ark.share s on s.destination = %(destination)s
where e.seq > %(after)s and e.seq > 0 and {WAITS} order by e.seq limit 256
"""
_PENDING_OF: Final = f"""
select {_COLUMNS} from ark.event e join ark.pending p on p.seq = e.seq and p.destination = %(destination)s
where e.id = any(%(ids)s) order by p.seq
"""
_WAITING_OF: Final = f"""
select {EVENT}, {ms("now()")} from ark.event e join ark.share s on s.destination = %(destination)s
where e.id = any(%(ids)s) and e.seq > 0 and {WAITS} order by e.seq
"""
_IS_WAITING: Final = f"""
select 1 from ark.event e join ark.share s on s.destination = %(destination)s
where e.seq = %(seq)s and ({WAITS} or exists (
 select from ark.pending p where p.destination = s.destination and p.seq = e.seq and {IS_FIRST}))
"""
_ATTEMPTS: Final = f"""
select a.n, {ATTEMPT} from (
 select * from ark.attempt where destination = %(destination)s and n > %(after)s and n <= %(until)s
  and outcome in ('d', 'f') order by n limit 1000
) a join ark.event e using (seq) order by a.n
"""
_NEWEST: Final = "select max(n) from ark.attempt where destination = %(destination)s"
_RECENT: Final = f"""
select {ATTEMPT}, total <= %(size)s from (
 select *, sum(200 + octet_length(coalesce(error, '')) + octet_length(coalesce(excerpt, ''))) over (order by n desc)
  as total
 from (select * from ark.attempt where destination = %(destination)s and outcome in ('d', 'f')
  order by n desc limit %(size)s / 200 + 2) r
) a join ark.event e using (seq) order by a.n
"""
_HISTORY: Final = f"""
select {ATTEMPT} from ark.event e join ark.attempt a on a.seq = e.seq and a.destination = %(destination)s
where e.id = %(event)s and a.outcome <> 'p' order by a.n
"""
_STATE: Final = f"""
select p.attempt, p.due_at is null from ark.event e join ark.pending p on p.seq = e.seq
where p.destination = %(destination)s and e.id = %(event)s and not {IS_FIRST} order by p.seq desc limit 1
"""
_PLACE: Final = "select destination from ark.share where id = %s"
_ORDER: Final = (State.RETRYING, State.WAITING, State.DEAD)
_DROPPED: Final = "x"
Row = tuple[Any, ...]


class View:
    """The deliveries of one destination, as of each reading. Its methods raise Gone."""

    def __init__(self, access: Access, destination_id: str, schedule: RetrySchedule) -> None:
        """Reads nothing yet."""
        self.destination_id = destination_id
        self._access = access
        self._schedule = schedule
        self._followed = 0
        self._destination: int | None = None

    def _rows(self, statement: str, **values: object) -> list[Row]:
        """The rows of a statement. Raises Gone."""
        if self._destination is None:
            self._destination = self._place()
        found = self._access.rows(statement, {"destination": self._destination, **values}, patience=LONG)
        if not found and self._place() != self._destination:
            raise self._gone
        return found

    def _place(self) -> int:
        row = self._access.row(_PLACE, (to_column(self.destination_id),))
        if row is None:
            raise self._gone
        return int(row[0])

    @property
    def _gone(self) -> Gone:
        return Gone(self.destination_id, f"{self.destination_id} has no part in the queue (any more)")

    def _pages(self, statement: str, key: int, **values: object) -> Iterator[Row]:
        """The rows of a statement that returns them in pages, by the number in the column `key`."""
        after = 0
        while found := self._rows(statement, after=after, **values):
            yield from found
            after = found[-1][key]

    def standing(self, now: int | None = None) -> Standing:
        """The counts, and when the next attempt is due. With `now`, whatever is dated later is due now."""
        found = standings(self._access, [self.destination_id], self._schedule, is_now=now is not None)
        if self.destination_id not in found:
            raise self._gone
        return found[self.destination_id]

    def deliveries(self, chosen: Selection | None = None, now: int | None = None) -> Iterator[StoredPending]:
        """See `engine.View.deliveries`."""
        is_now = now is not None
        if chosen is not None:
            yield from self._chosen(chosen, is_now=is_now)
            return
        for attempt in range(self._schedule.attempts, 0, -1):
            yield from map(_pending_of, self._pages(_RETRYING, 7, now=is_now, attempt=attempt))
        again = map(_pending_of, self._pages(_AGAIN, 7, now=is_now))
        waiting = (_waiting_of(row, is_now=is_now) for row in self._pages(_WAITING, 0))
        yield from heapq.merge(again, waiting, key=_seq)
        yield from map(_pending_of, self._pages(_DEAD, 7, now=is_now))

    def _chosen(self, chosen: Selection, *, is_now: bool) -> Iterator[StoredPending]:
        found: list[StoredPending] = []
        if chosen.event_ids:
            ids = list(map(to_column, chosen.event_ids))
            found += map(_pending_of, self._rows(_PENDING_OF, now=is_now, ids=ids))
            found += (_waiting_of(row, is_now=is_now) for row in self._rows(_WAITING_OF, ids=ids))
        given = {_seq(one) for one in found}
        yield from sorted(found, key=lambda one: (_ORDER.index(one.state), -one.attempt))
        if chosen.dead:
            dead = map(_pending_of, self._pages(_DEAD, 7, now=is_now))
            yield from (one for one in dead if _seq(one) not in given)

    def is_waiting(self, event: Event) -> bool:
        """Whether an event's own first attempt is still to be made."""
        is_own = isinstance(event, StoredEvent) and not event.round
        return is_own and bool(self._rows(_IS_WAITING, seq=event.seq if isinstance(event, StoredEvent) else 0))

    def attempts(self) -> Iterator[Attempt]:
        """All attempts still in the history, oldest first, up to now."""
        self._followed = 0
        return self.new_attempts()

    def new_attempts(self) -> Iterator[Attempt]:
        """The attempts made since the last call of `attempts` or `new_attempts`."""
        after, ((newest,),) = self._followed, self._rows(_NEWEST)
        if newest is None:
            self._place()
        self._followed = newest or after
        return self._between(after, self._followed)

    def _between(self, after: int, until: int) -> Iterator[Attempt]:
        while after < until:
            try:
                found = self._rows(_ATTEMPTS, after=after, until=until)
            except (Unreachable, InDoubt):
                # The next call begins where this one ended.
                self._followed = after
                raise
            if not found:
                return
            yield from (attempt_of_row(row[1:]) for row in found)
            after = found[-1][0]

    def recent(self, size: int) -> tuple[list[Attempt], bool]:
        """The newest attempts, about `size` bytes, oldest first, and whether these are all."""
        rows = self._rows(_RECENT, size=size)
        return [attempt_of_row(row[:-1]) for row in rows if row[-1]], all(row[-1] for row in rows)

    def history(self, event_id: str) -> tuple[State | None, list[Attempt]]:
        """An event's state here and its attempts, oldest first."""
        rows = self._rows(_HISTORY, event=to_column(event_id))
        made = [attempt_of_row(row) for row in rows if row[4] != _DROPPED]
        state = None
        if rows:
            is_dropped = rows[-1][4] == _DROPPED
            state = State.DROPPED if is_dropped else self._schedule.state_after(made[-1].attempt, made[-1].outcome)
        for attempt, is_dead in self._rows(_STATE, event=to_column(event_id)):
            state = _state(attempt, is_dead=is_dead)
        return state, made

    def close(self) -> None:
        """Nothing is open."""


def standings(access: Access, ids: Iterable[str], schedule: RetrySchedule, *, is_now: bool) -> Mapping[str, Standing]:
    """What is pending at each destination that has a place."""
    asked = list(ids)
    if not asked:
        return {}
    values = {"ids": list(map(to_column, asked)), "now": is_now}
    with access.transaction(patience=LONG) as cursor:
        cursor.execute(_STANDINGS, values)
        newest = cursor.connection.cursor(binary=True)
        newest.execute(_LAST, values)
    last = {found: attempt_of_row(tuple(columns)) for found, *columns in newest.fetchall()}
    rows = {row[0]: row for row in cursor.fetchall()}
    here = access.clock.now()
    return {
        found: _standing(rows[found], last.get(found), schedule, here, is_now=is_now)
        for found in asked
        if found in rows
    }


def _standing(row: Row, last: Attempt | None, schedule: RetrySchedule, here: int, *, is_now: bool) -> Standing:
    _, outage, attempts, numbers, due_at, oldest_at, waiting_at, waiting, now = row
    counts = dict(zip(attempts or (), numbers or (), strict=True))
    due = [
        at
        for at in (due_at, min(waiting_at, now) if is_now and waiting_at is not None else waiting_at)
        if at is not None
    ]
    return Standing(
        waiting=waiting + counts.get(0, 0),
        retrying=tuple(counts.get(number, 0) for number in range(1, schedule.attempts)),
        dead=counts.get(-1, 0),
        next_due_at=min(due, default=None),
        oldest_at=min((at for at in (oldest_at, waiting_at) if at is not None), default=None),
        last=last,
        # Whether it is over is judged by this host's clock.
        outage=outage_of(outage, now - here),
    )


def _state(attempt: int, *, is_dead: bool) -> State:
    if is_dead:
        return State.DEAD
    return State.RETRYING if attempt else State.WAITING


def _pending_of(row: Row) -> StoredPending:
    attempt, round_, due_at, is_dead, status, error, failed_at, *columns = row
    state, event = _state(attempt, is_dead=is_dead), event_of(tuple(columns), round_)
    said = None if error is None else from_column(error)
    return StoredPending(event, state, attempt, due_at, status, said, failed_at)


def _waiting_of(row: Row, *, is_now: bool) -> StoredPending:
    event, now = event_of(row[:-1]), row[-1]
    at = times.from_text(event.at)
    return StoredPending(event, State.WAITING, 0, min(at, now) if is_now else at, None, None)


def _seq(pending: StoredPending) -> int:
    return pending.event.seq  # type: ignore[attr-defined, no-any-return]


def outcomes(access: Access, event: StoredEvent, ids: Iterable[str]) -> dict[str, Attempt]:
    """The newest attempt at an event, since it was sent again if it was, by destination."""
    values = {"ids": list(map(to_column, ids)), "seq": event.seq, "round": event.round}
    rows = access.rows(_OUTCOMES, values) if values["ids"] else []
    return {found: attempt_of_row(tuple(columns)) for found, *columns in rows}


_OUTCOMES: Final = f"""
select distinct on (s.id) s.id, {ATTEMPT}
from ark.attempt a join ark.share s using (destination) join ark.event e using (seq)
where s.id = any(%(ids)s) and a.seq = %(seq)s and a.round >= %(round)s and a.outcome in ('d', 'f')
order by s.id, a.n desc
"""
