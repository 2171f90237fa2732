"""Who may have how many attempts in flight: so that a destination that does not answer costs the others nothing.

Pure. docs/internals.md, section 10, gives the rules in words.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

_FIRST_SHARE: Final = 2
#: How many descriptors are left for whatever else is opened.
_SPARE: Final = 8
#: How many descriptors a claimed destination takes at most: its lock, and the segments of its journal.
_OF_A_CLAIM: Final = 4


class Limits(NamedTuple):
    """How many attempts may be in flight, in all and per destination."""

    total: int = 64
    per_destination: int = 8

    @property
    def silent(self) -> int:
        """How many of all places destinations may fill that have not answered yet."""
        return max(1, self.total * 3 // 4)

    def within(self, descriptors: int) -> "Limits":
        """The limits that this number of descriptors allows: each attempt takes a connection, and may leave one."""
        total = max(1, min(self.total, (descriptors - _SPARE) // 6))
        return Limits(total, min(self.per_destination, total))

    def connections(self, descriptors: int) -> int:
        """The most connections to keep with this number of file descriptors; 0 when there is none to spare."""
        left = descriptors - _SPARE - _OF_A_CLAIM * self.claims(descriptors) - self.total
        return min(max(256, self.total), left) if left >= self.total else 0

    def claims(self, descriptors: int) -> int:
        """The most destinations to hold at once with this number of file descriptors.

        Twice the places in flight where there are enough: destinations that do not answer then leave room for others.
        """
        left = descriptors - _SPARE - 2 * self.total
        return max(1, min(2 * self.total, left // _OF_A_CLAIM))


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
