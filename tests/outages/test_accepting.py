"""Events are accepted, or the user is told that they are not, wherever the connection to the database breaks."""

import json
import os
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from arkcli.database.address import address_of
from arkcli.database.connection import Database
from arkcli.errors import InDoubt, NotAccepted
from arkcli.model import DOCUMENTED, Draft
from arkcli.queue.postgres.queue import PostgresQueue
from tests import postgres
from tests.outages.hosts import Host, until
from tests.test_processes import finish
from tests.world import PAYLOAD, FakeClock, TestReceiver, World

Receive = Callable[..., TestReceiver]


def drafts(number: int) -> list[Draft]:
    return [Draft(f"evt_{number}_{n}", "signal.promoted", "2026-11-26T12:00:00.000Z", PAYLOAD) for n in range(3)]


@pytest.fixture
def network(empty_database: str) -> Iterator[postgres.Network]:
    with postgres.network(empty_database) as made:
        yield made


def opened(network: postgres.Network, clock: FakeClock | None = None) -> PostgresQueue:
    return PostgresQueue(Database(address_of(network.url, {})), DOCUMENTED, clock)


def accepted(network: postgres.Network) -> list[str]:
    return [found for (found,) in postgres.query(network.url, "select id from ark.event order by seq")]


def test_wherever_the_connection_breaks_all_are_accepted_once_or_none_is(network: postgres.Network) -> None:
    queue = opened(network)
    queue.accept(drafts(0))
    before = dict(network.passed)
    queue.accept(drafts(1))
    sizes = {way: network.passed[way] - before[way] for way in before}
    outcomes = set()
    # Messages begin with a letter and their length; the breaks are between them, and within.
    places = [("up", n) for n in range(1, sizes["up"], sizes["up"] // 20)]
    places += [("down", n) for n in range(1, sizes["down"], sizes["down"] // 20)]
    for number, (way, size) in enumerate(places, 2):
        asked = drafts(number)
        network.cut_after(size, way)
        try:
            events = queue.accept(asked)
        except NotAccepted as error:
            assert str(error).endswith("nothing was accepted")
            assert not {one.id for one in asked} & set(accepted(network))
            outcomes.add((way, "not accepted"))
        else:
            assert [event.id for event in events] == [one.id for one in asked]
            outcomes.add((way, "accepted"))
        found = accepted(network)
        assert len(found) == len(set(found))
        assert set(found) & {one.id for one in asked} in (set(), {one.id for one in asked})
    assert {("up", "not accepted"), ("down", "accepted")} <= outcomes
    queue.close()
