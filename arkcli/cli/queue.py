"""`ark queue`: inspect and manage the delivery queue."""

import sys
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from arkcli import times
from arkcli.actions import metrics, operate
from arkcli.actions.reading import Named, Reading
from arkcli.cli.chart import last_hour
from arkcli.cli.command import App
from arkcli.cli.options import (
    Yes,
    ask,
    check_event,
    choose_destinations,
    complete_destination,
    complete_event,
    complete_event_id,
    output_of,
    session_of,
)
from arkcli.cli.printout import Printout, broken_json, left_out
from arkcli.cli.records import answer_cell, attempt_json, outage_json, outage_note, when
from arkcli.cli.session import Session
from arkcli.errors import ExitCode, UsageError
from arkcli.model import State
from arkcli.output import Output
from arkcli.output.tables import Table
from arkcli.queue.engine import Selection
from arkcli.text import clean_lines, counted

app = App(alone=True)

EventIds = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[EVENT_ID…]",
        help="Choose the deliveries of these events: ids, unique prefixes of ids, or `last`.",
        autocompletion=complete_event_id,
    ),
]
To = Annotated[
    list[str] | None,
    typer.Option("--to", help="Only deliveries to this destination. Repeatable.", autocompletion=complete_destination),
]
Dead = Annotated[bool, typer.Option("--dead", help="All dead deliveries to the destinations given with --to.")]
AllDead = Annotated[bool, typer.Option("--all-dead", help="All dead deliveries to all destinations.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the count; change nothing.")]


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
    reading = _reading(session)
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
    reading = _reading(session_of(context), to)
    matching = (
        (destination, found)
        for destination, found in reading.deliveries()
        if state in (None, found.state.value) and event in (None, found.event.name)
    )
    return show_deliveries(output_of(context), reading, islice(matching, number), "no delivery matches")


@app.command()
def show(
    context: typer.Context,
    event_id: Annotated[
        str,
        typer.Argument(
            metavar="EVENT_ID",
            help="The event's id, a unique prefix of it, or `last`.",
            autocompletion=complete_event_id,
        ),
    ],
) -> Printout:
    """Show one event: its body and every attempt at every destination.

    Example: ark queue show evt_…
    """
    story = _reading(session_of(context)).story(event_id)
    event, body = story.event, story.event.body.decode()
    rows: list[tuple[object, ...]] = []
    for one in story.deliveries:
        name, state = one.destination.name, one.state
        rows += [] if one.attempts else [(name, state, None, None, None, None)]
        rows += [(name, state, made.attempt, when(made.at), made.outcome, answer_cell(made)) for made in one.attempts]
    return Printout(
        {
            "event": {
                "id": event.id,
                "type": event.name,
                "at": event.at,
                "bytes": len(event.body),
                "body": body,
            },
            "deliveries": [
                {
                    "destination": one.destination.name,
                    "state": one.state,
                    "attempts": [attempt_json(made) for made in one.attempts],
                }
                for one in story.deliveries
            ],
        },
        [
            f"{event.id}  {event.name}  accepted {event.at}, {len(event.body):,} bytes",
            clean_lines(body),
            Table(("destination", "state", "attempt", "at", "outcome", "answer"), rows),
        ],
        broken=story.broken,
    )


@app.command()
def retry(
    context: typer.Context,
    event_ids: EventIds = None,
    to: To = None,
    dead: Dead = False,
    all_dead: AllDead = False,
    dry_run: DryRun = False,
) -> Printout:
    """Make retrying and dead deliveries due now. The next `ark drain` attempts them.

    Example: ark queue retry --dead --to crm
    """
    session = session_of(context)
    reading, selection = _selection(session, event_ids, to, dead=dead, all_dead=all_dead)
    _check_found(reading, selection, [State.RETRYING, State.DEAD])
    count = operate.retry(session.home, selection, dry=dry_run)
    verb = "would be" if dry_run else "is" if count == 1 else "are"
    said = f"{counted(count, 'delivery', 'deliveries')} {verb} due now"
    said += f"; `ark drain` attempts {'it' if count == 1 else 'them'}"
    return Printout({"retried": count}, [said], broken=reading.broken)


@app.command()
def drop(
    context: typer.Context,
    event_ids: EventIds = None,
    to: To = None,
    dead: Dead = False,
    all_dead: AllDead = False,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> Printout:
    """Discard waiting, retrying or dead deliveries for good.

    Example: ark queue drop --all-dead --yes
    """
    session = session_of(context)
    reading, selection = _selection(session, event_ids, to, dead=dead, all_dead=all_dead)
    _check_found(reading, selection, [State.WAITING, State.RETRYING, State.DEAD])
    chosen = reading.destinations
    if not (yes or dry_run):
        count = operate.drop(session.home, chosen, selection, dry=True)
        if count:
            ask(session, f"Discard {counted(count, 'delivery', 'deliveries')} for good?")
        else:
            chosen = []
    count = operate.drop(session.home, chosen, selection, dry=dry_run)
    verb = "would be" if dry_run else "was" if count == 1 else "were"
    said = f"{counted(count, 'delivery', 'deliveries')} {verb} discarded"
    return Printout({"dropped": count}, [said], broken=reading.broken)


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


def _reading(session: Session, names: list[str] | None = None) -> Reading:
    contents = session.home.store.read()
    return Reading(session.home, choose_destinations(contents, names) if names or contents.destinations else [])


def _selection(
    session: Session, event_ids: list[str] | None, to: list[str] | None, *, dead: bool, all_dead: bool
) -> tuple[Reading, Selection]:
    if dead and not to:
        raise UsageError("--dead needs --to NAME; --all-dead means every destination")
    if not (event_ids or dead or all_dead):
        raise UsageError("name the deliveries: EVENT_ID…, --dead --to NAME, or --all-dead")
    reading = _reading(session, to)
    ids = tuple(known.id for known in reading.destinations)
    events = frozenset(reading.event(given).id for given in event_ids or ())
    return reading, Selection(destination_ids=ids, event_ids=events, dead=dead or all_dead)


def _check_found(reading: Reading, selection: Selection, states: Sequence[State]) -> None:
    missing = reading.missing(selection, states)
    if missing:
        words = f"{', '.join(states[:-1])} or {states[-1]}"
        unread = "".join(f"; {name} could not be read: {reason}" for name, reason in reading.broken.items())
        raise UsageError(
            f"no delivery of {', '.join(missing)} is {words}, so nothing was changed; "
            f"`ark queue list` shows the deliveries{unread}"
        )


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
