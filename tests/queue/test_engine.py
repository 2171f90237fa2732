"""What every queue engine has to do: the tests of the interface `arkcli.queue.engine`.

The tests use only the Protocols, so a new engine needs one more row in ENGINES: a function that takes an empty
directory and returns a function that opens the queue kept there. Each call of the latter plays another process: it sees
the same content, and cannot claim what another one has claimed.
"""

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from arkcli import times
from arkcli.errors import Busy, Held, UsageError
from arkcli.model import Answer, Attempt, Delivery, Draft, Event, Outcome, RetrySchedule, State, attempt_of
from arkcli.queue.engine import Claim, Holder, Queue, Record, Replay, Selection, Standing
from arkcli.queue.local.queue import LocalQueue
from arkcli.queue.outage import ASKED, Outage
from arkcli.queue.pace import LASTS, Terms, Turn
from tests.queue.memory import Content, MemoryQueue
from tests.world import START

#: Opens a queue again, as another process would.
Opener = Callable[[RetrySchedule], Queue]


def _local(path: Path) -> Opener:
    return lambda schedule: LocalQueue(path / "queue", schedule)


def _segmented(path: Path) -> Opener:
    """The local engine with a few lines per file, so that there is something to tidy up."""
    return lambda schedule: LocalQueue(path / "queue", schedule, 500)


def _memory(_path: Path) -> Opener:
    content = Content()
    return lambda schedule: MemoryQueue(schedule, content)


def _postgres(_path: Path) -> Opener:
    from tests.queue.postgres.opened import opener

    return opener()


ENGINES: Final[dict[str, Callable[[Path], Opener]]] = {
    "local": _local,
    "segmented": _segmented,
    "memory": _memory,
    "postgres": _postgres,
}

SCHEDULE: Final = RetrySchedule((1_000, 2_000, 4_000, 8_000))
#: Longer than any delay.
LATER: Final = 10_000
A: Final = "dst_a"
B: Final = "dst_b"
C: Final = "dst_c"
OK: Final = Answer(200, None, 3)
BAD: Final = Answer(500, "HTTP 500", 3)
WAITING, RETRYING, DEAD = State.WAITING, State.RETRYING, State.DEAD
NOTHING: Final = (0, (0, 0, 0, 0), 0)


class Shared:
    """A queue, opened by as many processes as a test likes."""

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        self._opened: list[Queue] = []

    def open(self, schedule: RetrySchedule = SCHEDULE) -> Queue:
        self._opened.append(self._opener(schedule))
        return self._opened[-1]

    def close(self, queue: Queue) -> None:
        self._opened.remove(queue)
        queue.close()

    def close_all(self) -> None:
        for queue in list(self._opened):
            self.close(queue)


@pytest.fixture(params=ENGINES)
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shared]:
    found = Shared(ENGINES[request.param](tmp_path))
    yield found
    found.close_all()


@pytest.fixture
def queue(shared: Shared) -> Queue:
    return shared.open()


@pytest.fixture
def other(shared: Shared) -> Queue:
    """A second process."""
    return shared.open()


def draft(number: int, to: tuple[str, ...] | None = None, body: bytes = b"", name: str = "signal.promoted") -> Draft:
    return Draft(f"evt_{number}", name, times.to_text(START + number), body or b'{"number":%d}' % number, to)


def accept(queue: Queue, *numbers: int, to: tuple[str, ...] | None = None) -> list[Event]:
    return list(queue.accept([draft(number, to) for number in numbers]))


def plain(event: Event | Draft) -> tuple[object, ...]:
    """An event without the fields that an engine adds."""
    return event.id, event.name, event.at, event.body, event.to


def numbers(found: Iterable[Delivery]) -> list[tuple[int, int]]:
    """Deliveries as (number of the event, attempt)."""
    return [(int(delivery.event.id.removeprefix("evt_")), delivery.attempt) for delivery in found]


def take_behind(queue: Queue, found: Claim, most: int) -> list[Delivery]:
    """Takes what is behind a first attempt. An engine may leave it to the process that accepted it for a moment."""
    for now in range(START, START + 1_000, 200):
        queue.look((), now)
        if taken := found.take_behind(most):
            return list(taken)
    return []


def claim(queue: Queue, destination: str, now: int = START, purpose: str = "drain") -> Claim:
    """Claims a destination that has something due."""
    queue.look([destination], now)
    (found,) = queue.claim_due([destination], 1, purpose, now)
    return found


def claimable(queue: Queue, now: int, *ids: str) -> list[str]:
    """The destinations that could be claimed, in order."""
    queue.look(ids, now)
    claims = queue.claim_due(ids, len(ids), "drain", now)
    for found in claims:
        found.release()
    return [found.destination_id for found in claims]


def take_all(found: Claim, now: int) -> list[Delivery]:
    taken: list[Delivery] = []
    while deliveries := found.take(now, 3):
        taken += deliveries
        # An engine that returns deliveries twice would never finish.
        assert len(taken) < 100
    return taken


def attempt_all(queue: Queue, destination: str, answer: Answer, now: int) -> list[tuple[int, int]]:
    """Attempts what is due, records the same answer for all of it, and returns what it attempted."""
    queue.look([destination], now)
    taken: list[Delivery] = []
    for found in queue.claim_due([destination], 1, "drain", now):
        taken += take_all(found, now)
        queue.record([(found, [(delivery, answer) for delivery in taken])], now)
        found.release()
    return numbers(taken)


def fail(queue: Queue, destination: str, failures: int, now: int = START) -> int:
    """Makes attempts at what is due fail, with time between them; returns when the last one failed."""
    for count in range(failures):
        now += LATER if count else 0
        assert attempt_all(queue, destination, BAD, now)
    return now


def drained(queue: Queue, destination: str, now: int, answer: Answer = BAD) -> list[list[tuple[int, int]]]:
    """The attempts made over time, until nothing is left to do."""
    return [attempt_all(queue, destination, answer, now + count * LATER) for count in range(7)]


def standing(queue: Queue, destination: str) -> Standing:
    with closing(queue.view(destination)) as view:
        return view.standing()


def counts(queue: Queue, destination: str) -> tuple[int, tuple[int, ...], int]:
    return standing(queue, destination)[:3]


def pending(queue: Queue, destination: str, chosen: Selection | None = None) -> list[tuple[str, State, int]]:
    with closing(queue.view(destination)) as view:
        return [(found.event.id, found.state, found.attempt) for found in view.deliveries(chosen)]


def attempts(queue: Queue, destination: str) -> list[Attempt]:
    with closing(queue.view(destination)) as view:
        return list(view.attempts())


def history(queue: Queue, destination: str, event_id: str) -> tuple[State | None, list[int]]:
    """An event's state, and the numbers of its attempts."""
    with closing(queue.view(destination)) as view:
        state, made = view.history(event_id)
        return state, [attempt.attempt for attempt in made]


def is_waiting(queue: Queue, destination: str, event: Event) -> bool:
    with closing(queue.view(destination)) as view:
        return view.is_waiting(event)


def of(*ids: str, to: tuple[str, ...] = (A,), dead: bool = False) -> Selection:
    return Selection(destination_ids=to, event_ids=frozenset(ids), dead=dead)


# --- joining and leaving


def test_a_destination_gets_what_is_accepted_after_it_joined_and_nothing_before(queue: Queue) -> None:
    queue.join([A])
    accept(queue, 1)
    queue.join([A, B])
    accept(queue, 2)
    queue.join([B, A])
    assert attempt_all(queue, A, OK, START) == [(1, 1), (2, 1)]
    assert attempt_all(queue, B, OK, START) == [(2, 1)]


def test_what_was_addressed_to_a_destination_before_it_joined_is_not_for_it(queue: Queue) -> None:
    accept(queue, 1, to=(A,))
    queue.join([A])
    assert counts(queue, A) == NOTHING
    assert claimable(queue, START, A) == []


def test_joining_again_forgets_nothing(queue: Queue, other: Queue) -> None:
    queue.join([A])
    accept(queue, 1, 2)
    fail(queue, A, 1)
    other.join([A, B])
    assert pending(queue, A) == [("evt_1", RETRYING, 1), ("evt_2", RETRYING, 1)]
    assert pending(queue, B) == []


def test_leaving_tells_how_many_deliveries_were_undone_the_dead_ones_included(queue: Queue) -> None:
    queue.join([A, B])
    accept(queue, 1)
    now = fail(queue, A, 5)
    accept(queue, 2)
    fail(queue, A, 1, now)
    accept(queue, 3, 4)
    assert queue.leave(A) == 4
    assert queue.standings([A, B]).keys() == {B}
    assert counts(queue, B) == (4, (0, 0, 0, 0), 0)


def test_who_joins_again_begins_anew(queue: Queue, other: Queue) -> None:
    queue.join([A])
    accept(queue, 1)
    fail(queue, A, 1)
    queue.leave(A)
    other.join([A])
    for one in (queue, other):
        assert standing(one, A) == Standing(0, (0, 0, 0, 0), 0, None, None, None)
        assert attempts(one, A) == []
    accept(queue, 2)
    assert attempt_all(queue, A, OK, START + LATER) == [(2, 1)]


def test_a_destination_does_not_leave_while_somebody_delivers_to_it(queue: Queue, other: Queue) -> None:
    queue.join([A])
    accept(queue, 1)
    found = claim(queue, A)
    with pytest.raises(Held, match=r"\(drain\)") as raised:
        other.leave(A)
    assert raised.value.destination_id == A
    assert counts(other, A) == (1, (0, 0, 0, 0), 0)
    found.release()
    assert other.leave(A) == 1


# --- accepting, and the log


