"""The sockets behind libcurl's connections: which is which, and whether something has come on one unasked."""

import select
import socket
from collections.abc import Callable, Iterable
from typing import Any

#: What it returns, given 0, is true when bytes wait to be read on a connection, or the other side has ended it.
Poll = Callable[[int], list[tuple[int, int]]]


class _Borrowed(socket.socket):
    """A socket that libcurl owns, and closes."""

    def __del__(self) -> None:
        pass


class Sockets:
    """The sockets of kept connections, by their local ends.

    libcurl says of a connection only its two ends. It looks itself for what has come on it, but once a second at most:
    an answer that nobody asked for would be taken for the answer to the next request.
    """

    def __init__(self) -> None:
        #: How to look at a connection, by its local address and port.
        self.looks: dict[tuple[str, int], Poll] = {}
        #: The ends by descriptor: one that was closed and opened again forgets the connection before.
        self._ends: dict[int, tuple[str, int]] = {}

    def connected(self, address: str, port: int, opened: Iterable[int]) -> int | None:
        """Takes in that a connection with this local end is there; its descriptor if it is one of those just opened."""
        for descriptor in opened:
            # One may have been closed since, as the slower one of two is.
            local = _asked(descriptor, _Borrowed.getsockname)
            if local is not None and local[1] == port:
                self.looks.pop(self._ends.pop(descriptor, ("", 0)), None)
                self._ends[descriptor] = address, port
                poll = select.poll()
                poll.register(descriptor, select.POLLIN)
                self.looks[address, port] = poll.poll
                return descriptor
        return None


def is_connected(descriptor: int) -> bool:
    """Whether the other side has taken the connection."""
    return bool(_asked(descriptor, _Borrowed.getpeername))


def has_bytes(descriptor: int) -> bool:
    """Whether bytes have come that nobody has read. The end of a connection is none."""
    return bool(_asked(descriptor, lambda borrowed: borrowed.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)))


def _asked(descriptor: int, question: Callable[[_Borrowed], Any]) -> Any:
    """What a socket says; None where it cannot."""
    try:
        return question(_Borrowed(fileno=descriptor))
    except OSError:
        return None
