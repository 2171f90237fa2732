"""Sets up and runs one `ark drain`. See docs/internals.md, section 9."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from arkcli.actions.home import Home
from arkcli.actions.roster import Roster
from arkcli.delivery.drain import Drain, Drained, Plan
from arkcli.delivery.places import Limits
from arkcli.model import Destination
from arkcli.queue.engine import Standing
from arkcli.store.store import Contents
from arkcli.system import files


class Job(NamedTuple):
    """What a run does: for which destinations, for how long, and how much at once."""

    choose: Callable[[Contents], Sequence[Destination]]
    plan: Plan
    limits: Limits = Limits()


def drain(home: Home, job: Job, warn: Callable[[str], None], stopping: Callable[[], bool]) -> Drained:
    """Attempts what is due, until told to stop. `warn` is called for destinations that cannot be delivered to.

    Raises UsageError, Unreadable and NotRecorded.
    """
    roster = Roster(home, job.choose, warn)
    queue = home.queue
    descriptors = files.free_descriptors()
    limits = job.limits.within(descriptors)
    wire = home.wire(limits.connections(descriptors))
    try:
        capacity = limits.claims(descriptors)
        drain = Drain(queue, wire, home.clock, limits, capacity, roster.read, stopping, roster.tidy, warn)
        drained = drain.run(job.plan)
    finally:
        wire.close()
    drained.left_out = roster.left_out
    drained.chosen = roster.chosen
    return drained


def all_of(contents: Contents) -> Sequence[Destination]:
    """Chooses all destinations."""
    return contents.destinations


def only(destinations: Iterable[Destination]) -> Callable[[Contents], list[Destination]]:
    """Chooses these destinations while they exist, even if they are renamed."""
    chosen = {found.id for found in destinations}
    return lambda contents: [found for found in contents.destinations if found.id in chosen]


def is_anything_left(home: Home, drained: Drained) -> bool:
    """Whether a destination of a run has a waiting or retrying delivery, due or not."""
    return any(standing.waiting or any(standing.retrying) for standing in what_waits(home, drained))


def what_waits(home: Home, drained: Drained) -> list[Standing]:
    """What waits for each destination of a run, in no particular order."""
    ids = [found.id for found in drained.chosen]
    return list(home.queue.standings(ids, home.clock.now()).values())
