"""Files and locks, on a real file system and against real processes."""

import itertools
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from arkcli.system import files


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def child(code: str, *arguments: object) -> Iterator["subprocess.Popen[str]"]:
    """A process that runs the code, and is gone at the end of the block."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


READER = """
import sys
from pathlib import Path
path, torn, seen, changes = Path(sys.argv[1]), 0, "", 0
while changes < 50:
    text = path.read_text()
    torn += len(text) != 200_000 or len(set(text)) != 1
    changes += text[:1] != seen
    seen = text[:1]
print(torn)
"""


def test_a_line_file_keeps_what_it_holds_and_ends_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    for line in (b"one", b"two"):
        file = files.LineFile(path)
        file.append(line)
        file.close()
    assert path.read_bytes() == b"one\ntwo\n"
    assert path.stat().st_mode & 0o777 == files.FILE_MODE
    path.write_bytes(b"one\ntw")
    files.LineFile(path).append(b"three")
    assert path.read_bytes() == b"one\ntw\nthree\n"


def test_a_line_file_that_is_rotated_goes_on_in_a_new_one(tmp_path: Path) -> None:
    path, moved = tmp_path / "lines", tmp_path / "lines.1"
    file = files.LineFile(path)
    file.append(b"one")
    path.rename(moved)
    file.append(b"two")
    assert (moved.read_bytes(), path.read_bytes()) == (b"one\n", b"two\n")
    assert path.stat().st_mode & 0o777 == files.FILE_MODE
    path.unlink()
    # As logrotate's `create` does it.
    path.write_bytes(b"to")
    file.append(b"three")
    assert path.read_bytes() == b"to\nthree\n"
    # As its `copytruncate` does it.
    os.truncate(path, 0)
    file.append(b"four")
    assert path.read_bytes() == b"four\n"


def test_a_reader_in_another_process_sees_the_old_or_the_new_content_and_never_a_part(tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.replace(path, b"a" * 200_000)
    with child(READER, path) as reader:
        for data in itertools.islice(itertools.cycle((b"b" * 200_000, b"a" * 200_000)), 100_000):
            files.replace(path, data, durable=False)
            if reader.poll() is not None:
                break
        assert said(reader) == "0"


def test_replacing_leaves_one_file_with_the_new_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for data in (b"first", b"second, and longer", b""):
        files.replace(path, data)
        assert path.read_bytes() == data
        assert list(tmp_path.iterdir()) == [path]


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    directory = tmp_path / "directory"
    before = os.listdir("/dev/fd")  # noqa: PTH208 - a Path would be of no use here
    files.make_directory(directory)
    files.replace(directory / "file", b"x")
    with pytest.raises(IsADirectoryError):
        files.replace(directory, b"x")
    files.Lock(directory / "lock").close()
    assert os.listdir("/dev/fd") == before  # noqa: PTH208 - nor here


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_a_file_is_its_users_alone_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    with umask(mask):
        files.replace(tmp_path / "replaced", b"x")
        os.close(files.open_private(tmp_path / "opened", os.O_WRONLY | os.O_CREAT))
        files.Lock(tmp_path / "lock").close()
    assert {path.name: mode(path) for path in tmp_path.iterdir()} == {"replaced": 0o600, "opened": 0o600, "lock": 0o600}


def test_replacing_a_file_that_others_could_read_makes_it_its_users_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch(0o644)
    files.replace(path, b"x")
    assert mode(path) == 0o600


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o777])
def test_a_directory_and_its_new_parents_are_its_users_alone_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    with umask(mask):
        files.make_directory(tmp_path / "a" / "b" / "c")
    assert [mode(tmp_path / path) for path in ("a", "a/b", "a/b/c")] == [0o700, 0o700, 0o700]


def test_a_directory_that_exists_is_left_alone(tmp_path: Path) -> None:
    found = tmp_path / "found"
    found.mkdir(mode=0o750)
    files.make_directory(found)
    assert mode(found) == 0o750


FULL = """
import resource, sys
from pathlib import Path
from arkcli.system import files
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    files.replace(Path(sys.argv[1]), b"new" * 1000)
except OSError as error:
    print(error.strerror)
