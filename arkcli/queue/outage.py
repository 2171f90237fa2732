"""Why a destination is held back, and until when. Times are milliseconds since 1970, UTC."""

from collections.abc import Callable
from typing import Final

import msgspec

from arkcli import times

#: Why a destination is held back: its receiver asked for it, or it has had as many requests as its limits allow.
ASKED: Final = "asked"
RATE: Final = "rate"


class Outage(msgspec.Struct, frozen=True, kw_only=True):
    """A destination is held back: no attempt is made before `until`. `error` says more about the `reason`.

    Times are milliseconds, UTC. `probes` counts the failed attempts after the one that began the outage.
    """

    since: int
    until: int
    probes: int
    error: str
    reason: str = "unreachable"

    def is_over(self, now: int) -> bool:
        """Whether it is certainly over: whether an unreachable receiver is back, only an attempt can tell."""
        return self.reason in (ASKED, RATE) and now >= self.until

    def in_words(self, moment: Callable[[int], str] = times.to_text) -> str:
        """Why it is held back, and since or until when; `moment` writes a time (milliseconds, UTC)."""
        if self.reason == ASKED:
            return f"asked to wait until {moment(self.until)} ({self.error})"
        if self.reason == RATE:
            return f"its limit of {self.error} allows the next attempt at {moment(self.until)}"
        return f"unreachable since {moment(self.since)} ({self.error})"
