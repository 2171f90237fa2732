"""An HTTP/1.1 server in one thread, with a bound on everything: HTTP is h11's, the sockets are asyncio's.

A slow or stuck client holds up nobody and is cut off in the end. When there are too many connections, or when too much
has half arrived, those go first that have kept us waiting longest.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator
from ipaddress import ip_address

from arkcli.errors import UsageError
from arkcli.receiver.clients import Callbacks, Clients, Limits
from arkcli.receiver.connection import Connection

#: Connections that may wait to be accepted.
_BACKLOG = 1024


@contextlib.asynccontextmanager
async def serving(listener: socket.socket, callbacks: Callbacks, limits: Limits) -> AsyncIterator[Clients]:
    """Serves what comes to a listening socket while in the block, and hands out the clients."""

    def unexpected(_: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        error = context.get("exception")
        if isinstance(error, BaseException) and not isinstance(error, OSError):
            callbacks.fail(error)
        else:
            callbacks.complain(str(error or context.get("message")))

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(unexpected)
    clients = Clients(callbacks, limits)
    server = await loop.create_server(lambda: Connection(clients), sock=listener, backlog=_BACKLOG)
    try:
        yield clients
    finally:
        server.close()


def listen_on(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 means any. Raises UsageError where that cannot be done."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        raise UsageError(f"cannot listen on {host} port {port}: {_why(error)}") from None
    except UnicodeError:
        raise UsageError(
            f"cannot listen on {host!r}: no host is named so; --host takes an address of this machine"
        ) from None


def url_of(listener: socket.socket) -> str:
    """Where a socket listens."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def reaches_others(listener: socket.socket) -> bool:
    """Whether more than this machine can reach where a socket listens."""
    return not ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback


def _why(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "something listens there already; choose another --port, or 0 for any"
    if error.errno == errno.EACCES:
        return "permission denied; ports below 1024 need root, so choose a higher --port"
    return f"{error.strerror}; --host takes an address of this machine"
