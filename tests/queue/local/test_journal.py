"""A destination's journal: what was recorded is known again, whatever became of the checkpoint and of the last line."""

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pytest

from arkcli import times
from arkcli.model import Outcome
from arkcli.queue.local import lines
from arkcli.queue.local.journal import Journal
from arkcli.queue.local.lines import AttemptLine, DropLine, Snapshot
from arkcli.queue.local.state import joined
from tests.queue.local.machine import FORKS, MEMORY, filled, listened, small_disk
from tests.world import START

AT: Final = times.to_text(START)
OK: Final = Outcome.DELIVERED
BAD: Final = Outcome.FAILED


@contextmanager
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        yield Path(name)


@pytest.fixture
def place() -> Iterator[Path]:
    """The directory of a destination that joined at position 1000 of the event log."""
    with directory() as path:
        Journal.create(path / "dst_1", joined(1000, 4))
        yield path / "dst_1"


@contextmanager
def journal_in(place: Path, segment_size: int = 1 << 26, *, to_append: bool = True) -> Iterator[Journal]:
    journal = Journal(place, 4, segment_size)
    if to_append:
        journal.load_to_append()
    else:
        journal.load()
    try:
        yield journal
    finally:
        journal.close()


def attempt(
    event: int, number: int = 1, outcome: Outcome = OK, after: tuple[int, int] | None = None, excerpt: str = ""
) -> AttemptLine:
    """An attempt at an event; events are 100 bytes long, and the first is at position 1000."""
    return AttemptLine(
        1000 + event * 100, 100, f"evt_{event}", "ping", number, AT, outcome, 3, excerpt=excerpt, after=after
    )


def append(journal: Journal, entry: AttemptLine) -> tuple[int, int]:
    """Appends one line; returns its position."""
    journal.append([entry])
    length = len(lines.encode(entry))
    return journal.state.journal - length, length


def fill(journal: Journal, events: int = 12) -> None:
    """A journal with something of everything: delivered, retrying in three lanes, dead, and out of order."""
    for event in reversed(range(events)):
        after = None
        for number in range(1, 1 + event % 6):
            after = append(journal, attempt(event, number, BAD, after))
        if event % 4 == 0 and event % 6 < 5:
            append(journal, attempt(event, 1 + event % 6, OK, after))


def facts(journal: Journal) -> dict[str, Any]:
    """What a state says, without how it came about."""
    state = journal.state
    return {
        "first": (state.first.cursor, [(start, end) for start, end, _ in state.first.ranges]),
        "retrying": state.retrying,
        "dead": state.dead,
        "last": state.last,
        "journal": state.journal,
        "live": [
            [start for start, entry in failed(journal, lane + 1) if state.lanes[lane].passed(start) is None]
            for lane in range(4)
            if state.retrying[lane]
        ],
    }


def failed(journal: Journal, number: int) -> Iterator[tuple[int, AttemptLine]]:
    position = 0
    while True:
        block, position = journal.block(position)
        if not block:
            return
        for line in block:
            entry = journal.decode(line)
            if isinstance(entry, AttemptLine) and entry.attempt == number and entry.outcome is BAD:
                yield line.start, entry


def segments(place: Path) -> list[Path]:
    return sorted((place / "journal").glob("*.jsonl"))


def content(place: Path) -> bytes:
    return b"".join(name.read_bytes() for name in segments(place))


def damaged(place: Path) -> int:
    """How many lines cannot be read."""

    def is_damaged(line: bytes) -> bool:
        try:
            lines.decode_journal(line)
        except lines.Damaged:
            return True
        return False

    return sum(map(is_damaged, filter(bytes.strip, content(place).splitlines())))


def first_lines(place: Path) -> list[object]:
    return [lines.decode_journal(name.read_bytes().split(b"\n")[0]) for name in segments(place)]


SIZES: Final = pytest.mark.parametrize("size", [1, 700, 1 << 26], ids=["segment-each", "some-segments", "one-segment"])


def test_a_destination_joins_where_the_log_ends_and_nothing_before_is_for_it(place: Path) -> None:
    with journal_in(place) as journal:
        assert journal.state.first.passed(999) == 1000
        assert journal.state.first.passed(1000) is None
        assert (journal.state.retrying, journal.state.dead, journal.state.last) == ([0, 0, 0, 0], 0, None)


