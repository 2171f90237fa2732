"""`ark drain`."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Annotated

import typer

from arkcli import times
from arkcli.actions import drain as draining
from arkcli.actions.drain import Job
from arkcli.actions.printed import drained_json
from arkcli.actions.reading import Reading
from arkcli.actions.wording import outage_note
from arkcli.cli import statuses
from arkcli.cli.command import App
from arkcli.cli.deliveries import show_deliveries
from arkcli.cli.lists import FEW
from arkcli.cli.options import (
    Concurrency,
    OnlyTo,
    PerDestination,
    choose_destinations,
    parse_seconds,
    parse_time,
    session_of,
)
from arkcli.cli.printout import Printout
from arkcli.cli.session import ATTEMPTED_AGAIN, Session
from arkcli.cli.watching import DrainInLog, death_warnings, drain_watched
from arkcli.delivery.drain import Drained, Plan
from arkcli.delivery.places import Limits
from arkcli.errors import ArkError, ExitCode, InDoubt, Unreachable, UsageError
from arkcli.output import Output
from arkcli.output.tables import Table
from arkcli.system.child import when_input_ends
from arkcli.text import counted

app = App()


@app.command()
def drain(
    context: typer.Context,
    watch: Annotated[
        bool, typer.Option("--watch", help="Keep running and attempt each delivery when it falls due. Ctrl-C stops.")
    ] = False,
    for_: Annotated[
        str | None,
        typer.Option(
            "--for", metavar="DURATION", help="Like --watch, but stop after DURATION; use 55s in a one-minute cron job."
        ),
    ] = None,
    to: OnlyTo = None,
    concurrency: Concurrency = 64,
    per_destination: PerDestination = 8,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be attempted; send nothing.")] = False,
    at: Annotated[
        str | None, typer.Option("--at", help="With --dry-run: what would be attempted at this time (ISO 8601).")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 75 if a delivery is left to retry.")] = False,
    until_eof: Annotated[bool, typer.Option("--until-eof", hidden=True)] = False,
) -> Printout | ExitCode:
    """Attempt every delivery that is due, the oldest first at each destination.

    Exit status: 0 nothing more is due; 1 a delivery died, a secret cannot be read or a part of the queue is broken;
    75 with --strict, a delivery is left to retry; 130 interrupted.

    Example: ark drain --for 55s --quiet
    """
    session = session_of(context)
    output = session.output()
    if at is not None and not dry_run:
        raise UsageError("--at needs --dry-run: it lists what would be attempted at that time")
    if dry_run and (watch or for_ is not None):
        raise UsageError("--dry-run lists once what would be attempted; leave out --watch and --for")
    plan = Plan(watch=watch or for_ is not None, seconds=None if for_ is None else parse_seconds(for_, "--for"))
    choose = draining.only(choose_destinations(session.home.store.read_again(), to)) if to else draining.all_of
    if dry_run:
        now = session.home.clock.now()
        moment = now if at is None else parse_time(at, now, "--at")
        reading = Reading(session.home, (found for found in choose(session.home.store.read()) if not found.paused))
        return show_deliveries(output, reading, reading.due(moment), "nothing would be attempted", now)
    limits = Limits(total=concurrency, per_destination=min(per_destination, concurrency))
    job = Job(choose, plan, limits)
    session.stop_on_signals(ATTEMPTED_AGAIN)
    if until_eof:
        # It works for another process, and must not outlive it. Not as SIGTERM would: a service manager may send that,
        # too, and a second one ends attempts in flight.
        session.is_service = True
        when_input_ends(session.stdin, lambda: session.process.ask_to_stop(signal.SIGHUP))
    log = DrainInLog(output, session.home.schedule)
    watched = nullcontext(log) if until_eof else drain_watched(session, output, draining.Stock(session.home, choose))
    with watched as onlooker, _told_in_log(output) if until_eof else nullcontext():
        warn = output.log_warning if until_eof else output.warn
        drained = draining.drain(session.home, job, warn, session.process.stopping, onlooker)
    notes = [f"{held.name} was left to {held.by}, which is delivering to it" for held in drained.held]
    notes += [
        f"{outage_note(name, outage)}; deliveries not attempted stay due" for name, outage in drained.held_back.items()
    ]
    if not (
        until_eof
        or drained.total("attempted")
        or drained.held
        or drained.left_out
        or drained.held_back
        or drained.broken
        or drained.is_away
    ):
        notes += _next(session, drained)
    document = drained_json(drained)
    rows = [
        (found.name, found.delivered, found.retrying, found.dead) for found in drained.destinations if found.attempted
    ]
    said = (
        f"attempted {document['attempted']} in {times.describe_duration(drained.duration_s)}: "
        f"{document['delivered']} delivered, {document['retrying']} to retry, {document['dead']} dead"
    )
    well = [row for row in rows if output.on_a_terminal and not (row[2] or row[3])]
    text: list[str | Table] = [said]
    if len(well) > FEW:
        rows = [row for row in rows if row not in well]
    text += [Table(("destination", "delivered", "retrying", "dead"), rows)]
    text += [f"{counted(len(well), 'destination')}: all delivered"] if len(well) > FEW else []
    status = statuses.of_drain(
        drained,
        lost=bool(session.home.losses),
        left=strict and not drained.is_away and draining.is_anything_left(session.home, drained),
        interrupted=_is_interrupted(session, watch=plan.watch),
    )
    deaths = list(death_warnings(drained.destinations)) if output.quiet and not output.as_json else []
    return Printout(document, text, notes, deaths, status=status)


@contextmanager
def _told_in_log(output: Output) -> Iterator[None]:
    """Writes an error to the log: nobody reads what the process of a service prints."""
    try:
        yield
    except ArkError as error:
        output.log(f"error: {error}", {"error": {"code": error.code, "message": str(error)}})
        error.told = True
        raise


def _next(session: Session, drained: Drained) -> Iterator[str]:
    """A note about the next retry, for a run that found nothing due."""
    waiting = []
    # While the queue is away, nobody knows.
    with suppress(Unreachable, InDoubt):
        waiting = draining.what_waits(session.home, drained)
    due = [standing.next_due_at for standing in waiting if standing.next_due_at is not None]
    if due:
        count = sum(standing.waiting + sum(standing.retrying) for standing in waiting)
        seconds = (min(due) - session.home.clock.now()) / 1000
        yield f"nothing is due yet: {count:,} to retry, the next in {times.describe_duration(max(seconds, 0))}"


def _is_interrupted(session: Session, *, watch: bool) -> bool:
    # SIGTERM and SIGHUP are the normal end of a watching drain; Ctrl-C is always an interruption.
    is_end = watch and session.process.stop_signal in (signal.SIGTERM, signal.SIGHUP)
    return session.process.stopping() and not is_end
