"""Transactions on a real server: what is committed, what is not, and what a lost connection means."""

import itertools
import os
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from arkcli.database.address import Address, address_of
from arkcli.database.connection import Database, here
from arkcli.errors import InDoubt, Refused, Unreachable
from tests import postgres

END = "select pg_terminate_backend(pg_backend_pid())"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with postgres.database() as found:
        postgres.query(found, "create schema ark")
        postgres.query(found, "create table ark.note (text text)")
        yield found


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    postgres.query(url, "delete from ark.note")
    found = Database(address_of(url, {}), "test")
    yield found
    found.close()


def notes(url: str) -> list[str]:
    return [text for (text,) in postgres.query(url, "select text from ark.note order by text")]


def add(database: Database, text: str, *, durable: bool = True, pipelined: bool = True) -> None:
    with database.transaction(durable=durable, pipelined=pipelined) as cursor:
        cursor.execute("insert into ark.note values (%s)", (text,))


@pytest.mark.parametrize("pipelined", [True, False])
@pytest.mark.parametrize("durable", [True, False])
def test_a_block_is_committed_and_its_rows_can_be_read_afterwards(
    database: Database, url: str, durable: bool, pipelined: bool
) -> None:
    add(database, "a", durable=durable, pipelined=pipelined)
    with database.transaction(durable=durable, pipelined=pipelined) as cursor:
        cursor.execute("select text from ark.note")
    assert cursor.fetchall() == [("a",)]
    assert notes(url) == ["a"]


@pytest.mark.parametrize("pipelined", [True, False])
def test_an_error_in_the_block_undoes_it_and_the_connection_goes_on(
    database: Database, url: str, pipelined: bool
) -> None:
    with pytest.raises(ZeroDivisionError), database.transaction(pipelined=pipelined) as cursor:
        cursor.execute("insert into ark.note values ('a')")
        raise ZeroDivisionError
    add(database, "b")
    assert notes(url) == ["b"]
    assert database.opened == 1


def test_what_the_server_refuses_for_good_is_told_and_undone(database: Database, url: str) -> None:
    with (
        pytest.raises(Refused, match=r'relation "ark\.nothing" does not exist') as raised,
        database.transaction() as cursor,
    ):
        cursor.execute("insert into ark.note values ('a')")
        cursor.execute("select * from ark.nothing")
    assert (raised.value.state, int(raised.value.exit_code)) == ("42P01", 78)
    assert notes(url) == []


def test_behind_a_pooler_that_keeps_no_prepared_statements_the_parameter_to_add_is_named(
    database: Database, url: str
) -> None:
    # Another client of the pooler had this connection before, and psycopg gives its statements the same names.
    with database.transaction(pipelined=False) as cursor:
        cursor.connection.execute("prepare _pg3_0 as select 1", prepare=False)
    committed = []
    with pytest.raises(Refused, match=r"is behind a pooler .* add prepare=off") as raised:
        for text in "abcdefg":
            add(database, text)
            committed.append(text)
    assert int(raised.value.exit_code) == 78
    assert notes(url) == committed


def test_what_the_server_could_not_do_now_changed_nothing(database: Database, url: str) -> None:
    with pytest.raises(Unreachable, match="changed nothing: canceling statement"), database.transaction() as cursor:
        cursor.execute("insert into ark.note values ('a')")
        cursor.execute("select pg_cancel_backend(pg_backend_pid()), pg_sleep(5)")
    add(database, "b")
    assert notes(url) == ["b"]


def test_a_connection_lost_before_the_commit_changed_nothing_and_is_opened_again(database: Database, url: str) -> None:
    with pytest.raises(Unreachable), database.transaction() as cursor:
        cursor.execute("insert into ark.note values ('a')")
        cursor.execute(END)
        cursor.fetchall()
    add(database, "b")
    assert notes(url) == ["b"]
    assert database.opened == 2


def test_a_connection_lost_in_the_commit_leaves_a_doubt(database: Database) -> None:
    with pytest.raises(InDoubt, match="was lost while it committed"), database.transaction() as cursor:
        cursor.execute(END)


def test_a_single_statement_is_committed_by_itself_and_a_connection_lost_in_it_leaves_a_doubt(
    database: Database, url: str
) -> None:
    for statement, error in (("select 'a'", None), ("select 'b' from ark.nothing", Refused), (END, InDoubt)):
        with nullcontext() if error is None else pytest.raises(error), database.transaction(single=True) as cursor:
            cursor.execute(f"insert into ark.note {statement} returning text")
    assert notes(url) == ["a"]


def test_an_idle_connection_that_the_server_has_ended_is_replaced_before_the_next_use(
    database: Database, url: str
) -> None:
    add(database, "a")
    postgres.query(
        url, "select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name like 'test %'"
    )
    add(database, "b")
    assert (notes(url), database.opened) == (["a", "b"], 2)


