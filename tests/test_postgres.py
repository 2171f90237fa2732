"""The PostgreSQL and the network that other tests use do what those tests believe."""

from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet

import psycopg
import pytest

from tests.postgres import Absent, Server, network, query


def test_the_server_writes_to_the_disk_and_is_a_supported_version(empty_database: str) -> None:
    ((version, fsync),) = query(
        empty_database, "select current_setting('server_version_num')::int, current_setting('fsync')"
    )
    assert version >= 140_000
    assert fsync == "on"


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_gets_a_database_without_a_schema(empty_database: str, turn: int) -> None:
    query(empty_database, "create schema ark create table event (seq bigint)")


def test_the_network_passes_on_holds_back_cuts_and_refuses(empty_database: str) -> None:
    with network(empty_database) as way, psycopg.connect(way.url, autocommit=True) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
        way.hold("down")
        with ThreadPoolExecutor() as threads:
            answered = threads.submit(lambda: connection.execute("select 2").fetchone())
            with pytest.raises(NotYet):
                answered.result(0.1)
            way.release()
            assert answered.result(5) == (2,)
        way.cut_after(10)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 3, 'longer than that'")
        assert query(way.url, "select 4") == [(4,)]
        way.close()
        with pytest.raises(psycopg.OperationalError, match="refused"):
            query(way.url, "select 5")
        way.open()
        assert query(way.url, "select 6") == [(6,)]


def test_a_killed_server_starts_again_with_what_was_committed() -> None:
    try:
        server = Server()
    except Absent as absent:
        pytest.skip(str(absent))
    try:
        query(server.url, "create table kept as select 1 as value")
        server.kill()
        with pytest.raises(psycopg.OperationalError):
            query(server.url, "select 1")
        server.start()
        assert query(server.url, "select value from kept") == [(1,)]
    finally:
        server.remove()
