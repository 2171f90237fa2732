"""Dumps everything in the queue as records that every engine can restore. See `Record` for their order."""

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from arkcli.errors import Held
from arkcli.model import RetrySchedule, State
from arkcli.queue.engine import Pending, Record
from arkcli.queue.outage import Outage
from arkcli.queue.postgres.claim import Claim
from arkcli.queue.postgres.leases import Leases
from arkcli.queue.postgres.log import Log
from arkcli.queue.postgres.stored import ATTEMPT, IS_FIRST, IS_FOR, IS_KNOWN, IS_RESERVED, attempt_of_row, from_column
from arkcli.queue.postgres.view import WAITS, View

_IDS: Final = "select id from ark.share order by id"
_RESERVED: Final = f"select s.id from ark.pending p join ark.share s using (destination) where {IS_RESERVED}"
#: The first event that a destination has not finished, and the receiver's outage; finished events behind that one.
_FIRST: Final = f"""
select min(seq), (select outage from ark.share where id = %(id)s) from (
 (select e.seq from ark.event e join ark.share s on s.id = %(id)s
  where e.seq >= greatest(s.cursor, 1) and {WAITS} order by e.seq limit 1)
 union all
 select p.seq from ark.pending p join ark.share s using (destination) where s.id = %(id)s and {IS_FIRST}
) f
"""
_AHEAD: Final = f"""
select e.seq from ark.event e join ark.share s on s.id = %(id)s where e.seq > %(first)s and {IS_FOR}
 and (e.seq < s.cursor or {IS_KNOWN})
 and not exists (select from ark.pending p where p.destination = s.destination and p.seq = e.seq and {IS_FIRST})
 and e.seq > %(after)s order by e.seq limit 10000
"""
_TOLD: Final = f"""
select a.n, {ATTEMPT} from ark.attempt a join ark.share s using (destination) join ark.event e using (seq)
where s.id = %(id)s and a.n > %(after)s and a.outcome <> 'p' order by a.n limit 1000
"""


def dump(leases: Leases, log: Log, schedule: RetrySchedule) -> Iterator[Record]:
    """Everything in the queue. Every destination stays claimed from the first record to the last, or until the iterator
    is closed. The first record raises Held. Memory grows by 8 bytes for each event.
    """
    claims = claim_all(leases, "dump") if leases.dumping is None else leases.dumping
    try:
        access, numbers = leases.access, array("q")
        end = (access.row("select coalesce(max(seq), 0) from ark.event") or (0,))[0]
        for event in log.events(until=end):
            leases.tend()
            numbers.append(event.seq)
            yield Record(event=event)
        for claim in claims:
            yield from _place(leases, claim.destination_id, numbers, schedule)
    finally:
        for claim in claims if leases.dumping is None else ():
            claim.release()


def claim_all(leases: Leases, purpose: str) -> list[Claim]:
    """Claims every destination. Raises Held."""
    ids = [from_column(found) for (found,) in leases.access.rows(_IDS)]
    claims = leases.claim_due(ids, len(ids), purpose, whatever=True)
    held = set(ids) - {claim.destination_id for claim in claims}
    held |= {from_column(found) for (found,) in leases.access.rows(_RESERVED)}
    for destination_id in sorted(held):
        holder = leases.holder(destination_id)
        for claim in claims:
            claim.release()
        raise Held(destination_id, holder or "another process")
    return claims


def _place(leases: Leases, destination_id: str, numbers: "array[int]", schedule: RetrySchedule) -> Iterator[Record]:
    access = leases.access
    values: dict[str, Any] = {"id": destination_id}
    ((first, outage),) = access.rows(_FIRST, values)
    ahead: list[int] = []
    after = 0
    while first is not None and (found := access.rows(_AHEAD, values | {"first": first, "after": after})):
        ahead += (bisect_left(numbers, seq) for (seq,) in found)
        after = found[-1][0]
    passed = len(numbers) if first is None else bisect_left(numbers, first)
    stored = None if outage is None else msgspec.json.decode(outage, type=Outage)
    yield Record(destination_id=destination_id, passed=passed, ahead=tuple(ahead), outage=stored)
    for pending in View(access, destination_id, schedule).deliveries():
        leases.tend()
        # What waits for its own first attempt is behind `passed`, and not ahead.
        if pending.state is not State.WAITING or pending.event.round:  # type: ignore[attr-defined]
            yield Record(destination_id=destination_id, pending=_plain(pending), failed_at=pending.failed_at)
    after = 0
    while rows := access.rows(_TOLD, values | {"after": after}):
        leases.tend()
        for _, *columns in rows:
            if columns[4] == "x":
                yield Record(destination_id=destination_id, dropped=from_column(columns[0]), failed_at=columns[3])
            else:
                yield Record(destination_id=destination_id, attempt=attempt_of_row(tuple(columns)))
        after = rows[-1][0]


def _plain(found: Pending) -> Pending:
    return Pending(found.event, found.state, found.attempt, found.next_attempt_at, found.last_status, found.last_error)
