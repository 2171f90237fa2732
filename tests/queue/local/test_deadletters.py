"""Dead letters: full copies, kept through torn and broken lines and a full disk."""

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arkcli import times
from arkcli.queue.local import lines
from arkcli.queue.local.deadletters import DeadLetters
from arkcli.queue.local.lines import DeadLine
from tests.queue.local.machine import listened
from tests.world import START

AT: Final = times.to_text(START)


def letter(number: int, size: int = 0) -> DeadLine:
    body = b'{"number":%d,"fill":"%b"}' % (number, b"x" * size)
    return DeadLine(number * 1000, 200, f"evt_{number}", AT, "signal.promoted", AT, body, 500, "HTTP 500")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "dead.jsonl"


def test_where_nothing_died_there_is_no_file_and_no_letter(path: Path) -> None:
    assert list(DeadLetters(path)) == []
    assert not path.exists()


@pytest.mark.parametrize("batches", [[[1]], [[1, 2, 3]], [[3], [1], [2]], [[2, 1], [], [3]]])
def test_letters_are_kept_in_the_order_in_which_they_died_body_and_all(path: Path, batches: list[list[int]]) -> None:
    for batch in batches:
        DeadLetters(path).keep([letter(number) for number in batch])
    expected = [letter(number) for batch in batches for number in batch]
    assert list(DeadLetters(path)) == expected
    assert path.read_bytes() == b"".join(lines.encode_dead(found) for found in expected)


def test_the_file_is_for_its_user_alone_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        DeadLetters(path).keep([letter(1)])
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_letter_is_on_disk_when_it_is_said_to_be_kept(path: Path) -> None:
    DeadLetters(path).keep([letter(1)])
    with listened() as calls:
        DeadLetters(path).keep([letter(2)])
    assert calls.index("pwrite") < calls.index("sync")


def test_so_is_the_name_of_a_new_file(path: Path) -> None:
    with listened() as calls:
        DeadLetters(path).keep([letter(1)])
    assert "sync_directory" in calls


WHOLE: Final = lines.encode_dead(letter(9))[:-1]


@pytest.mark.parametrize(
    "tail", [WHOLE[:1], WHOLE[:8], WHOLE[:90], WHOLE[:-1], b"\0" * 500], ids=lambda tail: str(len(tail))
)
@pytest.mark.parametrize("found", [[], [1], [1, 2]], ids=["empty", "one", "two"])
def test_a_torn_last_letter_is_passed_over_and_cut_before_the_next(path: Path, tail: bytes, found: list[int]) -> None:
    letters = [letter(number) for number in found]
    path.write_bytes(b"".join(lines.encode_dead(one) for one in letters) + tail)
    assert list(DeadLetters(path)) == letters
    DeadLetters(path).keep([letter(3)])
    assert list(DeadLetters(path)) == [*letters, letter(3)]
    assert path.read_bytes() == b"".join(lines.encode_dead(found) for found in [*letters, letter(3)])


@pytest.mark.parametrize("tail", [WHOLE[:20] + WHOLE[:90], b"x" * 200_000], ids=["two-lines", "others"])
def test_an_end_that_was_overwritten_stays_as_a_damaged_line(path: Path, tail: bytes) -> None:
    before = lines.encode_dead(letter(1)) + tail
    path.write_bytes(before)
    DeadLetters(path).keep([letter(3)])
    assert path.read_bytes() == before + b"\n" + lines.encode_dead(letter(3))
    assert list(DeadLetters(path)) == [letter(1), letter(3)]


def test_a_last_letter_that_lacks_only_its_newline_is_given_it_back(path: Path) -> None:
    DeadLetters(path).keep([letter(1), letter(2)])
    path.write_bytes(path.read_bytes()[:-1])
    assert list(DeadLetters(path)) == [letter(1), letter(2)]
    DeadLetters(path).keep([letter(3)])
    assert list(DeadLetters(path)) == [letter(1), letter(2), letter(3)]


