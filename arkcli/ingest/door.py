"""What `ark serve` answers: events in, health and metrics out. docs/applications.md.

Every answer except the metrics is JSON. An error is `{"error": {"code", "message"}}`, as the command line has it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from arkcli.contract.events import MAX_BODY, check_queued
from arkcli.errors import ArkError, InDoubt, NotAccepted, PayloadError, Unreachable, Unreadable, UsageError
from arkcli.httpd.messages import Header, Reply, Request
from arkcli.ingest.commits import Commits
from arkcli.model import Draft, Event
from arkcli.signing import Secret
from arkcli.system.refused import of_system

_JSON: Final = (b"Content-Type", b"application/json")
_LINES: Final = (b"Content-Type", b"application/x-ndjson")
_TEXT: Final = (b"Content-Type", b"text/plain; version=0.0.4; charset=utf-8")
#: Media types of a body with one payload per line.
_LINE_TYPES: Final = frozenset(("application/x-ndjson", "application/ndjson", "application/jsonl"))
#: How long a client should wait before it tries again, in seconds.
_AGAIN: Final = (b"Retry-After", b"5")
_BEARER: Final = b"Bearer"
#: After this number of lines of one request, others get their turn.
_LINES_AT_ONCE: Final = 100
_READS: Final = ("GET", "HEAD")

#: The methods that a page takes, and what answers them.
_Page = tuple[Sequence[str], Callable[[Request], Awaitable[Reply]] | None]
_NOWHERE: Final[_Page] = ((), None)


Value = TypeVar("Value")


class Making(NamedTuple):
    """How an event is made of a request."""

    #: Makes a draft from an event type, a payload and an id (None: a new one). Raises PayloadError and UsageError.
    draft: Callable[[str, bytes, str | None], Draft]
    #: Raises UsageError if an event that was accepted before differs from what a draft's event type and payload make.
    check_same: Callable[[str, bytes, str | None, Event], None]


class Inside(NamedTuple):
    """What the door asks."""

    #: What keeps this service from working; empty if nothing does.
    problems: Callable[[], Awaitable[Sequence[str]]]
    #: The metrics, in Prometheus's text format. May raise ArkError and OSError.
    metrics: Callable[[], Awaitable[bytes]]


def alone(call: Callable[[], Value]) -> Callable[[], Awaitable[Value]]:
    """Makes a call run in a thread of its own, one at a time: even if the client that it is for has gone."""
    thread = ThreadPoolExecutor(1)
    return lambda: asyncio.get_running_loop().run_in_executor(thread, call)


class Door:
    """Answers requests."""

    def __init__(
        self, making: Making, commits: Commits, inside: Inside, token: Callable[[], Secret] | None = None
    ) -> None:
        """`token` returns the bearer token that requests must have; None: whoever can connect may send."""
        self._making = making
        self._commits = commits
        self._inside = inside
        self._token = token
        self._pages: dict[str, _Page] = {
            "/healthz": (_READS, self._health),
            "/metrics": (_READS, self._metrics),
            "/openapi.json": (_READS, self._described),
        }

    async def take(self, request: Request) -> Reply:
        """The answer to a request."""
        path, _, _ = request.target.partition("?")
        try:
            refused = None if path == "/healthz" else self._unauthorized(request)
            if refused is not None:
                return refused
            methods, answer = self._pages.get(path, _NOWHERE)
            if path.startswith("/events/"):
                methods, answer = ("POST",), partial(self._events, path.removeprefix("/events/"))
            if answer is None:
                return _error(404, UsageError(f"there is nothing at {path}; POST events to /events/EVENT"))
            if request.method in methods:
                return await answer(request)
            why = UsageError(f"{request.method} is not possible at {path}, only {' and '.join(methods)}")
            return _error(405, why, (b"Allow", ", ".join(methods).encode()))
        except ArkError as error:
            return _refusal(error)
        except OSError as error:
            return _error(503, of_system(error), _AGAIN)

    def _unauthorized(self, request: Request) -> Reply | None:
        if self._token is None:
            return None
        kind, _, given = (request.header("Authorization") or "").partition(" ")
        given = given.strip(" \t")
        if kind.lower() == "bearer" and given and Secret(given.encode("latin-1")) == self._token():
            return None
        why = UsageError("this needs the header `Authorization: Bearer TOKEN`, with the token of --token-file")
        return _error(401, why, (b"WWW-Authenticate", _BEARER))

    async def _described(self, _: Request) -> Reply:
        from arkcli.ingest.openapi import document

        return Reply(200, (_JSON,), _encode(document()))

    async def _metrics(self, _: Request) -> Reply:
        return Reply(200, (_TEXT,), await self._inside.metrics())

    async def _health(self, _: Request) -> Reply:
        problems = list(await self._inside.problems())
        headers = (_JSON, _AGAIN) if problems else (_JSON,)
        return Reply(503 if problems else 200, headers, _encode({"ok": not problems, "problems": problems}))

    async def _events(self, name: str, request: Request) -> Reply:
        if request.body is None:
            return _error(413, PayloadError(f"$: the body is larger than {MAX_BODY:,} bytes, which is the maximum"))
        kind = (request.header("Content-Type") or "").partition(";")[0].strip().lower()
        keys = request.headers_named("Idempotency-Key")
        if len(set(keys)) > 1:
            raise UsageError("there are several Idempotency-Key headers with different values; send one")
        key = keys[0] if keys else None
        are_lines = kind in _LINE_TYPES
        if are_lines and key is not None:
            raise UsageError("an Idempotency-Key is for one event; send such events one by one")
        try:
            if not (are_lines and name == "-"):
                check_queued(name)
        except UsageError as error:
            return _error(404, error)
        if are_lines:
            return await self._lines(request.body, name)
        draft = self._making.draft(name, request.body, key)
        (event,) = await self._commits.accepted([draft], unique=key is not None)
        document: dict[str, Any] = {"event": _event(event)}
        if event.body is not draft.body:
            try:
                self._making.check_same(name, request.body, key, event)
            except UsageError as error:
                return _error(409, error)
            document["repeated"] = True
        return Reply(202, (_JSON,), _encode(document))

    async def _lines(self, body: bytes, name: str) -> Reply:
        """Accepts every valid line together. The answer has a line for each of them."""
        receipts: list[bytes] = []
        drafts: list[Draft] = []
        for number, line in _numbered(body):
            if len(receipts) % _LINES_AT_ONCE == _LINES_AT_ONCE - 1:
                await asyncio.sleep(0)
            try:
                draft = self._making.draft(name, line, None)
            except UsageError as error:
                receipts.append(_encode({"line": number, "error": str(error)}))
            else:
                receipts.append(_encode({"line": number, "event_id": draft.id}))
                drafts.append(draft)
        if not receipts:
            raise PayloadError("$: the body has no line; send one payload on each")
        if drafts:
            await self._commits.accepted(drafts, unique=False)
        return Reply(202 if drafts else 400, (_LINES,), b"".join(receipts))


def _encode(document: Mapping[str, Any]) -> bytes:
    """A line, so that a shell's prompt is below what curl prints."""
    return msgspec.json.encode(document) + b"\n"


def _numbered(body: bytes) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(body.split(b"\n"), 1):
        if line.strip():
            yield number, line


def _event(event: Event) -> dict[str, Any]:
    return {"id": event.id, "type": event.name, "at": event.at, "bytes": len(event.body)}


def _refusal(error: ArkError) -> Reply:
    if isinstance(error, InDoubt):
        error = InDoubt("not known whether it was accepted; with an Idempotency-Key it is safe to send it again")
    if isinstance(error, NotAccepted | Unreadable | Unreachable | InDoubt):
        return _error(503, error, _AGAIN)
    return _error(400 if isinstance(error, UsageError) else 500, error)


def _error(status: int, error: ArkError, *headers: Header) -> Reply:
    document = {"error": {"code": error.code, "message": str(error)}}
    return Reply(status, (_JSON, *headers), _encode(document))
