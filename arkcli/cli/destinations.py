"""`ark dest list` and `ark dest show`: destinations with their settings and what is queued for them."""

from collections.abc import Sequence
from typing import Annotated, Any, Final

import typer

from arkcli import times
from arkcli.actions import trouble
from arkcli.actions.printed import attempt_json
from arkcli.actions.reading import Place, Reading
from arkcli.actions.wording import due, from_now, said_cell, short_answer, short_time
from arkcli.cli.lists import count_cell, last_cell, shortened, totals
from arkcli.cli.options import Failing, complete_destination, find_destination, session_of
from arkcli.cli.printout import Printout
from arkcli.cli.session import Session
from arkcli.model import Destination
from arkcli.output.screen import Painted
from arkcli.output.tables import Table, fitting, needed
from arkcli.queue.engine import Standing
from arkcli.signing.standard import serialized
from arkcli.store.store import Contents
from arkcli.url import shown_proxy

#: The settings that are shown as they are: what `ark dest show` begins with, and what only `--json` shows so.
_BASICS: Final = ("id", "name", "url", "paused", "allow_local", "standard_webhooks", "description", "added_at")
_FURTHER: Final = ("client_cert", "client_key", "proxy", "rate", "max_in_flight", "pause_note")
#: The shortest piece of a URL that a list shows, in characters.
_URL: Final = 16

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="The destination's name or id.", autocompletion=complete_destination)
]


def list_(
    context: typer.Context,
    failing: Failing = False,
) -> Printout:
    """List all destinations, and how many deliveries are queued for each. On a terminal, those in trouble come first.

    Example: ark dest list

    Example: ark dest list --failing
    """
    session = session_of(context)
    output = session.output()
    overview = Reading(session.home, session.home.store.read().destinations).overview()
    now, places = session.home.clock.now(), list(overview.places)
    notes = [] if places else ["there is no destination yet; add one with `ark dest add URL`"]
    if failing:
        places = trouble.failing(places, now)
        notes += [] if places or not overview.places else ["no destination is failing"]
    found = [(place.destination, place.standing) for place in places]
    document = {"destinations": [settings_json(known) | counts_json(standing) for known, standing in found]}
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
    document = settings_json(found) | counts_json(standing)
    secret = "its own" if found.secret else "the shared secret"
    if reveal:
        used = session.home.secret_of(found, contents)
        secret = document["secret"] = used.reveal().decode("utf-8", "replace")
        if found.standard_webhooks:
            document["standard_webhooks_secret"] = serialized(used).reveal().decode()
    rows = [
        *((key.replace("_", " "), _yes_or_no(getattr(found, key))) for key in _BASICS),
        *([("paused because", found.pause_note)] if found.pause_note else []),
        ("user name", found.userinfo),
        ("headers", ", ".join(found.headers) or None),
        ("CA file", found.ca_file),
        ("client cert", found.client_cert),
        ("client key", found.client_key),
        ("proxy", _proxy_cell(found, contents)),
        ("rate", found.rate),
        ("max in flight", found.max_in_flight),
        ("secret", secret),
        *((key.replace("_", " "), document[key]) for key in ("standard_webhooks_secret",) if key in document),
        *zip(("waiting", "retrying", "dead", "last"), _cells(standing), strict=True),
    ]
    if standing is not None:
        rows[-1:] = _recently(session, reading, found, standing)
    # As a Painted, a label such as "paused" is not coloured as a state.
    table = Table(("", ""), [(Painted([(label, "")]), value) for label, value in rows])
    return Printout({"destination": document}, [table], broken=reading.broken)


def _recently(
    session: Session, reading: Reading, found: Destination, standing: Standing
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
        rows.append(("held back", standing.outage.in_words(moment)))
    if (due_at := standing.next_due_at) is not None:
        paused = " (paused)" if found.paused else ""
        rows.append(("next attempt", (due(due_at, now) if drawn and due_at <= now else moment(due_at)) + paused))
    return rows


def _yes_or_no(value: object) -> object:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value


def settings_json(found: Destination) -> dict[str, Any]:
    """A destination's settings, as JSON keys."""
    return {key: getattr(found, key) for key in (*_BASICS, *_FURTHER)} | {"proxy": _proxy(found)}


def _proxy(found: Destination) -> str | None:
    return None if found.proxy is None else shown_proxy(found.proxy.reveal().decode())


def _proxy_cell(found: Destination, contents: Contents) -> str | None:
    """The proxy in force, and whether it is the one for all destinations."""
    shared = " ([network] proxy)" if found.proxy is None else ""
    proxy = _proxy(contents.with_proxy(found))
    return None if proxy is None else f"{proxy}{shared}"


def counts_json(standing: Standing | None) -> dict[str, Any]:
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


def _cells(standing: Standing | None) -> tuple[object, ...]:
    """What waits for a destination, as table cells; None if that cannot be read."""
    if standing is None:
        return (None,) * 4
    last = standing.last
    said = None if last is None else f"{last.outcome} {last.status or last.error} {times.to_text(last.at)}"
    return standing.waiting, sum(standing.retrying), standing.dead, said
