"""How `ark listen` shows a request: as a row, with its headers and body, and in detail."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from arkcli import times
from arkcli.actions.requests import causes_of, head_of, lines_of, remarks_of, summary, took_of, verdict_of
from arkcli.httpd.messages import Request
from arkcli.output import Output
from arkcli.output.tables import Column, narrowed
from arkcli.receiver import record
from arkcli.receiver.record import Received
from arkcli.receiver.resend import text_of
from arkcli.signing import SIGNATURE_HEADER
from arkcli.text import clean, counted, escaped

#: The columns on a terminal and their widths.
_WIDTHS: Final = {
    "#": 3, "time UTC": 12, "event": 20, "verdict": 7, "try": 3, "bytes": 6, "answer": 7, "took": 6, "event id": 28,
}  # fmt: skip
#: What is made narrower (0: left out) until a row fits, in this order. The beginning of an id is its time.
_NARROWER: Final = (
    *(("event id", 12), ("time UTC", 8), ("bytes", 0), ("event id", 0), ("took", 0), ("time UTC", 0), ("try", 0)),
)
_PIPED: Final = tuple(map(Column, ("time (UTC)", "event", "verdict", "bytes", "answer", "remarks")))
#: How much is shown of a request or an answer in detail, and how much of an answer that is not a 2xx in a pipe.
_MOST_LINES: Final = 200
_MOST_CHARACTERS: Final = 16 * 1024
_SAID_CHARACTERS: Final = 200
#: What is below a row begins with it.
_INDENT: Final = "    "


class Listing:
    """The list of requests that `ark listen` prints."""

    def __init__(self, output: Output, *, forwarding: bool, verbose: int) -> None:
        """`verbose`: 1 also shows headers and bodies, 2 shows them byte for byte."""
        self._output = output
        self._verbose = verbose
        self._width = max(output.screen.width, 24)
        widths = {heading: size for heading, size in _WIDTHS.items() if forwarding or heading != "took"}
        right = ("#", "try", "bytes", "took")
        narrow = [step for step in _NARROWER if step[0] in widths]
        fitting = narrowed(widths, narrow, self._width)
        drawn = [Column(heading, size, right=heading in right) for heading, size in fitting.items()]
        rows = output.rows(drawn)
        self._rows = rows if rows.drawn else output.rows(_PIPED)
        #: Whether somebody looks at a terminal.
        self.drawn = rows.drawn

    def add(self, number: int, received: Received) -> None:
        """Prints a request. Raises Unread if nobody reads it."""
        document = record.document(received)
        if not self.drawn:
            body = None
            if self._verbose:
                document |= record.request_of(received)
                body = (received.request.body or b"").decode("utf-8", "backslashreplace")
            self._rows.add(document, self._piped(received), body)
            return
        cells = _cells(number, received, document["at"])
        widths = {column.heading: column.width for column in self._rows.columns}
        if "time UTC" in widths:
            cells["time UTC"] = document["at"][11 : 11 + widths["time UTC"]]
        # The beginning of an id is one, too; with an ellipsis it could not be copied.
        cells["event id"] = clean(cells["event id"])[: widths.get("event id", 0)]
        self._rows.add(document, [cells[heading] for heading in widths])
        self._below(remarks_of(received))
        self._below(self._output.screen.excerpt(_excerpt(received), len(_INDENT)), "dim")
        if self._verbose:
            self._below((_raw if self._verbose > 1 else _readable)(received.request), "dim")

    def details(self, number: int, received: Received) -> None:
        """Prints everything about a request, its answer included."""
        self._output.line(f"#{number}: {summary(received)}")
        attempt = "" if received.attempt is None else f", attempt {received.attempt}"
        self._below([f"{times.to_text(received.at)}{attempt} of delivery {received.delivery or '-'}"])
        if received.verdict.webhook is not None:
            found = f"{SIGNATURE_HEADER} {received.verdict.signature}, webhook-signature {received.verdict.webhook}"
            self._below([found])
        self._below(remarks_of(received))
        self._below(_readable(received.request), "dim")
        if received.reply is not None:
            self._below([f"The application answered {received.answer} after {took_of(received.took)}:"])
            self._below(_content(lines_of(received.reply.headers), received.reply.body), "dim")

    def _piped(self, received: Received) -> list[object]:
        said = clean(" ".join(_excerpt(received).split()))[:_SAID_CHARACTERS]
        remarks = [*causes_of(received), *_repeated(received), *([f"the application said: {said}"] if said else [])]
        if received.error is not None:
            remarks.append(received.error)
        return [
            *(times.to_text(received.at), received.event, "valid" if received.verdict.valid else "invalid"),
            *(received.size, received.answer or None, "; ".join(remarks)),
        ]

    def _below(self, lines: Iterable[str], style: str = "") -> None:
        """Prints lines below a row. Remarks are wrapped; what came over the wire is the terminal's to wrap."""
        for line in lines:
            width = self._width - len(_INDENT)
            pieces = textwrap.wrap(clean(line), width, break_long_words=False) if not style else [line]
            for piece in pieces:
                self._output.line(self._output.screen.painted(f"{_INDENT}{piece}".rstrip(), style))


