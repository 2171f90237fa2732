"""Sets up and runs one `ark drain`. See docs/internals.md, section 9."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import islice
from typing import Final, NamedTuple

from arkcli.actions.home import Home
from arkcli.actions.reading import Reading
from arkcli.actions.roster import Roster
from arkcli.delivery.drain import Drain, Drained, Plan
from arkcli.delivery.places import Limits
from arkcli.delivery.watching import Onlooker
from arkcli.errors import InDoubt, Unreachable, Unreadable
from arkcli.model import Destination
from arkcli.queue.engine import Standing, Work
from arkcli.store.store import Contents
from arkcli.system import descriptors

#: Above this number of destinations, what is due is not counted; up to this number of deliveries, one by one.
_FEW: Final = 1_000
_ONE_BY_ONE: Final = 10_000
#: How often to look when the next delivery is due, in seconds; and for how many times as long as the look took.
_LOOK_EVERY: Final = 5.0
_TIMES: Final = 50.0


class Job(NamedTuple):
    """What a run does: for which destinations, for how long, and how much at once."""

    choose: Callable[[Contents], Sequence[Destination]]
    plan: Plan
    limits: Limits = Limits()


def drain(
    home: Home,
    job: Job,
    warn: Callable[[str], None],
    stopping: Callable[[], bool],
    onlooker: Onlooker | None = None,
    queue: Work | None = None,
) -> Drained:
    """Attempts what is due, until told to stop. `warn` is called for destinations that cannot be delivered to.

    `queue` has the work; default: the home's. Raises UsageError, Unreadable and NotRecorded.
    """
    roster = Roster(home, job.choose, warn)
    queue, alerts = queue or home.queue, None
    # A run that watches notices changed settings.
    if job.plan.watch or roster.contents.alerts.are_on:
        from arkcli.actions.alerts import Alerts

        alerts = Alerts(home, lambda: roster.contents, warn, stopping)
        queue = alerts.watching(queue)
    free = descriptors.free()
    limits = job.limits.within(free)
    wire = home.wire(limits.connections(free))
    try:
        capacity = limits.claims(free)
        drain = Drain(queue, wire, home.clock, limits, capacity, roster.read, stopping, roster.tidy, warn, onlooker)
        drained = drain.run(job.plan)
    finally:
        wire.close()
        if alerts is not None:
            alerts.finish()
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


class Stock:
    """Takes stock of what waits, for a person who watches a drain. A look takes 0.3 ms for each destination."""

    def __init__(self, home: Home, choose: Callable[[Contents], Sequence[Destination]]) -> None:
        self._home = home
        self._choose = choose
        self._known: list[Destination] = []
        self._looked_for: int | None = None
        self._look_at = 0.0
        self._next_due_at: int | None = None

    def due(self) -> int | None:
        """How many deliveries are due; None if it would take long to count them.

        If there are many, those that are to be retried later count, too.
        """
        with suppress(Unreachable, InDoubt):
            return self._due()
        return None

    def _due(self) -> int | None:
        chosen = self._chosen()
        if len(chosen) > _FEW:
            return None
        now = self._home.clock.now()
        found = [one for _, one in islice(Reading(self._home, chosen).deliveries(), _ONE_BY_ONE)]
        if len(found) < _ONE_BY_ONE:
            return sum(one.next_attempt_at is not None and one.next_attempt_at <= now for one in found)
        standings = self._home.queue.standings([one.id for one in chosen], now)
        return sum(standing.waiting + sum(standing.retrying) for standing in standings.values())

    def next_due_in(self, attempted: int) -> float | None:
        """In how many seconds the next delivery is due; None if nothing waits, or if it would take long to look.

        `attempted`: how many attempts this run has made, since each may change the answer.
        """
        began = self._home.clock.monotonic()
        if attempted != self._looked_for or began >= self._look_at:
            self._next_due_at = None
            # While the database is away, nobody knows.
            with suppress(Unreachable, InDoubt):
                chosen = self._chosen()
                ids = [one.id for one in chosen] if len(chosen) <= _FEW else []
                standings = self._home.queue.standings(ids, self._home.clock.now()).values()
                due = [standing.next_due_at for standing in standings if standing.next_due_at is not None]
                self._next_due_at = min(due, default=None)
            ended = self._home.clock.monotonic()
            self._looked_for, self._look_at = attempted, ended + max(_LOOK_EVERY, _TIMES * (ended - began))
        return None if self._next_due_at is None else (self._next_due_at - self._home.clock.now()) / 1000

    def _chosen(self) -> list[Destination]:
        # While the settings cannot be read, the drain goes on with those it has.
        with suppress(Unreadable, Unreachable):
            self._known = [found for found in self._choose(self._home.store.read_again()) if not found.paused]
        return self._known
