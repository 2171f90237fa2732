"""What a person at a terminal sees while a command works: one live line, and a line for each failure of a drain."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from arkcli import times
from arkcli.actions.printed import attempt_json, when
from arkcli.actions.wording import answer_cell
from arkcli.model import State, attempt_of
from arkcli.output.live import bar, first_fit, fitted
from arkcli.text import counted, listed

if TYPE_CHECKING:
    from arkcli.actions.drain import Stock
    from arkcli.cli.session import Session
    from arkcli.delivery.due import Tally
    from arkcli.delivery.watching import Awaited, LookAtSend, Onlooker, Underway
    from arkcli.model import Answer, Attempt, Delivery, Destination, RetrySchedule
    from arkcli.output import Output
    from arkcli.output.live import Words
    from arkcli.queue.engine import Result
    from arkcli.system.clock import Clock

#: How many failures a drain reports by themselves in each second.
_FAILURES: Final = 3
#: How much of an answer such a line shows, in characters.
_SAID: Final = 120
#: How many of the last drawings the rate is taken over.
_MARKS: Final = 10
#: Below this width there is no bar beside the figures, in columns.
_NARROW: Final = 60


@contextmanager
def awaiting(session: "Session", output: "Output") -> "Iterator[LookAtSend | None]":
    """Shows which destinations are still awaited during a block, if that lasts. Yields what to pass to the action."""
    with output.drawing() as draw:
        if draw is None:
            yield None
            return

        def look(take_stock: "Callable[[], Awaited]") -> None:
            draw(session.home.clock.monotonic(), lambda width: awaited_line(take_stock(), width))

        yield look


def awaited_line(found: "Awaited", width: int) -> str:
    """`2 of 3 answered; waiting for globex-eu-west, 4 s of 10`, as long a form as has room."""
    answered = f"{found.total - len(found.names):,} of {found.total:,} answered"
    if not found.names:
        return answered
    time = "" if found.seconds is None else f", {int(found.seconds)} s"
    of = f"{time} of {found.deadline:.0f}" if time else ""
    few, one = (f"{answered}; waiting for {listed(found.names, most)}" for most in (3, 1))
    return first_fit((few + of, one + of, one + time, answered + of), width)


@contextmanager
def drain_watched(session: "Session", output: "Output", stock: "Stock") -> "Iterator[Onlooker | None]":
    """Shows the progress of a drain during a block, and a line for each failure. Yields None if nobody watches."""
    if not output.is_watched:
        yield None
        return
    with output.drawing() as draw:
        onlooker = _DrainOnTerminal(output.note, draw, session.home.clock, session.home.schedule, stock)
        try:
            yield onlooker
        finally:
            onlooker.tell_held()


class _DrainOnTerminal:
    """Draws the progress of a drain and prints its failures, a few in each second."""

    def __init__(
        self,
        say: Callable[[str], None],
        draw: "Callable[[float, Words], None] | None",
        clock: "Clock",
        schedule: "RetrySchedule",
        stock: "Stock",
    ) -> None:
        self._say = say
        self._draw = draw
        self._clock = clock
        self._schedule = schedule
        self._stock = stock
        self._throttle = Throttle(_FAILURES)
        #: Since the drain was idle: how much was due, once counted, and what had been attempted at some moments.
        self._is_counted = False
        self._due: int | None = None
        self._marks: deque[tuple[float, int]] = deque(maxlen=_MARKS)

    def look(self, take_stock: "Callable[[], Underway]") -> None:
        """Draws the line if it is time."""
        now = self._clock.monotonic()
        self.tell_held(now)
        if self._draw is not None:
            self._draw(now, partial(self._line, now, take_stock))

    def _line(self, now: float, take_stock: "Callable[[], Underway]", width: int) -> str:
        found = take_stock()
        if found.is_idle:
            self._is_counted, self._due = False, None
            self._marks.clear()
            return idle_line(self._stock.next_due_in(found.attempted))
        self._marks.append((now, found.attempted))
        if not self._is_counted and len(self._marks) > 1:
            # Not at once: to count takes a while, and a drain that only makes a retry now and then is idle again.
            self._is_counted = True
            left = self._stock.due()
            self._due = None if left is None else found.attempted + left
        began, before = self._marks[0]
        rate = (found.attempted - before) / (now - began) if now > began else None
        return drain_line(found, self._due, rate, width)

    def recorded(self, name: str, results: "Sequence[Result]", states: Sequence[State | None], now: int) -> None:
        """Prints the failures among the outcomes."""
        for made, answer, following in _failures(results, states, self._schedule, now):
            if self._throttle.admits(self._clock.monotonic()):
                self._say(failure_line(now, name, made, answer, following))

    def tell_held(self, now: float | None = None) -> None:
        """Tells of the failures that were not printed in a second that is over (monotonic; None: in any)."""
        if held := self._throttle.held(now):
            self._say(f"and {held:,} more failed")


class Throttle:
    """Lets as many lines a second through as a person can read, and counts the others."""

    def __init__(self, most: int) -> None:
        """At most `most` lines in each second."""
        self._most = most
        self._until = 0.0
        self._let = 0
        self._held = 0

    def admits(self, now: float) -> bool:
        """Whether to print a line now (monotonic seconds). A line that is not printed is counted."""
        if now >= self._until and not self._held:
            self._until, self._let = now + 1.0, 0
        if self._let < self._most:
            self._let += 1
            return True
        self._held += 1
        return False

    def held(self, now: float | None = None) -> int:
        """How many lines were not printed in a second that is over; 0 while it lasts. None: whether it is over or not.

        Each line is counted once.
        """
        if now is not None and now < self._until:
            return 0
        held, self._held = self._held, 0
        return held


class DrainInLog:
    """Writes a line for each failed attempt to standard error, for the log of a service; as JSON if the output is."""

    def __init__(self, output: "Output", schedule: "RetrySchedule") -> None:
        self._output = output
        self._schedule = schedule

    def look(self, take_stock: "Callable[[], Underway]") -> None:
        """Nothing is drawn in a log."""

    def recorded(self, name: str, results: "Sequence[Result]", states: Sequence[State | None], now: int) -> None:
        """Writes the failures among the outcomes."""
        for made, answer, following in _failures(results, states, self._schedule, now):
            told = {"event_id": made.event.id, **attempt_json(attempt_of(made, answer, now))}
            document = {"destination": name, **told, "next_attempt_at": when(following)}
            self._output.log(failure_line(now, name, made, answer, following), document)


def _failures(
    results: "Sequence[Result]", states: Sequence[State | None], schedule: "RetrySchedule", now: int
) -> "Iterator[tuple[Delivery, Answer, int | None]]":
    """The failures among outcomes, and when the next attempt is due (milliseconds, UTC; None: there is none)."""
    if states.count(State.DELIVERED) < len(states):
        for (delivery, answer), state in zip(results, states, strict=True):
            if state in (State.RETRYING, State.DEAD):
                yield delivery, answer, schedule.next_attempt_at(delivery.attempt, now)


def drain_line(found: "Underway", due: int | None, rate: float | None, width: int) -> str:
    """The progress of a drain. `due`: how many deliveries were due; `rate`: attempts a second. None: not known."""
    # More may have fallen due in the meantime.
    of = "" if due is None else f" of {max(due, found.attempted):,}"
    slowest = found.slowest
    is_slow = slowest is not None and slowest[1] >= 1
    return fitted(
        (
            f"{found.attempted:,}{of} done",
            "" if rate is None else f"{rate:,.0f}/s",
            f"{found.delivered:,} delivered" if found.delivered else "",
            f"{found.retrying:,} to retry" if found.retrying else "",
            f"{found.dead:,} dead" if found.dead else "",
            f"slowest: {slowest[0]}, {int(slowest[1])} s" if slowest is not None and is_slow else "",
        ),
        width,
    )


def idle_line(next_in: float | None) -> str:
    """What a drain says while it attempts nothing. `next_in`: seconds until the next delivery is due, if known."""
    if next_in is None:
        return "nothing due"
    if next_in <= 0:
        return "waiting for another process, or for a receiver that is down"
    return f"nothing due; the next in {_briefly(next_in)}"


def failure_line(at: int, name: str, made: "Delivery", answer: "Answer", following: int | None) -> str:
    """One failed attempt: when, where, what came back, and when the next one is due. Times are milliseconds, UTC."""
    number = made.attempt
    left = None if following is None else _briefly((following - at) / 1000)
    then = f"dead after {number}" if left is None else f"attempt {number}, the next in {left}"
    return f"{times.to_text(at)[11:19]} {name}: {_said(answer)}; {then}; {made.event.id}"


def stream_line(read: int, size: int | None, count: int, what: str, seconds: float, width: int) -> str:
    """The progress of a stream: `read` of `size` bytes (None: unknown), and what was done with them so far."""
    done, rate = f"{count:,} {what}", f"{count / max(seconds, 0.001):,.0f}/s"
    if not size:
        return fitted((done, rate), width)
    part = min(read / size, 1.0)
    left = f"{_briefly(seconds / part - seconds)} left" if part > 0 else ""
    percent = f"{part * 100:.0f} %"
    return fitted((percent if width < _NARROW else f"{bar(part)} {percent}", rate, left, done), width)


def _briefly(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 10 else times.describe_duration(seconds)


def _said(made: "Answer | Attempt") -> str:
    said = str(answer_cell(made))
    return said if len(said) <= _SAID else f"{said[:_SAID]}…"


def death_warnings(tallies: "Iterable[Tally]") -> Iterator[str]:
    """What a quiet drain says about the deliveries that died: the first of each destination by themselves."""
    for tally in tallies:
        for made in tally.deaths:
            yield (
                f"{tally.name}: {made.event_id} is dead after {counted(made.attempt, 'attempt')}: {_said(made)}; "
                f"`ark queue show {made.event_id}` shows the attempts, `ark queue retry {made.event_id}` tries again"
            )
        if more := tally.dead - len(tally.deaths):
            yield f"{tally.name}: {more:,} more died; `ark queue list --state dead --to {tally.name}` lists them"


def hints(session: "Session", failed: "Iterable[tuple[Destination, str]]") -> list[str]:
    """What to check after attempts failed, once for each cause. Takes destinations and the errors of their answers."""
    from arkcli.actions import advice

    named: dict[str, list[str]] = {}
    for destination, error in failed:
        said = advice.hint(session.variables, destination.url, error)
        named.setdefault(said, []).append(destination.name)
    return [
        f"{listed(names)}: {said.replace('NAME', names[0]) if len(names) == 1 else said}"
        for said, names in named.items()
    ]
