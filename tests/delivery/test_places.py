"""Shares: how many attempts at once a destination may have, with and without answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arkcli.delivery.places import Limits, Share
from arkcli.model import Answer

OK = Answer(200, None, 5)
SILENT = Answer(None, "no answer within 10 s", 10_000, timed_out=True)
REFUSED = Answer(None, "no connection: connection refused", 0, unreached=True)


def answers(share: Share, count: int, *, timed_out: bool = False) -> None:
    for _ in range(count):
        share.in_flight += 1
        share.ended([SILENT if timed_out else OK])


@pytest.mark.parametrize(
    ("most", "answered", "size"), [(64, 0, 2), (64, 1, 4), (64, 2, 8), (64, 5, 64), (64, 6, 64), (8, 9, 8), (1, 3, 1)]
)
def test_a_share_starts_at_two_and_doubles_with_each_answer(most: int, answered: int, size: int) -> None:
    share = Share(most)
    answers(share, answered)
    assert share.size == size


@pytest.mark.parametrize("answered", [0, 1, 50])
def test_one_time_out_takes_it_back_to_one_place(answered: int) -> None:
    share = Share(64)
    answers(share, answered)
    answers(share, 1, timed_out=True)
    assert (share.size, share.answering) == (1, False)


def test_a_destination_counts_as_answering_from_its_first_answer_on() -> None:
    share = Share(8)
    assert not share.answering
    answers(share, 1)
    assert share.answering


@pytest.mark.parametrize(("active", "room"), [(0, 64), (1, 64), (2, 32), (3, 22), (64, 1), (1000, 1)])
def test_nobody_gets_more_than_an_equal_part_of_all_places_and_everybody_gets_one(active: int, room: int) -> None:
    share = Share(64)
    answers(share, 6)
    assert share.room(Limits(64, 64), active) == room
    share.in_flight = room - 1
    assert share.room(Limits(64, 64), active) == 1
    share.in_flight = room + 1
    assert share.room(Limits(64, 64), active) == 0


@given(most=st.integers(1, 900), endings=st.lists(st.booleans(), max_size=50))
def test_whatever_happens_a_share_has_at_least_one_place_and_at_most_what_is_allowed(
    most: int, endings: list[bool]
) -> None:
    share = Share(most)
    for timed_out in endings:
        answers(share, 1, timed_out=timed_out)
        assert 1 <= share.size <= most


@pytest.mark.parametrize(("total", "silent"), [(64, 48), (4, 3), (2, 1), (1, 1)])
def test_those_that_have_not_answered_leave_a_quarter_to_those_that_have(total: int, silent: int) -> None:
    assert Limits(total).silent == silent


@pytest.mark.parametrize(
    ("answers", "held"),
    [
        ([REFUSED] * 2, False),
        ([REFUSED] * 3, True),
        ([REFUSED, REFUSED, OK, REFUSED, REFUSED], False),
        ([OK, OK, REFUSED, REFUSED, REFUSED], True),
        # Timeouts do not show that the receiver is unreachable.
        ([SILENT] * 9, False),
    ],
)
def test_after_a_few_attempts_in_a_row_that_nobody_answered_nothing_more_is_begun(
    answers: list[Answer], held: bool
) -> None:
    share = Share(8)
    share.in_flight = len(answers)
    share.ended(answers)
    assert share.is_held_back is held


@pytest.mark.parametrize(("answer", "held", "size"), [(OK, False, 2), (REFUSED, True, 1)])
def test_a_probe_is_one_attempt_and_decides(answer: Answer, held: bool, size: int) -> None:
    share = Share(8)
    share.in_flight = 3
    share.ended([REFUSED] * 3)
    share.probe()
    assert (share.is_held_back, share.room(Limits(), 1)) == (False, 1)
    share.in_flight = 1
    share.ended([answer])
    assert (share.is_held_back, share.size) == (held, size)
