"""The one loop that makes attempts. `send`, `drain` and `ping` run it over different work.

In each round it takes due deliveries from sources, starts them on the wire, and records the outcomes of all
destinations together.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from arkcli.delivery.places import Limits, Share
from arkcli.errors import NotAttempted, NotRecorded
from arkcli.model import Answer, Delivery
from arkcli.queue.engine import Result
from arkcli.system.clock import Clock

if TYPE_CHECKING:
    from arkcli.wire.wire import Endpoint, Wire

#: How often to look for new work while attempts are under way, in seconds.
_LOOK_EVERY: Final = 0.1
#: How long to start nothing after this machine could not make an attempt, in seconds.
_REST: Final = 0.5


class Source(Protocol):
    """Supplies the deliveries of one destination.

    `turn_at`: `take` returned none although some are due; call it again at that time (milliseconds, UTC).
    """

    turn_at: int | None

    def take(self, now: int, most: int) -> Sequence[Delivery]:
        """The next deliveries that are due at `now` (milliseconds, UTC): at most `most`, none if none is due."""

    def has_lapsed(self) -> bool:
        """Whether another process may make these attempts by now, so that none may be under way here."""

    def not_made(self, answer: Answer) -> None:
        """Called when a delivery could not be attempted because this machine is short of a resource."""

    def finish(self) -> None:
        """Called once: when nothing is due or under way any more, or when the loop ends."""


Kind = TypeVar("Kind", bound=Source)


class Supply(Protocol[Kind]):
    """Supplies the loop's courses and records their outcomes."""

    def courses(self) -> "Iterable[Course[Kind]]":
        """The courses added since the last call. Called ten times a second, and when no course is left."""

    def is_waiting(self) -> bool:
        """Whether `courses` would return some now. Called in every round."""

    def record(self, done: "Sequence[tuple[Course[Kind], Sequence[Result]]]", now: int) -> NotRecorded | None:
        """Records the outcomes of attempts at `now` (milliseconds, UTC).

        Returns the error if no outcome can be recorded. If only one destination's cannot, its course is stopped.
        """


class Course(Generic[Kind]):
    """One destination in a run of the loop."""

    __slots__ = ("endpoint", "in_line", "results", "share", "source", "stopped")

    def __init__(self, endpoint: "Endpoint", source: Kind, share: Share) -> None:
        """Set `stopped` so that it starts no more attempts."""
        self.endpoint = endpoint
        self.source = source
        self.share = share
        self.results: list[Result] = []
        self.in_line = False
        self.stopped = False


Token = tuple[Course[Any], Delivery]


