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

    def __init__(self) -> None:
        self.state = DestinationState(joined(0, 4))

    def add(self, *entries: Entry) -> "Fold":
        for entry in entries:
            self.state.apply(entry, self.state.journal, self.state.journal + 10)
        return self

    @property
    def counts(self) -> tuple[int, list[int], int]:
        """Where the event log's cursor stands, the retries per lane, the dead."""
        return self.state.first.cursor // 100, self.state.retrying, self.state.dead


def test_a_destination_joins_with_nothing_done_and_nothing_waiting_before_its_place() -> None:
    state = DestinationState(joined(88_210, 4))
    assert (state.first.cursor, state.first.ranges) == (88_210, [])
    assert (state.retrying, state.dead, state.last, len(state.newly_dead)) == ([0, 0, 0, 0], 0, None, 0)
    assert len(state.lanes) == 4


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
    fold = Fold().add(*CHAIN[:broken], None, *CHAIN[broken + 1 :], *ending)
    assert min(fold.state.retrying) >= 0
    assert fold.state.dead >= 0


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
    for lane, places in enumerate(life.retrying):
        for line in life.lines:
            if places and isinstance(line.entry, AttemptLine) and line.entry.outcome is BAD:
                waits = line.entry.attempt == lane + 1 and state.lanes[lane].passed(line.start) is None
                assert waits == ((line.start, line.end - line.start) in places)


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
