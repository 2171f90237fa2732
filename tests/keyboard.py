"""A process on a terminal of its own, whose keys a test presses."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

#: Makes standard input the controlling terminal of a new session, and becomes the command.
_BECOME = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
_PATIENCE = 30.0
ROOT = Path(__file__).parent.parent


class OnATerminal:
    """A running command, and what it has written."""

    def __init__(self, command: list[str], variables: Mapping[str, str], columns: int = 80, lines: int = 24) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        #: The modes of the terminal, before the command.
        self.before = self.modes()
        others = ("COLUMNS", "LINES", "EDITOR", "VISUAL")
        given = {name: value for name, value in os.environ.items() if name not in others}
        self.process = subprocess.Popen(
            [sys.executable, "-c", _BECOME, *command],
            env={**given, "TERM": "xterm-256color", "NO_COLOR": "1", **variables},
            cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self._said = ""
        self._read = 0

    def modes(self) -> list[Any]:
        """The terminal's modes, as `stty` would show them."""
        return termios.tcgetattr(self._ours)

    def press(self, keys: str) -> None:
        """Presses keys."""
        os.write(self._ours, keys.encode())

    def until(self, pattern: str) -> str:
        """What the command writes from where the last call ended, up to and including a match of the pattern."""
        deadline = time.monotonic() + _PATIENCE
        while (found := re.compile(pattern).search(self._said, self._read)) is None:
            assert time.monotonic() < deadline, f"no {pattern!r} in:\n{self._said[self._read :]}"
            self._take(0.05)
        begin, self._read = self._read, found.end()
        return self._said[begin : found.end()]

    def until_it_has_other_modes(self) -> None:
        """Waits until something has changed the modes that the terminal had before the command."""
        deadline = time.monotonic() + _PATIENCE
        while self.modes() == self.before:
            assert time.monotonic() < deadline, self._said
            self._take(0.01)

    def wait(self) -> int:
        """The exit status, once the command has ended."""
        deadline = time.monotonic() + _PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self._said
            self._take(0.01)
        while self._take(0):
            pass
        return self.process.returncode

    def rest(self) -> str:
        """What the command has written since the last call of `until`."""
        return self._said[self._read :]

    def close(self) -> None:
        """Ends the command, and all others of its session that have the terminal."""
        with suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self._ours)

    def _take(self, seconds: float) -> bool:
        if not select.select((self._ours,), (), (), seconds)[0]:
            return False
        try:
            piece = os.read(self._ours, 65_536)
        except OSError:
            # Linux says so once the other side is closed.
            return False
        # What Bash says before and after each line that it reads (bracketed paste) is nobody's output.
        self._said += re.sub(r"\x1b\[\?2004[hl]\r?", "", piece.decode("utf-8", "replace").replace("\r\n", "\n"))
        return bool(piece)


def editor(directory: Path, script: str) -> str:
    """An editor: a shell script that finds the file's path in `$1`."""
    path = directory / "an editor"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return f"'{path}'"
