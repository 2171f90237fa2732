"""What attempts add up to: how many, how fast, how often they failed. Pure, and in constant memory."""

from collections import Counter
from collections.abc import Iterable
from typing import Final

from arkcli.model import Attempt, Outcome

#: Longer than this no attempt takes (contract: 10 s), whatever a damaged line says. Milliseconds.
_LONGEST: Final = 60_000


class Summary:
    """The sum of any number of attempts. Durations are counted by the millisecond, so percentiles are exact."""

    def __init__(self) -> None:
        self.attempts = 0
        self.delivered = 0
        self.first: int | None = None
        self.last: int | None = None
        self._durations: Counter[int] = Counter()

    def add(self, attempt: Attempt) -> None:
        """Takes in one attempt."""
        self.attempts += 1
        self.delivered += attempt.outcome == Outcome.DELIVERED
        self.first = attempt.at if self.first is None else min(self.first, attempt.at)
        self.last = attempt.at if self.last is None else max(self.last, attempt.at)
        self._durations[min(attempt.duration_ms, _LONGEST)] += 1

    @property
    def failed(self) -> int:
        """How many failed."""
        return self.attempts - self.delivered

    @property
    def delivered_share(self) -> float | None:
        """The share that was delivered, 0 to 1; None of nothing."""
        return self.delivered / self.attempts if self.attempts else None

    @property
    def per_minute(self) -> float | None:
        """Attempts a minute between the first and the last; None where these are one moment."""
        if self.first is None or self.last is None or self.first == self.last:
            return None
        return (self.attempts - 1) * 60_000 / (self.last - self.first)

    def percentile(self, share: float) -> int | None:
        """The duration in milliseconds that this share of attempts did not exceed (nearest rank); None of nothing."""
        left = share * self.attempts
        for duration, count in sorted(self._durations.items()):
            left -= count
            if left <= 0:
                return duration
        return None


class Slot:
    """What was attempted in one part of an hour."""

    def __init__(self) -> None:
        self.delivered = 0
        self.failed = 0


def slots(attempts: Iterable[Attempt], now: int, count: int, length: int) -> list[Slot]:
    """The attempts of the last `count` times `length` milliseconds before `now`, oldest part first."""
    found = [Slot() for _ in range(count)]
    for attempt in attempts:
        back = (now - attempt.at) // length
        if 0 <= back < count:
            slot = found[count - 1 - back]
            slot.delivered += attempt.outcome == Outcome.DELIVERED
            slot.failed += attempt.outcome != Outcome.DELIVERED
    return found
