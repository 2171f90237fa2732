"""One received request: what ark knows about it, prints of it, and saves of it."""

import base64
import contextlib
from typing import Any, Final

import msgspec

from arkcli import times
from arkcli.contract.headers import EVENT_HEADER
from arkcli.httpd.messages import Reply, Request
from arkcli.signing.verdict import Verdict
from arkcli.text import clean

#: How many deliveries are remembered, the newest ones; they take about 20 MB.
REMEMBERED: Final = 65_536
#: A longer delivery id is not one of ark's, and not worth the memory.
_LONGEST_ID: Final = 256
#: How much of the application's answer is printed as JSON, in bytes. As much as `ark` stores of a receiver's answer.
_EXCERPT: Final = 2048


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
    #: The application's answer, and how long it took, in milliseconds.
    reply: Reply | None = None
    took: int | None = None
    #: What the user did to send it to the application again: `resent` or `edited`. None: a sender sent it.
    again: str | None = None

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


class Numbered:
    """The newest requests by their numbers, which begin with 1."""

    def __init__(self, most: int, most_bytes: int) -> None:
        """Keeps at most `most` requests, and of two or more at most `most_bytes` bytes."""
        self.last = 0
        self._kept: dict[int, Received] = {}
        self._most, self._most_bytes = most, most_bytes
        self._bytes = 0

    def add(self, received: Received) -> int:
        """Gives a request its number, and forgets the oldest that are too many."""
        self.last += 1
        self._kept[self.last] = received
        self._bytes += _weight(received)
        while len(self._kept) > 1 and (len(self._kept) > self._most or self._bytes > self._most_bytes):
            self._bytes -= _weight(self._kept.pop(next(iter(self._kept))))
        return self.last

    def get(self, number: int) -> Received | None:
        """The request with a number; None if it was forgotten."""
        return self._kept.get(number)

    def items(self) -> list[tuple[int, Received]]:
        """Numbers and requests, oldest first."""
        return list(self._kept.items())


def _weight(received: Received) -> int:
    """The bytes that a request and its answer take in memory."""
    messages: list[Request | Reply] = [received.request, *([received.reply] if received.reply else [])]
    headers = sum(len(name) + len(value) for message in messages for name, value in message.headers)
    return headers + sum(len(message.body or b"") for message in messages)


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
        "webhook_signature": received.verdict.webhook,
        "reason": received.verdict.reason,
        "explanation": received.explanation,
        "bytes": received.size,
        "delivery": received.delivery,
        "attempt": received.attempt,
        "repeated": received.before > 0,
        "answer": received.answer,
        "status": received.status,
        "error": received.error,
        "duration_ms": received.took,
        "excerpt": clean(said_by(received)[:_EXCERPT].decode("utf-8", "replace")),
    }


def said_by(received: Received) -> bytes:
    """The body of the application's answer; empty if there is none."""
    return b"" if received.reply is None else received.reply.body


def _body(received: Received) -> dict[str, str]:
    """The body's exact bytes for JSON: `body` as a string, or `body_base64` if they are not UTF-8."""
    body = received.request.body
    if body is None:
        return {}
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(body).decode()}


def request_of(received: Received) -> dict[str, Any]:
    """The request as it came, as JSON: its method, target, headers and body."""
    request = received.request
    headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.headers]
    return {"method": request.method, "target": request.target, "headers": headers} | _body(received)


def saved(received: Received) -> dict[str, Any]:
    """What is saved of a request in a file: enough to send it again, byte for byte."""
    return document(received) | request_of(received)
