"""Who may deliver: leases by the database's clock, fenced outcomes, and what becomes of them while it is away."""

import os
from itertools import pairwise

import pytest

from arkcli.delivery import backoff
from arkcli.errors import Held, Unreachable
from arkcli.model import Answer, Delivery, State
from arkcli.queue.engine import Holder
from arkcli.queue.pace import Terms
from arkcli.queue.postgres.claim import Claim
from arkcli.queue.postgres.queue import PostgresQueue
from arkcli.system.clock import SystemClock
from tests.postgres import Network, query
from tests.queue.postgres.conftest import Open
from tests.queue.postgres.opened import Stopwatch
from tests.queue.test_engine import BAD, OK, A, B, accept, history, numbers, of, pending

DELIVERED, RETRYING = State.DELIVERED, State.RETRYING
#: Plays a machine that slept: its leases have ended.
EXPIRE = "update ark.share set until = now() - interval '1 second'"


def claim(queue: PostgresQueue, destination: str = A) -> Claim:
    (found,) = queue.claim_due([destination], 1, "drain", 0)
    return found


def until(url: str) -> float:
    """For how many seconds the lease of A lasts."""
    ((found,),) = query(url, "select extract(epoch from until - now())::float8 from ark.share where id = 'dst_a'")
    return float(found)


def test_what_a_worker_that_slept_records_is_refused_and_its_heir_repeats_the_attempt(
    queue: PostgresQueue, other: PostgresQueue, url: str
) -> None:
    queue.join([A])
    accept(queue, 1, 2)
    first = claim(queue)
    taken = first.take(0, 2)
    assert other.claim_due([A], 1, "drain", 0) == []
    query(url, EXPIRE)
    heir = claim(other)
    again = heir.take(0, 2)
    assert numbers(again) == numbers(taken) == [(1, 1), (2, 1)]
    (told,) = queue.record([(first, [(delivery, OK) for delivery in taken])], 0)
    assert list(told.states) == [None, None]
    assert history(queue, A, "evt_1") == (None, [])
    (told,) = other.record([(heir, [(delivery, BAD) for delivery in again])], 0)
    assert list(told.states) == [RETRYING, RETRYING]
    first.release()
    assert queue.holder(A) == Holder(os.getpid(), "drain")


def test_a_worker_that_slept_takes_nothing_more_once_it_has_an_heir(
    queue: PostgresQueue, other: PostgresQueue, url: str, watch: Stopwatch
) -> None:
    queue.join([A])
    accept(queue, 1, 2)
    first = claim(queue)
    assert len(first.take(0, 1)) == 1
    query(url, EXPIRE)
    heir = claim(other)
    watch.seconds += 6
    assert first.take(0, 1) == []
    assert numbers(heir.take(0, 9)) == [(1, 1), (2, 1)]


def test_recording_again_changes_nothing(queue: PostgresQueue, other: PostgresQueue, url: str) -> None:
    queue.join([A])
    accept(queue, 1, 2)
    found = claim(queue)
    results = [(found, list(zip(found.take(0, 2), (OK, BAD), strict=True)))]
    rows = "select seq, round, attempt, due_at, failed_at from ark.pending"
    (told,) = queue.record(results, 0)
    before = query(url, rows)
    assert queue.record(results, 0) == [told]
    assert query(url, rows) == before
    assert other.retry(of("evt_2"), 0) == 1
    before = query(url, rows)
    queue.record(results, 0)
    assert query(url, rows) == before
    assert query(url, "select count(*) from ark.attempt") == [(2,)]


def test_recording_the_failure_of_a_retry_again_changes_nothing(
    queue: PostgresQueue, other: PostgresQueue, url: str
) -> None:
    queue.join([A])
    accept(queue, 1)
    for _ in range(2):
        query(url, "update ark.pending set due_at = now()")
        found = claim(queue)
        results = [(found, [(delivery, BAD) for delivery in found.take(0, 1)])]
        queue.record(results, 0)
        found.release()
    assert pending(queue, A) == [("evt_1", RETRYING, 2)]
    query(url, "update ark.share set epoch = %s, holder = %s", found.epoch, found.holder)
    assert other.retry(of("evt_1"), 0) == 1
    (told,) = queue.record(results, 0)
    assert list(told.states) == [RETRYING]
    assert pending(queue, A) == [("evt_1", State.WAITING, 0)]
    assert history(queue, A, "evt_1") == (State.WAITING, [1, 2])


