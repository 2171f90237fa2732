"""Which URLs may be destinations, and which addresses may be dialled. Pure: it resolves and dials nothing itself.

The ranges are those of IANA's special-purpose registries for IPv4 and IPv6 (RFC 6890 and its successors).
"""

import ipaddress
import re
from functools import lru_cache
from typing import Final
from urllib.parse import unquote, urlsplit

from arkcli.errors import AddressRefused
from arkcli.signing import Concealed

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Refused always, `--allow-local` or not: where clouds serve their machines' credentials, and what is no unicast.
_NEVER: Final = (
    ("link-local, where clouds serve their metadata", ("169.254.0.0/16", "fe80::/10")),
    ("a cloud's metadata service", ("fd00:ec2::254/128", "fd20:ce::254/128", "100.100.100.200/32", "168.63.129.16/32")),
    ("multicast", ("224.0.0.0/4", "ff00::/8")),
    ("unspecified", ("0.0.0.0/8", "::/128")),
    ("the broadcast address", ("255.255.255.255/32",)),
    ("reserved", ("240.0.0.0/4",)),
)
#: Opened by `--allow-local`.
_LOCAL: Final = (
    ("a loopback address", ("127.0.0.0/8", "::1/128")),
    ("a private address", ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fec0::/10")),
    ("in a carrier's shared range", ("100.64.0.0/10",)),
)
#: Never a public receiver, and nothing that `--allow-local` means.
_SPECIAL: Final = (
    ("a tunnel to an IPv4 address that it does not show", ("2001::/32", "64:ff9b:1::/48")),
    ("for protocol assignments", ("192.0.0.0/24", "2001::/23")),
    ("for documentation", ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20")),
    ("for benchmarks", ("198.18.0.0/15", "2001:2::/48")),
    ("a deprecated relay range", ("192.88.99.0/24",)),
    ("a discard range", ("100::/64",)),
    ("for segment routing", ("5f00::/16",)),
)

Ranges = tuple[tuple[str, Network], ...]


def _table(rows: tuple[tuple[str, tuple[str, ...]], ...]) -> Ranges:
    return tuple((what, ipaddress.ip_network(text)) for what, texts in rows for text in texts)


_never: Final = _table(_NEVER)
_local: Final = _table(_LOCAL)
_special: Final = _table(_SPECIAL)
_USERINFO: Final = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<userinfo>[^/?#\\]*)@(?P<rest>.*)", re.DOTALL)
_global_unicast: Final = ipaddress.ip_network("2000::/3")
_nat64: Final = ipaddress.ip_network("64:ff9b::/96")
_compatible: Final = ipaddress.ip_network("::/96")


@lru_cache(maxsize=1024)
def refusal(address: str, *, allow_local: bool) -> str | None:
    """Why this address may not be dialled, in words; None when it may.

    `address` is a literal IPv4 or IPv6 address as a resolver returns it, zone index or not. What embeds an IPv4 address
    (mapped, compatible, NAT64, 6to4) is judged as that address.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return f"{address} is not an IP address"
    judged = _unwrapped(parsed)
    shown = address if judged == parsed else f"{address} ({judged})"
    for what, network in _never:
        if judged in network:
            return f"{shown} is {what}; it is never dialled"
    for what, network in _local:
        if judged in network:
            return None if allow_local else f"{shown} is {what}; --allow-local permits it for this destination"
    for what, network in _special:
        if judged in network:
            return f"{shown} is {what}; it is never dialled"
    if judged.version == 6 and judged not in _global_unicast:
        return f"{shown} is not global unicast; it is never dialled"
    return None


def _unwrapped(address: Address) -> Address:
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    embeds = address in _nat64 or (address in _compatible and int(address) > 1)
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if embeds else address


def check_url(url: str, *, allow_local: bool) -> None:
    """Raises AddressRefused unless the URL can be a destination: https, or http too with `allow_local`."""
    # Whatever stands before an @ may be a password.
    shown = repr(re.sub(r"//.*@", "//***@", url))
    if "\\" in url or any(character.isspace() or not character.isprintable() for character in url):
        raise AddressRefused(f"{shown} is not a URL: it holds white space, a control character or a backslash")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise AddressRefused(f"{shown} is not a URL: its host or port cannot be read") from None
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise AddressRefused(f"{shown} is not a URL that can receive webhooks: write it like https://host/path")
    if parts.username is not None or parts.password is not None:
        raise AddressRefused(
            "a URL with a user name or password would be shown; use --header 'Authorization: …' instead"
        )
    if parts.scheme == "http" and not allow_local:
        raise AddressRefused(
            f"{url} is not https; --allow-local permits http, for a receiver on this machine or network"
        )
    if port == 0:
        raise AddressRefused(f"{shown} is not a URL: port 0 cannot be dialled")
    if parts.fragment:
        raise AddressRefused(f"{shown} has a fragment, which is never sent; leave out #{parts.fragment}")


def split_userinfo(url: str) -> tuple[str, Concealed | None]:
    """A URL without what stands before an @ in its host's place, and that: a user name and a password.

    So that they are kept apart and never shown. Raises AddressRefused when they cannot be sent (RFC 7617, 2).
    """
    match = _USERINFO.match(url)
    if match is None:
        return url, None
    user, colon, password = match["userinfo"].partition(":")
    plain = unquote(user) + colon + unquote(password)
    if ":" in unquote(user) or not plain.isprintable():
        raise AddressRefused("the user name in the URL holds a colon, or it or the password a control character")
    return match["scheme"] + match["rest"], Concealed(plain) if plain else None


def default_name(url: str) -> str:
    """A destination's name made from its URL's host: small letters, digits, `.`, `_` and `-`, at most 64."""
    host = (urlsplit(url).hostname or "").lower()
    name = re.sub(r"[^a-z0-9._-]+", "-", host).strip("-._")
    return name[:64] or "destination"
