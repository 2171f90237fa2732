"""Room filled in advance: small writes in a row leave the size of the file, and no reader takes room for a line."""

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from arkcli.errors import NotAccepted, Replaced
from arkcli.model import DOCUMENTED, Draft
from arkcli.queue.local.check import Inspection
from arkcli.queue.local.eventlog import EventLog
from arkcli.queue.local.notes import MARK, read_mark
from arkcli.queue.local.queue import LocalQueue
from arkcli.queue.local.stored import StoredEvent
from arkcli.system import files
from tests.queue.local.machine import filled, in_processes, small_disk
from tests.queue.local.test_eventlog import AT, TORN, die_at_call, directory, draft, drafts, ids, log_in, read_all

#: More small writes than it takes.
MANY = 20
SIZES = pytest.mark.parametrize("size", [400, 1 << 26], ids=["small-segments", "one-segment"])


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with directory() as path:
        yield path


def one_by_one(log: EventLog, first: int, count: int) -> list[StoredEvent]:
    return [log.accept(drafts(number))[0] for number in range(first, first + count)]


def fill_and_die(path: Path, size: int = 1 << 26) -> None:
    """Accepts many events, one by one, and leaves everything as it is."""
    one_by_one(EventLog(path, size), 0, MANY)
    os.kill(os.getpid(), signal.SIGKILL)


def left_filled(path: Path, size: int = 1 << 26) -> Path:
    """A log with room in its last segment, which is returned."""
    assert in_processes(fill_and_die, (path, size)) == [-signal.SIGKILL]
    last = max(path.glob("*.jsonl"))
    assert last.read_bytes().endswith(b"\t" * 1000)
    return last


def problems(path: Path) -> list[str]:
    return [found.problem for found in Inspection(path.parent, list, os.R_OK).run().damaged]


def names(first: int, count: int) -> list[str]:
    return [f"evt_{number}" for number in range(first, first + count)]


def test_small_writes_in_a_row_leave_the_size_of_the_file_as_it_is(tmp_path: Path) -> None:
    with log_in(tmp_path) as log:
        accepted = one_by_one(log, 0, MANY)
        (file,) = tmp_path.glob("*.jsonl")
        size = file.stat().st_size
        accepted += one_by_one(log, MANY, 100)
        assert file.stat().st_size == size
        assert (log.end, log.look()) == (accepted[-1].position + accepted[-1].length,) * 2
        assert read_all(log) == accepted
        assert log.totals == (MANY + 100, log.end)
    # Another JSON reader passes over room, too.
    assert [json.loads(line)["id"] for line in file.read_bytes().splitlines()] == names(0, MANY + 100)


