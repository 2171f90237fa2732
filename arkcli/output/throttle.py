"""How many lines a second a person can read. Pure."""

from typing import Final

_SECOND: Final = 1.0


class Throttle:
    """Lets a few lines a second through, and counts the others."""

    def __init__(self, most: int) -> None:
        """At most `most` lines in each second."""
        self._most = most
        self._until = 0.0
        self._let = 0
        self._held = 0

    def admits(self, now: float) -> bool:
        """Whether to print a line now (monotonic seconds). A line that is not printed is counted."""
        if now >= self._until and not self._held:
            self._until, self._let = now + _SECOND, 0
        if self._let < self._most:
            self._let += 1
            return True
        self._held += 1
        return False

    def held(self, now: float | None = None) -> int:
        """How many lines were not printed in a second that is over; 0 while it lasts. None: whether it is over or not.

        Each line is counted once.
        """
        if now is not None and now < self._until:
            return 0
        held, self._held = self._held, 0
        return held
