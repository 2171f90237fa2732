"""The state of a destination is a fold of its journal: recording and recovering cannot disagree."""

from typing import Final, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arkcli import times
from arkcli.model import Outcome
from arkcli.queue.local.lines import AttemptLine, DropLine, Snapshot
from arkcli.queue.local.state import DestinationState, joined
from tests.world import START

#: The attempt that a dropped dead delivery is said to have been waiting for.
DEAD: Final = 5 + 1
AT: Final = times.to_text(START)
OK: Final = Outcome.DELIVERED
BAD: Final = Outcome.FAILED
Entry = AttemptLine | DropLine | None


def attempt(event: int, number: int, outcome: Outcome, after: tuple[int, int] | None = None) -> AttemptLine:
    """An attempt at an event; events are 100 bytes long."""
    return AttemptLine(event * 100, 100, f"evt_{event}", "ping", number, AT, outcome, 3, after=after)


def drop(event: int, number: int, after: tuple[int, int] | None = None) -> DropLine:
    return DropLine(event * 100, 100, f"evt_{event}", "ping", "drop", number, AT, after)


class Fold:
    """A journal of lines of ten bytes each, and the state after them."""

    def __init__(self, retries: int = 4) -> None:
        self.state = DestinationState(joined(0, retries))

    def add(self, *entries: Entry) -> "Fold":
        for entry in entries:
            self.state.apply(entry, self.state.journal, self.state.journal + 10)
        return self

    @property
    def counts(self) -> tuple[int, list[int], int]:
        """The event log's cursor, the retries per lane, the number of dead deliveries."""
        return self.state.first.cursor // 100, self.state.retrying, self.state.dead


def test_a_destination_joins_with_nothing_done_and_nothing_waiting_before_its_place() -> None:
    state = DestinationState(joined(88_210, 4))
    assert (state.first.cursor, state.first.ranges) == (88_210, [])
    assert (state.retrying, state.dead, state.last, len(state.newly_dead)) == ([0, 0, 0, 0], 0, None, 0)
    assert state.journal == 0
    assert [(lane.cursor, lane.ranges) for lane in state.lanes] == [(0, [])] * 4


CHAIN: Final = [attempt(0, 1, BAD)] + [attempt(0, number, BAD, ((number - 2) * 10, 10)) for number in range(2, 6)]


@pytest.mark.parametrize(
    ("entries", "counts"),
    [
        ([], (0, [0, 0, 0, 0], 0)),
        ([attempt(0, 1, OK)], (1, [0, 0, 0, 0], 0)),
        (CHAIN[:1], (1, [1, 0, 0, 0], 0)),
        (CHAIN[:2], (1, [0, 1, 0, 0], 0)),
        (CHAIN[:3], (1, [0, 0, 1, 0], 0)),
        (CHAIN[:4], (1, [0, 0, 0, 1], 0)),
        (CHAIN[:5], (1, [0, 0, 0, 0], 1)),
        ([*CHAIN[:1], attempt(0, 2, OK, (0, 10))], (1, [0, 0, 0, 0], 0)),
        ([*CHAIN[:4], attempt(0, 5, OK, (30, 10))], (1, [0, 0, 0, 0], 0)),
        ([attempt(1, 1, OK)], (0, [0, 0, 0, 0], 0)),
        ([attempt(1, 1, BAD)], (0, [1, 0, 0, 0], 0)),
        ([attempt(1, 1, BAD), attempt(0, 1, BAD)], (2, [2, 0, 0, 0], 0)),
        ([drop(0, 1)], (1, [0, 0, 0, 0], 0)),
        ([*CHAIN[:1], drop(0, 2, (0, 10))], (1, [0, 0, 0, 0], 0)),
        ([*CHAIN[:4], drop(0, 5, (30, 10))], (1, [0, 0, 0, 0], 0)),
        ([*CHAIN, drop(0, DEAD)], (1, [0, 0, 0, 0], 0)),
        # The line of its cause is not there: somebody cut it out.
        ([attempt(0, 2, BAD, (70, 10))], (0, [0, 0, 0, 0], 0)),
        ([attempt(0, 2, OK, (70, 10)), attempt(1, 1, BAD)], (0, [1, 0, 0, 0], 0)),
        # There is no such attempt.
        ([*CHAIN, drop(0, DEAD + 1)], (1, [0, 0, 0, 0], 1)),
    ],
)
def test_each_line_takes_its_delivery_from_one_state_to_the_next(
    entries: list[Entry], counts: tuple[int, list[int], int]
) -> None:
    assert Fold().add(*entries).counts == counts


