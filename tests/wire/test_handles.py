"""Idle handles are kept only while they are worth their memory."""

from contextlib import closing
from itertools import count
from typing import Final

import msgspec
import pytest

from arkcli.model import Delivery
from arkcli.system.clock import SystemClock
from arkcli.wire.handles import Handles, Stock
from arkcli.wire.sockets import Sockets
from arkcli.wire.transfer import Transfer
from arkcli.wire.wire import Endpoint, Wire
from tests.wire.test_wire import EVENT, Receive, endpoint

URL: Final = "http://127.0.0.1:9/"
MOST: Final = 8


def make(stock: Stock, handles: Handles) -> Transfer:
    stock.add(handles)
    return Transfer(endpoint(URL).destination, "", "0.invalid", Sockets())


def use(stock: Stock, handles: Handles, at: int) -> None:
    handles.used_at = at
    handles.append(handles.pop() if handles else make(stock, handles))


def test_there_are_never_more_idle_ones_than_connections() -> None:
    stock, all_handles = Stock(MOST), [Handles() for _ in range(50)]
    for at, handles in enumerate(all_handles):
        use(stock, handles, at)
        assert sum(map(len, all_handles)) <= MOST


def test_those_used_last_stay() -> None:
    stock, busy, times = Stock(MOST), Handles(), count()
    use(stock, busy, next(times))
    (kept,) = busy
    for handles in [Handles() for _ in range(50)]:
        use(stock, handles, next(times))
        use(stock, busy, next(times))
    assert busy == [kept]


def test_one_under_way_is_never_closed_and_counts_once_it_is_idle_again() -> None:
    stock, slow, others = Stock(MOST), Handles(), [Handles() for _ in range(100)]
    under_way = make(stock, slow)
    for at, handles in enumerate(others[:50], 1):
        use(stock, handles, at)
    # A closed handle raises an error here.
    under_way.prepare("a: b", b"{}")
    slow.append(under_way)
    for at, handles in enumerate(others[50:], 51):
        use(stock, handles, at)
    assert (len(slow), slow.made) == (0, 0)


@pytest.mark.parametrize("most", [1, 2, MOST])
def test_the_handles_of_removed_destinations_do_not_count(most: int) -> None:
    stock = Stock(most)
    for at in range(50):
        use(stock, Handles(), at)
    last = Handles()
    use(stock, last, 50)
    assert len(last) == 1


def post_to_all(wire: Wire[int], targets: list[Endpoint]) -> list[int | None]:
    """The statuses, one destination after another."""
    statuses = []
    for target in targets:
        wire.start(target, [(Delivery(EVENT, 1), 0)])
        done: list[int | None] = []
        while not done:
            done = [answer.status for _, answer in wire.wait(0.5)]
        statuses += done
    return statuses


def test_a_wire_to_many_keeps_few_handles_and_delivers_to_all_of_them_again(receive: Receive) -> None:
    server = receive(200)
    first = endpoint(server.url).destination
    targets = [
        Endpoint(msgspec.structs.replace(first, url=f"{server.url}/{number}"), endpoint(URL).secret)
        for number in range(40)
    ]
    with closing(Wire[int]("", SystemClock(), connections=MOST)) as wire:
        for _ in range(2):
            assert post_to_all(wire, targets) == [200] * 40
            assert 0 < sum(len(target.idle) for target in targets) <= MOST
