"""A stream that text is printed on: its width, its colours, and whether it is a terminal."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, TextIO

from arkcli.text import clean, folded

if TYPE_CHECKING:
    from rich.console import Console

STYLES: Final = {
    "valid": "green",
    "invalid": "bold red",
    "delivered": "green",
    "retrying": "yellow",
    "waiting": "cyan",
    "failed": "red",
    "dead": "bold red",
    "paused": "dim",
    "resent": "cyan",
    "edited": "cyan",
    "pass": "green",
    "warn": "yellow",
    "fail": "bold red",
}
#: Parameters of the escape sequence for each style (ECMA-48, "select graphic rendition").
_SGR: Final = {
    "bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36", "bold red": "1;31",
}  # fmt: skip
#: How many lines of a receiver's answer are shown below an attempt.
_EXCERPT: Final = 4
_WIDTH: Final = 80
_HEIGHT: Final = 24


class Painted(NamedTuple):
    """A cell in several colours: pieces of text, each with its style."""

    pieces: Sequence[tuple[str, str]]


class Screen:
    """Standard output or standard error, with or without colours."""

    def __init__(self, stream: TextIO, variables: Mapping[str, str], color: str = "auto") -> None:
        """`color` is auto (on a terminal), always or never; NO_COLOR, FORCE_COLOR and CLICOLOR_FORCE override auto."""
        self.stream = stream
        self._variables = variables
        self._color = color

    @property
    def is_terminal(self) -> bool:
        """Whether somebody looks at it."""
        return self.stream.isatty()

    @property
    def can_redraw(self) -> bool:
        """Whether a line can be drawn again in place: on a terminal that is not a dumb one."""
        return self.is_terminal and self._variables.get("TERM") != "dumb"

    @property
    def width(self) -> int:
        """Width in columns: COLUMNS, else the terminal's, else 80."""
        return self._given("COLUMNS") or self._measured()[0] or _WIDTH

    @property
    def line_width(self) -> int:
        """How many columns a line may have without being broken by the terminal, whatever COLUMNS says."""
        return min(self.width, self._measured()[0] or self.width)

    def folded(self, text: str, indent: str = "  ") -> str:
        """The text, broken between words on a terminal, which would break it anywhere; otherwise unchanged.

        `indent` begins each line but the first.
        """
        return folded(text, self.width, indent) if self.is_terminal else text

    def excerpt(self, text: str, indent: int) -> list[str]:
        """Text from outside, cleaned: at most four lines that fit below an indentation, the last cut if there is more.

        Lines end between words; a word that is longer than a line is broken. Empty text has no line.
        """
        if not text:
            return []
        from rich.text import Text

        # No more than fills the lines: wrapping a long text takes long.
        width, most = self.width - indent, _EXCERPT
        cleaned = " ".join(clean(text).split())[: (width + 1) * (most + 1)]
        lines = [line.plain.rstrip() for line in Text(cleaned).wrap(self.console(), max(width, 1))]
        if len(lines) > most:
            lines[most:] = []
            lines[-1] = f"{lines[-1][: max(width - 2, 0)]} …"
        return lines

    @property
    def height(self) -> int:
        """Height in lines: LINES, else the terminal's, else 24."""
        return self._given("LINES") or self._measured()[1] or _HEIGHT

    def _given(self, variable: str) -> int:
        given = self._variables.get(variable, "")
        return int(given) if given.isdecimal() else 0

    def _measured(self) -> tuple[int, int]:
        """The terminal's columns and lines; 0 if it is none, or does not say."""
        try:
            return os.get_terminal_size(self.stream.fileno())
        except (OSError, ValueError):
            return 0, 0

    def write(self, text: str) -> None:
        """Writes text at once."""
        self.stream.write(text)
        self.stream.flush()

    def painted(self, text: str, style: str) -> str:
        """The text in a style; unchanged if colours are off."""
        return f"\x1b[{_SGR[style]}m{text}\x1b[0m" if style and self.is_colored else text

    def word(self, text: str) -> str:
        """The text in its colour, if it is a status word that has one."""
        return self.painted(text, STYLES.get(text, ""))

    def cell(self, value: object) -> str:
        """A table's cell in its colours."""
        if isinstance(value, Painted):
            return "".join(self.painted(text, style) for text, style in value.pieces)
        return self.word(plain(value))

    @property
    def is_colored(self) -> bool:
        """Whether colours are on."""
        if self._color != "auto":
            return self._color == "always"
        if self._variables.get("NO_COLOR"):
            return False
        if any(self._variables.get(name, "0") not in ("", "0") for name in ("FORCE_COLOR", "CLICOLOR_FORCE")):
            return True
        return self.can_redraw

    def console(self) -> "Console":
        """Rich's console on this stream."""
        from rich.console import Console

        colored = self.is_colored
        return Console(
            file=self.stream, width=self.width, color_system="standard" if colored else None,
            force_terminal=colored or self.is_terminal, no_color=not colored, highlight=False, legacy_windows=False,
            _environ={},
        )  # fmt: skip


def plain(value: object) -> str:
    """A table's cell without colours; - for None."""
    if isinstance(value, Painted):
        return "".join(text for text, _ in value.pieces)
    return "-" if value is None else clean(str(value))
