"""`ark log`."""

import re
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import takewhile
from typing import Annotated, Any, Final

import typer

from arkcli.actions.following import Following, Named
from arkcli.actions.grouping import short_reason
from arkcli.actions.printed import attempt_json, when
from arkcli.actions.stats import Summary
from arkcli.actions.wording import said_cell, short_time, took_cell
from arkcli.cli.chart import latencies
from arkcli.cli.command import App
from arkcli.cli.lists import FEW, count_cell, percent, shortened
from arkcli.cli.options import OfType, OnlyTo, choose_destinations, parse_time, session_of
from arkcli.cli.printout import Printout, broken_key, show
from arkcli.cli.session import Session
from arkcli.errors import ExitCode, UsageError
from arkcli.model import Attempt, Destination, Outcome
from arkcli.output import Output, Rows
from arkcli.output.screen import Screen
from arkcli.output.tables import Column, Table, fitting, narrowed
from arkcli.store.store import Contents
from arkcli.text import counted

app = App()
_POLL = 0.2
#: The columns on a terminal and their widths. Those of names and answers depend on the terminal.
_WIDTHS: Final = {
    "time (UTC)": 14, "destination": 11, "event": 20, "#": 1, "outcome": 9, "took": 9, "answer": 12, "event id": 32,
}  # fmt: skip
#: What is made narrower (0: left out) until a row fits, in this order. The beginning of an id is enough to name it.
_NARROWER: Final = (("event id", 20), ("took", 0), ("outcome", 0), ("event", 0), ("event id", 0))

#: Where one bar of the chart of latencies ends and the next one begins, in milliseconds.
_BOUNDS: Final = (3, 10, 30, 100, 300, 1_000, 3_000)
_LATENCY: Final = "latency, bar by bar: below 3, 10, 30, 100, 300, 1,000 and 3,000 ms, and longer"

Wanted = Callable[[Attempt], bool]


@app.command()
def log(
    context: typer.Context,
    to: OnlyTo = None,
    event: OfType = None,
    outcome: Annotated[Outcome | None, typer.Option("--outcome", help="Only attempts with this outcome.")] = None,
    status: Annotated[
        str | None, typer.Option("--status", help="Only attempts answered with this status: 503, or 5xx for a class.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", help="Only attempts made at or after this time: ISO 8601, or -2h for two hours ago."),
    ] = None,
    number: Annotated[int | None, typer.Option("-n", min=0, max=sys.maxsize, help="Show only the last N.")] = None,
    stats: Annotated[
        bool, typer.Option("--stats", help="Print a summary per destination instead: rates, latencies and outcomes.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Also show the beginning of the answer to each failed attempt.")
    ] = False,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Keep running and show new attempts as they are made. Ctrl-C stops.")
    ] = False,
) -> Printout | ExitCode:
    """Show delivery attempts, newest last. With --json, one object per line.

    Exit status: 0 everything was shown, 130 --follow was interrupted.

    Example: ark log --outcome failed -n 20 -v

    Example: ark log --stats --since -24h
    """
    if stats and (follow or verbose):
        other = "--follow shows new ones" if follow else "-v shows the answers"
        raise UsageError(f"--stats summarises past attempts, and {other}; choose one")
    session = session_of(context)
    wanted = _wanted(session, event, outcome, status, since)
    output = session.output()
    contents = session.home.store.read()
    if to:
        # An unknown name is an error now; with --follow, a destination may get it later.
        choose_destinations(contents, to)
    broken: dict[str, str] = {}

    def left_out(name: str, reason: str) -> None:
        broken[name] = reason
        if follow:
            output.result(broken_key({name: reason}))
            output.warn(f"{name} is left out: {reason}")

    following = Following(session.home, contents, partial(_chosen, to), left_out, output.warn)
    if follow:
        session.process.stop_on_signals()
    until_stopped = takewhile(lambda _: not session.process.stopping(), following.past())
    matching = (named for named in until_stopped if wanted(named[1]))
    chosen = matching if number is None else deque(matching, maxlen=number)
    if stats:
        return _summed_up(output, following.destinations, chosen, broken)
    names = [found.name for found in following.destinations]
    rows = output.rows(columns(output.screen.width, max(map(len, names), default=0)))
    printed = _Printed(rows, output.screen, verbose=verbose)
    _print_all(session, printed, chosen)
    if follow:
        return _go_on(session, following, printed, wanted)
    if not printed.has_any:
        output.note("no attempt matches")
    return show(output, Printout({}, broken=broken)) if broken else ExitCode.DONE


