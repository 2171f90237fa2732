"""Fixtures for the tests of the engine over PostgreSQL: a real server, and its own clock."""

from collections.abc import Callable, Iterator

import pytest

from arkcli.database.connection import Database
from arkcli.queue.postgres.queue import PostgresQueue
from arkcli.system.clock import Clock
from tests.postgres import Network, network
from tests.queue.postgres.opened import Stopwatch, emptied, place
from tests.queue.test_engine import SCHEDULE

#: Opens the queue as another process would, perhaps by another way to the server.
Open = Callable[..., PostgresQueue]


@pytest.fixture
def url() -> str:
    return emptied()


@pytest.fixture
def watch() -> Stopwatch:
    return Stopwatch()


@pytest.fixture
def opened(url: str, watch: Stopwatch) -> Iterator[Open]:
    queues: list[PostgresQueue] = []

    def open_queue(by: str = url, database: type[Database] = Database, clock: Clock = watch) -> PostgresQueue:
        queues.append(PostgresQueue(database(place(by), "test", clock.monotonic), SCHEDULE, clock))
        return queues[-1]

    yield open_queue
    for queue in queues:
        queue.close()


@pytest.fixture
def queue(opened: Open) -> PostgresQueue:
    return opened()


@pytest.fixture
def other(opened: Open) -> PostgresQueue:
    """A second process."""
    return opened()


@pytest.fixture
def way(url: str) -> Iterator[Network]:
    with network(url) as found:
        yield found


@pytest.fixture
def far(opened: Open, way: Network) -> PostgresQueue:
    """A process that reaches the server by a network."""
    return opened(way.url)
