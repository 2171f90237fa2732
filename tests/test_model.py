"""The words: what counts as delivered, and where an attempt leaves a delivery."""

import msgspec
import pytest

from arkcli.model import MAX_ATTEMPTS, Answer, Attempt, Destination, Outcome, State, state_after
from arkcli.schedule import DOCUMENTED


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
    ("attempt", "outcome", "state"),
    [
        *((attempt, Outcome.DELIVERED, State.DELIVERED) for attempt in range(1, 6)),
        *((attempt, Outcome.FAILED, State.RETRYING) for attempt in range(1, 5)),
        (5, Outcome.FAILED, State.DEAD),
    ],
)
def test_a_delivery_is_retried_until_its_fifth_failure_makes_it_dead(
    attempt: int, outcome: Outcome, state: State
) -> None:
    assert state_after(attempt, outcome) is state
    made = Attempt("evt_1", "signal.promoted", attempt, 0, outcome, None, None, 1, "")
    assert made.state is state


def test_as_many_attempts_are_made_as_the_schedule_has() -> None:
    assert MAX_ATTEMPTS == DOCUMENTED.attempts == 5


def test_a_destination_is_written_without_what_it_leaves_at_its_default() -> None:
    plain = Destination(id="dst_1", name="crm", url="https://crm.example/hook", added_at="2026-11-23T11:28:48.123Z")
    assert msgspec.to_builtins(plain) == {
        "id": "dst_1",
        "name": "crm",
        "url": "https://crm.example/hook",
        "added_at": "2026-11-23T11:28:48.123Z",
    }


def test_the_words_of_outcomes_and_states_are_those_that_scripts_rely_on() -> None:
    assert [str(outcome) for outcome in Outcome] == ["delivered", "failed"]
    assert [str(state) for state in State] == ["waiting", "retrying", "delivered", "dead", "dropped"]
