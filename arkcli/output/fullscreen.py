"""A terminal as a whole, which is drawn again and again."""

import io
from collections.abc import Sequence
from types import TracebackType

from arkcli.output.screen import Screen
from arkcli.output.tables import Table, draw


class FullScreen:
    """Takes over a terminal during a block and then shows what was there before."""

    def __init__(self, screen: Screen) -> None:
        """`screen` must be able to redraw."""
        self._screen = screen

    def __enter__(self) -> "FullScreen":
        """Switches to the terminal's alternate screen and hides the cursor."""
        self._screen.write("\x1b[?1049h\x1b[?25l\x1b[H\x1b[J")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Switches back."""
        self._screen.write("\x1b[?25h\x1b[?1049l")

    def show(self, lines: Sequence[str]) -> None:
        """Draws these lines in place of those before; leaves out what is below the terminal's last line."""
        shown = "\x1b[K\n".join(lines[: self._screen.height])
        self._screen.write(f"\x1b[H{shown}\x1b[K\x1b[J")


class _Sheet(io.StringIO):
    """Text that is drawn as for a terminal."""

    def isatty(self) -> bool:
        return True


def lines_of(table: Table, screen: Screen) -> list[str]:
    """The lines that `draw` would print on this terminal."""
    sheet = _Sheet()
    draw(table, Screen(sheet, {"COLUMNS": str(screen.width)}, "always" if screen.is_colored else "never"))
    return sheet.getvalue().splitlines()