@settings(deadline=None, max_examples=50)
@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))
def test_a_broken_letter_costs_none_of_its_neighbours(
    tmp_path_factory: pytest.TempPathFactory, place: int, byte: int
) -> None:
    path = tmp_path_factory.mktemp("dead") / "dead.jsonl"
    DeadLetters(path).keep([letter(1), letter(9), letter(2)])
    spoilt = bytearray(path.read_bytes())
    start = len(lines.encode_dead(letter(1)))
    changed = spoilt[start + place] != byte
    spoilt[start + place] = byte
    path.write_bytes(spoilt)
    assert list(DeadLetters(path)) == [letter(1), *([] if changed else [letter(9)]), letter(2)]


@pytest.mark.parametrize("broken", [0, 1, 2])
@pytest.mark.parametrize("byte", [b"x", b"\0"])
def test_a_broken_newline_costs_none_of_its_neighbours_and_nothing_when_the_file_is_rewritten(
    path: Path, broken: int, byte: bytes
) -> None:
    letters = [letter(1), letter(2), letter(3)]
    found = [lines.encode_dead(one) for one in letters]
    found[broken] = found[broken][:-1] + byte
    path.write_bytes(b"".join(found))
    neighbours = {one.pos for number, one in enumerate(letters) if number != broken}
    assert set(DeadLetters(path).positions().all) >= neighbours
    DeadLetters(path).keep([letter(4)])
    DeadLetters(path).discard({9000})
    assert set(DeadLetters(path).positions().all) >= neighbours | {4000}


def test_on_a_full_disk_no_letter_is_kept_and_the_file_is_as_it_was(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("filling a disk needs the right to mount one")
    try:
        path = disk / "dead.jsonl"
        DeadLetters(path).keep([letter(1)])
        before = path.read_bytes()
        for _ in range(2):
            with pytest.raises(OSError, match="No space left"):
                DeadLetters(path).keep([letter(2), letter(3, size=200_000)])
            assert path.read_bytes() == before
        DeadLetters(path).keep([letter(2)])
        assert list(DeadLetters(path)) == [letter(1), letter(2)]
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


REFUSE: Final = """
import resource, sys
from pathlib import Path
from arkcli.queue.local.deadletters import DeadLetters
from arkcli.queue.local.lines import DeadLine
resource.setrlimit(resource.RLIMIT_FSIZE, (400, resource.RLIM_INFINITY))
try:
    body = b'{"x":"%b"}' % (b"x" * 500)
    DeadLetters(Path(sys.argv[1])).keep([DeadLine(0, 200, "evt_9", "", "ping", "", body)])
except OSError as error:
    print(error.strerror)
"""


def test_where_the_file_may_not_grow_it_is_as_it_was(path: Path) -> None:
    DeadLetters(path).keep([letter(1)])
    before = path.read_bytes()
    ran = subprocess.run([sys.executable, "-c", REFUSE, str(path)], capture_output=True, text=True, check=True)
    assert ran.stdout == "File too large\n"
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("gone", "left"), [(set(), [1, 2, 3]), ({2000}, [1, 3]), ({1000, 3000, 9000}, [2]), ({1000, 2000, 3000}, [])]
)
@pytest.mark.parametrize("tail", [b"", WHOLE[:90]], ids=["clean", "torn"])
def test_what_is_discarded_is_gone_and_the_rest_stays_byte_for_byte(
    path: Path, gone: set[int], left: list[int], tail: bytes
) -> None:
    DeadLetters(path).keep([letter(number) for number in (1, 2, 3)])
    with path.open("ab") as file:
        file.write(tail)
    DeadLetters(path).discard(gone)
    assert path.read_bytes() == b"".join(lines.encode_dead(letter(number)) for number in left)
    assert set(DeadLetters(path).positions().all) == {number * 1000 for number in left}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
