"""What an event's id names, where the event's line has left the log and only its dead delivery is kept."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from arkcli import model
from arkcli.actions.home import Home
from arkcli.actions.reading import Reading
from arkcli.errors import UsageError
from arkcli.queue.local.queue import LocalQueue
from tests.queue.local.test_retention import BAD, DAY, accept, deliver
from tests.world import START, World


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """`evt_1` and `evt_2` are dead and gone from the log, which holds `evt_10` and later ones."""
    world = World(tmp_path)
    world.ark("dest", "add", "https://a.example/", "--no-ping", "--name", "a")
    found = world.session().home
    (destination,) = found.store.read().destinations
    with closing(LocalQueue(world.queue_directory, model.DOCUMENTED, segment_size=1)) as queue:
        queue.join([destination.id])
        accept(queue, START, 1, 2)
        now = START
        for _ in range(5):
            deliver(queue, destination.id, now, BAD)
            now += 3 * 3_600_000
        for number in (7, 8, 9):
            accept(queue, now, number)
            deliver(queue, destination.id, now)
        accept(queue, now, 10)
        deliver(queue, destination.id, now)
        queue.tidy([destination.id], now + 365 * DAY)
        accept(queue, now, 10, 20, 30)
        assert queue.find("evt_1") is None
        found.__dict__["queue"] = queue
        yield found


@pytest.mark.parametrize("given", ["evt_1", "evt_2", "evt_10", "evt_30"])
def test_a_whole_id_is_never_taken_for_the_beginning_of_another(home: Home, given: str) -> None:
    assert Reading(home, home.store.read().destinations).event(given).id == given


@pytest.mark.parametrize(("given", "found"), [("3", "evt_30"), ("10", "evt_10"), ("evt_3", "evt_30")])
def test_a_beginning_is_that_of_one_event_alone(home: Home, given: str, found: str) -> None:
    assert Reading(home, home.store.read().destinations).event(given).id == found


@pytest.mark.parametrize("given", ["1", "2", "evt_"])
def test_a_beginning_that_a_dead_delivery_has_too_is_refused(home: Home, given: str) -> None:
    with pytest.raises(UsageError, match="several events have an id that begins with"):
        Reading(home, home.store.read().destinations).event(given)
