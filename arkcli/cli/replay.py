"""`ark replay`."""

from functools import partial
from typing import Annotated

import typer

from arkcli.actions import operate
from arkcli.actions.operate import unfinished
from arkcli.actions.reading import Reading
from arkcli.cli.command import App
from arkcli.cli.now import Now, attempt_now, check_now, waits_already
from arkcli.cli.options import (
    OfType,
    Yes,
    ask,
    choose_destinations,
    complete_destination,
    complete_event_id,
    parse_time,
    session_of,
)
from arkcli.cli.printout import Printout
from arkcli.cli.session import Session
from arkcli.errors import UsageError
from arkcli.model import State
from arkcli.output.tables import Prose
from arkcli.queue.engine import Replay, Selection
from arkcli.text import counted

app = App()


@app.command()
def replay(
    context: typer.Context,
    event_ids: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[EVENT_ID…]",
            help="The events to send again: ids, unique prefixes of ids, or `last`.",
            autocompletion=complete_event_id,
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", help="Only events accepted at or after this time: ISO 8601, or -2h for two hours ago."),
    ] = None,
    until: Annotated[str | None, typer.Option("--until", help="Only events accepted at or before this time.")] = None,
    event: OfType = None,
    to: Annotated[
        list[str] | None,
        typer.Option("--to", help="Send only to this destination. Repeatable.", autocompletion=complete_destination),
    ] = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="Only to destinations where the delivery is retrying or dead.")
    ] = False,
    now: Now = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the count; change nothing.")] = False,
    yes: Yes = False,
) -> Printout:
    """Send past events again, whether delivered or not. The next `ark drain` delivers them, with the same ids and
    bytes; --now does so at once.

    Exit status: 0 queued again, or nothing to do. With --now: 0 all are delivered, 75 at least one is left to retry, 1
    one is dead or a secret cannot be read.

    Example: ark replay --since -2h --to crm --yes

    Example: ark replay last --now
    """
    check_now(now, dry_run)
    session = session_of(context)
    if bool(event_ids) == (since is not None or until is not None):
        raise UsageError("name the events: EVENT_ID…, or --since TIME (and --until TIME)")
    at = session.home.clock.now()
    contents = session.home.store.read()
    reading = Reading(session.home, choose_destinations(contents, to))
    session.home.joined(contents.destinations, to_read=True)
    chosen = Replay(
        destination_ids=tuple(found.id for found in reading.destinations),
        everybody=to is None,
        event_ids=frozenset(reading.event(given).id for given in event_ids or ()),
        since=None if since is None else parse_time(since, at, "--since"),
        until=None if until is None else parse_time(until, at, "--until"),
        event=event,
        failed=failed,
    )
    working = partial(session.output().working, monotonic=session.home.clock.monotonic)
    if not (yes or dry_run) and (not event_ids or len(event_ids) > 1):
        with working("counting the events"):
            count = operate.replay(session.home, chosen, dry=True)
        if count > 1:
            ask(session, f"Send {counted(count, 'event')} again?")
    if now:
        return _replay_now(session, reading, chosen)
    with working("counting the events" if dry_run else "queueing the events again"):
        count = operate.replay(session.home, chosen, dry=dry_run)
    said = f"queued again: {counted(count, 'event')}"
    said = f"would be {said}" if dry_run else f"{said}; run `ark drain`"
    said = said if count else _nothing(session, reading, chosen)
    return Printout({"replayed": count}, [Prose(said)], broken=reading.broken)


def _replay_now(session: Session, reading: Reading, chosen: Replay) -> Printout:
    selection = Selection(destination_ids=chosen.destination_ids, event_ids=operate.replayed(session.home, chosen))
    failed = unfinished(reading, selection, [State.RETRYING, State.DEAD]) if chosen.failed else None
    document = {"replayed": operate.replay(session.home, chosen, dry=False)}
    waiting = unfinished(reading, selection, [State.WAITING]) if failed is None else failed
    if waiting:
        return attempt_now(session, reading, waiting, document)
    said = _nothing(session, reading, chosen)
    return Printout({**document, "deliveries": []}, [Prose(said)], broken=reading.broken)


def _nothing(session: Session, reading: Reading, chosen: Replay) -> str:
    """Why no event was sent again."""
    if chosen.failed:
        return "nothing to do: no delivery that you chose is retrying or dead"
    events = operate.replayed(session.home, chosen)
    if events and not reading.missing(Selection(destination_ids=(), event_ids=events), [State.WAITING]):
        return f"nothing to do: {waits_already(sorted(events))}"
    return "nothing to do: no event matches"
