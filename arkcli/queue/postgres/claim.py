"""A claim of a destination, by a lease: takes retries and first attempts in the order in which they fell due."""

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from arkcli import times
from arkcli.errors import InDoubt, Unreachable
from arkcli.queue.outage import Outage
from arkcli.queue.pace import Terms, Turn
from arkcli.queue.postgres.access import Access
from arkcli.queue.postgres.pace import Pacing
from arkcli.queue.postgres.pages import Pages
from arkcli.queue.postgres.stored import (
    EVENT,
    IS_FIRST,
    IS_RESERVED,
    SET_BACK,
    StoredDelivery,
    StoredEvent,
    event_of,
    ms,
    outage_of,
)

#: What is due for another attempt, longest first, and what a clock that was set back would keep for later.
_DUE: Final = f"""
select {ms("due_at")}, attempt, round, {EVENT} from (
 select e.*, d.due_at, d.attempt, d.round, sum(octet_length(e.body)) over (order by d.due_at, e.seq)
  - octet_length(e.body) as before
 from (
  (select * from ark.pending where destination = %(destination)s and due_at <= now() and seq <> all(%(taken)s)
   order by due_at limit %(most)s)
  union all
  (select * from ark.pending where destination = %(destination)s and due_at > now() and failed_at > {SET_BACK}
   and seq <> all(%(taken)s) order by failed_at desc limit %(most)s)
 ) d join ark.event e using (seq)
) e where before < 4194304 order by due_at, seq
"""
_NEXT: Final = f"""
select {ms("now()")}, {ms("min(due_at)")} from ark.pending
where destination = %(destination)s and due_at > now() and seq <> all(%(taken)s)
"""
_NEXT_DUE: Final = f"""
select {ms(f"min(case when {IS_FIRST} then e.at else p.due_at end)")} from ark.pending p join ark.event e using (seq)
where p.destination = %(destination)s and p.due_at is not null and p.seq <> all(%(taken)s)
"""
#: How many deliveries an `ark send` has under way there: they count for the limit of attempts at once.
_RESERVED: Final = f"select count(*) from ark.pending p where p.destination = %s and {IS_RESERVED}"
#: How long that count is good for, in seconds.
_COUNTED_FOR: Final = 0.1
#: How many due deliveries to read at once, at least, and how many pages to look through for first attempts.
_BATCH: Final = 64
_PAGES: Final = 16


class Keeper(Protocol):
    """What a claim needs of the leases of its process; see `Leases`."""

    access: Access
    pages: Pages
    me: str

    def tend(self) -> None:
        """Renews the leases, if it is time."""

    def may_begin(self, claim: "Claim") -> bool:
        """Whether an attempt that begins now ends within the lease."""

    def has_lapsed(self, claim: "Claim") -> bool:
        """Whether attempts must not be under way any more."""

    def note(self, destination: int, outage: Outage | None) -> None:
        """Stores a receiver's outage."""

    def release(self, claim: "Claim") -> None:
        """Ends a claim."""


class _Due(NamedTuple):
    """A pending delivery that is due since `at` (milliseconds)."""

    at: int
    seq: int
    delivery: StoredDelivery


