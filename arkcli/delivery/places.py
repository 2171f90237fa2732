"""Who may have how many attempts in flight: so that a destination that does not answer costs the others nothing.

Pure. docs/internals.md, section 10, gives the rules in words.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from arkcli.delivery.backoff import MISSES
from arkcli.model import Answer

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

    __slots__ = ("_misses", "_most", "answering", "in_flight", "size")

    def __init__(self, most: int, size: int = _FIRST_SHARE) -> None:
        self._most = most
        self._misses = 0
        self.size = min(size, most)
        self.in_flight = 0
        self.answering = False

    def ended(self, answers: Sequence[Answer]) -> None:
        """Takes in that attempts came to their ends, in order. A refused connection is an answer, but earns nothing."""
        self.in_flight -= len(answers)
        for answer in answers:
            self.answering = not answer.timed_out
            if answer.error is None or not answer.is_unreachable:
                self._misses = 0
                self.size = 1 if answer.timed_out else min(self.size * 2, self._most)
            else:
                self._misses += 1
                self.size = 1

    @property
    def is_held_back(self) -> bool:
        """Whether nobody answered a few attempts in a row: then nothing more is begun."""
        return self._misses >= MISSES

    def probe(self) -> None:
        """Allows one attempt, which decides whether the destination is held back (again)."""
        self.size, self._misses = 1, MISSES - 1

    def room(self, limits: Limits, active: int) -> int:
        """How many more attempts may begin while so many destinations have work: never above an equal part in all."""
        equal_part = -(-limits.total // max(active, 1))
        return max(min(self.size, equal_part) - self.in_flight, 0)
