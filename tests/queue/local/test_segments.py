"""Segments: however the lines are cut into files, they read like one file of bytes."""

import os
import resource
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arkcli.queue.local import lines
from arkcli.queue.local.lines import Ends
from arkcli.queue.local.segments import BLOCK_SIZE, Line, Segments
from tests.queue.local.machine import MEMORY


@contextmanager
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        yield Path(name)


def append(segments: Segments, line: bytes, position: int) -> int:
    """Appends as the queue does: a new segment where the last is full, then the line."""
    if segments.is_full(position):
        segments.begin(position)
    segments.append(line, position)
    return position + len(line)


def write(path: Path, size: int, texts: list[bytes], start: int = 0) -> None:
    segments = Segments(path, size)
    segments.look()
    position = start
    for text in texts:
        position = append(segments, text + b"\n", position)
    segments.close()


def opened(path: Path, size: int = 1) -> Segments:
    segments = Segments(path, size)
    segments.look()
    return segments


def read_all(segments: Segments, position: int, end: int) -> list[Line]:
    found: list[Line] = []
    while True:
        block, following = segments.block(position, end)
        if not block:
            assert following == max(position, segments.start)
            return found
        assert following == block[-1].end
        found += block
        position = following


def flat(texts: list[bytes], start: int = 0) -> list[Line]:
    lines = []
    for text in texts:
        lines.append(Line(start, start + len(text) + 1, text))
        start += len(text) + 1
    return lines


texts = st.lists(st.binary(max_size=12).map(lambda text: text.replace(b"\n", b"")), max_size=30)
sizes = st.integers(1, 60)


@settings(deadline=None, max_examples=150)
@given(texts, sizes, st.data())
def test_lines_read_the_same_from_any_line_to_any_other_however_they_are_cut(
    found: list[bytes], size: int, data: st.DataObject
) -> None:
    lines = flat(found)
    bounds = [line.start for line in lines] + [lines[-1].end if lines else 0]
    with directory() as path:
        write(path, size, found)
        segments = opened(path)
        assert (segments.start, segments.size()) == (0, bounds[-1])
        begin, end = sorted((data.draw(st.sampled_from(bounds)), data.draw(st.sampled_from(bounds))))
        assert read_all(segments, begin, end) == [line for line in lines if begin <= line.start < end]
        segments.close()


@settings(deadline=None, max_examples=150)
@given(texts.filter(bool), sizes, st.integers(0, 400))
def test_a_tail_is_the_complete_lines_within_so_many_bytes(found: list[bytes], size: int, length: int) -> None:
    lines = flat(found)
    end = lines[-1].end
    with directory() as path:
        write(path, size, found)
        segments = opened(path)
        assert segments.tail(end, length) == [line for line in lines if line.start >= end - length]
        segments.close()


@settings(deadline=None, max_examples=150)
@given(texts.filter(bool), sizes, st.data())
def test_every_byte_stands_where_it_would_stand_in_one_file(found: list[bytes], size: int, data: st.DataObject) -> None:
    whole = b"".join(text + b"\n" for text in found)
    lines = flat(found)
    with directory() as path:
        write(path, size, found)
        segments = opened(path)
        paths = sorted(path.glob("*.jsonl"))
        assert b"".join(name.read_bytes() for name in paths) == whole
        assert [name.name for name in paths] == [f"{start:020d}.jsonl" for start in segments.starts]
        starts = {line.start for line in lines}
        assert set(segments.starts) <= starts
        assert all(following - start >= size for start, following in pairwise(segments.starts))

        position = data.draw(st.integers(0, len(whole) - 1))
        length = data.draw(st.integers(0, len(whole)))
        got = segments.read(position, length)
        assert whole[position:].startswith(got)
        assert len(got) == length or position + len(got) in {*segments.starts, len(whole)}

        line = data.draw(st.sampled_from(lines))
        assert segments.last_line(line.end) == line
        segments.close()


@settings(deadline=None, max_examples=150)
@given(texts, sizes, st.binary(min_size=1, max_size=20).filter(lambda tail: b"\n" not in tail), st.data())
def test_the_end_of_the_lines_is_behind_the_last_newline_wherever_a_reader_looks(
    found: list[bytes], size: int, tail: bytes, data: st.DataObject
) -> None:
    with directory() as path:
        write(path, size, found)
        segments = opened(path, size)
        end = segments.size()
        if segments.is_full(end):
            segments.begin(end)
        segments.append(tail, end)

        position = data.draw(st.integers(segments.starts[-1], end + len(tail)))
        bounds = [0, *(line.end for line in flat(found))]
        expected = max(bound for bound in bounds if bound <= position)
        assert segments.last_line_end(position) == expected
        assert read_all(segments, 0, segments.last_line_end(segments.size())) == flat(found)
        segments.close()


