"""`ark ping`."""

from collections.abc import Sequence
from typing import Annotated

import typer

from arkcli.actions import advice, destinations
from arkcli.actions.printed import pings_json
from arkcli.actions.wording import answer_cell, took_cell
from arkcli.cli.command import App
from arkcli.cli.options import choose_destinations, complete_destination, session_of
from arkcli.cli.printout import Printout
from arkcli.cli.session import NOT_ATTEMPTED_AGAIN
from arkcli.cli.watching import awaiting, hints
from arkcli.errors import ExitCode
from arkcli.model import Answer, Destination, Outcome
from arkcli.output.tables import Table

app = App()


@app.command()
def ping(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME…]", help="The destinations to ping. Default: all.", autocompletion=complete_destination
        ),
    ] = None,
) -> Printout:
    """Send a ping to destinations: one attempt each, never queued. Paused destinations get it, too.

    Example: ark ping crm
    """
    session = session_of(context)
    contents = session.home.store.read()
    chosen = choose_destinations(contents, names)
    output = session.output()
    session.stop_on_signals(NOT_ATTEMPTED_AGAIN)
    with awaiting(session, output) as look:
        endpoints, unusable = session.home.endpoints(chosen, contents)
        answers = destinations.ping_all(session.home, endpoints, session.process.stopping, look)
    failed = [(found, answer.error or "") for found, answer in answers if answer.outcome is Outcome.FAILED]
    if output.is_watched:
        notes = hints(session, failed)
    else:
        proxies = {advice.unused_proxy(session.variables, found.url, error) for found, error in failed}
        notes = [said for said in proxies if said]
    status = ExitCode.INTERRUPTED if session.process.stopping() else ExitCode.FAILED if failed else ExitCode.DONE
    table = pings_table(answers, drawn=output.on_a_terminal)
    return Printout({"deliveries": pings_json(answers)}, [table], notes, broken=unusable, status=status)


def pings_table(answers: Sequence[tuple[Destination, Answer]], *, drawn: bool) -> Table:
    """A row for each ping. `drawn`: on a terminal."""
    rows = [
        (found.name, answer.outcome, answer_cell(answer, drawn=drawn), took_cell(answer)) for found, answer in answers
    ]
    return Table(("destination", "outcome", "answer", "took"), rows)
