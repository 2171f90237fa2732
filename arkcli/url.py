"""Which URLs can be destinations. A URL is taken apart here, once, for everybody. Pure."""

import re
import socket
from typing import Final, NamedTuple
from urllib.parse import SplitResult, quote, unquote, urlsplit

from arkcli.errors import AddressRefused
from arkcli.signing import Concealed

_USERINFO: Final = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<userinfo>[^/?#\\]*)@(?P<rest>.*)", re.DOTALL)
#: What names the host, and perhaps a port, once there is no user name.
_AUTHORITY: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]+)(:[0-9]*)?")
_HOST: Final = re.compile(r"(?=.{1,253}\.?\Z)([a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?")
_HOST_RULE: Final = (
    "a host is letters, digits, '-', '_' and '.' (1 to 63 characters between dots, at most 253 altogether), or"
    " [an IPv6 address]; only :PORT may follow it"
)
#: Escapes of what needs none (RFC 3986, 2.3), and all others.
_ESCAPE: Final = re.compile("%(?:(2[DE]|3[0-9]|[46][1-9A-F]|[57][0-9A]|5F|7E)|[0-9A-F]{2})", re.IGNORECASE)
#: Decimal, octal or hexadecimal, as resolvers read it.
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
#: They shape letters in the host names of some scripts (IDNA 2008, CONTEXTJ).
_JOINERS: Final = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
_ASCII: Final = "".join(map(chr, range(0x21, 0x7F)))
_PORTS: Final = {"https": 443, "http": 80}


class Url(NamedTuple):
    """A URL that can be a destination.

    `text` is what the user typed. `dialled` is the same in ASCII, an international host name as its A-labels. `host` is
    in small letters and ASCII. `addresses` are those that the host names itself; where there are none, a resolver has
    to be asked. URLs that lead to the same place have the same `place`, however they are spelled: the case of scheme
    and host, a default port, an empty path or query, escapes that are not needed (RFC 3986, 6.2.2).
    """

    text: str
    dialled: str
    scheme: str
    host: str
    port: int
    addresses: tuple[str, ...]
    place: tuple[str, str, int, str, str]

    @property
    def default_name(self) -> str:
        """A destination's name made from the host: small letters, digits, `.`, `_` and `-`, at most 64."""
        name = re.sub(r"[^a-z0-9._-]+", "-", (urlsplit(self.text).hostname or "").lower()).strip("-._")
        return name[:64] or "destination"


def parse_url(url: str, *, allow_local: bool) -> Url:
    """Takes a URL apart. Raises AddressRefused unless it can be a destination: https, or http too with `allow_local`.

    Which address the host stands for, however it is spelled, is judged when it is dialled.
    """
    shown = repr(_without_secrets(url))
    if "\\" in url or any(
        character.isspace() or not (character.isprintable() or character in _JOINERS) for character in url
    ):
        raise AddressRefused(f"{shown} is not a URL: it contains white space, a control character or a backslash")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise AddressRefused(f"{shown} is not a URL: its host or port cannot be read") from None
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise AddressRefused(f"{shown} is not a URL that can receive webhooks: write it as https://host/path")
    if parts.username is not None or parts.password is not None:
        raise AddressRefused(
            "a URL with a user name or password would be shown; use --header 'Authorization: …' instead"
        )
    if parts.scheme == "http" and not allow_local:
        raise AddressRefused(
            f"{shown} is not https; --allow-local permits http, for a receiver on this machine or network"
        )
    if port == 0:
        raise AddressRefused(f"{shown} is not a URL: port 0 cannot be used")
    if parts.fragment:
        raise AddressRefused(f"{shown} has a fragment, which is never sent; remove the # and everything after it")
    authority = _AUTHORITY.fullmatch(parts.netloc)
    named = authority[1].strip("[]") if authority else ""
    host = named.lower() if named.isascii() else _a_labels(named, shown)
    if ":" not in host and not _HOST.fullmatch(host):
        raise AddressRefused(f"{shown} is not a URL: {_HOST_RULE}")
    try:
        addresses = _literal(host)
    except OSError:
        # No top-level domain is a number: this is an address, or nothing that all resolvers read alike.
        raise AddressRefused(f"{shown} is not a URL: its host ends in a number but is not an IP address") from None
    port, dialled = port or _PORTS[parts.scheme], _dialled(url, parts, host)
    # A name has no address of its own, or two where it is localhost.
    who = addresses[0] if len(addresses) == 1 else host.removesuffix(".")
    alike = urlsplit(_ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else found[0].upper(), dialled))
    place = (parts.scheme, who, port, alike.path or "/", alike.query)
    return Url(url, dialled, parts.scheme, host, port, addresses, place)


def _dialled(url: str, parts: SplitResult, host: str) -> str:
    if url.isascii():
        return url
    scheme, _, rest = url.partition("://")
    authority = parts.netloc if parts.netloc.isascii() else host + (f":{parts.port}" if parts.port else "")
    return f"{scheme}://{authority}{quote(rest[len(parts.netloc) :], safe=_ASCII)}"


def _literal(host: str) -> tuple[str, ...]:
    """The addresses that a host names itself; none where a resolver has to be asked."""
    name = host.removesuffix(".")
    if ":" in host:
        return (socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, host)),)
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        return (socket.inet_ntoa(socket.inet_aton(name)),)
    # What is at home needs no look-up (RFC 6761, 6.3).
    return ("::1", "127.0.0.1") if name == "localhost" or name.endswith(".localhost") else ()


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
        raise AddressRefused(
            "the user name in the URL contains a colon, or the user name or password contains a control character"
        )
    return match["scheme"] + match["rest"], Concealed(plain) if plain else None
