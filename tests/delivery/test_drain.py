"""A drain on a queue with missing destinations, and on one whose claims may lapse."""

import shutil
from contextlib import closing
from pathlib import Path

import pytest

from arkcli.delivery.drain import Drain, Plan
from arkcli.delivery.loop import Token
from arkcli.delivery.places import Limits
from arkcli.model import DOCUMENTED, Draft
from arkcli.queue.local.queue import LocalQueue
from arkcli.system.clock import SystemClock
from arkcli.wire.wire import Wire
from tests.queue.memory import MemoryClaim, MemoryQueue
from tests.wire.test_wire import endpoint
from tests.world import Hang, Request, answer, receiver


def test_a_drain_ends_though_a_place_was_taken_away_under_it(tmp_path: Path) -> None:
    """Removed by hand: `dest remove` removes a destination from the store first, so drains no longer ask for it."""
    clock = SystemClock()
    target = endpoint("http://127.0.0.1:9/")
    told: list[str] = []
    gives_up_at = clock.monotonic() + 20
    with closing(LocalQueue(tmp_path / "queue", DOCUMENTED)) as queue:
        queue.join([target.destination.id])
        shutil.rmtree(tmp_path / "queue" / "destinations" / target.destination.id)
        wire: Wire[Token] = Wire("", clock)

        def stopping() -> bool:
            return clock.monotonic() > gives_up_at

        drain = Drain(queue, wire, clock, Limits(), 8, lambda: [target], stopping, lambda: None, told.append)
        drained = drain.run(Plan())
        wire.close()
    assert drained.destinations == []
    assert not stopping()


def test_attempts_of_a_claim_that_has_lapsed_end_at_once_and_are_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SystemClock()

    def behave(_: Request) -> bytes:
        if len(server.requests) <= 2:
            raise Hang
        return answer(200)

    with receiver(behave) as server, closing(MemoryQueue(DOCUMENTED)) as queue:
        # As of a queue in a database that could not be reached in time.
        once = iter((True,))
        monkeypatch.setattr(
            MemoryClaim, "has_lapsed", property(lambda _: len(server.requests) == 2 and next(once, False))
        )
        target = endpoint(server.url)
        queue.join([target.destination.id])
        queue.accept([Draft(f"evt_{n}", "ping", "2026-11-26T12:00:00.000Z", b"{}") for n in range(5)])
        wire: Wire[Token] = Wire("", clock)
        drain = Drain(queue, wire, clock, Limits(), 8, lambda: [target], lambda: False, lambda: None, print)
        began = clock.monotonic()
        drained = drain.run(Plan())
        wire.close()
    assert clock.monotonic() - began < 5
    assert (drained.total("attempted"), drained.total("delivered")) == (5, 5)
    assert len(server.requests) == 7
    assert {request.attempt for request in server.requests} == {1}
