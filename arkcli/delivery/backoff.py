"""Backoff: deliveries must not lose attempts to a receiver that is unreachable for a moment.

After a few unanswered attempts in a row, only one probe at a time is made at a destination. The delay before the next
probe doubles while the probes fail. docs/internals.md, section 10.
"""

from collections.abc import Sequence
from typing import Final

from arkcli.model import AHEAD, Destination
from arkcli.queue.engine import Claim, Result
from arkcli.queue.outage import ASKED, RATE, Outage

#: Unanswered attempts in a row after which a destination is held back.
MISSES: Final = 3
#: The delay before the first probe, and the longest before any later one, in milliseconds.
_FIRST_DELAY: Final = 500
_LONGEST_DELAY: Final = 10_000
#: The longest that a receiver may ask to be left alone, in milliseconds.
LONGEST_ASKED: Final = 3_600_000


def note_answers(claim: Claim, results: Sequence[Result], now: int) -> None:
    """Ends the outage of a claim if its receiver answered, and did not ask to be left alone."""
    if claim.outage is None or is_asked(claim, now):
        return
    if not all(answer.is_unreachable for _, answer in results):
        claim.note(None)


def note_asked(claim: Claim, results: Sequence[Result], now: int) -> bool:
    """Stores how long the receiver asked to be left alone, if it did; returns whether it did."""
    waits = [(answer.retry_after, answer.status) for _, answer in results if answer.retry_after is not None]
    if not waits:
        return False
    wait, status = max(waits)
    until = now + min(wait, LONGEST_ASKED)
    if claim.outage is None or not is_asked(claim, now) or claim.outage.until < until:
        claim.note(Outage(since=now, until=until, probes=0, error=f"{status}, Retry-After", reason=ASKED))
    return True


def is_asked(claim: Claim, now: int) -> bool:
    """Whether the receiver of a claim has asked to be left alone, for now."""
    return claim.outage is not None and claim.outage.reason == ASKED and not is_over(claim.outage, now)


def of_rate(destination: Destination, until: int, now: int) -> Outage:
    """Says that a destination has had as many requests as its limits allow, until a time (milliseconds, UTC)."""
    limit = destination.rate or f"{destination.max_in_flight} in flight"
    return Outage(since=now, until=until, probes=0, error=limit, reason=RATE)


def held_back(before: Outage | None, error: str, now: int) -> Outage:
    """The outage after one more unanswered attempt at `now` (milliseconds, UTC); `error` says how it failed."""
    before = None if before is None or before.reason == ASKED else before
    probes = 0 if before is None else before.probes + 1
    since = now if before is None else before.since
    return Outage(since=since, until=now + _delay(probes), probes=probes, error=error)


def is_over(outage: Outage, now: int) -> bool:
    """Whether the next probe may be made. A time far beyond the longest delay is a wrong clock's: ignored."""
    longest = LONGEST_ASKED if outage.reason == ASKED else _LONGEST_DELAY
    return not now < outage.until <= now + longest + AHEAD


def is_young(outage: Outage) -> bool:
    """Whether the outage is short enough for a drain to wait for its end, such as a restart of the receiver."""
    if outage.reason in (ASKED, RATE):
        return outage.until - outage.since < _LONGEST_DELAY
    return _delay(outage.probes) < _LONGEST_DELAY


def _delay(probes: int) -> int:
    return min(_FIRST_DELAY << min(probes, 10), _LONGEST_DELAY)
