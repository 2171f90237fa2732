"""Making ark's tables, bringing them up to date, and those who may not."""

import threading
from collections.abc import Iterator

import pytest

from arkcli.database import schema
from arkcli.database.address import Address, address_of
from arkcli.database.connection import Database
from arkcli.database.schema import STEPS, VERSION, Step
from arkcli.errors import Unreadable
from tests import postgres

ADDITION = Step(VERSION + 1, 1, "alter table ark.meta add column hue text;")
CONTRACTION = Step(VERSION + 2, VERSION + 2, "alter table ark.meta rename column hue to colour;")
ROLE = "ark_test_limited"


@pytest.fixture
def url() -> Iterator[str]:
    with postgres.database() as found:
        yield found


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    found = Database(address_of(url, {}))
    yield found
    found.close()


@pytest.fixture
def limited(url: str) -> Iterator[Database]:
    """A database in which this role may use the tables only."""
    if not postgres.query(url, "select 1 from pg_roles where rolname = %s", ROLE):
        postgres.query(url, f"create role {ROLE} login")
    address = address_of(url, {})
    found = Database(Address({**address.parameters, "user": ROLE}, address.masked, prepare=True))
    yield found
    found.close()


def grant(url: str) -> None:
    postgres.query(url, f"grant usage on schema ark to {ROLE}")
    postgres.query(url, f"grant select, insert, update, delete on all tables in schema ark to {ROLE}")


def read(url: str) -> tuple[int, int, str]:
    return postgres.query(url, "select version, reads_from, state from ark.meta")[0]


def test_the_tables_are_made_once(database: Database, url: str) -> None:
    assert schema.version_of(database) == 0
    assert schema.prepare(database) == 0
    assert read(url) == (VERSION, STEPS[-1].reads_from, "ready")
    assert schema.prepare(database) == VERSION == schema.version_of(database)


def test_a_schema_that_an_administrator_made_is_used(database: Database, url: str) -> None:
    postgres.query(url, "create schema ark")
    schema.prepare(database)
    assert read(url)[0] == VERSION


def test_two_processes_may_make_them_at_the_same_time(url: str) -> None:
    errors: list[BaseException] = []

    def make() -> None:
        database = Database(address_of(url, {}))
        try:
            schema.prepare(database)
        except BaseException as error:
            errors.append(error)
        finally:
            database.close()

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert read(url)[0] == VERSION


def test_steps_are_taken_in_order_and_only_once(database: Database, url: str) -> None:
    schema.prepare(database)
    assert schema.prepare(database, (*STEPS, ADDITION)) == VERSION
    assert read(url)[:2] == (VERSION + 1, 1)
    assert schema.prepare(database, (*STEPS, ADDITION, CONTRACTION)) == VERSION + 1
    assert read(url)[:2] == (VERSION + 2, VERSION + 2)
    assert schema.prepare(database, (*STEPS, ADDITION, CONTRACTION)) == VERSION + 2


def test_an_older_ark_goes_on_after_an_addition_and_touches_nothing_after_a_contraction(
    database: Database, url: str
) -> None:
    schema.prepare(database, (*STEPS, ADDITION))
    assert schema.prepare(database) == VERSION + 1
    schema.prepare(database, (*STEPS, ADDITION, CONTRACTION))
    with pytest.raises(Unreadable, match=r"a newer ark has changed the database .* Update ark") as raised:
        schema.prepare(database)
    assert int(raised.value.exit_code) == 78
    assert read(url)[:2] == (VERSION + 2, VERSION + 2)


def test_who_may_not_make_the_tables_is_told_where_the_sql_is_for_somebody_who_may(
    limited: Database, database: Database, url: str
) -> None:
    with pytest.raises(Unreadable, match="permission denied") as raised:
        schema.prepare(limited)
    assert int(raised.value.exit_code) == 78
    assert postgres.query(url, "select to_regnamespace('ark')::text") == [(None,)]
    assert "the SQL that makes ark's tables, which `ark queue upgrade --print` prints" in str(raised.value)
    with database.transaction(pipelined=False) as cursor:
        cursor.connection.execute("rollback")
        cursor.connection.execute(schema.script(schema.version_of(limited)))
    grant(url)
    assert schema.prepare(limited) == VERSION


def test_who_may_not_bring_them_up_to_date_gets_the_steps_that_are_missing(
    limited: Database, database: Database, url: str
) -> None:
    schema.prepare(database)
    grant(url)
    assert schema.prepare(limited) == VERSION
    with pytest.raises(Unreadable, match=r"must be owner of table meta.* the SQL that brings ark's tables up to date"):
        schema.prepare(limited, (*STEPS, ADDITION))
    assert schema.script(schema.version_of(limited), (*STEPS, ADDITION)) == (
        f"begin;\n{ADDITION.sql}\nupdate ark.meta set version = {VERSION + 1}, reads_from = 1;\ncommit;"
    )
    assert read(url)[0] == VERSION
