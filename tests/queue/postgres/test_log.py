"""Accepting: the order of events, doubts about a commit, and what PostgreSQL's text cannot hold."""

import threading
from contextlib import closing

import psycopg
import pytest

from arkcli.errors import InDoubt, NotAccepted, Unreadable
from arkcli.model import Answer, Draft
from arkcli.queue.postgres.queue import PostgresQueue
from tests.postgres import Network, query
from tests.queue.postgres.conftest import Open
from tests.queue.postgres.opened import Stopwatch
from tests.queue.postgres.test_leases import claim
from tests.queue.test_engine import A, accept, attempts, draft, numbers

SEQS = "select array_agg(seq order by seq) from ark.event"


def test_a_reader_never_passes_an_event_that_is_not_committed_yet(
    queue: PostgresQueue, other: PostgresQueue, url: str
) -> None:
    queue.join([A])
    with psycopg.connect(url) as first:
        first.execute("select * from ark.meta for update")
        first.execute(
            "insert into ark.event (seq, id, name, at, addressed, bytes, body) "
            "values (1, 'evt_1', 'ping', now(), 0, 1, 'x')"
        )
        second = threading.Thread(target=accept, args=(other, 2))
        second.start()
        # It waits for the first one, whose number is lower.
        second.join(0.2)
        assert second.is_alive()
        assert queue.look([A], 0) == []
        assert queue.claim_due([A], 1, "drain", 0) == []
        first.commit()
        second.join(10)
    queue.look([A], 0)
    assert numbers(claim(queue).take(0, 9)) == [(1, 1), (2, 1)]