def test_a_few_writes_fill_nothing(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    one_by_one(log, 0, 3)
    (file,) = tmp_path.glob("*.jsonl")
    assert b"\t" not in file.read_bytes()
    log.close()


def test_into_room_events_are_accepted_without_a_look_at_a_file_s_times(tmp_path: Path) -> None:
    """Since Linux 6.13 a write stores a new time after such a look, and its sync takes half as long again."""
    called: list[str] = []

    def note(_frame: object, event: str, function: object) -> None:
        if event == "c_call":
            called.append(getattr(function, "__name__", ""))

    with closing(LocalQueue(tmp_path.parent, DOCUMENTED)) as queue:
        for number in range(MANY + 10):
            if number == MANY:
                sys.setprofile(note)
            queue.accept(drafts(number))
        sys.setprofile(None)
        assert [event.id for event in queue.events()] == names(0, MANY + 10)
    # The line and the mark.
    assert called.count("pwrite") == 20
    # Only of the two directories and VERSION, to which nothing is written.
    assert called.count("stat") == 30
    assert {"fstat", "lstat", "scandir"}.isdisjoint(called)


@SIZES
def test_another_process_sees_each_event_at_once_and_may_accept_in_between(tmp_path: Path, size: int) -> None:
    with log_in(tmp_path, size) as one, log_in(tmp_path, size) as other:
        accepted = one_by_one(one, 0, MANY)
        for number in range(MANY, 3 * MANY, 2):
            accepted += one.accept(drafts(number))
            assert other.look() == one.end
            accepted += other.accept(drafts(number + 1))
            assert read_all(other) == accepted
        assert one.look() == other.end
        assert read_all(one) == accepted


def test_what_others_did_between_two_events_is_noticed(tmp_path: Path) -> None:
    mark_file = tmp_path.parent / MARK

    def trim() -> None:
        # Its last write finds no room, and closing cuts off its own.
        with log_in(tmp_path, 5000) as other:
            one_by_one(other, 0, MANY)

    def begin_a_segment() -> None:
        with log_in(tmp_path, 1) as other:
            other.accept(drafts(1))

    def begin_a_segment_and_die() -> None:
        """Before the mark is written."""
        before = mark_file.read_bytes()
        begin_a_segment()
        mark_file.write_bytes(before)

    def remove_the_first() -> None:
        with log_in(tmp_path, 5000) as other:
            other.remove_before(other.end)

    def replace_the_mark_and_accept() -> None:
        copy = mark_file.with_name("copy")
        copy.write_bytes(mark_file.read_bytes())
        copy.replace(mark_file)
        with log_in(tmp_path, 5000) as other:
            other.accept(drafts(2))

    with log_in(tmp_path, 5000) as log:
        for do in (
            trim,
            begin_a_segment,
            begin_a_segment_and_die,
            remove_the_first,
            replace_the_mark_and_accept,
            trim,
        ):
            one_by_one(log, 0, MANY)
            do()
            with log_in(tmp_path, 5000) as other:
                before, start = read_all(other), other.start
            accepted = one_by_one(log, 100, 3)
            log.look()
            assert read_all(log)[-len(before) - 3 :] == before + accepted
            mark = read_mark(mark_file)
            assert mark is not None
            assert (mark.start, mark.end) == (start, log.end)
            assert problems(tmp_path) == []


def test_a_process_that_goes_on_notices_that_a_segment_or_the_mark_was_removed(tmp_path: Path) -> None:
    with log_in(tmp_path) as log:
        last = one_by_one(log, 0, MANY)[-1]
        (tmp_path.parent / MARK).unlink()
        (second,) = log.accept(drafts(MANY))
        assert read_mark(tmp_path.parent / MARK) is not None
        one_by_one(log, 0, MANY)
        end = log.end
        next(tmp_path.glob("*.jsonl")).unlink()
        third = one_by_one(log, 200, MANY)
        assert (second.position, third[0].position) == (last.position + last.length, end)
    with log_in(tmp_path) as again:
        assert ids(again) == names(200, MANY)
    assert problems(tmp_path) == [f"bytes 0 to {end:,} of the event log are missing"]


def test_a_process_does_not_go_on_in_a_queue_that_was_replaced(tmp_path: Path) -> None:
    away = tmp_path.with_name("away")
    with log_in(tmp_path) as log:
        one_by_one(log, 0, MANY)
        tmp_path.rename(away)
        shutil.copytree(away, tmp_path)
        for do in (lambda: log.accept(drafts(MANY)), log.look):
            with pytest.raises(Replaced, match="removed or replaced while this process used it"):
                do()
        assert list(problems(tmp_path)) == []


def test_in_a_queue_that_was_replaced_it_neither_cuts_off_room_nor_removes_a_segment(tmp_path: Path) -> None:
    """Others accept there under another lock."""
    away = tmp_path.with_name("away")
    log = EventLog(tmp_path)
    one_by_one(log, 0, MANY)
    tmp_path.rename(away)
    shutil.copytree(away, tmp_path)
    with log_in(tmp_path, 400) as other:
        one_by_one(other, MANY, MANY)
        before = {file.name: file.read_bytes() for file in tmp_path.glob("*.jsonl")}
        assert max(before.items())[1].endswith(b"\t")
        with pytest.raises(Replaced):
            log.remove_before(other.end)
        log.close()
        assert {file.name: file.read_bytes() for file in tmp_path.glob("*.jsonl")} == before


def test_while_its_directory_is_away_nothing_is_accepted(tmp_path: Path) -> None:
    away = tmp_path.with_name("away")
    with log_in(tmp_path) as log:
        one_by_one(log, 0, MANY)
        tmp_path.rename(away)
        with pytest.raises(NotAccepted, match="No such file or directory"):
            log.accept(drafts(100))
        with pytest.raises(FileNotFoundError):
            log.look()
        away.rename(tmp_path)
        log.accept(drafts(MANY))
        assert ids(log) == names(0, MANY + 1)


@SIZES
def test_a_killed_process_leaves_room_that_is_no_damage_and_that_the_next_one_uses(tmp_path: Path, size: int) -> None:
    left_filled(tmp_path, size)
    with log_in(tmp_path, size) as log:
        assert ids(log) == names(0, MANY)
        assert problems(tmp_path) == []
        one_by_one(log, MANY, MANY)
        assert ids(log) == names(0, 2 * MANY)
        assert [event.id for event in log.tail(1000)] == ids(log)[-len(log.tail(1000)) :]
        assert log.last_before(log.end) == read_all(log)[-1]
    assert problems(tmp_path) == []


@SIZES
def test_a_closed_log_has_no_room_not_even_what_a_killed_process_left(tmp_path: Path, size: int) -> None:
    left_filled(tmp_path, size)
    with log_in(tmp_path, size) as log, log_in(tmp_path, size) as other:
        one_by_one(log, MANY, MANY)
        other.accept(drafts(2 * MANY))
    text = b"".join(file.read_bytes() for file in sorted(tmp_path.glob("*.jsonl")))
    assert b"\t" not in text
    assert text.count(b"\n") == 2 * MANY + 1


def test_room_is_cut_off_after_a_large_batch_too(tmp_path: Path) -> None:
    with log_in(tmp_path) as log:
        one_by_one(log, 0, MANY)
        log.accept([draft(MANY, size=20_000)])
    (file,) = tmp_path.glob("*.jsonl")
    assert b"\t" not in file.read_bytes()


def test_closing_waits_for_nobody_who_has_the_log_s_lock(tmp_path: Path) -> None:
    """It may be this very thread, if a finalizer closes a log."""
    log = EventLog(tmp_path)
    one_by_one(log, 0, MANY)
    with closing(files.Lock(tmp_path / "lock")) as lock:
        lock.acquire()
        log.close()
    with log_in(tmp_path) as again:
        assert ids(again) == names(0, MANY)


def test_only_the_last_segment_has_room(tmp_path: Path) -> None:
    left_filled(tmp_path, 400)
    segments = sorted(tmp_path.glob("*.jsonl"))
    assert len(segments) > 5
    for one, following in pairwise(segments):
        assert int(one.stem) + one.stat().st_size == int(following.stem)


@pytest.mark.parametrize("tail", TORN, ids=len)
def test_a_torn_line_in_the_room_is_cut_before_the_next_is_written(tmp_path: Path, tail: bytes) -> None:
    file = left_filled(tmp_path)
    with log_in(tmp_path) as log:
        with file.open("r+b") as opened:
            opened.seek(log.end)
            opened.write(tail)
        assert ids(log) == names(0, MANY)
        log.accept(drafts(MANY))
        assert ids(log) == names(0, MANY + 1)
    assert problems(tmp_path) == []


def test_a_large_batch_goes_over_the_room(tmp_path: Path) -> None:
    left_filled(tmp_path)
    with log_in(tmp_path) as log:
        log.accept([draft(number, size=400) for number in range(MANY, 10 * MANY)])
        one_by_one(log, 10 * MANY, MANY)
        assert ids(log) == names(0, 11 * MANY)
    assert problems(tmp_path) == []


def test_a_body_may_have_tabs_wherever_it_may_have_white_space(tmp_path: Path) -> None:
    left_filled(tmp_path)
    bodies = [b'\t{"n":\t%d\t}\t\t' % number for number in range(2 * MANY)]
    with log_in(tmp_path) as log:
        for number, body in enumerate(bodies):
            log.accept([Draft(f"evt_{number}", "ping", AT, body, None)])
            assert [event.body for event in log.tail(1 << 20)][MANY:] == bodies[: number + 1]


def test_a_line_that_was_blanked_is_not_taken_for_room(tmp_path: Path) -> None:
    """`queue check --repair` overwrites a damaged line with spaces."""
    file = left_filled(tmp_path)
    with log_in(tmp_path) as sleeping, log_in(tmp_path) as log:
        one, other = log.accept(drafts(MANY)) + log.accept(drafts(MANY + 1))
        with file.open("r+b") as opened:
            opened.seek(one.position)
            opened.write(b" " * (one.length - 1))
        assert sleeping.look() == log.end
        assert read_all(sleeping)[-1] == other


def test_lines_that_are_written_while_the_log_is_checked_are_no_damage(tmp_path: Path) -> None:
    """The check has read a part of the room that lines are then written over, and the rest after that."""
    left_filled(tmp_path)
    with log_in(tmp_path) as log:

        def accept(_frame: object, event: str, function: object) -> None:
            if event == "c_call" and getattr(function, "__name__", "") == "readline":
                read.append(1)
                if len(read) == 2:
                    sys.setprofile(None)
                    one_by_one(log, MANY, 5 * MANY)

        read: list[int] = []
        sys.setprofile(accept)
        assert problems(tmp_path) == []
        assert len(ids(log)) == 6 * MANY


def test_where_lines_are_gone_that_were_accepted_room_does_not_hide_it(tmp_path: Path) -> None:
    file = left_filled(tmp_path)
    text = file.read_bytes().rstrip(b"\t")
    cut = text.rindex(b"\n", 0, -1) + 1
    file.write_bytes(text[:cut] + b"\t" * 70_000)
    assert problems(tmp_path) == [f"bytes {cut:,} to {len(text):,} of the event log are missing, and with them 1 event"]
    with log_in(tmp_path) as log:
        assert log.accept(drafts(MANY))[0].position == len(text)


def test_on_a_disk_with_room_for_the_line_alone_it_is_accepted(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, "size=256k"), log_in(disk) as log:
        one_by_one(log, 0, 16)
        with filled(disk, 8192):
            accepted = log.accept(drafts(16))
            assert log.look() == log.end == accepted[0].position + accepted[0].length
        one_by_one(log, 17, 10)
        assert ids(log) == names(0, 27)


def accept_and_die(path: Path, size: int, before: int, step: int, said: Path) -> None:
    log = EventLog(path, size)
    one_by_one(log, MANY, before)
    die_at_call(step)
    log.accept(drafts(100))
    log.close()
    sys.setprofile(None)
    said.touch()


@pytest.mark.parametrize(
    ("size", "before", "is_left"), [(400, 16, False), (1 << 26, 0, True)], ids=["makes-room", "into-room"]
)
def test_wherever_accepting_is_killed_nothing_is_lost(size: int, before: int, is_left: bool) -> None:
    for step in range(1, 200):
        with directory() as path:
            if is_left:
                left_filled(path, size)
            else:
                with log_in(path, size) as log:
                    one_by_one(log, 0, MANY)
            said = path / "said"
            (code,) = in_processes(accept_and_die, (path, size, before, step, said))
            with log_in(path, size) as log:
                found = ids(log)
                whole = [*names(0, MANY + before), "evt_100"]
                assert found == whole[: len(found)]
                assert len(found) >= MANY + before + said.exists()
                log.accept(drafts(200))
                assert ids(log) == [*found, "evt_200"]
            assert problems(path) == []
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert step > 8
    assert code == 0