@settings(deadline=None, max_examples=100)
@given(texts, texts, sizes, sizes)
def test_what_another_process_appends_is_found_at_the_next_look(
    found: list[bytes], more: list[bytes], size: int, other_size: int
) -> None:
    with directory() as path:
        write(path, size, found)
        reader = opened(path)
        before = reader.size()
        write(path, other_size, more, before)
        assert reader.look() == before + sum(len(text) + 1 for text in more)
        assert read_all(reader, 0, reader.size()) == flat(found + more)
        reader.close()


@settings(deadline=None, max_examples=100)
@given(texts.filter(bool), st.integers(1, 20), st.data())
def test_positions_stay_valid_when_the_oldest_segments_go(found: list[bytes], size: int, data: st.DataObject) -> None:
    with directory() as path:
        write(path, size, found)
        segments, other = opened(path), opened(path)
        starts, end = segments.starts, segments.size()
        read_all(segments, 0, end)
        position = data.draw(st.integers(0, end + 5))
        segments.remove_before(position)

        # Only whole segments go, and never the last.
        kept = max(start for start in starts if start <= position)
        assert segments.starts == [start for start in starts if start >= kept]
        for reader in (segments, other):
            assert reader.look() == end
            assert reader.start == kept
            left = [line for line in flat(found) if line.start >= kept]
            assert read_all(reader, 0, end) == left
            for line in left:
                assert reader.read(line.start, line.end - line.start) == line.text + b"\n"
            reader.close()


@pytest.mark.parametrize("length", [BLOCK_SIZE - 1, BLOCK_SIZE, 5 * BLOCK_SIZE, 1_100_000, 2_200_000])
@pytest.mark.parametrize("size", [1, 100, 1 << 26])
def test_a_line_longer_than_what_is_read_at_once_is_read_whole(length: int, size: int) -> None:
    found = [b"before", b"x" * length, b"behind"]
    with directory() as path:
        write(path, size, found)
        segments = opened(path)
        assert read_all(segments, 0, segments.size()) == flat(found)
        assert segments.last_line(flat(found)[1].end) == flat(found)[1]
        segments.close()


def test_a_block_is_read_and_not_the_whole_log(tmp_path: Path) -> None:
    write(tmp_path, 1 << 26, [b"x" * 999] * 5000)
    segments = opened(tmp_path)
    block, following = segments.block(1000, segments.size())
    assert block[0].start == 1000
    assert following <= 1000 + BLOCK_SIZE
    segments.close()


WHOLE = lines.seal(b'"a":1}')
LONG = lines.seal(b'"a":"%b"}' % (b"x" * (3 * BLOCK_SIZE)))


@pytest.mark.parametrize(
    ("tail", "kept"),
    [
        (b"", b""),
        (WHOLE[:-5], b""),
        (WHOLE[:-1], WHOLE),
        (WHOLE[:-1] + b"x", WHOLE),
        (b"\0" * 5000, b""),
        (LONG[:-2], b""),
        (LONG[:-1], LONG),
    ],
    ids=["nothing", "torn", "whole", "whole-but-for-its-newline", "zeros", "long-torn", "long-whole"],
)
@pytest.mark.parametrize("found", [[], [b"one"], [b"one", b"two"]], ids=["empty", "one", "two"])
@pytest.mark.parametrize("size", [1, 1 << 26], ids=["segment-each", "one-segment"])
def test_a_torn_last_line_is_cut_and_a_whole_one_is_given_its_newline(
    tail: bytes, kept: bytes, found: list[bytes], size: int
) -> None:
    with directory() as path:
        write(path, size, found)
        segments = opened(path, size)
        end = segments.size()
        if segments.is_full(end):
            segments.begin(end)
        segments.append(tail, end)

        assert segments.mend_tail(Ends()) == end + len(kept)
        assert segments.size() == end + len(kept)
        assert b"".join(name.read_bytes() for name in sorted(path.glob("*.jsonl"))) == b"".join(
            [text + b"\n" for text in found] + [kept]
        )
        segments.close()


#: Where a tail begins, after one line.
BEGIN = 4


