"""An answer belongs to its own request: other bytes on a connection are never taken for it.

These could be taken for the receiver's answer: unrequested bytes on a kept connection (an earlier
request answered twice, a message to an idle connection); an answer that comes before the request has been sent;
a late answer to an earlier request; an interim answer. Each is sent at every moment of the exchange, on both
protocols, to one destination and to two. There is no proxy in between that could have answered.
"""

import itertools
import random
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest
import trustme

from arkcli.model import Delivery, Event
from arkcli.wire.wire import Endpoint
from tests.hostile.rows import GOOD
from tests.hostile.servers import Handler, Hostile, Talk, hostile
from tests.wire.attempts import attempt as one
from tests.wire.attempts import wired
from tests.wire.test_wire import EVENT, endpoint

REFUSAL = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
TOO_EARLY = "the server answered before the request had been sent"
LARGE = Event("evt_2", "signal.promoted", EVENT.at, b'{"event":"signal.promoted","x":"' + b"x" * 2**24 + b'"}')
#: What a server may send on a connection without a request.
STRAYS = {
    "a second answer": GOOD,
    "an interim answer and a second one": b"HTTP/1.1 102 Processing\r\n\r\n" + GOOD,
    "an answer with half a body": GOOD[:-1],
    "a word to an idle connection": b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n",
    "a line break": b"\r\n",
    "one byte": b"H",
}
AUTHORITY = trustme.CA()


class Side(NamedTuple):
    """A protocol: how a server starts it, and how a client connects."""

    scheme: str
    prepare: Handler
    ca_file: str | None

    def endpoint(self, server: Hostile, path: str = "") -> Endpoint:
        return endpoint(f"{self.scheme}://127.0.0.1:{server.port}/{path}", ca_file=self.ca_file)

    @contextmanager
    def server(self, handle: Handler, *, narrow: bool = False) -> Iterator[Hostile]:
        def prepared(talk: Talk) -> None:
            self.prepare(talk)
            handle(talk)

        with hostile(prepared, narrow=narrow) as server:
            yield server