def test_many_that_accept_at_once_leave_no_gap(opened: Open, url: str) -> None:
    def send(queue: PostgresQueue, first: int) -> None:
        for number in range(10):
            accept(queue, *range(first + 3 * number, first + 3 * number + 3))

    threads = [threading.Thread(target=send, args=(opened(), 100 * number)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert query(url, SEQS) == [(list(range(1, 121)),)]
    assert query(url, "select count(distinct id) from ark.event") == [(120,)]


def test_one_id_accepted_by_two_at_once_is_one_event(opened: Open, url: str) -> None:
    queues = [opened() for _ in range(4)]
    threads = [
        threading.Thread(target=queue.accept, args=([draft(1), draft(2)],), kwargs={"unique": True}) for queue in queues
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert query(url, "select array_agg(id order by seq) from ark.event") == [(["evt_1", "evt_2"],)]


def test_nothing_is_accepted_while_the_database_cannot_be_reached(
    far: PostgresQueue, way: Network, url: str, watch: Stopwatch
) -> None:
    way.close()
    with pytest.raises(NotAccepted, match=r"cannot reach the database .*: nothing was accepted") as raised:
        accept(far, 1)
    assert int(raised.value.exit_code) == 1
    way.open()
    watch.seconds += 0.1
    accept(far, 2)
    assert query(url, "select array_agg(id) from ark.event") == [(["evt_2"],)]


def test_an_event_whose_commit_was_lost_on_the_way_back_is_found_to_be_accepted(
    far: PostgresQueue, way: Network, url: str
) -> None:
    accept(far, 1)
    way.hold("down")
    told: list[object] = []
    sender = threading.Thread(target=lambda: told.extend(accept(far, 2, 3)))
    sender.start()
    for _ in range(1_000):
        if query(url, SEQS) == [([1, 2, 3],)]:
            break
    way.cut()
    way.release()
    sender.join(10)
    assert [event.id for event in told] == ["evt_2", "evt_3"]  # type: ignore[attr-defined]
    assert query(url, SEQS) == [([1, 2, 3],)]


@pytest.mark.parametrize("size", [1, 200, 600, 900])
def test_an_event_that_was_lost_on_the_way_is_accepted_once_at_the_second_try(
    far: PostgresQueue, way: Network, url: str, size: int
) -> None:
    accept(far, 1)
    way.cut_after(size)
    try:
        (event,) = accept(far, 2)
    except NotAccepted:
        # It was lost before the commit was sent.
        assert query(url, SEQS) == [([1],)]
        (event,) = accept(far, 2)
    assert event.id == "evt_2"
    assert query(url, "select array_agg(id order by seq) from ark.event") == [(["evt_1", "evt_2"],)]


def test_a_doubt_that_lasts_is_told_with_the_command_that_resolves_it(
    far: PostgresQueue, way: Network, watch: Stopwatch
) -> None:
    accept(far, 1)
    write = far._log._write

    def lost(*drafts: object, unique: bool) -> object:
        if not unique:
            way.close()
            raise InDoubt("lost")
        return write(*drafts, unique=unique)  # type: ignore[arg-type]

    far._log._write = lost  # type: ignore[method-assign, assignment]
    started = watch.seconds
    with pytest.raises(InDoubt, match=r"^not known whether evt_2 and 1 more was accepted; run again with --id evt_2 "):
        accept(far, 2, 3)
    assert 20 <= watch.seconds - started <= 30


def test_many_events_at_once_are_stored_like_few(queue: PostgresQueue, url: str) -> None:
    odd = "a\0b\N{ROCKET}\"\\{},'"
    drafts = [
        Draft(f"evt_{n}{odd}", odd, f"2026-11-26T12:00:00.{n:03}Z", b"\0" * n, (A, odd) if n % 3 else None)
        for n in range(100)
    ]
    few = [*queue.accept(drafts[:60]), *queue.accept(drafts[60:])]
    many = queue.accept(drafts)
    assert [event.seq for event in (*few, *many)] == list(range(1, 201))
    assert list(queue.events()) == [*few, *many]
    columns = query(url, 'select id, name, at, "to", body from ark.event order by seq')
    assert columns[:100] == columns[100:]
    totals = query(
        url,
        'select addressed, bytes, count("to") over sofar, sum(octet_length(body)) over sofar from ark.event '
        "window sofar as (order by seq) order by seq",
    )
    assert [row[:2] for row in totals] == [row[2:] for row in totals]


@pytest.mark.parametrize("count", [1, 100])
def test_nothing_is_accepted_while_a_move_fills_the_queue(queue: PostgresQueue, url: str, count: int) -> None:
    queue.join([A])
    query(url, "update ark.meta set state = 'moving'")
    with pytest.raises(NotAccepted, match="is being filled by a move"):
        accept(queue, *range(count))
    assert query(url, SEQS) == [(None,)]


def test_a_process_that_runs_while_a_newer_ark_changes_the_tables_touches_nothing_more(
    queue: PostgresQueue, url: str
) -> None:
    queue.join([A])
    accept(queue, 1)
    query(url, "update ark.meta set reads_from = 99")
    try:
        with pytest.raises(Unreadable, match="a newer ark has changed the database"):
            accept(queue, 2)
        with pytest.raises(Unreadable, match="a newer ark has changed the database"):
            accept(queue, *range(100))
        assert queue.claim_due([A], 1, "drain", 0) == []
        assert query(url, SEQS) == [([1],)]
    finally:
        query(url, "update ark.meta set reads_from = 1")


def test_what_postgresql_cannot_hold_as_text_comes_back_as_it_was(queue: PostgresQueue) -> None:
    odd = "a\0b\N{ROCKET}\"\\{},'"
    queue.join([A])
    (event,) = queue.accept([Draft(f"evt_{odd}", odd, "2026-11-26T12:00:00.000Z", b"\0\xff", (A, odd, ""))])
    found = queue.find(event.id)
    assert found is not None
    assert (found.id, found.name, found.body, found.to) == (event.id, odd, b"\0\xff", (A, odd, ""))
    assert [one.id for one in queue.find_prefix("evt_a\0")] == [event.id]
    lease = claim(queue)
    (delivery,) = lease.take(0, 1)
    queue.record([(lease, [(delivery, Answer(None, odd, 1, odd))])], 0)
    assert [(one.event_id, one.error, one.excerpt) for one in attempts(queue, A)] == [(event.id, odd, odd)]
    with closing(queue.view(A)) as view:
        assert [one.last_error for one in view.deliveries()] == [odd]
