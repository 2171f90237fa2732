"""Parses URLs and decides which can be destinations or proxies. Pure."""

import re
import socket
from typing import Final, NamedTuple
from urllib.parse import SplitResult, quote, unquote, urlsplit

from arkcli.errors import AddressRefused
from arkcli.signing import Concealed
from arkcli.text import pattern

_USERINFO: Final = pattern(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<userinfo>[^/?#\\]*)@(?P<rest>.*)", re.DOTALL)
#: The host, and perhaps a port, of a URL without a user name.
_AUTHORITY: Final = pattern(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]+)(:[0-9]*)?")
_HOST: Final = pattern(r"(?=.{1,253}\.?\Z)([a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?")
_HOST_RULE: Final = (
    "a host is letters, digits, '-', '_' and '.' (1 to 63 characters between dots, at most 253 altogether), or"
    " [an IPv6 address]; only :PORT may follow it"
)
#: Escapes of unreserved characters (RFC 3986, 2.3), and all others.
_ESCAPE: Final = pattern("%(?:(2[DE]|3[0-9]|[46][1-9A-F]|[57][0-9A]|5F|7E)|[0-9A-F]{2})", re.IGNORECASE)
#: A decimal, octal or hexadecimal number, as resolvers read it.
_NUMBER: Final = pattern(r"[0-9]+|0x[0-9a-f]*")
#: These shape letters in the host names of some scripts (IDNA 2008, CONTEXTJ).
_JOINERS: Final = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
_ASCII: Final = "".join(map(chr, range(0x21, 0x7F)))
_PORTS: Final = {"https": 443, "http": 80}
#: How `ark` can speak to a proxy. With `socks5`, `ark` looks up the destination's name; otherwise the proxy does.
_PROXIES: Final = ("http", "https", "socks5h", "socks5")
#: The proxy setting that exempts a destination.
NO_PROXY: Final = "none"


class Url(NamedTuple):
    """A URL that can be a destination.

    `text` is what the user typed. `ascii` is the same in ASCII, with an international host name as A-labels. `host`
    is lowercase ASCII. `addresses` are those that the host itself names; if there are none, a resolver has to be asked.
    URLs that lead to the same endpoint have the same `place`, whatever the case of scheme and host, with or without a
    default port, an empty path or query, or escapes that are not needed (RFC 3986, 6.2.2).
    """

    text: str
    ascii: str
    scheme: str
    host: str
    port: int
    addresses: tuple[str, ...]
    place: tuple[str, str, int, str, str]

    @property
    def default_name(self) -> str:
        """A destination's name derived from the host: at most 64 lowercase letters, digits, `.`, `_` and `-`."""
        name = re.sub(r"[^a-z0-9._-]+", "-", (urlsplit(self.text).hostname or "").lower()).strip("-._")
        return name[:64] or "destination"


def parse_url(url: str, *, allow_local: bool) -> Url:
    """Parses a URL. Raises AddressRefused unless it can be a destination: https, or http too with `allow_local`.

    Does not check the host's address: that is done when ark connects.
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
        # Which of them is wrong depends on Python's version.
        raise AddressRefused(f"{shown} is not a URL: its host or port cannot be read; {_HOST_RULE}") from None
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
        # No top-level domain is a number, so this is a malformed address, which resolvers would read differently.
        raise AddressRefused(f"{shown} is not a URL: its host ends in a number but is not an IP address") from None
    port, ascii = port or _PORTS[parts.scheme], _in_ascii(url, parts, host)
    # A name has no address in itself, except localhost, which has two.
    who = addresses[0] if len(addresses) == 1 else host.removesuffix(".")
    alike = urlsplit(_ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else found[0].upper(), ascii))
    place = (parts.scheme, who, port, alike.path or "/", alike.query)
    return Url(url, ascii, parts.scheme, host, port, addresses, place)


class Proxy(NamedTuple):
    """A proxy. `host`, `port` and `addresses` are as in `Url`; `userinfo` is `user:password`."""

    scheme: str
    host: str
    port: int
    addresses: tuple[str, ...]
    userinfo: Concealed | None

    @property
    def resolves(self) -> bool:
        """Whether the proxy looks up the names of destinations."""
        return self.scheme != "socks5"


def parse_proxy(text: str) -> Proxy:
    """Parses a proxy's URL. Raises AddressRefused; the message shows no password."""
    scheme, _, rest = text.partition("://")
    try:
        url, userinfo = split_userinfo(f"http://{rest}")
        found = parse_url(url, allow_local=True)
        if scheme.lower() in _PROXIES and urlsplit(url).port and found.place[3:] == ("/", ""):
            return Proxy(scheme.lower(), found.host, found.port, found.addresses, userinfo)
    except AddressRefused:
        pass
    raise AddressRefused(
        f"{shown_proxy(text)!r} is not a proxy: write it as http://HOST:PORT, or with https, socks5h or socks5, "
        "and with USER:PASSWORD@ before HOST if the proxy needs that"
    )


def shown_proxy(text: str) -> str:
    """A proxy setting without the user name and the password in it."""
    return _without_secrets(text)


def _in_ascii(url: str, parts: SplitResult, host: str) -> str:
    if url.isascii():
        return url
    scheme, _, rest = url.partition("://")
    authority = parts.netloc if parts.netloc.isascii() else host + (f":{parts.port}" if parts.port else "")
    return f"{scheme}://{authority}{quote(rest[len(parts.netloc) :], safe=_ASCII)}"


def _literal(host: str) -> tuple[str, ...]:
    """The addresses that a host itself names; none if a resolver has to be asked."""
    name = host.removesuffix(".")
    if ":" in host:
        return (socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, host)),)
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        return (socket.inet_ntoa(socket.inet_aton(name)),)
    # localhost needs no look-up (RFC 6761, 6.3).
    return ("::1", "127.0.0.1") if name == "localhost" or name.endswith(".localhost") else ()


def _without_secrets(url: str) -> str:
    """A URL, perhaps mistyped, safe to show: anything before an @ or after a # may be a password."""
    masked = re.sub(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*:/+)?.*@", r"\g<scheme>***@", url, count=1, flags=re.DOTALL)
    return re.sub(r"#.+", "#…", masked, flags=re.DOTALL)


def _a_labels(host: str, shown: str) -> str:
    """The host as in the DNS (IDNA 2008 with the mapping of UTS 46: lowercase, full-width digits to digits)."""
    import idna

    try:
        return idna.encode(host, uts46=True).decode()
    except idna.IDNAError as error:
        raise AddressRefused(f"{shown} is not a URL: its host is not an international domain name: {error}") from None


def split_userinfo(url: str) -> tuple[str, Concealed | None]:
    """Splits a URL into the URL without user name and password, and those two (`user:password`).

    They are stored separately and never shown. Raises AddressRefused if they cannot be sent (RFC 7617, 2).
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