@pytest.mark.parametrize(
    ("tail", "ends", "keep_zeros"),
    [
        (b"x" * 70, Ends(), False),
        (WHOLE[:5] + b"xxx", Ends(), False),
        (WHOLE[:-5] + WHOLE[:-5], Ends(), False),
        (WHOLE[:-5], Ends(synced=BEGIN + 1), False),
        (b"\0" * 70, Ends(synced=BEGIN + 1), False),
        (b"\0" * 70, Ends(), True),
        (LONG[:70], Ends(ended=BEGIN + 70), False),
        (LONG[:70] + b"\0", Ends(ended=BEGIN + 70), False),
        (b"\0" * (5 << 20), Ends(), False),
    ],
    ids=[
        "others",
        "others-behind-a-beginning",
        "two-lines",
        "synced",
        "synced-zeros",
        "zeros-to-keep",
        "written",
        "written-and-a-zero",
        "longer-than-a-line",
    ],
)
def test_bytes_that_no_crash_leaves_are_kept_as_a_damaged_line(
    tmp_path: Path, tail: bytes, ends: Ends, keep_zeros: bool
) -> None:
    write(tmp_path, 1 << 26, [b"one"])
    segments = opened(tmp_path)
    assert segments.size() == BEGIN
    segments.append(tail, BEGIN)
    assert segments.mend_tail(ends, keep_zeros=keep_zeros) == segments.size() == BEGIN + len(tail) + 1
    assert segments.read(BEGIN, len(tail) + 1) == tail + b"\n"
    segments.close()


@pytest.mark.parametrize(
    ("tail", "ends"),
    [
        (LONG[:70], Ends(synced=BEGIN, ended=BEGIN)),
        # After a power failure less may be there than was written, or zeros in its place.
        (LONG[:70], Ends(ended=BEGIN + 71)),
        (LONG[:60] + b"\0" * 10, Ends(ended=BEGIN + 70)),
        (b"\0" * 70, Ends(ended=BEGIN + 70)),
    ],
)
def test_bytes_that_a_crash_can_leave_are_cut(tmp_path: Path, tail: bytes, ends: Ends) -> None:
    write(tmp_path, 1 << 26, [b"one"])
    segments = opened(tmp_path)
    segments.append(tail, BEGIN)
    assert segments.mend_tail(ends) == segments.size() == BEGIN
    segments.close()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:-1] + b"x",
        lambda data: data[:-3],
        lambda data: b"",
        lambda data: None,
        lambda data: data + b"an editor's own line\n",
        lambda data: b"\0" * len(data),
    ],
    ids=["newline-gone", "cut", "emptied", "removed", "longer", "zeros"],
)
def test_a_damaged_segment_in_the_middle_costs_none_of_its_neighbours(
    tmp_path: Path, spoil: Callable[[bytes], bytes | None]
) -> None:
    found = [b"%d" % number * 9 for number in range(6)]
    write(tmp_path, 20, found)
    middle = sorted(tmp_path.iterdir())[1]
    spoiled = spoil(middle.read_bytes())
    if spoiled is None:
        middle.unlink()
    else:
        middle.write_bytes(spoiled)

    segments = opened(tmp_path)
    got = read_all(segments, 0, segments.size())
    segments.close()

    lines = flat(found)
    assert [line for line in got if line.start < 20] == lines[:2]
    assert [line for line in got if line.start >= 40] == lines[4:]
    assert [line.start for line in got] == sorted({line.start for line in got})
    assert all(this.end == following.start for this, following in pairwise(got))


@pytest.mark.parametrize("megabytes", [5, 9])
def test_megabytes_of_garbage_without_a_newline_are_passed_and_the_next_line_is_found(megabytes: int) -> None:
    garbage = b"\0" * (megabytes << 20)
    with directory() as path:
        write(path, 1 << 26, [b"before", garbage, b"behind", b"last"])
        segments = opened(path)
        got = read_all(segments, 0, segments.size())
        segments.close()
    assert got[0] == flat([b"before"])[0]
    assert got[-2:] == flat([b"before", garbage, b"behind", b"last"])[-2:]
    assert all(this.end == following.start for this, following in pairwise(got))


sealed = st.tuples(st.sampled_from(["whole", "whole", "whole", "damaged", "nested"]), st.integers(0, 60))


def line_of(kind: str, size: int) -> bytes:
    """A line: whole, or not, or with what looks like one at its end."""
    inner = lines.seal(b'"seq":7,"addressed":7,"x":1}}')[:-1]
    body = inner if kind == "nested" else b'{"x":"%b"}}' % (b"x" * size)
    text = lines.seal(b'"body":%b' % body)[:-1]
    return text[:20] + b"?" + text[21:] if kind == "damaged" else text


