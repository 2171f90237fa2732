"""A queue that may be away: a drain waits until it is there again, and keeps what it knows.

Only an engine with a server can be away. docs/internals.md, section 9.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from arkcli.errors import InDoubt, Unreachable
from arkcli.queue.engine import Claim, Holder, Recorded, Result, Work
from arkcli.system.clock import Clock

Answered = TypeVar("Answered")


class Patient:
    """A queue of which nothing is due and nothing can be claimed while it is away."""

    def __init__(self, queue: Work, clock: Clock, warn: Callable[[str], None]) -> None:
        """`warn` is called when the queue goes away, and when it is there again."""
        self._queue = queue
        self._clock = clock
        self._warn = warn
        self._since: float | None = None
        self._drains = 1
        #: How many outcomes are still to be recorded.
        self.kept = 0

    @property
    def away_for(self) -> float | None:
        """For how many seconds it has been away; None if it is there."""
        return None if self._since is None else self._clock.monotonic() - self._since

    def look(self, ids: Sequence[str], now: int) -> Sequence[str]:
        """See `Work`. Finds out whether the queue is there."""
        found = self._asked(lambda: self._queue.look(ids, now))
        if found is not None and self._since is not None:
            self._since = None
            self._warn("the database can be reached again: deliveries go on")
        return found or ()

    def drains(self) -> int:
        """See `Work`; the last known number."""
        self._drains = self._asked(self._queue.drains) or self._drains
        return self._drains

    def claim_due(self, ids: Sequence[str], most: int, purpose: str, now: int) -> Sequence[Claim]:
        """See `Work`."""
        return self._asked(lambda: self._queue.claim_due(ids, most, purpose, now)) or ()

    def holder(self, destination_id: str) -> Holder | None:
        """See `Work`; None if nobody knows."""
        return self._asked(lambda: self._queue.holder(destination_id))

    def record(self, results: Sequence[tuple[Claim, Sequence[Result]]], now: int) -> Sequence[Recorded]:
        """See `Work`. The queue keeps the outcomes while it is away."""
        recorded = self._queue.record(results, now)
        self.kept += sum(len(told.states) for told in recorded if told.is_kept)
        return recorded

    def late(self) -> Sequence[tuple[Claim, Sequence[Result], Recorded]]:
        """See `Work`."""
        found = self._queue.late()
        self.kept -= sum(len(results) for _, results, _ in found)
        return found

    @property
    def broken(self) -> Mapping[str, str]:
        """See `Work`."""
        return self._queue.broken

    def _asked(self, ask: Callable[[], Answered]) -> Answered | None:
        """The answer; None while the queue is away."""
        try:
            return ask()
        except (Unreachable, InDoubt) as error:
            if self._since is None:
                self._since = self._clock.monotonic()
                self._warn(f"{error}. Deliveries wait until the database can be reached again")
            return None
