"""What a real server says about itself."""

import time
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from arkcli.database.address import address_of
from arkcli.database.connection import Database
from arkcli.database.facts import facts_of


@pytest.fixture
def database(empty_database: str) -> Iterator[Database]:
    with closing(Database(address_of(empty_database, {}))) as found:
        yield found


def test_the_server_is_described(database: Database) -> None:
    facts = facts_of(database, 300)
    assert facts.number >= 140_000
    assert str(facts.number // 10_000) in facts.version
    assert (facts.tls, facts.syncs, facts.writes_full_pages) == (None, True, True)
    assert abs(facts.now - time.time() * 1000) < 60_000
    assert 1 <= facts.connections < facts.most_connections
    assert (facts.asynchronous, facts.synchronous) == (0, 0)


def test_a_long_transaction_is_named(database: Database, empty_database: str) -> None:
    with psycopg.connect(empty_database, application_name="a report") as other:
        other.execute("declare slow cursor for select 1 from pg_class")
        named = [what for what, _ in facts_of(database, 0).holding]
        assert any(what.startswith(f"a transaction of a report, process {other.info.backend_pid}") for what in named)
        assert not any("a report" in what for what, _ in facts_of(database, 300).holding)
