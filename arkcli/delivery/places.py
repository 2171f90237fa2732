"""How many attempts each destination may have in flight: one that does not answer must not slow the others.

Pure. docs/internals.md, section 10, explains the rules.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from arkcli.delivery.backoff import MISSES
from arkcli.model import Answer

_FIRST_SHARE: Final = 2
#: Descriptors reserved for everything else.
_SPARE: Final = 8
#: Most descriptors that a claimed destination uses: its lock, and the segments of its journal.
_OF_A_CLAIM: Final = 4


class Limits(NamedTuple):
    """Maximum attempts in flight, in total and per destination."""

    total: int = 64
    per_destination: int = 8

    @property
    def silent(self) -> int:
        """Maximum attempts in flight at destinations that do not answer, together."""
        return max(1, self.total * 3 // 4)

    def within(self, descriptors: int) -> "Limits":
        """The limits that this number of file descriptors allows; an attempt uses a connection and may keep it open."""
        total = max(1, min(self.total, (descriptors - _SPARE) // 6))
        return Limits(total, min(self.per_destination, total))

    def connections(self, descriptors: int) -> int:
        """How many connections to keep at most with this number of file descriptors; 0 if there are none to spare."""
        left = descriptors - _SPARE - _OF_A_CLAIM * self.claims(descriptors) - self.total
        return min(max(256, self.total), left) if left >= self.total else 0

    def claims(self, descriptors: int) -> int:
        """How many destinations to hold at once at most with this number of file descriptors.

        Twice `total` if there are enough, so that destinations that do not answer leave room for others.
        """
        left = descriptors - _SPARE - 2 * self.total
        return max(1, min(2 * self.total, left // _OF_A_CLAIM))


class Share:
    """How many attempts at once one destination may have: it doubles with each answer, else falls to 1."""

    __slots__ = ("_misses", "_most", "answering", "in_flight", "size")

    def __init__(self, most: int, size: int = _FIRST_SHARE) -> None:
        self._most = most
        self._misses = 0
        self.size = min(size, most)
        self.in_flight = 0
        self.answering = False

    def ended(self, answers: Sequence[Answer]) -> None:
        """Notes the results of attempts, in order. A refused connection counts as answering, but resets `size`."""
        self.in_flight -= len(answers)
        # A good answer changes nothing then.
        is_steady = self.answering and not self._misses and self.size == self._most
        for answer in answers:
            if is_steady and answer.error is None and not answer.timed_out:
                continue
            is_steady = False
            self.answering = not answer.timed_out
            if answer.error is None or not answer.is_unreachable:
                self._misses = 0
                self.size = 1 if answer.timed_out else min(self.size * 2, self._most)
            else:
                self._misses += 1
                self.size = 1

    @property
    def is_held_back(self) -> bool:
        """Whether to start nothing more, because a few attempts in a row were not answered."""
        return self._misses >= MISSES

    def probe(self) -> None:
        """Allows one attempt, which decides whether the destination is held back (again)."""
        self.size, self._misses = 1, MISSES - 1

    def room(self, limits: Limits, active: int) -> int:
        """How many attempts may start now; at most an equal share while `active` destinations have work."""
        equal_part = -(-limits.total // max(active, 1))
        return max(min(self.size, equal_part) - self.in_flight, 0)
