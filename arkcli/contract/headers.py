"""Which headers a user may add to requests: those that RFC 9110 permits and `ark` does not set itself."""

from collections.abc import Sequence
from typing import Final

from arkcli.errors import UsageError
from arkcli.signing import Concealed
from arkcli.signing.scheme import SCHEMES
from arkcli.text import pattern

#: The headers that `ark` sends in addition to the signature (contract, "What tells a repetition").
EVENT_HEADER: Final = "X-SignalArk-Event"
DELIVERY_HEADER: Final = "X-SignalArk-Delivery"
ATTEMPT_HEADER: Final = "X-SignalArk-Attempt"
_OURS: Final = "x-signalark-"

#: A header's name is a token (RFC 9110, 5.6.2).
_NAME: Final = pattern(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: Characters allowed in a value (RFC 9110, 5.5), ASCII only: receivers decode other bytes differently.
_VALUE: Final = pattern(r"[\t\x20-\x7e]*")
#: Headers that frame the request, describe the body, belong to the connection (RFC 9110, 7.6.1), or sign.
_RESERVED: Final = frozenset(
    (
        *("host", "content-length", "content-type", "content-encoding", "transfer-encoding", "trailer", "expect"),
        *("connection", "keep-alive", "proxy-connection", "te", "upgrade", "user-agent"),
        *(name.lower() for scheme in SCHEMES for name in scheme.headers),
    )
)


def parse_headers(texts: Sequence[str]) -> dict[str, Concealed]:
    """Parses `Name: value` strings; the last one of a name counts. Raises UsageError, also as `check_header` does."""
    headers: dict[str, Concealed] = {}
    for text in texts:
        name, colon, value = text.partition(":")
        if not colon:
            raise UsageError("write a header as 'Name: value'")
        value = value.strip(" \t")
        check_header(name, value)
        headers = with_header(headers, name, Concealed(value))
    return headers


def with_header(headers: dict[str, Concealed], name: str, value: Concealed) -> dict[str, Concealed]:
    """Adds or replaces a header; names are case-insensitive. Returns a new dict."""
    return {known: kept for known, kept in headers.items() if known.lower() != name.lower()} | {name: value}


def check_header(name: str, value: str) -> None:
    """Raises UsageError for a header that HTTP forbids or `ark` sets itself. The message never contains the value."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is not a header name; write a header like 'Name: value'")
    if not _VALUE.fullmatch(value):
        raise UsageError(f"the value of {name} contains characters that HTTP forbids: use printable ASCII only")
    if name.lower() in _RESERVED or name.lower().startswith(_OURS):
        raise UsageError(f"{name} is set by ark and cannot be changed")