BODIES: Final = {
    "nothing": b"{}",
    "white-space": b' { "a" : 1 } ',
    "newlines": b'{\n  "a": 1\n}\n',
    "carriage-returns": b'{\r\n"a":1\r\n}',
    "unicode": '{"name":"Åsa \U0001f680 \u2028","body":{}}'.encode(),
    "escapes": b'{"a":"\\u0000\\n\\"","instead":{"dst_a":[1,2,3]},"action":"drop"}',
    "a-mebibyte": b'{"a":"%b"}' % (b"x" * (1 << 20)),
    "a-mebibyte-of-lines": b'{"a":[\n%b0]}' % (b"0,\n" * (1 << 18)),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_body_comes_back_byte_for_byte_on_every_attempt_and_everywhere(
    queue: Queue, other: Queue, body: bytes
) -> None:
    queue.join([A])
    (event,) = queue.accept([draft(1, body=body)])
    assert event.body == body
    for count in range(5):
        now = START + count * LATER
        found = claim(other, A, now)
        (delivery,) = found.take(now, 9)
        assert delivery.event.body == body
        other.record([(found, [(delivery, BAD)])], now)
        found.release()
    with closing(queue.view(A)) as view:
        assert [one.event.body for one in view.deliveries()] == [body]
    kept = queue.find("evt_1")
    assert kept is not None
    assert [kept.body, *(one.body for one in queue.events())] == [body, body]


@pytest.mark.parametrize(
    ("to", "gets"),
    [
        (None, {A: 1, B: 1, C: 1}),
        ((A,), {A: 1, B: 0, C: 0}),
        ((C, A), {A: 1, B: 0, C: 1}),
        (("dst_elsewhere",), {A: 0, B: 0, C: 0}),
        ((), {A: 0, B: 0, C: 0}),
    ],
)
def test_an_event_is_for_those_whom_it_names_or_for_all(
    queue: Queue, to: tuple[str, ...] | None, gets: dict[str, int]
) -> None:
    queue.join([A, B, C])
    (event,) = accept(queue, 1, to=to)
    assert event.to == to
    assert {name: found.waiting for name, found in queue.standings(gets).items()} == gets
    assert {name: len(attempt_all(queue, name, OK, START)) for name in gets} == gets


def test_events_are_kept_and_delivered_in_the_order_in_which_they_were_accepted(queue: Queue, other: Queue) -> None:
    queue.join([A])
    drafts = [draft(number, to=(A,) if number % 3 == 0 else None) for number in range(12)]
    events = [*queue.accept(drafts[:5]), *other.accept(drafts[5:6]), *queue.accept([]), *queue.accept(drafts[6:])]
    assert [plain(event) for event in events] == [plain(one) for one in drafts]
    other.look([A], START)
    assert [plain(event) for event in other.events()] == [plain(one) for one in drafts]
    assert attempt_all(other, A, OK, START) == [(number, 1) for number in range(12)]


@pytest.mark.parametrize("again", ["in-the-same-batch", "later", "by-another"])
def test_an_id_that_was_accepted_before_gives_its_first_event_where_ids_are_unique(
    queue: Queue, other: Queue, again: str
) -> None:
    queue.join([A])
    drafts = [draft(1, body=b'{"a":1}'), draft(2), draft(1, body=b'{"a":2}')]
    if again == "in-the-same-batch":
        events = queue.accept(drafts, unique=True)
    else:
        later = queue if again == "later" else other
        events = [*queue.accept(drafts[:2]), *later.accept(drafts[2:], unique=True)]
    assert [plain(event) for event in events] == [plain(one) for one in (*drafts[:2], drafts[0])]
    assert attempt_all(queue, A, OK, START) == [(1, 1), (2, 1)]
    assert queue.totals.events == 2


def test_without_that_an_id_may_come_twice_and_is_found_as_the_first(queue: Queue) -> None:
    queue.join([A])
    events = queue.accept([draft(1, body=b'{"a":1}'), draft(1, body=b'{"a":2}')])
    assert [event.body for event in events] == [b'{"a":1}', b'{"a":2}']
    assert attempt_all(queue, A, OK, START) == [(1, 1), (1, 1)]
    found = queue.find("evt_1")
    assert found is not None
    assert found.body == b'{"a":1}'


@pytest.mark.parametrize("unknown", ["evt_", "evt_11", "evt", "signal.promoted", "number", '"', "%", "_"])
def test_only_a_whole_id_is_found(queue: Queue, other: Queue, unknown: str) -> None:
    accept(queue, 1)
    other.look([], START)
    for one in (queue, other):
        assert one.find(unknown) is None
        found = one.find("evt_1")
        assert found is not None
        assert plain(found) == plain(draft(1))


@pytest.mark.parametrize(
    ("beginning", "found"),
    [
        ("evt_2", ["evt_2"]),
        ("evt_1", ["evt_1", "evt_10"]),
        ("evt_11", ["evt_11"]),
        ("evt_", ["evt_1", "evt_10"]),
        ("", ["evt_1", "evt_10"]),
        ("evt_3", []),
        ("2", []),
        ("signal", []),
    ],
)
def test_by_a_beginning_at_most_two_ids_are_found(queue: Queue, other: Queue, beginning: str, found: list[str]) -> None:
    accept(queue, 11, 2, 10, 1)
    queue.accept([draft(2, body=b'{"again":true}')])
    other.look([], START)
    for one in (queue, other):
        events = one.find_prefix(beginning)
        assert [event.id for event in events] == found
        assert all(plain(event) == plain(draft(int(event.id[4:]))) for event in events)


def test_the_newest_events_are_the_end_of_the_log_of_about_so_many_bytes(queue: Queue) -> None:
    assert list(queue.recent_events(1_000)) == []
    queue.accept([draft(number, body=b'"%b"' % (b"x" * 998)) for number in range(20)])
    everything = [event.id for event in queue.events()]
    assert [event.id for event in queue.recent_events(1 << 20)] == everything
    newest = [event.id for event in queue.recent_events(8_000)]
    assert 4 <= len(newest) <= 12
    assert newest == everything[-len(newest) :]


def test_the_totals_are_those_of_the_log(queue: Queue, other: Queue) -> None:
    assert queue.totals == (0, 0)
    queue.join([A])
    accept(queue, 1, 2)
    queue.accept([draft(3, to=(A,), body=b"x" * 5_000)])
    attempt_all(queue, A, OK, START)
    other.look([], START)
    for one in (queue, other):
        assert one.totals.events == 3
        assert 5_000 < one.totals.size < 8_000


def test_an_event_that_is_sent_again_counts_once(queue: Queue, other: Queue) -> None:
    queue.join([A, B])
    accept(queue, 1, 2, 3)
    accept(queue, 4, to=(A,))
    now = fail(queue, A, 1)
    assert queue.retry(of("evt_1", "evt_4"), now) == 2
    fail(queue, B, 5)
    assert queue.retry(of(to=(B,), dead=True), now) == 3
    assert queue.replay(Replay(destination_ids=(A, B), everybody=True, event_ids=frozenset(["evt_2"])), now) == 1
    other.look([], START)
    for one in (queue, other):
        assert one.totals.events == 4


# --- looking and claiming


def test_destinations_are_claimed_in_the_order_given_and_at_most_so_many(queue: Queue) -> None:
    queue.join([A, B, C])
    accept(queue, 1)
    claims = queue.claim_due([C, A, B], 2, "drain", START)
    assert [found.destination_id for found in claims] == [C, A]
    assert queue.claim_due([B], 0, "drain", START) == []
    assert [found.destination_id for found in queue.claim_due([A, B, C], 9, "drain", START)] == [B]


def test_what_has_nothing_due_is_not_claimed_and_does_not_count(queue: Queue) -> None:
    queue.join([A, B, C])
    accept(queue, 1, to=(A, C))
    fail(queue, A, 1)
    accept(queue, 2, to=(C,))
    assert [found.destination_id for found in queue.claim_due([A, B, C], 1, "drain", START + 999)] == [C]


def test_what_one_has_claimed_no_other_can_until_it_is_released(queue: Queue, other: Queue) -> None:
    queue.join([A, B])
    accept(queue, 1)
    found = claim(queue, A)
    assert claimable(other, START, A, B) == [B]
    assert claimable(queue, START, A, B) == [B]
    found.release()
    assert claimable(other, START, A, B) == [A, B]


def test_who_holds_a_destination_is_told_to_everybody_in_words(queue: Queue, other: Queue) -> None:
    queue.join([A, B])
    assert queue.holder(A) is None
    accept(queue, 1)
    for purpose in ("a rather long purpose", "drain"):
        found = claim(queue, A, purpose=purpose)
        for one in (queue, other):
            assert one.holder(A) == Holder(os.getpid(), purpose)
            assert one.holder(B) is None
        found.release()
        assert other.holder(A) is None
    assert queue.holder("dst_elsewhere") is None


def test_looking_finds_what_is_due_also_where_another_has_claimed_it(queue: Queue, other: Queue) -> None:
    queue.join([A, B])
    accept(queue, 1)
    found = claim(queue, A)
    assert list(other.look([B, A], START)) == [B, A]
    found.take(START, 9)
    assert list(other.look([B, A], START)) == [B, A]
    assert list(other.look([], START)) == []


def test_where_nothing_was_due_looking_finds_nothing_until_the_next_retry(queue: Queue) -> None:
    queue.join([A, B])
    accept(queue, 1)
    queue.look([A, B], START)
    fail(queue, A, 1)
    assert list(queue.look([A, B], START)) == [B]
    assert attempt_all(queue, B, OK, START)
    assert list(queue.look([A, B], START + 999)) == []
    assert list(queue.look([A, B], START + 1_000)) == [A]
    assert attempt_all(queue, A, BAD, START + 1_000) == [(1, 2)]
    assert list(queue.look([A, B], START + 2_999)) == []
    assert list(queue.look([A, B], START + 3_000)) == [A]


def test_where_nothing_was_due_looking_finds_what_is_accepted_since(queue: Queue, other: Queue) -> None:
    queue.join([A])
    queue.look([A], START)
    assert claimable(queue, START, A) == []
    assert list(queue.look([A], START)) == []
    accept(other, 1)
    assert list(queue.look([A], START)) == [A]
    assert attempt_all(queue, A, OK, START) == [(1, 1)]
    assert list(queue.look([A], START)) == []
    accept(queue, 2, to=(A,))
    assert list(queue.look([A], START)) == [A]


@pytest.mark.parametrize("recorded", [0, 1])
def test_looking_finds_again_what_was_released_with_something_due(queue: Queue, recorded: int) -> None:
    queue.join([A])
    accept(queue, 1, 2)
    queue.look([A], START)
    found = claim(queue, A)
    taken = found.take(START, 1 + recorded)
    queue.record([(found, [(delivery, OK) for delivery in taken[:recorded]])], START)
    found.release()
    assert list(queue.look([A], START)) == [A]
    assert attempt_all(queue, A, OK, START) == ([(2, 1)] if recorded else [(1, 1), (2, 1)])


@pytest.mark.parametrize("action", ["retry", "replay"])
def test_looking_finds_what_an_operator_made_due(queue: Queue, other: Queue, action: str) -> None:
    queue.join([A])
    accept(queue, 1)
    queue.look([A], START)
    fail(queue, A, 1)
    assert list(queue.look([A], START + 1)) == []
    assert act(other, action, "evt_1", START + 1) == 1
    assert list(queue.look([A], START + 1)) == [A]
    assert attempt_all(queue, A, OK, START + 1) == [(1, 1)]


def act(queue: Queue, action: str, event_id: str, now: int) -> int:
    """Sends an event again to A, by retrying or by replaying it."""
    if action == "retry":
        return queue.retry(of(event_id), now)
    return queue.replay(Replay(destination_ids=(A,), everybody=False, event_ids=frozenset([event_id])), now)


# --- taking


def test_what_has_been_due_longest_comes_first(queue: Queue) -> None:
    queue.join([A])
    accept(queue, 0, 1)
    fail(queue, A, 1, START + 10)
    accept(queue, 500, 2_000)
    attempt_all(queue, A, BAD, START + 1_010)
    # After a second failure at that time the retry is due at 3,010; after a first failure, at 2,010.
    accept(queue, 2_009, 2_011, 3_500)
    found = claim(queue, A, START + LATER)
    due = [(2009, 1), (500, 2), (2000, 2), (2011, 1), (0, 3), (1, 3), (3500, 1)]
    assert numbers(take_all(found, START + LATER)) == due


def test_at_most_so_many_are_taken_and_nothing_twice_while_it_is_in_flight(queue: Queue) -> None:
    queue.join([A])
    accept(queue, 1, 2, 3)
    fail(queue, A, 1)
    accept(queue, 4, 5)
    now = START + LATER
    found = claim(queue, A, now)
    assert found.take(now, 0) == []
    assert len(found.take(now, 2)) == 2
    assert len(found.take(now, 2)) == 2
    last = found.take(now, 2)
    assert len(last) == 1
    assert found.take(now, 2) == []
    queue.record([(found, [(last[0], OK)])], now)
    queue.look([A], now)
    assert found.take(now, 2) == []


def test_what_was_taken_and_not_recorded_is_due_again_when_the_claim_is_given_back(queue: Queue, other: Queue) -> None:
    queue.join([A])
    accept(queue, 1, 2)
    fail(queue, A, 1)
    accept(queue, 3)
    now = START + LATER
    found = claim(queue, A, now)
    before = numbers(take_all(found, now))
    assert sorted(before) == [(1, 2), (2, 2), (3, 1)]
    found.release()
    assert attempt_all(other, A, OK, now) == before


def test_a_claim_goes_on_with_what_is_accepted_while_it_is_held(queue: Queue, other: Queue) -> None:
    queue.join([A])
    accept(queue, 1)
    found = claim(queue, A)
    assert numbers(take_all(found, START)) == [(1, 1)]
    accept(other, 2)
    queue.look([], START)
    assert numbers(take_all(found, START)) == [(2, 1)]


def test_a_first_attempt_is_due_whatever_the_clock_says(queue: Queue) -> None:
    queue.join([A])
    accept(queue, 1)
    assert attempt_all(queue, A, OK, START - 3_600_000) == [(1, 1)]


def test_when_the_next_delivery_falls_due_leaves_out_what_is_in_flight(queue: Queue) -> None:
    queue.join([A])
    accept(queue, 1)
    fail(queue, A, 1, START + 10)
    accept(queue, 5)
    found = claim(queue, A, START + 20)
    assert found.next_due_at() == START + 5
    (delivery,) = found.take(START + 20, 9)
    assert found.next_due_at() == START + 1_010
    queue.record([(found, [(delivery, BAD)])], START + 30)
    assert found.next_due_at() == START + 1_010
    assert numbers(found.take(START + 1_020, 9)) == [(1, 2)]
    assert found.next_due_at() == START + 1_030
    assert numbers(found.take(START + 1_030, 9)) == [(5, 2)]
    assert found.next_due_at() is None


def test_nothing_falls_due_for_what_is_delivered_or_dead(queue: Queue) -> None:
    queue.join([A])
    accept(queue, 1)
    now = fail(queue, A, 5)
    accept(queue, 2)
    found = claim(queue, A, now)
    taken = found.take(now, 9)
    queue.record([(found, [(delivery, OK) for delivery in taken])], now)
    assert found.next_due_at() is None
    assert standing(queue, A).next_due_at is None


# --- recording


def test_each_result_is_told_where_it_leaves_its_delivery(queue: Queue) -> None:
    queue.join([A, B])
    accept(queue, 1, to=(A,))
    now = fail(queue, A, 4) + LATER
    accept(queue, 2, 3, to=(A,))
    accept(queue, 4, to=(B,))
    claims = queue.claim_due([A, B], 2, "drain", now)
    answers = {"evt_1": BAD, "evt_2": OK, "evt_3": BAD, "evt_4": OK}
    results = [(found, [(one, answers[one.event.id]) for one in take_all(found, now)]) for found in claims]
    expected = {"evt_1": DEAD, "evt_2": State.DELIVERED, "evt_3": RETRYING, "evt_4": State.DELIVERED}
    recorded = queue.record(results, now)
    assert [(list(told.states), told.error) for told in recorded] == [
        ([expected[delivery.event.id] for delivery, _ in part], None) for _, part in results
    ]
    assert pending(queue, A) == [("evt_3", RETRYING, 1), ("evt_1", DEAD, 5)]
    assert pending(queue, B) == []
    assert queue.record([(claims[0], [])], now)[0].states == []


@pytest.mark.parametrize(
    ("answer", "is_delivered"),
    [
        (Answer(200, None, 1), True),
        (Answer(299, None, 1, "fine"), True),
        (Answer(199, None, 1), False),
        (Answer(302, None, 1), False),
        (Answer(200, "cut off", 1), False),
        (Answer(None, "timed out", 10_000, timed_out=True), False),
        (Answer(500, 'HTTP "500" \\ \n \u2028', 1, "<h1>\N{ROCKET}\0</h1>"), False),
    ],
)
def test_an_attempt_is_told_of_as_it_was_recorded(
    queue: Queue, other: Queue, answer: Answer, is_delivered: bool
) -> None:
    queue.join([A])
    accept(queue, 1)
    found = claim(queue, A)
    (delivery,) = found.take(START, 1)
    (told,) = queue.record([(found, [(delivery, answer)])], START + 7)
    assert told.states == [State.DELIVERED if is_delivered else RETRYING]
    assert attempts(other, A) == [attempt_of(delivery, answer, START + 7)]
    assert standing(other, A).last == attempt_of(delivery, answer, START + 7)
    with closing(other.view(A)) as view:
        left = [(one.last_status, one.last_error) for one in view.deliveries()]
        assert left == ([] if is_delivered else [(answer.status, answer.error)])


LIVES: Final = [
    RetrySchedule(()),
    RetrySchedule((1_000,)),
    RetrySchedule((1_000, 2_500)),
    SCHEDULE,
    RetrySchedule((1, 10, 10, 5, 60_000, 500, 86_400_000, 2)),
]


@pytest.mark.parametrize("schedule", LIVES, ids=lambda schedule: f"{len(schedule.delays)}-delays")
def test_a_delivery_is_never_early_and_on_time_until_its_last_attempt_has_failed(
    shared: Shared, schedule: RetrySchedule
) -> None:
    queue, other = shared.open(schedule), shared.open(schedule)
    queue.join([A])
    accept(queue, 1)
    now = START + 5
    assert attempt_all(queue, A, BAD, now) == [(1, 1)]
    for failed, delay in enumerate(schedule.delays, start=1):
        assert pending(queue, A) == [("evt_1", RETRYING, failed)]
        retrying = tuple(int(lane == failed) for lane in range(1, len(schedule.delays) + 1))
        assert standing(other, A)[:4] == (0, retrying, 0, now + delay)
        assert attempt_all(other, A, BAD, now) == []
        assert attempt_all(other, A, BAD, now + delay - 1) == []
        now += delay
        assert attempt_all(other if failed % 2 else queue, A, BAD, now) == [(1, failed + 1)]
    assert pending(queue, A) == [("evt_1", DEAD, len(schedule.delays) + 1)]
    assert standing(other, A)[:4] == (0, (0,) * len(schedule.delays), 1, None)
    assert attempt_all(queue, A, BAD, now + 10**9) == []
    assert len(attempts(queue, A)) == len(schedule.delays) + 1


@pytest.mark.parametrize("schedule", LIVES[1:], ids=lambda schedule: f"{len(schedule.delays)}-delays")
def test_a_retry_is_due_when_the_clock_was_set_back_behind_the_failure(shared: Shared, schedule: RetrySchedule) -> None:
    queue = shared.open(schedule)
    queue.join([A])
    accept(queue, 1)
    for attempt in range(1, len(schedule.delays) + 2):
        assert list(queue.look([A], START - 6_000 * attempt)) == [A]
        assert attempt_all(queue, A, BAD, START - 6_000 * attempt) == [(1, attempt)]
    assert pending(queue, A) == [("evt_1", DEAD, len(schedule.delays) + 1)]


def test_who_read_the_clock_just_before_another_recorded_a_failure_does_not_retry_at_once(
    queue: Queue, other: Queue
) -> None:
    queue.join([A])
    accept(queue, 1)
    first = claim(queue, A)
    assert list(other.look([A], START)) == [A]
    queue.record([(first, [(delivery, BAD) for delivery in first.take(START, 1)])], START + 2)
    first.release()
    claims = other.claim_due([A], 1, "drain", START)
    assert [numbers(found.take(START, 1)) for found in claims] == []
    assert other.standings([A], START)[A].next_due_at == START + 1_002
    assert claimable(other, START + 1_001, A) == []
    assert claimable(other, START + 1_002, A) == [A]


def test_what_a_wrong_clock_dated_in_the_future_is_told_to_be_due_now(queue: Queue) -> None:
    queue.join([A, B])
    accept(queue, 1, 2)
    assert attempt_all(queue, A, BAD, START + 365 * 86_400_000) == [(1, 1), (2, 1)]
    for name, now in ((A, START + 60_000), (B, START - 60_000)):
        with closing(queue.view(name)) as view:
            assert [one.next_attempt_at for one in view.deliveries(now=now)] == [now, now]
            assert view.standing(now).next_due_at == now
            # Due times in the past are reported as usual; so are all of them without `now`.
            assert view.standing(now).oldest_at == START + 1
        assert queue.standings([name], now)[name].next_due_at == now
        assert claimable(queue, now, name) == [name]
    with closing(queue.view(A)) as view:
        assert view.standing().next_due_at == START + 365 * 86_400_000 + 1_000


@pytest.mark.parametrize("delivered", [1, 2, 3, 4, 5])
def test_what_was_delivered_is_done_with(queue: Queue, delivered: int) -> None:
    queue.join([A])
    accept(queue, 1)
    now = fail(queue, A, delivered - 1) + LATER
    assert attempt_all(queue, A, OK, now) == [(1, delivered)]
    assert counts(queue, A) == NOTHING
    assert drained(queue, A, now) == [[]] * 7
    assert history(queue, A, "evt_1") == (State.DELIVERED, list(range(1, delivered + 1)))


def test_results_may_be_recorded_in_any_order(queue: Queue) -> None:
    queue.join([A])
    accept(queue, 1, 2, 3, 4)
    found = claim(queue, A)
    taken = take_all(found, START)
    for index, answer in ((2, OK), (0, BAD), (3, BAD), (1, OK)):
        queue.record([(found, [(taken[index], answer)])], START + index)
    found.release()
    assert sorted(pending(queue, A)) == [("evt_1", RETRYING, 1), ("evt_4", RETRYING, 1)]
    assert sorted(attempt_all(queue, A, OK, START + LATER)) == [(1, 2), (4, 2)]


# --- the first attempt at once


def test_the_first_attempt_at_an_event_is_made_out_of_turn_and_only_once(queue: Queue, other: Queue) -> None:
    queue.join([A, B])
    accept(queue, 1)
    (event,) = accept(queue, 2)
    firsts = queue.claim_first(event, [B, A], 9)
    assert [(found.destination_id, numbers([delivery])) for found, delivery in firsts] == [
        (B, [(2, 1)]),
        (A, [(2, 1)]),
    ]
    assert queue.holder(A) == Holder(os.getpid(), "send")
    assert other.claim_first(event, [A, B], 9) == []
    recorded = queue.record([(found, [(delivery, OK)]) for found, delivery in firsts], START)
    assert [list(told.states) for told in recorded] == [[State.DELIVERED]] * 2
    for found, _ in firsts:
        found.release()
    assert other.claim_first(event, [A, B], 9) == []
    assert queue.claim_first(event, [A, B], 9) == []
    assert other.holder(A) is None
    assert attempt_all(other, A, OK, START) == [(1, 1)]


@pytest.mark.parametrize("action", ["retry", "replay"])
@pytest.mark.parametrize("failures", [1, 5])
def test_what_was_sent_again_is_attempted_at_once_and_only_once(
    queue: Queue, other: Queue, action: str, failures: int
) -> None:
    queue.join([A])
    accept(queue, 1)
    now = fail(queue, A, failures)
    accept(queue, 2)
    assert act(other, action, E1, now) == 1
    queue.look([A], now)
    with closing(queue.view(A)) as view:
        (again,) = view.deliveries(of(E1))
    ((found, delivery),) = queue.claim_first(again.event, [A], 1)
    assert numbers([delivery]) == [(1, 1)]
    queue.record([(found, [(delivery, OK)])], now)
    found.release()
    assert queue.claim_first(again.event, [A], 1) == []
    # What it replaced is not attempted, too.
    assert drained(queue, A, now + LATER, OK) == [[(2, 1)], [], [], [], [], [], []]


def test_what_was_sent_again_but_went_on_before_that_is_not_claimed(queue: Queue, other: Queue) -> None:
    queue.join([A])
    accept(queue, 1)
    now = fail(queue, A, 1) + LATER
    found = claim(queue, A, now)
    (delivery,) = found.take(now, 9)
    assert act(other, "retry", E1, now) == 1
    other.look([A], now)
    with closing(other.view(A)) as view:
        (again,) = view.deliveries(of(E1))
    queue.record([(found, [(delivery, OK)])], now)
    found.release()
    assert other.claim_first(again.event, [A], 1) == []
    assert claimable(other, now, A) == []


def test_at_most_so_many_destinations_are_claimed_for_a_first_attempt(queue: Queue, other: Queue) -> None:
    queue.join([A, B, C])
    (event,) = accept(queue, 1)
    assert queue.claim_first(event, [A, B, C], 0) == []
    assert [found.destination_id for found, _ in queue.claim_first(event, [C, A, B], 2)] == [C, A]
    assert [found.destination_id for found, _ in other.claim_first(event, [C, A, B], 2)] == [B]


def test_a_claim_for_a_first_attempt_does_not_take_it_twice(queue: Queue) -> None:
    queue.join([A])
    (event,) = accept(queue, 1)
    accept(queue, 2)
    ((found, first),) = queue.claim_first(event, [A], 1)
    assert numbers(take_all(found, START)) == [(2, 1)]
    queue.record([(found, [(first, BAD)])], START)
    assert take_all(found, START) == []
    assert numbers(take_all(found, START + 1_000)) == [(1, 2)]


def test_who_makes_a_first_attempt_takes_what_is_accepted_behind_it_too(queue: Queue, other: Queue) -> None:
    queue.join([A])
    accept(queue, 1)
    (event,) = accept(queue, 2)
    ((found, own),) = queue.claim_first(event, [A], 1)
    assert numbers([own]) == [(2, 1)]
    assert numbers(found.take_behind(8)) == []
    accept(other, 3, 4, 5)
    assert numbers(take_behind(queue, found, 2)) == [(3, 1), (4, 1)]
    taken = take_behind(queue, found, 8)
    assert numbers(taken) == [(5, 1)]
    queue.record([(found, [(own, OK), (taken[0], OK)])], START)
    found.release()
    # Events accepted earlier are left to others, and attempts that were not recorded are due again.
    assert attempt_all(other, A, OK, START) == [(1, 1), (3, 1), (4, 1)]


def test_a_claim_for_what_is_due_has_nothing_behind(queue: Queue) -> None:
    queue.join([A])
    accept(queue, 1, 2)
    found = claim(queue, A)
    assert numbers(found.take_behind(8)) == []
    found.release()


def test_what_is_noted_of_a_receiver_that_is_away_is_there_for_whoever_holds_it_next(
    queue: Queue, other: Queue
) -> None:
    outage = Outage(since=START, until=START + 500, probes=0, error="refused")
    queue.join([A, B])
    accept(queue, 1)
    found = claim(queue, A)
    assert (found.outage, standing(other, A).outage) == (None, None)
    found.note(outage)
    found.release()
    assert (standing(other, A).outage, standing(other, B).outage) == (outage, None)
    found = claim(other, A)
    assert found.outage == outage
    found.note(None)
    assert found.outage is None
    found.release()
    assert standing(queue, A).outage is None


def test_who_holds_a_destination_hears_at_the_next_look_that_its_receiver_asked_another_to_wait(
    queue: Queue, other: Queue
) -> None:
    asked = Outage(since=START, until=START + 60_000, probes=0, error="429, Retry-After", reason=ASKED)
    queue.join([A])
    events = accept(queue, 1, 2)
    ((first, _),) = queue.claim_first(events[0], [A], 1)
    other.look([A], START)
    for held in other.claim_due([A], 1, "drain", START):
        # Only an engine in which a first attempt takes no claim comes here.
        first.note(asked)
        other.look([], START)
        assert held.outage == asked
        held.release()
    first.release()


TWO_A_SECOND: Final = Terms(2, 1_000, None)


def attempt_of_turn(queue: Queue, found: Claim, terms: Terms, now: int) -> int:
    """Attempts as many as may begin, up to 3, and returns how many those were."""
    turn = found.admit(terms, 3, now)
    taken = found.take(now, turn.count)
    found.give_back(turn.count - len(taken))
    queue.record([(found, [(delivery, OK) for delivery in taken])], now)
    return len(taken)


def test_a_rate_binds_all_who_hold_a_destination_one_after_the_other(queue: Queue, other: Queue) -> None:
    queue.join([A])
    accept(queue, *range(1, 9))
    for holder, now, made in (
        (queue, START + 10, 2),
        (other, START + 500, 0),
        (other, START + 1_020, 2),
        (queue, START + 1_500, 0),
        (queue, START + 2_040, 2),
    ):
        found = claim(holder, A, now)
        assert found.is_due(now)
        assert attempt_of_turn(holder, found, TWO_A_SECOND, now) == made, now
        found.release()


def test_the_holder_of_a_destination_is_told_when_its_next_turn_is(queue: Queue) -> None:
    queue.join([A])
    accept(queue, *range(1, 9))
    found = claim(queue, A, START + 10)
    assert found.admit(TWO_A_SECOND, 3, START + 10) == Turn(2, None)
    # As long as they are under way, nobody knows.
    assert found.admit(TWO_A_SECOND, 3, START + 20) == Turn(0, None)
    taken = found.take(START + 20, 1)
    found.give_back(1)
    queue.record([(found, [(taken[0], OK)])], START + 30)
    assert found.admit(TWO_A_SECOND, 3, START + 40) == Turn(1, None)
    found.give_back(1)
    assert attempt_of_turn(queue, found, TWO_A_SECOND, START + 40) == 1
    assert found.admit(TWO_A_SECOND, 3, START + 50) == Turn(0, START + 1_040)
    assert attempt_of_turn(queue, found, TWO_A_SECOND, START + 1_040) == 1
    found.release()


def test_what_was_under_way_when_its_holder_let_go_counts_for_a_period_more(queue: Queue, other: Queue) -> None:
    queue.join([A])
    accept(queue, *range(1, 9))
    found = claim(queue, A, START + 10)
    assert found.admit(TWO_A_SECOND, 3, START + 10).count == 2
    assert len(found.take(START + 10, 2)) == 2
    found.release()
    found = claim(other, A, START + 900)
    assert attempt_of_turn(other, found, TWO_A_SECOND, START + 900) == 0
    assert attempt_of_turn(other, found, TWO_A_SECOND, START + 1_800) == 0
    found.release()
    # An engine that does not know that its holder is gone waits until an attempt must have ended.
    found = claim(other, A, START + LASTS + 2_000)
    assert attempt_of_turn(other, found, TWO_A_SECOND, START + LASTS + 2_000) == 2
    found.release()


def test_a_maximum_in_flight_binds_a_first_attempt_and_what_is_taken_behind_it(queue: Queue) -> None:
    terms = Terms(None, 0, 2)
    queue.join([A, B])
    events = accept(queue, 1, 2, 3)
    ((found, first),) = queue.claim_first(events[0], [A], 1)
    assert found.admit(terms, 1, START).count == 1
    assert found.admit(terms, 8, START) == Turn(1, None)
    (second,) = take_behind(queue, found, 1)
    assert found.admit(terms, 8, START) == Turn(0, None)
    queue.record([(found, [(first, OK), (second, OK)])], START)
    assert found.admit(terms, 8, START + 10).count == 2
    found.give_back(2)
    found.release()


def test_a_first_attempt_that_was_not_recorded_is_made_again(queue: Queue, other: Queue) -> None:
    queue.join([A])
    (event,) = accept(queue, 1)
    ((found, _),) = queue.claim_first(event, [A], 1)
    found.release()
    ((found, delivery),) = other.claim_first(event, [A], 1)
    assert numbers([delivery]) == [(1, 1)]
    found.release()
    assert attempt_all(queue, A, OK, START) == [(1, 1)]


@pytest.mark.parametrize("answer", [OK, BAD], ids=["delivered", "failed"])
def test_an_attempt_that_another_has_made_is_told_of(
    shared: Shared, queue: Queue, other: Queue, answer: Answer
) -> None:
    queue.join([A, B, C])
    accept(queue, 1)
    (event,) = accept(queue, 2)
    assert queue.outcomes(event, [A, B, C]) == {}
    found = claim(other, A)
    taken = take_all(found, START)
    assert queue.outcomes(event, [A, B, C]) == {}
    other.record([(found, [(delivery, answer) for delivery in taken])], START + 3)
    expected = attempt_of(taken[1], answer, START + 3)
    assert queue.outcomes(event, [A, B, C]) == {A: expected}
    found.release()
    attempt_all(other, B, answer, START + 3)
    for one in (queue, shared.open()):
        assert one.outcomes(event, [A, B, C]) == {A: expected, B: expected}
        assert one.outcomes(event, [C]) == {}


# --- reading


def story(queue: Queue) -> int:
    """One dead (1), one to retry (2) and one waiting (3) for A and for B; delivered to C. Returns the time."""
    queue.join([A, B, C])
    accept(queue, 1)
    for destination in (A, B):
        fail(queue, destination, 5)
    now = START + 4 * LATER
    accept(queue, 2)
    for destination in (A, B):
        fail(queue, destination, 1, now)
    accept(queue, 3)
    attempt_all(queue, C, OK, now)
    return now


def test_a_standing_counts_what_waits_for_each_attempt(queue: Queue, other: Queue) -> None:
    now = story(queue)
    for one in (queue, other):
        found = standing(one, A)
        assert found[:3] == (1, (1, 0, 0, 0), 1)
        assert found.undone == 3
        # The third has waited since it was accepted; the dead one waits for nothing.
        assert found.next_due_at == START + 3
        assert found.oldest_at == START + 2
        assert found.last is not None
        assert (found.last.event_id, found.last.attempt, found.last.at) == ("evt_2", 1, now)
        assert standing(one, C)[:5] == (*NOTHING, None, None)


def test_standings_leave_out_who_has_no_place(queue: Queue) -> None:
    now = story(queue)
    found = queue.standings(iter([C, "dst_elsewhere", A]))
    assert found == {A: standing(queue, A), C: standing(queue, C)}
    assert queue.standings([]) == {}
    attempt_all(queue, A, OK, now)
    assert queue.standings([A])[A].waiting == 0


def test_what_is_retrying_is_listed_first_longest_first_then_what_waits_then_what_is_dead(queue: Queue) -> None:
    queue.join([A])
    accept(queue, 1, 2)
    now = fail(queue, A, 5)
    for number in (3, 4, 5, 6):
        accept(queue, number)
        now = now + LATER
        attempt_all(queue, A, BAD, now)
    accept(queue, 7, 8)
    with closing(queue.view(A)) as view:
        found = list(view.deliveries())
    assert [(one.event.id, one.state, one.attempt, one.next_attempt_at) for one in found] == [
        ("evt_3", RETRYING, 4, now + 8_000),
        ("evt_4", RETRYING, 3, now + 4_000),
        ("evt_5", RETRYING, 2, now + 2_000),
        ("evt_6", RETRYING, 1, now + 1_000),
        ("evt_7", WAITING, 0, START + 7),
        ("evt_8", WAITING, 0, START + 8),
        ("evt_1", DEAD, 5, None),
        ("evt_2", DEAD, 5, None),
    ]
    results = [(one.last_status, one.last_error) for one in found]
    assert results == [(500, "HTTP 500")] * 4 + [(None, None)] * 2 + [(500, "HTTP 500")] * 2
    assert [one.event.body for one in found] == [draft(number).body for number in (3, 4, 5, 6, 7, 8, 1, 2)]


def test_an_event_is_waiting_until_its_first_attempt_has_been_recorded(queue: Queue, other: Queue) -> None:
    (before,) = accept(queue, 1)
    queue.join([A, B])
    (event,) = accept(queue, 2, to=(A,))
    assert not is_waiting(queue, A, before)
    assert not is_waiting(queue, B, event)
    found = claim(queue, A)
    (delivery,) = found.take(START, 9)
    assert is_waiting(other, A, event)
    queue.record([(found, [(delivery, BAD)])], START)
    assert not is_waiting(other, A, event)
    assert not is_waiting(queue, A, event)
    # Resent by hand it waits again, although its own first attempt has been made.
    assert queue.retry(of("evt_2"), START) == 1
    assert not is_waiting(queue, A, event)


def test_the_attempts_are_told_oldest_first_and_each_new_one_once(queue: Queue, other: Queue) -> None:
    queue.join([A, B])
    accept(queue, 1)
    fail(queue, A, 2)
    with closing(other.view(A)) as view:
        told = view.attempts()
        attempt_all(queue, B, BAD, START)
        queue.drop(of("evt_1", to=(B,)), START)
        accept(queue, 2)
        attempt_all(queue, A, OK, START + LATER + 1)
        assert [(one.event_id, one.attempt, one.at) for one in told] == [
            ("evt_1", 1, START),
            ("evt_1", 2, START + LATER),
        ]
        assert [(one.event_id, one.attempt) for one in view.new_attempts()] == [("evt_2", 1)]
        assert list(view.new_attempts()) == []
        attempt_all(queue, A, OK, START + 2 * LATER)
        assert [(one.event_id, one.attempt) for one in view.new_attempts()] == [("evt_1", 3)]


def test_a_history_is_that_of_one_event(queue: Queue) -> None:
    now = story(queue)
    assert history(queue, A, "evt_1") == (DEAD, [1, 2, 3, 4, 5])
    assert history(queue, A, "evt_2") == (RETRYING, [1])
    assert history(queue, A, "evt_3") == (None, [])
    assert history(queue, C, "evt_3") == (State.DELIVERED, [1])
    assert history(queue, A, "evt_") == (None, [])
    queue.drop(of("evt_2", "evt_3"), now)
    assert history(queue, A, "evt_2") == (State.DROPPED, [1])
    assert history(queue, A, "evt_3") == (State.DROPPED, [])
    queue.retry(of("evt_1"), now)
    attempt_all(queue, A, OK, now)
    assert history(queue, A, "evt_1") == (State.DELIVERED, [1, 2, 3, 4, 5, 1])


@pytest.mark.parametrize(
    ("failures", "action"),
    [(1, "retry"), (4, "retry"), (5, "retry"), (0, "replay"), (1, "replay"), (4, "replay"), (5, "replay")],
)
def test_the_history_of_what_is_sent_again_waits_with_the_attempts_before_it(
    queue: Queue, other: Queue, failures: int, action: str
) -> None:
    queue.join([A, B])
    accept(queue, 1)
    now = fail(queue, A, failures)
    if not failures:
        attempt_all(queue, A, OK, now)
    before = history(other, A, "evt_1")
    accept(queue, 2)
    act(queue, action, "evt_1", now)
    accept(queue, 3)
    assert history(other, A, "evt_1") == (WAITING, before[1])
    assert history(other, B, "evt_1") == (None, [])
    attempt_all(queue, A, BAD, now)
    assert history(other, A, "evt_1") == (RETRYING, [*before[1], 1])
    act(queue, action, "evt_1", now)
    queue.drop(of("evt_1"), now)
    assert history(other, A, "evt_1") == (State.DROPPED, [*before[1], 1])


def test_what_is_dead_is_told_to_be_dead_also_when_its_attempts_are_no_longer_kept(shared: Shared) -> None:
    queue = shared.open()
    queue.join([A])
    accept(queue, 1)
    now = fail(queue, A, 5)
    for number in range(2, 9):
        accept(queue, number)
        attempt_all(queue, A, OK, now + number * LATER)
    queue.tidy([A], now + 5 * LATER)
    assert history(queue, A, "evt_1")[0] is DEAD


@pytest.mark.parametrize("which", ["retry", "drop", "replay"])
def test_what_is_done_to_several_destinations_passes_over_one_that_has_left(queue: Queue, which: str) -> None:
    now = story(queue)
    queue.leave(B)
    to = (B, A)
    for dry in (True, False):
        if which == "retry":
            assert queue.retry(of(E1, E2, to=to), now, dry=dry) == 2
        elif which == "drop":
            assert queue.drop(of(E1, E2, to=to), now, dry=dry) == 2
        else:
            assert queue.replay(replay(to, E1, E2), now, dry=dry) == 2
    assert B not in queue.broken


def test_new_attempts_are_told_to_the_last_however_many_there_are(queue: Queue, other: Queue) -> None:
    queue.join([A])
    with closing(other.view(A)) as view:
        assert list(view.attempts()) == []
        for many in (700, 1, 1_500):
            accept(queue, *range(many))
            found = claim(queue, A)
            answers = [(delivery, Answer(200, None, 1, "x" * 200)) for delivery in found.take(START, many)]
            queue.record([(found, answers)], START)
            found.release()
            # Attempts made during the reading come the next time.
            told = view.new_attempts()
            first = next(told)
            accept(queue, 0)
            attempt_all(queue, A, OK, START + 1)
            assert 1 + sum(1 for _ in told) == many
            assert first.event_id == "evt_0"
            assert [one.at for one in view.new_attempts()] == [START + 1]


def test_the_newest_attempts_are_the_last_ones_of_about_so_many_bytes(queue: Queue) -> None:
    queue.join([A])
    with closing(queue.view(A)) as view:
        assert view.recent(1_000) == ([], True)
    accept(queue, *range(20))
    attempt_all(queue, A, Answer(500, "x" * 500, 1), START)
    with closing(queue.view(A)) as view:
        everything = list(view.attempts())
        found, is_all = view.recent(1 << 20)
        assert (list(found), is_all) == (everything, True)
        found, is_all = view.recent(6_000)
        assert 4 <= len(found) <= 12
        assert not is_all
        assert list(found) == everything[-len(found) :]


# --- retrying now, and dropping


class Row(NamedTuple):
    """A selection of the deliveries of `story`, and which of them it retries and drops."""

    selection: Selection
    retried: set[tuple[str, str]]
    dropped: set[tuple[str, str]]


E1, E2, E3 = "evt_1", "evt_2", "evt_3"
ROWS: Final = {
    "nothing": Row(of(), set(), set()),
    "unknown": Row(of("evt_4"), set(), set()),
    "dead-one-by-id": Row(of(E1), {(A, E1)}, {(A, E1)}),
    "retrying-one-by-id": Row(of(E2), {(A, E2)}, {(A, E2)}),
    "waiting-one-by-id": Row(of(E3), set(), {(A, E3)}),
    "all-by-id": Row(of(E1, E2, E3), {(A, E1), (A, E2)}, {(A, E1), (A, E2), (A, E3)}),
    "dead-ones": Row(of(dead=True), {(A, E1)}, {(A, E1)}),
    "dead-ones-and-by-id": Row(of(E2, dead=True), {(A, E1), (A, E2)}, {(A, E1), (A, E2)}),
    "dead-ones-of-two": Row(of(to=(A, B), dead=True), {(A, E1), (B, E1)}, {(A, E1), (B, E1)}),
    "by-id-of-two": Row(of(E2, E3, to=(B, A)), {(A, E2), (B, E2)}, {(A, E2), (A, E3), (B, E2), (B, E3)}),
    "where-it-is-delivered": Row(of(E1, E2, E3, to=(C,), dead=True), set(), set()),
    "nowhere": Row(of(E1, E2, E3, to=(), dead=True), set(), set()),
}


def undone(queue: Queue) -> set[tuple[str, str]]:
    return {(destination, event_id) for destination in (A, B, C) for event_id, _, _ in pending(queue, destination)}


def due(queue: Queue, now: int) -> set[tuple[str, str]]:
    made = {name: attempt_all(queue, name, OK, now) for name in (A, B, C)}
    return {(name, f"evt_{number}") for name, found in made.items() for number, _ in found}


@pytest.mark.parametrize("again", [False, True], ids=["", "sent-again"])
def test_what_is_chosen_is_listed_as_it_is_among_all_others(queue: Queue, other: Queue, again: bool) -> None:
    now = story(queue)
    if again:
        assert queue.retry(of(E1, E2, to=(A, B)), now) == 4
        assert queue.replay(Replay(destination_ids=(A,), everybody=False, event_ids=frozenset([E1])), now) == 0
    other.look([], now)
    for name in (A, B):
        every = pending(other, name)
        for ids in ((), (E1,), (E2,), (E3,), (E1, E3), (E1, E2, E3), ("evt_none",)):
            for dead in (False, True):
                chosen = of(*ids, dead=dead)
                wanted = [one for one in every if one[0] in ids or (dead and one[1] is DEAD)]
                assert sorted(pending(other, name, chosen)) == sorted(wanted)


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_what_is_selected_is_due_now_and_revived_when_it_was_dead(queue: Queue, other: Queue, row: Row) -> None:
    now = story(queue)
    before = undone(queue)
    assert other.retry(row.selection, now, dry=True) == len(row.retried)
    assert [pending(queue, name) for name in (A, B)] == [[(E2, RETRYING, 1), (E3, WAITING, 0), (E1, DEAD, 5)]] * 2
    assert other.retry(row.selection, now) == len(row.retried)
    assert undone(queue) == before
    for name in (A, B):
        # Dead and retrying deliveries wait for a first attempt again.
        assert {event_id for event_id, state, _ in pending(queue, name) if state is WAITING} == {
            event_id for at, event_id in row.retried | {(A, E3), (B, E3)} if at == name
        }
    assert other.retry(row.selection, now) == 0
    assert due(queue, now) == row.retried | {(A, E3), (B, E3)}
    assert undone(queue) == before - row.retried - {(A, E3), (B, E3)}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_what_is_selected_is_dropped_and_nothing_else(queue: Queue, other: Queue, row: Row) -> None:
    now = story(queue)
    before = undone(queue)
    assert other.drop(row.selection, now, dry=True) == len(row.dropped)
    assert undone(queue) == before
    assert other.drop(row.selection, now) == len(row.dropped)
    assert undone(queue) == before - row.dropped
    assert other.drop(row.selection, now) == 0
    assert due(queue, now + LATER) == before - row.dropped - {(A, E1), (B, E1)}
    for name, event_id in row.dropped:
        assert history(queue, name, event_id)[0] is State.DROPPED


@pytest.mark.parametrize("failures", [1, 2, 3, 4, 5])
def test_what_is_retried_by_hand_has_all_its_attempts_before_it_again(queue: Queue, failures: int) -> None:
    queue.join([A])
    accept(queue, 1)
    now = fail(queue, A, failures)
    assert queue.retry(of(E1), now) == 1
    assert counts(queue, A) == (1, (0, 0, 0, 0), 0)
    assert standing(queue, A).next_due_at == now
    found = claim(queue, A, now)
    (delivery,) = found.take(now, 9)
    assert (delivery.attempt, delivery.event.id, delivery.event.body) == (1, E1, draft(1).body)
    assert take_all(found, now + LATER) == []
    queue.record([(found, [(delivery, BAD)])], now)
    found.release()
    assert drained(queue, A, now + LATER) == [[(1, 2)], [(1, 3)], [(1, 4)], [(1, 5)], [], [], []]
    assert history(queue, A, E1) == (DEAD, [*range(1, failures + 1), 1, 2, 3, 4, 5])
    assert pending(queue, A) == [(E1, DEAD, 5)]


@pytest.mark.parametrize("action", ["retry", "replay"])
@pytest.mark.parametrize("answer", [OK, BAD, None], ids=["delivered", "failed", "given-back"])
@pytest.mark.parametrize("failures", [1, 2, 4])
def test_what_is_in_flight_is_not_sent_again_beside_itself(
    queue: Queue, other: Queue, action: str, answer: Answer | None, failures: int
) -> None:
    queue.join([A])
    accept(queue, 1)
    now = fail(queue, A, failures) + LATER
    found = claim(queue, A, now)
    (delivery,) = found.take(now, 9)
    act(other, action, E1, now)
    queue.look([A], now)
    assert take_all(found, now) == []
    if answer is not None:
        queue.record([(found, [(delivery, answer)])], now)
        assert take_all(found, now) == []
    found.release()
    assert len(pending(queue, A)) == (0 if answer is OK else 1)
    made = [delivery for part in drained(queue, A, now + LATER) for delivery in part]
    # One chain of attempts, continued or from the first one on.
    assert [attempt for _, attempt in made] == (list(range(made[0][1], 6)) if made else [])
    assert made or answer is OK or failures == 4
    assert not made or answer is not OK


@pytest.mark.parametrize("failures", [1, 5])
def test_asking_twice_sends_once(queue: Queue, other: Queue, failures: int) -> None:
    queue.join([A])
    accept(queue, 1)
    now = fail(queue, A, failures)
    assert queue.retry(of(E1), now) == 1
    assert other.retry(of(E1), now) == 0
    assert act(other, "replay", E1, now) == 0
    assert pending(other, A) == [(E1, WAITING, 0)]
    assert drained(queue, A, now, OK) == [[(1, 1)], [], [], [], [], [], []]


@pytest.mark.parametrize("action", ["retry", "replay"])
def test_what_was_due_already_when_it_was_sent_again_by_hand_is_sent_once(
    queue: Queue, other: Queue, action: str
) -> None:
    queue.join([A])
    accept(queue, 1)
    now = fail(queue, A, 1) + LATER
    assert act(other, action, E1, now) == 1
    found = claim(queue, A, now)
    (delivery,) = found.take(now, 1)
    assert delivery.attempt in (1, 2)
    queue.record([(found, [(delivery, OK)])], now)
    found.release()
    assert standing(queue, A)[:5] == (*NOTHING, None, None)
    assert claimable(queue, now + LATER, A) == []


def test_what_was_asked_for_again_is_dropped_with_what_it_replaces(queue: Queue) -> None:
    now = story(queue)
    assert queue.retry(of(E1, E2), now) == 2
    assert queue.drop(of(E1, E2), now) == 2
    assert pending(queue, A) == [(E3, WAITING, 0)]
    assert drained(queue, A, now, OK) == [[(3, 1)], [], [], [], [], [], []]


def test_nothing_is_dropped_where_somebody_delivers(queue: Queue, other: Queue) -> None:
    now = story(queue)
    found = claim(queue, A, now)
    with pytest.raises(Held, match=r"\(drain\)") as raised:
        other.drop(of(E1, E2, E3, dead=True), now)
    assert raised.value.destination_id == A
    assert len(pending(queue, A)) == 3
    assert other.drop(of(E1, E2, E3, dead=True), now, dry=True) == 3
    assert other.drop(of(E1, to=(B,)), now) == 1
    # Retrying needs no claim.
    assert other.retry(of(E2), now) == 1
    queue.look([A], now)
    assert sorted(numbers(take_all(found, now))) == [(2, 1), (3, 1)]


# --- replaying


def replay(to: tuple[str, ...], *ids: str, **options: int | str | bool | None) -> Replay:
    settled = {"everybody": False, "event_ids": frozenset(ids), "destination_ids": to, **options}
    return Replay(**settled)  # type: ignore[arg-type]


def replayed_story(queue: Queue) -> int:
    """Events 1 to 5, the fourth for A and B alone, the fifth of another name; B has failed the second and the third for
    good or for now, C is idle.
    """
    queue.join([A, B, C])
    accept(queue, 1)
    for name in (A, B):
        attempt_all(queue, name, OK, START)
    accept(queue, 2)
    attempt_all(queue, A, OK, START)
    now = fail(queue, B, 5)
    accept(queue, 3)
    attempt_all(queue, A, OK, now)
    fail(queue, B, 1, now)
    accept(queue, 4, to=(A, B))
    queue.accept([draft(5, name="ping")])
    for name in (A, B):
        attempt_all(queue, name, OK, now)
    return now


REPLAYS: Final = {
    "one-by-id": (replay((A,), "evt_1"), {A: [1]}),
    "some-by-id": (replay((A, B), "evt_2", "evt_1"), {A: [1, 2], B: [1, 2]}),
    "an-id-of-the-wrong-name": (replay((A,), "evt_1", "evt_5", event="ping"), {A: [5]}),
    "all": (replay((A,)), {A: [1, 2, 3, 4, 5]}),
    "since": (replay((A,), since=START + 3), {A: [3, 4, 5]}),
    "until": (replay((A,), until=START + 3), {A: [1, 2, 3]}),
    "within": (replay((A,), since=START + 2, until=START + 2), {A: [2]}),
    "at-no-time": (replay((A,), since=START + 6), {}),
    "by-name": (replay((A, B), event="ping"), {A: [5], B: [5]}),
    "by-no-name": (replay((A,), event="pong"), {}),
    "those-that-failed": (replay((A, B), failed=True), {B: [2, 3]}),
    "those-that-failed-by-id": (replay((A, B), "evt_1", "evt_3", failed=True), {B: [3]}),
    "those-that-failed-to-everybody": (replay((A, B, C), failed=True, everybody=True), {B: [2, 3]}),
    "to-everybody": (replay((A, B, C), everybody=True), {A: [1, 2, 3, 4, 5], B: [1, 2, 3, 4, 5]}),
    "to-one-that-it-was-not-for": (replay((C,), "evt_4"), {C: [4]}),
    "to-everybody-that-it-was-for": (replay((A, B, C), "evt_4", everybody=True), {A: [4], B: [4]}),
    "to-one-where-it-still-waits": (replay((C,), "evt_1"), {}),
    "to-nobody": (replay((), "evt_1"), {}),
}


@pytest.mark.parametrize(("chosen", "expected"), REPLAYS.values(), ids=REPLAYS)
def test_what_is_chosen_is_sent_again_where_it_does_not_wait_anyway(
    queue: Queue, other: Queue, chosen: Replay, expected: dict[str, list[int]]
) -> None:
    now = replayed_story(queue)
    events = len({number for found in expected.values() for number in found})
    before = {name: pending(queue, name) for name in (A, B, C)}
    assert other.replay(chosen, now, dry=True) == events
    assert {name: pending(queue, name) for name in (A, B, C)} == before
    assert other.replay(chosen, now) == events
    assert other.replay(chosen, now) == 0
    waited = {A: [], B: [], C: [1, 2, 3, 5]}
    for name, always in waited.items():
        made = attempt_all(queue, name, OK, now)
        assert sorted(made) == sorted((number, 1) for number in [*always, *expected.get(name, [])])
    # A retrying or dead delivery that is sent again does not also continue.
    left = {(number, state) for number, state in ((2, DEAD), (3, RETRYING)) if number not in expected.get(B, [])}
    assert {(int(event_id[4:]), state) for event_id, state, _ in pending(queue, B)} == left
    assert [pending(queue, name) for name in (A, C)] == [[], []]


def test_what_is_replayed_has_the_same_bytes_and_all_its_attempts(queue: Queue) -> None:
    queue.join([A])
    body = BODIES["newlines"]
    queue.accept([draft(1, body=body)])
    attempt_all(queue, A, OK, START)
    assert act(queue, "replay", E1, START + LATER) == 1
    assert pending(queue, A) == [(E1, WAITING, 0)]
    found = claim(queue, A, START + LATER)
    (delivery,) = found.take(START + LATER, 9)
    assert (delivery.event.id, delivery.event.name, delivery.event.body) == (E1, "signal.promoted", body)
    found.release()
    assert drained(queue, A, START + LATER) == [[(1, 1)], [(1, 2)], [(1, 3)], [(1, 4)], [(1, 5)], [], []]
    assert history(queue, A, E1) == (DEAD, [1, 1, 2, 3, 4, 5])


def test_an_unknown_id_is_refused_and_then_nothing_is_replayed(queue: Queue) -> None:
    now = replayed_story(queue)
    for dry in (True, False):
        with pytest.raises(UsageError, match="evt_9"):
            queue.replay(replay((A,), "evt_1", "evt_9"), now, dry=dry)
    assert pending(queue, A) == []


def test_what_was_sent_again_is_no_old_event_beside_the_first(queue: Queue) -> None:
    queue.join([A])
    accept(queue, 1)
    attempt_all(queue, A, OK, START)
    for count in range(1, 4):
        assert queue.replay(replay((A,)), START + count) == 1
        assert attempt_all(queue, A, OK, START + count) == [(1, 1)]


# --- sharing, tidying, checking


def test_each_drain_that_asked_counts_until_it_is_closed(shared: Shared) -> None:
    first, second, _idle = shared.open(), shared.open(), shared.open()
    assert first.drains() == 1
    assert first.drains() == 1
    assert second.drains() == 2
    assert first.drains() == 2
    shared.close(first)
    assert second.drains() == 1
    assert shared.open().drains() == 2


def test_a_memo_is_what_the_last_process_made_of_it(queue: Queue, other: Queue) -> None:
    assert queue.read_memo("notes") is None
    for process, before, after in ((queue, None, b"1"), (other, b"1", b"\x00\xff" * 500_000), (queue, None, None)):
        with process.memo("notes") as memo:
            assert before is None or memo.data == before
            memo.data = after
        assert other.read_memo("notes") == after
        assert other.read_memo("others") is None


def test_a_memo_that_another_process_holds_is_not_waited_for_and_stays_readable(queue: Queue, other: Queue) -> None:
    with queue.memo("notes") as memo:
        memo.data = b"1"
        with pytest.raises(Busy), other.memo("notes"):
            pytest.fail("both hold it")
        assert other.read_memo("notes") is None
        with other.memo("others") as another:
            another.data = b"2"
    assert other.read_memo("notes") == b"1"


def test_a_memo_stays_as_it_was_if_its_holder_fails(queue: Queue, other: Queue) -> None:
    with pytest.raises(ZeroDivisionError), queue.memo("notes") as memo:
        memo.data = b"1"
        raise ZeroDivisionError
    with other.memo("notes") as memo:
        assert memo.data is None


def test_tidying_removes_nothing_that_is_undone(queue: Queue, other: Queue) -> None:
    now = story(queue)
    # The longest possible `keep` has passed.
    before = now + 10**12
    for destination in (A, B):
        attempt_all(queue, destination, BAD, now)
    left = [pending(queue, name) for name in (A, B, C)]
    counted = [counts(queue, name) for name in (A, B, C)]
    queue.tidy([A, B, C], before)
    for one in (queue, other):
        assert [pending(one, name) for name in (A, B, C)] == left
        assert [counts(one, name) for name in (A, B, C)] == counted
        # Dead events may be kept outside the log.
        assert [found.id for found in map(one.find, (E2, E3)) if found is not None] == [E2, E3]
    assert other.retry(of(dead=True), now) == 1
    assert sorted(attempt_all(other, A, OK, now + LATER)) == [(1, 1), (2, 2), (3, 2)]
    accept(queue, 4)
    assert attempt_all(queue, C, OK, now + LATER) == [(4, 1)]


def test_a_queue_that_nothing_happened_to_has_no_damage(queue: Queue, other: Queue) -> None:
    assert queue.check().damaged == []
    now = story(queue)
    queue.retry(of(E1), now)
    queue.drop(of(E2), now)
    for checked in (queue.check(), other.check(), other.check(repair_at=times.to_text(now)), queue.check_recent(999)):
        assert checked.damaged == []
        assert checked.set_aside is None
    assert queue.check().lines > 0


# --- from one engine to another


def restored(records: Iterable[Record], target: str, path: Path) -> Shared:
    path.mkdir()
    found = Shared(ENGINES[target](path))
    found.open().restore(records)
    return found


def told(queue: Queue) -> dict[str, object]:
    """Everything that a queue of any engine reports."""
    queue.look([], START)
    found: dict[str, object] = {"events": [plain(event) for event in queue.events()]}
    for name in (A, B, C):
        with closing(queue.view(name)) as view:
            found[name] = (
                view.standing(),
                [(one.event.body, one.event.at, one.next_attempt_at, one.last_error) for one in view.deliveries()],
                list(view.attempts()),
                [view.history(event.id) for event in queue.events()],
            )
    return found


@pytest.mark.parametrize("target", ENGINES)
def test_what_one_engine_gives_every_engine_takes(shared: Shared, target: str, tmp_path: Path) -> None:
    queue = shared.open()
    accept(queue, 0)
    now = story(queue)
    queue.accept([draft(4, body=BODIES["newlines"]), draft(5, body=BODIES["unicode"]), draft(6, to=(B, A))])
    (event,) = accept(queue, 7)
    for found, delivery in queue.claim_first(event, [A, C], 2):
        # Finished ahead of a waiting event.
        queue.record([(found, [(delivery, OK)])], now)
        found.release()
    queue.leave(C)
    queue.join([C])
    accept(queue, 8)
    assert queue.drop(of("evt_4", to=(B,)), now) == 1
    assert queue.drop(of(E1, E2, to=(A,)), now) == 2
    records = list(queue.dump())
    other = restored(records, target, tmp_path / "target")
    copy = other.open()
    assert told(copy) == told(queue)
    assert pending(copy, A) == pending(queue, A)
    for name in (A, B, C):
        assert drained(copy, name, now) == drained(queue, name, now)
    assert told(copy) == told(queue)
    other.close_all()


@pytest.mark.parametrize("target", ENGINES)
def test_what_was_sent_again_is_not_forgotten_on_the_way(shared: Shared, target: str, tmp_path: Path) -> None:
    queue = shared.open()
    now = story(queue)
    attempt_all(queue, B, OK, now)
    # One was dead, one retrying, and one delivered.
    assert queue.retry(of(E1, E2), now) == 2
    assert queue.replay(replay((B,), E3), now) == 1
    other = restored(queue.dump(), target, tmp_path / "target")
    copy = other.open()
    for name in (A, B, C):
        assert sorted(pending(copy, name)) == sorted(pending(queue, name))
        assert counts(copy, name) == counts(queue, name)
        assert list(map(sorted, drained(copy, name, now))) == list(map(sorted, drained(queue, name, now)))
    other.close_all()


@pytest.mark.parametrize("target", ENGINES)
def test_an_empty_queue_is_given_and_taken_too(shared: Shared, target: str, tmp_path: Path) -> None:
    other = restored(shared.open().dump(), target, tmp_path / "target")
    copy = other.open()
    copy.join([A])
    accept(copy, 1)
    assert attempt_all(copy, A, OK, START) == [(1, 1)]
    other.close_all()


@pytest.mark.parametrize("filled", ["an-event", "a-destination"])
def test_a_queue_that_is_not_empty_takes_nothing(shared: Shared, filled: str, tmp_path: Path) -> None:
    source = Shared(_memory(tmp_path)).open()
    story(source)
    queue = shared.open()
    if filled == "an-event":
        accept(queue, 7)
    else:
        queue.join(["dst_7"])
    with pytest.raises(UsageError, match=r"already has|is not empty"):
        queue.restore(source.dump())
    assert [event.id for event in queue.events()] == (["evt_7"] if filled == "an-event" else [])
    assert queue.standings([A, B, C]) == {}


# --- in any order


MEMORY: Final = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
names = st.sampled_from((A, B))
places = st.sampled_from(((A,), (B,), (A, B)))
processes = st.integers(0, 1)
answers = st.sampled_from((OK, BAD, BAD, BAD))
event_ids = st.frozensets(st.integers(0, 9).map("evt_{}".format), max_size=5)
selections = st.builds(Selection, destination_ids=places, event_ids=event_ids, dead=st.booleans())


class Known(NamedTuple):
    """One delivery in the model."""

    state: State
    attempt: int
    due_at: int


class Exercise(RuleBasedStateMachine):
    """Anything that may happen to a queue, in any order, and a model: what is unfinished, by destination and event."""

    engine = ""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        path = self.stack.enter_context(tempfile.TemporaryDirectory(dir=MEMORY))
        self.shared = Shared(ENGINES[self.engine](Path(path)))
        self.stack.callback(self.shared.close_all)
        self.queues = [self.shared.open(), self.shared.open()]
        self.now = START
        self.events: list[Event] = []
        self.places: dict[str, dict[str, Known]] = {name: {} for name in (A, B)}

    @initialize()
    def join(self) -> None:
        self.queues[0].join(self.places)

    @rule(process=processes, to=st.sampled_from([None, None, (A,), (B,)]), count=st.integers(1, 3))
    def accept(self, process: int, to: tuple[str, ...] | None, count: int) -> None:
        named = [f"evt_{len(self.events) + number}" for number in range(count)]
        drafts = [Draft(name, "ping", times.to_text(self.now), name.encode(), to) for name in named]
        self.events += self.queues[process].accept(drafts, unique=True)
        for destination in to or (A, B):
            self.places[destination] |= {name: Known(WAITING, 0, self.now) for name in named}

    @rule(process=processes, name=names, most=st.integers(1, 4), answers=st.lists(answers, max_size=4))
    def attempt(self, process: int, name: str, most: int, answers: list[Answer]) -> None:
        """Takes some of what is due, and records the outcomes of some of that."""
        queue, place = self.queues[process], self.places[name]
        due = sorted(known.due_at for known in place.values() if known.state is not DEAD and known.due_at <= self.now)
        # Nothing due is ever skipped.
        assert name in queue.look([name], self.now) or not due
        claims = queue.claim_due([name], 1, "drain", self.now)
        assert len(claims) == bool(due)
        for found in claims:
            taken = found.take(self.now, most)
            assert [place[delivery.event.id].due_at for delivery in taken] == due[:most]
            assert [one.attempt for one in taken] == [place[one.event.id].attempt + 1 for one in taken]
            assert [one.event.body for one in taken] == [one.event.id.encode() for one in taken]
            results = list(zip(taken, answers, strict=False))
            (told,) = queue.record([(found, results)], self.now)
            assert list(told.states) == [self.result(place, delivery, answer) for delivery, answer in results]
            found.release()

    def result(self, place: dict[str, Known], delivery: Delivery, answer: Answer) -> State:
        del place[delivery.event.id]
        if answer.outcome is Outcome.DELIVERED:
            return State.DELIVERED
        delays = SCHEDULE.delays
        state = RETRYING if delivery.attempt <= len(delays) else DEAD
        due_at = self.now + delays[delivery.attempt - 1] if state is RETRYING else 0
        place[delivery.event.id] = Known(state, delivery.attempt, due_at)
        return state

    @rule(process=processes, selection=selections)
    def retry(self, process: int, selection: Selection) -> None:
        chosen = [found for found in self.selected(selection) if self.places[found[0]][found[1]].state is not WAITING]
        if self.is_any_due(chosen):
            return
        assert self.queues[process].retry(selection, self.now) == len(chosen)
        self.send_again(chosen)

    def send_again(self, chosen: Iterable[tuple[str, str]]) -> None:
        for name, event_id in chosen:
            self.places[name][event_id] = Known(WAITING, 0, self.now)

    def is_any_due(self, chosen: Iterable[tuple[str, str]]) -> bool:
        """Whether some of these are already due for a retry: an engine may then continue with that instead."""
        found = (self.places[name].get(event_id) for name, event_id in chosen)
        return any(known and known.state is RETRYING and known.due_at <= self.now for known in found)

    @rule(process=processes, selection=selections)
    def drop(self, process: int, selection: Selection) -> None:
        chosen = self.selected(selection)
        assert self.queues[process].drop(selection, self.now) == len(chosen)
        for name, event_id in chosen:
            del self.places[name][event_id]

    def selected(self, selection: Selection) -> list[tuple[str, str]]:
        return [
            (name, event_id)
            for name in selection.destination_ids
            for event_id, known in self.places[name].items()
            if event_id in selection.event_ids or (selection.dead and known.state is DEAD)
        ]

    @rule(process=processes, ids=event_ids, to=places, everybody=st.booleans(), failed=st.booleans())
    def replay(self, process: int, ids: frozenset[str], to: tuple[str, ...], everybody: bool, failed: bool) -> None:
        known_ids = ids & {event.id for event in self.events}
        chosen = Replay(destination_ids=to, everybody=everybody, event_ids=known_ids, failed=failed)
        again = {
            (name, event.id)
            for event in self.events
            for name in to
            if (not known_ids or event.id in known_ids)
            and not (everybody and event.to is not None and name not in event.to)
            and self.may_replay(self.places[name].get(event.id), failed)
        }
        if self.is_any_due(again):
            return
        assert self.queues[process].replay(chosen, self.now) == len({event_id for _, event_id in again})
        self.send_again(again)

    @staticmethod
    def may_replay(known: Known | None, failed: bool) -> bool:
        return not failed if known is None else known.state is not WAITING

    @rule(milliseconds=st.sampled_from([1, 999, 1_000, 2_000, 9_000, 60_000]))
    def time_passes(self, milliseconds: int) -> None:
        self.now += milliseconds

    @rule(process=processes)
    def tidy(self, process: int) -> None:
        self.queues[process].tidy([A, B], START - 1)

    @rule(process=processes)
    def reopen(self, process: int) -> None:
        self.shared.close(self.queues[process])
        self.queues[process] = self.shared.open()

    @invariant()
    def every_process_tells_what_is_undone(self) -> None:
        for queue, (name, place) in zip(self.queues, self.places.items(), strict=True):
            expected = sorted((event_id, known.state, known.attempt) for event_id, known in place.items())
            assert sorted(pending(queue, name)) == expected
            for event in self.events:
                state, known = history(queue, name, event.id)[0], place.get(event.id)
                if known is None or state is None:
                    # An event that waits for its own first attempt has no history.
                    assert state in (None, State.DELIVERED, State.DROPPED) and (known is None or known.state is WAITING)
                else:
                    assert state is known.state
            lanes = [known.attempt for known in place.values() if known.state is RETRYING]
            found = standing(queue, name)
            assert found.retrying == tuple(lanes.count(attempt) for attempt in (1, 2, 3, 4))
            assert found.undone == len(place)
            alive = [known.due_at for known in place.values() if known.state is not DEAD]
            assert found.next_due_at == min(alive, default=None)

    def teardown(self) -> None:
        self.stack.close()


@pytest.mark.parametrize("engine", ENGINES)
def test_whatever_happens_in_whatever_order_the_queue_does_what_the_model_does(engine: str) -> None:
    run_state_machine_as_test(
        type(engine, (Exercise,), {"engine": engine}),
        settings=settings(
            # Each step takes several round trips to the database.
            max_examples=8 if engine == "postgres" else 20,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
