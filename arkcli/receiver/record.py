"""One received request: what ark knows about it, prints of it, and saves of it."""

import base64
import contextlib
from typing import Any, Final

import msgspec

from arkcli import times
from arkcli.contract.headers import EVENT_HEADER
from arkcli.httpd.messages import Request
from arkcli.signing.verdict import Verdict

#: How many deliveries are remembered, the newest ones; they take about 20 MB.
REMEMBERED: Final = 65_536
#: A longer delivery id is not one of ark's, and not worth the memory.
_LONGEST_ID: Final = 256


class Received(msgspec.Struct, kw_only=True, gc=False):
    """A request, its verdict and its answer. `at` is when the request was complete (milliseconds, UTC)."""

    at: int
    request: Request
    verdict: Verdict
    #: The probable cause of an invalid signature, if it was examined.
    explanation: str | None = None
    event: str | None
    delivery: str | None
    attempt: int | None
    #: How many requests for this delivery came before.
    before: int
    #: The answer as a string: a status, `timeout` or `reset`.
    answer: str = ""
    status: int | None = None
    #: Why there is no answer from the application, or why it came too late.
    error: str | None = None

    @property
    def size(self) -> int | None:
        """The size of the body in bytes; None if it was not read."""
        return None if self.request.body is None else len(self.request.body)


class Deliveries:
    """Remembers the newest deliveries, to recognise repetitions."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._seen: dict[str, int] = {}
        self._remembered = remembered

    def count(self, delivery: str | None) -> int:
        """How often a delivery came before; also counts this time."""
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
    """The event's name: from the body, which is signed, else from its header; None if neither has it."""
    with contextlib.suppress(msgspec.DecodeError, RecursionError):
        if named := msgspec.json.decode(request.body or b"", type=_Named).event:
            return named
    return request.header(EVENT_HEADER)


def document(received: Received) -> dict[str, Any]:
    """What `ark listen --json` prints for a request."""
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
    """The body's exact bytes for JSON: `body` as a string, or `body_base64` if they are not UTF-8."""
    body = received.request.body
    if body is None:
        return {}
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(body).decode()}


def saved(received: Received) -> dict[str, Any]:
    """What is saved of a request in a file: enough to send it again, byte for byte."""
    request = received.request
    headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.headers]
    sent = {"method": request.method, "target": request.target, "headers": headers}
    return document(received) | sent | body_of(received)