def columns(width: int, longest: int) -> list[Column]:
    """The columns that fit a terminal of this width. `longest` is the length of the longest name to show."""
    widest = {**_WIDTHS, "destination": max(_WIDTHS["destination"], min(longest, width // 2))}
    widths = narrowed(widest, _NARROWER, width)
    left = width - sum(widths.values()) - 2 * (len(widths) - 1)
    widths["answer"] += min(max(left, 0), 48)
    return [Column(heading, size, right=heading == "took") for heading, size in widths.items()]


def _chosen(names: list[str] | None, contents: Contents) -> list[Destination]:
    """The destinations with these names that exist; all destinations if no names are given."""
    named = (contents.find(name) for name in names or ())
    return [found for found in named if found is not None] if names else contents.destinations


def _go_on(session: Session, following: Following, printed: "_Printed", wanted: Wanted) -> ExitCode:
    while not session.process.stopping():
        _print_all(session, printed, (named for named in following.new() if wanted(named[1])))
        session.home.clock.sleep(_POLL)
    return ExitCode.INTERRUPTED


def _print_all(session: Session, printed: "_Printed", chosen: Iterable[Named]) -> None:
    for destination, attempt in chosen:
        if session.process.stopping():
            return
        printed.add(destination, attempt)


def _wanted(
    session: Session, event: str | None, outcome: Outcome | None, status: str | None, since: str | None
) -> Wanted:
    begins = None if since is None else parse_time(since, session.home.clock.now(), "--since")
    if status is not None and not re.fullmatch(r"\d{3}|\dxx", status.lower()):
        raise UsageError(f"--status takes a status like 503, or a class like 5xx, not {status!r}")
    pattern = None if status is None else re.compile(status.lower().replace("x", r"\d"))

    def wanted(attempt: Attempt) -> bool:
        return (
            event in (None, attempt.event)
            and outcome in (None, attempt.outcome)
            and (begins is None or attempt.at >= begins)
            and (pattern is None or pattern.fullmatch(str(attempt.status)) is not None)
        )

    return wanted


def _summed_up(
    output: Output, destinations: list[Destination], chosen: Iterable[Named], broken: Mapping[str, str]
) -> Printout:
    sums = {found.name: Summary() for found in destinations}
    for found, attempt in chosen:
        sums[found.name].add(attempt)
    shares = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99}
    documents = [
        {
            "name": name,
            "attempts": found.attempts,
            "delivered": found.delivered,
            "failed": found.failed,
            "delivered_share": found.delivered_share and round(found.delivered_share, 6),
            "per_minute": found.per_minute and round(found.per_minute, 3),
            **{key: found.percentile(share) for key, share in shares.items()},
            "first_at": when(found.first),
            "last_at": when(found.last),
        }
        for name, found in sums.items()
        if name not in broken
    ]
    if output.on_a_terminal:
        drawn = {name: found for name, found in sums.items() if name not in broken}
        idle = [name for name, found in drawn.items() if not found.attempts]
        idle = idle if len(idle) > FEW else []
        table = _drawn({name: found for name, found in drawn.items() if name not in idle}, output.screen.width)
        rest = [f"{counted(len(idle), 'destination')}: no attempt"] if idle else []
        return Printout({}, [table, *rest], [_LATENCY] if table.rows else [], broken=broken)
    headings = ("destination", "attempts", "delivered", "failed", "share", "a minute", "p50 ms", "p95 ms", "p99 ms")
    rows = [tuple(one.values())[: len(headings)] for one in documents]
    return Printout({"destinations": documents}, [Table(headings, rows)], broken=broken)


def _drawn(sums: Mapping[str, Summary], width: int) -> Table:
    """The summary on a terminal: percent, thousands separated, and a chart of how long the attempts took."""
    headings = ("destination", "attempts", "failed", "delivered", "a minute", "p50 ms", "p95 ms", "p99 ms", "latency")
    rows = [
        (
            name,
            f"{found.attempts:,}",
            count_cell(found.failed, "red"),
            None if found.delivered_share is None else percent(found.delivered_share),
            found.per_minute and f"{found.per_minute:,.{0 if found.per_minute >= 10 else 1}f}",
            *(None if took is None else f"{took:,}" for took in map(found.percentile, (0.5, 0.95, 0.99))),
            latencies(found.histogram(_BOUNDS)) if found.attempts else None,
        )
        for name, found in sums.items()
    ]
    return fitting(Table(headings, rows), width, ("p95 ms", "a minute", "failed", "p99 ms", "attempts"))


def _shortened(cell: object, width: int) -> object:
    """An id's beginning, and both ends of a name, where they are too long; other cells are cut when they are drawn."""
    if not isinstance(cell, str) or len(cell) <= width or " " in cell:
        return cell
    return cell[:width] if cell.startswith("evt_") else shortened(cell, width)


class _Printed:
    """Attempts as rows of a table; verbose ones with the beginning of the answer."""

    def __init__(self, rows: Rows, screen: Screen, *, verbose: bool) -> None:
        self._rows = rows
        self._screen = screen
        self._verbose = verbose
        self.has_any = False

    def add(self, destination: Destination, attempt: Attempt) -> None:
        self.has_any = True
        document: dict[str, Any] = {
            "event_id": attempt.event_id,
            "event": attempt.event,
            "destination": destination.name,
            **attempt_json(attempt),
        }
        at, answer, took = document["at"], attempt.error or attempt.status, took_cell(attempt)
        number, outcome = attempt.attempt, attempt.outcome
        if not self._rows.drawn:
            cells = (at, destination.name, attempt.event, attempt.event_id, number, outcome, answer, took)
            self._rows.add(document, cells, said_cell(attempt) if self._verbose else None)
            return
        short = short_reason(attempt.status, attempt.error)
        shown = {
            # The year is known.
            "time (UTC)": short_time(attempt.at),
            "destination": destination.name,
            "event": attempt.event,
            "#": number,
            "outcome": outcome,
            "took": took,
            "answer": short,
            "event id": attempt.event_id,
        }
        row = [_shortened(shown[column.heading], column.width) for column in self._rows.columns]
        self._rows.add(document, row, "\n".join(self._below(attempt, short)) if self._verbose else None)

    def _below(self, attempt: Attempt, short: str | None) -> list[str]:
        """What the receiver said with a failure; or why there was no answer, if the row says that in fewer words."""
        more = attempt.status is None and attempt.error is not None and attempt.error != short
        return self._screen.excerpt(attempt.error if more else attempt.excerpt, 2) if attempt.error else []
