"""Progress: lines that are finished out of order, against a plain set of lines."""

from collections.abc import Sequence
from itertools import chain, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arkcli.queue.local.progress import Progress, Range


class Marks:
    """The oracle: the lines one by one, and which of them are finished."""

    def __init__(self, starts: list[int], joined_at: int) -> None:
        self.lines = list(pairwise(starts))
        self.finished: dict[int, int] = {start: 0 for start, _ in self.lines if start < joined_at}

    def finish(self, start: int, count: int) -> bool:
        fresh = start not in self.finished
        self.finished.setdefault(start, count)
        return fresh

    def skip_to(self, position: int) -> None:
        for start, _ in self.lines:
            if start < position:
                self.finished.setdefault(start, 0)

    @property
    def cursor(self) -> int:
        return next((start for start, _ in self.lines if start not in self.finished), self.lines[-1][1])

    @property
    def ranges(self) -> list[Range]:
        found: list[Range] = []
        for start, end in self.lines:
            if start < self.cursor or start not in self.finished:
                continue
            if found and found[-1][1] == start:
                found[-1] = (found[-1][0], end, found[-1][2] + self.finished[start])
            else:
                found.append((start, end, self.finished[start]))
        return found

    def passed(self, start: int) -> int | None:
        if start < self.cursor:
            return self.cursor
        return next((end for begin, end, _ in self.ranges if begin <= start < end), None)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[int], int, list[tuple[str, int, int]]]:
    """Where lines begin, where the reader joined, and what happened: finish or skip, which line, with which count."""
    lengths = draw(st.lists(st.integers(1, 9), min_size=1, max_size=14))
    starts = [draw(st.integers(0, 1000))]
    for length in lengths:
        starts.append(starts[-1] + length)
    deeds = st.tuples(
        st.sampled_from(["finish", "finish", "finish", "finish", "skip"]),
        st.integers(0, len(lengths) - 1),
        st.sampled_from([0, 1, 1, 1]),
    )
    return starts, draw(st.sampled_from(starts)), draw(st.lists(deeds, max_size=40))


def check(progress: Progress, marks: Marks) -> None:
    assert progress.cursor == marks.cursor
    assert progress.ranges == marks.ranges
    assert progress.end == max([marks.cursor, *(end for _, end, _ in marks.ranges)])
    ends = range(progress.cursor - 1, progress.cursor + 1), [start for start, _ in marks.lines], [marks.lines[-1][1]]
    for end in chain.from_iterable(ends):
        left = [line for line in marks.lines if line[0] not in marks.finished and line[0] < end]
        unfinished = list(progress.unfinished(end))
        assert [line for line in marks.lines if any(a <= line[0] < b for a, b in unfinished)] == left
        assert all(a < b for a, b in unfinished)
    for start, end in marks.lines:
        assert progress.passed(start) == marks.passed(start)
        assert progress.passed(end - 1) == marks.passed(start)


@settings(deadline=None, max_examples=300)
@given(histories())
def test_whatever_the_order_progress_knows_what_a_set_of_lines_knows(
    history: tuple[list[int], int, list[tuple[str, int, int]]],
) -> None:
    starts, joined_at, deeds = history
    progress, marks = Progress(joined_at), Marks(starts, joined_at)
    for deed, index, count in deeds:
        if deed == "finish":
            start, end = marks.lines[index]
            assert progress.finish(start, end, count) == marks.finish(start, count)
        else:
            progress.skip_to(starts[index])
            marks.skip_to(starts[index])
        check(progress, marks)


@settings(deadline=None)
@given(histories(), st.integers(0, 40))
def test_progress_written_down_and_read_back_goes_on_as_if_nothing_had_been(
    history: tuple[list[int], int, list[tuple[str, int, int]]], written_after: int
) -> None:
    starts, joined_at, deeds = history
    progress, marks = Progress(joined_at), Marks(starts, joined_at)
    for number, (deed, index, count) in enumerate(deeds):
        if number == written_after:
            progress = Progress(progress.cursor, progress.ranges)
        if deed == "finish":
            progress.finish(*marks.lines[index], count)
            marks.finish(starts[index], count)
        else:
            progress.skip_to(starts[index])
            marks.skip_to(starts[index])
    check(progress, marks)