def _cells(number: int, received: Received, at: str) -> dict[str, Any]:
    # The part of a delivery's id that names the event; `ark queue show` takes it without the prefix, too.
    event_id = (received.delivery or "-").partition(".")[0].removeprefix("evt_")
    return {
        "#": number,
        "time UTC": at,
        "event": received.event,
        "verdict": verdict_of(received),
        "try": received.attempt,
        "bytes": received.size,
        "answer": received.answer or None,
        "took": took_of(received.took),
        "event id": event_id,
    }


def _repeated(received: Received) -> Iterator[str]:
    if received.before:
        attempt = f"attempt {received.attempt}" if received.attempt else f"time {received.before + 1}"
        yield f"repeated: {attempt} of {received.delivery}"


def _excerpt(received: Received) -> str:
    """The beginning of an answer that makes a sender try again; empty for any other."""
    if received.reply is None or 200 <= received.reply.status <= 299:
        return ""
    return received.reply.body[:_MOST_CHARACTERS].decode("utf-8", "replace")


def _readable(request: Request) -> Iterator[str]:
    """The request line, the headers, and the body as indented JSON if it is JSON."""
    first, *headers = head_of(request)
    yield clean(first)
    yield from _content(headers, request.body)


def _content(headers: Sequence[str], body: bytes | None) -> Iterator[str]:
    if headers:
        yield from _bounded("\n".join(map(escaped, headers)))
        yield ""
    if body is None:
        yield "(the body was not read)"
    else:
        yield from _bounded(text_of(body).decode("utf-8", "backslashreplace").removesuffix("\n"))


def _bounded(text: str) -> Iterator[str]:
    """The beginning of a text made harmless, and how much is left."""
    shown = "\n".join(text.split("\n", _MOST_LINES)[:_MOST_LINES])[:_MOST_CHARACTERS]
    for line in shown.split("\n"):
        yield line[: len(line) - len(line.lstrip(" "))] + clean(line)
    left = text[len(shown) :]
    if left.startswith("\n"):
        yield f"… {counted(left.count(chr(10)), 'more line')}"
    elif left:
        yield f"… {counted(len(left), 'more character')}"


def _raw(request: Request) -> Iterator[str]:
    """The request byte for byte; control characters are shown as escape sequences."""
    yield from _bounded("\n".join(map(escaped, head_of(request))))
    yield ""
    if request.body is None:
        yield "(the body was not read)"
        return
    lines = request.body[:_MOST_CHARACTERS].split(b"\n")[:_MOST_LINES]
    for line in lines:
        yield escaped(line.decode("utf-8", "backslashreplace"))
    left = len(request.body) - len(b"\n".join(lines))
    if left:
        yield f"… {counted(left, 'more byte')}"
    else:
        newline = "a newline" if request.body.endswith(b"\n") else "no newline"
        yield f"({counted(len(request.body), 'byte')}, {newline} at the end)"
