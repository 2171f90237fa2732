"""One connection of a client: requests in, answers out, one after the other."""

import asyncio
import socket
import struct
from enum import Enum, auto
from http import HTTPStatus
from typing import Final

import h11

from arkcli.httpd.clients import Clients
from arkcli.httpd.messages import Reply, Request, Silence

#: So many bytes may come behind a request that is being answered before reading stops.
_AHEAD: Final = 64 * 1024
#: Closing makes the kernel send a RST: socket(7), SO_LINGER, on with a time of 0.
_RESET: Final = struct.pack("ii", 1, 0)
#: What a TLS client says first (RFC 8446, section 5.1: a handshake record).
_TLS: Final = 0x16
_WITHOUT_BODY: Final = (204, 304)
_PHRASES: Final = {status.value: status.phrase.encode() for status in HTTPStatus}


class _State(Enum):
    IDLE = auto()
    ARRIVING = auto()
    ANSWERING = auto()
    #: Says nothing until the client gives up.
    HOLDING = auto()
    #: Has said its last, and waits for the client to close.
    LEAVING = auto()


_WORKING: Final = (_State.ANSWERING, _State.HOLDING)


class Connection(asyncio.Protocol):
    """One connection. asyncio calls it when something happens to its socket."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._loop = asyncio.get_running_loop()
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=clients.limits.head - 1)
        self._state = _State.IDLE
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._head: h11.Request | None = None
        self._body = bytearray()
        self._unwanted = 0
        self._half_closed = False
        #: Bytes of a body that are held.
        self.held = 0

    # What the socket does.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The client has come."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._turn(_State.IDLE, self._clients.limits.idle)
        self._clients.join(self)

    def data_received(self, data: bytes) -> None:
        """The client has said something."""
        if self._state is _State.LEAVING:
            self._unwanted += len(data)
            if self._unwanted > self._clients.limits.unwanted:
                self.abort()
            return
        room = self._clients.limits.head - len(self._http.trailing_data[0])
        if self._state not in _WORKING and len(data) > room:
            # h11 limits only what has not arrived in one piece.
            self.data_received(data[:room])
            self.data_received(data[room:])
            return
        self._http.receive_data(data)
        if self._state in _WORKING:
            if len(self._http.trailing_data[0]) > _AHEAD:
                self._transport.pause_reading()
            return
        if self._state is _State.IDLE:
            self._turn(_State.ARRIVING, self._clients.limits.patience)
        self._advance(data[0])

    def eof_received(self) -> bool:
        """The client will say no more. True keeps the connection open for what we have to say."""
        if self._state is _State.ANSWERING:
            self._half_closed = True
            return True
        if self._state is _State.HOLDING:
            seconds = self._loop.time() - self._since
            self._clients.callbacks.complain(f"the sender gave up after {seconds:.1f} s without an answer")
        return False

    def connection_lost(self, _: Exception | None) -> None:
        """The connection has gone."""
        if self._task is not None:
            self._task.cancel()
        self._withdraw()
        self._clients.leave(self)

    # What the others make necessary.

    def abort(self) -> None:
        """Closes at once."""
        self._withdraw()
        self._transport.abort()

    def dismiss(self, *, patient: bool) -> None:
        """Closes, unless an answer is under way; without patience an endless one counts for none."""
        if self._state is _State.IDLE:
            self._transport.close()
        elif self._state is _State.ARRIVING or (self._state is _State.HOLDING and not patient):
            self.abort()

    # Requests in.

    def _advance(self, first: int = 0) -> None:
        """Takes in what has come, up to the end of a request. `first` is the first byte of it."""
        try:
            while self._state is _State.ARRIVING:
                event = self._http.next_event()
                if isinstance(event, h11.Request):
                    self._begin(event)
                elif isinstance(event, h11.Data):
                    self._add(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    self._answer(bytes(self._body))
                else:
                    return
        except h11.RemoteProtocolError as error:
            what = "it is TLS, and this receiver speaks plain http" if first == _TLS else str(error)
            self._refuse(error.error_status_hint, f"that was no HTTP request: {what}")

    def _begin(self, head: h11.Request) -> None:
        self._head = head
        if {b"content-length", b"transfer-encoding"} <= {name for name, _ in head.headers}:
            # They may disagree on where the next request begins (RFC 9112, 6.3).
            raise h11.RemoteProtocolError("it has both a Content-Length and a Transfer-Encoding")
        length = next((int(value) for name, value in head.headers if name == b"content-length"), 0)
        if length > self._clients.limits.body:
            self._answer(None)
        elif self._http.they_are_waiting_for_100_continue:
            self._transport.write(self._http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")

    def _add(self, data: bytes) -> None:
        if len(self._body) + len(data) > self._clients.limits.body:
            self._answer(None)
            return
        self._body += data
        self.held += len(data)
        self._clients.hold(len(data))

    # Answers out.

    def _answer(self, body: bytes | None) -> None:
        assert self._head is not None
        head = self._head
        request = Request(head.method.decode(), head.target.decode("latin-1"), head.headers.raw_items(), body)
        self._body = bytearray()
        self._turn(_State.ANSWERING)
        self._task = self._loop.create_task(self._respond(request))

    async def _respond(self, request: Request) -> None:
        try:
            answer = await self._clients.callbacks.take(request)
            self._task = None
            self._release()
            self._give(answer, last=request.body is None)
        except Exception as error:
            self._clients.callbacks.fail(error)
            self.abort()

    def _give(self, answer: Reply | Silence, *, last: bool) -> None:
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
        """Sends an answer, and turns to the next request unless it is the last."""
        last = last or self._clients.closing or self._half_closed
        headers = list(reply.headers)
        if reply.status not in _WITHOUT_BODY:
            headers.append((b"Content-Length", b"%d" % len(reply.body)))
        if last:
            headers.append((b"Connection", b"close"))
        phrase = reply.phrase or _PHRASES.get(reply.status, b"")
        said = self._http.send(h11.Response(status_code=reply.status, headers=headers, reason=phrase)) or b""
        is_head = self._head is not None and self._head.method == b"HEAD"
        if reply.body and not is_head and reply.status not in _WITHOUT_BODY:
            said += self._http.send(h11.Data(reply.body)) or b""
        said += self._http.send(h11.EndOfMessage()) or b""
        self._transport.write(said)
        if last or self._http.our_state is not h11.DONE:
            self._leave()
        else:
            self._next()

    def _next(self) -> None:
        self._http.start_next_cycle()
        self._head = None
        self._transport.resume_reading()
        if self._http.trailing_data[0]:
            self._turn(_State.ARRIVING, self._clients.limits.patience)
            self._advance()
        else:
            self._turn(_State.IDLE, self._clients.limits.idle)

    def _refuse(self, status: int, why: str) -> None:
        """Answers what is no request."""
        self._clients.callbacks.complain(why)
        self._release()
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._send(Reply(status, body=f"{why}\n".encode()), last=True)
        else:
            self.abort()

    def _leave(self) -> None:
        # Closing while the client still sends would make the kernel reset the connection, and the answer be lost.
        self._turn(_State.LEAVING, self._clients.limits.patience)
        if self._half_closed:
            self._transport.close()
        else:
            self._transport.resume_reading()
            try:
                self._transport.write_eof()
            except OSError:
                # The client has reset the connection already.
                self.abort()

    # Whose move it is, and until when.

    def _turn(self, state: _State, seconds: float | None = None) -> None:
        """Goes over to a state, for so many seconds at most."""
        self._state = state
        self._since = self._loop.time()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self._loop.call_later(seconds, self._late)
        self._clients.set_to_work(self, working=state in _WORKING)
        self._clients.waiting.pop(self, None)
        if state is not _State.ANSWERING:
            self._clients.waiting[self] = None

    def _late(self) -> None:
        if self._state is _State.IDLE:
            self._transport.close()
        elif self._state is _State.ARRIVING:
            self._refuse(408, f"a request did not arrive within {self._clients.limits.patience:g} s")
        else:
            self.abort()

    def _release(self) -> None:
        self._clients.hold(-self.held)
        self.held = 0

    def _withdraw(self) -> None:
        """Is out of the game: nothing is held, nothing is waited for."""
        self._state = _State.LEAVING
        if self._timer is not None:
            self._timer.cancel()
        self._body = bytearray()
        self._release()
        self._clients.set_to_work(self, working=False)
        self._clients.waiting.pop(self, None)
