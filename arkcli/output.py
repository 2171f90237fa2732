"""The only module that draws. Data goes to standard output, everything else to standard error."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TextIO, TypeVar

from arkcli.errors import ArkError
from arkcli.screen import clean

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
}

#: How many rows are aligned with one another on a terminal, where there are too many to hold them all.
_ROWS_AT_ONCE: Final = 1_000

Item = TypeVar("Item")


class Table(NamedTuple):
    """Rows under headings: aligned on a terminal, tab-separated and without headings when piped."""

    headings: Sequence[str]
    rows: Sequence[Sequence[object]]


class Column(NamedTuple):
    """A column of rows that come one by one. `width` is 0 where the last one may be as wide as it likes."""

    heading: str
    width: int = 0
    right: bool = False


class Output:
    """Where one command's words go, in the form that was asked for."""

    def __init__(
        self, stdout: TextIO, stderr: TextIO, variables: Mapping[str, str], *, as_json: bool, quiet: bool
    ) -> None:
        """`as_json` prints one JSON object instead of text; `quiet` leaves out text when all went well."""
        self._stdout = stdout
        self._stderr = stderr
        self._variables = variables
        self.as_json = as_json
        self.quiet = quiet
        self._bar: Progress | None = None

    def result(self, document: Mapping[str, Any], *text: str | Table, always: bool = False) -> None:
        """What a command found: the document as JSON, or the text. `always` shows the text even when quiet."""
        if self.as_json:
            self._stdout.write(to_json(document) + "\n")
        elif always or not self.quiet:
            for part in text:
                if isinstance(part, Table):
                    self._table(part)
                else:
                    self._stdout.write(part + "\n")
        self._stdout.flush()

    def items(
        self,
        key: str,
        found: Iterable[Item],
        document: Callable[[Item], Mapping[str, Any]],
        headings: Sequence[str],
        row: Callable[[Item], Sequence[object]],
    ) -> None:
        """However many things a command found, in constant memory: a list under a key as JSON, or a table."""
        left = iter(found)
        if self.as_json:
            self._stdout.write(f'{{"{key}": [')
            self._stdout.writelines(_separated(to_json(document(item)) for item in left))
            self._stdout.write("]}\n")
        elif not self.quiet:
            while rows := [row(item) for item in islice(left, _ROWS_AT_ONCE)]:
                self._table(Table(headings, rows))
        self._stdout.flush()

    def rows(self, columns: Sequence[Column]) -> "Rows":
        """Rows that come one by one."""
        console = None
        if not (self.as_json or self.quiet) and self._stdout.isatty():
            console = self._console(self._stdout)
        return Rows(self, columns, console)

    def lines(self, texts: Iterable[str]) -> None:
        """Lines of data as they come, JSON or text already; left out when quiet."""
        if self.as_json or not self.quiet:
            with self._bar_aside():
                self._stdout.writelines(f"{text}\n" for text in texts)
                self._stdout.flush()

    def line(self, text: str) -> None:
        """A line of a story that is told as it happens; left out when quiet or as JSON."""
        if not (self.quiet or self.as_json):
            self._stdout.write(text + "\n")
            self._stdout.flush()

    def note(self, text: str) -> None:
        """A remark on standard error; left out when quiet or as JSON."""
        if not (self.quiet or self.as_json):
            self._stderr.write(text + "\n")
            self._stderr.flush()

    def warn(self, text: str) -> None:
        """What the user should know even when quiet, on standard error."""
        self._stderr.write(f"warning: {clean(text)}\n")
        self._stderr.flush()

    def error(self, error: ArkError) -> None:
        """An error: one line on standard error, or one JSON object on standard output."""
        if self.as_json:
            self._stdout.write(to_json({"error": {"code": error.code, "message": str(error)}}) + "\n")
            self._stdout.flush()
        else:
            self._stderr.write(f"error: {clean(str(error))}\n")
            self._stderr.flush()

    @contextmanager
    def progress(self, total: int | None) -> Iterator[Callable[[int, str], None]]:
        """A bar on standard error for the length of a block, where that is a terminal; not when quiet or as JSON.

        Yields a function that is told how much of `total` (None: nobody knows) is done, and in words what.
        """
        if self.quiet or self.as_json or not self._stderr.isatty():
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
        """Takes the bar off the terminal while lines are written to the same one."""
        if self._bar is None or not self._stdout.isatty():
            yield
            return
        self._bar.stop()
        yield
        self._bar.start()

    def _console(self, stream: TextIO) -> "Console":
        from rich.console import Console

        no_color = bool(self._variables.get("NO_COLOR")) or None
        return Console(file=stream, no_color=no_color, highlight=False, _environ=self._variables)

    def _table(self, table: Table) -> None:
        if not table.rows:
            return
        if not self._stdout.isatty():
            self._stdout.writelines("\t".join(map(_cell, row)) + "\n" for row in table.rows)
            return
        from rich.table import Table as RichTable
        from rich.text import Text

        drawn = RichTable(box=None, pad_edge=False, header_style="bold")
        for heading in table.headings:
            drawn.add_column(heading, overflow="fold")
        for row in table.rows:
            drawn.add_row(*(Text(_cell(value), style=_STYLES.get(_cell(value), "")) for value in row))
        self._console(self._stdout).print(drawn)


