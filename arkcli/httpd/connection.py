"""Client connections, their limits, and the requests and answers on them, one after the other."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Iterable
from enum import Enum, auto
from http import HTTPStatus
from typing import Final, NamedTuple

from arkcli.httpd.messages import Answer, Header, Reply, Request, Silence, Stream, Take
from arkcli.httpd.parsing import Reader, Refused

#: How many bytes may arrive while a request is being answered before reading pauses, and how many of a `Stream` may
#: wait for a client that does not read.
_AHEAD: Final = 64 * 1024
#: SO_LINGER on with a time of 0 (socket(7)): closing makes the kernel send a RST.
_RESET: Final = struct.pack("ii", 1, 0)
#: The first byte that a TLS client sends: a handshake record (RFC 8446, section 5.1).
_TLS: Final = 0x16
_WITHOUT_BODY: Final = (204, 304)
_PHRASES: Final = {status.value: status.phrase.encode() for status in HTTPStatus}


class ServerLimits(NamedTuple):
    """What clients may use up. Bytes and seconds."""

    #: The largest body; the largest request line and headers together.
    body: int = 1024 * 1024
    head: int = 64 * 1024
    #: Connections at once; any more are closed immediately. Each may hold a body, so this limits memory, too.
    connections: int = 128
    #: How long a request may take to arrive, and the client to close after the last answer; how long a connection may
    #: be idle.
    patience: float = 15.0
    idle: float = 75.0
    #: How much of a refused body is read and discarded, so that the client gets to read the answer.
    unwanted: int = 16 * 1024 * 1024


class Callbacks(NamedTuple):
    """The functions that a server calls."""

    #: Gets each request and returns its answer. A body that is too large is None.
    take: Take
    #: Gets a message when a client sends a broken request, is too slow, disconnects early, or finds no free connection.
    complain: Callable[[str], None]
    #: Gets what `take` raised; that connection is then closed.
    fail: Callable[[BaseException], None]


class Connections:
    """All connections of a server."""

    def __init__(self, callbacks: Callbacks, limits: ServerLimits) -> None:
        self.callbacks = callbacks
        self.limits = limits
        self.closing = False
        self.open: set[Connection] = set()
        #: Set whenever a connection changes its state or is closed.
        self.changed = asyncio.Event()

    def dismiss(self, *, patient: bool) -> None:
        """Takes no more requests. Answers under way continue; a `Silence.TIMEOUT` only if `patient`."""
        self.closing = True
        for connection in list(self.open):
            connection.dismiss(patient=patient)

    def abort(self) -> None:
        """Closes every connection at once."""
        for connection in list(self.open):
            connection.abort()

    async def end(self, seconds: float) -> None:
        """Takes no more requests, lets answers under way end within `seconds`, and closes every connection."""
        self.dismiss(patient=False)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.gone()
        self.abort()
        await self.gone()

    async def quiet(self) -> None:
        """Waits until no answer is under way."""
        while any(connection.is_working for connection in self.open):
            await self._change()

    async def gone(self) -> None:
        """Waits until the last connection is closed."""
        while self.open:
            await self._change()

    async def _change(self) -> None:
        self.changed.clear()
        await self.changed.wait()


class _State(Enum):
    IDLE = auto()
    ARRIVING = auto()
    ANSWERING = auto()
    #: Does not answer; waits for the client to time out.
    HOLDING = auto()
    #: Sends a `Stream`.
    STREAMING = auto()
    #: Has sent its last answer and waits for the client to close.
    LEAVING = auto()


_WORKING: Final = (_State.ANSWERING, _State.HOLDING)


class Connection(asyncio.Protocol):
    """One connection. asyncio calls it when something happens on its socket."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._reader = Reader(connections.limits.head, connections.limits.body)
        self._state = _State.IDLE
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_continued = False
        self._unwanted = 0
        self._half_closed = False

    @property
    def is_working(self) -> bool:
        """Whether an answer is under way, including a `Silence.TIMEOUT`."""
        return self._state in _WORKING

    # Events of the socket.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The client has connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connections.open.add(self)
        if len(self._connections.open) > self._connections.limits.connections:
            most = self._connections.limits.connections
            self._connections.callbacks.complain(f"a connection was refused: {most:,} are open, and that is the most")
            self.abort()
        else:
            self._turn(_State.IDLE, self._connections.limits.idle)

    def data_received(self, data: bytes) -> None:
        """The client has sent bytes."""
        if self._state is _State.STREAMING:
            self.abort()
            return
        if self._state is _State.LEAVING:
            self._unwanted += len(data)
            if self._unwanted > self._connections.limits.unwanted:
                self.abort()
            return
        self._reader.receive(data)
        if self._state in _WORKING:
            if self._reader.waiting > _AHEAD:
                self._transport.pause_reading()
            return
        if self._state is _State.IDLE:
            self._turn(_State.ARRIVING, self._connections.limits.patience)
        self._advance(data[0])

    def eof_received(self) -> bool:
        """The client will send nothing more. True keeps the connection open for the answer."""
        if self._state is _State.ANSWERING:
            self._half_closed = True
            return True
        if self._state is _State.HOLDING:
            seconds = self._loop.time() - self._since
            self._connections.callbacks.complain(f"the sender disconnected after {seconds:.1f} s without an answer")
        return False

    def connection_lost(self, _: Exception | None) -> None:
        """The connection is closed."""
        if self._task is not None:
            self._task.cancel()
        self._withdraw()
        self._connections.open.discard(self)

    # Called by `Connections`.

    def abort(self) -> None:
        """Closes at once."""
        self._withdraw()
        self._transport.abort()

    def dismiss(self, *, patient: bool) -> None:
        """Closes, unless an answer is under way; if not `patient`, a `Silence.TIMEOUT` does not count as one."""
        if self._state is _State.IDLE:
            self._transport.close()
        elif self._state in (_State.ARRIVING, _State.STREAMING) or (self._state is _State.HOLDING and not patient):
            self.abort()

    # Requests.

    def _advance(self, first: int = 0) -> None:
        """Processes what has arrived, up to the end of a request. `first` is its first byte."""
        try:
            request = self._reader.next()
        except Refused as refused:
            what = "it is TLS, and this receiver expects plain http" if first == _TLS else str(refused)
            self._refuse(refused.status, f"not an HTTP request: {what}")
            return
        if request is not None:
            self._is_continued = False
            self._turn(_State.ANSWERING)
            self._task = self._loop.create_task(self._respond(request))
        elif self._reader.is_asked_to_continue and not self._is_continued:
            self._is_continued = True
            self._transport.write(b"HTTP/1.1 100 \r\n\r\n")

    # Answers.

    async def _respond(self, request: Request) -> None:
        try:
            answer = await self._connections.callbacks.take(request)
            if isinstance(answer, Stream):
                await self._stream(answer)
            else:
                self._task = None
                self._give(answer, last=request.body is None)
        except Exception as error:
            self._connections.callbacks.fail(error)
            self.abort()

    async def _stream(self, stream: Stream) -> None:
        self._turn(_State.STREAMING)
        self._transport.write(_head(200, b"OK", (*stream.headers, (b"Connection", b"close"))))
        async for piece in stream.pieces:
            if self._transport.get_write_buffer_size() > _AHEAD:
                break
            self._transport.write(piece)
        self.abort()

    def _give(self, answer: Answer, *, last: bool) -> None:
        if answer is Silence.RESET:
            raw: socket.socket = self._transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.abort()
        elif answer is Silence.TIMEOUT:
            self._turn(_State.HOLDING)
            if self._half_closed:
                self._transport.close()
        else:
            assert isinstance(answer, Reply)
            self._send(answer, last=last)

    def _send(self, reply: Reply, *, last: bool) -> None:
        """Sends an answer, and starts on the next request unless this answer is the last."""
        last = last or self._connections.closing or self._half_closed or not self._reader.keeps_alive
        headers = list(reply.headers)
        has_body = reply.status not in _WITHOUT_BODY
        if has_body:
            headers.append((b"Content-Length", b"%d" % len(reply.body)))
        if last:
            headers.append((b"Connection", b"close"))
        phrase = reply.phrase or _PHRASES.get(reply.status, b"")
        body = reply.body if has_body and self._reader.method != b"HEAD" else b""
        self._transport.write(_head(reply.status, phrase, headers) + body)
        if last:
            self._leave()
        else:
            self._next()

    def _next(self) -> None:
        self._transport.resume_reading()
        if self._reader.waiting:
            self._turn(_State.ARRIVING, self._connections.limits.patience)
            self._advance()
        else:
            self._turn(_State.IDLE, self._connections.limits.idle)

    def _refuse(self, status: int, why: str) -> None:
        """Answers what is not an HTTP request, or is too late."""
        self._connections.callbacks.complain(why)
        self._send(Reply(status, body=f"{why}\n".encode()), last=True)

    def _leave(self) -> None:
        # Closing while the client is still sending would reset the connection, and the answer would be lost.
        self._turn(_State.LEAVING, self._connections.limits.patience)
        if self._half_closed:
            self._transport.close()
        else:
            self._transport.resume_reading()
            try:
                self._transport.write_eof()
            except OSError:
                # The client has already reset the connection.
                self.abort()

    # States and timers.

    def _turn(self, state: _State, seconds: float | None = None) -> None:
        """Enters a state; `_late` is called if it lasts `seconds`."""
        self._state = state
        self._since = self._loop.time()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self._loop.call_later(seconds, self._late)
        self._connections.changed.set()

    def _late(self) -> None:
        if self._state is _State.IDLE:
            self._transport.close()
        elif self._state is _State.ARRIVING:
            self._refuse(408, f"a request did not arrive within {self._connections.limits.patience:g} s")
        else:
            self.abort()

    def _withdraw(self) -> None:
        """Frees what has arrived, and the timer."""
        self._turn(_State.LEAVING)
        self._reader = Reader(0, 0)


def _head(status: int, phrase: bytes, headers: Iterable[Header]) -> bytes:
    lines = [b"HTTP/1.1 %d %b" % (status, phrase), *(b"%b: %b" % header for header in headers), b"\r\n"]
    return b"\r\n".join(lines)
