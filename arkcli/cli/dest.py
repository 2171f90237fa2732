"""`ark dest`: the destinations."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from arkcli.actions import destinations
from arkcli.actions.destinations import Wanted, Without
from arkcli.actions.printed import answer_json
from arkcli.actions.reading import Reading
from arkcli.actions.wording import took_cell
from arkcli.cli.command import App
from arkcli.cli.destinations import Name, counts_json, list_, settings_json, show
from arkcli.cli.options import (
    AllowLocal,
    CaFile,
    ClientCert,
    ClientKey,
    Headers,
    MaxInFlight,
    Proxy,
    Rate,
    SecretFile,
    StandardWebhooks,
    Yes,
    ask,
    find_destination,
    given_options,
    session_of,
)
from arkcli.cli.printout import Printout
from arkcli.cli.session import Session
from arkcli.cli.standard import destination_notes
from arkcli.contract.headers import parse_headers
from arkcli.errors import UsageError
from arkcli.model import Destination
from arkcli.queue.engine import Standing
from arkcli.signing import Secret
from arkcli.signing.secrets import read_secret_file
from arkcli.text import counted

app = App("Manage destinations, the URLs that receive every event.")

Description = Annotated[str | None, typer.Option("--description", help="A note, shown by `ark dest show`.")]
OwnSecret = Annotated[bool, typer.Option("--own-secret", help="Generate a signing secret for this destination alone.")]
#: Options, and those that take away what they set.
_TAKES_AWAY: Final = {
    "--ca-file": "--no-ca-file",
    "--client-cert": "--no-client-cert",
    "--client-key": "--no-client-cert",
    "--proxy": "--no-proxy",
    "--rate": "--no-rate",
    "--max-in-flight": "--no-max-in-flight",
}
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
    client_cert: ClientCert = None,
    client_key: ClientKey = None,
    proxy: Proxy = None,
    rate: Rate = None,
    max_in_flight: MaxInFlight = None,
    description: Description = None,
    standard_webhooks: StandardWebhooks = False,
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
        client_cert=client_cert,
        client_key=client_key,
        proxy=proxy,
        rate=rate,
        max_in_flight=max_in_flight,
        secret=_own_secret(session, secret_file, own_secret),
        standard_webhooks=standard_webhooks,
    )
    with session.output().working(_PINGING, session.home.clock.monotonic):
        added, answer, fresh_secret = destinations.add(session.home, wanted, ping=not no_ping)
    notes = _notes_of_own_secret(session, added, own=own_secret)
    if fresh_secret:
        notes.append(destinations.made_secret_note(session.home.store.name))
    notes += destination_notes(session.home, added)
    if added.allow_local:
        notes.append(f"{added.name} may use http and private addresses (--allow-local)")
    notes += destinations.notes_of_proxy(session.home, added)
    ping = None if answer is None else answer_json(answer)
    said = "saved without a ping" if answer is None else f"ping answered {answer.status} in {took_cell(answer)}"
    document = {"destination": settings_json(added), "ping": ping}
    return Printout(document, [f"added {added.name} ({added.id}): {said}"], notes)


app.command("list")(list_)
app.command()(show)


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
    no_header: Annotated[
        list[str] | None,
        typer.Option("--no-header", metavar="NAME", help="Remove an extra request header. Repeatable."),
    ] = None,
    ca_file: CaFile = None,
    no_ca_file: Annotated[bool, typer.Option("--no-ca-file", help="Trust the system's CA certificates again.")] = False,
    client_cert: ClientCert = None,
    client_key: ClientKey = None,
    no_client_cert: Annotated[
        bool, typer.Option("--no-client-cert", help="Remove the client certificate and its key.")
    ] = False,
    proxy: Proxy = None,
    no_proxy: Annotated[
        bool, typer.Option("--no-proxy", help="Remove its own proxy; [network] proxy counts again, if there is one.")
    ] = False,
    rate: Rate = None,
    no_rate: Annotated[bool, typer.Option("--no-rate", help="Send as fast as the receiver answers again.")] = False,
    max_in_flight: MaxInFlight = None,
    no_max_in_flight: Annotated[
        bool, typer.Option("--no-max-in-flight", help="Remove its maximum of attempts in flight.")
    ] = False,
    description: Description = None,
    standard_webhooks: Annotated[
        bool | None,
        typer.Option(
            "--standard-webhooks/--no-standard-webhooks", help="Send or leave out the headers of Standard Webhooks."
        ),
    ] = None,
) -> Printout:
    """Change a destination's settings. Settings that you do not name stay as they are. A new URL, proxy or
    client certificate, or the removal of one, must pass a ping first.

    Example: ark dest set crm --description 'The sales team'
    """
    session = session_of(context)
    if workspace_secret and (own_secret or secret_file is not None):
        other = "--own-secret" if own_secret else "--secret-file"
        raise UsageError(f"--workspace-secret and {other} do not go together; choose one of them")
    given = given_options(context)
    for option, no in _TAKES_AWAY.items():
        if {option, no} <= given:
            raise UsageError(f"{option} and {no} do not go together; choose one of them")
    found = find_destination(session.home.store.read(), name)
    wanted = Wanted(
        name=new_name,
        url=url,
        allow_local=allow_local,
        description=description,
        headers=parse_headers(header or []),
        ca_file=ca_file,
        client_cert=client_cert,
        client_key=client_key,
        proxy=proxy,
        rate=rate,
        max_in_flight=max_in_flight,
        without=Without(tuple(no_header or ()), no_ca_file, no_client_cert, no_proxy, no_rate, no_max_in_flight),
        secret=_own_secret(session, secret_file, own_secret),
        workspace_secret=workspace_secret,
        standard_webhooks=standard_webhooks,
    )
    if wanted == Wanted():
        raise UsageError("nothing to change; `ark dest set --help` shows the settings")
    with session.output().working(_PINGING, session.home.clock.monotonic):
        changed = destinations.change(session.home, found, wanted, ping=not no_ping)
    notes = _notes_of_own_secret(session, changed, own=own_secret)
    notes += destinations.notes_of_proxy(session.home, changed) if proxy is not None or no_proxy else []
    notes += destination_notes(session.home, changed, found)
    return _said(session, changed, "changed", notes)


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
    return Printout({"destination": settings_json(changed) | counts_json(standing)}, [f"{verb} {changed.name}"], notes)


def _standing(session: Session, found: Destination) -> tuple[Standing | None, Mapping[str, str]]:
    """What waits for one destination, or (None, the reason by name) if that cannot be read."""
    overview = Reading(session.home, [found]).overview()
    return next((place.standing for place in overview.places), None), overview.broken


def _notes_of_own_secret(session: Session, found: Destination, *, own: bool) -> list[str]:
    place, whose, shows = session.home.store.name, f"{found.name} alone", f"dest show {found.name}"
    return [destinations.made_secret_note(place, whose, shows)] if own else []


def _own_secret(session: Session, file: Path | None, own: bool) -> Secret | None:
    if file is None:
        return destinations.new_secret(session.home) if own else None
    if own:
        raise UsageError("--own-secret generates a secret and --secret-file gives one; choose one of them")
    return read_secret_file(file)
