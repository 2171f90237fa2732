"""Progress through a file whose lines are finished out of order."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator

Range = tuple[int, int, int]


class Progress:
    """Everything before `cursor` is finished, and so are the ranges after it.

    Adjacent ranges are merged, so memory grows with what is unfinished, not with what is finished.
    """

    __slots__ = ("_counts", "_ends", "_starts", "cursor")

    def __init__(self, cursor: int = 0, ranges: Iterable[Range] = ()) -> None:
        """A range is (start, end, number of lines finished)."""
        self.cursor = cursor
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._counts: list[int] = []
        for start, end, count in ranges:
            self.finish(start, end, count)

    def finish(self, start: int, end: int, count: int = 1) -> bool:
        """Marks the line from `start` to `end` as finished; False if it already was.

        `count` is the number of lines to count: 0 for a line that is only skipped.
        """
        if start == self.cursor and not self._starts:
            self.cursor = end
            return True
        right = bisect_right(self._starts, start)
        if start < self.cursor or (right and start < self._ends[right - 1]):
            return False
        joins_right = right < len(self._starts) and self._starts[right] == end
        if start == self.cursor:
            self.cursor = self._ends[right] if joins_right else end
            if joins_right:
                self._remove(right)
        elif right and self._ends[right - 1] == start:
            left = right - 1
            self._ends[left] = end
            self._counts[left] += count
            if joins_right:
                self._ends[left] = self._ends[right]
                self._counts[left] += self._counts[right]
                self._remove(right)
        elif joins_right:
            self._starts[right] = start
            self._counts[right] += count
        else:
            self._starts.insert(right, start)
            self._ends.insert(right, end)
            self._counts.insert(right, count)
        return True

    def pass_over(self, start: int, end: int) -> None:
        """Marks a whole stretch as finished; counts no lines."""
        while start < end:
            passed = self.passed(start)
            if passed is None:
                right = bisect_right(self._starts, start)
                passed = min([end, *self._starts[right : right + 1]])
                self.finish(start, passed, 0)
            start = passed

    def passed(self, start: int) -> int | None:
        """The end of the finished stretch that contains `start`; None if the line there is not finished."""
        if start < self.cursor:
            return self.cursor
        right = bisect_right(self._starts, start)
        return self._ends[right - 1] if right and start < self._ends[right - 1] else None

    @property
    def end(self) -> int:
        """The position after which nothing is finished."""
        return self._ends[-1] if self._ends else self.cursor

    def skip_to(self, position: int) -> None:
        """Marks everything before a position as finished."""
        while self._starts and self._starts[0] <= position:
            position = max(position, self._ends[0])
            self._remove(0)
        self.cursor = max(self.cursor, position)

    @property
    def ranges(self) -> list[Range]:
        """The finished ranges after the cursor, in order."""
        return list(zip(self._starts, self._ends, self._counts, strict=True))

    def unfinished(self, end: int) -> Iterator[tuple[int, int]]:
        """The unfinished stretches before `end`, in order."""
        begin = self.cursor
        for start, stop in zip(self._starts, self._ends, strict=True):
            if start >= end:
                break
            yield begin, start
            begin = stop
        if begin < end:
            yield begin, end

    def _remove(self, index: int) -> None:
        del self._starts[index], self._ends[index], self._counts[index]