def test_for_a_while_after_no_connection_could_be_opened_none_is_tried(url: str) -> None:
    now = [0.0]
    with postgres.network(url) as way:
        database = Database(address_of(way.url, {}), "test", lambda: now[0])
        way.close()
        tries = []
        for _ in range(200):
            with pytest.raises(Unreachable, match="cannot reach the database"):
                add(database, "a")
            if database._again_at not in tries:
                tries.append(database._again_at)
            now[0] += 0.1
        # After 0.1 s, and then less and less often.
        pauses = [later - sooner for sooner, later in itertools.pairwise(tries)]
        assert pauses[:7] == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 5, 5], abs=0.11)
        way.open()
        now[0] += 5
        add(database, "b")
        assert database.opened == 1
        database.close()


def test_a_call_ends_in_time_for_what_its_caller_has_under_way(url: str) -> None:
    database = Database(address_of(url, {}), "test")
    with database.transaction() as cursor:
        cursor.execute("select 1")
    now = time.monotonic()
    database.ends_by = lambda: now
    with pytest.raises(Unreachable, match="statement timeout"), database.transaction() as cursor:
        cursor.execute("select pg_sleep(9)")
    assert time.monotonic() - now < 5
    database.close()


def test_no_connection_is_opened_just_before_a_lease_ends(url: str) -> None:
    now = [100.0]
    database = Database(address_of(url, {}), "test", lambda: now[0])
    database.ends_by = lambda: 101.5
    with pytest.raises(Unreachable, match="cannot reach the database"), database.transaction():
        pass
    assert database.opened == 0
    # By now the attempts have been ended, whoever holds the lease.
    now[0] = 102.6
    with database.transaction() as cursor:
        cursor.execute("select 1")
    assert database.opened == 1
    database.close()


def test_a_damaged_table_is_no_bug_of_ark(database: Database) -> None:
    with pytest.raises(Refused, match="cannot be used: bad page") as raised, database.transaction() as cursor:
        cursor.execute("do $$ begin raise exception 'bad page' using errcode = 'XX001'; end $$")
    assert int(raised.value.exit_code) == 78


def test_a_server_that_does_not_answer_is_left_after_a_while(url: str) -> None:
    now = [0.0]
    database = Database(address_of(url, {}), "test", lambda: now[0])
    with database.transaction() as cursor:
        cursor.execute("select 1")
    later = threading.Timer(0.3, now.__setitem__, (0, 100.0))
    later.start()
    with pytest.raises(InDoubt, match="does not answer"), database.transaction() as cursor:
        cursor.execute("select pg_sleep(5)")
    later.join()
    database.close()


@pytest.mark.parametrize("way", ["a-closed-port", "no-such-database"])
def test_a_database_that_cannot_be_reached_is_named_without_its_password(url: str, way: str) -> None:
    if way == "a-closed-port":
        address = address_of("postgresql://ark:s3cret@127.0.0.1:1/ark", {})
    else:
        address = address_of(postgres.of_database(url, "no_s3cret"), {})
        address = Address({**address.parameters, "password": "s3cret"}, address.masked, prepare=True)
    with pytest.raises(Unreachable, match="cannot reach the database postgresql://") as raised:
        add(Database(address), "a")
    said = str(raised.value).replace(address.masked, "")
    assert "s3cret" not in said
    assert "\n" not in said


def test_a_transaction_is_read_committed_and_its_settings_end_with_it(url: str) -> None:
    address = address_of(url, {})
    options = "-c default_transaction_isolation=serializable -c jit=on"
    database = Database(Address({**address.parameters, "options": options}, address.masked, prepare=True))
    settings = "select current_setting('transaction_isolation'), current_setting('synchronous_commit')"
    for durable, expected in ((True, "on"), (False, "off")):
        with database.transaction(durable=durable) as cursor:
            cursor.execute(settings)
            assert cursor.fetchall() == [("read committed", expected)]
    connection = cursor.connection
    row = connection.execute(f"{settings}, current_setting('statement_timeout'), current_setting('jit')").fetchone()
    assert row == ("serializable", "on", "0", "on")
    database.close()


def test_nothing_is_left_prepared_if_the_address_says_so(url: str) -> None:
    address = address_of(f"{url}&prepare=off", {})
    database = Database(address)
    for _ in range(8):
        add(database, "a")
    with database.transaction() as cursor:
        cursor.execute("select count(*) from pg_prepared_statements where name <> ''")
    assert cursor.fetchall() == [(0,)]
    database.close()


def test_the_server_shows_the_purpose_the_host_and_the_process(database: Database) -> None:
    with database.transaction() as cursor:
        cursor.execute("select current_setting('application_name')")
    assert cursor.fetchall() == [(f"test {here()}"[:63],)]
    assert here().endswith(f":{os.getpid()}")


def test_a_forked_process_opens_a_connection_of_its_own(database: Database, url: str) -> None:
    add(database, "before")
    child = os.fork()
    if not child:
        status = 1
        try:
            add(database, "child")
            database.close()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    add(database, "parent")
    assert database.opened == 1
    assert notes(url) == ["before", "child", "parent"]
