"""Statistics over attempts: counts, rates and durations. Pure functions, in constant memory."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

from arkcli.model import Attempt, Outcome

#: Longest duration counted, in milliseconds. Attempts take at most 10 s (contract); a damaged line may say more.
_LONGEST: Final = 60_000


class Summary:
    """Statistics of any number of attempts. Durations are counted per millisecond, so percentiles are exact."""

    def __init__(self) -> None:
        self.attempts = 0
        self.delivered = 0
        self.first: int | None = None
        self.last: int | None = None
        self._durations: Counter[int] = Counter()

    def add(self, attempt: Attempt) -> None:
        """Adds one attempt."""
        self.attempts += 1
        self.delivered += attempt.outcome == Outcome.DELIVERED
        self.first = attempt.at if self.first is None else min(self.first, attempt.at)
        self.last = attempt.at if self.last is None else max(self.last, attempt.at)
        self._durations[min(attempt.duration_ms, _LONGEST)] += 1

    @property
    def failed(self) -> int:
        """The number of failed attempts."""
        return self.attempts - self.delivered

    @property
    def delivered_share(self) -> float | None:
        """The share of attempts that delivered, 0 to 1; None without attempts."""
        return self.delivered / self.attempts if self.attempts else None

    @property
    def per_minute(self) -> float | None:
        """Attempts per minute between the first and the last; None if both were at the same time."""
        if self.first is None or self.last is None or self.first == self.last:
            return None
        return (self.attempts - 1) * 60_000 / (self.last - self.first)

    def percentile(self, share: float) -> int | None:
        """The duration (ms) that this share of attempts did not exceed (nearest rank); None without attempts."""
        left = share * self.attempts
        for duration, count in sorted(self._durations.items()):
            left -= count
            if left <= 0:
                return duration
        return None

    def histogram(self, bounds: Sequence[int]) -> list[int]:
        """How many attempts took less than each of these durations (ms, ascending) and no less than the one before it;
        last, how many took longer.
        """
        counts = [0] * (len(bounds) + 1)
        for duration, count in self._durations.items():
            counts[bisect_right(bounds, duration)] += count
        return counts


class Slot:
    """The attempts of one period."""

    def __init__(self) -> None:
        self.delivered = 0
        self.failed = 0


class Recent(NamedTuple):
    """A destination's newest attempts by periods of one length, oldest first.

    Only the last `known` periods are known. `summary` is of the attempts in them.
    """

    slots: Sequence[Slot]
    known: int
    summary: Summary

    @property
    def highest(self) -> int:
        """The most attempts in one period."""
        return max(slot.delivered + slot.failed for slot in self.slots)


def recent(found: tuple[Sequence[Attempt], bool], now: int, count: int, length: int) -> Recent:
    """The attempts before `now` in `count` periods of `length` milliseconds.

    `found` has the newest attempts, oldest first, and whether these are all.
    """
    attempts, is_complete = found
    known = count if is_complete or not attempts else min((now - attempts[0].at) // length + 1, count)
    slots, summary = [Slot() for _ in range(count)], Summary()
    for attempt in attempts:
        back = (now - attempt.at) // length
        if 0 <= back < count:
            summary.add(attempt)
            slot = slots[count - 1 - back]
            slot.delivered += attempt.outcome == Outcome.DELIVERED
            slot.failed += attempt.outcome != Outcome.DELIVERED
    return Recent(slots, known, summary)