class Rows:
    """Rows that come one by one: under headings and aligned on a terminal, tab-separated when piped."""

    def __init__(self, output: Output, columns: Sequence[Column], console: "Console | None") -> None:
        """`console` is the terminal, where there is one."""
        self._output = output
        self._columns = columns
        self._console = console
        self._begun = False
        self._brushes: dict[str, list[str]] = {}

    @property
    def drawn(self) -> bool:
        """Whether they are drawn on a terminal."""
        return self._console is not None

    def add(self, document: Mapping[str, Any], cells: Sequence[object], more: str | None = None) -> None:
        """One row: the document as JSON, or a cell for each column. `more` is one cell more; on a terminal it stands
        below the row, on lines of its own.
        """
        if self._console is None:
            text = "\t".join(map(_cell, cells if more is None else (*cells, more)))
            self._output.result(document, text)
            return
        if not self._begun:
            self._begun = True
            self._draw((column.heading, "bold") for column in self._columns)
        texts = map(_cell, cells)
        self._draw((text, _STYLES.get(text, "")) for text in texts)
        for line in more.splitlines() if more else ():
            indent = line[: len(line) - len(line.lstrip(" "))]
            self._output.line(self._painted(f"  {indent}{clean(line)}", "dim"))

    def _draw(self, cells: Iterable[tuple[str, str]]) -> None:
        fitted = (
            self._painted(_fitted(text, column), style)
            for column, (text, style) in zip(self._columns, cells, strict=True)
        )
        self._output.line("  ".join(fitted).rstrip(" "))

    def _painted(self, text: str, style: str) -> str:
        """The text between what switches a style on and off. Rich is asked once for each style: it takes its time."""
        if style not in self._brushes:
            assert self._console is not None
            with self._console.capture() as drawn:
                self._console.print("x", style=style, end="")
            self._brushes[style] = drawn.get().split("x")
        on, off = self._brushes[style]
        return f"{on}{text}{off}"


def to_json(document: object) -> str:
    """One line of JSON. What a terminal could trip over is escaped, as everything beyond ASCII is."""
    import json

    return json.dumps(document, separators=(", ", ": "), allow_nan=False)


def _cell(value: object) -> str:
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


def listed(names: Iterable[str]) -> str:
    """Names in a sentence: `a, b and c`."""
    *most, last = list(names) or [""]
    return f"{', '.join(most)} and {last}" if most else last


def counted(number: int, noun: str) -> str:
    """So many things: `1 line`, `2,000 lines`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
