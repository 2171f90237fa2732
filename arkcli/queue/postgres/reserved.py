"""First attempts of an `ark send`, which takes no lease: it reserves deliveries, so that many can send at once.

A reserved delivery has a row in ark.pending with the name of its holder, and is due when the reservation ends. Where a
lease is in force nothing is reserved: whoever holds that may have the delivery in flight already.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

from arkcli.database.connection import Cursor
from arkcli.errors import InDoubt, Unreachable
from arkcli.queue.outage import Outage
from arkcli.queue.pace import Terms, Turn
from arkcli.queue.postgres.leases import Leases
from arkcli.queue.postgres.pace import Pacing
from arkcli.queue.postgres.stored import (
    EVENT,
    IS_FOR,
    IS_RESERVED,
    StoredDelivery,
    StoredEvent,
    event_of,
    ms,
    outage_of,
    to_column,
)

#: How many deliveries of a destination may be reserved at once, over all hosts.
MOST: Final = 8
_HOLD: Final = "now() + interval '15 s'"
#: Within how many seconds after it was reserved an attempt must begin, and end.
_BEGINS: Final = 4.0
_ENDS: Final = 14.0
#: A lease that has ended must not be renewed later.
_END: Final = """
update ark.share set epoch = epoch + 1, until = null, holder = null, purpose = null
where id = any(%(ids)s) and until < now()
"""
_LOCK: Final = "select 1 from ark.share where id = any(%(ids)s) order by destination for no key update"
_FREE: Final = f"""
{MOST} - (select count(*) from ark.pending p where p.destination = s.destination and {IS_RESERVED})
"""
#: The delivery of one event: it waits in the log, or again in ark.pending.
_FIRST: Final = f"""
insert into ark.pending (destination, seq, attempt, due_at, holder)
select s.destination, %(seq)s, 0, {_HOLD}, %(me)s
from unnest(%(ids)s::text[]) with ordinality a(id, n) join ark.share s using (id) cross join ark.event e
where e.seq = %(seq)s and s.until is null and {_FREE} > 0 and exists (select from ark.meta where state = 'ready')
 and case
 when exists (select from ark.pending p where p.destination = s.destination and p.seq = e.seq)
 then exists (select from ark.pending p where p.destination = s.destination and p.seq = e.seq
  and p.attempt = 0 and p.round = %(round)s and p.due_at <= now())
 else %(round)s = 0 and e.seq >= s.cursor and {IS_FOR}
  and not exists (select from ark.attempt t where t.destination = s.destination and t.seq = e.seq)
end
order by a.n limit %(most)s
on conflict (destination, seq) do update set due_at = excluded.due_at, holder = excluded.holder
returning destination
"""
_PLACES: Final = f"select id, destination, outage, {ms('now()')} from ark.share where id = any(%(ids)s)"
#: Whether the receiver has not asked to be left alone.
_NOT_ASKED: Final = f"""
(s.outage is null or s.outage::json ->> 'reason' is distinct from 'asked'
 or (s.outage::json ->> 'until')::bigint <= {ms("now()")})
"""
#: For how long, at least, a new event is left to the process that accepted it, in seconds: that may be about to reserve
#: it, and would learn of another's outcome later.
_YOUNG: Final = 0.1
#: A number after that of every event.
_ALL: Final = 2**62
#: What waits in the log behind an event, up to another one.
_BEHIND: Final = f"""
insert into ark.pending (destination, seq, attempt, due_at, holder)
select s.destination, e.seq, 0, {_HOLD}, %(me)s
from ark.share s join ark.event e on e.seq > %(after)s and e.seq <= %(until)s and e.seq >= s.cursor
where s.id = any(%(ids)s) and s.until is null and {_NOT_ASKED} and {IS_FOR}
 and not exists (select from ark.attempt a where a.destination = s.destination and a.seq = e.seq)
 and not exists (select from ark.pending p where p.destination = s.destination and p.seq = e.seq)
