"""Runs programs to which the kernel refuses sockets (seccomp), as systemd's RestrictAddressFamilies= does."""

import ctypes
import os
import platform
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence

import pytest

#: System call numbers of socket(2) and socketpair(2).
_CALLS = {"x86_64": (41, 53), "aarch64": (198, 199)}
_NO_FILTER = 99
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000
_NO_NEW_PRIVILEGES, _SET_SECCOMP = 38, 22


def without_sockets(
    families: Sequence[socket.AddressFamily], error: int, *command: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Runs a command for which creating a socket of these families fails with this error number."""
    listed = ",".join(str(int(family)) for family in families)
    done = subprocess.run(
        [sys.executable, __file__, listed, str(error), *command],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if done.returncode == _NO_FILTER:
        pytest.skip("no seccomp filter can be set here")
    return done


def _refuse(families: list[int], error: int) -> bool:
    """Sets the filter for this process and everything that it executes (seccomp(2); BPF as in linux/filter.h)."""
    if platform.machine() not in _CALLS:
        return False
    one, pair = _CALLS[platform.machine()]
    count = len(families)

    def load(offset: int) -> bytes:
        return struct.pack("HBBI", 0x20, 0, 0, offset)

    def when(value: int, then: int, otherwise: int) -> bytes:
        return struct.pack("HBBI", 0x15, then, otherwise, value)

    def end(verdict: int) -> bytes:
        return struct.pack("HBBI", 0x06, 0, 0, verdict)

    # Check the number of the call, then its first argument.
    rows = [load(0), when(one, 1, 0), when(pair, 0, count + 1), load(16)]
    rows += [when(family, count - index, 0) for index, family in enumerate(families)]
    rows += [end(_ALLOW), end(_REFUSE | error)]

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("rows", ctypes.c_void_p))

    held = ctypes.create_string_buffer(b"".join(rows))
    program = Program(len(rows), ctypes.cast(held, ctypes.c_void_p))
    libc = ctypes.CDLL(None)
    return not (libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.prctl(_SET_SECCOMP, 2, ctypes.byref(program)))


if __name__ == "__main__":
    if not _refuse([int(family) for family in sys.argv[1].split(",")], int(sys.argv[2])):
        sys.exit(_NO_FILTER)
    os.execvp(sys.argv[3], sys.argv[3:])
