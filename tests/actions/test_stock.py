"""What waits, counted for a person who watches a drain."""

from collections.abc import Callable

import pytest

from arkcli.actions import drain
from arkcli.actions.drain import Stock
from tests.test_processes import accept
from tests.world import TestReceiver, World

Receive = Callable[..., TestReceiver]


@pytest.fixture
def retrying(world: World, receive: Receive) -> World:
    """Two destinations with three deliveries each that are retried in 30 s, and one more, which is due."""
    for name in ("a", "b"):
        world.add(receive(500), name)
    accept(world, 3)
    world.ark("drain")
    accept(world, 1)
    return world


def stock(world: World, *names: str) -> Stock:
    home = world.session().home
    chosen = [found for found in home.store.read().destinations if found.name in names]
    return Stock(home, drain.only(chosen) if names else drain.all_of)


def test_what_is_due_is_counted_for_the_chosen_destinations_that_are_not_paused(retrying: World) -> None:
    assert stock(retrying).due() == 2
    assert stock(retrying, "a").due() == 1
    retrying.ark("dest", "pause", "b")
    assert stock(retrying).due() == 1
    retrying.clock.advance(31)
    assert stock(retrying).due() == 4


def test_of_many_deliveries_those_that_are_retried_later_count_too(
    retrying: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain, "_ONE_BY_ONE", 3)
    assert stock(retrying).due() == 8


def test_with_too_many_destinations_nothing_is_counted(retrying: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain, "_FEW", 1)
    assert stock(retrying).due() is None
    assert stock(retrying).next_due_in(0) is None


def test_the_next_delivery_is_looked_for_again_after_an_attempt_or_a_while(retrying: World) -> None:
    found = stock(retrying)
    assert found.next_due_in(0) == 0
    retrying.ark("drain")
    retrying.clock.advance(1)
    assert found.next_due_in(0) == -1
    assert found.next_due_in(2) == 29
    # What other processes do is seen after a few seconds.
    retrying.ark("queue", "drop", "--all-dead", "--yes")
    retrying.clock.advance(6)
    assert found.next_due_in(2) == 23


def test_where_nothing_waits_there_is_no_next_delivery(world: World) -> None:
    assert stock(world).next_due_in(0) is None
    assert stock(world).due() == 0


def test_while_the_settings_cannot_be_read_those_before_count(retrying: World) -> None:
    found = stock(retrying)
    assert found.due() == 2
    retrying.store_file.write_text("[[destinations")
    assert found.due() == 2
