"""The words: what counts as delivered."""

import msgspec
import pytest

from arkcli.model import Answer, Destination, Outcome, State


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 226, 299])
def test_a_2xx_is_delivered(status: int) -> None:
    assert Answer(status, None, 1).outcome is Outcome.DELIVERED


@pytest.mark.parametrize("status", [0, 100, 103, 199, 300, 301, 304, 308, 400, 404, 429, 500, 503, 599, 999, None])
def test_nothing_else_is_delivered(status: int | None) -> None:
    assert Answer(status, None, 1).outcome is Outcome.FAILED


@pytest.mark.parametrize("status", [200, 204, 500, None])
def test_nothing_with_an_error_is_delivered(status: int | None) -> None:
    assert Answer(status, "the connection broke", 1).outcome is Outcome.FAILED


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
