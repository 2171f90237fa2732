"""One request as it came: what is known of it, what is shown of it, and what is kept of it."""

import base64
import contextlib
from typing import Any, Final

import msgspec

from arkcli import times
from arkcli.contract.headers import EVENT_HEADER
from arkcli.httpd.messages import Request
from arkcli.signing.verdict import Verdict

#: So many deliveries are remembered, the newest ones, in 20 MB or so.
REMEMBERED: Final = 65_536
#: A longer delivery id is none of ours, and not worth the memory.
_LONGEST_ID: Final = 256


class Received(msgspec.Struct, kw_only=True, gc=False):
    """A request, the verdict on it, and the answer to it. `at` is when it was complete: milliseconds, UTC."""

    at: int
    request: Request
    verdict: Verdict
    #: What probably happened to it, where its signature does not fit and that was looked into.
    explanation: str | None = None
    event: str | None
    delivery: str | None
    attempt: int | None
    #: How many requests of this delivery came before this one.
    before: int
    #: The answer in a word: a status, `timeout` or `reset`.
    answer: str = ""
    status: int | None = None
    #: Why an application's answer did not come back.
    error: str | None = None

    @property
    def size(self) -> int | None:
        """Bytes in the body; None when it was not taken."""
        return None if self.request.body is None else len(self.request.body)


class Deliveries:
    """Remembers which deliveries came before, the newest ones."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._seen: dict[str, int] = {}
        self._remembered = remembered

    def count(self, delivery: str | None) -> int:
        """How often a delivery came before; counts this time, too."""
        if not delivery or len(delivery) > _LONGEST_ID:
            return 0
        before = self._seen.pop(delivery, 0)
        self._seen[delivery] = before + 1
        if len(self._seen) > self._remembered:
            del self._seen[next(iter(self._seen))]
        return before


class _Named(msgspec.Struct):
    event: str | None = None


def event_of(request: Request) -> str | None:
    """The event's name: from the body, which is signed, else from its header; None where neither says."""
    with contextlib.suppress(msgspec.DecodeError, RecursionError):
        if named := msgspec.json.decode(request.body or b"", type=_Named).event:
            return named
    return request.header(EVENT_HEADER)


def document(received: Received) -> dict[str, Any]:
    """What `ark listen --json` prints of a request."""
    return {
        "at": times.to_text(received.at),
        "event": received.event,
        "valid": received.verdict.valid,
        "signature": received.verdict.signature.value,
        "reason": received.verdict.reason,
        "explanation": received.explanation,
        "bytes": received.size,
        "delivery": received.delivery,
        "attempt": received.attempt,
        "repeated": received.before > 0,
        "answer": received.answer,
        "status": received.status,
        "error": received.error,
    }


def body_of(received: Received) -> dict[str, str]:
    """The body's exact bytes for JSON: `body` as text, or `body_base64` where they are no UTF-8."""
    body = received.request.body
    if body is None:
        return {}
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(body).decode()}


def saved(received: Received) -> dict[str, Any]:
    """What is kept of a request in a file: enough to send it again, byte for byte."""
    request = received.request
    headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.headers]
    sent = {"method": request.method, "target": request.target, "headers": headers}
    return document(received) | sent | body_of(received)
