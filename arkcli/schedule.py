"""When a failed delivery is tried again (contract, "Delivery and retries")."""

from typing import Final, NamedTuple

from arkcli.model import Outcome, State

# Bound once: looking an enumeration's member up takes longer than all else that is done with it here.
_DELIVERED: Final = Outcome.DELIVERED
_IS_DELIVERED: Final = State.DELIVERED


class RetrySchedule(NamedTuple):
    """The delays, in milliseconds, between an attempt's outcome and the attempt after it."""

    delays: tuple[int, ...]

    @property
    def attempts(self) -> int:
        """How many attempts there are in all, the first included."""
        return len(self.delays) + 1

    def next_attempt_at(self, attempt: int, failed_at: int, now: int | None = None) -> int | None:
        """When the attempt after this one is due (milliseconds, UTC); None when this was the last.

        A failure dated after `now` means that the clock was set back: it is due now, so that nothing is stranded.
        """
        if attempt >= self.attempts:
            return None
        return now if now is not None and failed_at > now else failed_at + self.delays[attempt - 1]

    def is_due(self, attempt: int, failed_at: int, now: int) -> bool:
        """Whether the attempt after this one may be made now."""
        due_at = self.next_attempt_at(attempt, failed_at, now)
        return due_at is not None and now >= due_at

    def state_after(self, attempt: int, outcome: Outcome) -> State:
        """Where an attempt leaves its delivery: after the last failure it is dead."""
        if outcome is _DELIVERED:
            return _IS_DELIVERED
        return State.RETRYING if attempt < self.attempts else State.DEAD


#: 30 seconds, 5 minutes, 30 minutes, 2 hours: five attempts in all. Documented; never changes.
DOCUMENTED: Final = RetrySchedule((30_000, 300_000, 1_800_000, 7_200_000))
