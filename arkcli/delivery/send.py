"""Sending right away: `ark send` and `ark ping`, and the ping that a new destination must answer."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from arkcli.delivery.drain import SEND_HOLDS_FOR
from arkcli.delivery.loop import Course, Loop, Token
from arkcli.delivery.places import Limits, Share
from arkcli.model import Answer, Attempt, Delivery, Destination, Event, State
from arkcli.queue.claim import Claim
from arkcli.queue.local import Holder, LocalQueue
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
        sources = [(endpoint, _Once(event)) for endpoint in endpoints]
        self._run([Course(endpoint, source, Share(1)) for endpoint, source in sources])
        return [(endpoint.destination, source.answer) for endpoint, source in sources if source.answer is not None]

    def send(self, queue: LocalQueue, endpoints: "Sequence[Endpoint]", accept: Callable[[], Event]) -> "Sending":
        """Accepts an event, makes its first attempt at every endpoint, and tells what came of each.

        Where another process holds a destination, that one delivers; this one waits for its outcome. Raises
        NotAccepted; afterwards, when an outcome cannot be written down, NotRecorded.
        """
        watches = {endpoint.destination.id: queue.watch(endpoint.destination.id) for endpoint in endpoints}
        event = accept()
        sources: dict[str, _First] = {}
        reports: dict[str, Report] = {}
        open_ends = list(endpoints)

        def supply() -> list[Course]:
            courses = []
            for endpoint in list(open_ends):
                found = endpoint.destination.id
                attempt = watches[found](event)
                claim = None if attempt else queue.claim(found, "send")
                if attempt is not None:
                    reports[found] = self._report(endpoint, attempt)
                elif claim is not None:
                    sources[found] = _First(event, claim)
                    courses.append(Course(endpoint, sources[found], Share(1)))
                else:
                    continue
                open_ends.remove(endpoint)
            return courses

        until = self._clock.monotonic() + SEND_HOLDS_FOR
        loop = Loop(self._wire, self._clock, self._limits, self._stopping)
        while True:
            loop.run(supply)
            if not open_ends or self._stopping() or self._clock.monotonic() >= until:
                break
            self._clock.sleep(_WAIT)
        for endpoint in endpoints:
            found = endpoint.destination.id
            if found not in reports:
                attempt = sources[found].attempt if found in sources else None
                attempt = attempt or watches[found](event)
                reports[found] = self._report(endpoint, attempt)
        for endpoint in open_ends:
            reports[endpoint.destination.id].held_by = queue.holder(endpoint.destination.id)
        return Sending(event, [reports[endpoint.destination.id] for endpoint in endpoints])

    def _run(self, courses: list[Course]) -> None:
        loop = Loop(self._wire, self._clock, self._limits, self._stopping)

        def supply() -> list[Course]:
            given, courses[:] = courses[:], []
            return given

        loop.run(supply)

    def _report(self, endpoint: "Endpoint", attempt: Attempt | None) -> Report:
        name = endpoint.destination.name
        if attempt is None:
            return Report(name, State.WAITING)
        retrying = attempt.state is State.RETRYING
        return Report(
            destination=name,
            outcome=attempt.state,
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
    """One attempt that is recorded nowhere."""

    def __init__(self, event: Event) -> None:
        self._due: Sequence[Delivery] = (Delivery(event, 1),)
        self.answer: Answer | None = None

    def take(self, now: int, most: int) -> Sequence[Delivery]:  # noqa: ARG002 - it is due at once
        taken, self._due = self._due, ()
        return taken

    def record(self, results: Sequence[tuple[Delivery, Answer]], now: int) -> None:  # noqa: ARG002 - kept nowhere
        self.answer = results[0][1]

    def finish(self) -> None:
        pass


class _First:
    """The first attempt of one event at a claimed destination."""

    def __init__(self, event: Event, claim: Claim) -> None:
        self._claim = claim
        first = claim.first_attempt(event)
        self._due: Sequence[Delivery] = () if first is None else (first,)
        self.attempt: Attempt | None = None

    def take(self, now: int, most: int) -> Sequence[Delivery]:  # noqa: ARG002 - it is due at once
        taken, self._due = self._due, ()
        return taken

    def record(self, results: Sequence[tuple[Delivery, Answer]], now: int) -> None:
        self._claim.record(results, now)
        self.attempt = self._claim.last

    def finish(self) -> None:
        self._claim.release()