@SIZES
def test_what_was_recorded_is_known_again(place: Path, size: int) -> None:
    with journal_in(place, size) as journal:
        fill(journal)
        expected = facts(journal)
    assert expected["retrying"] != [0, 0, 0, 0]
    assert expected["dead"]
    with journal_in(place, size) as again, journal_in(place, size, to_append=False) as reader:
        assert facts(again) == expected
        assert facts(reader) == expected


@SIZES
def test_what_another_process_records_is_known_at_the_next_loading(place: Path, size: int) -> None:
    with journal_in(place, size) as writer, journal_in(place, size, to_append=False) as reader:
        fill(writer)
        reader.load()
        assert facts(reader) == facts(writer)


def test_loading_again_reads_only_what_was_added(place: Path) -> None:
    with journal_in(place) as writer, journal_in(place, to_append=False) as reader:
        writer.append([attempt(event) for event in range(20_000)])
        reader.load()
        writer.append([attempt(20_000)])
        with listened() as calls:
            reader.load()
        assert calls.count("pread") <= 3
        assert reader.state.first.cursor == 1000 + 20_001 * 100


@SIZES
def test_every_segment_begins_with_a_snapshot(place: Path, size: int) -> None:
    with journal_in(place, size) as journal:
        fill(journal)
    assert len(segments(place)) > 3 or size == 1 << 26
    for path, found in zip(segments(place), first_lines(place), strict=True):
        assert isinstance(found, Snapshot)
        assert found.journal == int(path.stem)


@pytest.mark.parametrize("size", [1, 700])
def test_a_segment_is_understood_without_those_before_it(place: Path, size: int) -> None:
    with journal_in(place, size) as journal:
        fill(journal)
        expected = facts(journal)
    names = segments(place)
    # A retry that waits needs the line that it waits on; everything else is in the snapshot.
    needed = min((start for starts in expected["live"] for start in starts), default=0)
    for path, following in pairwise(names):
        if int(following.stem) <= needed:
            path.unlink()
    with journal_in(place, size) as journal:
        assert facts(journal) == expected


def test_attempts_are_recorded_all_at_once_in_their_order(place: Path) -> None:
    with journal_in(place) as journal, listened() as calls:
        journal.append([attempt(2), attempt(0), attempt(1)])
    assert calls.count("pwrite") == 1
    found = [lines.decode_journal(line) for line in content(place).splitlines()[1:]]
    assert found == [attempt(2), attempt(0), attempt(1)]


# --- the checkpoint


def test_a_checkpoint_is_written_only_after_the_journal_it_sums_up_is_on_disk(place: Path) -> None:
    with journal_in(place) as journal:
        fill(journal)
        with listened() as calls:
            journal.save()
    assert calls.index("sync") < calls.index("replace")


def test_with_a_checkpoint_the_journal_before_it_is_not_read(place: Path) -> None:
    with journal_in(place) as journal:
        journal.append([attempt(event) for event in range(20_000)])
        journal.save()
        journal.append([attempt(20_000)])
    with listened() as calls, journal_in(place) as again:
        assert again.state.first.cursor == 1000 + 20_001 * 100
    assert calls.count("pread") <= 4


