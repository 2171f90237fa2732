"""`--now` of `ark queue retry` and `ark replay`: deliver at once what was queued again, and report like `send`."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import typer

from arkcli import times
from arkcli.actions import operate
from arkcli.actions.operate import Attempted, Tried
from arkcli.actions.printed import sent_json
from arkcli.actions.reading import Reading
from arkcli.actions.wording import attempt_cells, outage_note
from arkcli.cli.printout import Printout
from arkcli.cli.session import ATTEMPTED_AGAIN, Session
from arkcli.errors import UsageError
from arkcli.model import State
from arkcli.output.tables import Table
from arkcli.text import counted, listed

Now = Annotated[
    bool,
    typer.Option(
        "--now", help="Attempt them at once, and no others; report each. Those that wait already are attempted, too."
    ),
]
#: A terminal shows more deliveries than this as a summary.
_FEW: Final = 20
#: How much of an event's id a terminal shows beside others: enough to name it.
_ID: Final = 20
#: The ids of events, by destination id.
Chosen = Mapping[str, Sequence[str]]


def check_now(now: bool, dry_run: bool) -> None:
    """Raises UsageError if `--now` and `--dry-run` were given together."""
    if now and dry_run:
        raise UsageError("--now and --dry-run do not go together: --now delivers, and --dry-run changes nothing")


def attempt_now(session: Session, reading: Reading, chosen: Chosen, document: Mapping[str, Any]) -> Printout:
    """Attempts the deliveries that were queued again, and no others. `document` is what `--json` prints of them."""
    from arkcli.cli import statuses

    process, output = session.process, session.output()
    session.stop_on_signals(ATTEMPTED_AGAIN)
    process.accepted = "the deliveries are queued"
    what = counted(sum(map(len, chosen.values())), "delivery", "deliveries")
    with output.working(f"attempting {what}", session.home.clock.monotonic):
        done = operate.attempt(session.home, reading.destinations, chosen, output.warn, process.stopping)
    active = {tried.state for tried in done.deliveries if not tried.destination.paused}
    status = statuses.of_again(active, left_out=bool(done.run.left_out), interrupted=process.stopping())
    table, *said = _summary(done) if output.on_a_terminal and len(done.deliveries) > _FEW else [_each(session, done)]
    waiting = {tried.destination.name for tried in done.deliveries if tried.state is State.WAITING}
    held = [held for held in done.run.held if held.name in waiting]
    notes = [
        *paused_notes(reading, chosen),
        *(f"{one.name} is left to {one.by}, which is delivering to it" for one in held),
        *(f"{outage_note(name, outage)}; its deliveries wait" for name, outage in done.run.held_back.items()),
    ]
    interrupted = f"interrupted: {process.accepted}, and `ark drain` delivers what is left"
    warnings = [interrupted] if process.stopping() else []
    return Printout(
        {**document, "deliveries": [_json(tried) for tried in done.deliveries]},
        [*said, table],
        notes,
        warnings,
        broken={**reading.broken, **done.run.broken},
        status=status,
    )


def paused_notes(reading: Reading, chosen: Chosen) -> list[str]:
    """A note for each paused destination that has some of these deliveries."""
    return [
        f"{known.name} is paused: its deliveries wait until `ark dest resume {known.name}`"
        for known in reading.destinations
        if known.paused and chosen.get(known.id)
    ]


def waits_already(ids: Sequence[str]) -> str:
    """Says that these events wait already, and what attempts them."""
    one = len(ids) == 1
    return f"{named(ids)} {'waits' if one else 'wait'} already; `ark drain` attempts {'it' if one else 'them'}"


def named(names: Sequence[str]) -> str:
    """Up to three names in a sentence; of more, only their number."""
    return f"{len(names):,} events" if len(names) > 3 else listed(names)


def _json(tried: Tried) -> dict[str, Any]:
    from arkcli.delivery.sent import Sent

    sent = Sent(tried.destination.name, tried.state, tried.attempt, tried.next_attempt_at)
    return {"event_id": tried.event_id, **sent_json(sent)}


def _each(session: Session, done: Attempted) -> Table:
    """A row for each delivery; on a terminal with relative times, and an event's id only where there are several."""
    drawn, now = session.output().on_a_terminal, session.home.clock.now()

    def row(tried: Tried) -> tuple[object, ...]:
        paused = "paused" if tried.destination.paused else None
        cells = attempt_cells(tried.attempt, paused, tried.next_attempt_at, now, drawn=drawn)
        return tried.destination.name, tried.state, *cells

    rows, headings = [row(tried) for tried in done.deliveries], ["destination", "outcome", "answer", "took"]
    headings.append("next attempt")
    if not drawn or len({tried.event_id for tried in done.deliveries}) > 1:
        size = _ID if drawn else None
        rows = [(*cells, tried.event_id[:size]) for cells, tried in zip(rows, done.deliveries, strict=True)]
        headings.append("event id")
    return Table(headings, rows)


def _summary(done: Attempted) -> list[Any]:
    """A row for each destination, and a sentence about all."""
    states = (State.DELIVERED, State.RETRYING, State.DEAD, State.WAITING)
    counts: dict[str, list[int]] = {}
    for tried in done.deliveries:
        row = counts.setdefault(tried.destination.name, [0] * len(states))
        if tried.state in states:
            row[states.index(tried.state)] += 1
    delivered, retrying, dead, waiting = (sum(column) for column in zip(*counts.values(), strict=True))
    took = times.describe_duration(done.run.duration_s)
    said = f"attempted {len(done.deliveries) - waiting:,} in {took}: "
    said += f"{delivered:,} delivered, {retrying:,} to retry, {dead:,} dead"
    said += f"; {waiting:,} still waiting" if waiting else ""
    headings = ("destination", "delivered", "retrying", "dead", "waiting")
    return [Table(headings, [(name, *row) for name, row in counts.items()]), said]
