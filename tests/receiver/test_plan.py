"""Valid and invalid plans."""

from itertools import chain, repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arkcli.httpd.messages import Silence
from arkcli.receiver.plan import Answer, parse


@pytest.mark.parametrize(
    ("text", "answers"),
    [
        ("200", [200, 200, 200]),
        ("503,200", [503, 200, 200, 200]),
        ("503x2,timeout,reset,200", [503, 503, "timeout", "reset", 200, 200]),
        ("timeoutx2, resetx1 ,204", ["timeout", "timeout", "reset", 204, 204]),
        ("reset", ["reset", "reset"]),
        ("200x3,500x2", [200, 200, 200, 500, 500, 500]),
        ("200x1000000000,599", [200, 200]),
        (f"200x{2**64},599", [200, 200]),
    ],
)
def test_answers_come_in_order_and_the_last_one_for_ever(text: str, answers: list[Answer]) -> None:
    plan = parse(text)
    assert [next(plan) for _ in answers] == answers


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "''"),
        ("200,", "''"),
        ("ok", "'ok'"),
        ("100", "'100'"),
        ("600", "'600'"),
        ("99", "'99'"),
        ("5030", "'5030'"),
        ("-200", "'-200'"),
        ("200 503", "'200 503'"),
        ("503x", "'503x'"),
        ("503x0,200", "'503x0'"),
        ("503x-1", "'503x-1'"),
        ("x2", "'x2'"),
        ("٥٠٣", "'٥٠٣'"),
        ("200;503", "'200;503'"),
    ],
)
def test_what_is_no_plan_is_named(text: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=r"an answer|never be answered") as raised:
        parse(text)
    assert str(raised.value).startswith(wrong)


steps = st.tuples(st.integers(200, 599) | st.sampled_from(Silence), st.integers(1, 4))


@given(st.lists(steps, min_size=1, max_size=6))
def test_a_plan_is_read_as_it_is_written(written: list[tuple[Answer, int]]) -> None:
    plan = parse(",".join(f"{answer}x{times}" for answer, times in written))
    expected = list(chain.from_iterable(repeat(answer, times) for answer, times in written))
    assert [next(plan) for _ in expected] == expected
    assert {next(plan) for _ in range(3)} == {expected[-1]}
