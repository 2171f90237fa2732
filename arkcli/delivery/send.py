"""Sends at once: `ark send`, `ark ping`, and the ping that a new destination must answer."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from arkcli.delivery import backoff
from arkcli.delivery.due import begin
from arkcli.delivery.loop import Course, Loop, Token
from arkcli.delivery.places import Limits, Share
from arkcli.delivery.sent import Sending, Sent
from arkcli.delivery.watching import Awaited, LookAtSend
from arkcli.errors import Broken, InDoubt, NotAttempted, NotRecorded, Unreachable
from arkcli.model import Answer, Attempt, Delivery, Destination, Event, RetrySchedule, State, attempt_of
from arkcli.queue.engine import Claim, Queue, Result
from arkcli.queue.outage import ASKED, Outage
from arkcli.queue.pace import terms_of
from arkcli.queue.patience import SEND_HOLDS_FOR
from arkcli.system.clock import Clock

if TYPE_CHECKING:
    from arkcli.wire.wire import Endpoint, Wire

#: How often to look for the outcome while another process delivers, in seconds.
_WAIT = 0.02
#: How long a `send` also makes the first attempts of events that other processes accept, in milliseconds. The last of
#: these attempts must end within SEND_HOLDS_FOR.
_TAKES_OTHERS_FOR = 4_000
#: How long a `send` waits for its turn at a destination with a rate, in milliseconds.
_WAITS_FOR = 10_000


class Sender:
    """Delivers events at once and returns the results."""

    def __init__(
        self,
        wire: "Wire[Token]",
        clock: Clock,
        limits: Limits,
        schedule: RetrySchedule,
        stopping: Callable[[], bool],
    ) -> None:
        """Once `stopping` returns True, no more attempts start."""
        self._wire = wire
        self._clock = clock
        self._limits = limits
        self._schedule = schedule
        self._stopping = stopping

    def ping(
        self, endpoints: "Iterable[Endpoint]", event: Event, look: LookAtSend | None = None
    ) -> list[tuple[Destination, Answer]]:
        """Makes one attempt at each endpoint, without queue and retries. Without those that a stop prevented."""
        pings = _Pings(endpoints, event)
        self._loop(look, pings).run(pings)
        return pings.answers

    def _loop(self, look: LookAtSend | None, supply: "_Pings | _Firsts") -> Loop:
        asked = None if look is None else lambda: look(lambda: self._awaited(supply))
        return Loop(self._wire, self._clock, self._limits, self._stopping, asked)

    def _awaited(self, supply: "_Pings | _Firsts") -> Awaited:
        from arkcli.wire.answers import DEADLINE

        total, names = supply.awaited()
        oldest = self._wire.oldest()
        if oldest is None:
            return Awaited(total, names, None, DEADLINE)
        (course, _), seconds = oldest
        slowest = course.endpoint.destination.name
        return Awaited(total, sorted(names, key=slowest.__ne__), seconds, DEADLINE)

    def send(
        self,
        queue: Queue,
        endpoints: "Sequence[Endpoint]",
        event: Event,
        capacity: int,
        look: LookAtSend | None = None,
    ) -> "Sending":
        """Makes the first attempt of an accepted event at every endpoint and returns the results.

        At most `capacity` destinations are held at once. If another process holds a destination, that process delivers,
        and this one waits for the outcome.
        """
        firsts = _Firsts(queue, endpoints, event, capacity, self._limits.per_destination, self._clock)
        until = self._clock.monotonic() + SEND_HOLDS_FOR
        loop = self._loop(look, firsts)
        while True:
            trouble: str | None = None
            try:
                loop.run(firsts)
            except (NotAttempted, NotRecorded) as error:
                trouble = str(error)
                break
            except (Unreachable, InDoubt) as error:
                trouble = str(error)
                if not firsts.unrecorded:
                    break
                # The outcomes are known, and worth waiting for the database.
            if not firsts.left or self._stopping() or self._clock.monotonic() >= until:
                break
            self._clock.sleep(_WAIT)
        with suppress(Unreachable, InDoubt):
            firsts.look_for_others()
        deliveries = [self._sent(queue, endpoint.destination, firsts) for endpoint in endpoints]
        return Sending(event, deliveries, trouble)

    def _sent(self, queue: Queue, destination: Destination, firsts: "_Firsts") -> Sent:
        name, found = destination.name, destination.id
        attempt = firsts.attempts.get(found)
        if found in firsts.broken:
            return Sent(name, State.WAITING, error=firsts.broken[found], is_broken=True)
        if found in firsts.outages:
            outage = firsts.outages[found]
            error = f"held back: {outage.in_words()}"
            return Sent(name, State.WAITING, error=error, next_attempt_at=outage.until)
        if attempt is None:
            holder = None
            with suppress(Unreachable, InDoubt):
                holder = queue.holder(found) if found in firsts.left else None
            return Sent(name, State.WAITING, held_by=holder)
        state = self._schedule.state_after(attempt.attempt, attempt.outcome)
        following = self._schedule.next_attempt_at(attempt.attempt, attempt.at, self._clock.now())
        return Sent(name, state, attempt, following if state is State.RETRYING else None)


class _Once:
    """One ping, which is due at once."""

    turn_at: int | None = None

    def __init__(self, delivery: Delivery) -> None:
        self._due: Sequence[Delivery] = (delivery,)
        self.answer: Answer | None = None

    def take(self, now: int, most: int) -> Sequence[Delivery]:  # noqa: ARG002 - it is due at once
        taken, self._due = self._due, ()
        return taken

    def has_lapsed(self) -> bool:
        return False

    def not_made(self, answer: Answer) -> None:
        self.answer = answer

    def finish(self) -> None:
        pass


class _Pings:
    """One attempt at each endpoint. Outcomes are not recorded."""

    def __init__(self, endpoints: "Iterable[Endpoint]", event: Event) -> None:
        self._left = [Course(endpoint, _Once(Delivery(event, 1)), Share(1)) for endpoint in endpoints]
        self._all = list(self._left)

    @property
    def answers(self) -> list[tuple[Destination, Answer]]:
        """The answers to the pings that were made, in the order of the endpoints."""
        return [(course.endpoint.destination, answer) for course in self._all if (answer := course.source.answer)]

    def awaited(self) -> tuple[int, list[str]]:
        """The number of endpoints, and the names of those that have not answered."""
        waiting = [course.endpoint.destination.name for course in self._all if course.source.answer is None]
        return len(self._all), waiting

    def courses(self) -> list[Course[_Once]]:
        given, self._left = self._left, []
        return given

    def is_waiting(self) -> bool:
        return False

    def record(self, done: Sequence[tuple[Course[_Once], Sequence[Result]]], now: int) -> None:  # noqa: ARG002 - nowhere
        for course, ((_, answer),) in done:
            course.source.answer = answer


class _First:
    """First attempts at one destination: of the event being sent, and of events that others accept meanwhile.

    Those processes cannot deliver them, since this process holds the destination.
    """

    def __init__(
        self, claim: Claim, own: Delivery, destination: Destination, share: Share, finish: Callable[["_First"], None]
    ) -> None:
        self.claim = claim
        self.own = own
        self.share = share
        self._destination = destination
        self._terms = terms_of(destination)
        #: When to ask for its turn again, and until when; why its turn does not come before that (milliseconds, UTC).
        self.turn_at: int | None = None
        self._waits_until: int | None = None
        self.later: Outage | None = None
        #: When the attempt of `own` began (milliseconds, UTC), and whether it has ended and is recorded.
        self.began: int | None = None
        self.is_done = False
        #: How the last attempt failed.
        self.error = ""
        self._finish = finish

    def take(self, now: int, most: int) -> Sequence[Delivery]:
        if self.began is None:
            if not self._is_turn(now):
                return ()
            self.began = now
            return (self.own,)
        if self.is_done or not 0 <= now - self.began < _TAKES_OTHERS_FOR or backoff.is_asked(self.claim, now):
            return ()
        if self._terms is None:
            return self.claim.take_behind(most)
        taken, _ = begin(self.claim, self._terms, most, now, self.claim.take_behind)
        return taken

    def _is_turn(self, now: int) -> bool:
        """Whether its attempt may begin. If not, sets when to ask again, or why it is left to `ark drain`."""
        self.turn_at = None
        if self._waits_until is None:
            self._waits_until = now + _WAITS_FOR
        turn = None
        if self._terms is not None and not backoff.is_asked(self.claim, now):
            turn = self.claim.admit(self._terms, 1, now)
            if turn.count:
                return True
        # `admit` may have found out that another process was asked to wait.
        if self.claim.outage is not None and backoff.is_asked(self.claim, now):
            outage = self.claim.outage
        elif turn is not None:
            outage = backoff.of_rate(self._destination, turn.at or now, now)
        else:
            return True
        if outage.until > self._waits_until:
            self.later = outage
        else:
            self.turn_at = outage.until
        return False

    def has_lapsed(self) -> bool:
        return self.claim.has_lapsed

    def not_made(self, answer: Answer) -> None:
        """Nothing to do: the delivery is tried again once the claim has been released."""

    def finish(self) -> None:
        self._finish(self)


class _Firsts:
    """The first attempts of one event, at no more destinations at once than may be held."""

    def __init__(
        self,
        queue: Queue,
        endpoints: "Sequence[Endpoint]",
        event: Event,
        capacity: int,
        most: int,
        clock: Clock,
    ) -> None:
        """At most `most` attempts are in flight at one destination."""
        self._queue = queue
        self._event = event
        self._capacity = capacity
        self._most = most
        self._clock = clock
        self._endpoints = {endpoint.destination.id: endpoint for endpoint in endpoints}
        self._held: dict[str, _First] = {}
        self._has_more = False
        #: The endpoints without a result whose attempt is not under way in this process; and those of them that others
        #: held when this process last tried to claim them.
        self.left = dict(self._endpoints)
        self._busy: dict[str, None] = {}
        self.attempts: dict[str, Attempt] = {}
        #: Why no attempt is made: the receiver is unreachable, or that part of the queue is unusable.
        self.outages: dict[str, Outage] = {}
        self.broken: dict[str, str] = {}
        #: The outcomes of own attempts that the queue keeps until it can record them.
        self.unrecorded: dict[str, Attempt] = {}

    def awaited(self) -> tuple[int, list[str]]:
        """The number of endpoints, and the names of those without a result."""
        done = self.attempts.keys() | self.outages.keys() | self.broken.keys()
        waiting = [endpoint.destination.name for found, endpoint in self._endpoints.items() if found not in done]
        return len(self._endpoints), waiting

    def courses(self) -> list[Course[_First]]:
        self._take_in_late()
        room = self._capacity - len(self._held)
        firsts = self._claim(room) if self.left and room > 0 else []
        now = self._clock.now()
        courses = [self._course(claim, own) for claim, own in firsts if not self._is_held_back(claim, now)]
        for found in self.left.keys() & self._queue.broken.keys():
            self._broke(found, self._queue.broken[found])
        self._has_more = bool(self.left) and len(firsts) == room
        if not firsts:
            # Only after this process's own attempts have started, and not at those that it has not tried yet.
            self._busy = {found: None for found in self._busy if found in self.left}
            self._look_at(list(self._busy))
            if self.left or not all(first.is_done for first in self._held.values()):
                # Finds events that others have accepted in the meantime.
                self._queue.look((), now)
        return courses

    def _claim(self, room: int) -> Sequence[tuple[Claim, Delivery]]:
        """Claims up to `room` endpoints. Those that others hold are tried again after the rest."""
        ids = list(self.left)
        firsts = self._queue.claim_first(self._event, ids, room)
        claimed = {claim.destination_id for claim, _ in firsts}
        # With `room` claims made, the queue did not try the endpoints after the last one.
        tried = ids if len(firsts) < room else ids[: ids.index(firsts[-1][0].destination_id)]
        for found in tried:
            if found not in claimed:
                self.left[found] = self.left.pop(found)
                self._busy[found] = None
        for found in claimed:
            self._busy.pop(found, None)
        return firsts

    def _course(self, claim: Claim, own: Delivery) -> Course[_First]:
        share = Share(self._most, self._most)
        if claim.outage is not None and claim.outage.reason != ASKED:
            share.probe()
        endpoint = self.left.pop(claim.destination_id)
        first = self._held[claim.destination_id] = _First(claim, own, endpoint.destination, share, self._release)
        return Course(endpoint, first, share)

    def _is_held_back(self, claim: Claim, now: int) -> bool:
        """Releases the claim if its receiver is unreachable and the next probe is not due yet."""
        if claim.outage is None or claim.outage.reason == ASKED or backoff.is_over(claim.outage, now):
            return False
        del self.left[claim.destination_id]
        self.outages[claim.destination_id] = claim.outage
        claim.release()
        return True

    def _broke(self, found: str, reason: str) -> None:
        self.left.pop(found, None)
        self.broken[found] = reason

    def look_for_others(self) -> None:
        """Reads the attempts that other processes have made."""
        self._take_in_late()
        self._look_at(list(self.left))

    def _look_at(self, ids: Sequence[str]) -> None:
        found = self._queue.outcomes(self._event, ids) if ids else {}
        self.attempts |= found
        for destination_id in found:
            del self.left[destination_id]

    def _take_in_late(self) -> None:
        """Takes in what was recorded after the queue had been away."""
        for claim, results, told in self._queue.late():
            for (delivery, _), state in zip(results, told.states, strict=True):
                if delivery.event.id == self._event.id:
                    attempt = self.unrecorded.pop(claim.destination_id)
                    if state is not None:
                        self.attempts[claim.destination_id] = attempt
                        self.left.pop(claim.destination_id, None)

    def is_waiting(self) -> bool:
        return self._has_more and len(self._held) * 2 <= self._capacity

    def _release(self, first: _First) -> None:
        claim = first.claim
        found = claim.destination_id
        del self._held[found]
        now = self._clock.now()
        if first.share.is_held_back and not backoff.is_asked(claim, now):
            claim.note(backoff.held_back(claim.outage, first.error, now))
        claim.release()
        if first.later is not None:
            self.outages[found] = first.later
        elif not first.is_done and found not in self.broken:
            self.left[found] = self._endpoints[found]

    def record(self, done: Sequence[tuple[Course[_First], Sequence[Result]]], now: int) -> NotRecorded | None:
        recorded = self._queue.record([(course.source.claim, results) for course, results in done], now)
        failure = None
        for (course, results), told in zip(done, recorded, strict=True):
            first, found = course.source, course.source.claim.destination_id
            first.error = results[-1][1].error or ""
            backoff.note_asked(first.claim, results, now)
            backoff.note_answers(first.claim, results, now)
            for (delivery, answer), state in zip(results, told.states, strict=True):
                if delivery is first.own and told.is_kept:
                    self.unrecorded[found] = attempt_of(delivery, answer, now)
                elif delivery is first.own and state is not None:
                    first.is_done = True
                    self.attempts[found] = attempt_of(delivery, answer, now)
            if isinstance(told.error, Broken):
                course.stopped = True
                self._broke(found, str(told.error))
            else:
                failure = failure or told.error
        return failure
