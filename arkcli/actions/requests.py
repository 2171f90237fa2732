"""What people see of the requests that `ark listen` received, and do with them: by keys, or on a page."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from arkcli.httpd.messages import Silence
from arkcli.receiver.resend import text_of
from arkcli.text import clean, is_harmless

if TYPE_CHECKING:
    from arkcli.httpd.messages import Header, Request
    from arkcli.receiver.plan import Answer
    from arkcli.receiver.receiver import Orders
    from arkcli.receiver.record import Received

#: What the next requests can be answered; None: by the plan, or by the application.
ANSWERS: "Final[Mapping[str, Answer | None]]" = {
    "200": 200, "503": 503, "timeout": Silence.TIMEOUT, "reset": Silence.RESET, "plan": None,
}  # fmt: skip
#: How many requests are remembered, and how many bytes of them.
REMEMBERED: Final = 500
REMEMBERED_BYTES: Final = 32 * 1024 * 1024
#: The largest body to copy as a command, in bytes. Some terminals do not take more into their clipboard.
_MOST_COPIED: Final = 64 * 1024
_CREDENTIALS: Final = ("authorization", "proxy-authorization", "cookie")
#: How much of two requests is compared, and of a body is shown in hex: characters, and bytes.
_COMPARED: Final = 64 * 1024
_HEX: Final = 4 * 1024


def summary(received: "Received") -> str:
    """What a request is and how it was answered, in a few words."""
    event = clean(received.event or "no event")
    return f"{event}, {verdict_of(received)}, {received.answer or 'not answered'}"


def matches(received: "Received", text: str) -> bool:
    """Whether a filter lets a request pass: its event contains the text, or its verdict or answer begins with it."""
    text = text.lower()
    words = (verdict_of(received), received.answer)
    return text in (received.event or "").lower() or any(word.startswith(text) for word in words)


def as_curl(number: int, received: "Received", url: str, ca_file: str | None) -> str:
    """A curl command that sends the request to a URL, with a new signature. Raises ValueError if there cannot be one.

    It reads credentials from the environment, so that it can be shown to others.
    """
    from arkcli.actions import curl
    from arkcli.model import Destination
    from arkcli.receiver.forward import end_to_end
    from arkcli.signing.scheme import SCHEMES
    from arkcli.signing.standard import ID_HEADER

    body = received.request.body
    if body is None or len(body) > _MOST_COPIED:
        raise ValueError(f"its body is larger than {_MOST_COPIED:,} bytes")
    made = {name.lower() for scheme in SCHEMES for name in scheme.headers}
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in end_to_end(received.request.headers)}
    shown = {
        name: None if name.lower() in _CREDENTIALS else value
        for name, value in headers.items()
        if name.lower() not in made
    }
    webhook_id = None if received.verdict.webhook is None else received.request.header(ID_HEADER)
    try:
        name = f"#{number} {received.event or ''}"
        application = Destination(id="", name=name, url=url, added_at="", ca_file=ca_file)
        command = curl.command(application, shown, body, webhook_id)
    except UnicodeDecodeError:
        command = "\0"
    if not is_harmless(command):
        raise ValueError("it is not plain text; --save keeps its bytes")
    return command


def verdict_of(received: "Received") -> str:
    """A request's verdict in a word: valid or invalid; for one that was sent again, resent or edited."""
    return received.again or ("valid" if received.verdict.valid else "invalid")


def took_of(milliseconds: int | None) -> str | None:
    """A duration: `12 ms`, `1.5 s`."""
    if milliseconds is None:
        return None
    return f"{milliseconds} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"


def remarks_of(received: "Received") -> Iterator[str]:
    """What is remarkable about a request and its answer."""
    yield from causes_of(received) if received.again is None else ()
    if received.before and received.again is None:
        yield f"repeated: this delivery has come {received.before + 1} times"
    if received.error is not None:
        yield received.error


def causes_of(received: "Received") -> list[str]:
    """Why a request is invalid, and what probably happened to it."""
    return [cause for cause in (received.verdict.reason, received.explanation) if cause is not None]


def why_not_sent(orders: "Orders", number: int, received: "Received", *, signed_again: bool) -> str | None:
    """Why a request cannot be sent to the application again; None if it can."""
    if orders.forwarder is None:
        return "there is no application to send it to; start `ark listen` with --forward-to URL"
    if received.request.body is None:
        return f"#{number} was too large to be read, so it cannot be sent again"
    is_invalid = received.again is None and not received.verdict.valid
    if is_invalid and not signed_again and not orders.forward_unverified:
        return f"#{number} is invalid, and goes on only with --forward-unverified; edit it to sign it again"
    return None


def head_of(request: "Request") -> list[str]:
    """The request line and the headers, as lines of text."""
    return [f"{request.method} {request.target} HTTP/{request.version}", *lines_of(request.headers)]


def lines_of(headers: "Iterable[Header]") -> list[str]:
    """Headers as lines of text."""
    return [f"{name.decode('latin-1')}: {value.decode('latin-1')}" for name, value in headers]


def differences(before: "Request", after: "Request") -> list[str]:
    """How two requests differ: a unified diff of their headers and indented bodies, by lines. Empty if they do not."""
    return list(difflib.unified_diff(_lines(before), _lines(after), "before", "after", n=1, lineterm=""))


def _lines(request: "Request") -> list[str]:
    body = text_of(request.body or b"").decode("utf-8", "backslashreplace")[:_COMPARED]
    return [*head_of(request), "", *body.split("\n")]


def hex_of(body: bytes) -> str:
    """The beginning of a body in hex, 16 bytes a line, each line with its offset and its ASCII characters."""
    lines = []
    for at in range(0, min(len(body), _HEX), 16):
        piece = body[at : at + 16]
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in piece)
        lines.append(f"{at:08x}  {piece.hex(' '):47}  {shown}")
    left = len(body) - _HEX
    return "\n".join([*lines, *([f"… {left:,} more bytes"] if left > 0 else [])])
