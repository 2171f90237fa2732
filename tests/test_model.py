"""The domain types: what counts as delivered, and when a failed delivery is retried."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arkcli.model import (
    AHEAD,
    DOCUMENTED,
    Answer,
    Attempt,
    Delivery,
    Destination,
    Draft,
    Event,
    Outcome,
    RetrySchedule,
    State,
)
from tests.world import START

SECOND, MINUTE, HOUR = 1000, 60_000, 3_600_000
#: The attempt that failed, and the time from then until the next one is due (contract, "Delivery and retries").
DELAYS = [(1, 30 * SECOND), (2, 5 * MINUTE), (3, 30 * MINUTE), (4, 2 * HOUR)]


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 226, 299])
def test_a_2xx_is_delivered(status: int) -> None:
    assert Answer(status, None, 1).outcome is Outcome.DELIVERED


@pytest.mark.parametrize("status", [0, 100, 103, 199, 300, 301, 304, 308, 400, 404, 429, 500, 503, 599, 999, None])
def test_nothing_else_is_delivered(status: int | None) -> None:
    assert Answer(status, None, 1).outcome is Outcome.FAILED


@pytest.mark.parametrize("status", [200, 204, 500, None])
def test_nothing_with_an_error_is_delivered(status: int | None) -> None:
    assert Answer(status, "the connection broke", 1).outcome is Outcome.FAILED


@pytest.mark.parametrize(
    ("status", "duration", "is_unreachable"),
    [
        *((status, duration, True) for status in (502, 503, 504) for duration in (0, 999)),
        *((status, duration, False) for status in (502, 503, 504) for duration in (1_000, 1_001)),
        *((status, 0, False) for status in (None, 200, 404, 500, 501, 505)),
    ],
)
def test_a_receiver_is_unreachable_when_a_gateway_says_so_within_a_second(
    status: int | None, duration: int, is_unreachable: bool
) -> None:
    assert Answer(status, "no", duration).is_unreachable is is_unreachable
    assert Answer(status, "no", duration, unreached=True).is_unreachable


def test_an_answer_has_its_status_alone_unless_more_is_said() -> None:
    plain = Answer(200, None, 1)
    assert (plain.excerpt, plain.timed_out, plain.unreached, plain.lacking) == ("", False, False, None)


@pytest.mark.parametrize("kind", [Answer, Attempt, Delivery, Destination, Draft, Event])
def test_a_value_never_changes(kind: type[msgspec.Struct]) -> None:
    assert kind.__struct_config__.frozen


def test_a_destination_has_no_keys_but_its_own() -> None:
    with pytest.raises(msgspec.ValidationError, match="colour"):
        msgspec.convert({"id": "dst_1", "name": "crm", "url": "u", "added_at": "now", "colour": "red"}, Destination)


def test_a_destination_is_written_without_what_it_leaves_at_its_default() -> None:
    plain = Destination(id="dst_1", name="crm", url="https://crm.example/hook", added_at="2026-11-23T11:28:48.123Z")
    assert not (plain.paused or plain.allow_local)
    assert msgspec.to_builtins(plain) == {
        "id": "dst_1",
        "name": "crm",
        "url": "https://crm.example/hook",
        "added_at": "2026-11-23T11:28:48.123Z",
    }


def test_the_words_of_outcomes_and_states_are_those_that_scripts_rely_on() -> None:
    assert [str(outcome) for outcome in Outcome] == ["delivered", "failed"]
    assert [str(state) for state in State] == ["waiting", "retrying", "delivered", "dead", "dropped"]


def test_there_are_five_attempts_in_all() -> None:
    assert DOCUMENTED.attempts == 5
    assert DOCUMENTED.delays == tuple(delay for _, delay in DELAYS)


@pytest.mark.parametrize(("attempt", "delay"), DELAYS)
def test_the_next_attempt_is_due_a_documented_delay_after_the_attempt_before_it(attempt: int, delay: int) -> None:
    assert DOCUMENTED.next_attempt_at(attempt, START) == START + delay


@pytest.mark.parametrize(("attempt", "delay"), DELAYS)
def test_a_retry_is_due_at_the_exact_millisecond_and_not_one_before(attempt: int, delay: int) -> None:
    assert not DOCUMENTED.is_due(attempt, START, START)
    assert not DOCUMENTED.is_due(attempt, START, START + delay - 1)
    assert DOCUMENTED.is_due(attempt, START, START + delay)
    assert DOCUMENTED.is_due(attempt, START, START + delay + 1)


@pytest.mark.parametrize("attempt", [1, 2, 3, 4])
def test_a_retry_is_due_when_the_clock_was_set_back(attempt: int) -> None:
    assert not DOCUMENTED.is_due(attempt, START, START - AHEAD)
    assert DOCUMENTED.is_due(attempt, START, START - AHEAD - 1)
    assert DOCUMENTED.is_due(attempt, START, 0)


@pytest.mark.parametrize(("attempt", "delay"), DELAYS)
@pytest.mark.parametrize(
    ("failed_ago", "due_in"),
    [
        (0, "delay"),
        (SECOND, "delay less a second"),
        (-1, "delay and a millisecond"),
        (-AHEAD - 1, "now"),
        (-365 * 24 * HOUR, "now"),
    ],
)
def test_a_failure_that_is_dated_in_the_future_is_told_to_be_due_now(
    attempt: int, delay: int, failed_ago: int, due_in: str
) -> None:
    expected = {
        "delay": delay,
        "delay less a second": delay - SECOND,
        "delay and a millisecond": delay + 1,
        "now": 0,
    }[due_in]
    assert DOCUMENTED.next_attempt_at(attempt, START - failed_ago, START) == START + expected


@pytest.mark.parametrize("now", [0, START, START + 24 * HOUR, START * 2])
def test_after_the_fifth_attempt_nothing_is_ever_due(now: int) -> None:
    assert DOCUMENTED.next_attempt_at(5, START) is None
    assert DOCUMENTED.next_attempt_at(5, START, now) is None
    assert not DOCUMENTED.is_due(5, START, now)


@settings(deadline=None)
@given(attempt=st.integers(1, 4), failed_at=st.integers(0, START * 2), passed=st.integers(0, 4 * HOUR))
def test_while_the_clock_runs_forward_a_retry_is_due_exactly_when_its_time_has_come(
    attempt: int, failed_at: int, passed: int
) -> None:
    due_at = DOCUMENTED.next_attempt_at(attempt, failed_at)
    assert due_at is not None
    assert DOCUMENTED.is_due(attempt, failed_at, failed_at + passed) is (failed_at + passed >= due_at)


@pytest.mark.parametrize("retries", [1, 2, 4, 8])
def test_a_delivery_is_retried_until_its_last_failure_makes_it_dead(retries: int) -> None:
    schedule = RetrySchedule((1_000,) * retries)
    for attempt in range(1, retries + 2):
        assert schedule.state_after(attempt, Outcome.DELIVERED) is State.DELIVERED
        last = State.DEAD if attempt == retries + 1 else State.RETRYING
        assert schedule.state_after(attempt, Outcome.FAILED) is last
        assert (schedule.next_attempt_at(attempt, START) is None) == (last is State.DEAD)


@pytest.mark.parametrize("attempt", [6, 7, 300])
def test_an_attempt_beyond_the_schedule_is_the_last_too(attempt: int) -> None:
    assert DOCUMENTED.state_after(attempt, Outcome.DELIVERED) is State.DELIVERED
    assert DOCUMENTED.state_after(attempt, Outcome.FAILED) is State.DEAD
    assert DOCUMENTED.next_attempt_at(attempt, START) is None
    assert not DOCUMENTED.is_due(attempt, START, START * 2)


def test_the_documented_schedule_makes_five_attempts() -> None:
    states = [DOCUMENTED.state_after(attempt, Outcome.FAILED) for attempt in range(1, 6)]
    assert states == [State.RETRYING] * 4 + [State.DEAD]