@pytest.mark.parametrize(
    "repeated",
    [
        attempt(0, 1, BAD),
        attempt(0, 1, OK),
        attempt(0, 2, BAD, (0, 10)),
        attempt(0, 2, OK, (0, 10)),
        attempt(1, 1, BAD),
        attempt(1, 1, OK),
        drop(0, 1),
        drop(0, 2, (0, 10)),
        drop(1, 1),
    ],
)
def test_a_line_that_finishes_what_is_finished_is_ignored_and_so_is_the_retry_it_would_schedule(
    repeated: AttemptLine | DropLine,
) -> None:
    entries = [*CHAIN[:2], attempt(1, 1, OK)]
    once, again = Fold().add(*entries), Fold().add(*entries, repeated)

    assert again.counts == once.counts
    assert again.state.last == once.state.last
    assert again.state.lanes[1].passed(10) is None, "the retry that does wait still waits"


@pytest.mark.parametrize("before", [[], CHAIN[:1], CHAIN[:3], CHAIN])
def test_a_damaged_line_and_a_snapshot_change_nothing_but_the_position(before: list[Entry]) -> None:
    once, again = Fold().add(*before), Fold().add(*before)
    again.state.apply(None, again.state.journal, again.state.journal + 7)
    again.state.apply(joined(5, 4), again.state.journal, again.state.journal + 9)

    assert again.counts == once.counts
    assert again.state.journal == once.state.journal + 16


def test_a_retry_whose_cause_is_damaged_never_makes_a_count_wrong() -> None:
    # The first line was "attempt 1 failed"; as a broken line it counts as never made.
    fold = Fold().add(None, attempt(0, 2, BAD, (0, 10)))
    assert min(fold.state.retrying) >= 0

    fold.add(attempt(1, 1, BAD))
    assert fold.state.retrying[0] == 1, "the failure of another delivery is to be retried"


def test_a_delivery_whose_first_failure_is_damaged_never_has_two_chains() -> None:
    fold = Fold().add(None, attempt(0, 2, BAD, (0, 10)))
    waiting = fold.state.first.passed(0) is None
    assert waiting + sum(max(count, 0) for count in fold.state.retrying) == 1


@pytest.mark.parametrize("broken", range(5))
@pytest.mark.parametrize("ending", [[], [drop(0, DEAD)]], ids=["dead", "dropped"])
def test_no_count_is_ever_below_nothing_whichever_line_of_a_chain_is_damaged(broken: int, ending: list[Entry]) -> None:
    fold = Fold().add(*damaged(broken), *ending)
    assert min(fold.state.retrying) >= 0
    assert fold.state.dead >= 0


def damaged(broken: int) -> list[Entry]:
    """The chain, one of its lines not to be read."""
    return [*CHAIN[:broken], None, *CHAIN[broken + 1 :]]


@pytest.mark.parametrize("broken", range(5))
def test_no_retry_is_awaited_by_a_line_whose_cause_is_damaged(broken: int) -> None:
    # Another delivery waits, so that the lane's cursor is before the chain.
    fold = Fold().add(attempt(1, 1, BAD))
    for place, entry in enumerate(damaged(broken)):
        after = (place * 10, 10) if place else None
        fold.add(attempt(0, place + 1, BAD, after) if entry else None)
    awaited = [place for place, entry in enumerate(CHAIN) if fold.state.awaits_retry(entry, 10 + place * 10)]
    assert awaited == ([broken - 1] if broken else [])


@pytest.mark.parametrize(
    ("entries", "gone"),
    [
        (CHAIN, []),
        ([*CHAIN, CHAIN[4]], []),
        (damaged(0)[:2], []),
        (damaged(3), [0]),
        (damaged(0), [0]),
        ([*damaged(3), attempt(0, 4, BAD, (20, 10)), attempt(0, 5, BAD, (50, 10))], []),
        ([*CHAIN, drop(0, DEAD)], [0]),
        ([attempt(0, 5, BAD)], []),
    ],
    ids=[
        "dead",
        "dead, said twice",
        "a retry whose cause is damaged",
        "a death whose cause is damaged",
        "a death that goes back to what is damaged",
        "and then it died",
        "dropped",
        "a death of which no cause is told",
    ],
)
def test_a_dead_letter_counts_unless_it_was_dropped_or_its_death_was_built_upon_a_damaged_line(
    entries: list[Entry], gone: list[int]
) -> None:
    assert Fold().add(*entries).state.snapshot().gone == gone


