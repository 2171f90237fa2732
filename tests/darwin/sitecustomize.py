"""Makes this Python like one on macOS, as far as that can be done on Linux. Python imports this module as it starts.

Every function and constant that macOS lacks is gone; /proc and what else only Linux has cannot be found; limits on open
files, F_FULLFSYNC and pwrite behave as there; multiprocessing starts new interpreters; and ark itself may not fork.

What this cannot show: the real kernel and file system, kqueue, the keychain, terminals, and what other programs do. It
holds for Python code alone: a library in C, and a program that is no Python, still see Linux.
"""

import builtins
import errno
import fcntl
import io
import os
import resource
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

#: Places and programs.
HIDDEN: Final = (
    *("/proc", "/sys", "/dev/shm", "/dev/full"),
    *(
        f"{place}/{name}"
        for place in ("/bin", "/sbin", "/usr/bin", "/usr/sbin")
        for name in ("ip", "strace", "unshare")
    ),
)
#: F_FULLFSYNC and F_GETPATH; the limit on open files that a process begins with, and the largest allowed (OPEN_MAX).
FULL_SYNC, GET_PATH = 51, 50
FILES, MOST_FILES = 256, 10_240


def take_away(names: str) -> None:
    """Removes names, given as lines of a module and a name."""
    for line in names.splitlines():
        module, name = line.split()
        found = sys.modules.get(module) or (__import__(module) if module not in {"signal", "socket"} else None)
        vars(found).pop(name, None) if found else None


def hide_files() -> None:
    """Has Python find nothing of what only Linux has."""
    for name in ("open", "stat", "lstat", "listdir", "scandir", "readlink", "access", "statvfs", "mkdir"):
        real = getattr(os, name)
        made = _hiding(real, answer=False if name == "access" else None)
        for capable in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks, os.supports_effective_ids):
            if real in capable:
                capable.add(made)
        setattr(os, name, made)
    io.open = builtins.open = _hiding(io.open)


def _hiding(real: Callable[..., Any], answer: object = None) -> Callable[..., Any]:
    def hiding(path: Any = ".", *args: Any, **options: Any) -> Any:
        if isinstance(path, (str, os.PathLike)) and f"{os.fspath(path)}/".startswith(_HIDDEN):
            if answer is not None:
                return answer
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return real(path, *args, **options)

    return hiding


_HIDDEN: Final = tuple(f"{path}/" for path in HIDDEN)


def limit_files(*, is_first: bool) -> None:
    """Has the limit on open files begin at 256, be without bound in name, and at most OPEN_MAX in truth."""
    real_get, real_set, files = resource.getrlimit, resource.setrlimit, resource.RLIMIT_NOFILE
    unlimited = resource.RLIM_INFINITY
    if is_first:
        real_set(files, (FILES, real_get(files)[1]))

    def getrlimit(which: int) -> tuple[int, int]:
        soft, hard = real_get(which)
        return soft, unlimited if which == files and hard > MOST_FILES else hard

    def setrlimit(which: int, limits: tuple[int, int]) -> None:
        soft, hard = limits
        if which == files:
            if soft in (unlimited, sys.maxsize) or soft > MOST_FILES:
                raise ValueError("current limit exceeds maximum limit")
            hard = real_get(files)[1] if hard in (unlimited, sys.maxsize) else hard
        real_set(which, (soft, hard))

    resource.getrlimit, resource.setrlimit = getrlimit, setrlimit


def control_files(synced: Callable[[int], None], link: Callable[[str], str]) -> None:
    """Gives F_FULLFSYNC and F_GETPATH, made of the real `os.fsync` and `os.readlink`."""
    real = fcntl.fcntl

    def control(descriptor: Any, command: int, argument: Any = 0) -> Any:
        if command == FULL_SYNC:
            synced(descriptor)
            return 0
        if command == GET_PATH:
            return os.fsencode(link(f"/proc/self/fd/{descriptor}")).ljust(len(argument), b"\0")
        return real(descriptor, command, argument)

    fcntl.fcntl, fcntl.F_FULLFSYNC, fcntl.F_GETPATH = control, FULL_SYNC, GET_PATH  # type: ignore[attr-defined,misc,unused-ignore]


def write_where_told() -> None:
    """Has pwrite(2) obey its position, even in a file that is open for appending."""
    real, control = os.pwrite, fcntl.fcntl

    def pwrite(descriptor: int, data: Any, position: int, /) -> int:
        flags = control(descriptor, fcntl.F_GETFL)
        if not flags & os.O_APPEND:
            return real(descriptor, data, position)
        control(descriptor, fcntl.F_SETFL, flags & ~os.O_APPEND)
        try:
            return real(descriptor, data, position)
        finally:
            control(descriptor, fcntl.F_SETFL, flags)

    os.pwrite = pwrite


def refuse_forks() -> None:
    """Has a fork that ark makes fail."""
    real = os.fork

    def fork() -> int:
        frame = sys._getframe()
        while frame := frame.f_back:  # type: ignore[assignment]
            if str(frame.f_globals.get("__name__")).startswith("arkcli."):
                raise AssertionError("ark must not fork on macOS")
        return real()

    os.fork = fork


class NoForks:
    """Has multiprocessing start new interpreters, once it is imported."""

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> Any:
        if name != "multiprocessing.context":
            return None
        finders: list[Any] = [finder for finder in sys.meta_path if finder is not self]
        (spec,) = filter(None, (finder.find_spec(name, path, target) for finder in finders))
        real = spec.loader.exec_module

        def execute(module: Any) -> None:
            real(module)
            module._default_context = module.DefaultContext(module._concrete_contexts["spawn"])

        spec.loader.exec_module = execute
        return spec


def pretend(names: str) -> None:
    """Everything above."""
    with open(names, encoding="ascii") as file:  # noqa: PTH123 - Python has just begun
        take_away(file.read())
    control_files(os.fsync, os.readlink)
    hide_files()
    limit_files(is_first="AS_ON_MACOS_SINCE" not in os.environ)
    os.environ["AS_ON_MACOS_SINCE"] = str(os.getpid())
    write_where_told()
    refuse_forks()
    sys.meta_path.insert(0, NoForks())


if __name__ == "sitecustomize" and "AS_ON_MACOS" in os.environ:
    pretend(os.environ["AS_ON_MACOS"])
