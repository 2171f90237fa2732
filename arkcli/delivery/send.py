"""Sending right away: `ark send` and `ark ping`, and the ping that a new destination must answer."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from arkcli.delivery.loop import Course, Loop, Token
from arkcli.delivery.places import Limits, Share
from arkcli.model import Answer, Attempt, Delivery, Destination, Event, State, attempt_of
from arkcli.queue.engine import Claim, Holder, Queue, Result
from arkcli.queue.patience import SEND_HOLDS_FOR
from arkcli.schedule import RetrySchedule
from arkcli.times import Clock

if TYPE_CHECKING:
    from arkcli.wire.wire import Endpoint, Wire

#: While another process delivers, how long until the next look for the outcome, in seconds.
_WAIT = 0.02


class Report(msgspec.Struct):
    """What became of one event at one destination. `next_attempt_at` is milliseconds, UTC.

    `held_by` is the process that delivers to the destination, where the event still waits for it.
    """

    destination: str
    outcome: State
    attempt: int = 0
    status: int | None = None
    error: str | None = None
    duration_ms: int | None = None
    next_attempt_at: int | None = None
    held_by: Holder | None = None


class Sender:
    """Delivers events at once, and tells what became of them."""

    def __init__(
        self,
        wire: "Wire[Token]",
        clock: Clock,
        limits: Limits,
        schedule: RetrySchedule,
        stopping: Callable[[], bool],
    ) -> None:
        """`stopping` tells whether to begin no more attempts."""
        self._wire = wire
        self._clock = clock
        self._limits = limits
        self._schedule = schedule
        self._stopping = stopping

    def ping(self, endpoints: "Iterable[Endpoint]", event: Event) -> list[tuple[Destination, Answer]]:
        """One attempt to each, not queued and not repeated. A destination not reached before a stop is left out."""
        pings = _Pings(endpoints, event)
        Loop(self._wire, self._clock, self._limits, self._stopping).run(pings)
        return pings.answers

    def send(self, queue: Queue, endpoints: "Sequence[Endpoint]", event: Event, capacity: int) -> "Sending":
        """Makes the first attempt of an event, just accepted, at every endpoint, and tells what came of each.

        At most `capacity` destinations are held at once. Where another process holds one, that one delivers; this one
        waits for its outcome. Raises NotRecorded when an outcome cannot be written down.
        """
        firsts = _Firsts(queue, endpoints, event, capacity, self._clock)
        until = self._clock.monotonic() + SEND_HOLDS_FOR
        loop = Loop(self._wire, self._clock, self._limits, self._stopping)
        while True:
            loop.run(firsts)
            if not firsts.left or self._stopping() or self._clock.monotonic() >= until:
                break
            self._clock.sleep(_WAIT)
        firsts.look_for_others()
        reports = [self._report(endpoint, firsts.attempts.get(endpoint.destination.id)) for endpoint in endpoints]
        for endpoint, report in zip(endpoints, reports, strict=True):
            if endpoint.destination.id in firsts.left:
                report.held_by = queue.holder(endpoint.destination.id)
        return Sending(event, reports)

    def _report(self, endpoint: "Endpoint", attempt: Attempt | None) -> Report:
        name = endpoint.destination.name
        if attempt is None:
            return Report(name, State.WAITING)
        state = self._schedule.state_after(attempt.attempt, attempt.outcome)
        retrying = state is State.RETRYING
        return Report(
            destination=name,
            outcome=state,
            attempt=attempt.attempt,
            status=attempt.status,
            error=attempt.error,
            duration_ms=attempt.duration_ms,
            next_attempt_at=self._schedule.next_attempt_at(attempt.attempt, attempt.at) if retrying else None,
        )


class Sending(msgspec.Struct):
    """An accepted event and what became of it so far."""

    event: Event
    reports: list[Report]


class _Once:
    """One attempt, which is due at once."""

    def __init__(self, delivery: Delivery, finish: Callable[[], None]) -> None:
        self._due: Sequence[Delivery] = (delivery,)
        self._finish = finish

    def take(self, now: int, most: int) -> Sequence[Delivery]:  # noqa: ARG002 - it is due at once
        taken, self._due = self._due, ()
        return taken

    def finish(self) -> None:
        self._finish()


class _Pings:
    """One attempt at each endpoint, which is recorded nowhere."""

    def __init__(self, endpoints: "Iterable[Endpoint]", event: Event) -> None:
        self._left = [Course(endpoint, _Once(Delivery(event, 1), _nothing), Share(1)) for endpoint in endpoints]
        self._all = list(self._left)
        self._answers: dict[Course[_Once], Answer] = {}

    @property
    def answers(self) -> list[tuple[Destination, Answer]]:
        """What came of each that was made, in the order of the endpoints."""
        made = [course for course in self._all if course in self._answers]
        return [(course.endpoint.destination, self._answers[course]) for course in made]

    def courses(self) -> list[Course[_Once]]:
        given, self._left = self._left, []
        return given

    def is_waiting(self) -> bool:
        return False

    def record(self, done: Sequence[tuple[Course[_Once], Sequence[Result]]], now: int) -> None:  # noqa: ARG002 - nowhere
        self._answers.update((course, answer) for course, ((_, answer),) in done)


def _nothing() -> None:
    pass


class _Firsts:
    """The first attempts of one event, at as many destinations at once as may be held."""

    def __init__(
        self, queue: Queue, endpoints: "Sequence[Endpoint]", event: Event, capacity: int, clock: Clock
    ) -> None:
        self._queue = queue
        self._event = event
        self._capacity = capacity
        self._clock = clock
        self._held: dict[str, Claim] = {}
        self._has_more = False
        #: The endpoints where nothing is known of the attempt yet, and it is not under way here.
        self.left = {endpoint.destination.id: endpoint for endpoint in endpoints}
        self.attempts: dict[str, Attempt] = {}

    def courses(self) -> list[Course[_Once]]:
        room = self._capacity - len(self._held)
        firsts = self._queue.claim_first(self._event, list(self.left), room) if self.left and room > 0 else []
        courses = []
        for claim, delivery in firsts:
            self._held[claim.destination_id] = claim
            once = _Once(delivery, partial(self._release, claim))
            courses.append(Course(self.left.pop(claim.destination_id), once, Share(1)))
        self._has_more = bool(self.left) and len(firsts) == room
        if not firsts:
            # Only now: what is this process's own is under way.
            self.look_for_others()
        return courses

    def look_for_others(self) -> None:
        """Takes in the attempts that other processes have made."""
        if self.left:
            found = self._queue.outcomes(self._event, list(self.left))
            self.attempts |= found
            for destination_id in found:
                del self.left[destination_id]

    def is_waiting(self) -> bool:
        return self._has_more and len(self._held) * 2 <= self._capacity

    def _release(self, claim: Claim) -> None:
        del self._held[claim.destination_id]
        claim.release()

    def record(self, done: Sequence[tuple[Course[_Once], Sequence[Result]]], now: int) -> str | None:
        parts = [(self._held[course.endpoint.destination.id], results) for course, results in done]
        recorded = self._queue.record(parts, now)
        for (claim, ((delivery, answer),)), told in zip(parts, recorded, strict=True):
            if told.states[0] is not None:
                self.attempts[claim.destination_id] = attempt_of(delivery, answer, now)
        return next((str(told.error) for told in recorded if told.error), None)
