"""Who may have how many attempts in flight: so that a destination that does not answer costs the others nothing.

Pure. docs/internals.md, section 10, gives the rules in words.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

_FIRST_SHARE: Final = 2


class Limits(NamedTuple):
    """How many attempts may be in flight, in all and per destination."""

    total: int = 64
    per_destination: int = 8

    @property
    def silent(self) -> int:
        """How many of all places destinations may fill that have not answered yet."""
        return max(1, self.total * 3 // 4)

    def shared(self, number: int, of: int) -> "Limits":
        """The part of process `number` (from 0) of so many: together they have what one would have, but at least 1."""
        total = max(1, self.total // of + (number < self.total % of))
        return Limits(total, min(self.per_destination, total))


class Share:
    """How many attempts at once one destination has earned."""

    __slots__ = ("_most", "answering", "in_flight", "size")

    def __init__(self, most: int) -> None:
        self._most = most
        self.size = min(_FIRST_SHARE, most)
        self.in_flight = 0
        self.answering = False

    def ended(self, timed_out: Sequence[bool]) -> None:
        """Takes in that attempts came to their ends, in order: a refused connection is an answer, too."""
        self.in_flight -= len(timed_out)
        for silent in timed_out:
            self.answering = not silent
            self.size = 1 if silent else min(self.size * 2, self._most)

    def room(self, limits: Limits, active: int) -> int:
        """How many more attempts may begin while so many destinations have work: never above an equal part in all."""
        equal_part = -(-limits.total // max(active, 1))
        return max(min(self.size, equal_part) - self.in_flight, 0)
