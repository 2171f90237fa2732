"""Hostile servers on real sockets: each is one function that talks over the raw connection."""

import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.world import Accepting, Request, read_request


class Talk:
    """One connection, as its handler sees it. An error on it ends the handler."""

    def __init__(self, connection: socket.socket, server: "Hostile") -> None:
        self.connection = connection
        self.server = server
        self._reader = connection.makefile("rb")

    def read(self) -> Request | None:
        """The next request; None if there is none."""
        found = read_request(self._reader)
        if found is not None:
            self.server.requests.append((time.monotonic(), found))
        return found

    def say(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.connection.sendall(piece)

    def drip(self, text: bytes, seconds: float) -> None:
        """Sends this byte by byte, with a pause of `seconds` after each."""
        for index in range(len(text)):
            self.connection.sendall(text[index : index + 1])
            if self.server.closing.wait(seconds):
                return

    def repeat(self, text: bytes, seconds: float = 0.0) -> None:
        """Sends this again and again until the other side closes."""
        while not self.server.closing.wait(seconds):
            self.connection.sendall(text)

    def hang(self) -> None:
        """Keeps the connection open and sends nothing more."""
        self.server.closing.wait(60)

    def reset(self) -> None:
        """Closes the connection with an RST instead of a FIN."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        self._reader.close()
        self.connection.close()

    def secure(self, context: ssl.SSLContext) -> None:
        """Starts TLS on the connection."""
        self._reader.close()
        self.connection = context.wrap_socket(self.connection, server_side=True)
        self._reader = self.connection.makefile("rb")


Handler = Callable[[Talk], None]


class Hostile(Accepting):
    """A server that calls its handler once per connection."""

    def __init__(self, handle: Handler, address: str = "127.0.0.1", port: int = 0, *, narrow: bool = False) -> None:
        """`narrow` makes the buffer so small that a client cannot send a large request before the server reads it."""
        self.requests: list[tuple[float, Request]] = []
        self._handle = handle
        listener = socket.create_server(
            (address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET, backlog=512
        )
        if narrow:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        super().__init__(listener, self._talk)

    def _talk(self, connection: socket.socket) -> None:
        talk = Talk(connection, self)
        try:
            # Each piece leaves at once, not only when the one before it has been acknowledged.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._handle(talk)
        except (OSError, ValueError):
            # The other side closed the connection, or used TLS with a server that does not.
            pass
        finally:
            talk.close()


@contextmanager
def hostile(handle: Handler, address: str = "127.0.0.1", port: int = 0, *, narrow: bool = False) -> Iterator[Hostile]:
    """Runs a server for the length of a block."""
    made = Hostile(handle, address, port, narrow=narrow)
    try:
        yield made
    finally:
        made.close()


def says(*pieces: bytes) -> Handler:
    """Reads the request, sends this, and closes the connection after the other side has."""

    def handle(talk: Talk) -> None:
        talk.read()
        talk.say(*pieces)
        talk.connection.shutdown(socket.SHUT_WR)

    return handle


def answers(*pieces: bytes) -> Handler:
    """Answers every request on the connection with this, as a well-behaved server does."""

    def handle(talk: Talk) -> None:
        while talk.read() is not None:
            talk.say(*pieces)

    return handle
