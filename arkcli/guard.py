"""Which URLs may be destinations, and which addresses may be dialled. Pure: it resolves and dials nothing itself.

The ranges are those of IANA's special-purpose registries for IPv4 and IPv6 (RFC 6890 and its successors), every row,
and what clouds keep their machines' credentials behind.
"""

import ipaddress
import re
import socket
from collections.abc import Iterator
from functools import lru_cache
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from arkcli.errors import AddressRefused
from arkcli.signing import Concealed

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Refused always, `--allow-local` or not: where clouds serve their machines' credentials, and what is no unicast.
_NEVER: Final = (
    ("link-local, where clouds serve their metadata", ("169.254.0.0/16", "fe80::/10")),
    # Amazon, Google, Oracle, Scaleway; Alibaba, Azure. The rest, and these over IPv4, are link-local.
    ("a cloud's metadata service", ("fd00:ec2::/32", "fd20:ce::254/128", "fd00:c1::a9fe:a9fe/128", "fd00:42::42/128")),
    ("a cloud's metadata service", ("100.100.100.200/32", "168.63.129.16/32")),
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
    # AS112: its servers may stand in anybody's network (RFC 7534).
    ("a sink for stray name look-ups", ("192.31.196.0/24", "192.175.48.0/24", "2620:4f:8000::/48")),
    ("for multicast relays", ("192.52.193.0/24",)),
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
_HOST: Final = re.compile(r"[a-z0-9._-]+")
#: Decimal, octal or hexadecimal, as resolvers read it.
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
#: They shape letters in the host names of some scripts (IDNA 2008, CONTEXTJ).
_JOINERS: Final = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
_ASCII: Final = "".join(map(chr, range(0x21, 0x7F)))


@lru_cache(maxsize=1024)
def refusal(address: str, *, allow_local: bool) -> str | None:
    """Why this address may not be dialled, in words; None when it may.

    `address` is a literal IPv4 or IPv6 address as a resolver returns it, zone index or not. What embeds an IPv4 address
    (mapped, compatible, NAT64, 6to4) is judged as that address; ISATAP as both.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return f"{address} is not an IP address"
    for judged in _concerned(parsed):
        what, remedy = _verdict(judged, allow_local=allow_local)
        if what is not None:
            shown = address if judged == parsed else f"{address} ({judged})"
            return f"{shown} is {what}; {remedy}"
    return None


def _concerned(address: Address) -> Iterator[Address]:
    """The addresses that a packet to this one may reach."""
    if isinstance(address, ipaddress.IPv4Address):
        yield address
    elif address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    elif address.sixtofour is not None:
        yield address.sixtofour
    elif address in _nat64 or (address in _compatible and int(address) > 1):
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    else:
        yield address
        # RFC 5214, 6.1: the interface identifier, whose bit "universal" may be set.
        if int(address) >> 32 & 0xFDFFFFFF == 0x00005EFE:
            yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


def _verdict(judged: Address, *, allow_local: bool) -> tuple[str | None, str]:
    never = "it is never dialled"
    for what, network in _never:
        if judged in network:
            return what, never
    for what, network in _local:
        if judged in network:
            return (None if allow_local else what), "--allow-local permits it for this destination"
    for what, network in _special:
        if judged in network:
            return what, never
    if judged.version == 6 and judged not in _global_unicast:
        return "not global unicast", never
    return None, ""


def check_url(url: str, *, allow_local: bool) -> str:
    """Returns the URL as it is dialled: in ASCII, an international host name as its A-labels.

    Raises AddressRefused unless it can be a destination: https, or http too with `allow_local`. Which address the host
    stands for, however it is spelled, is judged when it is dialled.
    """
    shown = repr(_without_secrets(url))
    if "\\" in url or any(
        character.isspace() or not (character.isprintable() or character in _JOINERS) for character in url
    ):
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
            f"{shown} is not https; --allow-local permits http, for a receiver on this machine or network"
        )
    if port == 0:
        raise AddressRefused(f"{shown} is not a URL: port 0 cannot be dialled")
    if parts.fragment:
        raise AddressRefused(f"{shown} has a fragment, which is never sent; leave out the # and what follows it")
    host = parts.hostname if parts.hostname.isascii() else _a_labels(parts.hostname, shown)
    _check_host(host, shown)
    if url.isascii():
        return url
    scheme, _, rest = url.partition("://")
    authority = parts.netloc if parts.netloc.isascii() else host + (f":{port}" if port else "")
    return f"{scheme}://{authority}{quote(rest[len(parts.netloc) :], safe=_ASCII)}"


def _without_secrets(url: str) -> str:
    """A URL, mistyped perhaps, fit to be shown: whatever stands before an @ or after a # may be a password."""
    masked = re.sub(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*:/+)?.*@", r"\g<scheme>***@", url, count=1, flags=re.DOTALL)
    return re.sub(r"#.+", "#…", masked, flags=re.DOTALL)


def _a_labels(host: str, shown: str) -> str:
    """The host as the DNS knows it (IDNA 2008, mapped as UTS 46 says: small letters, full-width digits to digits)."""
    import idna

    try:
        return idna.encode(host, uts46=True).decode()
    except idna.IDNAError as error:
        raise AddressRefused(f"{shown} is not a URL: its host is not an international domain name: {error}") from None


def _check_host(host: str, shown: str) -> None:
    if ":" in host and "%" not in host:
        return
    if not _HOST.fullmatch(host):
        raise AddressRefused(f"{shown} is not a URL: a host is letters, digits, '-', '_' and '.', or [an IPv6 address]")
    name = host.removesuffix(".")
    if _ends_in_a_number(name):
        # No top-level domain is a number: this is an IPv4 address, or nothing that all resolvers read alike.
        try:
            socket.inet_aton(name)
        except OSError:
            raise AddressRefused(f"{shown} is not a URL: its host ends in a number, but is no address") from None


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


def name_to_look_up(url: str) -> tuple[str, int] | None:
    """The host name and the port of a URL that `check_url` returned; None where no resolver has to be asked."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    name = host.removesuffix(".")
    # What is at home needs no look-up (RFC 6761): libcurl knows it to be loopback.
    if ":" in host or _ends_in_a_number(name) or name == "localhost" or name.endswith(".localhost"):
        return None
    return host, parts.port or (443 if parts.scheme == "https" else 80)


def _ends_in_a_number(name: str) -> bool:
    return _NUMBER.fullmatch(name.rpartition(".")[2]) is not None


def default_name(url: str) -> str:
    """A destination's name made from its URL's host: small letters, digits, `.`, `_` and `-`, at most 64."""
    host = (urlsplit(url).hostname or "").lower()
    name = re.sub(r"[^a-z0-9._-]+", "-", host).strip("-._")
    return name[:64] or "destination"