def test_what_was_dropped_in_flight_by_a_worker_that_slept_does_not_come_back(
    queue: PostgresQueue, other: PostgresQueue, url: str
) -> None:
    queue.join([A])
    accept(queue, 1)
    found = claim(queue)
    taken = found.take(0, 1)
    with pytest.raises(Held):
        other.drop(of("evt_1"), 0)
    query(url, EXPIRE)
    assert other.drop(of("evt_1"), 0) == 1
    (told,) = queue.record([(found, [(taken[0], BAD)])], 0)
    assert list(told.states) == [None]
    assert pending(other, A) == []
    assert history(other, A, "evt_1") == (State.DROPPED, [])


class Wrong(Stopwatch):
    """A host's clock, which is `ahead` milliseconds ahead of the database's."""

    def __init__(self, ahead: int) -> None:
        super().__init__()
        self._ahead = ahead

    def now(self) -> int:
        return super().now() + self._ahead


@pytest.mark.parametrize("ahead", [600_000, -600_000])
@pytest.mark.parametrize("is_first", [True, False], ids=["send", "drain"])
def test_a_receiver_that_asked_for_a_minute_gets_one_whatever_the_hosts_clocks_say(
    queue: PostgresQueue, opened: Open, url: str, ahead: int, is_first: bool
) -> None:
    clock = Wrong(ahead)
    wrong = opened(clock=clock)
    wrong.join([A])
    (event, _) = accept(wrong, 1, 2)
    found = wrong.claim_first(event, [A], 1)[0][0] if is_first else claim(wrong)
    assert backoff.note_asked(
        found, [(Delivery(event, 1), Answer(429, "HTTP 429", 3, retry_after=60_000))], clock.now()
    )
    terms = Terms(9, 1_000, None)
    if is_first:
        assert found.take_behind(1) == []
        assert abs((found.admit(terms, 1, clock.now()).at or 0) - clock.now() - 60_000) < 1_000
    found.release()
    for reader, now in ((queue, SystemClock().now), (wrong, clock.now)):
        heir = claim(reader)
        for _ in range(2):
            assert backoff.is_asked(heir, now())
            assert heir.outage is not None
            assert abs(heir.outage.until - now() - 60_000) < 1_000
            reader.look([A], 0)
        heir.release()


def test_a_lease_is_renewed_every_five_seconds_by_whatever_is_called(
    queue: PostgresQueue, url: str, watch: Stopwatch
) -> None:
    queue.join([A, B])
    accept(queue, 1, 2)
    found = claim(queue)
    claim(queue, B)
    for call in (
        lambda: found.take(0, 1),
        lambda: queue.record([(found, [])], 0),
        lambda: queue.look([A], 0),
    ):
        query(url, "update ark.share set until = now() + interval '9 s'")
        watch.seconds += 4
        call()
        assert until(url) <= 9
        watch.seconds += 1.1
        call()
        assert 19 <= until(url) <= 20


def test_no_attempt_begins_that_might_not_end_within_the_lease(
    far: PostgresQueue, way: Network, watch: Stopwatch
) -> None:
    far.join([A])
    accept(far, 1, 2, 3, 4)
    found = claim(far)
    assert len(found.take(0, 1)) == 1
    way.close()
    watch.seconds += 8.9
    assert len(found.take(0, 1)) == 1
    watch.seconds += 0.2
    assert found.take(0, 1) == []
    way.open()
    watch.seconds += 1
    assert len(found.take(0, 1)) == 1