def test_a_line_that_does_not_count_is_passed_over_and_not_counted() -> None:
    fold = Fold().add(attempt(0, 1, BAD), None)
    assert fold.state.snapshot().lanes[0] == (0, [(10, 20, 0)])


def test_a_snapshot_keeps_nothing_of_a_lane_in_which_nothing_waits() -> None:
    fold = Fold().add(attempt(0, 1, BAD), drop(2, 1), attempt(1, 1, BAD))
    fold.add(attempt(1, 2, OK, (20, 10)), attempt(0, 2, OK, (0, 10)))
    assert fold.state.snapshot().lanes == [(50, [])] * 4


def test_the_dead_are_counted_one_by_one_as_they_are_dropped() -> None:
    fold, place = Fold(), 0
    for event in range(4):
        fold.add(attempt(event, 1, BAD), *(attempt(event, n, BAD, (place + (n - 2) * 10, 10)) for n in range(2, 6)))
        place += 50
    counts = [fold.state.dead]
    for event in (2, 0, 3, 0, 1):
        counts.append(fold.add(drop(event, DEAD)).state.dead)
    assert counts == [4, 3, 2, 1, 1, 0]


@pytest.mark.parametrize("retries", [1, 2, 3, 8])
def test_a_delivery_dies_by_its_last_failure_however_many_attempts_it_has(retries: int) -> None:
    fold = Fold(retries)
    for number in range(1, retries + 2):
        assert fold.state.dead == 0
        fold.add(attempt(0, number, BAD, ((number - 2) * 10, 10) if number > 1 else None))
    assert (fold.state.retrying, fold.state.dead, fold.state.beyond) == ([0] * retries, 1, retries + 2)
    assert fold.add(drop(0, retries + 2)).state.dead == 0


@pytest.mark.parametrize(
    ("entries", "newest"),
    [
        ([drop(3, 1)], None),
        ([attempt(1, 1, OK)], (100, 100, "evt_1")),
        ([attempt(1, 1, OK), attempt(3, 1, BAD), attempt(2, 1, OK)], (300, 100, "evt_3")),
        ([attempt(3, 1, OK), attempt(3, 1, BAD), attempt(5, 2, OK, (90, 10))], (300, 100, "evt_3")),
        ([attempt(1, 1, BAD), attempt(5, 2, OK, (0, 10))], (500, 100, "evt_5")),
        ([attempt(3, 1, OK), attempt(1, 1, BAD), attempt(1, 2, OK, (10, 10))], (300, 100, "evt_3")),
    ],
)
def test_the_newest_event_is_the_furthest_of_which_an_attempt_counted(
    entries: list[Entry], newest: tuple[int, int, str] | None
) -> None:
    assert Fold().add(*entries).state.newest == newest


def test_of_two_events_that_stood_at_one_place_of_the_log_the_later_is_the_newest() -> None:
    """After a power failure another event may be at the log's former end."""
    state = DestinationState(joined(0, 4))
    state.newest = (100, 90, "evt_lost")
    state.apply(attempt(1, 1, OK), 0, 10)
    assert state.newest == (100, 100, "evt_1")


def test_the_newly_dead_are_those_since_the_snapshot() -> None:
    fold = Fold().add(*CHAIN)
    assert len(fold.state.newly_dead) == 1
    assert not DestinationState(fold.state.snapshot()).newly_dead


def test_a_fifth_failure_that_is_repeated_leaves_the_delivery_dead_and_its_letter_in_place() -> None:
    fold = Fold().add(*CHAIN)
    fold.state = DestinationState(fold.state.snapshot())
    fold.add(CHAIN[4])
    assert fold.state.dead == 1
    assert not fold.state.gone


def test_a_dead_delivery_that_was_dropped_is_not_to_be_copied_any_more() -> None:
    assert not Fold().add(*CHAIN, drop(0, DEAD)).state.newly_dead


