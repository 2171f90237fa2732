"""Lanes: what is due for a destination, in order, at the cost of what is due and not of what waits."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from arkcli import times
from arkcli.model import AHEAD, DOCUMENTED, Draft, Outcome
from arkcli.queue.local import lines
from arkcli.queue.local.deadletters import DeadLetters
from arkcli.queue.local.eventlog import EventLog
from arkcli.queue.local.journal import Journal
from arkcli.queue.local.lanes import Arrivals, Retries, UnderWay
from arkcli.queue.local.lines import AttemptLine, DropLine
from arkcli.queue.local.state import joined
from arkcli.queue.local.stored import StoredDelivery, StoredEvent
from tests.queue.local.machine import MEMORY, listened
from tests.world import START

ME: Final = "dst_me"
OTHER: Final = "dst_other"
SIZES: Final = pytest.mark.parametrize("size", [1, 700, 1 << 26], ids=["segment-each", "some-segments", "one-segment"])


class Place:
    """A log, and the journal of a destination that joined at its beginning."""

    def __init__(self, path: Path, segment_size: int) -> None:
        self.path = path
        (path / "events").mkdir()
        Journal.create(path / ME, joined(0, 4))
        self.log = EventLog(path / "events", segment_size)
        self.journal = Journal(path / ME, 4, segment_size)
        self.journal.load_to_append()

    def accept(self, *numbers: int, to: tuple[str, ...] | None = None, at: int = START) -> list[StoredEvent]:
        return self.log.accept(
            [Draft(f"evt_{number}", "ping", times.to_text(at + number), b'{"n":%d}' % number, to) for number in numbers]
        )

    def record(self, delivery: StoredDelivery, outcome: Outcome, at: int) -> tuple[int, int]:
        """Records an outcome; returns the position of its line."""
        event = delivery.event
        entry = AttemptLine(
            event.position,
            event.length,
            event.id,
            event.name,
            delivery.attempt,
            times.to_text(at),
            outcome,
            3,
            after=delivery.after,
        )
        self.journal.append([entry])
        length = len(lines.encode(entry))
        return self.journal.state.journal - length, length

    def fail(self, event: StoredEvent, attempts: int, at: int) -> tuple[int, int]:
        """Records failed attempts in a row; returns the position of the last one's line."""
        after = self.record(StoredDelivery(event, 1), Outcome.FAILED, at)
        for number in range(2, attempts + 1):
            after = self.record(StoredDelivery(event, number, after), Outcome.FAILED, at)
        return after

    @property
    def arrivals(self) -> Arrivals:
        return Arrivals(self.log, self.journal, UnderWay(6), DeadLetters(self.path / ME / "dead.jsonl"))

    def retries(self, attempt: int) -> Retries:
        """The lane of deliveries that wait after this number of failures."""
        return Retries(attempt, self.log, self.journal, DOCUMENTED, UnderWay(6))

    def reopen(self) -> None:
        """As another process finds it."""
        self.journal.close()
        self.journal = Journal(self.path / ME, 4, 700)
        self.journal.load_to_append()

    def spoil(self, event: StoredEvent) -> None:
        """Damages the line of an event."""
        for start, file in ((int(name.stem), name) for name in sorted((self.path / "events").glob("*.jsonl"))):
            data = bytearray(file.read_bytes())
            if start <= event.position < start + len(data):
                data[event.position - start + event.length // 2] ^= 1
                file.write_bytes(data)

    def close(self) -> None:
        self.journal.close()
        self.log.close()


@contextmanager
def a_place(segment_size: int = 1 << 26) -> Iterator[Place]:
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        place = Place(Path(name), segment_size)
        try:
            yield place
        finally:
            place.close()


@pytest.fixture
def place() -> Iterator[Place]:
    with a_place() as made:
        yield made


def take_all(lane: Arrivals | Retries, now: int) -> list[StoredDelivery]:
    taken = []
    while lane.is_due(now):
        taken += lane.pop(3)
    return taken


# --- first attempts


@SIZES
def test_first_attempts_are_the_events_from_the_cursor_on_oldest_first(size: int) -> None:
    with a_place(size) as place:
        events = [place.accept(number)[0] for number in range(20)]
        assert take_all(place.arrivals, START) == [StoredDelivery(event, 1) for event in events]


@pytest.mark.parametrize("now", [0, START - 1, START, START + 10**12])
def test_what_has_arrived_is_due_whatever_the_clock_says(place: Place, now: int) -> None:
    place.accept(1)
    assert place.arrivals.is_due(now)
    assert place.arrivals.due_at() == place.arrivals.oldest_at() == START + 1


def test_where_nothing_has_arrived_nothing_is_due(place: Place) -> None:
    assert not place.arrivals.is_due(START)
    assert place.arrivals.due_at() is None
    assert place.arrivals.oldest_at() is None


@SIZES
def test_what_is_addressed_to_others_is_passed_over_and_what_is_addressed_to_me_is_not(size: int) -> None:
    with a_place(size) as place:
        place.accept(1, to=(OTHER,))
        place.accept(2, to=())
        mine = place.accept(3, to=(OTHER, ME))
        place.accept(4, to=(OTHER,))
        mine += place.accept(5)
        place.accept(6, to=(OTHER,))
        arrivals = place.arrivals
        assert [delivery.event for delivery in take_all(arrivals, START)] == mine

        for event in mine:
            place.record(StoredDelivery(event, 1), Outcome.DELIVERED, START)
        assert place.journal.state.first.cursor == place.log.end
        assert place.journal.state.first.ranges == []


@SIZES
def test_a_damaged_event_is_passed_over_and_its_neighbours_are_delivered(size: int) -> None:
    with a_place(size) as place:
        events = [place.accept(number)[0] for number in range(5)]
        place.spoil(events[0])
        place.spoil(events[3])
        arrivals = place.arrivals
        assert [delivery.event for delivery in take_all(arrivals, START)] == [events[1], events[2], events[4]]
        for event in (events[1], events[2], events[4]):
            place.record(StoredDelivery(event, 1), Outcome.DELIVERED, START)
        assert place.journal.state.first.cursor == place.log.end


@SIZES
def test_what_was_finished_out_of_order_is_not_attempted_again(size: int) -> None:
    with a_place(size) as place:
        events = [place.accept(number)[0] for number in range(9)]
        for number in (8, 1, 5, 4):
            place.record(StoredDelivery(events[number], 1), Outcome.DELIVERED, START)
        place.reopen()
        left = [StoredDelivery(events[number], 1) for number in (0, 2, 3, 6, 7)]
        assert take_all(place.arrivals, START) == left


def test_what_was_taken_and_not_recorded_comes_again(place: Place) -> None:
    events = place.accept(1, 2, 3)
    assert [found.event for found in take_all(place.arrivals, START)] == events
    place.record(StoredDelivery(events[1], 1), Outcome.DELIVERED, START)
    assert [found.event for found in take_all(place.arrivals, START)] == [events[0], events[2]]


def test_what_arrives_while_a_run_goes_on_is_taken_too(place: Place) -> None:
    arrivals = place.arrivals
    assert take_all(arrivals, START) == []
    (event,) = place.accept(1)
    assert take_all(arrivals, START) == [StoredDelivery(event, 1)]


def test_events_that_are_gone_from_the_log_are_passed() -> None:
    with a_place(300) as place:
        events = [place.accept(number)[0] for number in range(9)]
        oldest, *_ = sorted((place.path / "events").glob("*.jsonl"))
        oldest.unlink()
        place.log.close()
        place.log = EventLog(place.path / "events", 300)
        left = [event for event in events if event.position >= place.log.start]
        assert 0 < len(left) < 9
        assert [delivery.event for delivery in take_all(place.arrivals, START)] == left


@pytest.mark.parametrize("after", [0, 3])
def test_what_is_passed_over_for_others_has_been_seen_and_is_remembered(place: Place, after: int) -> None:
    place.accept(*range(3_000), to=(OTHER,))
    mine = place.accept(*range(3_000, 3_000 + after), to=(ME,))
    *_, last = place.accept(*range(4_000, 6_000), to=(OTHER,))
    arrivals = place.arrivals
    assert [found.event for found in take_all(arrivals, START)] == mine
    assert place.journal.state.newest == (last.position, last.length, last.id)
    for event in mine:
        place.record(StoredDelivery(event, 1), Outcome.DELIVERED, START)
    assert (place.journal.state.first.cursor, place.journal.state.first.ranges) == (place.log.end, [])
    # The next one begins where this one ended.
    place.journal.save_if_worth_it()
    place.reopen()
    assert place.journal.state.first.cursor == place.log.end


# --- retries


DELAYS: Final = {1: 30_000, 2: 300_000, 3: 1_800_000, 4: 7_200_000}


@pytest.mark.parametrize(("failures", "delay"), DELAYS.items())
@pytest.mark.parametrize(
    ("since_failure", "due"),
    [
        (lambda delay: 0, False),
        (lambda delay: delay - 1, False),
        (lambda delay: delay, True),
        (lambda delay: delay + 1, True),
        (lambda delay: -1, False),
        (lambda delay: -AHEAD, False),
        (lambda delay: -AHEAD - 1, True),
        (lambda delay: -(10**12), True),
    ],
    ids=[
        "at-once",
        "just-before",
        "on-time",
        "late",
        "clock-read-earlier",
        "long-before",
        "clock-set-back",
        "clock-set-far-back",
    ],
)
def test_a_retry_is_due_when_its_delay_is_over_or_the_clock_was_set_back_behind_its_failure(
    place: Place, failures: int, delay: int, since_failure: Callable[[int], int], due: bool
) -> None:
    (event,) = place.accept(0)
    after = place.fail(event, failures, START)
    now = START + since_failure(delay)
    lane = place.retries(failures)

    assert lane.is_due(now) is due
    assert lane.due_at() == START + delay
    assert lane.oldest_at() == START
    if due:
        assert lane.pop(9) == [StoredDelivery(event, failures + 1, after)]
        assert not lane.is_due(now)
        assert lane.due_at() is None


@pytest.mark.parametrize("failures", [1, 2, 3, 4])
def test_a_failure_is_in_the_lane_of_its_number_and_in_no_other(place: Place, failures: int) -> None:
    (event,) = place.accept(0)
    place.fail(event, failures, START)
    due = [lane for lane in (1, 2, 3, 4) if place.retries(lane).is_due(START + 10**10)]
    assert due == [failures]
    assert not place.arrivals.is_due(START + 10**10)


def test_after_the_fifth_failure_nothing_waits(place: Place) -> None:
    (event,) = place.accept(0)
    place.fail(event, 5, START)
    assert not any(place.retries(lane).is_due(START + 10**10) for lane in (1, 2, 3, 4))
    assert place.journal.state.dead == 1


@SIZES
@pytest.mark.parametrize("failures", [1, 4])
def test_a_lane_is_first_in_first_out_among_the_lines_of_all_lanes(size: int, failures: int) -> None:
    with a_place(size) as place:
        events = [place.accept(number)[0] for number in range(12)]
        expected = []
        for number, event in enumerate(events):
            if number % 3 == 0:
                place.record(StoredDelivery(event, 1), Outcome.DELIVERED, START)
            elif number % 3 == 1:
                expected.append(StoredDelivery(event, failures + 1, place.fail(event, failures, START + number)))
            else:
                place.fail(event, 2, START + number)
        for reopened in (False, True):
            if reopened:
                place.reopen()
            assert take_all(place.retries(failures), START + 10**10) == expected


def test_a_lane_stops_at_the_first_that_is_not_due(place: Place) -> None:
    events = place.accept(0, 1, 2)
    for number, event in enumerate(events):
        place.fail(event, 1, START + number * 1000)
    lane = place.retries(1)
    assert [delivery.event for delivery in take_all(lane, START + 30_000)] == events[:1]
    assert [delivery.event for delivery in take_all(lane, START + 31_999)] == events[1:2]
    assert [delivery.event for delivery in take_all(lane, START + 32_000)] == events[2:]


@SIZES
def test_retries_finished_out_of_order_do_not_come_again(size: int) -> None:
    with a_place(size) as place:
        events = [place.accept(number)[0] for number in range(8)]
        for event in events:
            place.fail(event, 1, START)
        taken = take_all(place.retries(1), START + 30_000)
        for number in (6, 1, 2, 4):
            place.record(taken[number], Outcome.DELIVERED if number % 2 else Outcome.FAILED, START + 30_000)
        for reopened in (False, True):
            if reopened:
                place.reopen()
            assert take_all(place.retries(1), START + 60_000) == [taken[number] for number in (0, 3, 5, 7)]
            assert [found.event for found in take_all(place.retries(2), START + 10**9)] == [
                taken[number].event for number in (6, 2, 4)
            ]


@SIZES
def test_a_retry_whose_event_cannot_be_read_is_given_up_in_the_journal(size: int) -> None:
    with a_place(size) as place:
        bad, good = place.accept(0)[0], place.accept(1)[0]
        after = place.fail(bad, 2, START)
        place.fail(good, 2, START)
        place.spoil(bad)
        lane = place.retries(2)
        assert lane.is_due(START + 300_000)
        assert lane.pop(1) == []
        assert [found.event for found in take_all(lane, START + 300_000)] == [good]
        assert place.journal.state.retrying == [0, 1, 0, 0]
        newest = max((place.path / ME / "journal").glob("*.jsonl"))
        entry = lines.decode_journal(newest.read_bytes().splitlines()[-1])
        assert isinstance(entry, DropLine)
        assert (entry.id, entry.action, entry.attempt, entry.after) == (bad.id, "damaged", 3, after)
        place.reopen()
        assert place.journal.state.retrying == [0, 1, 0, 0]


def test_a_retry_is_given_up_rather_than_made_with_the_body_of_another_event(place: Place) -> None:
    first, second = place.accept(0, 1)
    mistaken = StoredEvent(first.id, first.name, first.at, first.body, None, second.position, second.length)
    place.fail(mistaken, 1, START)
    lane = place.retries(1)
    assert lane.is_due(START + 30_000)
    assert lane.pop(1) == []
    assert place.journal.state.retrying == [0, 0, 0, 0]


# --- what it costs


def test_looking_for_what_is_due_reads_the_heads_however_much_waits_behind_them(place: Place) -> None:
    events = place.accept(*range(30_000))
    place.journal.append(
        [
            AttemptLine(event.position, event.length, event.id, "ping", 1, times.to_text(START), Outcome.FAILED, 3)
            for event in events[:15_000]
        ]
    )
    with listened() as calls:
        assert not place.retries(1).is_due(START + 29_999)
        assert place.arrivals.is_due(START)
    assert calls.count("pread") <= 2


def test_passing_a_journal_once_is_enough(place: Place) -> None:
    # One retry waits at the very end, behind thousands of lines that are none.
    events = place.accept(*range(5_000))
    place.fail(events[0], 1, START)
    place.journal.append(
        [
            AttemptLine(event.position, event.length, event.id, "ping", 1, times.to_text(START), Outcome.DELIVERED, 3)
            for event in events[1:-1]
        ]
    )
    place.fail(events[-1], 1, START)
    lane = place.retries(1)
    assert lane.is_due(START + 30_000)
    (first,) = lane.pop(1)
    place.record(first, Outcome.DELIVERED, START + 30_000)
    assert lane.is_due(START + 30_000)
    assert len(place.journal.state.lanes[0].ranges) <= 1
    with listened() as calls:
        assert place.retries(1).is_due(START + 30_000)
    assert calls.count("pread") <= 1
