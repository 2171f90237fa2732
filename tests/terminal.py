"""`ark` in a terminal: a real process on a real pty, whose screen the tests read."""

import re
import sys

from tests.keyboard import OnATerminal
from tests.world import World

CTRL_C = "\x03"


class Terminal(OnATerminal):
    """One run of `ark` with its standard streams on a terminal."""

    def __init__(
        self, world: World, *args: str, columns: int = 80, lines: int = 24, ahead: float = 0.0, **variables: str
    ) -> None:
        """`ahead` moves the clock, in seconds."""
        command = [sys.executable, "-m", "tests.ark_at", str(ahead), *args]
        super().__init__(command, {"NO_COLOR": "", **world.variables, **variables}, columns, lines)

    def until(self, pattern: str) -> str:
        """Waits until the output has a match, from its beginning on."""
        self._read = 0
        return super().until(pattern)

    def finish(self) -> int:
        """Waits for the end; returns the exit status."""
        status = self.wait()
        self.close()
        return status

    @property
    def text(self) -> str:
        """All that was written."""
        return self._said.replace("\r\n", "\n")

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
