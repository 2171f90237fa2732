"""Which destinations had nothing due when they were last looked at. Pure."""

from collections.abc import Iterable
from typing import Final

#: How often, in milliseconds, each destination is looked at, whatever is remembered of it.
_LOOK_AT_ALL_EVERY: Final = 30_000


class Idle:
    """What is remembered of destinations: up to where the log was looked through, and when something falls due."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, int | None]] = {}
        self._forgot_at = 0

    def note(self, destination_id: str, end: int, next_due_at: int | None) -> None:
        """Remembers that nothing is due for a destination until then, unless the log grows beyond `end`."""
        self._known[destination_id] = end, next_due_at

    def others(self, ids: Iterable[str], end: int, now: int) -> list[str]:
        """The destinations that may have something due now, when the log ends at `end`."""
        if not 0 <= now - self._forgot_at < _LOOK_AT_ALL_EVERY:
            self._known.clear()
            self._forgot_at = now
        return [found for found in ids if self._may_be_due(found, end, now)]

    def _may_be_due(self, destination_id: str, end: int, now: int) -> bool:
        known = self._known.get(destination_id)
        return known is None or known[0] != end or (known[1] is not None and known[1] <= now)