order by e.seq limit (select greatest(least({_FREE}, %(most)s), 0) from ark.share s where s.id = any(%(ids)s))
returning seq, round, attempt
"""
_DUE: Final = f"""
update ark.pending p set due_at = {_HOLD}, holder = %(me)s from ark.share s
where s.id = any(%(ids)s) and s.until is null and {_NOT_ASKED} and p.destination = s.destination and p.seq = any(array(
 select d.seq from ark.pending d where d.destination = s.destination and d.due_at <= now() order by d.due_at
 limit (select greatest(least({_FREE}, %(most)s), 0) from ark.share s where s.id = any(%(ids)s))))
returning p.seq, p.round, p.attempt
"""
_EVENTS: Final = f"select {EVENT} from ark.event e where e.seq = any(%s) order by e.seq"
_RENEW: Final = f"""
update ark.pending p set due_at = {_HOLD} from unnest(%s::int[], %s::bigint[], %s::text[]) t(destination, seq, holder)
where p.destination = t.destination and p.seq = t.seq and p.holder = t.holder and p.due_at > now()
"""
_RELEASE: Final = """
update ark.pending p set due_at = now(), holder = null
from unnest(%s::int[], %s::bigint[], %s::text[]) t(destination, seq, holder)
where p.destination = t.destination and p.seq = t.seq and p.holder = t.holder and p.due_at > now()
"""


class Reservation:
    """The right to make some attempts at one destination. Fulfils `engine.Claim`."""

    def __init__(
        self, reservations: "Reservations", destination_id: str, destination: int, outage: str | None, behind: int
    ) -> None:
        """`behind` is the number of the event that it was made for."""
        self.destination_id = destination_id
        self.destination = destination
        self.fence = reservations.leases.me
        self.outage = outage_of(outage, reservations.leases.access.ahead)
        #: The numbers of the reserved events that are in flight.
        self.in_flight: set[int] = {behind}
        #: When it was last renewed: seconds of a monotonic clock, before the database was asked.
        self.renewed_at = 0.0
        #: What counts against the destination's rate.
        self.pacing = Pacing(reservations.leases.access, destination, f"{self.fence} {behind}")
        self.give_back = self.pacing.give_back
        self._reservations = reservations
        #: Up to which event all were looked at; which may be looked at now, which from `_again_at` (`monotonic`) on.
        self._behind = self._until = self._last = behind
        self._again_at = 0.0

    @property
    def ends_at(self) -> float:
        """When its attempts have to end (`monotonic`)."""
        return self.renewed_at + _ENDS

    @property
    def has_lapsed(self) -> bool:
        """Whether another process may make these attempts by now."""
        return self._reservations.leases.access.clock.monotonic() >= self.ends_at

    def note(self, outage: Outage | None) -> None:
        """Stores the receiver's outage for the next process that claims the destination; None ends the outage."""
        self.outage = outage
        self._reservations.leases.note(self.destination, outage)

    def take(self, now: int, most: int) -> Sequence[StoredDelivery]:  # noqa: ARG002 - the database knows the time
        """Reserves up to `most` due deliveries, and returns them."""
        found = self._reservations.reserve(self, _DUE, most)
        return [*found, *self._reservations.reserve(self, _BEHIND, most - len(found))]

    def take_behind(self, most: int) -> Sequence[StoredDelivery]:
        """Reserves up to `most` first attempts at events behind the one that it was made for."""
        access = self._reservations.leases.access
        now = access.clock.monotonic()
        if now >= self._again_at:
            self._until, self._last, self._again_at = self._last, access.last, now + _YOUNG
        if self._behind >= self._until:
            return []
        found = self._reservations.reserve(self, _BEHIND, most, self._behind, self._until)
        if len(found) < most:
            self._behind = self._until
        return found

    def is_due(self, now: int) -> bool:  # noqa: ARG002 - as in `next_due_at`
        """Not known: nothing waits for this claim."""
        return True

    def admit(self, terms: Terms, most: int, now: int) -> Turn:
        """See `engine.Claim.admit`."""
        turn, self.outage = self.pacing.admit(terms, most, now)
        return turn

    def ended(self, event: StoredEvent, due_at: int | None) -> None:  # noqa: ARG002 - it is not for this process
        """Notes that the outcome of an attempt was recorded."""
        self.in_flight.discard(event.seq)

    def next_due_at(self) -> int | None:
        """Not known: nothing waits for this claim."""
        return None

    def release(self) -> None:
        """Ends the claim. What was reserved and not attempted is due at once."""
        self.pacing.close()
        self._reservations.release(self)


