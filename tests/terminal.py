"""`ark` in a terminal: a real process on a real pty, whose screen the tests read."""

import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import time
from pathlib import Path

from tests.world import World

ROOT = Path(__file__).parent.parent
CTRL_C = b"\x03"


class Terminal:
    """One run of `ark` with its standard streams on a terminal."""

    def __init__(
        self, world: World, *args: str, columns: int = 80, lines: int = 24, ahead: float = 0.0, **variables: str
    ) -> None:
        """`ahead` moves the clock, in seconds."""
        inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        environment = {**inherited, "TERM": "xterm-256color", **world.variables, **variables}
        self._process, self._fd = pty.fork()
        if self._process == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
            os.chdir(ROOT)
            os.execve(sys.executable, [sys.executable, "-m", "tests.ark_at", str(ahead), *args], environment)
        self.text = ""

    def _read(self) -> bool:
        """Reads what there is; False at the end."""
        if not select.select([self._fd], [], [], 0.05)[0]:
            return True
        try:
            data = os.read(self._fd, 65_536)
        except OSError:
            # Linux's answer when nobody has the other end open any more.
            return False
        self.text += data.decode("utf-8", "replace")
        return bool(data)

    def until(self, pattern: str, within: float = 20.0) -> None:
        """Waits until the output has a match."""
        ends = time.monotonic() + within
        while not re.search(pattern, self.text):
            assert self._read(), self.text
            assert time.monotonic() < ends, self.text

    def press(self, keys: bytes) -> None:
        os.write(self._fd, keys)

    def finish(self) -> int:
        """Waits for the end; returns the exit status."""
        while self._read():
            pass
        os.close(self._fd)
        return os.waitstatus_to_exitcode(os.waitpid(self._process, 0)[1])

    @property
    def screen(self) -> list[str]:
        """The lines that can be read on the screen (of any height) now, without colours."""
        return shown(self.text)


def shown(text: str) -> list[str]:
    """The lines that a terminal shows after this output. It knows what `ark` uses: CR, LF and "clear to the end"."""
    lines, column = [""], 0
    for piece in re.split(r"(\r|\n|\x1b\[[0-9;]*[A-Za-z])", text):
        if piece == "\r":
            column = 0
        elif piece == "\n":
            lines.append("")
            column = 0
        elif piece == "\x1b[K":
            lines[-1] = lines[-1][:column]
        elif not piece.startswith("\x1b"):
            lines[-1] = lines[-1][:column] + piece + lines[-1][column + len(piece) :]
            column += len(piece)
    return [line.rstrip() for line in lines]
