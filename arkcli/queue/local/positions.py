"""Sets of positions that may be large: a million in 8 MB."""

from array import array
from bisect import bisect_left
from collections.abc import Iterator


class Positions:
    """A set of positions. Adding is quick where they come more or less in order, as they do in a log."""

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found = array("q")

    def add(self, position: int) -> bool:
        """Takes in a position; False when it was there already."""
        if not self._found or position > self._found[-1]:
            self._found.append(position)
            return True
        index = bisect_left(self._found, position)
        if self._found[index] == position:
            return False
        self._found.insert(index, position)
        return True

    def __contains__(self, position: object) -> bool:
        if not isinstance(position, int):
            return False
        index = bisect_left(self._found, position)
        return index < len(self._found) and self._found[index] == position

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[int]:
        return iter(self._found)
