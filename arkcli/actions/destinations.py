"""Adds, changes and removes destinations, and keeps the store and the queue consistent.

A destination gets its place in the queue before it enters the store, and leaves the store before its place is removed:
a crash in between leaves an unused place, never a destination that misses events.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from arkcli import times
from arkcli.actions import advice, wording
from arkcli.actions.home import Home
from arkcli.actions.overlap import change_own
from arkcli.contract.bodies import Filling, make_body
from arkcli.contract.events import PING
from arkcli.contract.headers import with_header
from arkcli.delivery.watching import LookAtSend
from arkcli.errors import AddressRefused, Broken, DeliveryFailed, Gone, Held, UsageError
from arkcli.model import Answer, Destination, Event, Outcome
from arkcli.queue.patience import patiently
from arkcli.signing import Concealed, Secret
from arkcli.signing.scheme import BODY, BOTH
from arkcli.store.store import LONGEST_NAME, NAME, NAME_RULE, Contents
from arkcli.url import parse_proxy, parse_url, shown_proxy, split_userinfo

if TYPE_CHECKING:
    from arkcli.wire.wire import Endpoint


class Without(NamedTuple):
    """What to take away from a destination: headers by name, and settings."""

    headers: tuple[str, ...] = ()
    ca_file: bool = False
    client_cert: bool = False
    proxy: bool = False
    rate: bool = False
    max_in_flight: bool = False


class Wanted(msgspec.Struct, kw_only=True):
    """The settings that the user gave for a destination. None keeps a value, or leaves it at its default."""

    name: str | None = None
    url: str | None = None
    allow_local: bool | None = None
    description: str | None = None
    headers: dict[str, Concealed] = {}
    ca_file: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    proxy: str | None = None
    rate: str | None = None
    max_in_flight: int | None = None
    without: Without = Without()
    secret: Secret | None = None
    workspace_secret: bool = False
    standard_webhooks: bool | None = None


def add(home: Home, wanted: Wanted, *, ping: bool) -> tuple[Destination, Answer | None, bool]:
    """Adds a destination once it has answered a ping with a 2xx.

    Returns it, the ping's answer, and whether the shared signing secret was made for it. Raises UsageError, or
    DeliveryFailed if the ping failed; nothing is saved then.
    """
    contents = home.store.read()
    fresh = contents.workspace.secret is None and wanted.secret is None
    if fresh:
        contents.workspace.secret = new_secret(home)
    destination = unsaved(home, wanted)
    if wanted.name is None:
        destination = msgspec.structs.replace(destination, name=_free_name(contents, destination.name))
    _check_free(contents, destination)
    home.routed(destination, contents)
    answer = _ping(home, destination, contents, "nothing was saved", fresh=fresh) if ping else None
    with home.store.change() as current:
        _check_free(current, destination)
        if current.workspace.secret is None:
            current.workspace.secret = contents.workspace.secret
        else:
            fresh = False
        home.joined([destination])
        current.destinations.append(destination)
    return destination, answer, fresh


def unsaved(home: Home, wanted: Wanted) -> Destination:
    """A new destination with these settings, not yet saved anywhere. Raises UsageError."""
    url, _ = split_userinfo(wanted.url or "")
    parsed = parse_url(url, allow_local=bool(wanted.allow_local))
    now = times.to_text(home.clock.now())
    return _with(Destination(id=home.new_id("dst"), name=parsed.default_name, url=url, added_at=now), wanted)


def change(home: Home, destination: Destination, wanted: Wanted, *, ping: bool) -> Destination:
    """Changes a destination; a new URL must answer a ping first. Raises UsageError and DeliveryFailed."""
    contents = home.store.read()
    changed = _with(destination, wanted)
    _check_free(contents, changed)
    if _address(changed) != _address(destination):
        parse_url(changed.url, allow_local=changed.allow_local)
        home.routed(changed, contents)
        if ping:
            _ping(home, changed, contents, "nothing was changed")
    with home.store.change() as current:
        known = current.find(destination.id)
        if known is None:
            raise UsageError(f"{destination.name} has just been removed by another command")
        # Apply the settings to the current destination, not to the one that was pinged: it may have been paused since.
        changed = change_own(_with(known, wanted), known, current, home.clock.now())
        _check_free(current, changed)
        current.replace(changed)
    return changed


def set_paused(home: Home, name: str, *, paused: bool) -> None:
    """Pauses or resumes the destination with an id."""
    with home.store.change() as contents:
        destination = contents.find(name)
        if destination is None:
            raise UsageError(f"{name} has just been removed by another command")
        contents.replace(msgspec.structs.replace(destination, paused=paused, pause_note=None))
    if not paused:
        from arkcli.actions.alerts import resume

        resume(home, name)


def remove(home: Home, destination: Destination) -> int:
    """Removes a destination, discards its deliveries, and returns how many were discarded.

    Raises Busy or Broken if the deliveries cannot be discarded; the destination is removed all the same.
    """
    home.joined([destination])
    with home.store.change() as contents:
        contents.destinations = [known for known in contents.destinations if known.id != destination.id]

    def busy(held: Held) -> str:
        return (
            f"{destination.name} is removed, but {held.holder} is still delivering to it; "
            "its waiting deliveries stay in the queue"
        )

    try:
        return patiently(home.clock, lambda: home.queue.leave(destination.id), busy)
    except Gone:
        return 0
    except Broken as error:
        said = f"{destination.name} is removed, but its waiting deliveries stay in the queue: {error}"
        raise Broken(destination.id, said) from error


def ensure_secret(home: Home) -> bool:
    """Makes the shared signing secret if there is none; returns whether it did. Raises Unreadable."""
    if home.store.read().workspace.secret is not None:
        return False
    with home.store.change() as contents:
        made = contents.workspace.secret is None
        contents.workspace.secret = contents.workspace.secret or new_secret(home)
    return made


def made_secret_note(place: str, whose: str = "your receivers", shows: str = "secret show") -> str:
    """A note that a signing secret was made, the shared one by default, and where it is."""
    return f"made a signing secret for {whose}; it is in {place}, and `ark {shows} --reveal` prints it"


def new_secret(home: Home) -> Secret:
    """A new signing secret: 32 random bytes in hex, with a prefix by which scanners for leaked secrets can find it."""
    return Secret(f"arksec_{home.randomness(32).hex()}")


def ping_all(
    home: Home,
    endpoints: "Sequence[Endpoint]",
    stopping: Callable[[], bool] = lambda: False,
    look: LookAtSend | None = None,
) -> list[tuple[Destination, Answer]]:
    """Sends one ping, which is never queued, to each endpoint until told to stop. Returns the answers."""
    now = times.to_text(home.clock.now())
    body = make_body(PING, b"{}", Filling(timestamp=now, batch_id=""))
    with home.sender(stopping) as sender:
        return sender.ping(endpoints, Event(home.new_id("evt"), PING, now, body), look)


def probe(
    home: Home, contents: Contents, secret: Secret, stopping: Callable[[], bool], look: LookAtSend | None = None
) -> list[tuple[Destination, Answer]]:
    """Pings each destination that uses the shared secret and is not paused; the pings are signed with another secret.

    Returns the answers; some are missing after a stop.
    """
    from arkcli.wire.wire import Endpoint

    asked = [
        Endpoint(home.routed(found, contents), secret, scheme=BOTH if found.standard_webhooks else BODY)
        for found in contents.destinations
        if found.secret is None and not found.paused
    ]
    return ping_all(home, asked, stopping, look) if asked else []


def _ping(home: Home, destination: Destination, contents: Contents, what: str, *, fresh: bool = False) -> Answer:
    (_, answer), *_ = ping_all(home, [home.endpoint(destination, contents)])
    if answer.outcome is not Outcome.DELIVERED:
        why = answer.error or ""
        helps = advice.hint(home.variables, destination.url, why)
        if answer.status in (401, 403):
            made = "make it with `ark secret rotate --reveal`" if fresh else "`ark secret show --reveal` prints it"
            needed = "this secret" if destination.secret is not None else f"the signing secret first: {made}"
            helps = f"A receiver that checks signatures needs {needed}"
        said = wording.said_cell(answer)
        # A page of HTML says what the status says, in more words.
        more = f" (it said: {said})" if said and not said.startswith("<") else ""
        raise DeliveryFailed(f"the ping to {destination.url} failed: {why}{more}. {helps}; {what}")
    return answer


def _with(destination: Destination, wanted: Wanted) -> Destination:
    """The destination with these settings applied. Raises UsageError."""
    if wanted.name is not None and not NAME.fullmatch(wanted.name):
        raise UsageError(f"{wanted.name!r} is not a name: {NAME_RULE}")
    if wanted.ca_file is not None and not wanted.ca_file.is_file():
        raise UsageError(f"{wanted.ca_file} is not a file; --ca-file takes CA certificates in PEM form")
    if wanted.rate == "":
        raise UsageError("--rate takes a number and a unit, such as 10/s, 300/m or 5000/h; --no-rate removes it")
    if wanted.proxy == "":
        raise UsageError("--proxy takes a URL, env:NAME, file:PATH or none")
    gone = wanted.without
    client_cert, client_key = _client_certificate(destination, wanted)
    secret = None if wanted.workspace_secret else wanted.secret or destination.secret
    url, userinfo = (destination.url, destination.userinfo) if wanted.url is None else split_userinfo(wanted.url)
    if client_cert is not None and url.lower().startswith("http:"):
        helps = "leave it out" if destination.client_cert is None else "--no-client-cert removes it"
        raise UsageError(f"a client certificate needs a receiver with https; {helps}")
    headers = _without_headers(destination, gone.headers)
    for name, value in wanted.headers.items():
        headers = with_header(headers, name, value)
    if userinfo is not None and "authorization" in map(str.lower, headers):
        raise UsageError("the URL's user name and the Authorization header contradict each other; give only one")
    return msgspec.structs.replace(
        destination,
        name=wanted.name or destination.name,
        url=url,
        allow_local=destination.allow_local if wanted.allow_local is None else wanted.allow_local,
        description=destination.description if wanted.description is None else wanted.description or None,
        ca_file=None if gone.ca_file else str(wanted.ca_file.absolute()) if wanted.ca_file else destination.ca_file,
        client_cert=client_cert,
        client_key=client_key,
        proxy=None if gone.proxy else Secret(wanted.proxy) if wanted.proxy else destination.proxy,
        rate=None if gone.rate else _rate(wanted) or destination.rate,
        max_in_flight=None if gone.max_in_flight else wanted.max_in_flight or destination.max_in_flight,
        secret=secret,
        standard_webhooks=(
            destination.standard_webhooks if wanted.standard_webhooks is None else wanted.standard_webhooks
        ),
        userinfo=userinfo,
        headers=headers,
    )


def _rate(wanted: Wanted) -> str | None:
    """The rate that the user gave. Raises UsageError."""
    try:
        times.parse_rate(wanted.rate or "1/s")
    except ValueError as error:
        raise UsageError(f"--rate: {error}") from None
    return wanted.rate


def _without_headers(destination: Destination, names: Sequence[str]) -> dict[str, Concealed]:
    """The destination's headers without those with these names, in upper or lower case. Raises UsageError."""
    left = dict(destination.headers)
    for name in names:
        known = next((header for header in left if header.lower() == name.lower()), None)
        if known is None:
            raise UsageError(
                f"{destination.name} has no header {name!r}; `ark dest show {destination.name}` lists them"
            )
        del left[known]
    return left


