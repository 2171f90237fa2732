"""`ark queue retry` and `ark queue drop`."""

from collections.abc import Sequence
from typing import Annotated

import typer

from arkcli.actions import operate
from arkcli.actions.operate import unfinished
from arkcli.actions.reading import Reading
from arkcli.cli.now import Now, attempt_now, check_now, named, paused_notes, waits_already
from arkcli.cli.options import To, Yes, ask, complete_event_id, reading_of, session_of
from arkcli.cli.printout import Printout
from arkcli.cli.session import Session
from arkcli.errors import UsageError
from arkcli.model import State
from arkcli.output.tables import Prose
from arkcli.queue.engine import Selection
from arkcli.text import counted

EventIds = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[EVENT_ID…]",
        help="Choose the deliveries of these events: ids, unique prefixes of ids, or `last`.",
        autocompletion=complete_event_id,
    ),
]
Dead = Annotated[bool, typer.Option("--dead", help="All dead deliveries to the destinations given with --to.")]
AllDead = Annotated[bool, typer.Option("--all-dead", help="All dead deliveries to all destinations.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the count; change nothing.")]


def retry(
    context: typer.Context,
    event_ids: EventIds = None,
    to: To = None,
    dead: Dead = False,
    all_dead: AllDead = False,
    now: Now = False,
    dry_run: DryRun = False,
) -> Printout:
    """Make retrying and dead deliveries due now. The next `ark drain` attempts them; --now does so at once.

    Exit status: 0 queued again, or nothing to do. With --now: 0 all are delivered, 75 at least one is left to retry, 1
    one is dead or a secret cannot be read.

    Example: ark queue retry --dead --to crm

    Example: ark queue retry last --now
    """
    check_now(now, dry_run)
    session = session_of(context)
    reading, selection = _selection(session, event_ids, to, dead=dead, all_dead=all_dead)
    waiting = _waiting_already(reading, selection)
    chosen = unfinished(reading, selection) if now or event_ids else {}
    count = operate.retry(session.home, selection, dry=dry_run)
    if now and chosen:
        return attempt_now(session, reading, chosen, {"retried": count})
    document = {"retried": count, **({"deliveries": []} if now else {})}
    notes = paused_notes(reading, chosen)
    if count:
        said = f"queued again: {counted(count, 'delivery', 'deliveries')}"
        said = f"would be {said}" if dry_run else f"{said}; run `ark drain`"
        notes += [waits_already(waiting)] if waiting else []
    elif waiting:
        said = f"nothing to do: {waits_already(waiting)}"
    elif selection.event_ids:
        said = f"nothing to do: no delivery of {named(sorted(selection.event_ids))} is retrying or dead"
    else:
        said = _no_dead(to)
    return Printout(document, [Prose(said)], notes, broken=reading.broken)


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
    if missing := reading.missing(selection, [State.WAITING, State.RETRYING, State.DEAD]):
        raise _nothing_of(reading, missing, "waiting, retrying or dead")
    chosen = reading.destinations
    if not (yes or dry_run):
        count = operate.drop(session.home, chosen, selection, dry=True)
        if count:
            ask(session, f"Discard {counted(count, 'delivery', 'deliveries')} for good?")
        else:
            chosen = []
    count = operate.drop(session.home, chosen, selection, dry=dry_run)
    verb = "would be" if dry_run else "was" if count == 1 else "were"
    said = f"{counted(count, 'delivery', 'deliveries')} {verb} discarded" if count else _no_dead(to)
    return Printout({"dropped": count}, [Prose(said)], broken=reading.broken)


def _no_dead(to: list[str] | None) -> str:
    return "nothing to do: no dead delivery" + (f" to {', '.join(to)}" if to else "")


def _selection(
    session: Session, event_ids: list[str] | None, to: list[str] | None, *, dead: bool, all_dead: bool
) -> tuple[Reading, Selection]:
    if dead and not to:
        raise UsageError("--dead needs --to NAME; --all-dead means every destination")
    if not (event_ids or dead or all_dead):
        raise UsageError("name the deliveries: EVENT_ID…, --dead --to NAME, or --all-dead")
    reading = reading_of(session, to)
    ids = tuple(known.id for known in reading.destinations)
    events = frozenset(reading.event(given).id for given in event_ids or ())
    return reading, Selection(destination_ids=ids, event_ids=events, dead=dead or all_dead)


def _waiting_already(reading: Reading, selection: Selection) -> list[str]:
    """The selected events that only wait. Raises UsageError if there is nothing to do for some, but not all."""
    idle = reading.missing(selection, [State.RETRYING, State.DEAD])
    finished = reading.missing(Selection(destination_ids=(), event_ids=frozenset(idle)), [State.WAITING])
    if finished and (selection.dead or len(finished) < len(selection.event_ids) or reading.broken):
        raise _nothing_of(reading, finished, "retrying or dead")
    return [found for found in idle if found not in finished]


def _nothing_of(reading: Reading, missing: Sequence[str], states: str) -> UsageError:
    unread = "".join(f"; {name} could not be read: {reason}" for name, reason in reading.broken.items())
    return UsageError(
        f"no delivery of {', '.join(missing)} is {states}, so nothing was changed; "
        f"`ark queue list` shows the deliveries{unread}"
    )
