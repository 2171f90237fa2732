"""The sockets behind libcurl's connections: which belongs to which, and whether unrequested bytes have arrived."""

import select
import socket
from collections.abc import Callable, Iterable
from typing import Any

#: Called with 0, it returns a true value if bytes wait to be read on a connection or the other side has closed it.
Poll = Callable[[int], list[tuple[int, int]]]


class _Borrowed(socket.socket):
    """A socket that libcurl owns and closes."""

    def __del__(self) -> None:
        pass


class Sockets:
    """The sockets of kept connections, by local address and port.

    libcurl reports only the two ends of a connection. It checks at most once a second whether unrequested bytes have
    arrived, and would otherwise read them as the answer to the next request.
    """

    def __init__(self) -> None:
        #: How to poll a connection, by its local address and port.
        self.looks: dict[tuple[str, int], Poll] = {}
        #: The local ends by descriptor. When a descriptor is used again, its old connection is forgotten.
        self._ends: dict[int, tuple[str, int]] = {}

    def connected(self, address: str, port: int, opened: Iterable[int]) -> int | None:
        """Registers a connection with this local end; returns its descriptor, or None if it is not among `opened`."""
        for descriptor in opened:
            # It may be closed already: of two connections that race, libcurl closes the slower one.
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
    """Whether the other side has accepted the connection."""
    return bool(_asked(descriptor, _Borrowed.getpeername))


def has_bytes(descriptor: int) -> bool:
    """Whether unread bytes have arrived. The end of a connection does not count."""
    return bool(_asked(descriptor, lambda borrowed: borrowed.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)))


def _asked(descriptor: int, question: Callable[[_Borrowed], Any]) -> Any:
    """Calls `question` with a socket; None if that raises OSError."""
    try:
        return question(_Borrowed(fileno=descriptor))
    except OSError:
        return None
