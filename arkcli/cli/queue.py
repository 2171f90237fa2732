"""`ark queue`: inspect and manage the delivery queue."""

import sys
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from arkcli import times
from arkcli.actions import metrics
from arkcli.actions.grouping import By
from arkcli.cli import operate, story
from arkcli.cli.command import EVERYWHERE, App
from arkcli.cli.deliveries import show_deliveries, show_groups
from arkcli.cli.move import move
from arkcli.cli.options import Failing, OfType, To, given_options, reading_of, session_of
from arkcli.cli.printout import Printout
from arkcli.cli.summary import Summary, printed
from arkcli.cli.summary import watch as watch_summary
from arkcli.errors import ExitCode, UsageError
from arkcli.output.tables import Table
from arkcli.text import counted

app = App(alone=True)


@app.callback()
def summary(
    context: typer.Context,
    to: To = None,
    failing: Failing = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Draw it again each second, on a terminal. Ctrl-C stops.")
    ] = False,
    prometheus: Annotated[
        Path | None,
        typer.Option("--prometheus", help="Write metrics to FILE for node_exporter, or to standard output with -."),
    ] = None,
) -> Printout | ExitCode | None:
    """Inspect and manage the delivery queue.

    Without a command: print what is waiting, retrying and dead per destination, and when the next attempt is due. On
    a terminal: totals first, then the destinations in trouble.

    Example: ark queue

    Example: ark queue --failing
    """
    if context.invoked_subcommand is not None:
        for given in given_options(context) - EVERYWHERE:
            raise UsageError(
                f"{given} goes with `ark queue` alone; leave it out, or give it after {context.invoked_subcommand}"
            )
        return None
    if prometheus is not None and (failing or watch):
        raise UsageError("--prometheus writes all metrics once; leave out --failing and --watch")
    session = session_of(context)

    def look() -> Summary:
        reading = reading_of(session, to)
        return Summary(reading, reading.overview(), session.home.clock.now(), failing)

    if watch:
        return watch_summary(session, look)
    found, output = look(), session.output()
    if prometheus is not None:
        text = metrics.exposition(found.overview, found.reading.totals, found.now)
        if prometheus != Path("-"):
            metrics.write(prometheus, text)
        elif output.as_json:
            raise UsageError("--prometheus - and --json both write to standard output; use one of them")
        else:
            return Printout({}, [text.decode().rstrip("\n")], broken=found.reading.broken, always=True)
    return printed(found, output.screen, drawn=output.on_a_terminal)


@app.command("list")
def list_(
    context: typer.Context,
    to: To = None,
    state: Annotated[
        Literal["waiting", "retrying", "dead"] | None, typer.Option("--state", help="Only deliveries in this state.")
    ] = None,
    event: OfType = None,
    number: Annotated[int | None, typer.Option("-n", min=0, max=sys.maxsize, help="Show at most N.")] = None,
    by: Annotated[By | None, typer.Option("--by", help="Count them by this, with an example event for each.")] = None,
) -> ExitCode:
    """List deliveries that are waiting, retrying or dead.

    Example: ark queue list --state dead

    Example: ark queue list --by error
    """
    session = session_of(context)
    output = session.output()
    reading = reading_of(session, to)
    matching = (
        (destination, found)
        for destination, found in reading.deliveries()
        if state in (None, found.state.value) and event in (None, found.event.name)
    )
    if by is not None:
        return show_groups(output, reading, matching, by, number)
    now = session.home.clock.now()
    return show_deliveries(output, reading, islice(matching, number), "no delivery matches", now)


app.command()(story.show)
app.command()(operate.retry)
app.command()(operate.drop)


@app.command()
def upgrade(
    context: typer.Context,
    print_: Annotated[
        bool, typer.Option("--print", help="Print the SQL instead, for somebody who may change the schema.")
    ] = False,
) -> Printout:
    """Make the tables of a queue in PostgreSQL, or bring them up to this version of ark.

    Every other command does that, too, if its role may. A queue in files needs no upgrade.

    Example: ark queue upgrade
    """
    shared = session_of(context).home.shared
    if shared is None:
        said = "the queue is in files of this host, which need no upgrade"
        return Printout({"version": None, "sql": None}, [f"-- {said}" if print_ else said])
    if not print_:
        version = shared.upgrade()
        return Printout({"version": version, "sql": None}, [f"ark's tables have version {version}"])
    version, sql = shared.upgrade_script()
    text = sql or f"-- ark's tables have version {version} already"
    return Printout({"version": version, "sql": sql or None}, [text], always=True)


app.command()(move)


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
    output = session.output()
    queue, clock = session.home.queue, session.home.clock
    with output.working("checking the queue", clock.monotonic):
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
    text: list[str | Table] = [Table(("file", "line", "problem"), rows), output.screen.folded(said)]
    return Printout(document, text, status=status, always=bool(rows))
