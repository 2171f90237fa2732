"""Records the outcomes of attempts, of all destinations of a round in one statement.

Repeating it is harmless: everything depends on the row in ark.attempt, whose primary key is there once. What a process
that slept too long records is fenced off: its lease has another epoch or holder by now, or its reservation has ended.
Outcomes that cannot be recorded because the database is away are kept, and recorded later under the same epoch.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from arkcli.errors import InDoubt, NotRecorded, Refused, Unreachable
from arkcli.model import Outcome, RetrySchedule, State
from arkcli.queue.engine import Recorded, Result
from arkcli.queue.postgres.access import Access
from arkcli.queue.postgres.claim import Claim
from arkcli.queue.postgres.leases import Leases
from arkcli.queue.postgres.reserved import Reservation
from arkcli.queue.postgres.stored import StoredDelivery, ms, to_column

#: The shares are locked, so that the numbers of a destination's attempts become visible in their order. A reservation
#: is found by a subquery, because PostgreSQL may answer `exists` by reading all rows. The commit does not wait for the
#: disk.
_RECORD: Final = f"""
with held as (
 select destination, epoch || ' ' || holder as fence from ark.share
 where destination = any(%s::int[]) order by destination for no key update
), told as (
 select r.* from json_to_recordset(%s::json) r(destination int, seq bigint, round smallint, attempt smallint,
  is_pending boolean, outcome text, status smallint, ms int, error text, excerpt text, delay float8, fence text)
 join held h using (destination)
 where r.fence = h.fence or (select true from ark.pending p where p.destination = r.destination and p.seq = r.seq
  and p.holder = r.fence and p.due_at > now() and p.round = r.round and p.attempt = r.attempt - 1)
), noted as (
 insert into ark.attempt (destination, seq, round, attempt, at, outcome, status, ms, error, excerpt)
 select destination, seq, round, attempt, now(), outcome::"char", status, ms, error, excerpt from told
 on conflict do nothing returning destination, seq
), first as (
 insert into ark.pending (destination, seq, round, attempt, due_at, failed_at, status, error)
 select destination, seq, round, attempt, now() + delay * interval '1 ms', now(), status, error
 from told join noted using (destination, seq) where outcome = 'f' and not is_pending
 on conflict do nothing
), again as (
 update ark.pending p set attempt = t.attempt, due_at = now() + t.delay * interval '1 ms', holder = null,
  failed_at = now(), status = t.status, error = t.error
 from told t join noted using (destination, seq)
 where t.outcome = 'f' and t.is_pending and p.destination = t.destination and p.seq = t.seq
), done as (
 delete from ark.pending p using told t join noted using (destination, seq)
 where t.outcome = 'd' and t.is_pending and p.destination = t.destination and p.seq = t.seq
)
select destination, seq, (select {ms("now()")}), (select set_config('synchronous_commit', 'off', true)) from told
"""
_OUTCOMES: Final = {Outcome.DELIVERED: "d", Outcome.FAILED: "f"}

#: The outcomes of attempts for one claim.
Part = tuple[Claim | Reservation, Sequence[Result]]


class _Row(msgspec.Struct, frozen=True, gc=False):
    """An outcome for the database. Without a `delay`, in milliseconds, a failed delivery is dead."""

    destination: int
    seq: int
    round: int
    attempt: int
    is_pending: bool
    outcome: str
    status: int | None
    ms: int
    error: str | None
    excerpt: str
    delay: int | None
    fence: str


_encode: Final = msgspec.json.Encoder().encode


class Recorder:
    """Records outcomes, and keeps those that cannot be recorded yet."""

    def __init__(self, access: Access, leases: Leases, schedule: RetrySchedule) -> None:
        """The schedule says when a failed attempt is followed by another."""
        self._access = access
        self._leases = leases
        self._schedule = schedule
        self._kept: list[Part] = []
        self._late: list[tuple[Claim | Reservation, Sequence[Result], Recorded]] = []
        leases.keeps_outcomes = lambda: bool(self._kept)
        leases.try_again = self._try_again

    def record(self, parts: Sequence[Part]) -> list[Recorded]:
        """See `Queue.record`. While the database cannot be reached, all states are None, and `late` has them later."""
        for claim, results in parts:
            claim.pacing.ended(len(results))
        self._leases.tend()
        self._kept += parts
        if len(self._kept) > len(parts) and not self._leases.is_time():
            return _unknown(parts)
        try:
            found = self._write(self._kept, is_first=len(self._kept) == len(parts))
        except (Unreachable, InDoubt):
            self._leases.failed()
            return _unknown(parts)
        except Refused as error:
            self._kept.clear()
            return [told._replace(error=NotRecorded(str(error)), is_kept=False) for told in _unknown(parts)]
        before = len(self._kept) - len(parts)
        self._late += [(*part, told) for part, told in zip(self._kept[:before], found, strict=False)]
        self._kept.clear()
        if any(told.states and set(told.states) == {None} for told in found):
            # Another process may have the destination by now: find out before anything else is attempted there.
            self._leases.tend_at = 0.0
        return found[before:]

    def _try_again(self) -> None:
        """Records what is kept. Raises Unreachable and InDoubt."""
        if self._kept:
            found = self._write(self._kept)
            self._late += [(*part, told) for part, told in zip(self._kept, found, strict=True)]
            self._kept.clear()

    def late(self) -> list[tuple[Claim | Reservation, Sequence[Result], Recorded]]:
        """The outcomes that were kept, and have been recorded since the last call."""
        found, self._late = self._late, []
        return found

    def _write(self, parts: Sequence[Part], *, is_first: bool = False) -> list[Recorded]:
        told: dict[tuple[int, int], int] = {}
        rows = [self._row(claim, result) for claim, results in parts for result in results]
        if rows:
            # Texts are far cheaper than arrays, here and there.
            destinations = ",".join(map(str, {row.destination for row in rows}))
            values = (f"{{{destinations}}}", _encode(rows).decode())
            # The server would not end the first try: one that hangs is left there, but never a second one.
            recorded = self._access.rows(_RECORD, values, single=is_first)
            told = {(found, seq): now for found, seq, now, _ in recorded}
        return [Recorded([self._state(claim, result, told) for result in results]) for claim, results in parts]

    def _row(self, claim: Claim | Reservation, result: Result) -> "_Row":
        delivery, answer = result
        assert isinstance(delivery, StoredDelivery)
        event, attempt, delays = delivery.event, delivery.attempt, self._schedule.delays
        return _Row(
            destination=claim.destination,
            seq=event.seq,
            round=event.round,
            attempt=attempt,
            is_pending=delivery.is_pending,
            outcome=_OUTCOMES[answer.outcome],
            status=answer.status,
            ms=answer.duration_ms,
            error=None if answer.error is None else to_column(answer.error),
            excerpt=to_column(answer.excerpt),
            delay=delays[attempt - 1] if attempt <= len(delays) else None,
            fence=claim.fence,
        )

    def _state(self, claim: Claim | Reservation, result: Result, told: dict[tuple[int, int], int]) -> State | None:
        delivery, answer = result
        assert isinstance(delivery, StoredDelivery)
        now = told.get((claim.destination, delivery.event.seq))
        if now is None:
            return None
        state = self._schedule.state_after(delivery.attempt, answer.outcome)
        due_at = self._schedule.next_attempt_at(delivery.attempt, now) if state is State.RETRYING else None
        claim.ended(delivery.event, due_at)
        return state


def _unknown(parts: Sequence[Part]) -> list[Recorded]:
    return [Recorded([None] * len(results), is_kept=True) for _, results in parts]
