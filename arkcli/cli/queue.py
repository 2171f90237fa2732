"""`ark queue`: inspect and manage the delivery queue."""

import sys
from collections.abc import Callable, Iterable
from enum import StrEnum
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from arkcli import times
from arkcli.actions import metrics
from arkcli.actions.reading import Named, Reading
from arkcli.cli import operate, story
from arkcli.cli.chart import last_hour
from arkcli.cli.command import App
from arkcli.cli.options import To, check_event, complete_event, output_of, reading_of, session_of
from arkcli.cli.printout import Printout, broken_json, left_out
from arkcli.cli.records import outage_json, outage_note, when
from arkcli.errors import ExitCode, UsageError
from arkcli.model import State
from arkcli.output import Output
from arkcli.output.tables import Table
from arkcli.text import counted

app = App(alone=True)


@app.callback()
def summary(
    context: typer.Context,
    prometheus: Annotated[
        Path | None,
        typer.Option("--prometheus", help="Write metrics to FILE for node_exporter, or to standard output with -."),
    ] = None,
) -> Printout | None:
    """Inspect and manage the delivery queue.

    Without a command: print what is waiting, retrying and dead per destination, and when the next attempt is due.

    Example: ark queue
    """
    if context.invoked_subcommand is not None:
        if prometheus is not None:
            raise UsageError("--prometheus goes with `ark queue` alone; run it without " + context.invoked_subcommand)
        return None
    session = session_of(context)
    reading = reading_of(session)
    overview, totals = reading.overview(), reading.totals
    standings = overview.readable
    now = session.home.clock.now()
    output = output_of(context)
    if prometheus is not None:
        text = metrics.exposition(overview, totals, now)
        if prometheus != Path("-"):
            metrics.write(prometheus, text)
        elif output.as_json:
            raise UsageError("--prometheus - and --json both write to standard output; use one of them")
        else:
            return Printout({}, [text.decode().rstrip("\n")], broken=reading.broken, always=True)
    headings: tuple[str, ...] = ("destination", "waiting", "retrying", "dead", "next due", "oldest")
    moment: Callable[[int | None], str | None] = when
    if output.on_a_terminal:
        headings, moment = (*headings, "last hour"), partial(_from_now, now)
    rows: list[tuple[object, ...]] = [
        (known.name, held.waiting, sum(held.retrying), held.dead, moment(held.next_due_at), moment(held.oldest_at))
        for known, held in standings
    ]
    if output.on_a_terminal:
        rows = [(*row, last_hour(reading, known, now)) for row, (known, _) in zip(rows, standings, strict=True)]
    notes = [outage_note(known.name, held.outage) for known, held in standings if held.outage is not None]
    return Printout(
        {
            "destinations": [
                {
                    "name": known.name,
                    "waiting": held.waiting,
                    "retrying": sum(held.retrying),
                    "retry_lanes": list(held.retrying),
                    "dead": held.dead,
                    "next_due_at": when(held.next_due_at),
                    "oldest_at": when(held.oldest_at),
                    "held_back": outage_json(held.outage),
                }
                for known, held in standings
            ],
            "events": totals.events,
            "bytes": totals.size,
        },
        [Table(headings, rows)],
        [*notes, f"{counted(totals.events, 'event')} stored, {counted(totals.size, 'byte')}"],
        broken=reading.broken,
    )


class _NotDone(StrEnum):
    """States of an unfinished delivery."""

    WAITING = State.WAITING
    RETRYING = State.RETRYING
    DEAD = State.DEAD


@app.command("list")
def list_(
    context: typer.Context,
    to: To = None,
    state: Annotated[_NotDone | None, typer.Option("--state", help="Only deliveries in this state.")] = None,
    event: Annotated[
        str | None, typer.Option("--event", help="Only events of this type.", autocompletion=complete_event)
    ] = None,
    number: Annotated[int | None, typer.Option("-n", min=0, max=sys.maxsize, help="Show at most N.")] = None,
) -> ExitCode:
    """List deliveries that are waiting, retrying or dead.

    Example: ark queue list --state dead
    """
    if event is not None:
        check_event(event)
    reading = reading_of(session_of(context), to)
    matching = (
        (destination, found)
        for destination, found in reading.deliveries()
        if state in (None, found.state.value) and event in (None, found.event.name)
    )
    return show_deliveries(output_of(context), reading, islice(matching, number), "no delivery matches")


app.command()(story.show)
app.command()(operate.retry)
app.command()(operate.drop)


@app.command()
def check(
    context: typer.Context,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair", help="Move damaged lines to a separate file, so that the rest works; nothing is deleted."
        ),
    ] = False,
) -> Printout:
    """Read the whole queue and report damage: file, line and problem. Exit status 78 if there is any.

    Example: ark queue check
    """
    session = session_of(context)
    queue, clock = session.home.queue, session.home.clock
    with output_of(context).working("checking the queue", clock.monotonic):
        result = queue.check(repair_at=times.to_text(clock.now()) if repair else None)
    rows = [(found.file, found.line, found.problem) for found in result.damaged]
    document: dict[str, Any] = {
        "ok": not rows,
        "lines": result.lines,
        "damaged": [{"file": file, "line": line, "problem": problem} for file, line, problem in rows],
    }
    if result.set_aside is not None:
        document["set_aside"] = result.set_aside
    said = f"{counted(result.lines, 'line')} read, {counted(len(rows), 'problem')}"
    if rows and result.set_aside is None:
        said += (
            "; everything else is safe. Run it with --repair to move damaged lines to a separate file; "
            "that deletes nothing"
        )
    elif rows:
        said += f"; copies of the damaged lines and a record of the gaps are in {result.set_aside}"
    status = ExitCode.UNREADABLE if rows and result.set_aside is None else ExitCode.DONE
    return Printout(document, [Table(("file", "line", "problem"), rows), said], status=status, always=bool(rows))


def show_deliveries(output: Output, reading: Reading, found: Iterable[Named], nothing: str) -> ExitCode:
    """Prints unfinished deliveries as they are read, in constant memory; returns the exit status.

    `nothing` is the note printed if there are none.
    """
    output.items(
        "deliveries",
        found,
        _delivery,
        ("event id", "event", "destination", "state", "attempt", "next attempt", "last answer"),
        _delivery_row,
        nothing,
        lambda: broken_json(reading.broken),
    )
    return left_out(output, reading.broken)


def _delivery(one: Named) -> dict[str, Any]:
    destination, found = one
    return {
        "event_id": found.event.id,
        "event": found.event.name,
        "destination": destination.name,
        "state": found.state,
        "attempt": found.attempt,
        "next_attempt_at": when(found.next_attempt_at),
        "last_status": found.last_status,
        "last_error": found.last_error,
        "accepted_at": found.event.at,
    }


def _delivery_row(one: Named) -> tuple[object, ...]:
    destination, found = one
    answer = found.last_error or found.last_status
    following = when(found.next_attempt_at)
    return found.event.id, found.event.name, destination.name, found.state, found.attempt, following, answer


def _from_now(now: int, at: int | None) -> str | None:
    if at is None:
        return None
    said = times.describe_duration(abs(at - now) / 1000)
    return f"in {said}" if at > now else f"{said} ago"
