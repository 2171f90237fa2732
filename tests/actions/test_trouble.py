"""Which destinations are in trouble, in which order they are shown, and what they add up to."""

import pytest

from arkcli.actions.reading import Place
from arkcli.actions.trouble import Sums, is_in_trouble, overdue, sums, worst_first
from arkcli.model import Attempt, Destination, Outcome
from arkcli.queue.engine import Standing
from arkcli.queue.outage import Outage

NOW = 1_000_000_000
MINUTE = 60_000
OUTAGE = Outage(since=NOW - MINUTE, until=NOW + MINUTE, probes=1, error="no connection")


def place(
    name: str,
    waiting: int = 0,
    retrying: int = 0,
    dead: int = 0,
    due: int | None = None,
    outage: Outage | None = None,
    *,
    paused: bool = False,
) -> Place:
    """A destination; `due` is for how long its next delivery has been due, in minutes."""
    at = None if due is None else NOW - due * MINUTE
    held = Standing(waiting, (0, retrying, 0, 0), dead, at, at, None, outage)
    return Place(Destination(id=f"dst_{name}", name=name, url="", added_at="", paused=paused), held)


def limited(attempted: int) -> Place:
    """A destination with a rate, whose next delivery has been due for 9 minutes; the last attempt was minutes ago."""
    last = Attempt("evt_1", "ping", 1, NOW - attempted * MINUTE, Outcome.DELIVERED, 200, None, 1, "")
    held = Standing(9, (0, 0, 0, 0), 0, NOW - 9 * MINUTE, NOW - 9 * MINUTE, last)
    return Place(Destination(id="dst_a", name="limited", url="", added_at="", rate="5/m"), held)


BROKEN = Place(Destination(id="dst_broken", name="broken", url="", added_at=""), None)


@pytest.mark.parametrize(
    ("found", "trouble", "late"),
    [
        (place("idle"), False, 0),
        (place("waits", waiting=1, due=0), False, 0),
        (place("waits for the next minute's drain", waiting=1, due=2), False, 0),
        (place("overdue", waiting=1, due=3), True, 3),
        (place("paused", waiting=1, due=3, paused=True), False, 0),
        (place("retries later", retrying=1, due=-5), True, 0),
        (place("retries late", retrying=1, due=5), True, 5),
        (place("held back", waiting=1, due=5, outage=OUTAGE), True, 0),
        (limited(attempted=1), False, 0),
        (limited(attempted=4), True, 3),
        (place("dead", dead=1), True, 0),
        (place("dead and paused", dead=1, paused=True), True, 0),
        (BROKEN, True, 0),
    ],
    ids=lambda found: found.destination.name if isinstance(found, Place) else None,
)
def test_dead_retrying_overdue_or_unreadable_is_trouble(found: Place, trouble: bool, late: int) -> None:
    assert (is_in_trouble(found, NOW), overdue(found, NOW)) == (trouble, late * MINUTE)


def test_the_worst_comes_first_and_equals_keep_their_order() -> None:
    order = [
        BROKEN,
        place("two dead", dead=2),
        place("one dead and retrying", retrying=9, dead=1),
        place("one dead", dead=1),
        place("three retrying", retrying=3),
        place("held back", waiting=1, outage=OUTAGE),
        place("later", waiting=1, due=9),
        place("late", waiting=9, due=5),
        place("waits", waiting=2, due=0),
        place("waits, too", waiting=2, due=0),
        place("idle"),
    ]
    assert worst_first([*order[1::2], *order[::2]], NOW)[:2] == order[:2]
    assert worst_first(order, NOW) == order
    assert [one.destination.name for one in worst_first(reversed(order), NOW)][-3:] == ["waits, too", "waits", "idle"]


def test_all_add_up() -> None:
    places = [
        BROKEN,
        place("a", waiting=1, retrying=2, dead=3, due=4),
        place("b", waiting=10, due=16),
        place("c", waiting=100, due=99, paused=True),
    ]
    assert sums(places, NOW) == Sums(
        destinations=4,
        failing=3,
        unreadable=1,
        paused=1,
        overdue=2,
        longest=16 * MINUTE,
        waiting=111,
        retrying=2,
        dead=3,
    )
    assert sums([], NOW) == Sums(0, 0, 0, 0, 0, 0, 0, 0, 0)
