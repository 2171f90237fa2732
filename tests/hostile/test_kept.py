"""Kept connections that have died: a request is repeated at most once, on a new connection, within the same 10 s.

Tested on http and https, with all connections of a destination dead at once, as after a restart of a proxy or firewall.
"""

import threading
import time
from collections.abc import Callable

import pytest

from arkcli.model import Answer, Delivery, Event, Outcome
from arkcli.wire.wire import Endpoint, Wire
from tests.hostile.rows import GOOD
from tests.hostile.servers import Handler, Hostile, Talk
from tests.hostile.test_stray import Side, side
from tests.wire.attempts import attempt as one
from tests.wire.attempts import wired
from tests.wire.test_wire import EVENT, Steps

__all__ = ["side"]
KEPT = 8
#: Too large to leave in one piece.
LARGE = Event("evt_2", "signal.promoted", EVENT.at, b'{"event":"signal.promoted","x":"' + b"x" * 2**22 + b'"}')
HEAD = GOOD[: GOOD.index(b"\r\n") + 2]


class Dying:
    """A handler that answers until `over` is set; then each connection made so far ends as `end` does it."""

    def __init__(self, end: Callable[[Talk], None], then: Handler | None = None) -> None:
        self.over = threading.Event()
        self.asked = threading.Semaphore(0)
        self._together = threading.Barrier(KEPT)
        self._end = end
        self._then = then or self._answer

    def __call__(self, talk: Talk) -> None:
        if self.over.is_set():
            self._then(talk)
            return
        assert talk.read() is not None
        # No request is answered before all have come, so each has its own connection.
        self._together.wait(5)
        talk.say(GOOD)
        if self._end in QUIET:
            self.over.wait(20)
        self._end(talk)

    def _answer(self, talk: Talk) -> None:
        while talk.read() is not None:
            talk.say(GOOD)


def closed(_: Talk) -> None:
    """Like a server after a restart, or a proxy after its idle timeout."""


def closed_on_use(talk: Talk) -> None:
    talk.connection.recv(1)


def reset_on_use(talk: Talk) -> None:
    talk.connection.recv(1)
    talk.reset()


def closed_after_the_request(talk: Talk) -> None:
    talk.read()


def reset_after_the_request(talk: Talk) -> None:
    talk.read()
    talk.reset()


QUIET = (closed, Talk.reset)
ENDS = (*QUIET, closed_on_use, reset_on_use, closed_after_the_request, reset_after_the_request)


def start(wire: "Wire[int]", target: Endpoint, event: Event, count: int) -> list[Answer]:
    """Makes this many attempts at once and waits for all of them."""
    wire.start(target, [(Delivery(event, 1), number) for number in range(count)])
    done: list[Answer] = []
    while wire.in_flight:
        done += [answer for _, answer in wire.wait(0.5)]
    return done


def keep(wire: "Wire[int]", target: Endpoint, server: Hostile, handle: Dying) -> None:
    """Makes a destination keep eight connections, and the server end them."""
    assert {answer.status for answer in start(wire, target, EVENT, KEPT)} == {200}
    assert server.connections == KEPT
    handle.over.set()
    # Wait until the ends of the connections have arrived; both sides are on this machine.
    time.sleep(0.05)


@pytest.mark.parametrize("at_once", [1, KEPT])
@pytest.mark.parametrize("event", [EVENT, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("end", ENDS)
def test_dead_ones_cost_nothing_but_a_new_connection_each(
    side: Side, end: Callable[[Talk], None], event: Event, at_once: int
) -> None:
    handle = Dying(end)
    with side.server(handle) as server, wired() as wire:
        target = side.endpoint(server)
        keep(wire, target, server, handle)
        answers = start(wire, target, event, at_once)
        assert [(answer.outcome, answer.error) for answer in answers] == [(Outcome.DELIVERED, None)] * at_once
        # For a large request libcurl itself opens one connection, and the request goes out on the next.
        assert KEPT + at_once <= server.connections <= KEPT + (2 * at_once if event is LARGE else at_once)
        came = [request for _, request in server.requests[KEPT:]]
        # Only whole ones of this test: another test's client may still know this port.
        taken = sum(request.body == event.body for request in came)
        repeats = end in (closed_after_the_request, reset_after_the_request)
        heads = [(request.line, len(request.body), request.headers) for request in came]
        assert at_once <= taken <= (2 * at_once if repeats else at_once), heads


@pytest.mark.parametrize("end", [closed_after_the_request, reset_after_the_request])
def test_a_receiver_that_takes_it_and_never_answers_gets_it_twice_at_most(
    side: Side, end: Callable[[Talk], None]
) -> None:
    handle = Dying(end, end)
    with side.server(handle) as server, wired() as wire:
        target = side.endpoint(server)
        keep(wire, target, server, handle)
        answer = one(wire, target)
        assert (answer.outcome, answer.unreached) == (Outcome.FAILED, True)
        assert len(server.requests) == KEPT + 2
        assert server.connections == KEPT + 1


@pytest.mark.parametrize("part", [HEAD, HEAD + b"X: y\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"], ids=len)
@pytest.mark.parametrize("reset", [False, True])
def test_a_request_is_not_repeated_once_its_answer_has_begun(side: Side, part: bytes, reset: bool) -> None:
    def end(talk: Talk) -> None:
        talk.read()
        talk.say(part)
        # A reset would discard what has not been read.
        time.sleep(0.3)
        if reset:
            talk.reset()

    handle = Dying(end)
    with side.server(handle) as server, wired() as wire:
        target = side.endpoint(server)
        keep(wire, target, server, handle)
        answer = one(wire, target)
        assert (answer.outcome, answer.unreached) == (Outcome.FAILED, False)
        assert len(server.requests) == KEPT + 1
        assert server.connections == KEPT


def test_both_tries_together_have_ten_seconds(side: Side) -> None:
    """Half of the time passes on the kept connection, the rest on the new one, which never answers."""
    dies = threading.Event()

    def end(talk: Talk) -> None:
        talk.read()
        dies.wait(20)

    def then(talk: Talk) -> None:
        talk.read()
        talk.hang()

    handle = Dying(end, then)
    clock = Steps()
    with side.server(handle) as server:
        wire: Wire[int] = Wire("", clock)
        target = side.endpoint(server)
        keep(wire, target, server, handle)
        wire.start(target, [(Delivery(EVENT, 1), 0)])
        done: list[tuple[int, Answer]] = []
        looks = 0
        while not done:
            done = wire.wait(0)
            clock.seconds += 0.25
            looks += 1
            if looks == 20:
                dies.set()
                # The clock stops until the request has gone out again.
                until = time.monotonic() + 10
                while len(server.requests) < KEPT + 2 and time.monotonic() < until:
                    wire.wait(0)
        wire.close()
        assert (len(server.requests), server.connections) == (KEPT + 2, KEPT + 1)
    ((_, answer),) = done
    assert answer.error == "no answer within 10 s"
    assert answer.timed_out
    assert not answer.unreached
    assert 9_900 <= answer.duration_ms <= 10_600


def test_a_connection_is_not_kept_for_ever(side: Side) -> None:
    """A name with a new address is followed, however busy the connections are."""

    def handle(talk: Talk) -> None:
        while talk.read() is not None:
            talk.say(GOOD)

    with side.server(handle) as server:
        wire: Wire[int] = Wire("", Steps(), lifetime=1)
        target = side.endpoint(server)
        began = time.monotonic()
        while time.monotonic() - began < 3.5:
            assert one(wire, target).status == 200
            time.sleep(0.05)
        wire.close()
        assert 2 <= server.connections <= 4
