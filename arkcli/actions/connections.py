"""The checks of `ark doctor` that are about the way to each destination: secrets, certificates and proxies. Each
connection is really made, up to the end of the TLS handshake; no request is sent.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from arkcli import times
from arkcli.actions import advice
from arkcli.actions.checks import Check, Status, passed
from arkcli.actions.home import Home
from arkcli.errors import UsageError
from arkcli.model import Destination
from arkcli.store.store import Contents

if TYPE_CHECKING:
    from arkcli.wire.probe import Reached

#: Warn if a certificate expires within this many days.
_RENEWED: Final = 14


def checks(home: Home, contents: Contents) -> list[Check]:
    """The checks of all destinations."""
    from arkcli.wire.probe import reach
    from arkcli.wire.trust import ca_bundle

    now, variables = home.clock.now(), home.variables
    found = check_secrets(home, contents)
    found += check_proxies(home, contents)
    found += [said for destination in contents.destinations for said in check_client_certificate(destination, now)]
    usable = [routed for destination in contents.destinations if (routed := _routed(home, destination, contents))]
    reached = reach(usable, ca_bundle(variables), home.clock)
    return [*found, *(check_connection(each, now, variables) for each in reached)]


def check_secrets(home: Home, contents: Contents) -> list[Check]:
    """Checks that each destination's signing secret is available."""
    hint = "nothing is delivered to it without a secret; see `ark secret --help`"
    found = _refusals("secret", home.secret_of, contents, hint)
    return found or [passed("secret", "every destination has a secret")] * bool(contents.destinations)


def check_proxies(home: Home, contents: Contents) -> list[Check]:
    """Checks that each proxy setting can be used, and says if a proxy that `ark` does not use is in the environment."""
    hint = "nothing is delivered to it until this is fixed: `ark dest set NAME --proxy URL`, or [network] proxy"
    found = _refusals("proxy", home.routed, contents, hint)
    ignored = advice.proxy_variable(home.variables)
    if ignored is not None and not found:
        found.append(passed("proxy", f"{ignored} is set, but `ark` does not use it; [network] proxy or --proxy does"))
    return found


def _refusals(name: str, need: Callable[[Destination, Contents], object], contents: Contents, hint: str) -> list[Check]:
    """A failed check for each destination for which `need` raises UsageError."""
    found = []
    for destination in contents.destinations:
        try:
            need(destination, contents)
        except UsageError as error:
            found.append(Check(name, Status.FAIL, f"{destination.name}: {error}", hint))
    return found


def check_client_certificate(destination: Destination, now: int) -> list[Check]:
    """Checks that a destination's client certificate can be used, and for how long."""
    from arkcli.wire.identity import Identities, expires_at

    identity = Identities(lambda: 0.0).of(destination)
    if identity is None:
        return []
    name, hint = f"client certificate {destination.name}", "renew it: once it expires, every delivery to it fails"
    if identity.problem is not None:
        return [Check(name, Status.FAIL, identity.problem, "every delivery to it fails until this is fixed")]
    return [_valid(name, f"{destination.client_cert} is", expires_at(identity.certificate), now, hint)]


def check_connection(reached: "Reached", now: int, variables: Mapping[str, str]) -> Check:
    """Checks that a destination can be reached, and how long its certificates remain valid."""
    import ssl

    found = reached.destination
    name = f"destination {found.name}"
    if reached.error is not None:
        hint = advice.hint(variables, found.url, reached.error)
        return Check(name, Status.WARN if found.paused else Status.FAIL, f"{found.url}: {reached.error}", hint)
    through = " through the proxy" if found.proxy is not None else ""
    said = f"{found.url} reached{through} in {reached.duration_ms} ms"
    if not reached.expires:
        return passed(name, f"{said}, without encryption")
    ends = min(ssl.cert_time_to_seconds(text) for text in reached.expires)
    hint = "renew the certificate: once it expires, every delivery fails"
    return _valid(name, f"{said}, its certificate is", round(ends * 1000), now, hint)


def _valid(name: str, said: str, ends: int, now: int, hint: str) -> Check:
    """Warns if a certificate expires soon. Times are milliseconds, UTC."""
    days = (ends - now) / 86_400_000
    said = f"{said} valid until {times.to_text(ends)[:10]}"
    if days < _RENEWED:
        return Check(name, Status.WARN, f"{said}, {max(days, 0):.0f} days from now", hint)
    return passed(name, said)


def _routed(home: Home, destination: Destination, contents: Contents) -> Destination | None:
    """The destination with its proxy; None if that cannot be used."""
    try:
        return home.routed(destination, contents)
    except UsageError:
        return None
