"""What the tables hold after a while: tidying, checking, moving, and connections that a pooler shares out."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from arkcli.database.address import Address
from arkcli.database.connection import Database
from arkcli.errors import Filling, UsageError
from arkcli.model import Attempt, Outcome, State
from arkcli.queue.engine import Damage, Record
from arkcli.queue.postgres.queue import PostgresQueue
from tests.postgres import query
from tests.queue.postgres.conftest import Open
from tests.queue.postgres.test_leases import claim
from tests.queue.test_engine import BAD, OK, A, B, accept, attempts, history, of, pending
from tests.world import START

#: Long after everything that a test does.
LONG_AFTER = START + 10**12


def attempt_all(queue: PostgresQueue, destination: str, answer: Any) -> None:
    found = claim(queue, destination)
    queue.record([(found, [(delivery, answer) for delivery in found.take(0, 99)])], 0)
    found.release()


def test_what_is_old_goes_and_the_numbers_go_on(queue: PostgresQueue, other: PostgresQueue, url: str) -> None:
    queue.join([A])
    accept(queue, 1, 2, 3)
    attempt_all(queue, A, OK)
    accept(queue, 4)
    attempt_all(queue, A, BAD)
    accept(queue, 5, 6)
    attempt_all(queue, A, OK)
    queue.tidy([A], LONG_AFTER)
    assert [event.id for event in queue.events()] == ["evt_4", "evt_6"]
    assert [found.event_id for found in attempts(queue, A)] == []
    assert other.find("evt_1") is None
    assert queue.totals.events == 2
    assert queue.check().damaged == []
    assert query(url, "select max(seq) from ark.event") == [(6,)]
    accept(queue, 7)
    assert query(url, "select max(seq) from ark.event") == [(7,)]
    assert queue.totals.events == 3
    assert pending(queue, A) == [("evt_4", State.RETRYING, 1), ("evt_7", State.WAITING, 0)]


def test_what_a_removed_destination_left_goes_too(queue: PostgresQueue, url: str) -> None:
    queue.join([A, B])
    accept(queue, 1, 2)
    attempt_all(queue, A, BAD)
    attempt_all(queue, B, OK)
    assert queue.leave(A) == 2
    assert query(url, "select count(*) from ark.pending") == [(0,)]
    assert query(url, "select count(*) from ark.attempt") == [(4,)]
    queue.tidy([B], START - 1)
    assert query(url, "select count(*) from ark.attempt") == [(2,)]


def test_nobody_waits_for_another_that_tidies_up(queue: PostgresQueue, url: str) -> None:
    queue.join([A])
    accept(queue, 1, 2)
    attempt_all(queue, A, OK)
    with psycopg.connect(url) as connection:
        connection.execute("select pg_advisory_xact_lock(4785076321)")
        queue.tidy([A], LONG_AFTER)
        assert queue.totals.events == 2
    queue.tidy([A], LONG_AFTER)
    assert queue.totals.events == 1


def test_rows_that_do_not_fit_together_are_found(queue: PostgresQueue, url: str) -> None:
    queue.join([A])
    accept(queue, 1, 2, 3)
    attempt_all(queue, A, BAD)
    assert queue.check().damaged == []
    query(url, "delete from ark.event where seq = 2")
    query(url, "update ark.share set cursor = 77")
    ((destination,),) = query(url, "select destination from ark.share")
    assert queue.check().damaged == [
        Damage("ark.event", 3, "the events before it are missing"),
        Damage("ark.share", destination, "its cursor is beyond the end of the log"),
        Damage("ark.pending", 2, "its event is missing"),
        Damage("ark.attempt", 2, "its event is missing"),
    ]


def test_a_move_that_was_interrupted_starts_again(queue: PostgresQueue, other: PostgresQueue, url: str) -> None:
    queue.join([A])
    accept(queue, 1, 2)
    records = list(queue.dump())
    queue.leave(A)
    query(url, "delete from ark.event")

    def broken() -> Iterator[Record]:
        yield from records[:3]
        raise UsageError("cut off")

    with pytest.raises(UsageError, match="cut off"):
        queue.restore(broken())
    with pytest.raises(Filling, match="nothing was accepted"):
        accept(other, 3)
    queue.restore(records)
    assert pending(other, A) == [("evt_1", State.WAITING, 0), ("evt_2", State.WAITING, 0)]
    accept(other, 3)


def test_the_history_of_events_that_have_left_the_log_is_moved_too(queue: PostgresQueue) -> None:
    def made(event_id: str, attempt: int, at: int) -> Record:
        return Record(
            destination_id=A,
            attempt=Attempt(event_id, "ping", attempt, at, Outcome.DELIVERED, 200, None, 3, ""),
        )

    records = [
        Record(destination_id=A, passed=0),
        made("evt_gone", 1, START),
        made("evt_gone", 1, START + 1),
        made("evt_other", 1, START + 2),
    ]
    queue.restore(records)
    assert [(one.event_id, one.at) for one in attempts(queue, A)] == [
        ("evt_gone", START),
        ("evt_gone", START + 1),
        ("evt_other", START + 2),
    ]
    assert history(queue, A, "evt_gone") == (State.DELIVERED, [1, 1])
    assert list(queue.events()) == []
    assert (queue.find("evt_gone"), queue.totals.events) == (None, 0)
    accept(queue, 1)
    assert pending(queue, A) == [("evt_1", State.WAITING, 0)]
    queue.tidy([A], LONG_AFTER)
    assert next(queue.dump()).event is not None


class Pooled(Database):
    """A connection as a pooler gives it: each transaction has another one than the last."""

    def __init__(self, address: Address, *others: Any) -> None:
        super().__init__(Address(address.parameters, address.masked, prepare=False), *others)
        self._both: list[Any] = [None, None]

    def _open(self) -> Any:
        self._both.reverse()
        self._connection = self._both[0]
        self._both[0] = super()._open()
        return self._both[0]

    def close(self) -> None:
        for connection in filter(None, self._both):
            connection.close()


def test_each_transaction_may_have_another_connection(opened: Open) -> None:
    queue = opened(database=Pooled)
    queue.join([A])
    for number in range(1, 8):
        accept(queue, number)
        queue.look([A], 0)
        attempt_all(queue, A, OK if number % 2 else BAD)
    assert queue._database.opened == 2
    assert queue.retry(of("evt_2", "evt_4"), 0) == 2
    attempt_all(queue, A, OK)
    assert pending(queue, A) == [("evt_6", State.RETRYING, 1)]
    assert queue.check().damaged == []
