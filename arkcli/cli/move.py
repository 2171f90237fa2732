"""`ark queue move`: the queue and the store from files to a database, or back."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from arkcli.cli.options import Yes, ask, session_of
from arkcli.cli.printout import Printout
from arkcli.errors import Interrupted, UsageError
from arkcli.text import counted


def move(
    context: typer.Context,
    to: Annotated[
        str, typer.Argument(metavar="URL", help="postgresql://USER@HOST/DATABASE, or local for files of this host.")
    ],
    key: Annotated[
        Path | None, typer.Option("--key", help="Use the key in FILE, a copy of another host's queue.key.")
    ] = None,
    yes: Yes = False,
) -> Printout:
    """Move the queue and the destinations to PostgreSQL, or back.

    Everything is moved: events, history, retries, dead letters, destinations and secrets. Stop `ark drain --watch` and
    `ark serve` first. What accepts events meanwhile waits. If the move is interrupted, run it again. On another host
    that is to use the same queue, and has no queue of its own, it only sets the URL and, with --key, the key.

    Example: ark queue move postgresql://ark@db.example.com/ark

    Example: ark queue move local
    """
    from arkcli.actions.move import LOCAL, Move

    session = session_of(context)
    output = session.output()
    made = Move(session.home, to, session.new_home)
    try:
        if key is not None and to == LOCAL:
            raise UsageError("--key goes with a URL; leave it out")
        if key is not None:
            made.use_key(key)
        with output.working("moving the queue", session.home.clock.monotonic):
            moved = made.run()
        notes = [*made.notes]
        if left := made.left:
            said = f"The queue as it was, with its secrets, is still in {left}."
            is_confirmed = yes
            if not yes and session.stdin.isatty():
                with suppress(Interrupted):
                    ask(session, f"{said} Remove it?")
                    is_confirmed = True
            if is_confirmed:
                made.remove()
                notes.append(f"removed the old queue from {left}")
            else:
                notes.append(f"{said} Nothing uses it any more; the same command with --yes removes it")
    finally:
        made.close()
    counts = {"events": moved.events, "attempts": moved.attempts, "deliveries": moved.deliveries}
    what = (
        f"moved {counted(moved.events, 'event')}, {counted(moved.attempts, 'attempt')} and "
        f"{counted(moved.deliveries, 'unfinished delivery', 'unfinished deliveries')} to {moved.place}"
    )
    return Printout({"moved": counts}, [what if moved.is_moved else f"this host now uses {moved.place}"], notes)