def test_the_last_attempt_is_the_last_that_counted() -> None:
    fold = Fold().add(attempt(0, 1, BAD), attempt(1, 1, OK), attempt(0, 1, OK), drop(2, 1), None)
    assert fold.state.last == attempt(1, 1, OK)


class Placed(NamedTuple):
    entry: Entry
    start: int
    end: int


class Life(NamedTuple):
    """A journal as it could have come about, and what it means: the oracle knows each delivery by name."""

    events: int
    lines: list[Placed]
    waiting: set[int]
    retrying: list[set[tuple[int, int]]]
    dead: set[int]


@st.composite
def lives(draw: st.DrawFn) -> Life:
    """Attempts in any order, with repetitions, drops, damage that hides nothing, and lines of all lengths."""
    events = draw(st.integers(1, 5))
    waiting = set(range(events))
    retrying: list[set[tuple[int, int]]] = [set() for _ in range(4)]
    caused: dict[tuple[int, int], int] = {}
    dead: set[int] = set()
    written: list[Placed] = []
    position = 0

    def write(entry: Entry) -> tuple[int, int]:
        nonlocal position
        start, position = position, position + draw(st.integers(1, 9))
        written.append(Placed(entry, start, position))
        return start, position - start

    for _ in range(draw(st.integers(0, 60))):
        deed = draw(st.sampled_from(["attempt", "attempt", "attempt", "drop", "repeat", "noise"]))
        live = [(event, 1, None) for event in sorted(waiting)] + [
            (caused[place], lane + 2, place) for lane, places in enumerate(retrying) for place in sorted(places)
        ]
        if deed == "drop" and dead and draw(st.booleans()):
            event = draw(st.sampled_from(sorted(dead)))
            dead.discard(event)
            write(drop(event, DEAD))
            continue
        if deed == "noise":
            write(None)
        elif deed == "repeat" and written:
            write(draw(st.sampled_from(written)).entry)
        elif live and deed in {"attempt", "drop"}:
            event, number, after = draw(st.sampled_from(live))
            outcome = draw(st.sampled_from([BAD, BAD, BAD, OK]))
            place = write(drop(event, number, after) if deed == "drop" else attempt(event, number, outcome, after))
            waiting.discard(event)
            if after is not None:
                retrying[number - 2].discard(after)
            if deed == "attempt" and outcome is BAD:
                if number == 5:
                    dead.add(event)
                else:
                    retrying[number - 1].add(place)
                    caused[place] = event
    return Life(events, written, waiting, retrying, dead)


def check(state: DestinationState, life: Life) -> None:
    assert {event for event in range(life.events) if state.first.passed(event * 100) is None} == life.waiting
    assert state.retrying == [len(places) for places in life.retrying]
    assert state.dead == len(life.dead)
    awaited = set().union(*life.retrying)
    for line in life.lines:
        if isinstance(line.entry, AttemptLine):
            assert state.awaits_retry(line.entry, line.start) == ((line.start, line.end - line.start) in awaited)


@settings(deadline=None, max_examples=150)
@given(lives())
def test_a_delivery_waits_retries_or_is_dead_exactly_as_its_lines_say(life: Life) -> None:
    state = DestinationState(joined(0, 4))
    for line in life.lines:
        state.apply(*line)
    check(state, life)
    assert len(state.newly_dead) == len(life.dead)


@settings(deadline=None, max_examples=150)
@given(lives(), st.lists(st.integers(0, 40), max_size=4))
def test_folding_from_any_snapshot_on_is_folding_from_the_beginning(life: Life, snapshots: list[int]) -> None:
    whole, pieced = DestinationState(joined(0, 4)), DestinationState(joined(0, 4))
    for number, line in enumerate(life.lines):
        if number in snapshots:
            pieced = DestinationState(pieced.snapshot())
        whole.apply(*line)
        pieced.apply(*line)

    check(pieced, life)
    assert (pieced.first.cursor, pieced.first.ranges) == (whole.first.cursor, whole.first.ranges)
    assert pieced.snapshot() == whole.snapshot()


@settings(deadline=None)
@given(lives())
def test_taking_a_snapshot_does_not_change_what_the_state_says(life: Life) -> None:
    state = DestinationState(joined(0, 4))
    for line in life.lines:
        state.apply(*line)
        taken: Snapshot = state.snapshot()
        assert state.snapshot() == taken
    check(state, life)