SPOILT: Final[dict[str, Callable[[bytes], bytes | None]]] = {
    "as-it-was": lambda data: data,
    "missing": lambda data: None,
    "empty": lambda data: b"",
    "newline-only": lambda data: b"\n",
    "no-newline": lambda data: data[:-1],
    "cut": lambda data: data[: len(data) // 2],
    "zeros": lambda data: b"\0" * len(data),
    "garbage": lambda data: b"\xff\xfe" * 99,
    "another-kind-of-line": lambda data: lines.encode(attempt(0)),
    "two-lines": lambda data: data + data,
    "unsealed": lambda data: b'{"snapshot":{}}\n',
    "ahead-of-the-journal": lambda data: lines.encode_snapshot(
        Snapshot(1 << 40, (1 << 40, []), [(1 << 40, [])] * 4, [9, 9, 9, 9], 9)
    ),
}


@SIZES
@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_a_checkpoint_that_is_lost_or_damaged_loses_nothing(
    place: Path, size: int, spoil: Callable[[bytes], bytes | None]
) -> None:
    with journal_in(place, size) as journal:
        fill(journal)
        journal.save()
        append(journal, attempt(50, 1, BAD))
        expected = facts(journal)
    checkpoint = place / "checkpoint.json"
    spoilt = spoil(checkpoint.read_bytes())
    if spoilt is None:
        checkpoint.unlink()
    else:
        checkpoint.write_bytes(spoilt)
    with journal_in(place, size) as journal:
        assert facts(journal) == expected


def test_a_checkpoint_with_any_byte_flipped_loses_nothing(place: Path) -> None:
    with journal_in(place) as journal:
        fill(journal)
        journal.save()
        expected = facts(journal)
    checkpoint = place / "checkpoint.json"
    whole = checkpoint.read_bytes()
    for position in range(len(whole)):
        spoilt = bytearray(whole)
        spoilt[position] ^= 0x01
        checkpoint.write_bytes(spoilt)
        with journal_in(place) as journal:
            assert facts(journal) == expected, position


@SIZES
def test_a_stale_checkpoint_loses_nothing(place: Path, size: int) -> None:
    checkpoint = place / "checkpoint.json"
    with journal_in(place, size) as journal:
        journal.save()
        fill(journal, 6)
        stale = [checkpoint.read_bytes()]
        journal.save()
        stale.append(checkpoint.read_bytes())
        append(journal, attempt(50, 1, BAD))
        journal.save()
        append(journal, attempt(51, 1, BAD))
        expected = facts(journal)
    for old in stale:
        checkpoint.write_bytes(old)
        with journal_in(place, size) as journal:
            assert facts(journal) == expected


def test_a_checkpoint_that_was_ahead_of_the_journal_is_never_believed_later(place: Path) -> None:
    with journal_in(place) as journal:
        append(journal, attempt(0, 1, OK))
        append(journal, attempt(1, 1, OK))
        journal.save()
    # The last line was cut, and the checkpoint speaks of more journal than there is.
    (file,) = segments(place)
    file.write_bytes(file.read_bytes()[:-10])
    with journal_in(place) as journal:
        assert journal.state.first.passed(1100) is None, "the attempt counts as never made"
        append(journal, attempt(1, 1, BAD, excerpt="longer than the line that was there before"))
        expected = facts(journal)
        assert expected["retrying"] == [1, 0, 0, 0]
    with journal_in(place) as journal:
        assert facts(journal) == expected


# --- torn and broken lines

WHOLE: Final = lines.encode(attempt(60, 1, BAD))[:-1]
TORN: Final = [WHOLE[:1], WHOLE[:8], WHOLE[:60], WHOLE[:-1], b"\0" * 400, WHOLE[:20] + b"\0" * 99]


def tear(place: Path, tail: bytes) -> None:
    with segments(place)[-1].open("ab") as file:
        file.write(tail)


@SIZES
@pytest.mark.parametrize("tail", TORN, ids=lambda tail: f"{len(tail)}-{tail[:3]!r}")
def test_a_torn_last_line_was_never_recorded_and_is_cut_before_the_next(place: Path, size: int, tail: bytes) -> None:
    with journal_in(place, size) as journal:
        fill(journal)
        expected = facts(journal)
    whole = content(place)
    tear(place, tail)
    with journal_in(place, size, to_append=False) as reader:
        assert facts(reader) == expected
        assert content(place) == whole + tail, "a reader changes nothing"
    with journal_in(place, size) as journal:
        assert facts(journal) == expected
        append(journal, attempt(70))
        expected = facts(journal)
    assert content(place).startswith(whole)
    with journal_in(place, size) as journal:
        assert facts(journal) == expected
        assert damaged(place) == 0


@pytest.mark.parametrize("count", [2, 40, 600], ids=["part-of-a-line", "most-of-a-line", "several-lines"])
@pytest.mark.parametrize("byte", [b"x", b" ", b"\xff"])
def test_an_end_that_was_overwritten_is_damaged_and_its_position_is_not_used_again(
    place: Path, count: int, byte: bytes
) -> None:
    with journal_in(place) as journal:
        fill(journal)
        ended = journal.state.journal
    (file,) = segments(place)
    spoilt = file.read_bytes()[:-count] + byte * count
    file.write_bytes(spoilt)
    journal = Journal(place, 4)
    journal.load_to_append(ended)
    append(journal, attempt(70))
    expected = facts(journal)
    journal.close()
    assert content(place).startswith(spoilt + b"\n")
    assert damaged(place) == 1
    with journal_in(place) as journal:
        assert facts(journal) == expected


@SIZES
def test_a_last_line_that_lacks_only_its_newline_is_given_it_back(place: Path, size: int) -> None:
    with journal_in(place, size) as journal:
        fill(journal)
        append(journal, attempt(60, 1, BAD))
        expected = facts(journal)
    last = segments(place)[-1]
    whole = content(place)
    last.write_bytes(last.read_bytes()[:-1])
    with journal_in(place, size) as journal:
        assert facts(journal) == expected
    assert content(place) == whole


@pytest.mark.parametrize("place_in_line", [0, 3, 8, 12, 17, 18, 40, 90, -3, -2])
def test_a_broken_line_is_skipped_and_its_attempt_counts_as_never_made(place: Path, place_in_line: int) -> None:
    with journal_in(place) as journal:
        append(journal, attempt(0, 1, OK))
        start, length = append(journal, attempt(1, 1, OK))
        append(journal, attempt(2, 1, BAD))
    (file,) = segments(place)
    spoilt = bytearray(file.read_bytes())
    spoilt[start + place_in_line % (length - 1)] ^= 0x01
    file.write_bytes(spoilt)
    with journal_in(place) as journal:
        assert damaged(place) == 1
        assert journal.state.first.passed(1000) == 1100
        assert journal.state.first.passed(1100) is None
        assert journal.state.first.passed(1200) == 1300
        assert journal.state.retrying == [1, 0, 0, 0]
        append(journal, attempt(1, 1, OK))
        assert journal.state.first.cursor == 1300


def test_a_segment_whose_snapshot_is_broken_is_read_from_the_one_before_it(place: Path) -> None:
    with journal_in(place, 700) as journal:
        fill(journal)
        expected = facts(journal)
    for name in segments(place)[1:]:
        spoilt = bytearray(name.read_bytes())
        spoilt[40] ^= 1
        name.write_bytes(spoilt)
    with journal_in(place, 700) as journal:
        assert facts(journal) == expected


# --- a segment that was begun and not finished


@pytest.mark.parametrize("left", [b"", b'{"crc":"0000', b"\0" * 70], ids=["empty", "torn", "zeros"])
def test_a_segment_that_a_crash_left_unfinished_still_begins_with_a_snapshot(place: Path, left: bytes) -> None:
    with journal_in(place, 300) as journal:
        while journal.state.journal < 300:
            append(journal, attempt(journal.state.journal, 1, BAD))
        expected = facts(journal)
    (place / "journal" / f"{expected['journal']:020d}.jsonl").write_bytes(left)

    with journal_in(place, 300) as journal:
        assert facts(journal) == expected
        append(journal, attempt(60))
        expected = facts(journal)

    with journal_in(place, 300) as journal:
        assert facts(journal) == expected
    assert [type(found) for found in first_lines(place)] == [Snapshot, Snapshot]


@pytest.mark.parametrize("left", [b"", b'{"crc":"0000'], ids=["empty", "torn"])
def test_a_segment_that_lost_its_last_newline_does_not_stop_the_one_that_a_crash_left_unfinished(
    place: Path, left: bytes
) -> None:
    with journal_in(place, 300) as journal:
        while journal.state.journal < 300:
            append(journal, attempt(journal.state.journal, 1, BAD))
        end = journal.state.journal
    (first,) = segments(place)
    first.write_bytes(first.read_bytes()[:-1] + b"x")
    (place / "journal" / f"{end:020d}.jsonl").write_bytes(left)

    with journal_in(place, 300) as journal:
        append(journal, attempt(60))
        expected = facts(journal)
    with journal_in(place, 300) as journal:
        assert facts(journal) == expected
        assert journal.state.first.passed(1000 + 60 * 100) is not None


def test_a_segment_that_a_crash_left_empty_has_its_name_on_disk_before_a_checkpoint_counts_on_it(place: Path) -> None:
    with journal_in(place, 300) as journal:
        while journal.state.journal < 300:
            append(journal, attempt(journal.state.journal, 1, BAD))
        end = journal.state.journal
    # The process that made it was killed before it could sync the directory.
    (place / "journal" / f"{end:020d}.jsonl").touch()
    with journal_in(place, 300) as journal, listened() as calls:
        append(journal, attempt(60))
        journal.save()
    assert "sync_directory" in calls[: calls.index("replace")]


def append_and_die(place: Path, step: int) -> None:
    with journal_in(place, 400) as journal:
        left = step

        def listen(frame: FrameType, event: str, function: object) -> None:
            nonlocal left
            # Becoming another user changes no file.
            is_owner = frame.f_code.co_filename.endswith("owner.py")
            if not is_owner and event == "c_call" and getattr(function, "__module__", "") in {"posix", "fcntl"}:
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(listen)
        journal.append([attempt(20, 1, BAD), attempt(21, 1, OK)])
        journal.save()
        sys.setprofile(None)


@pytest.mark.parametrize("events", [0, 2, 3, 4], ids=lambda events: f"after-{events}")
def test_wherever_recording_is_killed_both_attempts_are_known_or_neither(events: int) -> None:
    killed = 0
    for step in range(1, 120):
        with directory() as path:
            place = path / "dst_1"
            Journal.create(place, joined(1000, 4))
            with journal_in(place, 400) as journal:
                for event in range(events):
                    append(journal, attempt(event))
                before = facts(journal)
            child = FORKS.Process(target=append_and_die, args=(place, step))
            child.start()
            child.join(60)
            with journal_in(place, 400) as journal:
                known = [journal.state.first.passed(1000 + event * 100) is not None for event in (20, 21)]
                assert known in ([True, True], [False, False])
                assert journal.state.retrying == [int(known[0]), 0, 0, 0]
                assert journal.state.first.cursor == before["first"][0]
                append(journal, attempt(30, 1, BAD))
                expected = facts(journal)
            with journal_in(place, 400, to_append=False) as reader:
                assert facts(reader) == expected
                assert damaged(place) == 0
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL
        killed += 1
    assert killed > 4
    assert child.exitcode == 0


# --- a full disk


@pytest.mark.parametrize("size", [300, 1 << 26], ids=["next-segment", "same-segment"])
@pytest.mark.parametrize("leaving", [0, 4096, 8192])
def test_on_a_full_disk_nothing_is_recorded_and_the_journal_is_as_it_was(
    tmp_path: Path, size: int, leaving: int
) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, "size=256k"):
        place = disk / "dst_1"
        Journal.create(place, joined(1000, 4))
        with journal_in(place, size) as journal:
            while journal.state.journal < 400:
                append(journal, attempt(journal.state.journal, 1, BAD))
            before, whole = facts(journal), content(place)
            with filled(disk, leaving):
                for _ in range(2):
                    with pytest.raises(OSError, match="No space left"):
                        journal.append([attempt(20, 1, BAD, excerpt="x" * 20_000), attempt(21)])
                    now = facts(journal)
                    assert {**now, "journal": 0} == {**before, "journal": 0}
                    assert content(place).startswith(whole)
            append(journal, attempt(20, 1, BAD))
            expected = facts(journal)
        with journal_in(place, size) as journal:
            assert facts(journal) == expected
        assert all(isinstance(found, Snapshot) for found in first_lines(place))


def test_a_disk_too_full_for_a_checkpoint_costs_only_time(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, "size=256k"):
        place = disk / "dst_1"
        Journal.create(place, joined(1000, 4))
        with journal_in(place) as journal:
            journal.save()
            old = (place / "checkpoint.json").read_bytes()
            fill(journal)
            with filled(disk):
                journal.save()
                assert (place / "checkpoint.json").read_bytes() == old
                assert {name.name for name in place.iterdir()} == {"journal", "checkpoint.json"}
            expected = facts(journal)
        with journal_in(place) as journal:
            assert facts(journal) == expected
            journal.save()
        assert (place / "checkpoint.json").read_bytes() != old


def test_an_operators_drop_is_a_line_too(place: Path) -> None:
    with journal_in(place) as journal:
        start, length = append(journal, attempt(0, 1, BAD))
        journal.append([DropLine(1000, 100, "evt_0", "ping", "drop", 2, AT, (start, length))])
        assert journal.state.retrying == [0, 0, 0, 0]
    with journal_in(place) as journal:
        assert journal.state.retrying == [0, 0, 0, 0]
        assert journal.state.first.cursor == 1100
