"""A request as it came, and what can be said to it."""

from collections.abc import Sequence
from enum import StrEnum

import msgspec

Header = tuple[bytes, bytes]


class Request(msgspec.Struct, frozen=True, gc=False):
    """A request with the bytes it came with. `body` is None when it was too large to be taken."""

    method: str
    target: str
    headers: Sequence[Header]
    body: bytes | None

    def header(self, name: str) -> str | None:
        """The value of a header; of several the first; None without it."""
        wanted = name.lower().encode()
        return next((value.decode("latin-1") for found, value in self.headers if found.lower() == wanted), None)


class Reply(msgspec.Struct, frozen=True, gc=False):
    """An answer. `error` says why it is not the application's, where that was to give it."""

    status: int
    headers: Sequence[Header] = ()
    body: bytes = b""
    phrase: bytes = b""
    error: str | None = None


class Silence(StrEnum):
    """What a receiver can do other than answer."""

    #: Says nothing until the sender gives up.
    TIMEOUT = "timeout"
    #: Breaks the connection off (TCP RST).
    RESET = "reset"
