"""First attempts of `ark send`: reserved, not claimed."""

from arkcli.model import Event, State
from arkcli.queue.engine import Holder
from arkcli.queue.postgres.queue import PostgresQueue
from tests.postgres import query
from tests.queue.postgres.conftest import Open
from tests.queue.postgres.opened import Stopwatch
from tests.queue.postgres.test_leases import claim
from tests.queue.test_engine import BAD, OK, A, B, accept, history, numbers, pending

#: Plays a time of 16 seconds that has passed.
LATER = "update ark.pending set due_at = due_at - interval '16 s' where holder is not null"


def test_many_sends_deliver_to_one_destination_at_once_up_to_eight(opened: Open) -> None:
    queues = [opened() for _ in range(5)]
    queues[0].join([A])
    events: list[Event] = []
    for number in range(10):
        events += accept(queues[0], number)
    made = [queues[number % 5].claim_first(event, [A], 1) for number, event in enumerate(events)]
    assert [len(found) for found in made] == [1] * 8 + [0, 0]
    ((first, delivery),) = made[0]
    queues[0].record([(first, [(delivery, OK)])], 0)
    assert len(queues[4].claim_first(events[8], [A], 1)) == 1
    assert queues[3].claim_first(events[9], [A], 1) == []


def test_where_a_drain_delivers_nothing_is_reserved_and_the_other_way_round_nothing_twice(
    queue: PostgresQueue, other: PostgresQueue
) -> None:
    queue.join([A, B])
    (event,) = accept(queue, 1)
    (reserved,) = queue.claim_first(event, [B], 1)
    accept(queue, 2)
    drains = other.claim_due([A, B], 2, "drain", 0)
    assert [numbers(found.take(0, 9)) for found in drains] == [[(1, 1), (2, 1)], [(2, 1)]]
    assert queue.claim_first(event, [A], 1) == []
    (told,) = queue.record([(reserved[0], [(reserved[1], OK)])], 0)
    assert list(told.states) == [State.DELIVERED]


def test_a_new_event_is_left_to_its_own_send_for_a_moment(
    queue: PostgresQueue, other: PostgresQueue, watch: Stopwatch
) -> None:
    queue.join([A])
    (event,) = accept(queue, 1)
    ((found, _),) = queue.claim_first(event, [A], 1)
    assert found.take_behind(8) == []
    (second,) = accept(other, 2)
    queue.look([], 0)
    watch.seconds += 0.2
    assert found.take_behind(8) == []
    assert len(other.claim_first(second, [A], 1)) == 1
    accept(other, 3)
    queue.look([], 0)
    watch.seconds += 0.2
    assert found.take_behind(8) == []
    watch.seconds += 0.2
    assert numbers(found.take_behind(8)) == [(3, 1)]


def test_what_a_killed_send_reserved_is_due_after_fifteen_seconds_with_the_same_number(
    queue: PostgresQueue, other: PostgresQueue, url: str
) -> None:
    queue.join([A])
    (event,) = accept(queue, 1)
    ((first, delivery),) = queue.claim_first(event, [A], 1)
    assert other.claim_due([A], 1, "drain", 0) == []
    query(url, LATER)
    assert other.look([A], 0) == [A]
    heir = claim(other)
    assert numbers(heir.take(0, 9)) == [(1, 1)]
    # It was not killed, but slept.
    (told,) = queue.record([(first, [(delivery, OK)])], 0)
    assert list(told.states) == [None]
    assert history(queue, A, "evt_1") == (None, [])


def test_a_reservation_is_renewed_while_its_attempt_lasts(
    queue: PostgresQueue, other: PostgresQueue, url: str, watch: Stopwatch
) -> None:
    queue.join([A])
    (event,) = accept(queue, 1)
    ((first, _),) = queue.claim_first(event, [A], 1)
    query(url, "update ark.pending set due_at = now() + interval '4 s'")
    watch.seconds += 6
    queue.look([], 0)
    ((left,),) = query(url, "select extract(epoch from due_at - now())::float8 from ark.pending")
    assert 14 <= left <= 15
    first.release()
    assert other.look([A], 0) == [A]
    assert pending(other, A) == [("evt_1", State.WAITING, 0)]


def test_a_failed_first_attempt_is_retried_by_the_schedule(queue: PostgresQueue, url: str) -> None:
    queue.join([A])
    (event,) = accept(queue, 1)
    ((first, delivery),) = queue.claim_first(event, [A], 1)
    (told,) = queue.record([(first, [(delivery, BAD)])], 0)
    first.release()
    assert list(told.states) == [State.RETRYING]
    assert pending(queue, A) == [("evt_1", State.RETRYING, 1)]
    ((holder, left),) = query(url, "select holder, extract(epoch from due_at - now())::float8 from ark.pending")
    assert holder is None
    assert 0 < left <= 1


def test_a_send_ends_the_lease_of_a_worker_that_died_before_it_delivers_itself(
    queue: PostgresQueue, other: PostgresQueue, url: str, watch: Stopwatch
) -> None:
    queue.join([A])
    accept(queue, 1)
    dead = claim(queue)
    dead.take(0, 1)
    (event,) = accept(other, 2)
    assert other.claim_first(event, [A], 1) == []
    query(url, "update ark.share set until = now() - interval '1 s'")
    assert len(other.claim_first(event, [A], 1)) == 1
    holder = other.holder(A)
    assert isinstance(holder, Holder)
    assert holder.purpose == "send"
    # It was not dead, but slept: it must not take what is under way there.
    watch.seconds += 6
    assert dead.take(0, 9) == []