def test_an_outcome_is_kept_while_the_database_is_away_and_recorded_when_it_is_back(
    far: PostgresQueue, queue: PostgresQueue, way: Network, watch: Stopwatch
) -> None:
    far.join([A])
    accept(far, 1, 2, 3)
    found = claim(far)
    first, second = found.take(0, 2)
    way.close()
    for delivery, answer in ((first, OK), (second, BAD)):
        (told,) = far.record([(found, [(delivery, answer)])], 0)
        assert (list(told.states), told.error) == ([None], None)
    assert far.late() == []
    assert found.take(0, 1) == []
    assert history(queue, A, "evt_1") == (None, [])
    way.open()
    assert found.take(0, 1) == []
    watch.seconds += 0.5
    assert numbers(found.take(0, 1)) == [(3, 1)]
    late = far.late()
    assert [(claim_, results[0][0], list(told.states)) for claim_, results, told in late] == [
        (found, first, [DELIVERED]),
        (found, second, [RETRYING]),
    ]
    assert far.late() == []
    assert history(queue, A, "evt_1") == (DELIVERED, [1])
    assert pending(queue, A) == [("evt_2", RETRYING, 1), ("evt_3", State.WAITING, 0)]


def claim_with_kept_outcome(far: PostgresQueue, way: Network) -> Claim:
    """Claims A and takes a delivery; then the database is away, and the outcome is kept."""
    found = claim(far)
    taken = found.take(0, 1)
    way.close()
    far.record([(found, [(taken[0], OK)])], 0)
    return found


def test_recording_waits_for_no_disk_and_only_the_first_try_is_not_ended_by_the_server(
    far: PostgresQueue, way: Network, watch: Stopwatch, url: str
) -> None:
    far.join([A])
    accept(far, 1, 2)
    found = claim(far)
    first, second = found.take(0, 2)
    query(
        url,
        """
        create table ark.seen (waits text, timeout text);
        create function ark.see() returns trigger language plpgsql as $$ begin
         insert into ark.seen values (current_setting('synchronous_commit'), current_setting('statement_timeout'));
         return null;
        end $$;
        create constraint trigger see after insert on ark.attempt deferrable initially deferred
         for each row execute function ark.see();
        """,
    )
    far.record([(found, [(first, OK)])], 0)
    way.close()
    far.record([(found, [(second, OK)])], 0)
    way.open()
    watch.seconds += 0.5
    far.look([A], 0)
    assert query(url, "select * from ark.seen") == [("off", "0"), ("off", "8s")]


def test_a_kept_outcome_is_refused_if_somebody_has_taken_over_meanwhile(
    far: PostgresQueue, queue: PostgresQueue, way: Network, watch: Stopwatch, url: str
) -> None:
    far.join([A])
    accept(far, 1)
    claim_with_kept_outcome(far, way)
    query(url, EXPIRE)
    heir = claim(queue)
    assert numbers(heir.take(0, 1)) == [(1, 1)]
    way.open()
    watch.seconds += 1
    far.look([A], 0)
    assert [list(told.states) for _, _, told in far.late()] == [[None]]
    assert history(queue, A, "evt_1") == (None, [])


def test_a_claim_that_ends_while_the_database_is_away_is_released_when_its_outcomes_are_recorded(
    far: PostgresQueue, queue: PostgresQueue, way: Network, watch: Stopwatch
) -> None:
    far.join([A])
    accept(far, 1, 2)
    found = claim_with_kept_outcome(far, way)
    found.release()
    with pytest.raises(Unreachable):
        far.look([A], 0)
    assert queue.holder(A) is not None
    way.open()
    watch.seconds += 1
    far.look([A], 0)
    assert queue.holder(A) is None
    assert numbers(claim(queue).take(0, 9)) == [(2, 1)]


def test_a_lease_outlives_its_claim_until_the_kept_outcomes_are_recorded(
    far: PostgresQueue, queue: PostgresQueue, way: Network, watch: Stopwatch
) -> None:
    far.join([A])
    accept(far, 1)
    found = claim_with_kept_outcome(far, way)
    way.open()
    found.release()
    assert queue.holder(A) is not None
    watch.seconds += 1
    far.look([A], 0)
    assert queue.holder(A) is None
    assert history(queue, A, "evt_1") == (DELIVERED, [1])


