"""The chart of the last hour, shown on terminals only."""

import re
from collections.abc import Callable
from contextlib import closing

import pytest

from arkcli.actions.stats import Slot
from arkcli.cli.chart import drawn, latencies
from tests.world import TestReceiver, World, in_turn


def slot(delivered: int, failed: int) -> Slot:
    made = Slot()
    made.delivered, made.failed = delivered, failed
    return made


@pytest.mark.parametrize(
    ("slots", "pieces"),
    [
        ([slot(0, 0)], [("·", "dim"), "0 attempts"]),
        ([slot(8, 0), slot(0, 0)], [("█", "green"), ("·", "dim"), "8 attempts"]),
        ([slot(8, 0), slot(0, 1)], [("█", "green"), ("▁", "red"), "9 attempts, 1 failed"]),
        ([slot(1, 0), slot(3, 1)], [("▂", "green"), ("█", "yellow"), "5 attempts, 1 failed"]),
        ([slot(2, 2), slot(3, 1)], [("█", "red"), ("█", "yellow"), "8 attempts, 3 failed"]),
        ([slot(1, 0), slot(10_000, 0)], [("▁", "green"), ("█", "green"), "10,001 attempts"]),
        ([slot(999, 1), slot(0, 1_000)], [("█", "yellow"), ("█", "red"), "2,000 attempts, 1,001 failed"]),
    ],
)
def test_a_bar_is_as_high_as_there_were_attempts_and_its_colour_says_how_many_of_them_failed(
    slots: list[Slot], pieces: list[object]
) -> None:
    bars, counts = drawn(slots)
    assert [*bars.pieces, counts] == pieces


def test_the_longest_bar_of_a_histogram_is_full_and_nothing_is_a_dot() -> None:
    assert list(latencies([0, 1, 8]).pieces) == [("·", "dim"), ("▁", "cyan"), ("█", "cyan")]


def test_what_is_not_known_is_not_drawn_as_nothing() -> None:
    bars, counts = drawn([slot(0, 0), slot(0, 0), slot(1, 0)], known=2)
    assert [*bars.pieces, counts] == [("?", "dim"), ("·", "dim"), ("█", "green"), "1+ attempts"]


def test_of_a_long_journal_only_the_end_is_read(world: World, receive: Callable[..., TestReceiver]) -> None:
    world.add(receive(200), "crm")
    for _ in range(20):
        world.ark("send", "signal.promoted", "--sample", "--queue")
    world.ark("drain")
    (store,) = world.session().home.store.read().destinations
    session = world.session()
    with closing(session.home.queue.view(store.id)) as view:
        some, complete = view.recent(2_000)
        everything, all_of_it = view.recent(1_000_000)
    assert (len(everything), all_of_it) == (20, True)
    assert 0 < len(some) < 20
    assert (some, complete) == (everything[-len(some) :], False)


def test_a_terminal_shows_the_last_hour(world: World, receive: Callable[..., TestReceiver]) -> None:
    world.add(receive(in_turn(200, 503)), "crm")
    world.ark("send", "signal.promoted", "--sample")
    world.clock.advance(1800)
    world.ark("send", "signal.promoted", "--sample")
    shown = world.on_a_terminal("queue", columns=100, NO_COLOR="1")
    assert "·····█·····█  2 attempts, 1 failed" in shown
    assert "in 30 s" in shown
    assert "\x1b[31m█" in world.on_a_terminal("queue", columns=100, TERM="xterm")
    assert "█" not in world.ark("queue").out


@pytest.mark.parametrize("columns", [40, 60])
def test_on_a_narrow_terminal_nothing_is_cut(world: World, receive: Callable[..., TestReceiver], columns: int) -> None:
    world.add(receive(200), "a-name-that-is-long")
    world.ark("send", "signal.promoted", "--sample")
    shown = world.on_a_terminal("queue", columns=columns, TERM="dumb")
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) <= columns
    assert re.search(rf"^a-name-that-is-long {' +0' * (3 if columns == 60 else 1)}", shown, re.MULTILINE)
