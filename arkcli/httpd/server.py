"""An HTTP/1.1 server in one thread, on asyncio's sockets and httptools, with a limit on everything.

A slow or stuck client holds only its own connection, and only for a limited time. Connections above the limit are
closed at once.
"""

import asyncio
import contextlib
import errno
import socket
import stat
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, NamedTuple

from arkcli.errors import UsageError
from arkcli.httpd.connection import Callbacks, Connection, Connections, ServerLimits
from arkcli.httpd.messages import Take
from arkcli.system import files

#: How many connections may wait to be accepted.
_BACKLOG = 1024
#: Hosts that mean IPv4 and IPv6, whatever a resolver returns for them. One socket for each works on every system.
_BOTH: Final = {"localhost": ("127.0.0.1", "::1"), "::": ("::", "0.0.0.0")}


class Entrance(NamedTuple):
    """Sockets that listen, what answers the requests that come there, and limits (None: the server's own)."""

    listeners: Sequence[socket.socket]
    take: Take
    limits: ServerLimits | None = None


@contextlib.asynccontextmanager
async def serving(
    listeners: Iterable[socket.socket], callbacks: Callbacks, limits: ServerLimits
) -> AsyncIterator[Connections]:
    """Serves the listening sockets for the length of a block; yields the connections."""

    def unexpected(_: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        error = context.get("exception")
        if isinstance(error, BaseException) and not isinstance(error, OSError):
            callbacks.fail(error)
        else:
            callbacks.complain(str(error or context.get("message")))

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(unexpected)
    served = Connections(callbacks, limits)
    servers = [await loop.create_server(lambda: Connection(served), sock=one, backlog=_BACKLOG) for one in listeners]
    try:
        yield served
    finally:
        for server in servers:
            server.close()


def listen_on(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen on those of a host's addresses that this machine has, all on one port; 0: any free port.

    Raises UsageError if this machine has none of them, or if another process listens on one of them.
    """
    look_up = partial(socket.getaddrinfo, port=port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    try:
        for end in socket.socketpair():
            # asyncio needs such a pair, and would leave a traceback if it could not get one.
            end.close()
        rows = [row for name in _BOTH.get(host.lower(), (host,)) for row in look_up(name)]
        return _at_each(dict.fromkeys((row[0], row[4]) for row in rows), port)
    except OSError as error:
        raise UsageError(f"cannot listen on {host} port {port}: {_why(error, port)}") from None
    except UnicodeError:
        raise UsageError(
            f"cannot listen on {host!r}: there is no such host; --host takes an address of this machine"
        ) from None


@contextlib.contextmanager
def listening_at(path: Path) -> Iterator[socket.socket]:
    """A Unix socket at a path during a block, for this user alone. One that a process left behind is replaced.

    Raises UsageError if another process listens there, or if something else is there. Keeps a lock in a file beside it.
    """
    with contextlib.ExitStack() as stack:
        try:
            lock = files.Lock(path.with_name(f"{path.name}.lock"))
            stack.callback(lock.close)
            is_free = lock.try_acquire() and not _answers(path)
            if is_free:
                files.remove_socket(path)
                made = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                files.bind_private(made, path)
                stack.callback(files.remove_socket, path)
                made.listen(_BACKLOG)
        except OSError as error:
            raise UsageError(
                f"cannot listen on {path}: {error.strerror or error}; --socket takes a short path that is free, in a "
                "directory that exists and is yours"
            ) from None
        if not is_free:
            raise UsageError(f"cannot listen on {path}: another process is listening there; choose another --socket")
        yield made


def _answers(path: Path) -> bool:
    """Whether a process listens on a Unix socket. Raises OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True


def _at_each(ends: Iterable[tuple[int, Any]], port: int, tries: int = 20) -> list[socket.socket]:
    """A socket for each address that this machine has, all on one port. Raises OSError."""
    made: list[socket.socket] = []
    with contextlib.ExitStack() as opened:
        for family, (address, _, *scope) in ends:
            end = (address, made[0].getsockname()[1] if made else port, *scope)
            try:
                made.append(opened.enter_context(socket.create_server(end, family=family, backlog=_BACKLOG)))
            except OSError as error:
                problem = error
                if error.errno == errno.EADDRINUSE:
                    if port or not made or not tries:
                        raise
                    # Try another free port. The sockets made so far stay open, so it cannot be the same one.
                    return _at_each(ends, port, tries - 1)
        if not made:
            raise problem
        opened.pop_all()
    return made


def url_of(listener: socket.socket) -> str:
    """The URL on which a socket listens."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def socket_path(listener: socket.socket) -> str:
    """The path of a Unix socket; `@` and its name if it is an abstract one, which is in no directory (unix(7))."""
    name: str | bytes = listener.getsockname()
    return name if isinstance(name, str) else name.decode("utf-8", "replace").replace("\0", "@", 1)


def is_open_to_all(listener: socket.socket) -> bool:
    """Whether every user of this machine can connect to a socket, or might."""
    if listener.family != socket.AF_UNIX:
        return True
    try:
        return bool(Path(socket_path(listener)).stat().st_mode & stat.S_IWOTH)
    except OSError:
        # It is an abstract one, or its path is not visible in this process's file system.
        return True


def reaches_others(listeners: Iterable[socket.socket]) -> bool:
    """Whether other machines can reach one of these sockets."""
    return not all(ip_address(found.getsockname()[0].partition("%")[0]).is_loopback for found in listeners)


def _why(error: OSError, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another process is listening there; choose another --port, or 0 for any free port"
    if error.errno in (errno.EACCES, errno.EPERM) and 0 < port < 1024:
        return "permission denied; ports below 1024 need root. Choose a higher --port"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EAFNOSUPPORT):
        return "this process is not allowed to open such a socket; allow AF_UNIX, and AF_INET or AF_INET6"
    return f"{error.strerror}; --host takes an address of this machine"
