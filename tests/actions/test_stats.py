"""Statistics over attempts."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arkcli.actions.stats import Summary, recent
from arkcli.model import Attempt, Outcome

MINUTE = 60_000


def attempt(at: int = 0, duration: int = 1, outcome: Outcome = Outcome.DELIVERED) -> Attempt:
    return Attempt("evt_1", "ping", 1, at, outcome, 200, None, duration, "")


def summed(*attempts: Attempt) -> Summary:
    found = Summary()
    for one in attempts:
        found.add(one)
    return found


def test_of_nothing_nothing_is_known() -> None:
    found = Summary()
    assert (found.attempts, found.failed, found.delivered_share, found.per_minute) == (0, 0, None, None)
    assert found.percentile(0.5) is None


def test_counts_shares_and_rates() -> None:
    found = summed(attempt(0), attempt(MINUTE), attempt(2 * MINUTE, outcome=Outcome.FAILED))
    assert (found.attempts, found.delivered, found.failed) == (3, 2, 1)
    assert found.delivered_share == pytest.approx(2 / 3)
    assert found.per_minute == 1.0
    assert summed(attempt(5), attempt(5)).per_minute is None


@given(st.lists(st.integers(0, 11_000), min_size=1), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_percentile_is_the_nearest_rank_of_the_sorted_durations(durations: list[int], share: float) -> None:
    rank = max(math.ceil(Fraction(str(share)) * len(durations)), 1)
    assert summed(*(attempt(duration=one) for one in durations)).percentile(share) == sorted(durations)[rank - 1]


def test_memory_does_not_grow_with_the_log() -> None:
    found = summed(*(attempt(duration=number % 7) for number in range(1_000)), attempt(duration=10**12))
    assert len(found._durations) == 8


@pytest.mark.parametrize(
    ("at", "place"),
    [(0, 11), (-4 * MINUTE, 11), (-5 * MINUTE, 10), (-59 * MINUTE, 0), (-60 * MINUTE, None), (MINUTE, None)],
)
def test_an_hour_in_slots_of_five_minutes(at: int, place: int | None) -> None:
    now = 1_000 * MINUTE
    found = recent(([attempt(now + at, outcome=Outcome.FAILED)], True), now, 12, 5 * MINUTE).slots
    assert [index for index, slot in enumerate(found) if slot.failed] == ([] if place is None else [place])
    assert sum(slot.delivered for slot in found) == 0


def test_a_histogram_counts_what_is_below_each_bound_and_what_is_above_all() -> None:
    found = summed(*(attempt(duration=took) for took in (0, 2, 3, 9, 10, 10, 500)))
    assert found.histogram([3, 10]) == [2, 2, 3]
    assert Summary().histogram([3, 10]) == [0, 0, 0]
