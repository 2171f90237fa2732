"""`ark events`: the event types, and a sample payload and the JSON Schema of each."""

import json
from typing import Annotated

import typer

from arkcli.cli.command import App
from arkcli.cli.options import check_event, complete_event, session_of
from arkcli.cli.printout import Printout
from arkcli.contract import samples, schemas
from arkcli.contract.events import PURPOSES
from arkcli.output.tables import Table

app = App(alone=True)

Event = Annotated[
    str,
    typer.Argument(
        metavar="EVENT",
        help="The event's type, such as signal.promoted.",
        autocompletion=complete_event,
        callback=check_event,
    ),
]


@app.callback()
def summary(context: typer.Context) -> Printout | None:
    """List the event types, and what triggers each.

    Example: ark events
    """
    if context.invoked_subcommand is not None:
        return None
    return Printout(
        {"events": [{"event": event, "sent_when": purpose} for event, purpose in PURPOSES.items()]},
        [Table(("event", "sent when"), list(PURPOSES.items()))],
        always=True,
    )


@app.command()
def sample(context: typer.Context, event: Event) -> Printout:
    """Print a complete, valid payload with the current time, for you to edit.

    Example: ark events sample signal.promoted > payload.json
    """
    session = session_of(context)
    payload = json.loads(samples.complete(event, session.home.clock.now(), session.home.new_id("batch")))
    return _printed(payload)


@app.command()
def schema(event: Event) -> Printout:
    """Print an event type's JSON Schema (2020-12). `ark send` checks payloads against it.

    Example: ark events schema signal.promoted > signal.promoted.schema.json
    """
    return _printed(schemas.schema(event))


def _printed(document: dict[str, object]) -> Printout:
    text = json.dumps(document, indent=2, ensure_ascii=False)
    return Printout(document, [text], always=True)
