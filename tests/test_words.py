"""Numbers and ends in a sentence."""

import pytest

from arkcli.words import counted, process_ending


@pytest.mark.parametrize(("number", "said"), [(0, "0 lines"), (1, "1 line"), (2, "2 lines"), (12_345, "12,345 lines")])
def test_so_many_things_are_said_as_people_say_it(number: int, said: str) -> None:
    assert counted(number, "line") == said


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 deliveries are"), (1, "1 delivery is"), (2_000, "2,000 deliveries are")]
)
def test_a_plural_of_its_own_may_bring_its_verb(number: int, said: str) -> None:
    assert counted(number, "delivery is", "deliveries are") == said


@pytest.mark.parametrize(("status", "said"), [(0, "ended with 0"), (3, "ended with 3"), (-9, "was killed by signal 9")])
def test_how_a_process_ended_is_said(status: int, said: str) -> None:
    assert process_ending(status) == said