def _client_certificate(destination: Destination, wanted: Wanted) -> tuple[str | None, str | None]:
    """The files of the client certificate and of its key. Raises UsageError if new ones cannot be used."""
    if wanted.without.client_cert:
        return None, None
    if wanted.client_cert is None and wanted.client_key is None:
        return destination.client_cert, destination.client_key
    from arkcli.wire.identity import read_identity

    certificate = wanted.client_cert or (destination.client_cert and Path(destination.client_cert))
    key = wanted.client_key or (destination.client_key and Path(destination.client_key))
    if not certificate or not key:
        raise UsageError("--client-cert and --client-key need each other; give both")
    certificate, key = certificate.absolute(), key.absolute()
    read_identity(certificate, key)
    return str(certificate), str(key)


def notes_of_proxy(home: Home, destination: Destination) -> list[str]:
    """What to know about the proxy in force for a destination, if there is one."""
    contents = home.store.read()
    routed, setting = home.routed(destination, contents).proxy, contents.with_proxy(destination).proxy
    if routed is None or setting is None:
        return []
    said = f"{destination.name} is reached through the proxy {shown_proxy(setting.reveal().decode())}"
    if parse_proxy(routed.reveal().decode()).resolves:
        said += ", which looks up the host and connects to it; ark can check only the proxy's own address"
    return [said]


def _address(destination: Destination) -> tuple[object, ...]:
    """The settings that a ping tests; if they change, the destination must be pinged again."""
    found = destination
    return found.url, found.userinfo, found.allow_local, found.client_cert, found.client_key, found.proxy


def _place(url: str) -> object:
    """The place that a URL leads to, however it is spelled; the URL itself if it is not allowed."""
    try:
        return parse_url(url, allow_local=True).place
    except AddressRefused:
        return url


def _check_free(contents: Contents, destination: Destination) -> None:
    place = _place(destination.url)
    for known in contents.destinations:
        if known.id == destination.id:
            continue
        if known.url == destination.url or _place(known.url) == place:
            raise UsageError(f"{known.url} already exists, as {known.name}")
        if destination.name in (known.name, known.id):
            raise UsageError(f"the name {destination.name!r} is taken, by {known.url}; choose another with --name")


def _free_name(contents: Contents, name: str) -> str:
    """The name, with a number appended if it is taken."""
    taken = {word for known in contents.destinations for word in (known.name, known.id)}
    endings = ("", *(f"-{number}" for number in range(2, len(taken) + 3)))
    return next(free for ending in endings if (free := name[: LONGEST_NAME - len(ending)] + ending) not in taken)
