"""The only module that prints. Data goes to standard output, everything else to standard error."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice, takewhile
from typing import Any, Final, TextIO, TypeVar

from arkcli.errors import ArkError, Interrupted
from arkcli.output.live import ERASE, Live, Words
from arkcli.output.screen import STYLES, Screen, plain
from arkcli.output.tables import Column, Prose, Table, draw, fitted
from arkcli.system.refused import of_system
from arkcli.system.streams import Stream, Unread, has_room
from arkcli.text import clean, clean_lines, counted

#: Rows aligned together on a terminal; longer lists are drawn in chunks of this size.
_ROWS_AT_ONCE: Final = 1_000
#: The longest warning in a service's log, in characters.
_LONGEST_WARNING: Final = 500

Item = TypeVar("Item")
Row = TypeVar("Row")


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
        live: Live | None = None,
    ) -> None:
        """`as_json` prints JSON instead of text; `quiet` omits text unless something went wrong.

        `color` is as for a Screen. `live` is the live line of another Output on the same terminal.
        """
        self._stdout = stdout
        self.screen = Screen(stdout, variables, color)
        self._errors = Screen(stderr, variables, color)
        self.live = live or Live(self._errors)
        self.as_json = as_json
        self.quiet = quiet
        self._dropped = 0

    @property
    def on_a_terminal(self) -> bool:
        """Whether text goes to a terminal, where charts may be shown."""
        return self.screen.is_terminal and not self.as_json

    @property
    def is_watched(self) -> bool:
        """Whether somebody at a terminal reads standard error, and wants to know more than problems."""
        return self._errors.is_terminal and not (self.quiet or self.as_json)

    @property
    def erasing(self) -> str:
        """What a signal handler writes before a message: it begins a line of its own, after the `^C` of a terminal."""
        return ERASE if self._errors.can_redraw else "\n" if self._errors.is_terminal else ""

    @property
    def lost(self) -> OSError | None:
        """The error that made standard output unwritable; None while it works."""
        return self._stdout.lost if isinstance(self._stdout, Stream) else None

    def result(self, document: Mapping[str, Any], *text: str | Table, always: bool = False) -> None:
        """Prints a command's result: the document as JSON, or the text. `always` prints the text even when quiet."""
        self.live.erase()
        if self.as_json:
            self._stdout.write(to_json(document) + "\n")
        elif always or not self.quiet:
            for part in text:
                if isinstance(part, Table):
                    draw(part, self.screen)
                else:
                    said = self.screen.folded(part, part.indent) if isinstance(part, Prose) else part
                    self._stdout.write(said + "\n")
        self._stdout.flush()
        is_full = not isinstance(self.lost, BrokenPipeError | None)
        if is_full and not always and text and isinstance(text[0], str) and "\n" not in text[0]:
            # A single line may report a change, so print it to standard error instead. Longer text only shows things.
            self._say("", text[0])

    def exact(self, document: Mapping[str, Any], data: bytes) -> None:
        """Prints the document as JSON, or UTF-8 data byte for byte, also when quiet."""
        if self.as_json:
            self.result(document)
            return
        self._stdout.flush()
        if isinstance(self._stdout, Stream):
            # Its encoding may be another one.
            self._stdout.buffer.write(data)
        else:
            self._stdout.write(data.decode())
        self._stdout.flush()

    def items(
        self,
        key: str,
        found: Iterable[Item],
        document: Callable[[Item], Mapping[str, Any]],
        row: Callable[[Item], Row],
        table: Callable[[Sequence[Row]], Table],
        nothing: str,
        more: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        """Prints any number of items in constant memory: a list under a key as JSON, or tables, one after another.

        `row` takes from an item what `table` needs to draw it: items may be large. `nothing` is the note printed if
        there are none; `more` is called last for further keys of the JSON object.

        As JSON, an error after the first item is added to the same object, and raised with `told` set.
        """
        self.live.erase()
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
                    draw(table(rows), self.screen)
            if not begun:
                self.note(nothing)
        self._stdout.flush()

    def rows(self, columns: Sequence[Column]) -> "Rows":
        """Starts a table whose rows are added one by one."""
        drawn = not (self.as_json or self.quiet) and self.screen.is_terminal
        return Rows(self, columns, drawn=drawn)

    def lines(self, texts: Iterable[str]) -> None:
        """Writes lines of data (JSON or text) in batches. Omits text when quiet."""
        if self.as_json or not self.quiet:
            if self.screen.is_terminal:
                self.live.erase()
            remaining = iter(texts)
            while batch := list(islice(remaining, _ROWS_AT_ONCE)):
                batch.append("")
                self._stdout.write("\n".join(batch))
            self._stdout.flush()

    def line(self, text: str) -> None:
        """Writes one line of progress at once; omitted when quiet or as JSON."""
        if not (self.quiet or self.as_json):
            self.live.erase()
            self._stdout.write(text + "\n")
            self._stdout.flush()

    def note(self, text: str) -> None:
        """Writes a note to standard error; omitted when quiet or as JSON."""
        if not (self.quiet or self.as_json):
            self._say("", text)

    def warn(self, text: str) -> None:
        """Writes a warning to standard error, even when quiet."""
        self._say("warning:", text, "yellow")

    def verdict(self, word: str, text: str, more: str | None = None) -> None:
        """Writes a verdict such as `invalid` with its reason, and an explanation below it, to standard error; even when
        quiet.
        """
        self._say(f"{word}:", text, STYLES.get(word, ""))
        for line in clean_lines(more or "").splitlines():
            self._say("", line)

    def question(self, text: str) -> None:
        """Writes a question to standard error, even when quiet or as JSON; the answer is typed on its last line."""
        self._errors.write(self._errors.folded(clean(text)) + " ")

    def log(self, text: str, document: Mapping[str, Any]) -> None:
        """Writes a line of a service's log to standard error: the text, or the document as JSON.

        Drops it if nobody reads standard error: a service must not wait for that. A later line says how many.
        """
        if not has_room(self._errors.stream):
            self._dropped += 1
            return
        if self._dropped:
            count, self._dropped = self._dropped, 0
            self.log_warning(f"{counted(count, 'line')} could not be written here, because nobody was reading")
        if self.as_json:
            self._errors.write(to_json(document) + "\n")
        else:
            self._say("", text)

    def log_warning(self, text: str) -> None:
        """Writes a warning as a line of a service's log."""
        # A client may have caused it, with a line of any length.
        said = text if len(text) <= _LONGEST_WARNING else f"{text[:_LONGEST_WARNING]} …"
        self.log(f"warning: {said}", {"warning": said})

    def error(self, error: ArkError) -> None:
        """Writes an error: one line on standard error, or one JSON object on standard output."""
        if self.as_json:
            self._stdout.write(to_json({"error": _error(error)}) + "\n")
            self._stdout.flush()
        else:
            self._say("error:", str(error), "red")

    def _say(self, label: str, text: str, style: str = "") -> None:
        """Writes a message to standard error, with a label in a style before it."""
        self.live.erase()
        said = self._errors.folded(f"{label} {clean(text)}".lstrip())
        self._errors.write(f"{self._errors.painted(label, style)}{said.removeprefix(label)}\n")

    def copy(self, text: str) -> None:
        """Asks the terminal to put a text into the clipboard (xterm's OSC 52); many do so, and others ignore it."""
        if self.screen.can_redraw:
            import base64

            self.screen.write(f"\x1b]52;c;{base64.b64encode(text.encode()).decode()}\x07")

    @contextmanager
    def drawing(self) -> Iterator[Callable[[float, Words], None] | None]:
        """Yields a function that draws the live line (`Live.draw`) during a block.

        Yields None where nothing is drawn: not on a terminal, on a dumb one, when quiet and as JSON.
        """
        try:
            yield self.live.draw if self.is_watched and self._errors.can_redraw else None
        finally:
            self.live.end()

    @contextmanager
    def working(self, doing: str, monotonic: Callable[[], float]) -> Iterator[None]:
        """Shows on the live line what a block is doing and for how long, if it lasts.

        A thread draws the line, so the block need not call anything. It must not start a process.
        """
        with self.drawing() as draw:
            if draw is None:
                yield
                return
            from threading import Event, Thread

            began, ended = monotonic(), Event()

            def show() -> None:
                while not ended.wait(0.1):
                    draw(monotonic(), lambda _width: f"{doing}, {monotonic() - began:.0f} s")

            thread = Thread(target=show, daemon=True)
            thread.start()
            try:
                yield
            finally:
                ended.set()
                thread.join()


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
            self._output.line("\t".join(map(plain, cells if more is None else (*cells, more))))
            return
        if not self._begun:
            self._begun = True
            self._draw((column.heading, "bold") for column in self.columns)
        self._draw((text, STYLES.get(text, "")) for text in map(plain, cells))
        for line in clean_lines(more).splitlines() if more else ():
            self._output.line(self._output.screen.painted(f"  {line}", "dim"))

    def _draw(self, cells: Iterable[tuple[str, str]]) -> None:
        painted = self._output.screen.painted
        drawn = (
            painted(fitted(text, column), style) for column, (text, style) in zip(self.columns, cells, strict=True)
        )
        self._output.line("  ".join(drawn).rstrip(" "))


def to_json(document: object) -> str:
    """The document as one line of JSON. Non-ASCII and C0 control characters are escaped."""
    import json

    return json.dumps(document, separators=(", ", ": "), allow_nan=False)


def _error(error: ArkError) -> dict[str, str]:
    return {"code": error.code, "message": str(error)}


def _separated(texts: Iterable[str]) -> Iterator[str]:
    separator = ""
    for text in texts:
        yield separator + text
        separator = ", "
