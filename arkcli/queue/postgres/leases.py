"""The leases of destinations: who may deliver to which.

A lease ends by the database's clock. A process counts from before it asked for it, by its own monotonic clock, so it
stops beginning attempts early enough for all of them to end within the lease. An epoch and the holder's name fence off
what a process that slept records later.

A process has a row in ark.worker, which is not logged: after a crash or a failover of the server the row is missing.
Then commits of the last second may be missing, too, so the process forgets what it knew of the log, and its leases
end.
"""

import itertools
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

from arkcli.database import schema
from arkcli.database.connection import Cursor, here
from arkcli.errors import Held, InDoubt, Unreachable
from arkcli.model import AHEAD
from arkcli.queue.engine import Holder
from arkcli.queue.outage import Outage
from arkcli.queue.postgres.access import Access
from arkcli.queue.postgres.claim import Claim
from arkcli.queue.postgres.pages import Pages
from arkcli.queue.postgres.stored import IS_FOR, IS_KNOWN, IS_RESERVED, SET_BACK, ms, outage_text, to_column

#: How long a lease lasts, how often it is renewed, and the longest that an attempt and its start may take, in seconds.
LEASE: Final = 20.0
_RENEW_EVERY: Final = 5.0
_LONGEST: Final = 11.0
#: When attempts under way end, in seconds after the lease was renewed: before it does.
_ENDS: Final = LEASE - 1.0
#: The shortest and the longest pause before the database is asked again after it could not be reached, in seconds.
_PAUSES: Final = (0.1, 5.0)

#: How often to look for what failed in the future, in seconds.
_THOROUGH_EVERY: Final = 5.0

_HOLD: Final = "now() + interval '20 s'"
_REGISTER: Final = f"""
insert into ark.worker (holder, drains, until) values (%(me)s, %(drains)s, {_HOLD})
on conflict (holder) do update set drains = excluded.drains, until = excluded.until
"""
_STAY: Final = f"update ark.worker set drains = %(drains)s, until = {_HOLD} where holder = %(me)s returning 1"
_RENEW: Final = f"""
update ark.share s set until = {_HOLD}, cursor = greatest(s.cursor, t.cursor)
from unnest(%s::int[], %s::bigint[], %s::text[], %s::bigint[]) t(destination, epoch, holder, cursor)
where s.destination = t.destination and s.epoch = t.epoch and s.holder = t.holder
 and exists (select from ark.worker w where w.holder = t.holder)
returning s.destination
"""
_RELEASE: Final = """
update ark.share s set until = null, holder = null, purpose = null, cursor = case
 when exists (select from ark.worker w where w.holder = t.holder) then greatest(s.cursor, t.cursor) else s.cursor end
from unnest(%s::int[], %s::bigint[], %s::text[], %s::bigint[]) t(destination, epoch, holder, cursor)
where s.destination = t.destination and s.epoch = t.epoch and s.holder = t.holder
"""
#: The second index is searched only now and then: what it finds is due because the clock was set back.
_LOOK: Final = f"""
select s.id, s.destination, s.cursor, {
    ms(f'''least(
 (select min(p.due_at) from ark.pending p where p.destination = s.destination and p.due_at is not null),
  case when %(thoroughly)s then (select case when max(p.failed_at) > {SET_BACK} then now() end
   from ark.pending p where p.destination = s.destination and p.due_at is not null) end)''')
}, s.outage
from ark.share s where s.id = any(%(ids)s)
"""
_STATE: Final = f"""
select {ms("now()")}, greatest((select max(seq) from ark.event), 0), (select version from ark.store),
 (select count(*) from ark.worker where drains and until >= now()), exists (select from ark.worker where holder = %s),
 state, place
from ark.meta
"""
#: How many events to look through at once for one that waits.
_WINDOW: Final = 20_000
#: A destination for which nothing waits in the window continues behind that: what was done once stays done.
_CLAIM: Final = f"""
with asked as (
 select s.destination, s.id, s.cursor, a.n, l.last, least(greatest(s.cursor, 1) + {_WINDOW}, l.last + 1) as beyond,
  exists (select from ark.pending p where p.destination = s.destination and p.due_at <= now())
  or exists (select from ark.pending p where p.destination = s.destination and p.due_at is not null
   and p.failed_at > {SET_BACK}) as due,
  exists (select from ark.event e where e.seq >= greatest(s.cursor, 1) and e.seq < greatest(s.cursor, 1) + {_WINDOW}
   and {IS_FOR} and not {IS_KNOWN}) as waits
 from unnest(%(ids)s::text[]) with ordinality a(id, n) join ark.share s using (id),
  (select greatest(max(seq), 0) as last from ark.event) l
), free as (
 select s.destination from asked join ark.share s using (destination)
 where (due or waits or %(all)s) and (s.until is null or s.until < now())
  and exists (select from ark.meta where reads_from <= %(version)s and (state = 'ready' or %(all)s))
 order by n limit %(most)s for no key update of s skip locked
), claimed as (
 update ark.share s set epoch = epoch + 1, until = {_HOLD}, holder = %(me)s, purpose = %(purpose)s
 from free f where s.destination = f.destination returning s.destination, s.epoch, s.outage
), passed as (
 update ark.share s set cursor = a.beyond from asked a
 where not (a.due or a.waits or %(all)s) and s.destination = a.destination and s.cursor + 100 < a.beyond
)
select a.id, a.destination, a.due or a.waits, a.cursor, a.beyond, a.last, c.epoch, c.outage, {ms("now()")}
from asked a left join claimed c using (destination) order by a.n
"""
#: After the lease: from then on nothing is reserved.
_RESERVED: Final = f"""
select p.destination, count(*) from ark.pending p join ark.share s using (destination)
where s.id = any(%(ids)s) and s.holder = %(me)s and {IS_RESERVED} group by 1
"""
_HOLDER: Final = f"""
select s.holder, s.purpose from ark.share s where s.id = %(id)s and s.until >= now()
union all
select p.holder, 'send' from ark.pending p join ark.share s using (destination) where s.id = %(id)s and {IS_RESERVED}
limit 1
"""
#: A lease that has ended must not be renewed later.
_END: Final = """
update ark.share set epoch = epoch + 1, until = null, holder = null, purpose = null where id = %(id)s and until < now()
"""
_LOCK: Final = "select 1 from ark.share where id = %(id)s for update"
_NOTE: Final = "update ark.share set outage = %s where destination = %s"
_NUMBERS: Final = itertools.count()


