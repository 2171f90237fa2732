"""`ark dest`: the destinations."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from arkcli import times
from arkcli.actions import destinations, trouble
from arkcli.actions.destinations import Wanted
from arkcli.actions.reading import Place, Reading
from arkcli.cli.command import App
from arkcli.cli.lists import count_cell, last_cell, shortened, totals
from arkcli.cli.options import (
    AllowLocal,
    CaFile,
    Headers,
    SecretFile,
    Yes,
    ask,
    complete_destination,
    find_destination,
    output_of,
    session_of,
)
from arkcli.cli.printout import Printout
from arkcli.cli.records import (
    answer_json,
    attempt_json,
    from_now,
    made_secret_note,
    said_cell,
    short_answer,
    short_time,
    took_cell,
)
from arkcli.cli.session import Session
from arkcli.contract.headers import parse_headers
from arkcli.errors import UsageError
from arkcli.model import Destination
from arkcli.output.screen import Painted
from arkcli.output.tables import Table, fitting, needed
from arkcli.signing import Secret
from arkcli.signing.secrets import read_secret_file
from arkcli.text import counted

if TYPE_CHECKING:
    from arkcli.queue.engine import Standing

#: The shortest piece of a URL that a list shows, in characters.
_URL: Final = 16
app = App("Manage destinations, the URLs that receive every event.")

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="The destination's name or id.", autocompletion=complete_destination)
]
Description = Annotated[str | None, typer.Option("--description", help="A note, shown by `ark dest show`.")]
OwnSecret = Annotated[bool, typer.Option("--own-secret", help="Generate a signing secret for this destination alone.")]
_PINGING: Final = "waiting for the receiver to answer the ping"
NoPing = Annotated[bool, typer.Option("--no-ping", help="Save without sending a ping first.")]


@app.command()
def add(
    context: typer.Context,
    url: Annotated[str, typer.Argument(metavar="URL", help="The receiver's URL: https, at a public address.")],
    name: Annotated[
        str | None, typer.Option("--name", help="The destination's name; default: derived from the host.")
    ] = None,
    allow_local: AllowLocal = False,
    no_ping: NoPing = False,
    secret_file: SecretFile = None,
    own_secret: OwnSecret = False,
    header: Headers = None,
    ca_file: CaFile = None,
    description: Description = None,
) -> Printout:
    """Send a ping to URL, and save it as a destination if it answers 2xx within 10 s.

    Example: ark dest add https://hooks.example.com/signalark --name crm
    """
    session = session_of(context)
    wanted = Wanted(
        name=name,
        url=url,
        allow_local=allow_local,
        description=description,
        headers=parse_headers(header or []),
        ca_file=ca_file,
        secret=_own_secret(session, secret_file, own_secret),
    )
    with session.output().working(_PINGING, session.home.clock.monotonic):
        added, answer, fresh_secret = destinations.add(session.home, wanted, ping=not no_ping)
    notes = _notes_of_own_secret(session, added, own=own_secret)
    if fresh_secret:
        notes.append(made_secret_note(session.home.store.name))
    if added.allow_local:
        notes.append(f"{added.name} may use http and private addresses (--allow-local)")
    ping = None if answer is None else answer_json(answer)
    said = "saved without a ping" if answer is None else f"ping answered {answer.status} in {took_cell(answer)}"
    document = {"destination": _json(added), "ping": ping}
    return Printout(document, [f"added {added.name} ({added.id}): {said}"], notes)


@app.command("list")
def list_(
    context: typer.Context,
    failing: Annotated[
        bool,
        typer.Option("--failing", help="Only destinations with dead, retrying or overdue deliveries, the worst first."),
    ] = False,
) -> Printout:
    """List all destinations, and how many deliveries are queued for each. On a terminal, those in trouble come first.

    Example: ark dest list

    Example: ark dest list --failing
    """
    session, output = session_of(context), output_of(context)
    overview = Reading(session.home, session.home.store.read().destinations).overview()
    now, places = session.home.clock.now(), list(overview.places)
    notes = [] if places else ["there is no destination yet; add one with `ark dest add URL`"]
    if failing:
        places = [place for place in trouble.worst_first(places, now) if trouble.is_in_trouble(place, now)]
        notes += [] if places or not overview.places else ["no destination is failing"]
    found = [(place.destination, place.standing) for place in places]
    document = {"destinations": [_json(known) | _counts(standing) for known, standing in found]}
    if output.on_a_terminal:
        said = totals(trouble.sums(overview.places, now), output.screen)
        return Printout(document, [*said, _drawn(places, now, output.screen.width)], notes, broken=overview.broken)
    rows = [
        (known.name, known.url, "paused" if known.paused else "active", *_cells(standing)) for known, standing in found
    ]
    table = Table(("name", "url", "state", "waiting", "retrying", "dead", "last"), rows)
    return Printout(document, [table], notes, broken=overview.broken)


def _drawn(places: Sequence[Place], now: int, width: int) -> Table:
    """The destinations on a terminal: trouble on top, the URL as far as there is room for it."""
    headings = ("name", "url", "waiting", "retrying", "dead", "last")
    rows = []
    for place in trouble.worst_first(places, now):
        known, held = place.destination, place.standing
        name = Painted([(known.name, ""), *([(" (paused)", "dim")] if known.paused else [])])
        cells: tuple[object, ...] = (None,) * 4
        if held is not None:
            retrying = count_cell(sum(held.retrying), "yellow")
            cells = f"{held.waiting:,}", retrying, count_cell(held.dead, "red"), last_cell(now, held.last)
        rows.append([name, known.url, *cells])
    without = Table(headings, [[name, "", *cells] for name, _, *cells in rows])
    room = max(width - needed(without) + len("url"), _URL)
    fitted = Table(headings, [[name, shortened(str(url), room), *cells] for name, url, *cells in rows])
    return fitting(fitted, width, ("url", "waiting"), ("retrying",))


@app.command()
def show(
    context: typer.Context,
    name: Name,
    reveal: Annotated[bool, typer.Option("--reveal", help="Also print its signing secret.")] = False,
) -> Printout:
    """Show one destination: its settings and its queued deliveries.

    Example: ark dest show crm
    """
    session = session_of(context)
    contents = session.home.store.read()
    found = find_destination(contents, name)
    reading = Reading(session.home, [found])
    standing = next((place.standing for place in reading.overview().places), None)
    document = _json(found) | _counts(standing)
    secret = "its own" if found.secret else "the shared secret"
    if reveal:
        secret = document["secret"] = session.home.secret_of(found, contents).reveal().decode("utf-8", "replace")
    rows = [
        *((key.replace("_", " "), _yes_or_no(value)) for key, value in _json(found).items()),
        ("user name", found.userinfo),
        ("headers", ", ".join(found.headers) or None),
        ("CA file", found.ca_file),
        ("secret", secret),
        *zip(("waiting", "retrying", "dead", "last"), _cells(standing), strict=True),
    ]
    if standing is not None:
        rows[-1:] = _recently(session, reading, found, standing)
    # As a Painted, a label such as "paused" is not coloured as a state.
    table = Table(("", ""), [(Painted([(label, "")]), value) for label, value in rows])
    return Printout({"destination": document}, [table], broken=reading.broken)


def _recently(
    session: Session, reading: Reading, found: Destination, standing: "Standing"
) -> list[tuple[str, object | None]]:
    """The last attempt and its answer, since when attempts fail, and when the next is due."""
    now, drawn, last = session.home.clock.now(), session.output().on_a_terminal, standing.last

    def moment(at: int) -> str:
        return f"{short_time(at)} UTC, {from_now(at, now)}" if drawn else times.to_text(at)

    rows: list[tuple[str, object | None]] = [("last", _cells(standing)[-1])]
    if drawn and last is not None:
        rows = [("last", f"{last.outcome} {short_answer(last)}, {from_now(last.at, now)} ({last.event_id})")]
    if last is not None and last.error is not None:
        since = reading.failing_since(found)
        rows += [("answer", said_cell(last) or None)]
        rows += [("failing since", f"{moment(since[0])}{'' if since[1] else ' or earlier'}")] if since else []
    if standing.outage is not None:
        rows.append(("held back", f"unreachable since {moment(standing.outage.since)} ({standing.outage.error})"))
    if standing.next_due_at is not None:
        paused = " (paused)" if found.paused else ""
        rows.append(("next attempt", moment(standing.next_due_at) + paused))
    return rows


@app.command("set")
def set_(
    context: typer.Context,
    name: Name,
    new_name: Annotated[str | None, typer.Option("--name", help="Give it this name.")] = None,
    url: Annotated[
        str | None, typer.Option("--url", help="Send to this URL instead; it must answer a ping first.")
    ] = None,
    allow_local: Annotated[
        bool | None,
        typer.Option("--allow-local/--no-allow-local", help="Allow or forbid http and private or loopback addresses."),
    ] = None,
    no_ping: NoPing = False,
    secret_file: SecretFile = None,
    own_secret: OwnSecret = False,
    workspace_secret: Annotated[
        bool, typer.Option("--workspace-secret", help="Use the signing secret of all destinations again.")
    ] = False,
    header: Headers = None,
    ca_file: CaFile = None,
    description: Description = None,
) -> Printout:
    """Change a destination's settings. Settings that you do not name stay as they are.

    Example: ark dest set crm --description 'The sales team'
    """
    session = session_of(context)
    if workspace_secret and (own_secret or secret_file is not None):
        other = "--own-secret" if own_secret else "--secret-file"
        raise UsageError(f"--workspace-secret and {other} do not go together; choose one of them")
    found = find_destination(session.home.store.read(), name)
    wanted = Wanted(
        name=new_name,
        url=url,
        allow_local=allow_local,
        description=description,
        headers=parse_headers(header or []),
        ca_file=ca_file,
        secret=_own_secret(session, secret_file, own_secret),
        workspace_secret=workspace_secret,
    )
    if wanted == Wanted():
        raise UsageError("nothing to change; `ark dest set --help` shows the settings")
    with session.output().working(_PINGING, session.home.clock.monotonic):
        changed = destinations.change(session.home, found, wanted, ping=not no_ping)
    return _said(session, changed, "changed", _notes_of_own_secret(session, changed, own=own_secret))


@app.command()
def pause(context: typer.Context, name: Name) -> Printout:
    """Stop delivering to a destination. Its events wait until `ark dest resume`.

    Example: ark dest pause crm
    """
    return _pause(context, name, paused=True)


@app.command()
def resume(context: typer.Context, name: Name) -> Printout:
    """Deliver to a paused destination again. The next `ark drain` delivers what has waited.

    Example: ark dest resume crm
    """
    return _pause(context, name, paused=False)


@app.command()
def remove(context: typer.Context, name: Name, yes: Yes = False) -> Printout:
    """Remove a destination, and discard its queued deliveries.

    Example: ark dest remove crm --yes
    """
    session = session_of(context)
    found = find_destination(session.home.store.read(), name)
    standing, broken = _standing(session, found)
    if broken and not yes:
        ask(session, f"ark cannot read what waits for {found.name}: {broken[found.name]}. Discard it?")
    if standing is not None and standing.undone and not yes:
        held = counted(standing.undone - standing.dead, "delivery", "deliveries")
        ask(session, f"{found.name} has {held} waiting and {standing.dead:,} dead. Discard them?")
    dropped = destinations.remove(session.home, found)
    said = counted(dropped, "delivery was", "deliveries were")
    return Printout({"removed": found.id, "dropped": dropped}, [f"removed {found.name}; {said} discarded"])


def _pause(context: typer.Context, name: str, *, paused: bool) -> Printout:
    session = session_of(context)
    found = find_destination(session.home.store.read(), name)
    destinations.set_paused(session.home, found.id, paused=paused)
    changed = find_destination(session.home.store.read(), found.id)
    return _said(session, changed, "paused" if paused else "resumed")


def _said(session: Session, changed: Destination, verb: str, notes: Sequence[str] = ()) -> Printout:
    standing, _ = _standing(session, changed)
    return Printout({"destination": _json(changed) | _counts(standing)}, [f"{verb} {changed.name}"], notes)


def _standing(session: Session, found: Destination) -> "tuple[Standing | None, Mapping[str, str]]":
    """What waits for one destination, or (None, the reason by name) if that cannot be read."""
    overview = Reading(session.home, [found]).overview()
    return next((place.standing for place in overview.places), None), overview.broken


def _notes_of_own_secret(session: Session, found: Destination, *, own: bool) -> list[str]:
    said = (
        f"made a signing secret for {found.name} alone; it is in {session.home.store.name}, "
        f"and `ark dest show {found.name} --reveal` prints it"
    )
    return [said] if own else []


def _own_secret(session: Session, file: Path | None, own: bool) -> Secret | None:
    if file is None:
        return destinations.new_secret(session.home) if own else None
    if own:
        raise UsageError("--own-secret generates a secret and --secret-file gives one; choose one of them")
    return read_secret_file(file)


def _yes_or_no(value: object) -> object:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value


def _json(found: Destination) -> dict[str, Any]:
    return {
        "id": found.id,
        "name": found.name,
        "url": found.url,
        "paused": found.paused,
        "allow_local": found.allow_local,
        "description": found.description,
        "added_at": found.added_at,
    }


def _counts(standing: "Standing | None") -> dict[str, Any]:
    """What waits for a destination, as JSON keys; null if that cannot be read."""
    if standing is None:
        return dict.fromkeys(("waiting", "retrying", "dead", "last"))
    last = standing.last
    return {
        "waiting": standing.waiting,
        "retrying": sum(standing.retrying),
        "dead": standing.dead,
        "last": None if last is None else {"event_id": last.event_id, "event": last.event, **attempt_json(last)},
    }


def _cells(standing: "Standing | None") -> tuple[object, ...]:
    """What waits for a destination, as table cells; None if that cannot be read."""
    if standing is None:
        return (None,) * 4
    last = standing.last
    said = None if last is None else f"{last.outcome} {last.status or last.error} {times.to_text(last.at)}"
    return standing.waiting, sum(standing.retrying), standing.dead, said
