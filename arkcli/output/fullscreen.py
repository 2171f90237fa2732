"""A terminal as a whole, which is drawn again and again."""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from arkcli.output.screen import Screen
from arkcli.output.tables import Table, draw


@contextmanager
def full_screen(screen: Screen) -> Iterator[Callable[[Sequence[str]], None]]:
    """Takes over a terminal that can be redrawn during a block, and then shows what was there before.

    Yields a function that draws lines in place of those before; it leaves out what is below the terminal's last line.
    """

    def show(lines: Sequence[str]) -> None:
        shown = "\x1b[K\n".join(lines[: screen.height])
        screen.write(f"\x1b[H{shown}\x1b[K\x1b[J")

    # The alternate screen, without a cursor.
    screen.write("\x1b[?1049h\x1b[?25l\x1b[H\x1b[J")
    try:
        yield show
    finally:
        screen.write("\x1b[?25h\x1b[?1049l")


class _Sheet(io.StringIO):
    """Text that is drawn as for a terminal."""

    def isatty(self) -> bool:
        return True


def lines_of(table: Table, screen: Screen) -> list[str]:
    """The lines that `draw` would print on this terminal."""
    sheet = _Sheet()
    draw(table, Screen(sheet, {"COLUMNS": str(screen.width)}, "always" if screen.is_colored else "never"))
    return sheet.getvalue().splitlines()