class Loop:
    """Runs courses to their end, with at most `limits` attempts at once."""

    def __init__(
        self,
        wire: "Wire[Token]",
        clock: Clock,
        limits: Limits,
        stopping: Callable[[], bool],
        look: Callable[[], None] | None = None,
    ) -> None:
        """Once `stopping` returns True, no more attempts start; those in flight are still recorded.

        `look` is called about ten times a second.
        """
        self._wire = wire
        self._clock = clock
        self._limits = limits
        self._stopping = stopping
        self._look = look
        self._answering: deque[Course[Any]] = deque()
        self._silent: deque[Course[Any]] = deque()
        #: In the order in which they were added.
        self._active: dict[Course[Any], None] = {}
        #: The courses that wait for their turn, and until when (seconds, monotonic). They count as being in a line.
        self._resting: dict[Course[Any], float] = {}
        self._silent_in_flight = 0
        self._failure: Exception | None = None
        #: How many attempts this machine can make at once, and until when to start none because it could not.
        self._total = limits.total
        self._rests_until = 0.0

    def run(self, supply: Supply[Any]) -> None:
        """Makes attempts until there are no courses left.

        Raises NotRecorded if an outcome could not be recorded, NotAttempted if this machine can make no attempt, and
        what the supply raises. After such an error it starts nothing more, and records what was in flight.
        """
        self._total = self._limits.total
        self._failure = None
        try:
            look_at = self._clock.monotonic()
            while True:
                if self._clock.monotonic() >= look_at or supply.is_waiting():
                    look_at = self._clock.monotonic() + _LOOK_EVERY
                    self._add(supply)
                self._begin()
                if self._rests_until and not self._wire.in_flight and not self._halted():
                    self._clock.sleep(_LOOK_EVERY)
                elif not self._wire.in_flight and not self._active:
                    self._add(supply)
                    if not self._active:
                        break
                    continue
                pause = self._pause() if self._resting else _LOOK_EVERY
                if not self._wire.in_flight and self._resting:
                    self._clock.sleep(pause)
                self._record(self._wire.wait(pause), supply)
                # Only now: an answer that came while the queue did not respond has been recorded.
                self._end_lapsed()
        finally:
            self._wire.abandon()
            for course in list(self._active):
                self._leave(course)
        if self._failure is not None:
            raise self._failure

    def _halted(self) -> bool:
        return self._failure is not None or self._stopping()

    def _add(self, supply: Supply[Any]) -> None:
        if self._look is not None:
            self._look()
        if self._halted():
            return
        try:
            courses = supply.courses()
        except Exception as error:
            self._failure = error
            return
        self._active.update(dict.fromkeys(courses))
        # Also those that had nothing due: a delivery may have become due although none of their attempts has ended.
        for course in self._active:
            self._line_up(course)
        for course in [found for found in self._active if found.stopped and not found.share.in_flight]:
            # It may wait in a line that does not move.
            self._leave(course)

    def _pause(self) -> float:
        """How long to wait at most: until the next turn of a course."""
        return max(min(min(self._resting.values()) - self._clock.monotonic(), _LOOK_EVERY), 0.0)

    def _wake(self, *, everybody: bool) -> None:
        """Lines up the courses whose turn it is."""
        now = self._clock.monotonic()
        for course in [found for found, until in self._resting.items() if everybody or found.stopped or until <= now]:
            del self._resting[course]
            course.in_line = False
            self._line_up(course)

    def _line_up(self, course: Course[Any]) -> None:
        if not course.in_line:
            course.in_line = True
            (self._answering if course.share.answering else self._silent).append(course)

    def _begin(self) -> None:
        """Starts due deliveries while there are free places. Destinations that answer come first; silent ones leave
        room for them.
        """
        now = self._clock.now()
        halted = self._halted()
        if self._resting:
            self._wake(everybody=halted)
        places = self._total - self._wire.in_flight
        if self._rests_until and not halted:
            if self._clock.monotonic() < self._rests_until:
                return
            self._rests_until = 0.0
        while places > 0 or halted:
            if self._answering:
                line, left = self._answering, places
            elif self._silent and (halted or self._silent_in_flight < self._limits.silent):
                line, left = self._silent, min(places, self._limits.silent - self._silent_in_flight)
            else:
                return
            # An equal share for each course in the line, and at least one place.
            part = max(left // len(line), 1)
            course = line.popleft()
            course.in_line = False
            if course not in self._active:
                continue
            if halted or course.stopped or course.share.is_held_back:
                self._leave_if_idle(course)
            elif room := course.share.room(self._limits, len(self._active)):
                places -= self._start(course, min(part, room), now)
            # Otherwise it lines up again when one of its own attempts has ended.

    def _start(self, course: Course[Any], most: int, now: int) -> int:
        """Starts at most `most` due deliveries of a destination; returns how many."""
        try:
            deliveries = course.source.take(now, most)
        except NotRecorded as error:
            self._failure = error
            return 0
        if not deliveries:
            if course.source.turn_at is None:
                self._leave_if_idle(course)
            else:
                course.in_line = True
                self._resting[course] = self._clock.monotonic() + max(course.source.turn_at - now, 1) / 1000
            return 0
        self._wire.start(course.endpoint, [(delivery, (course, delivery)) for delivery in deliveries])
        course.share.in_flight += len(deliveries)
        if not course.share.answering:
            self._silent_in_flight += len(deliveries)
        self._line_up(course)
        return len(deliveries)

    def _record(self, done: list[tuple[Token, Answer]], supply: Supply[Any]) -> None:
        """Records the answers of all destinations together, before anything new starts."""
        if not done:
            return
        courses: dict[Course[Any], None] = {}
        lacking: str | None = None
        for (course, delivery), answer in done:
            if answer.lacking is not None:
                lacking = answer.lacking
                self._not_made(course, answer)
                continue
            course.results.append((delivery, answer))
            courses[course] = None
        if lacking is not None:
            self._rest(lacking)
        error = supply.record([(course, course.results) for course in courses], self._clock.now())
        self._failure = self._failure or error
        for course in courses:
            results, course.results = course.results, []
            self._take_in(course, results)

    def _take_in(self, course: Course[Any], results: Sequence[Result]) -> None:
        share = course.share
        silent_before = 0 if share.answering else share.in_flight
        share.ended([answer for _, answer in results])
        self._silent_in_flight += (0 if share.answering else share.in_flight) - silent_before
        self._line_up(course)

    def _end_lapsed(self) -> None:
        """Ends the attempts of courses that have lapsed, and stops these courses."""
        for course in [found for found in self._active if found.share.in_flight and found.source.has_lapsed()]:
            self._wire.abandon(partial(_is_of, course))
            if not course.share.answering:
                self._silent_in_flight -= course.share.in_flight
            course.share.in_flight = 0
            course.stopped = True
            self._line_up(course)

    def _not_made(self, course: Course[Any], answer: Answer) -> None:
        """Stops a course whose attempt could not be made: its release makes the delivery due again."""
        share = course.share
        share.in_flight -= 1
        if not share.answering:
            self._silent_in_flight -= 1
        course.stopped = True
        course.source.not_made(answer)
        self._line_up(course)

    def _rest(self, lacking: str) -> None:
        """Reduces the number of attempts at once, and pauses, because this machine is short of a resource."""
        if self._total == 1:
            self._failure = self._failure or NotAttempted(
                f"no attempt can be made: this machine is short of {lacking}. Deliveries stay due"
            )
        self._total = max(1, min(self._total - 1, self._wire.in_flight))
        self._rests_until = self._clock.monotonic() + _REST

    def _leave_if_idle(self, course: Course[Any]) -> None:
        if not course.share.in_flight:
            self._leave(course)

    def _leave(self, course: Course[Any]) -> None:
        self._active.pop(course, None)
        self._resting.pop(course, None)
        course.source.finish()


def _is_of(course: Course[Any], token: Token) -> bool:
    return token[0] is course