class Ending(Protocol):
    """What an `ark send` has reserved: when that was last renewed, and when its attempts have to end (`monotonic`)."""

    renewed_at: float

    @property
    def ends_at(self) -> float:
        """When its attempts have to end."""


class Leases:
    """The leases of one process, and what it knows of the destinations."""

    def __init__(self, access: Access, pages: Pages) -> None:
        """Asks the database nothing yet."""
        self.access = access
        self.pages = pages
        #: The name of this process in the database.
        self.me = ""
        #: When the last look was (`monotonic`), and the version of the store then.
        self.store_seen = (-math.inf, 0)
        #: Whether outcomes wait to be recorded, and a function that tries again. It raises Unreachable and InDoubt.
        self.keeps_outcomes: Callable[[], bool] = lambda: False
        self.try_again: Callable[[], None] = lambda: None
        #: What is reserved, and what renews it: called with a cursor whenever leases are renewed.
        self.reserved: Callable[[], Collection[Ending]] = lambda: ()
        self.renewing: Callable[[Cursor], None] = lambda _: None
        self._held: dict[int, Claim] = {}
        self._parting: list[Claim] = []
        #: The claims of all destinations while the queue is kept still, so that a dump need not make them.
        self.dumping: list[Claim] | None = None
        #: The number before which nothing waits for a destination, by its id: its number in the database, and that one.
        self._idle: dict[str, tuple[int, int]] = {}
        #: When to look again for what failed in the future (`monotonic`).
        self._thorough_at = -math.inf
        self._drains: int | None = None
        self._is_drain = False
        #: When to renew the leases, which tells which of them are lost (`monotonic`).
        self.tend_at = 0.0
        self._pause = _PAUSES[0]
        access.database.ends_by = self._ends_by

    def _ends_by(self) -> float:
        """When the first attempts under way have to end (`monotonic`)."""
        leased = [claim.renewed_at + _ENDS for claim in self._held.values() if claim.in_flight and not claim.is_lost]
        return min((*leased, *(one.ends_at for one in self.reserved())), default=math.inf)

    def tend(self) -> None:
        """Renews all leases every 5 s, and tries again to record outcomes and to release what could not be released."""
        started = self.access.clock.monotonic()
        if started < self.tend_at:
            return
        if not (self._held or self._parting or self._is_drain or self.keeps_outcomes() or self.reserved()):
            return
        try:
            self.try_again()
            self._renew(started)
            self._release(self._parting)
            self._parting.clear()
        except (Unreachable, InDoubt):
            self.failed()
        else:
            self.tend_at = started + _RENEW_EVERY
            self._pause = _PAUSES[0]

    def is_time(self) -> bool:
        """Whether it is time for `tend`: the leases grow old, or the database may be there again."""
        return self.access.clock.monotonic() >= self.tend_at

    def failed(self) -> None:
        """Notes that the database cannot be reached: tries again soon, and less and less often."""
        self.tend_at = self.access.clock.monotonic() + self._pause
        self._pause = min(2 * self._pause, _PAUSES[1])

    def _renew(self, started: float) -> None:
        claims = [claim for claim in (*self._held.values(), *self._parting) if not claim.is_lost]
        with self.access.transaction() as cursor:
            staying = self._stay(cursor)
            cursor.execute(_RENEW, _columns(claims))
            self.renewing(cursor)
        if not staying.fetchall():
            self._forget()
            return
        renewed = {destination for (destination,) in cursor.fetchall()}
        for claim in claims:
            claim.is_lost = claim.destination not in renewed
            claim.renewed_at = started
        for reservation in self.reserved():
            reservation.renewed_at = started

    def register(self, cursor: Cursor) -> None:
        """Gives this process a name and a row in the database, if it has none."""
        if not self.me:
            self._stay(cursor)

    def _stay(self, cursor: Cursor) -> Cursor:
        """Renews this process's own row. The cursor has no row if that is gone."""
        staying = cursor.connection.cursor(binary=True)
        is_new = not self.me
        self.me = self.me or f"{here()}:{next(_NUMBERS)}"
        values = {"me": self.me, "drains": self._is_drain}
        staying.execute(f"{_REGISTER} returning 1" if is_new else _STAY, values)
        return staying

    def _forget(self) -> None:
        """Forgets what the server may have lost in a crash. The next lease has another holder."""
        for claim in (*self._held.values(), *self._parting):
            claim.is_lost = True
        self.pages.clear()
        self._idle.clear()
        self.access.last = 0
        self.me = ""

    def may_begin(self, claim: Claim) -> bool:
        """Whether an attempt that begins now ends within the lease, and all outcomes before it are recorded."""
        age = self.access.clock.monotonic() - claim.renewed_at
        return not claim.is_lost and age < LEASE - _LONGEST and not self.keeps_outcomes()

    def has_lapsed(self, claim: Claim) -> bool:
        """Whether another process may have the destination by now, or very soon: no attempt may be under way."""
        return claim.is_lost or self.access.clock.monotonic() >= claim.renewed_at + _ENDS

    def drains(self) -> int:
        """The number of drains that run now, with this one."""
        if not self._is_drain:
            self._is_drain = True
            with self.access.transaction() as cursor:
                self._stay(cursor)
            self._drains = None
        if self._drains is None:
            self._look(())
        # After a pause of this process, its own row may not count.
        found, self._drains = max(self._drains or 0, 1), None
        return found

    def look(self, ids: Sequence[str]) -> list[str]:
        """See `Queue.look`. Raises Unreachable."""
        self.tend()
        rows = self._look([*ids, *(claim.destination_id for claim in self._held.values())])
        now, last = self.access.now(), self.access.last
        found = []
        for destination_id in ids:
            if (row := rows.get(destination_id)) is not None:
                destination, cursor, next_due_at, _ = row
                known, position = self._idle.get(destination_id, (destination, 0))
                news = last >= max(cursor, position if known == destination else 0)
                if news or (next_due_at is not None and next_due_at <= now):
                    found.append(destination_id)
        return found

    def _look(self, ids: Sequence[str]) -> dict[str, tuple[int, int, int | None, str | None]]:
        at, expected = self.access.clock.monotonic(), self.access.now()
        values = {"ids": list(map(to_column, ids)), "thoroughly": at >= self._thorough_at}
        with self.access.transaction() as cursor:
            state = cursor.connection.cursor(binary=True)
            state.execute(_STATE, (self.me,))
            if ids:
                cursor.execute(_LOOK, values)
        if ids and values["thoroughly"]:
            self._thorough_at = at + _THOROUGH_EVERY
        found = state.fetchone() or (0, 0, 0, 0, True, "ready", "")
        now, self.access.last, version, self._drains, is_known, *moved = found
        if not self.access.is_moving:
            schema.check_state(moved[0], self.access.database.address.masked, moved[1])
        self.store_seen = (at, version)
        self.access.saw(now)
        if now < expected - AHEAD and not values["thoroughly"]:
            # The clock was set back.
            self._thorough_at = at
            return self._look(ids)
        if self.me and not is_known:
            self._forget()
            self.tend_at = 0.0
        rows = {found: (destination, *columns) for found, destination, *columns in cursor.fetchall()} if ids else {}
        for claim in self._held.values():
            if claim.destination_id in rows:
                _, _, due, outage = rows[claim.destination_id]
                claim.looked(due, outage, now)
        return rows

    def claim_due(self, ids: Iterable[str], most: int, purpose: str, *, whatever: bool = False) -> list[Claim]:
        """See `Queue.claim_due`. With `whatever`, also those that have nothing due."""
        asked = list(ids)
        if not asked or most <= 0:
            return []
        started = self.access.clock.monotonic()
        # An idle drain tries this ten times a second, and its own row has to be renewed all the same.
        if not (self._held or self._is_drain or self.keeps_outcomes()):
            self.tend_at = started + _RENEW_EVERY
        with self.access.transaction() as cursor:
            self.register(cursor)
            values = {"ids": list(map(to_column, asked)), "most": most, "all": whatever, "me": self.me}
            cursor.execute(_CLAIM, values | {"purpose": purpose, "version": schema.VERSION})
            reserving = cursor.connection.cursor(binary=True)
            reserving.execute(_RESERVED, values)
        reserved = dict(reserving.fetchall())
        claims = []
        for destination_id, destination, has_due, cursor_, beyond, last, epoch, outage, now in cursor.fetchall():
            self.access.last = last
            self.access.saw(now, started)
            if epoch is not None:
                claim = Claim(self, destination_id, destination, epoch, cursor_, outage)
                claim.renewed_at = started
                claim.reserved = reserved.get(destination, 0)
                self._held[destination] = claim
                claims.append(claim)
            elif not has_due:
                self._idle[destination_id] = (destination, beyond)
        return claims

    def release(self, claim: Claim) -> None:
        """Ends a claim: at once, or when its outcomes are recorded and the database can be reached."""
        if self._held.get(claim.destination) is not claim:
            return
        del self._held[claim.destination]
        if not claim.is_lost:
            self._idle[claim.destination_id] = (claim.destination, claim.cursor)
        if self.keeps_outcomes():
            self._parting.append(claim)
            return
        try:
            self._release([claim])
        except (Unreachable, InDoubt):
            self._parting.append(claim)

    def _release(self, claims: Sequence[Claim]) -> None:
        if claims:
            self.access.run(_RELEASE, _columns(claims))

    def holder(self, destination_id: str) -> Holder | None:
        """Who delivers to a destination; None if nobody does."""
        with self.access.transaction() as cursor:
            return self._holder(cursor, destination_id)

    def _holder(self, cursor: Cursor, destination_id: str) -> Holder | None:
        cursor.execute(_HOLDER, {"id": to_column(destination_id)})
        row = cursor.fetchone()
        if row is None:
            return None
        place, _, _number = str(row[0]).rpartition(":")
        host, _, process = place.rpartition(":")
        mine = here().rpartition(":")[0]
        return Holder(int(process), row[1]) if host == mine else Holder(None, row[1], host)

    def lock(self, cursor: Cursor, destination_id: str) -> None:
        """Keeps everybody else from delivering to a destination until the transaction ends. Raises Held."""
        for statement in (_END, _LOCK):
            cursor.execute(statement, {"id": to_column(destination_id)})
        holder = self._holder(cursor, destination_id)
        if holder is not None:
            raise Held(destination_id, holder)

    def note(self, destination: int, outage: Outage | None) -> None:
        """Stores a receiver's outage, unless the database cannot be reached: it would be found out again."""
        with suppress(Unreachable, InDoubt):
            self.access.run(_NOTE, (outage_text(outage, self.access.ahead), destination))

    def close(self) -> None:
        """Records what is kept, and ends all leases. If the database cannot be reached, they end by themselves."""
        with suppress(Unreachable, InDoubt):
            self.try_again()
            self._release([*self._held.values(), *self._parting])
            if self.me:
                self.access.run("delete from ark.worker where holder = %s", (self.me,))
        self._held.clear()
        self._parting.clear()


def _columns(claims: Sequence[Claim]) -> tuple[list[Any], ...]:
    return (
        [claim.destination for claim in claims],
        [claim.epoch for claim in claims],
        [claim.holder for claim in claims],
        [claim.cursor for claim in claims],
    )
