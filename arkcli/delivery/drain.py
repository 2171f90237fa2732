"""`ark drain`: attempts everything that is due."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Final

import msgspec

from arkcli.delivery import backoff
from arkcli.delivery.due import Due, Tally
from arkcli.delivery.loop import Course, Loop, Token
from arkcli.delivery.patient import Patient
from arkcli.delivery.places import Limits, Share
from arkcli.delivery.shares import Shares
from arkcli.delivery.watching import Onlooker, Underway
from arkcli.errors import Broken, NotRecorded
from arkcli.model import Destination
from arkcli.queue.engine import Claim, Holder, Recorded, Result, Work
from arkcli.queue.outage import ASKED, Outage
from arkcli.queue.pace import terms_of
from arkcli.queue.patience import SEND_HOLDS_FOR
from arkcli.system.clock import Clock
from arkcli.text import counted

if TYPE_CHECKING:
    from arkcli.wire.wire import Endpoint, Wire

#: How long to sleep between two looks while idle, in seconds.
_IDLE: Final = 0.1
#: How often to look for due deliveries and for other drains, in seconds.
_LOOK_EVERY: Final = 0.1
#: How long to wait for another drain to release destinations above its share, in seconds.
_GIVES_BACK_WITHIN: Final = 1.0
#: How long a destination is left alone if its part of the queue is unusable, in seconds.
_BROKEN_FOR: Final = 30.0
#: How long an ended run tries to record outcomes while the queue is away, in seconds.
_RECORDS_WITHIN: Final = 10.0
#: How often to remove data that nobody needs any more, in seconds.
_TIDY_EVERY: Final = 3600.0


class Left(msgspec.Struct):
    """A destination that was left to another process."""

    name: str
    by: Holder


class Drained(msgspec.Struct):
    """What a run did. `held` lists the destinations to which another process was delivering when the run ended."""

    held: list[Left]
    duration_s: float
    destinations: list[Tally]
    #: The names of the destinations without a usable secret, which were skipped.
    left_out: list[str] = []
    #: By name: the outages of unreachable destinations; why a destination's part of the queue is unusable.
    held_back: dict[str, Outage] = {}
    broken: dict[str, str] = {}
    #: Whether the queue could not be reached when the run ended, and so something was not recorded or not found.
    is_away: bool = False
    #: The destinations to deliver to, as they were when the run ended.
    chosen: list[Destination] = []

    def total(self, what: str) -> int:
        """The sum of a `Tally` field over all destinations."""
        return sum(getattr(tally, what) for tally in self.destinations)


class Plan(msgspec.Struct, frozen=True):
    """When a drain ends: when nothing is due; with `watch`, when it is stopped. In any case after `seconds`, if set."""

    watch: bool = False
    seconds: float | None = None


class Drain:
    """One run over all destinations of a roster. Drains that run at the same time share the destinations."""

    def __init__(
        self,
        queue: Work,
        wire: "Wire[Token]",
        clock: Clock,
        limits: Limits,
        capacity: int,
        roster: "Callable[[], Iterable[Endpoint]]",
        stopping: Callable[[], bool],
        tidy: Callable[[], None],
        warn: Callable[[str], None],
        onlooker: Onlooker | None = None,
    ) -> None:
        """`roster` returns the current destinations, in the same object while nothing has changed; it is called often.

        At most `capacity` destinations are held at once. `tidy` is called between runs of the loop, at most once an
        hour. `warn` gets a message for each destination whose part of the queue is unusable.
        """
        self._queue = Patient(queue, clock, warn)
        self._wire = wire
        self._clock = clock
        self._limits = limits
        self._roster = roster
        self._stopping = stopping
        self._tidy = tidy
        self._warn = warn
        self._onlooker = onlooker
        self._tidy_at = 0.0
        self._look_at = 0.0
        self._capacity = capacity
        self._shares = Shares(capacity)
        self._listed: Iterable[Endpoint] = ()
        self._present: dict[str, Endpoint] = {}
        self._ids: Sequence[str] = ()
        self._active: dict[str, Course[Due]] = {}
        self._places: dict[str, Share] = {}
        self._tallies: dict[str, Tally] = {}
        #: Until when to leave a destination alone that is held back or broken (monotonic seconds).
        self._rest_until: dict[str, float] = {}
        self._outages: dict[str, Outage] = {}
        self._broken: dict[str, str] = {}

    def run(self, plan: Plan) -> Drained:
        """Attempts what is due, oldest first per destination. Raises NotRecorded."""
        started = self._clock.monotonic()
        ends = None if plan.seconds is None else started + plan.seconds

        def stopping() -> bool:
            return self._stopping() or (ends is not None and self._clock.monotonic() >= ends)

        look = None if self._onlooker is None else partial(self._onlooker.look, self._underway)
        loop = Loop(self._wire, self._clock, self._limits, stopping, look)
        busy_since: float | None = None
        while True:
            before = sum(tally.attempted for tally in self._tallies.values())
            loop.run(self)
            self._tidy_up()
            if before != sum(tally.attempted for tally in self._tallies.values()):
                busy_since = None
            if stopping() or not (plan.watch or self._is_awaited(started, busy_since)):
                break
            busy_since = busy_since or self._clock.monotonic()
            self._clock.sleep(_IDLE if plan.watch else _IDLE / 5)
        self._record_rest()
        return Drained(
            held=self._left(),
            duration_s=round(self._clock.monotonic() - started, 3),
            destinations=sorted(self._tallies.values(), key=attrgetter("name")),
            held_back={self._name(found): outage for found, outage in self._outages.items()},
            broken={self._name(found): reason for found, reason in self._broken.items()},
            is_away=bool(self._queue.kept) or (self._queue.away_for is not None and not self._stopping()),
        )

    def _underway(self) -> Underway:
        oldest = self._wire.oldest()
        slowest = None if oldest is None else (oldest[0][0].endpoint.destination.name, oldest[1])
        tallies = self._tallies.values()
        return Underway(
            attempted=sum(tally.attempted for tally in tallies),
            delivered=sum(tally.delivered for tally in tallies),
            retrying=sum(tally.retrying for tally in tallies),
            dead=sum(tally.dead for tally in tallies),
            slowest=slowest,
            is_idle=not self._active,
        )

    def _name(self, found: str) -> str:
        return self._present[found].destination.name if found in self._present else found

    def _left(self) -> list[Left]:
        left = []
        for found in self._queue.look(list(self._present), self._clock.now()):
            holder = self._queue.holder(found)
            if holder is not None:
                left.append(Left(self._present[found].destination.name, holder))
        return sorted(left, key=attrgetter("name"))

    def _tidy_up(self) -> None:
        if not self._stopping() and self._clock.monotonic() >= self._tidy_at:
            self._tidy_at = self._clock.monotonic() + _TIDY_EVERY
            self._tidy()

    def _is_awaited(self, started: float, busy_since: float | None) -> bool:
        """Whether to wait: for a receiver that has just become unreachable, or for destinations that others hold.

        A `send` finishes within one attempt, and another drain releases what is above its share.
        """
        now = self._clock.monotonic()
        if (away_for := self._queue.away_for) is not None:
            return away_for <= SEND_HOLDS_FOR
        for found, outage in self._outages.items():
            # Not for long after the time of the probe: if nothing is due there any more, no probe is made.
            if backoff.is_young(outage) and now <= self._rest_until[found] + _GIVES_BACK_WITHIN:
                return True
        waiting = self._shares.waiting
        if not waiting:
            return False
        holders = [self._queue.holder(found) for found in waiting]
        # A destination without a holder became free just after it was tried, or cannot be claimed at all.
        if now - (busy_since or now) <= _GIVES_BACK_WITHIN and (
            None in holders or len(waiting) >= self._queue.drains() > 1
        ):
            return True
        return now - started <= SEND_HOLDS_FOR and any(held and held.purpose == "send" for held in holders)

    def courses(self) -> "list[Course[Due]]":
        """Claims destinations with due deliveries."""
        now = self._clock.monotonic()
        if now >= self._look_at or not self._active:
            self._look(now)
            # With 10,000 destinations a look takes 10 ms or more. Changed settings apply within half a second.
            self._look_at = now + min(max(_LOOK_EVERY, 20 * (self._clock.monotonic() - now)), 4 * _LOOK_EVERY)
            self._take_in_late()
        ids, most = self._shares.to_claim(now)
        courses = self._claim(ids, most, now)
        free = [
            found
            for found in self._shares.to_ask()
            if self._shares.free(found, now, is_free=self._queue.holder(found) is None)
        ]
        return courses + self._claim(free, len(free), now, above=True)

    def is_waiting(self) -> bool:
        """Whether destinations can be claimed at once: some wait, and at least half of the capacity is free."""
        is_room = len(self._active) * 2 <= self._capacity and bool(self._shares.waiting)
        return is_room and bool(self._shares.to_claim(self._clock.monotonic())[0])

    def _look(self, now: float) -> None:
        listed = self._roster()
        if listed is not self._listed:
            self._listed = listed
            self._present = {endpoint.destination.id: endpoint for endpoint in listed}
            self._ids = tuple(self._present)
        at = self._clock.now()
        for found, course in self._active.items():
            endpoint = self._present.get(found)
            course.stopped = course.stopped or endpoint is None or backoff.is_asked(course.source.claim, at)
            if endpoint is not None and endpoint is not course.endpoint:
                # Attempts in flight keep the endpoint with which they began.
                course.endpoint = endpoint
                course.source.limit(terms_of(endpoint.destination))
        for gone in self._rest_until.keys() - self._present.keys():
            self._forget(gone)
        others = self._ids
        if self._active or self._rest_until:
            rest_until = self._rest_until.get
            others = [found for found in others if found not in self._active and rest_until(found, 0.0) <= now]
        due = self._queue.look(others, self._clock.now())
        answering = {found for found, share in self._places.items() if share.answering} if due or self._active else ()
        self._shares.look(due, self._queue.drains(), answering)
        in_flight = {found for found, course in self._active.items() if course.share.in_flight}
        for found in self._shares.to_release(now, in_flight):
            self._active[found].stopped = True

    def _claim(self, ids: Sequence[str], most: int, now: float, *, above: bool = False) -> "list[Course[Due]]":
        if not ids or most <= 0:
            return []
        claims = self._queue.claim_due(ids, most, "drain", self._clock.now())
        for found in ids if self._queue.broken else ():
            if (reason := self._queue.broken.get(found)) is not None:
                self._broke(found, reason)
        kept = [claim for claim in claims if not self._is_held_back(claim)]
        claimed = {claim.destination_id for claim in kept}
        # With `most` claims made, the queue did not try the destinations after the last one.
        tried = ids if len(claims) < most else ids[: ids.index(claims[-1].destination_id) + 1]
        self._shares.tried(tried, claimed, now, above=above)
        return [self._course(claim) for claim in kept]

    def _is_held_back(self, claim: Claim) -> bool:
        """Releases the claim if its receiver is unreachable and the next probe is not due yet."""
        outage, now = claim.outage, self._clock.now()
        if outage is None or backoff.is_over(outage, now):
            return False
        self._hold_back(claim.destination_id, outage, now)
        claim.release()
        return True

    def _hold_back(self, found: str, outage: Outage, now: int) -> None:
        self._outages[found] = outage
        self._rest_until[found] = self._clock.monotonic() + (outage.until - now) / 1000

    def _broke(self, found: str, reason: str) -> None:
        self._rest_until[found] = self._clock.monotonic() + _BROKEN_FOR
        if found not in self._broken:
            self._broken[found] = reason
            self._warn(f"{self._name(found)} is left out: {reason}")

    def _forget(self, found: str) -> None:
        """Allows a destination to be claimed again."""
        self._rest_until.pop(found, None)
        self._outages.pop(found, None)
        self._broken.pop(found, None)

    def _course(self, claim: Claim) -> "Course[Due]":
        found = claim.destination_id
        endpoint = self._present[found]
        self._tallies.setdefault(found, Tally(endpoint.destination.name))
        share = self._places.setdefault(found, Share(self._limits.per_destination))
        if claim.outage is None:
            self._forget(found)
        if (claim.outage is not None and claim.outage.reason != ASKED) or share.is_held_back:
            share.probe()
        source = Due(claim, self._release, self._broke, terms_of(endpoint.destination))
        course = self._active[found] = Course(endpoint, source, share)
        return course

    def _release(self, source: Due) -> None:
        claim, found, now = source.claim, source.claim.destination_id, self._clock.now()
        course = self._active.pop(found)
        outage = claim.outage if backoff.is_asked(claim, now) else None
        if outage is None and course.share.is_held_back:
            outage = backoff.held_back(claim.outage, source.error or "", now)
            claim.note(outage)
        elif outage is None and source.later is not None:
            outage = backoff.of_rate(course.endpoint.destination, source.later, now)
        if outage is not None:
            self._hold_back(found, outage, now)
        self._shares.released(found, self._clock.monotonic())
        claim.release()

    def record(self, done: "Sequence[tuple[Course[Due], Sequence[Result]]]", now: int) -> NotRecorded | None:
        """Records outcomes; returns the error if no outcome can be recorded any more."""
        recorded = self._queue.record([(course.source.claim, results) for course, results in done], now)
        failure = None
        for (course, results), told in zip(done, recorded, strict=True):
            source, error = course.source, told.error
            all_delivered = self._count(source.claim.destination_id, results, told, now)
            if not all_delivered and backoff.note_asked(source.claim, results, now):
                course.stopped = True
            source.error = results[-1][1].error
            if source.claim.outage is not None:
                backoff.note_answers(source.claim, results, now)
                self._forget(source.claim.destination_id)
            if isinstance(error, Broken):
                course.stopped = True
                self._broke(error.destination_id, str(error))
            else:
                failure = failure or error
        return failure

    def _count(self, found: str, results: Sequence[Result], told: Recorded, now: int) -> bool:
        """Counts outcomes, unless the queue could not record them yet; returns whether all were delivered."""
        if told.is_kept:
            return False
        tally = self._tallies[found]
        all_delivered = tally.add(told.states, results, now)
        if self._onlooker is not None:
            self._onlooker.recorded(tally.name, results, told.states, now)
        if told.error is None and (fenced := told.states.count(None)):
            self._warn(
                f"{tally.name}: {counted(fenced, 'answer')} came too late to be recorded: this process was paused, or "
                "could not reach the queue, and another one may have taken over. Such deliveries are made again"
            )
        return all_delivered

    def _take_in_late(self) -> None:
        """Counts the outcomes that were recorded after the queue had been away."""
        for claim, results, told in self._queue.late():
            self._count(claim.destination_id, results, told, self._clock.now())

    def _record_rest(self) -> None:
        """Tries for a while to record what is still unrecorded."""
        until = self._clock.monotonic() + _RECORDS_WITHIN
        while self._queue.kept and self._clock.monotonic() < until:
            self._queue.look((), self._clock.now())
            self._take_in_late()
            if self._queue.kept:
                self._clock.sleep(_IDLE)
        if self._queue.kept:
            self._warn(f"{counted(self._queue.kept, 'answer')} could not be recorded; those deliveries are made again")