class Reservations:
    """The reservations of one process."""

    def __init__(self, leases: Leases) -> None:
        """Reserves nothing yet."""
        self.leases = leases
        self._held: set[Reservation] = set()
        leases.reserved = lambda: self._held
        leases.renewing = self._renew

    def claim_first(
        self, event: StoredEvent, ids: Iterable[str], most: int
    ) -> list[tuple[Reservation, StoredDelivery]]:
        """See `Queue.claim_first`. Raises Unreachable and InDoubt."""
        asked = list(ids)
        if not asked or most <= 0:
            return []
        values = {"ids": list(map(to_column, asked)), "seq": event.seq, "round": event.round, "most": most}
        started = self.leases.access.clock.monotonic()
        with self.leases.access.transaction() as cursor:
            self._begin(cursor, values)
            cursor.execute(_FIRST, values | {"me": self.leases.me})
            places = cursor.connection.cursor(binary=True)
            places.execute(_PLACES, values)
        reserved = {destination for (destination,) in cursor.fetchall()}
        known = {}
        for found, destination, outage, now in places.fetchall():
            known[found] = destination, outage
            self.leases.access.saw(now, started)
        claims = []
        for destination_id in asked:
            destination, outage = known.get(destination_id, (0, None))
            if destination in reserved:
                claim = Reservation(self, destination_id, destination, outage, event.seq)
                claim.renewed_at = started
                self._held.add(claim)
                claims.append((claim, StoredDelivery(event, 1, True)))
        if self.leases.access.clock.monotonic() > started + _BEGINS:
            # After such a wait for the database, the attempts might not end in time.
            for claim, _ in claims:
                self.release(claim)
            return []
        return claims

    def _begin(self, cursor: Cursor, values: dict[str, Any]) -> None:
        self.leases.register(cursor)
        cursor.execute(_END, values)
        cursor.execute(_LOCK, values)

    def reserve(
        self, claim: Reservation, statement: str, most: int, after: int = 0, until: int = _ALL
    ) -> list[StoredDelivery]:
        """Reserves up to `most` deliveries more by a statement. None if the database cannot be reached."""
        age = self.leases.access.clock.monotonic() - claim.renewed_at
        if most <= 0 or age > _BEGINS or self.leases.keeps_outcomes():
            return []
        ids = [to_column(claim.destination_id)]
        values = {"ids": ids, "most": most, "after": after, "until": until, "me": claim.fence}
        access = self.leases.access
        try:
            with access.transaction() as cursor:
                self._begin(cursor, values)
                cursor.execute(statement, values)
            found = {seq: (round_, attempt) for seq, round_, attempt in cursor.fetchall()}
            rows = access.rows(_EVENTS, (list(found),)) if found else []
        except (Unreachable, InDoubt):
            return []
        claim.in_flight |= found.keys()
        events = [event_of(row, found[row[0]][0]) for row in rows]
        return [StoredDelivery(event, found[event.seq][1] + 1, True) for event in events]

    def _renew(self, cursor: Cursor) -> None:
        if self._held:
            cursor.connection.cursor(binary=True).execute(_RENEW, _columns(self._held))

    def release(self, claim: Reservation) -> None:
        """Ends a claim. What it reserved is due after 15 s if outcomes are still to be recorded, or cannot be now."""
        if claim not in self._held:
            return
        self._held.remove(claim)
        if claim.in_flight and not self.leases.keeps_outcomes():
            with suppress(Unreachable, InDoubt):
                self.leases.access.run(_RELEASE, _columns([claim]))

    def close(self) -> None:
        """Ends all claims."""
        for claim in list(self._held):
            self.release(claim)


def _columns(claims: Iterable[Reservation]) -> tuple[list[Any], ...]:
    rows = [(claim.destination, seq, claim.fence) for claim in claims for seq in claim.in_flight]
    return tuple(map(list, zip(*rows, strict=True))) if rows else ([], [], [])