def test_tries_become_rarer_while_the_database_is_away(far: PostgresQueue, way: Network, watch: Stopwatch) -> None:
    far.join([A])
    accept(far, 1)
    found = claim_with_kept_outcome(far, way)
    tried = []
    opened = far._database._connect

    def connect() -> object:
        tried.append(watch.seconds)
        return opened()

    far._database._connect = connect  # type: ignore[method-assign, assignment]
    for _ in range(200):
        watch.seconds += 0.1
        assert found.take(0, 1) == []
    pauses = [round(after - before, 1) for before, after in pairwise(tried)]
    assert pauses[:4] == [0.2, 0.4, 0.8, 1.6]
    assert max(pauses) <= 5.1
    assert len(tried) < 12


def test_after_a_crash_of_the_server_nothing_that_was_known_before_counts(
    queue: PostgresQueue, other: PostgresQueue, url: str, watch: Stopwatch
) -> None:
    queue.join([A, B])
    accept(queue, 1, 2)
    found = claim(queue)
    queue.record([(found, [(delivery, OK) for delivery in found.take(0, 2)])], 0)
    # The last commits were not on the disk, and what is not logged is gone.
    query(url, "delete from ark.attempt")
    query(url, "delete from ark.worker")
    watch.seconds += 6
    assert found.take(0, 9) == []
    found.release()
    assert query(url, "select cursor from ark.share where id = 'dst_a'") == [(1,)]
    assert queue.look([A], 0) == [A]
    assert numbers(claim(queue).take(0, 9)) == [(1, 1), (2, 1)]


def test_the_holder_on_another_host_is_named_with_it(queue: PostgresQueue, url: str) -> None:
    queue.join([A])
    query(url, "update ark.share set until = now() + interval '9 s', holder = 'web2:77:0', purpose = 'drain'")
    assert queue.holder(A) == Holder(None, "drain", "web2")
    assert str(queue.holder(A)) == "a process on web2 (drain)"


def test_two_at_once_claim_each_destination_once(queue: PostgresQueue, other: PostgresQueue) -> None:
    ids = [f"dst_{number}" for number in range(20)]
    queue.join(ids)
    accept(queue, 1)
    claimed = [queue.claim_due(ids, 12, "drain", 0), other.claim_due(ids, 12, "drain", 0)]
    assert [len(found) for found in claimed] == [12, 8]
    assert sorted(one.destination_id for found in claimed for one in found) == sorted(ids)


def test_the_store_and_the_log_of_others_are_seen_at_a_look(
    queue: PostgresQueue, other: PostgresQueue, url: str
) -> None:
    queue.join([A])
    queue.look([A], 0)
    before = queue.store_seen[1]
    accept(other, 1)
    query(url, "update ark.store set version = version + 1")
    assert queue.look([A], 0) == [A]
    assert queue.store_seen[1] == before + 1


def test_a_destination_behind_thousands_of_events_for_others_is_reached(opened: Open, url: str) -> None:
    queue = opened()
    queue.join([A, B])
    query(
        url,
        """
insert into ark.event (seq, id, name, at, addressed, bytes, "to", body)
select n, 'evt_' || n, 'ping', now(), n, n, array['dst_b'], 'x' from generate_series(1, 20500) n""",
    )
    accept(queue, 20_501)
    claims: list[Claim] = []
    for _ in range(2):
        assert claims == []
        assert queue.look([A], 0) == [A]
        claims = queue.claim_due([A], 1, "drain", 0)
    assert numbers(claims[0].take(0, 9)) == [(20_501, 1)]
    # What was looked through once is not looked through again, by whatever process.
    assert query(url, "select cursor from ark.share where id = 'dst_a'") == [(20_001,)]


def test_what_failed_in_the_future_is_seen_within_five_seconds_though_no_clock_was_seen_to_jump(
    queue: PostgresQueue, url: str, watch: Stopwatch
) -> None:
    queue.join([A])
    accept(queue, 1)
    first = claim(queue)
    queue.record([(first, [(delivery, BAD) for delivery in first.take(0, 1)])], 0)
    first.release()
    assert queue.look([A], 0) == []
    query(url, "update ark.pending set failed_at = now() + interval '1 hour', due_at = now() + interval '2 hours'")
    assert queue.look([A], 0) == []
    watch.sleep(5)
    assert queue.look([A], 0) == [A]
