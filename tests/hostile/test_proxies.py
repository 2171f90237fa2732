"""Proxies that lie: what a proxy answers is never taken for the receiver's answer, and is named as the proxy's."""

from typing import NamedTuple

import pytest

from arkcli.model import Answer, Delivery, Outcome
from arkcli.wire.trust import ca_bundle
from arkcli.wire.wire import Endpoint, Wire
from tests.hostile.rows import GOOD
from tests.hostile.servers import Handler, Talk, hostile, says
from tests.wire.test_proxied import through
from tests.wire.test_wire import EVENT, endpoint
from tests.world import FakeClock

TUNNEL = b"HTTP/1.1 200 Connection established\r\n\r\n"
BY_PROXY = " (through the proxy)"


class Row(NamedTuple):
    """A proxy, and the error of an attempt at an http and at an https destination through it."""

    name: str
    handle: Handler
    http: str
    https: str


def alike(name: str, handle: Handler, error: str) -> Row:
    return Row(name, handle, error, error)


def _hangs(talk: Talk) -> None:
    talk.read()
    talk.hang()


def _hangs_after(answer: bytes) -> Handler:
    def handle(talk: Talk) -> None:
        talk.read()
        talk.say(answer)
        talk.hang()

    return handle


def _drops_the_request(talk: Talk) -> None:
    talk.read()
    talk.say(TUNNEL)
    talk.connection.recv(65_536)
    talk.reset()


NO_TLS = f"the TLS handshake failed: the server there does not speak TLS{BY_PROXY}"
CLOSED = f"the TLS handshake failed: the server closed the connection{BY_PROXY}"
EARLY = f"the server answered before the request had been sent{BY_PROXY}"
UNANSWERED = f"the connection was closed without an answer{BY_PROXY}"
SILENT = "the proxy closed the connection without an answer"
NOT_HTTP = "the proxy's answer is not HTTP/1.1"
RESET = f"the TLS handshake failed: the server closed the connection{BY_PROXY}"
BROKE = f"the connection broke before the answer was complete{BY_PROXY}"
NOTHING = f"no answer within 10 s{BY_PROXY}"
NO_HANDSHAKE = f"the TLS handshake was not done within 10 s{BY_PROXY}"
ROWS = [
    Row("200-and-close", says(TUNNEL), UNANSWERED, CLOSED),
    Row("204-and-close", says(b"HTTP/1.1 204 No Content\r\n\r\n"), UNANSWERED, CLOSED),
    Row("200-and-reset", _drops_the_request, BROKE, RESET),
    Row("200-with-an-answer-as-its-body", says(b"HTTP/1.1 200 OK\r\nContent-Length: 45\r\n\r\n" + GOOD), EARLY, NO_TLS),
    Row("200-and-an-answer-at-once", says(TUNNEL + GOOD), EARLY, NO_TLS),
    Row(
        "200-chunked", says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"), EARLY, NO_TLS
    ),
    alike("junk-before-200", says(b"junk\r\n" + TUNNEL), NOT_HTTP),
    alike("another-protocol", says(b"SSH-2.0-OpenSSH\r\n"), NOT_HTTP),
    alike("HTTP/2-200", says(b"HTTP/2 200\r\n\r\n"), NOT_HTTP),
    alike("closes-without-an-answer", says(b""), SILENT),
    alike("closes-in-the-status-line", says(b"HTTP/1.1 200"), SILENT),
    alike("closes-in-the-headers", says(b"HTTP/1.1 200 OK\r\nX: y\r\n"), BROKE),
    alike(
        "100-and-200", says(b"HTTP/1.1 100 Continue\r\n\r\n" + TUNNEL), "the proxy answered 100: it made no connection"
    ),
    alike(
        "407",
        says(b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 2\r\n\r\nok"),
        "the proxy answered 407: it wants a user name and password",
    ),
    alike("403", says(b"HTTP/1.1 403 No\r\n\r\n"), "the proxy answered 403: it does not allow this destination"),
    alike("502", says(b"HTTP/1.1 502 No\r\n\r\n" + GOOD), "the proxy answered 502: it did not reach the receiver"),
    alike("302", says(b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n"), "the proxy answered 302: it made no connection"),
]
SLOW = [
    alike("hangs", _hangs, "no answer from the proxy within 10 s"),
    Row("hangs-in-the-headers", _hangs_after(b"HTTP/1.1 200 OK\r\nX: y\r\n"), NOTHING, NO_HANDSHAKE),
    Row("hangs-after-200", _hangs_after(TUNNEL), NOTHING, NO_HANDSHAKE),
]


def attempt(target: Endpoint, *, hurry: bool) -> Answer:
    """One attempt. With `hurry`, the clock of the deadline goes much faster."""
    clock = FakeClock()
    wire: Wire[int] = Wire(ca_bundle({}), clock)
    wire.start(target, [(Delivery(EVENT, 1), 0)])
    try:
        while True:
            for _, answer in wire.wait(0.02 if hurry else 0.5):
                return answer
            clock.advance(0.4 if hurry else 0)
    finally:
        wire.close()


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("row", [*ROWS, *SLOW], ids=lambda row: row.name)
def test_nothing_that_a_proxy_says_is_the_receivers_answer(row: Row, scheme: str) -> None:
    with hostile(row.handle) as proxy:
        target = endpoint(f"{scheme}://127.0.0.1:9/hook")
        found = attempt(through(f"http://127.0.0.1:{proxy.port}", target), hurry=row in SLOW)
    assert (found.outcome, found.status) == (Outcome.FAILED, None)
    assert found.error == (row.http if scheme == "http" else row.https)
