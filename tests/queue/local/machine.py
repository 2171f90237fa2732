"""What the machine around a queue does: disks that fill, processes side by side, system calls that are listened to."""

import fcntl
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

import pytest

from arkcli.system import files

#: A file system in memory, where there is one: waiting for a disk is seldom what is tested.
MEMORY: Final = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
#: Children are forked from a server that has imported what takes long.
FORKS: Final = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["pytest", "hypothesis.stateful", "arkcli.queue.local.queue", "tests.world"])


@contextmanager
def listened() -> Iterator[list[str]]:
    """The names of the system calls that Python makes meanwhile, in order. Before those that sync, which differ from
    system to system, `sync` or `sync_directory`.
    """
    calls: list[str] = []
    synced = {files.sync.__code__, files.sync_directory.__code__}

    def listen(frame: FrameType, event: str, function: object) -> None:
        if event == "call" and frame.f_code in synced:
            calls.append(frame.f_code.co_name)
        if event == "c_call" and getattr(function, "__module__", "") in {"posix", "fcntl"}:
            calls.append(getattr(function, "__name__", ""))

    sys.setprofile(listen)
    try:
        yield calls
    finally:
        sys.setprofile(None)


def path_of(descriptor: int) -> Path:
    """The path of an open file."""
    if hasattr(fcntl, "F_GETPATH"):
        return Path(os.fsdecode(fcntl.fcntl(descriptor, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0")))
    return Path(f"/proc/self/fd/{descriptor}").readlink()


@contextmanager
def small_disk(path: Path, options: str) -> Iterator[None]:
    """A file system in memory with these options of mount(8), such as `size=256k`, at a path."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("filling a disk needs the right to mount one")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@contextmanager
def filled(disk: Path, leaving: int = 0) -> Iterator[None]:
    """The disk with this number of bytes left."""
    free = os.statvfs(disk)
    filler = disk / "filler"
    filler.write_bytes(b"x" * (free.f_bavail * free.f_frsize - leaving))
    yield
    filler.unlink()


def in_processes(work: Callable[..., None], *arguments: Sequence[object]) -> list[int]:
    """Runs a function in processes of their own, all at once, and returns their exit codes."""
    children = [FORKS.Process(target=work, args=found) for found in arguments]
    for child in children:
        child.start()
    codes = []
    for child in children:
        child.join(60)
        assert child.exitcode is not None
        codes.append(child.exitcode)
        child.close()
    return codes
