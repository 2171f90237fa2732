"""The limits that a unit of systemd sets on its service, as far as any process can set them on itself.

These are SystemCallFilter=, MemoryDenyWriteExecute= and NoNewPrivileges=.
"""

import ctypes
import errno
import subprocess
from collections.abc import Iterator
from pathlib import Path

_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
_SET_NO_NEW_PRIVILEGES, _SET_MEMORY = 38, 65


def settings(unit: Path, section: str = "Service") -> dict[str, list[str]]:
    """The settings of a section of a unit, each with all its values, in order."""
    found: dict[str, list[str]] = {}
    inside = ""
    for line in unit.read_text("utf-8").splitlines():
        if line.startswith("["):
            inside = line.strip("[]")
        elif inside == section and "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def calls(name: str) -> Iterator[str]:
    """The system calls of a set such as @system-service."""
    if not name.startswith("@"):
        yield name
        return
    done = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines()[1:]:
        if line.strip() and not line.strip().startswith("#"):
            yield from calls(line.strip())


def permitted(unit: Path) -> set[str]:
    """The system calls that a unit leaves to its service."""
    found: set[str] = set()
    for value in settings(unit)["SystemCallFilter"]:
        names = {call for name in value.removeprefix("~").split() for call in calls(name)}
        found = found - names if value.startswith("~") else found | names
    return found


def confine(allowed: set[str]) -> bool:
    """Limits this process, and everything that it executes, to these system calls. Returns whether that is possible."""
    libc = ctypes.CDLL(None)
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return False
    library.seccomp_init.restype = ctypes.c_void_p
    rules = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(_REFUSE)))
    for name in allowed:
        number = library.seccomp_syscall_resolve_name(name.encode())
        # A call that this machine does not have cannot be made.
        if number >= 0:
            library.seccomp_rule_add(rules, ctypes.c_uint32(_ALLOW), ctypes.c_int(number), ctypes.c_uint(0))
    # Old kernels cannot refuse memory that is both written and executed.
    libc.prctl(_SET_MEMORY, 1, 0, 0, 0)
    return not (libc.prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or library.seccomp_load(rules))