@settings(deadline=None, max_examples=150)
@given(st.lists(sealed, max_size=12), sizes, st.integers(0, 1_500), st.integers(0, 1_500))
def test_from_anywhere_the_next_whole_line_is_found_and_none_that_stands_in_another(
    found: list[tuple[str, int]], size: int, position: int, end: int
) -> None:
    texts = [line_of(*one) for one in found]
    whole = [line for line in flat(texts) if lines.is_whole(line.text)]
    with directory() as path:
        write(path, size, texts)
        end = max((line.end for line in flat(texts) if line.end <= end), default=0)
        got = opened(path, size).line_from(position, end)
    expected = next((line for line in whole if line.start >= position and line.end <= end), None)
    assert (got and (got.start, got.text)) == (expected and (expected.start, expected.text))


@settings(deadline=None, max_examples=150)
@given(texts, sizes, st.binary(min_size=1, max_size=2).filter(lambda needle: b"\n" not in needle), st.data())
def test_the_lines_that_hold_some_bytes_are_found_and_no_others(
    found: list[bytes], size: int, needle: bytes, data: st.DataObject
) -> None:
    every = flat(found)
    begin = data.draw(st.sampled_from([0, *(line.start for line in every)]))
    end = data.draw(st.sampled_from([0, *(line.end for line in every)]))
    with directory() as path:
        write(path, size, found)
        got = [(line.start, line.text) for line in opened(path, size).holding(needle, begin, end)]
    assert got == [
        (one.start, one.text) for one in every if needle in one.text and begin <= one.start and one.end <= end
    ]


def test_what_is_sought_is_found_across_many_reads(tmp_path: Path) -> None:
    found = [b"x" * 3_000_000, b"needle", b"y" * 2_000_000, b"x" * 100 + b"needle", b"z"]
    write(tmp_path, 1 << 26, found)
    end = sum(len(text) + 1 for text in found)
    assert [line.text for line in opened(tmp_path).holding(b"needle", 0, end)] == [found[1], found[3]]


def test_other_files_in_the_directory_are_none_of_its_business(tmp_path: Path) -> None:
    write(tmp_path, 10, [b"one", b"two"])
    for name in (
        "lock",
        "7.jsonl",
        f"{8:020d}.json",
        f"{8:020d}.jsonl~",
        f".{8:020d}.jsonl",
        f"{8:021d}.jsonl",
        "x" * 26,
    ):
        (tmp_path / name).write_bytes(b"not ours\n")
    segments = opened(tmp_path)
    assert read_all(segments, 0, segments.size()) == flat([b"one", b"two"])
    segments.close()


def test_an_empty_directory_has_no_bytes_and_its_first_line_begins_a_segment(tmp_path: Path) -> None:
    segments = opened(tmp_path)
    assert (segments.size(), segments.start, segments.starts) == (0, 0, [])
    assert segments.block(0, 0) == ([], 0)
    assert segments.mend_tail(Ends()) == 0
    assert segments.is_full(0)


@pytest.mark.parametrize(("end", "full"), [(0, False), (99, False), (100, True), (101, True)])
def test_a_segment_is_full_when_it_has_reached_its_size(tmp_path: Path, end: int, full: bool) -> None:
    segments = opened(tmp_path, 100)
    segments.begin(0)
    segments.append(b"x" * end, 0)
    assert segments.is_full(end) is full
    segments.close()


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def test_many_segments_are_read_with_few_open_files(tmp_path: Path) -> None:
    write(tmp_path, 1, [b"%d" % number for number in range(100)])
    before = open_files()
    segments = opened(tmp_path)
    assert len(read_all(segments, 0, segments.size())) == 100
    assert open_files() - before <= 4
    segments.close()
    assert open_files() == before


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_segment_is_for_its_user_alone_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write(tmp_path, 1, [b"one", b"two"])
    finally:
        os.umask(before)
    assert {stat.S_IMODE(name.stat().st_mode) for name in tmp_path.iterdir()} == {0o600}


APPEND_TOO_MUCH = """
import resource, sys
from pathlib import Path
from arkcli.queue.local.segments import Segments
segments = Segments(Path(sys.argv[1]))
end = segments.look()
resource.setrlimit(resource.RLIMIT_FSIZE, (end + 100, resource.RLIM_INFINITY))
try:
    segments.append(b"x" * 150 + b"\\n", end)
except OSError:
    print("refused", segments.size() == end)
segments.append(b"x" * 50 + b"\\n", end)
print("went on", segments.size() == end + 51)
"""


def test_an_append_that_does_not_fit_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    write(tmp_path, 1 << 26, [b"one", b"two"])
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    ran = subprocess.run(
        [sys.executable, "-c", APPEND_TOO_MUCH, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert ran.stdout.splitlines() == ["refused True", "went on True"]
    (name,) = tmp_path.iterdir()
    assert name.read_bytes() == b"one\ntwo\n" + b"x" * 50 + b"\n"
