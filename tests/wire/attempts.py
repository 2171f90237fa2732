"""Attempts over a wire, one by one."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from arkcli.model import Answer, Delivery, Event
from arkcli.system.clock import Clock, SystemClock
from arkcli.wire.wire import Endpoint, Wire
from tests.wire.test_wire import EVENT


@contextmanager
def wired(ca_file: str = "", clock: Clock | None = None) -> "Iterator[Wire[int]]":
    with closing(Wire[int](ca_file, clock or SystemClock())) as wire:
        yield wire


def attempt(wire: "Wire[int]", target: Endpoint, event: Event = EVENT, number: int = 1) -> Answer:
    """Makes one attempt and waits for it."""
    wire.start(target, [(Delivery(event, number), 0)])
    while True:
        for _, answer in wire.wait(0.5):
            return answer
