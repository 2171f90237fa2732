"""How an attempt ended: the status in an answer's headers, or why TLS failed, in words. Pure."""

import re
from typing import Final

from arkcli.text import pattern

#: The deadline for an attempt, in seconds: name look-up, connection, TLS, the request and the answer's headers together
#: (contract, "Delivery and retries").
DEADLINE: Final = 10.0
_STATUS_LINE: Final = pattern(rb"HTTP/1\.[01][ \t]+([1-9][0-9][0-9])(?![0-9])")
_BLANK_LINES: Final = (b"\n\r\n", b"\n\n")
_END_OF_HEADERS: Final = pattern(rb"\n\r?\n")
_RETRY_AFTER: Final = pattern(rb"\nretry-after[ \t]*:([^\r\n]{1,64})\r?\n", re.IGNORECASE)
_SECONDS: Final = pattern(r"[0-9]{1,12}")
#: The statuses with which a receiver may ask to be left alone, and the longest that counts, in milliseconds.
ASKING: Final = (429, 503)
_LONGEST_WAIT: Final = 3_600_000

CLOSED: Final = "the server closed the connection"
CLIENT_CERTIFICATE: Final = "a client certificate (mTLS)"
ASKS: Final = f"the receiver requires {CLIENT_CERTIFICATE}"
#: Parts of OpenSSL's messages about a failed handshake, and what to tell the user instead.
_HANDSHAKE: Final = (
    ("protocol version", "the server offers nothing newer than TLS 1.1"),
    ("unsupported protocol", "the server offers nothing newer than TLS 1.1"),
    ("wrong version number", "the server there does not speak TLS"),
    ("packet length too long", "the server there does not speak TLS"),
    ("unexpected eof", CLOSED),
    ("eof occurred", CLOSED),
    ("reset by peer", CLOSED),
    ("broken pipe", CLOSED),
    # The server means the client's certificate, and ark has sent none.
    ("certificate required", ASKS),
    ("alert bad certificate", ASKS),
    ("alert certificate unknown", ASKS),
    ("unrecognized name", "the server there does not know this host (TLS alert unrecognized_name)"),
    ("no application protocol", "the server there does not speak HTTP/1.1, perhaps only HTTP/2"),
    ("alert handshake failure", f"the receiver refused it; it may require {CLIENT_CERTIFICATE}"),
)
#: The same where ark has sent a client certificate.
_CLIENT: Final = (
    ("alert certificate expired", "the receiver says that the client certificate has expired"),
    ("alert certificate revoked", "the receiver says that the client certificate has been revoked"),
    ("alert unknown ca", "the receiver does not trust the issuer of the client certificate"),
    ("alert bad certificate", "the receiver refuses the client certificate"),
    ("alert certificate unknown", "the receiver refuses the client certificate"),
    ("alert unsupported certificate", "the receiver refuses this kind of client certificate"),
    ("alert access denied", "the receiver refuses the client certificate"),
    ("alert handshake failure", "the receiver refused it, perhaps because of the client certificate"),
)
#: libcurl's message for the alert that the client's certificate has expired. If the receiver's does not verify, it
#: says why.
EXPIRED: Final = "SSL certificate verification failed"
_INTERMEDIATE: Final = "the receiver does not send its intermediate certificate, which browsers fetch"
_FORBIDDEN: Final = "its authority may not sign certificates for this host (name constraints)"
#: OpenSSL's reasons (openssl-verification-options(1)) in words.
_CERTIFICATE: Final = {
    9: "it is not valid yet; or this machine's clock is wrong",
    10: "it has expired, or its authority's has; or this machine's clock is wrong",
    18: "it is self-signed",
    19: "its chain ends in a self-signed certificate that is not trusted",
    20: f"its issuer is not trusted, or {_INTERMEDIATE}",
    21: f"its issuer is not trusted, or {_INTERMEDIATE}",
    24: "its issuer is not a certificate authority",
    26: "it is not meant for a server",
    47: _FORBIDDEN,
    48: _FORBIDDEN,
    62: "it is for another host",
    64: "it is for another host",
}


def not_delivered(status: int) -> str:
    """Why a status other than 2xx is a failure, in words."""
    words = f"answered {status}, not a 2xx"
    return words + "; ark does not follow redirects" if 300 <= status <= 399 and status != 304 else words


def read_status(head: bytes | bytearray) -> int | None:
    """The status of an answer: 0 if its status line is not HTTP/1, None if its headers are incomplete.

    Skips interim answers (1xx; RFC 9110, 15.2). libcurl's own status will not do: it reports 200 for some lines that
    are not HTTP/1, such as "HTTP/2 500", or "HTTP/3" alone.
    """
    begin = 0
    while begin < len(head):
        found = _STATUS_LINE.match(head, begin)
        if found is None:
            return 0
        status = int(found[1])
        if status >= 200 and head.endswith(_BLANK_LINES):
            # Faster than a search for the first blank line.
            return status
        end = _END_OF_HEADERS.search(head, found.end())
        if end is None:
            return None
        if status >= 200:
            return status
        begin = end.end()
    return None


def read_retry_after(head: bytes | bytearray, now: int) -> int | None:
    """How long an answer asks to be left alone, in milliseconds: at most an hour; None if it does not say, or not so
    that it can be understood. `now` is in milliseconds, UTC.
    """
    # Not from an interim answer before it.
    found = _RETRY_AFTER.search(head, head.rfind(b"\nHTTP/") + 1)
    if found is None:
        return None
    text = found[1].decode("latin-1").strip()
    if _SECONDS.fullmatch(text):
        wait = int(text) * 1000
    else:
        from email.utils import parsedate_to_datetime

        try:
            wait = round(parsedate_to_datetime(text).timestamp() * 1000) - now
        except (ValueError, OverflowError):
            return None
    return min(wait, _LONGEST_WAIT) if wait > 0 else None


def wrong_certificate(result: int, message: str) -> str:
    """What is wrong with a certificate, from OpenSSL's verification result and libcurl's message."""
    # libcurl checks the host name itself, so OpenSSL's result does not cover it.
    if "subject name" in message or "common name" in message:
        return f"it is for another host: {message.removeprefix('SSL: ')}"
    return _CERTIFICATE.get(result, message)


def failed_handshake(message: str, *, certified: bool = False) -> str:
    """Why a handshake failed, from libcurl's message; the message itself if it is not a known one.

    `certified`: ark has sent a client certificate.
    """
    known = (*_CLIENT, *_HANDSHAKE) if certified else _HANDSHAKE
    return next((words for sign, words in known if sign in message.lower()), message)


def is_about_client(message: str, *, certified: bool) -> bool:
    """Whether libcurl's message is an alert about the client's certificate, or the lack of one."""
    said = failed_handshake(message, certified=certified)
    return said == ASKS or (certified and any(said == words for _, words in _CLIENT))
