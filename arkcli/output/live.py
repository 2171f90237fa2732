"""One line on a terminal that says what a command is doing: drawn over and over, and removed at the end."""

from collections.abc import Callable, Sequence
from typing import Final

from arkcli.output.screen import Screen

#: How long a command must last before anything is drawn, and the time between two drawings, in seconds.
_PATIENCE: Final = 0.3
_EVERY: Final = 0.2
#: Goes to the beginning of the line and clears it (ECMA-48: CR, EL).
ERASE: Final = "\r\x1b[K"
_BAR: Final = 20

#: Returns the line for a width in columns.
Words = Callable[[int], str]


class Live:
    """The line. Whoever writes to the same terminal calls `erase` first; the next drawing brings the line back."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._next: float | None = None
        self._shown: str | None = None

    def draw(self, now: float, words: Words) -> None:
        """Draws the line if it is time (`now`: monotonic seconds); cheap otherwise, and `words` is not called."""
        if self._next is None:
            self._next = now + _PATIENCE
        if now < self._next:
            return
        self._next = now + _EVERY
        # In the last column, a terminal would begin a new line.
        width = self._screen.line_width - 1
        line = words(width)[:width]
        if line != self._shown:
            self._shown = line
            self._screen.write(f"\r{self._screen.painted(line, 'cyan')}\x1b[K")

    def erase(self) -> None:
        """Removes the line, if it is there."""
        if self._shown is not None:
            self._shown = None
            self._screen.write(ERASE)

    def end(self) -> None:
        """Removes the line. What is drawn next is new, and has to last for a while to be shown."""
        self.erase()
        self._next = None


def fitted(parts: Sequence[str], width: int) -> str:
    """The parts on one line, two spaces apart: as many of the first ones as have room."""
    line = ""
    for part in filter(None, parts):
        longer = f"{line}  {part}" if line else part
        if len(longer) > width:
            break
        line = longer
    return line


def first_fit(lines: Sequence[str], width: int) -> str:
    """The first of several wordings that has room; else the last one."""
    return next((line for line in lines if len(line) <= width), lines[-1])


def bar(part: float) -> str:
    """A bar of which a part (0 to 1) is filled."""
    filled = round(_BAR * min(max(part, 0.0), 1.0))
    return f"[{'=' * filled}{' ' * (_BAR - filled)}]"
