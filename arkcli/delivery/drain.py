"""Attempting everything that is due: `ark drain`."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from arkcli.delivery.loop import Course, Loop, Token
from arkcli.delivery.places import Limits, Share
from arkcli.model import Answer, Delivery, State
from arkcli.queue.claim import Claim
from arkcli.queue.local import Holder, LocalQueue
from arkcli.times import Clock

if TYPE_CHECKING:
    from arkcli.wire.wire import Endpoint, Wire

#: While idle, how long until the next look, in seconds.
_IDLE: Final = 0.1
#: How long a `send` may hold a destination: one attempt, and time to write it down. Seconds.
SEND_HOLDS_FOR: Final = 15.0
#: Every so many seconds a watching drain looks at every destination, whatever it remembers of it.
_LOOK_AT_ALL_EVERY: Final = 30.0

#: How often what nobody needs any more is looked for, in seconds.
_TIDY_EVERY: Final = 3600.0


class Tally(msgspec.Struct):
    """What a run did for one destination."""

    name: str
    attempted: int = 0
    delivered: int = 0
    retrying: int = 0
    dead: int = 0


class Held(msgspec.Struct):
    """A destination that was left to another process."""

    name: str
    by: Holder


class Drained(msgspec.Struct):
    """What a run did. `held` are the destinations that another process was delivering to when it ended."""

    held: list[Held]
    duration_s: float
    destinations: list[Tally]
    #: The names of those that could not be delivered to, for want of their secret.
    left_out: list[str] = []

    def total(self, what: str) -> int:
        """The sum of one count over all destinations."""
        return sum(getattr(tally, what) for tally in self.destinations)


def together(parts: Iterable[Drained], processes: Collection[int | None], duration_s: float) -> Drained:
    """What several processes did. A destination that one of them delivered to was not left to anybody."""
    tallies: dict[str, Tally] = {}
    held: dict[str, Held] = {}
    left_out: set[str] = set()
    for part in parts:
        left_out.update(part.left_out)
        held.update((found.name, found) for found in part.held if found.by.process not in processes)
        for found in part.destinations:
            known = tallies.setdefault(found.name, Tally(found.name))
            known.attempted += found.attempted
            known.delivered += found.delivered
            known.retrying += found.retrying
            known.dead += found.dead
    left = [found for name, found in held.items() if name not in tallies or not tallies[name].attempted]
    return Drained(sorted(left, key=_name), duration_s, sorted(tallies.values(), key=_name), sorted(left_out))


class Plan(msgspec.Struct, frozen=True):
    """How long a drain goes on: until nothing is due, or, with `watch`, until told to stop or for so many seconds."""

    watch: bool = False
    seconds: float | None = None


class Part(NamedTuple):
    """Which part of the destinations a process attends to, where several share them: number `number` of `of`."""

    number: int = 0
    of: int = 1


_ALL: Final = Part()


class Drain:
    """One run over all destinations of a roster. Each is claimed only while something is due for it."""

    def __init__(
        self,
        queue: LocalQueue,
        wire: "Wire[Token]",
        clock: Clock,
        limits: Limits,
        roster: "Callable[[], Iterable[Endpoint]]",
        stopping: Callable[[], bool],
        tidy: Callable[[], None],
        part: Part = _ALL,
    ) -> None:
        """`roster` gives the destinations to deliver to as they are now; it is asked often.

        `tidy` is called when there is nothing to do, at most once an hour. `part` is what comes first; destinations of
        other parts are taken on when nobody delivers to them.
        """
        self._queue = queue
        self._wire = wire
        self._clock = clock
        self._limits = limits
        self._roster = roster
        self._stopping = stopping
        self._tidy = tidy
        self._part = part
        self._tidy_at = 0.0
        self._adopt_at = clock.monotonic() + _LOOK_AT_ALL_EVERY
        self._active: dict[str, Course] = {}
        self._busy: dict[str, float] = {}
        self._known: dict[str, tuple[int, int | None]] = {}
        self._forget_at = 0.0
        self._shares: dict[str, Share] = {}
        self._tallies: dict[str, Tally] = {}

    def run(self, plan: Plan) -> Drained:
        """Attempts what is due, oldest first per destination, and returns what was done. Raises NotRecorded."""
        started = self._clock.monotonic()
        ends = None if plan.seconds is None else started + plan.seconds

        def stopping() -> bool:
            return self._stopping() or (ends is not None and self._clock.monotonic() >= ends)

        loop = Loop(self._wire, self._clock, self._limits, stopping)
        while True:
            loop.run(self._supply)
            self._tidy_up()
            if stopping() or not (plan.watch or self._awaited(started)):
                break
            self._clock.sleep(_IDLE if plan.watch else _IDLE / 5)
        return Drained(
            held=self._held(),
            duration_s=round(self._clock.monotonic() - started, 3),
            destinations=sorted(self._tallies.values(), key=_name),
        )

    def _held(self) -> list[Held]:
        names = {endpoint.destination.id: endpoint.destination.name for endpoint in self._roster() if self._busy}
        held = [Held(names[found], self._queue.holder(found)) for found in self._busy if found in names]
        return sorted(held, key=_name)

    def _tidy_up(self) -> None:
        if not self._stopping() and self._clock.monotonic() >= self._tidy_at:
            self._tidy_at = self._clock.monotonic() + _TIDY_EVERY
            self._tidy()

    def _awaited(self, started: float) -> bool:
        """Whether a destination is held by a `send`, which will be done within one attempt."""
        if self._clock.monotonic() - started > SEND_HOLDS_FOR:
            return False
        waits = [found for found in self._busy if self._queue.holder(found).purpose == "send"]
        for found in waits:
            self._busy[found] = 0.0
        return bool(waits)

    def _supply(self) -> list[Course]:
        """Claims the destinations for which something is due."""
        end, now, moment = self._queue.look(), self._clock.now(), self._clock.monotonic()
        if moment >= self._forget_at:
            self._known.clear()
            self._forget_at = moment + _LOOK_AT_ALL_EVERY
        present = {endpoint.destination.id: endpoint for endpoint in self._roster()}
        for gone in self._active.keys() - present.keys():
            self._active[gone].stopped = True
        for gone in self._busy.keys() - present.keys():
            del self._busy[gone]
        courses = []
        for found, endpoint in self._attended(present, moment):
            if found not in self._active and self._may_have_work(found, end, now, moment):
                courses += self._claim(endpoint, now, moment)
        return courses

    def _attended(self, present: "Mapping[str, Endpoint]", moment: float) -> "Iterator[tuple[str, Endpoint]]":
        """Those of this process's part; then the others', while it has no work and now and then: one may have died."""
        number, of = self._part
        ordered = list(present.items())
        yield from ordered[number::of]
        adopts = moment >= self._adopt_at
        if adopts:
            self._adopt_at = moment + _LOOK_AT_ALL_EVERY
        for place, found in enumerate(ordered):
            if place % of != number and (adopts or not self._active):
                yield found

    def _may_have_work(self, found: str, end: int, now: int, moment: float) -> bool:
        if moment < self._busy.get(found, 0.0):
            return False
        known = self._known.get(found)
        return known is None or known[0] != end or (known[1] is not None and known[1] <= now)

    def _claim(self, endpoint: "Endpoint", now: int, moment: float) -> list[Course]:
        found = endpoint.destination.id
        claim = self._queue.claim(found, "drain")
        if claim is None:
            self._busy[found] = moment + 1.0
            return []
        self._busy.pop(found, None)
        share = self._shares.setdefault(found, Share(self._limits.per_destination))
        source = _Due(self, endpoint, claim)
        if not claim.is_anything_due(now):
            source.finish()
            return []
        course = self._active[found] = Course(endpoint, source, share)
        return [course]

    def tally(self, endpoint: "Endpoint") -> Tally:
        """The counts of a destination."""
        return self._tallies.setdefault(endpoint.destination.id, Tally(endpoint.destination.name))

    def note(self, endpoint: "Endpoint", end: int, next_due_at: int | None) -> None:
        """Remembers that nothing is due for a destination until then, unless the log grows beyond `end`."""
        self._active.pop(endpoint.destination.id, None)
        self._known[endpoint.destination.id] = end, next_due_at

    @property
    def log_end(self) -> int:
        """The end of the event log as far as this run knows."""
        return self._queue.end


def _name(found: Tally | Held) -> str:
    return found.name


class _Due:
    """A claimed destination as a source: everything that is due."""

    def __init__(self, drain: Drain, endpoint: "Endpoint", claim: Claim) -> None:
        self._drain = drain
        self._endpoint = endpoint
        self._claim = claim
        self._tally = drain.tally(endpoint)
        self._end = drain.log_end

    def take(self, now: int, most: int) -> Sequence[Delivery]:
        deliveries = self._claim.take(now, most)
        if not deliveries:
            self._end = self._drain.log_end
        return deliveries

    def record(self, results: Sequence[tuple[Delivery, Answer]], now: int) -> None:
        states = self._claim.record(results, now)
        self._tally.attempted += len(states)
        self._tally.delivered += states.count(State.DELIVERED)
        self._tally.retrying += states.count(State.RETRYING)
        self._tally.dead += states.count(State.DEAD)

    def finish(self) -> None:
        self._drain.note(self._endpoint, self._end, self._claim.next_due_at())
        self._claim.release()
