"""`ark queue`: what waits."""

from typing import Any

import typer

from arkcli import times
from arkcli.cli.options import Json, Quiet, environment_of, output_of
from arkcli.output import Table

app = typer.Typer(help="Show what waits for delivery.", add_completion=False, invoke_without_command=True)


@app.callback()
def summary(context: typer.Context, as_json: Json = False, quiet: Quiet = False) -> None:
    """Show per destination what is waiting, retrying and dead, and what is due next.

    Example: ark queue
    """
    if context.invoked_subcommand is not None:
        return
    environment = environment_of(context)
    found = environment.store.read().destinations
    queue = environment.queue
    queue.join(known.id for known in found)
    standings = [(known.name, queue.standing(known.id)) for known in found]
    events, size = queue.totals
    rows = [
        (name, held.waiting, sum(held.retrying), held.dead, _when(held.next_due_at), _when(held.oldest_at))
        for name, held in standings
    ]
    output = output_of(context, as_json=as_json, quiet=quiet)
    output.result(
        {
            "destinations": [
                {
                    "name": name,
                    "waiting": held.waiting,
                    "retrying": sum(held.retrying),
                    "retry_lanes": list(held.retrying),
                    "dead": held.dead,
                    "next_due_at": _when(held.next_due_at),
                    "oldest_at": _when(held.oldest_at),
                }
                for name, held in standings
            ],
            "events": events,
            "bytes": size,
        },
        Table(("destination", "waiting", "retrying", "dead", "next due", "oldest"), rows),
    )
    output.note(f"{events:,} events in the log, {size:,} bytes")


def _when(at: int | None) -> Any:
    return None if at is None else times.to_text(at)