"""


def test_a_file_that_cannot_be_written_is_as_it_was_and_no_temporary_file_is_left(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with child(FULL, path) as process:
        assert said(process) == "File too large"
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_replacing_what_is_no_file_leaves_no_temporary_file(tmp_path: Path) -> None:
    directory = tmp_path / "directory"
    directory.mkdir()
    with pytest.raises(IsADirectoryError):
        files.replace(directory, b"x")
    assert list(tmp_path.iterdir()) == [directory]


@pytest.mark.parametrize(
    "flags", [os.O_RDONLY, os.O_RDWR, os.O_RDWR | os.O_CREAT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC]
)
def test_a_symbolic_link_is_not_followed(tmp_path: Path, flags: int) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"precious")
    link.symlink_to(target)
    with pytest.raises(OSError, match="symbolic links"):
        files.open_private(link, flags)
    assert target.read_bytes() == b"precious"


def test_a_symbolic_link_to_nothing_makes_nothing(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic links"):
        files.open_private(tmp_path / "link", os.O_RDWR | os.O_CREAT)
    assert not (tmp_path / "target").exists()


def test_an_open_file_is_not_inherited_by_a_child(tmp_path: Path) -> None:
    descriptor = files.open_private(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    try:
        assert not os.get_inheritable(descriptor)
        descriptor = files.out_of_selects_way(descriptor)
        assert not os.get_inheritable(descriptor)
    finally:
        os.close(descriptor)


def test_bytes_are_written_at_their_position(tmp_path: Path) -> None:
    descriptor = files.open_private(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    try:
        files.write_all(descriptor, b"0123456789", 0)
        files.write_all(descriptor, b"ab", 4)
        files.write_all(descriptor, b"", 0)
        files.truncate(descriptor, 8)
        files.sync(descriptor)
    finally:
        os.close(descriptor)
    assert (tmp_path / "file").read_bytes() == b"0123ab67"


PLANTED = """
import os, sys
from pathlib import Path
from arkcli.system import files
path = Path(sys.argv[1])
names = [f".{path.name}.{os.getpid()}.tmp", f".{path.name}.tmp", f".reserve-{os.getpid()}"]
spies = [open(path.with_name(name), "wb+") for name in names]
files.replace(path, b"secret")
os.pwrite(files.reserve(path.parent, 6), b"secret", 0)
print([spy.read() for spy in spies], sorted(set(os.listdir(path.parent)) - set(names)))
"""


def test_what_somebody_else_put_under_a_name_that_can_be_foreseen_is_never_written_to(tmp_path: Path) -> None:
    with child(PLANTED, tmp_path / "file") as process:
        assert said(process) == "[b'', b'', b''] ['file']"


STUCK = """
import sys
from pathlib import Path
from arkcli.system import files
def pieces():
    yield b"the first piece"
    print("begun", flush=True)
    sys.stdin.readline()
    yield b", and the second"
