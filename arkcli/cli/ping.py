"""`ark ping`."""

from typing import Annotated

import typer

from arkcli.actions import advice, destinations
from arkcli.cli.command import App
from arkcli.cli.options import choose_destinations, complete_destination, environment_of, output_of
from arkcli.cli.records import answer_cell, answer_json, took_cell
from arkcli.errors import ExitCode
from arkcli.model import Outcome
from arkcli.output import Table

app = App()


@app.command()
def ping(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME…]", help="Default: all.", autocompletion=complete_destination),
    ] = None,
) -> None:
    """Send a ping to destinations: one attempt each, never queued. Paused ones are pinged, too.

    Example: ark ping crm
    """
    ping_destinations(context, names)


def ping_destinations(context: typer.Context, names: list[str] | None) -> None:
    """Pings, and reports each answer; the exit status is 1 when one failed."""
    environment = environment_of(context)
    contents = environment.store.read()
    chosen = choose_destinations(contents, names)
    environment.stop_on_signals()
    answers = destinations.ping_all(environment, environment.endpoints(chosen, contents))
    document = [{"destination": found.name, **answer_json(answer)} for found, answer in answers]
    rows = [(found.name, answer.outcome, answer_cell(answer), took_cell(answer)) for found, answer in answers]
    failed = any(answer.outcome is Outcome.FAILED for _, answer in answers)
    # Quiet is for success: a failed ping is always told.
    output = output_of(context)
    output.result({"deliveries": document}, Table(("destination", "outcome", "answer", "took"), rows), always=failed)
    proxies = {advice.unused_proxy(environment.variables, found.url, answer.error or "") for found, answer in answers}
    for said in filter(None, proxies):
        output.note(said)
    if environment.stopping():
        raise typer.Exit(ExitCode.INTERRUPTED)
    raise typer.Exit(ExitCode.FAILED if failed else ExitCode.DONE)
