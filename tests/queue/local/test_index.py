"""What the index costs where its tables cannot be kept: work is counted, not timed."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from arkcli.queue.local.index import Index, Row
from arkcli.queue.local.segments import Segments

#: More rows than stay in memory before a table is written, in pieces of the log that hold a hundred each.
ROWS, EACH = 40_000, 100


class Counted(tuple[str, int, int, str]):
    """A row that counts how often any row is compared, or one of its fields is read."""

    __slots__ = ()
    looks = 0

    def __lt__(self, other: Any) -> bool:
        Counted.looks += 1
        return super().__lt__(other)

    def __getitem__(self, place: Any) -> Any:
        Counted.looks += 1
        return super().__getitem__(place)


def scan(begin: int, end: int) -> Iterator[tuple[list[Row], int]]:
    """A log with a row for every ten bytes."""
    for start in range(begin, end, 10 * EACH):
        yield [Counted((f"evt_{at:09d}", at, 10, "")) for at in range(start, start + 10 * EACH, 10)], start + 10 * EACH


@pytest.mark.parametrize(
    ("worth", "keep", "obstacle"),
    [(0, True, False), (1, False, False), (1, True, True), (1, True, False)],
    ids=["a queue that can only be read", "nothing is to be kept", "no table can be written", "tables are written"],
)
def test_reading_the_log_looks_at_each_row_a_few_times_however_many_there_are(
    tmp_path: Path, worth: int, keep: bool, obstacle: bool
) -> None:
    if obstacle:
        (tmp_path / "index").write_bytes(b"no directory can be made here")
    segments = Segments(tmp_path)
    segments.look()
    segments.begin(0)
    segments.append(b"x" * 9 + b"\n", 0)
    Counted.looks = 0
    with closing(segments):
        index = Index(tmp_path / "index", "ids", segments, scan, worth)
        index.cover(0, 10 * ROWS, keep=keep)
        # Sorting rows that come in order takes one look at each, a table's text takes some for each field.
        assert Counted.looks < 15 * ROWS
        assert [row[1] for row in index.rows("evt_000123450", 0, 10 * ROWS)] == [123450]
    assert (tmp_path / "index").is_dir() == (worth > 0 and keep and not obstacle)
