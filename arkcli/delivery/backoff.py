"""Backoff: deliveries must not lose attempts to a receiver that is unreachable for a moment.

After a few unanswered attempts in a row, only one probe at a time is made at a destination. The delay before the next
probe doubles while the probes fail. docs/internals.md, section 10.
"""

from collections.abc import Sequence
from typing import Final

from arkcli.queue.engine import Claim, Outage, Result

#: Unanswered attempts in a row after which a destination is held back.
MISSES: Final = 3
#: The delay before the first probe, and the longest before any later one, in milliseconds.
_FIRST_DELAY: Final = 500
_LONGEST_DELAY: Final = 10_000


def note_answers(claim: Claim, results: Sequence[Result]) -> None:
    """Ends the outage of a claim if its receiver answered."""
    if claim.outage is not None and not all(answer.is_unreachable for _, answer in results):
        claim.note(None)


def held_back(before: Outage | None, error: str, now: int) -> Outage:
    """The outage after one more unanswered attempt at `now` (milliseconds, UTC); `error` says how it failed."""
    probes = 0 if before is None else before.probes + 1
    since = now if before is None else before.since
    return Outage(since=since, until=now + _delay(probes), probes=probes, error=error)


def is_over(outage: Outage, now: int) -> bool:
    """Whether the next probe may be made. A time beyond the longest delay comes from a wrong clock and is ignored."""
    return not now < outage.until <= now + _LONGEST_DELAY


def is_young(outage: Outage) -> bool:
    """Whether the outage is short enough for a drain to wait for its end, such as a restart of the receiver."""
    return _delay(outage.probes) < _LONGEST_DELAY


def _delay(probes: int) -> int:
    return min(_FIRST_DELAY << min(probes, 10), _LONGEST_DELAY)