@pytest.mark.parametrize(
    ("finished", "cursor", "ranges"),
    [
        ([], 10, []),
        ([10], 20, []),
        ([20], 10, [(20, 30, 1)]),
        ([20, 10], 30, []),
        ([20, 30], 10, [(20, 40, 2)]),
        ([30, 20], 10, [(20, 40, 2)]),
        ([20, 40], 10, [(20, 30, 1), (40, 50, 1)]),
        ([20, 40, 30], 10, [(20, 50, 3)]),
        ([40, 20, 10], 30, [(40, 50, 1)]),
        ([40, 20, 30, 10], 50, []),
    ],
)
def test_the_cursor_stands_at_the_first_unfinished_line_and_what_touches_is_one_range(
    finished: list[int], cursor: int, ranges: list[Range]
) -> None:
    progress = Progress(10)
    assert all(progress.finish(start, start + 10) for start in finished)
    assert progress.cursor == cursor
    assert progress.ranges == ranges


@pytest.mark.parametrize("again", [0, 10, 20, 40, 50])
def test_a_line_is_finished_only_once(again: int) -> None:
    progress = Progress(20)
    progress.finish(40, 50)
    progress.finish(50, 60)
    progress.finish(20, 30)
    before = (progress.cursor, progress.ranges)

    assert progress.finish(again, again + 10) is False
    assert (progress.cursor, progress.ranges) == before


def test_a_line_that_is_only_passed_over_is_not_counted() -> None:
    progress = Progress()
    progress.finish(10, 20, 0)
    progress.finish(20, 30, 1)
    assert (progress.cursor, progress.ranges) == (0, [(10, 30, 1)])


@settings(deadline=None, max_examples=200)
@given(histories(), st.integers(0, 15), st.integers(0, 15))
def test_passing_over_a_stretch_finishes_what_is_left_in_it_and_nothing_else(
    history: tuple[list[int], int, list[tuple[str, int, int]]], first: int, last: int
) -> None:
    starts, joined_at, deeds = history
    progress, marks = Progress(joined_at), Marks(starts, joined_at)
    for _, index, count in deeds:
        progress.finish(*marks.lines[index], count)
        marks.finish(starts[index], count)
    begin, end = sorted((starts[first % len(starts)], starts[last % len(starts)]))
    progress.pass_over(begin, end)
    for start, _ in marks.lines:
        if begin <= start < end:
            marks.finish(start, 0)
    check(progress, marks)


@pytest.mark.parametrize(
    ("begin", "end", "ranges"),
    [
        (10, 20, [(10, 40, 1), (50, 60, 1), (80, 90, 1)]),
        (10, 70, [(10, 70, 2), (80, 90, 1)]),
        (40, 80, [(20, 90, 3)]),
        (60, 100, [(20, 40, 1), (50, 100, 2)]),
        (90, 110, [(20, 40, 1), (50, 60, 1), (80, 110, 1)]),
        (20, 40, [(20, 40, 1), (50, 60, 1), (80, 90, 1)]),
        (70, 70, [(20, 40, 1), (50, 60, 1), (80, 90, 1)]),
    ],
)
def test_a_stretch_that_is_passed_over_takes_in_the_ranges_within_it(begin: int, end: int, ranges: list[Range]) -> None:
    progress = Progress(0, [(20, 40, 1), (50, 60, 1), (80, 90, 1)])
    progress.pass_over(begin, end)
    assert progress.ranges == ranges
    assert progress.end == ranges[-1][1]
    assert progress.cursor == 0


@pytest.mark.parametrize(
    ("position", "cursor", "ranges"),
    [
        (0, 10, [(30, 40, 1), (60, 70, 1)]),
        (10, 10, [(30, 40, 1), (60, 70, 1)]),
        (20, 20, [(30, 40, 1), (60, 70, 1)]),
        (30, 40, [(60, 70, 1)]),
        (40, 40, [(60, 70, 1)]),
        (50, 50, [(60, 70, 1)]),
        (60, 70, []),
        (99, 99, []),
    ],
)
def test_skipping_passes_everything_before_a_position_and_never_goes_back(
    position: int, cursor: int, ranges: list[Range]
) -> None:
    progress = Progress(10, [(30, 40, 1), (60, 70, 1)])
    progress.skip_to(position)
    assert progress.cursor == cursor
    assert progress.ranges == ranges


@pytest.mark.parametrize(
    "order",
    [range(100_000), range(99_999, -1, -1), [*range(1, 100_000), 0]],
    ids=["forwards", "backwards", "the first one last"],
)
def test_what_is_finished_costs_nothing_however_much_it_is(order: Sequence[int]) -> None:
    progress = Progress(1_000)
    for number in order:
        start = 1_000 + number * 10
        progress.finish(start, start + 10)
        assert len(progress.ranges) <= 1
    assert progress.cursor == 1_001_000
    assert progress.ranges == []
