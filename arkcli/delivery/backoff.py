"""Holding back: what is not begun at a receiver that is away loses none of its attempts.

After a few attempts in a row that nobody answered, nothing is begun at a destination but one probe after a delay, which
doubles while the probes fail. docs/internals.md, section 10.
"""

from collections.abc import Sequence
from typing import Final

from arkcli.queue.engine import Absence, Claim, Result

#: After so many attempts in a row that nobody answered, a destination is held back.
MISSES: Final = 3
#: How long the first probe is waited for, and any later one at most, in milliseconds.
_FIRST_DELAY: Final = 500
_LONGEST_DELAY: Final = 10_000


def note_answers(claim: Claim, results: Sequence[Result]) -> None:
    """Notes with a claim that its receiver is there (again), when somebody answered."""
    if claim.absence is not None and not all(answer.is_away for _, answer in results):
        claim.note(None)


def held_back(before: Absence | None, error: str, now: int) -> Absence:
    """Where a destination stands after one more failure at a time (milliseconds, UTC); `error` says how it failed."""
    probes = 0 if before is None else before.probes + 1
    since = now if before is None else before.since
    return Absence(since=since, until=now + _delay(probes), probes=probes, error=error)


def is_over(absence: Absence, now: int) -> bool:
    """Whether the next probe may be made. One that is further ahead than any delay was dated by a wrong clock."""
    return not now < absence.until <= now + _LONGEST_DELAY


def is_young(absence: Absence) -> bool:
    """Whether the receiver has been away for so short a time that a drain waits for it: a restart, say."""
    return _delay(absence.probes) < _LONGEST_DELAY


def _delay(probes: int) -> int:
    return min(_FIRST_DELAY << min(probes, 10), _LONGEST_DELAY)