@pytest.fixture(params=["http", "https"])
def side(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Side:
    if request.param == "http":
        return Side("http", lambda _: None, None)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("127.0.0.1").configure_cert(context)
    ca_file = str(tmp_path_factory.mktemp("ca") / "ca.pem")
    AUTHORITY.cert_pem.write_to_path(ca_file)
    return Side("https", lambda talk: talk.secure(context), ca_file)


def refuse(talk: Talk) -> None:
    while talk.read() is not None:
        talk.say(REFUSAL)


def first(handle: Handler, then: Handler = refuse) -> Handler:
    """Handles the first connection with `handle` and all others with `then`."""
    numbers = itertools.count()
    return lambda talk: (then if next(numbers) else handle)(talk)  # noqa: PLW0108 - evaluated for each connection


@pytest.mark.parametrize("stray", STRAYS, ids=str)
def test_what_came_on_a_kept_connection_unasked_spoils_it_and_answers_nothing(side: Side, stray: str) -> None:
    """The delivery is sent at once on a new connection, and does not cost an attempt."""
    answered, said = threading.Event(), threading.Event()

    def handle(talk: Talk) -> None:
        talk.read()
        talk.say(GOOD)
        answered.wait(5)
        talk.say(STRAYS[stray])
        said.set()
        # A further request on this connection would be a mistake.
        if talk.read() is not None:
            talk.say(GOOD)

    with side.server(first(handle)) as server, wired() as wire:
        target = side.endpoint(server)
        assert one(wire, target).status == 200
        answered.set()
        # After `say` the bytes have arrived, since both ends are on this machine.
        assert said.wait(5)
        answer = one(wire, target)
        assert (answer.status, answer.error) == (500, "answered 500, not a 2xx")
        assert [request.headers["x-signalark-attempt"] for _, request in server.requests] == ["1", "1"]
        assert server.connections == 2
        # The new connection is kept.
        assert one(wire, target).status == 500
        assert server.connections == 2


@pytest.mark.parametrize(
    ("side", "after_ms"),
    # Over TLS, answers that arrive together are read together, and the second cannot be seen (docs/security.md).
    [*(("http", after_ms) for after_ms in (None, 0, 1, 2, 5, 10)), ("https", 5), ("https", 10)],
    indirect=["side"],
)
def test_a_second_answer_is_none_to_the_next_request(side: Side, after_ms: float | None) -> None:
    """Sent in one piece with the first answer (None), or this much later."""

    def handle(talk: Talk) -> None:
        while (request := talk.read()) is not None:
            if request.attempt == 2:
                talk.say(REFUSAL)
                continue
            if after_ms is None:
                talk.say(GOOD + GOOD)
                continue
            talk.say(GOOD)
            time.sleep(after_ms / 1000)
            talk.say(GOOD)

    with side.server(handle) as server, wired() as wire:
        target = side.endpoint(server)
        for _ in range(10):
            assert one(wire, target).status == 200
            time.sleep(0.02)
            assert one(wire, target, number=2).status == 500


@pytest.mark.parametrize("after_ms", [0, 0.1, 0.5, 1, 2, 5, 10])
def test_a_second_answer_at_any_moment_is_none_to_another_destination(side: Side, after_ms: float) -> None:
    """`evil` answers 200 twice. `good`, on the same origin, answers 500, so nothing may count as delivered to it."""

    def handle(talk: Talk) -> None:
        while (request := talk.read()) is not None:
            if request.line.split()[1] == "/good":
                talk.say(REFUSAL)
                continue
            talk.say(GOOD)
            time.sleep(after_ms / 1000)
            talk.say(GOOD)

    with side.server(handle) as server, wired() as wire:
        targets = {path: side.endpoint(server, path) for path in ("evil", "good")}
        named: dict[int, str] = dict(enumerate(["evil", "good"] * 60))
        left = list(named)
        random.Random(after_ms).shuffle(left)
        found: dict[str, set[int | None]] = {"evil": set(), "good": set()}
        while left or wire.in_flight:
            while left and wire.in_flight < 8:
                token = left.pop()
                wire.start(targets[named[token]], [(Delivery(EVENT, 1), token)])
            for token, answer in wire.wait(0.1):
                found[named[token]].add(answer.status)
    assert found == {"evil": {200}, "good": {500}}


def test_one_destination_is_never_given_the_connection_of_another(side: Side) -> None:
    """Even if they have the same origin, address and alias of a host."""

    def handle(talk: Talk) -> None:
        paths = set()
        while (request := talk.read()) is not None:
            paths.add(request.line.split()[1])
            talk.say(GOOD if len(paths) == 1 else REFUSAL)

    with side.server(handle) as server, wired() as wire:
        # `endpoint` gives all of them the same id, too: even then they do not share.
        targets = [side.endpoint(server, str(number)) for number in range(5)]
        for _ in range(3):
            assert [one(wire, target).status for target in targets] == [200] * 5
        assert server.connections == 5


def test_an_answer_to_a_connection_counts_for_its_first_request_only_where_it_came_behind_it() -> None:
    """The order is a race, so both results are possible, but no other.

    Over TLS such bytes look like session tickets; but only the receiver itself can send them.
    """

    def handle(talk: Talk) -> None:
        talk.say(GOOD)
        talk.read()

    with hostile(handle) as server, wired() as wire:
        found = one(wire, endpoint(f"http://127.0.0.1:{server.port}/"))
        assert server.connections == 1
    assert (found.status, found.error) in ((200, None), (None, TOO_EARLY))


def _after(part: bytes, answer: bytes) -> Handler:
    """Answers as soon as this part of a request has arrived, and reads the rest a little later."""

    def handle(talk: Talk) -> None:
        head = b""
        while part not in head:
            head += talk.connection.recv(1 if len(head) < 4096 else 4096)
        talk.say(answer)
        time.sleep(0.2)
        while talk.connection.recv(2**16):
            pass

    return handle


@pytest.mark.parametrize("part", [b"POST", b"X-Signal", b"\r\n\r\n", b'"x":"'], ids=["line", "headers", "end", "body"])
def test_a_2xx_that_comes_while_the_request_is_being_sent_is_no_delivery(side: Side, part: bytes) -> None:
    with side.server(_after(part, GOOD), narrow=True) as server, wired() as wire:
        answer = one(wire, side.endpoint(server), LARGE)
    assert (answer.status, answer.error) == (None, TOO_EARLY)
    assert server.connections == 1


def test_a_refusal_that_comes_while_the_request_is_being_sent_is_told_as_it_is(side: Side) -> None:
    large = b"HTTP/1.1 413 Large\r\nContent-Length: 0\r\n\r\n"
    with side.server(_after(b"\r\n\r\n", large), narrow=True) as server, wired() as wire:
        assert one(wire, side.endpoint(server), LARGE).status == 413


def test_an_interim_answer_is_none(side: Side) -> None:
    def handle(talk: Talk) -> None:
        while talk.read() is not None:
            for interim in (b"100 Continue", b"102 Processing", b"103 Early Hints"):
                talk.say(b"HTTP/1.1 " + interim + b"\r\nX: y\r\n\r\n")
            talk.say(REFUSAL)

    with side.server(handle) as server, wired() as wire:
        target = side.endpoint(server)
        assert [one(wire, target).status for _ in range(3)] == [500] * 3
        assert server.connections == 1


def test_a_late_answer_to_a_request_that_was_given_up_reaches_nobody(side: Side) -> None:
    """The connection is closed together with the request."""
    ended = threading.Event()

    def handle(talk: Talk) -> None:
        talk.read()
        ended.wait(20)
        talk.say(GOOD)

    with side.server(first(handle)) as server, wired() as wire:
        target = side.endpoint(server)
        late = one(wire, target)
        assert (late.status, late.error) == (None, "no answer within 10 s")
        ended.set()
        time.sleep(0.05)
        assert one(wire, target).status == 500
        assert server.connections == 2


def test_connections_are_kept_and_no_more_are_made_than_attempts_at_once(side: Side) -> None:
    def handle(talk: Talk) -> None:
        while talk.read() is not None:
            talk.say(GOOD)

    with side.server(handle) as server, wired() as wire:
        target = side.endpoint(server)
        for _ in range(20):
            for _ in range(8):
                wire.start(target, [(Delivery(EVENT, 1), 0)])
            done: list[object] = []
            while len(done) < 8:
                done += wire.wait(0.5)
        assert server.connections == 8
