"""The only module that prints. Data goes to standard output, everything else to standard error."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice, takewhile
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TextIO, TypeVar

from arkcli.errors import ArkError, Interrupted
from arkcli.system.refused import of_system
from arkcli.system.streams import Stream, Unread
from arkcli.text import clean, clean_lines

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

_STYLES: Final = {
    "valid": "green",
    "invalid": "bold red",
    "delivered": "green",
    "retrying": "yellow",
    "waiting": "cyan",
    "failed": "red",
    "dead": "bold red",
    "paused": "dim",
    "pass": "green",
    "warn": "yellow",
    "fail": "bold red",
}

#: Rows aligned together on a terminal; longer lists are drawn in chunks of this size.
_ROWS_AT_ONCE: Final = 1_000

Item = TypeVar("Item")


#: Parameters of the escape sequence for each style (ECMA-48, "select graphic rendition").
_SGR: Final = {
    "bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36", "bold red": "1;31",
}  # fmt: skip
_WIDTH: Final = 80
#: Narrowest width of a folded column, in characters. If the table is still too wide, its rows are printed as records.
_SLIM: Final = 12


class Table(NamedTuple):
    """Rows under headings: aligned on a terminal, tab-separated and without headings when piped."""

    headings: Sequence[str]
    rows: Sequence[Sequence[object]]


class Painted(NamedTuple):
    """A cell in several colours: pieces of text, each with its style."""

    pieces: Sequence[tuple[str, str]]


class Column(NamedTuple):
    """A column of streamed rows. `width` is in characters; 0 in the last column means any width."""

    heading: str
    width: int = 0
    right: bool = False


class Output:
    """Prints one command's output, as text or as JSON."""

    def __init__(
        self,
        stdout: TextIO,
        stderr: TextIO,
        variables: Mapping[str, str],
        *,
        as_json: bool,
        quiet: bool,
        color: str = "auto",
    ) -> None:
        """`as_json` prints JSON instead of text; `quiet` omits text unless something went wrong.

        `color` is auto (on a terminal), always or never; NO_COLOR, FORCE_COLOR and CLICOLOR_FORCE override auto.
        """
        self._stdout = stdout
        self._stderr = stderr
        self._variables = variables
        self.as_json = as_json
        self.quiet = quiet
        self._bar: Progress | None = None
        self._color = color

    @property
    def width(self) -> int:
        """Width in columns: COLUMNS, else the terminal's, else 80."""
        given = self._variables.get("COLUMNS", "")
        if given.isdecimal() and int(given):
            return int(given)
        try:
            return os.get_terminal_size(self._stdout.fileno()).columns or _WIDTH
        except (OSError, ValueError):
            return _WIDTH

    @property
    def on_a_terminal(self) -> bool:
        """Whether text goes to a terminal, where charts may be shown."""
        return self._stdout.isatty() and not self.as_json

    @property
    def lost(self) -> OSError | None:
        """The error that made standard output unwritable; None while it works."""
        return self._stdout.lost if isinstance(self._stdout, Stream) else None

    def heading(self, text: str) -> str:
        """The text styled as a heading for standard output."""
        return self.painted(text, "bold")

    def painted(self, text: str, style: str) -> str:
        """The text in a style for standard output; unchanged if colours are off."""
        return self._painted(self._stdout, text, style)

    def word(self, text: str) -> str:
        """The text in its colour, if it is a status word that has one."""
        return self.painted(text, _STYLES.get(text, ""))

    def _painted(self, stream: TextIO, text: str, style: str) -> str:
        return f"\x1b[{_SGR[style]}m{text}\x1b[0m" if style and self._is_colored(stream) else text

    def _is_colored(self, stream: TextIO) -> bool:
        if self._color != "auto":
            return self._color == "always"
        if self._variables.get("NO_COLOR"):
            return False
        if any(self._variables.get(name, "0") not in ("", "0") for name in ("FORCE_COLOR", "CLICOLOR_FORCE")):
            return True
        return stream.isatty() and self._variables.get("TERM") != "dumb"

    def result(self, document: Mapping[str, Any], *text: str | Table, always: bool = False) -> None:
        """Prints a command's result: the document as JSON, or the text. `always` prints the text even when quiet."""
        if self.as_json:
            self._stdout.write(to_json(document) + "\n")
        elif always or not self.quiet:
            for part in text:
                if isinstance(part, Table):
                    self._table(part)
                else:
                    self._stdout.write(part + "\n")
        self._stdout.flush()
        is_full = not isinstance(self.lost, BrokenPipeError | None)
        if is_full and not always and text and isinstance(text[0], str) and "\n" not in text[0]:
            # A single line may report a change, so print it to standard error instead. Longer text only shows things.
            self._stderr.write(text[0] + "\n")

    def items(
        self,
        key: str,
        found: Iterable[Item],
        document: Callable[[Item], Mapping[str, Any]],
        headings: Sequence[str],
        row: Callable[[Item], Sequence[object]],
        nothing: str,
        more: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        """Prints any number of items in constant memory: a list under a key as JSON, or a table.

        `nothing` is the note printed if there are none; `more` is called last for further keys of the JSON object.

        As JSON, an error after the first item is added to the same object, and raised with `told` set.
        """
        # Stop reading once standard output has failed.
        left = takewhile(lambda _: self.lost is None, found)
        if self.as_json:
            first = list(islice(left, 1))
            self._stdout.write(f'{{"{key}": [')
            error = None
            try:
                self._stdout.writelines(_separated(to_json(document(item)) for item in chain(first, left)))
            except ArkError as raised:
                error = raised
            except OSError as raised:
                error = of_system(raised)
            except KeyboardInterrupt:
                error = Interrupted("interrupted")
            behind = {**more(), **({} if error is None else {"error": _error(error)})}
            self._stdout.writelines(["]", *(f", {to_json(name)}: {to_json(it)}" for name, it in behind.items()), "}\n"])
            if error is not None:
                self._stdout.flush()
                error.told = True
                raise error
        else:
            begun = False
            # Read everything even when quiet: errors while reading decide the exit status.
            while rows := [row(item) for item in islice(left, _ROWS_AT_ONCE)]:
                begun = True
                if not self.quiet:
                    self._table(Table(headings, rows))
            if not begun:
                self.note(nothing)
        self._stdout.flush()

    def rows(self, columns: Sequence[Column]) -> "Rows":
        """Starts a table whose rows are added one by one."""
        drawn = not (self.as_json or self.quiet) and self._stdout.isatty()
        return Rows(self, columns, drawn=drawn)

    def lines(self, texts: Iterable[str]) -> None:
        """Writes lines of data (JSON or text) in batches. Omits text when quiet."""
        if self.as_json or not self.quiet:
            with self._bar_aside():
                remaining = iter(texts)
                while batch := list(islice(remaining, _ROWS_AT_ONCE)):
                    batch.append("")
                    self._stdout.write("\n".join(batch))
                self._stdout.flush()

    def line(self, text: str) -> None:
        """Writes one line of progress at once; omitted when quiet or as JSON."""
        if not (self.quiet or self.as_json):
            self._stdout.write(text + "\n")
            self._stdout.flush()

    def note(self, text: str) -> None:
        """Writes a note to standard error; omitted when quiet or as JSON."""
        if not (self.quiet or self.as_json):
            self._stderr.write(clean(text) + "\n")
            self._stderr.flush()

    def warn(self, text: str) -> None:
        """Writes a warning to standard error, even when quiet."""
        word = self._painted(self._stderr, "warning:", "yellow")
        self._stderr.write(f"{word} {clean(text)}\n")
        self._stderr.flush()

    def error(self, error: ArkError) -> None:
        """Writes an error: one line on standard error, or one JSON object on standard output."""
        if self.as_json:
            self._stdout.write(to_json({"error": _error(error)}) + "\n")
            self._stdout.flush()
        else:
            word = self._painted(self._stderr, "error:", "red")
            self._stderr.write(f"{word} {clean(str(error))}\n")
            self._stderr.flush()

    @contextmanager
    def progress(self, total: int | None) -> Iterator[Callable[[int, str], None]]:
        """Shows a progress bar during a block if standard error is a terminal; not when quiet or as JSON.

        Yields a function that takes how much of `total` (None: unknown) is done, and a description.
        """
        dumb = self._variables.get("TERM") == "dumb"
        if self.quiet or self.as_json or dumb or not self._stderr.isatty():
            yield lambda _done, _words: None
            return
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        words = TextColumn("{task.description}", markup=False)
        console = self._console(self._stderr)
        bar = Progress(words, BarColumn(), TimeElapsedColumn(), console=console, transient=True)
        task = bar.add_task("", total=total)
        with bar:
            self._bar = bar
            try:
                yield lambda done, words: bar.update(task, completed=done, description=words)
            finally:
                self._bar = None

    @contextmanager
    def _bar_aside(self) -> Iterator[None]:
        """Hides the progress bar while lines are written to the same terminal."""
        if self._bar is None or not self._stdout.isatty():
            yield
            return
        self._bar.stop()
        yield
        self._bar.start()

    def _console(self, stream: TextIO) -> "Console":
        from rich.console import Console

        colored = self._is_colored(stream)
        return Console(
            file=stream, width=self.width, color_system="standard" if colored else None,
            force_terminal=colored or stream.isatty(), no_color=not colored, highlight=False, legacy_windows=False,
            _environ={},
        )  # fmt: skip

    def _table(self, table: Table) -> None:
        if not table.rows:
            return
        if not self._stdout.isatty():
            self._stdout.writelines("\t".join(map(self._cell, row)) + "\n" for row in table.rows)
            return
        from rich.table import Table as RichTable
        from rich.text import Text

        columns = zip(table.headings, *(map(self._plain, row) for row in table.rows), strict=True)
        least = [_least(heading, cells, self.width // 2) for heading, *cells in columns]
        # Columns are separated by two spaces.
        if sum(width + 2 for width, _ in least) - 2 > self.width:
            self._records(table)
            return
        drawn = RichTable(box=None, show_header=any(table.headings), pad_edge=False, header_style="bold")
        for heading, (width, whole) in zip(table.headings, least, strict=True):
            drawn.add_column(heading, overflow="fold", min_width=width, no_wrap=whole)
        for row in table.rows:
            drawn.add_row(*(Text.from_ansi(self._cell(value)) for value in row))
        self._console(self._stdout).print(drawn)

    def _records(self, table: Table) -> None:
        """Prints a table that is too wide as records: one line per cell, a blank line between rows."""
        label = max(map(len, table.headings))
        records = (
            [f"{heading.ljust(label)} {self._cell(cell)}" for heading, cell in zip(table.headings, row, strict=True)]
            for row in table.rows
        )
        self._stdout.write("\n\n".join("\n".join(lines) for lines in records) + "\n")

    def _plain(self, value: object) -> str:
        return "".join(text for text, _ in value.pieces) if isinstance(value, Painted) else _text(value)

    def _cell(self, value: object) -> str:
        if isinstance(value, Painted):
            return "".join(self.painted(text, style) for text, style in value.pieces)
        return self.word(_text(value))


class Rows:
    """A table printed row by row: under headings and aligned on a terminal, tab-separated when piped."""

    def __init__(self, output: Output, columns: Sequence[Column], *, drawn: bool) -> None:
        """`drawn`: align rows under headings, for a terminal."""
        self._output = output
        self.columns = columns
        self.drawn = drawn
        self._begun = False

    def add(self, document: Mapping[str, Any], cells: Sequence[object], more: str | None = None) -> None:
        """Prints one row: the document as JSON, or a cell for each column. `more` is an extra cell; on a terminal it
        is printed below the row. Raises Unread if standard output has failed before.
        """
        if self._output.lost is not None:
            raise Unread
        if not self.drawn:
            self._output.result(document)
            self._output.line("\t".join(map(_text, cells if more is None else (*cells, more))))
            return
        if not self._begun:
            self._begun = True
            self._draw((column.heading, "bold") for column in self.columns)
        self._draw((text, _STYLES.get(text, "")) for text in map(_text, cells))
        for line in clean_lines(more).splitlines() if more else ():
            self._output.line(self._output.painted(f"  {line}", "dim"))

    def _draw(self, cells: Iterable[tuple[str, str]]) -> None:
        fitted = (
            self._output.painted(_fitted(text, column), style)
            for column, (text, style) in zip(self.columns, cells, strict=True)
        )
        self._output.line("  ".join(fitted).rstrip(" "))


def to_json(document: object) -> str:
    """The document as one line of JSON. Non-ASCII and C0 control characters are escaped."""
    import json

    return json.dumps(document, separators=(", ", ": "), allow_nan=False)


def _least(heading: str, cells: Sequence[str], longest: int) -> tuple[int, bool]:
    """The least width at which no word of a column is broken, and whether it must stay whole, as an id must."""
    widest = max(map(len, cells))
    if widest <= longest and not any(" " in text for text in cells):
        return max(len(heading), widest), True
    words = max(len(word) for text in (heading, *cells) for word in text.split() or "-")
    # A word that takes half the width, such as a URL, is broken where it has to be.
    return words if words <= longest else max(*map(len, heading.split()), 0, min(widest, _SLIM)), False


def _error(error: ArkError) -> dict[str, str]:
    return {"code": error.code, "message": str(error)}


def _text(value: object) -> str:
    return "-" if value is None else clean(str(value))


def _separated(texts: Iterable[str]) -> Iterator[str]:
    separator = ""
    for text in texts:
        yield separator + text
        separator = ", "


def _fitted(text: str, column: Column) -> str:
    from rich.cells import cell_len, set_cell_size

    if column.width and cell_len(text) > column.width:
        text = f"{set_cell_size(text, column.width - 1)}…"
    fill = " " * (column.width - cell_len(text))
    return fill + text if column.right else text + fill
