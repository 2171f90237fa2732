"""What ark does where Python is like on macOS, in child processes; and that the imitation is what it says."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.darwin import lacking

#: In a session that runs on a Mac, or as if, nothing more has to be imitated.
ALREADY: Final = "AS_ON_MACOS" in os.environ or not hasattr(os, "fdatasync")


@pytest.fixture(scope="module")
def mac(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process that is like one on macOS."""
    home = tmp_path_factory.mktemp("home")
    made = {} if ALREADY else lacking.variables(home)
    return {**os.environ, **made, "HOME": str(home), "ARK_CONFIG_DIR": f"{home}/c", "ARK_STATE_DIR": f"{home}/s"}


def said(mac: dict[str, str], code: str, *args: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code, *args], env=mac, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    return done.stdout.splitlines()


def test_what_macos_lacks_is_read_from_typeshed() -> None:
    found = set(lacking.lacking())
    assert {("os", "fdatasync"), ("posix", "memfd_create"), ("select", "epoll"), ("socket", "SOCK_CLOEXEC")} <= found
    assert (("os", "waitid") in found) is (sys.version_info < (3, 13))
    assert not found & {("os", "fsync"), ("os", "fork"), ("fcntl", "flock"), ("socket", "MSG_DONTWAIT")}


SURROUNDINGS: Final = """
import fcntl, multiprocessing, os, resource, selectors, socket
from pathlib import Path
print(hasattr(os, "fdatasync"), hasattr(os, "O_TMPFILE"), hasattr(socket, "SO_PEERCRED"), hasattr(fcntl, "F_FULLFSYNC"))
print(selectors.DefaultSelector.__name__ != "EpollSelector", multiprocessing.get_start_method())
print(Path("/proc").exists(), Path("/dev/full").exists(), os.access("/proc/self", os.R_OK), Path("/dev/fd").exists())
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
print(soft, hard == resource.RLIM_INFINITY)
for limit in (hard, 10_241, 10_240):
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        print("allowed", limit)
    except ValueError:
        print("refused")
"""


@pytest.mark.skipif(ALREADY, reason="the limits have been raised")
def test_a_process_finds_what_one_on_macos_would_find(mac: dict[str, str]) -> None:
    assert said(mac, SURROUNDINGS) == [
        "False False False True",
        "True spawn",
        "False False False True",
        "256 True",
        "refused",
        "refused",
        "allowed 10240",
    ]


def test_the_demo_runs(mac: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "arkcli", "demo", "--json"], env=mac, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert '"answers": [503, 200]' in done.stdout


def test_the_limit_on_open_files_is_raised_as_far_as_macos_allows(mac: dict[str, str]) -> None:
    code = """
from arkcli.system import descriptors
descriptors.raise_limit()
descriptors.raise_limit()
print(descriptors.limit())
"""
    assert said(mac, code) == ["10240"]


SYNC: Final = """
import errno, fcntl, os, sys
from pathlib import Path
number, calls = int(sys.argv[2]), []
def full(descriptor, command, *_):
    calls.append("full" if command == fcntl.F_FULLFSYNC else command)
    if number:
        raise OSError(number, os.strerror(number))
fcntl.fcntl = full
from arkcli.system import files
plain = os.fsync
os.fsync = files._sync_data = lambda descriptor: calls.append("plain") or plain(descriptor)
directory = Path(sys.argv[1])
descriptor = files.open_private(directory / f"{number}", os.O_RDWR | os.O_CREAT)
for step in (lambda: files.sync(descriptor), lambda: files.sync_directory(directory)):
    try:
        step()
    except OSError as error:
        calls.append(errno.errorcode[error.errno])
print(*calls)
"""


@pytest.mark.parametrize(
    ("number", "calls"),
    [
        (0, "full full"),
        (errno.ENOTSUP, "full plain full plain"),
        (errno.EINVAL, "full plain full plain"),
        (errno.ENOTTY, "full plain full plain"),
        (errno.EIO, "full EIO full EIO"),
    ],
)
def test_a_file_is_synced_to_the_drive_and_plainly_only_where_that_cannot_be_asked_for(
    mac: dict[str, str], tmp_path: Path, number: int, calls: str
) -> None:
    assert said(mac, SYNC, str(tmp_path), str(number)) == [calls]


APPEND: Final = """
import os, sys
from pathlib import Path
from arkcli.system.files import LineFile
files = [LineFile(Path(sys.argv[1])) for _ in range(2)]
# As if the other process had appended after the look at the size.
class Found:
    st_size = 0
    def __init__(self, found):
        self.st_ino, self.st_dev = found.st_ino, found.st_dev
os.fstat = lambda descriptor, real=os.fstat: Found(real(descriptor))
for number, file in enumerate(files):
    file.append(b"line %d" % number)
"""


def test_lines_of_two_processes_do_not_overwrite_one_another(mac: dict[str, str], tmp_path: Path) -> None:
    said(mac, APPEND, str(tmp_path / "lines"))
    assert (tmp_path / "lines").read_bytes() == b"line 0\nline 1\n"