files.replace(Path(sys.argv[1]), pieces())
"""


def test_what_a_killed_writer_left_is_removed_by_the_next_and_what_a_running_one_writes_is_not(tmp_path: Path) -> None:
    path, other = tmp_path / "file", tmp_path / ".other.abcdefgh.tmp"
    other.write_bytes(b"of another file")
    with child(STUCK, path) as killed, child(STUCK, path) as running:
        assert (said(killed), said(running)) == ("begun", "begun")
        killed.kill()
        killed.wait()
        assert len(list(tmp_path.glob(".file.*.tmp"))) == 2
        files.replace(path, b"whole")
        assert len(list(tmp_path.glob(".file.*.tmp"))) == 1
        running.communicate("go on\n")
    assert path.read_bytes() == b"the first piece, and the second"
    assert sorted(tmp_path.iterdir()) == [other, path]


def test_a_file_that_a_writer_has_only_just_made_is_not_taken_for_left_over(tmp_path: Path) -> None:
    fresh = tmp_path / ".file.abcdefgh.tmp"
    fresh.touch()
    files.replace(tmp_path / "file", b"x")
    assert fresh.exists()


def test_removing_what_is_not_there_is_as_good(tmp_path: Path) -> None:
    files.unlink(tmp_path / "missing")
    files.remove_tree(tmp_path / "missing")


HOLDER = """
import sys
from pathlib import Path
from arkcli.system.files import Lock
lock = Lock(Path(sys.argv[1]))
lock.acquire(shared=sys.argv[2] == "shared")
lock.sign("process of a test")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("kind", ["shared", "exclusive"])
def test_a_lock_is_free_as_soon_as_its_holder_is_killed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "lock"
    lock = files.Lock(path)
    with child(HOLDER, path, kind) as holder:
        assert said(holder) == "held"
        assert not lock.try_acquire()
        holder.kill()
        holder.wait()
        assert lock.try_acquire()
    lock.close()


def test_a_lock_that_is_left_over_means_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text("process 1 (drain)")
    lock = files.Lock(path)
    assert lock.try_acquire()
    lock.close()


def test_a_shared_lock_is_taken_where_there_is_one_and_never_made(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with files.shared_if_possible(path):
        assert not path.exists()
    other = files.Lock(path)
    with files.shared_if_possible(path):
        assert not other.try_acquire()
    assert other.try_acquire()


def test_only_one_at_a_time_holds_a_lock(tmp_path: Path) -> None:
    one, other = files.Lock(tmp_path / "lock"), files.Lock(tmp_path / "lock")
    with one.held():
        assert not other.try_acquire()
    assert other.try_acquire()
    assert not one.try_acquire()
    other.close()
    assert one.try_acquire()
    one.close()


LOOKERS = """
import sys
from pathlib import Path
from arkcli.system.files import Lock
one, other, third = (Lock(Path(sys.argv[1])) for _ in range(3))
with one.held(shared=True), other.held(shared=True):
    print(third.try_acquire())
print(third.try_acquire())
"""


def test_several_at_a_time_may_look(tmp_path: Path) -> None:
    # In a process with a time limit, since a lock that is not shared would wait for itself.
    command = [sys.executable, "-c", LOOKERS, str(tmp_path / "lock")]
    assert subprocess.run(command, capture_output=True, timeout=20, check=True).stdout.split() == [b"False", b"True"]


def test_a_lock_is_given_back_when_its_block_raises(tmp_path: Path) -> None:
    one, other = files.Lock(tmp_path / "lock"), files.Lock(tmp_path / "lock")
    with pytest.raises(KeyError), one.held():
        raise KeyError
    assert other.try_acquire()
    one.close()
    other.close()


def test_a_lock_says_who_held_it_last(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert files.read_holder(path) == ""
    lock = files.Lock(path)
    lock.sign("4711 a drain with a long name")
    lock.sign("42 send")
    assert files.read_holder(path) == "42 send"
    lock.close()


LIMITED = """
import resource, sys
from pathlib import Path
from arkcli.system import files, process
soft, hard = int(sys.argv[2]), resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
if sys.argv[3] == "raised":
    process.prepare()
lock = files.Lock(Path(sys.argv[1]))
print(lock._descriptor > 1023, lock.try_acquire())
"""


@pytest.mark.parametrize(("limit", "then", "high"), [(256, "as it is", False), (256, "raised", True)])
def test_a_lock_stays_out_of_selects_way_where_the_limit_on_open_files_allows_it(
    tmp_path: Path, limit: int, then: str, high: bool
) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if high and 0 <= hard <= 1024:
        pytest.skip(f"the system's own limit on open files is {hard}")
    with child(LIMITED, tmp_path / "lock", limit, then) as process:
        assert said(process) == f"{high} True"