class Claim:
    """The exclusive right to deliver to one destination; its lease is renewed by whatever calls into the engine."""

    def __init__(
        self, leases: Keeper, destination_id: str, destination: int, epoch: int, position: int, outage: str | None
    ) -> None:
        """All events before `position` have been attempted, or are pending."""
        self.destination_id = destination_id
        self.destination = destination
        self.epoch = epoch
        self.holder = leases.me
        #: What the share has to say for an outcome to be recorded.
        self.fence = f"{epoch} {leases.me}"
        self.outage = outage_of(outage, leases.access.ahead)
        #: When the lease was last renewed: seconds of a monotonic clock, before the database was asked.
        self.renewed_at = 0.0
        self.is_lost = False
        #: How many attempts an `ark send` had under way there when it was last counted (`monotonic`).
        self.reserved = 0
        self.counted_at = 0.0
        #: The numbers of events in flight, and whether they have rows in ark.pending.
        self.in_flight: dict[int, bool] = {}
        #: What counts against the destination's rate.
        self.pacing = Pacing(leases.access, destination, self.fence)
        self.give_back = self.pacing.give_back
        self._leases = leases
        self._position = position
        self._waiting: deque[int] = deque()
        self._due: deque[_Due] = deque()
        #: Whether more may be due than was read, and when else something falls due (milliseconds).
        self._has_due = True
        self._next_due_at: int | None = None

    @property
    def cursor(self) -> int:
        """All events before this number have been attempted, or are pending."""
        firsts = [seq for seq, is_pending in self.in_flight.items() if not is_pending]
        return min((*firsts, *list(self._waiting)[:1], self._position))

    @property
    def has_lapsed(self) -> bool:
        """Whether another process may claim the destination by now."""
        return self._leases.has_lapsed(self)

    def note(self, outage: Outage | None) -> None:
        """Stores the receiver's outage for the next process that claims the destination; None ends the outage."""
        self.outage = outage
        self._leases.note(self.destination, outage)

    def take(self, now: int, most: int) -> Sequence[StoredDelivery]:  # noqa: ARG002 - the database knows the time
        """Takes up to `most` due deliveries, longest due first. See `engine.Claim.take`.

        None while the lease is too old for an attempt to end within it, or the database cannot be reached.
        """
        self._leases.tend()
        if most <= 0 or not self._leases.may_begin(self):
            return []
        try:
            most -= self._reserved_now()
            self._read(most)
        except (Unreachable, InDoubt):
            return []
        taken: list[StoredDelivery] = []
        while len(taken) < most and (delivery := self._next()) is not None:
            self.in_flight[delivery.event.seq] = delivery.is_pending
            taken.append(delivery)
        return taken

    def _reserved_now(self) -> int:
        now = self._leases.access.clock.monotonic()
        if self.reserved and now >= self.counted_at + _COUNTED_FOR:
            ((self.reserved,),) = self._leases.access.rows(_RESERVED, (self.destination,))
            self.counted_at = now
        return self.reserved

    def _read(self, most: int) -> None:
        """Reads until `most` deliveries are at hand, or all that are due."""
        access, pages = self._leases.access, self._leases.pages
        while len(self._due) < most and (self._has_due or access.now() >= (self._next_due_at or float("inf"))):
            self._read_due(max(most, _BATCH))
        for _ in range(_PAGES):
            if len(self._waiting) >= most or self._position > access.last:
                break
            found, self._position = pages.waiting(self.destination, self.destination_id, self._position)
            self._waiting.extend(seq for seq in found if seq not in self.in_flight)

    def _read_due(self, most: int) -> None:
        access = self._leases.access
        taken = [*self.in_flight, *(due.seq for due in self._due)]
        values = {"destination": self.destination, "taken": taken, "most": most}
        with access.transaction() as cursor:
            cursor.execute(_DUE, values)
            following = cursor.connection.cursor(binary=True)
            following.execute(_NEXT, values)
        rows = cursor.fetchall()
        now, self._next_due_at = following.fetchone() or (0, None)
        access.saw(now)
        self._has_due = bool(rows)
        found = []
        for at, attempt, round_, *columns in rows:
            event = event_of(tuple(columns), round_)
            since = times.from_text(event.at) if attempt == round_ == 0 else at
            found.append(_Due(since, event.seq, StoredDelivery(event, attempt + 1, True)))
        self._due = deque(sorted((*self._due, *found), key=lambda due: due[:2]))

    def _next(self) -> StoredDelivery | None:
        """The delivery at hand that has been due longest."""
        if not self._waiting:
            return self._due.popleft().delivery if self._due else None
        event = self._leases.pages.event(self._waiting[0])
        if self._due and (self._due[0].at, self._due[0].seq) < (times.from_text(event.at), event.seq):
            return self._due.popleft().delivery
        self._waiting.popleft()
        return StoredDelivery(event, 1)

    def take_behind(self, most: int) -> Sequence[StoredDelivery]:  # noqa: ARG002 - see `engine.Claim`
        """There are none: `claim_due` made the claim."""
        return []

    def is_due(self, now: int) -> bool:  # noqa: ARG002 - as in `take`
        """Whether `take` would return something. Raises Unreachable."""
        self._read(1)
        return bool(self._due or self._waiting)

    def admit(self, terms: Terms, most: int, now: int) -> Turn:
        """See `engine.Claim.admit`."""
        turn, _ = self.pacing.admit(terms, most, now)
        return turn

    def looked(self, next_due_at: int | None, outage: str | None, now: int) -> None:
        """Notes when the next pending delivery is due, in flight or not (milliseconds, UTC), and the receiver's outage:
        an `ark send` that began before the claim may have heard of one.
        """
        if outage is not None:
            self.outage = outage_of(outage, self._leases.access.ahead)
        self._has_due = self._has_due or (next_due_at is not None and next_due_at <= now)

    def ended(self, event: StoredEvent, due_at: int | None) -> None:
        """Notes that the outcome of an attempt was recorded, and when the next one is due."""
        self.in_flight.pop(event.seq, None)
        if due_at is not None:
            self._next_due_at = min(due_at, self._next_due_at or due_at)

    def next_due_at(self) -> int | None:
        """When the next delivery is due; None if nothing waits."""
        self._read(1)
        values = {"destination": self.destination, "taken": list(self.in_flight)}
        found = [at for row in self._leases.access.rows(_NEXT_DUE, values) for at in row if at is not None]
        if self._waiting:
            found.append(times.from_text(self._leases.pages.event(self._waiting[0]).at))
        return min(found, default=None)

    def release(self) -> None:
        """Ends the claim."""
        self.pacing.close()
        self._leases.release(self)
