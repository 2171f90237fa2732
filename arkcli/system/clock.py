"""The machine's clocks."""

import time
from typing import Protocol


class Clock(Protocol):
    """A clock. `SystemClock` is the real one; tests use their own."""

    def now(self) -> int:
        """Milliseconds since 1970, UTC, by the wall clock."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""

    def sleep(self, seconds: float) -> None:
        """Waits for a number of seconds."""


class SystemClock:
    """The machine's clocks."""

    def now(self) -> int:
        """Milliseconds since 1970, UTC."""
        return time.time_ns() // 1_000_000

    # Python's own functions, for speed: the delivery loop calls them all the time.
    monotonic = staticmethod(time.monotonic)
    sleep = staticmethod(time.sleep)
