"""A request as it arrived, and the possible answers."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from enum import StrEnum

import msgspec

Header = tuple[bytes, bytes]


class Request(msgspec.Struct, frozen=True, gc=False):
    """A request with its exact bytes. `body` is None if it was too large and was not read."""

    method: str
    target: str
    headers: Sequence[Header]
    body: bytes | None
    #: The version of HTTP that the client spoke.
    version: str = "1.1"

    def header(self, name: str) -> str | None:
        """The value of the first header with this name, in any case; None if there is none."""
        return next(iter(self.headers_named(name)), None)

    def headers_named(self, name: str) -> list[str]:
        """The values of all headers with this name, in any case."""
        wanted = name.lower().encode()
        return [value.decode("latin-1") for found, value in self.headers if found.lower() == wanted]


class Reply(msgspec.Struct, frozen=True, gc=False):
    """An answer. `error` says why it does not come from the application, if it should have."""

    status: int
    headers: Sequence[Header] = ()
    body: bytes = b""
    phrase: bytes = b""
    error: str | None = None


class Stream(msgspec.Struct, frozen=True, gc=False):
    """An answer without an end: its pieces are sent as they come, until the client closes or does not keep up."""

    headers: Sequence[Header]
    pieces: AsyncIterator[bytes]


class Silence(StrEnum):
    """What a receiver can do instead of answering."""

    #: Sends nothing until the sender times out.
    TIMEOUT = "timeout"
    #: Drops the connection (TCP RST).
    RESET = "reset"


Answer = Reply | Silence | Stream
#: Answers a request.
Take = Callable[[Request], Awaitable[Answer]]
