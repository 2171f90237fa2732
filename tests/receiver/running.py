"""A receiver that runs during a test, and clients that send it raw bytes."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from arkcli.httpd.connection import ServerLimits
from arkcli.httpd.server import listen_on, url_of
from arkcli.receiver import plan
from arkcli.receiver.receiver import Orders, Receiver
from arkcli.receiver.record import Received
from arkcli.signing import Secret, sign
from arkcli.system.clock import SystemClock

SECRET = "s3cret"
BODY = b'{"event":"ping"}'

#: Opens a connection for each request.
_CLIENT = httpx.Client(limits=httpx.Limits(max_keepalive_connections=0), trust_env=False)


class Running:
    """A running receiver and what it reported."""

    def __init__(self, limits: ServerLimits, answers: str, host: str, **orders: Any) -> None:
        self.received: list[Received] = []
        self.complaints: list[str] = []
        told = Orders(secrets=lambda: [Secret(SECRET)], plan=plan.parse(answers), **orders)
        self.receiver = Receiver(told, SystemClock(), self.received.append, self.complaints.append, limits)
        self.listeners = listen_on(host, 0)
        self.url = url_of(self.listeners[0])
        self._address = self.listeners[0].getsockname()

    def connect(self) -> socket.socket:
        return socket.create_connection(self._address, timeout=20)

    def post(self, body: bytes = BODY, **headers: str) -> httpx.Response:
        """Sends a signed request on a new connection. `delivery` becomes X-SignalArk-Delivery, and so on."""
        named = {f"X-SignalArk-{name.title()}": value for name, value in headers.items()}
        return _CLIENT.post(self.url, content=body, headers={"X-SignalArk-Signature": sign(SECRET, body), **named})

    def say(self, said: bytes) -> bytes:
        """Sends these bytes; returns everything up to the end of the connection."""
        with self.connect() as client:
            client.sendall(said)
            return everything(client)


@contextmanager
def running(
    limits: ServerLimits | None = None, answers: str = "200", host: str = "127.0.0.1", **orders: Any
) -> Iterator[Running]:
    """Runs a receiver for the length of a block."""
    made = Running(limits or ServerLimits(), answers, host, **orders)
    with made.receiver.in_background(made.listeners):
        yield made


def everything(client: socket.socket) -> bytes:
    """Reads until the other side closes."""
    return b"".join(iter(lambda: client.recv(65536), b""))


def until(client: socket.socket, end: bytes) -> bytes:
    """Reads up to and including these bytes."""
    said = b""
    while not said.endswith(end):
        piece = client.recv(1)
        assert piece, said
        said += piece
    return said


def request(body: bytes = BODY, *headers: str, close: bool = False) -> bytes:
    """A signed request as bytes; without a Content-Length if another header defines the length."""
    length = [] if any("chunked" in header for header in headers) else [f"Content-Length: {len(body)}"]
    signature = f"X-SignalArk-Signature: {sign(SECRET, body)}"
    closing = ["Connection: close"] if close else []
    lines = ["POST /hook HTTP/1.1", "Host: x", signature, *length, *closing, *headers, "", ""]
    return "\r\n".join(lines).encode()


def chunked(*pieces: bytes) -> bytes:
    """A chunked body with these chunks."""
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces if piece) + b"0\r\n\r\n"
