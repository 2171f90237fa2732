"""All clients of a server together: what they may use up, what they hold, and who has to go when it is too much."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from arkcli.httpd.messages import Reply, Request, Silence


class Client(Protocol):
    """A connection of a client."""

    #: Bytes of a body that are held.
    held: int

    def abort(self) -> None:
        """Closes at once."""

    def dismiss(self, *, patient: bool) -> None:
        """Closes, unless an answer is under way; without patience an endless one counts for none."""


class Limits(NamedTuple):
    """What clients may use up: bytes and seconds."""

    #: The largest body; the largest request line and headers together.
    body: int = 1024 * 1024
    head: int = 64 * 1024
    #: Connections at once, and bytes of bodies held for all of them together.
    connections: int = 1000
    held: int = 128 * 1024 * 1024
    #: How long a request may take to arrive, and an answer to be taken; how long a connection may be idle.
    patience: float = 15.0
    idle: float = 75.0
    #: How much of a refused body is read and thrown away, so that the client comes to read the answer.
    unwanted: int = 16 * 1024 * 1024


class Callbacks(NamedTuple):
    """Whom a server tells what."""

    #: Gets each request, and returns its answer. A body that is too large comes as None.
    take: Callable[[Request], Awaitable[Reply | Silence]]
    #: Is told of what is no request: broken, too slow, given up.
    complain: Callable[[str], None]
    #: Gets what `take` raised; that connection is closed.
    fail: Callable[[BaseException], None]


class Clients:
    """Every client that is connected."""

    def __init__(self, callbacks: Callbacks, limits: Limits) -> None:
        self.callbacks = callbacks
        self.limits = limits
        self.closing = False
        #: Those whose move it is, the one that has kept us waiting longest first.
        self.waiting: dict[Client, None] = {}
        self._connected: set[Client] = set()
        self._working: set[Client] = set()
        self._held = 0
        self._gone, self._quiet = asyncio.Event(), asyncio.Event()
        self._gone.set()
        self._quiet.set()

    def join(self, client: Client) -> None:
        """A client has come. When there are too many, another one goes, or this one where all are at work."""
        self._connected.add(client)
        self._gone.clear()
        if len(self._connected) > self.limits.connections:
            next(iter(self.waiting), client).abort()

    def leave(self, client: Client) -> None:
        """A client has gone."""
        self._connected.discard(client)
        if not self._connected:
            self._gone.set()

    def set_to_work(self, client: Client, *, working: bool) -> None:
        """An answer to a client is under way, or none is."""
        if working:
            self._working.add(client)
            self._quiet.clear()
            return
        self._working.discard(client)
        if not self._working:
            self._quiet.set()

    def hold(self, size: int) -> None:
        """So many bytes more are held, or fewer. When it is too much, what has half arrived goes."""
        self._held += size
        while self._held > self.limits.held:
            victim = next((client for client in self.waiting if client.held), None)
            if victim is None:
                return
            victim.abort()

    def dismiss(self, *, patient: bool) -> None:
        """Takes no more requests. Answers under way go on; `patient` means the endless ones, too."""
        self.closing = True
        for client in list(self._connected):
            client.dismiss(patient=patient)

    def abort(self) -> None:
        """Closes every connection at once."""
        for client in list(self._connected):
            client.abort()

    async def quiet(self) -> None:
        """Returns when no answer is under way."""
        await self._quiet.wait()

    async def gone(self) -> None:
        """Returns when the last client has gone."""
        await self._gone.wait()
