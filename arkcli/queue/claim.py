"""The sole right to deliver to one destination: what is due for it, and writing down what came of it."""

import contextlib
from collections.abc import Sequence
from functools import cached_property

from arkcli import files, times
from arkcli.errors import NotRecorded
from arkcli.model import Answer, Attempt, Delivery, Event, State
from arkcli.queue.deadletters import DeadLetters
from arkcli.queue.eventlog import EventLog
from arkcli.queue.journal import Journal
from arkcli.queue.lanes import Arrivals, Lane, Retries, UnderWay
from arkcli.queue.lines import AttemptLine, DeadLine, DropLine
from arkcli.queue.state import LANES
from arkcli.schedule import RetrySchedule


class Claim:
    """The sole right to deliver to one destination."""

    def __init__(
        self,
        destination_id: str,
        lock: files.Lock,
        log: EventLog,
        journal: Journal,
        dead: DeadLetters,
        schedule: RetrySchedule,
    ) -> None:
        """`lock` is held by now, and `journal` loaded."""
        self._lock = lock
        self._log = log
        self._journal = journal
        self._dead = dead
        self._under_way = UnderWay()
        self._lanes: tuple[Lane, ...] = (
            Arrivals(destination_id, log, journal, self._under_way, self._is_dead),
            *(Retries(attempt, log, journal, schedule, self._under_way) for attempt in range(1, LANES + 1)),
        )
        self._keep_dead()

    def _is_dead(self, position: int) -> bool:
        return position in self._letters and position not in self._journal.state.gone

    def is_anything_due(self, now: int) -> bool:
        """Whether `take` would give something."""
        return any(lane.is_due(now) for lane in self._lanes)

    def take(self, now: int, most: int) -> list[Delivery]:
        """The next deliveries that are due, those first that have been due longest; at most so many."""
        taken: list[Delivery] = []
        while len(taken) < most and (ready := self._ready(now)):
            if len(ready) == 1:
                taken += ready[0].pop(most - len(taken))
            else:
                taken += min(ready, key=lambda lane: lane.due_at() or 0).pop(1)
        return taken

    def _ready(self, now: int) -> Sequence[Lane]:
        """The lanes whose heads are due."""
        if any(self._journal.state.retrying):
            return [lane for lane in self._lanes if lane.is_due(now)]
        # Nothing is retried, as in most runs: there is only one lane to look at.
        return self._lanes[:1] if self._lanes[0].is_due(now) else ()

    def first_attempt(self, event: Event) -> Delivery | None:
        """The first attempt of one event, out of turn; None when it has been made."""
        if self._journal.state.first.passed(event.position) is not None:
            return None
        delivery = Delivery(event, 1)
        self._under_way.begin(delivery)
        return delivery

    def next_due_at(self) -> int | None:
        """When the next delivery falls due (milliseconds, UTC); None when nothing waits."""
        return min((at for lane in self._lanes if (at := lane.due_at()) is not None), default=None)

    @property
    def last(self) -> Attempt | None:
        """The attempt that was recorded last."""
        last = self._journal.state.last
        return last.to_attempt() if last else None

    def record(self, results: Sequence[tuple[Delivery, Answer]], now: int) -> list[State]:
        """Writes down what came of attempts, at `now` (milliseconds, UTC), and tells where it leaves each delivery.

        Raises NotRecorded.
        """
        at = times.to_text(now)
        entries = [
            AttemptLine(
                pos=delivery.event.position,
                len=delivery.event.length,
                id=delivery.event.id,
                event=delivery.event.name,
                attempt=delivery.attempt,
                at=at,
                outcome=answer.outcome,
                ms=answer.duration_ms,
                status=answer.status,
                error=answer.error,
                excerpt=answer.excerpt,
                after=delivery.after,
                instead=delivery.instead,
            )
            for delivery, answer in results
        ]
        self._journal.append(entries)
        self._under_way.end(delivery for delivery, _ in results)
        self._keep_dead()
        # Only now: a checkpoint forgets who has died, so their copies come first.
        self._journal.save_if_worth_it(going_on=True)
        return [entry.state for entry in entries]

    def drop(self, entries: Sequence[DropLine]) -> None:
        """Gives deliveries up. Raises NotRecorded."""
        self._journal.append(entries)

    def expire(self, before: int) -> None:
        """Removes from the journal what nobody needs and what is older than a time (milliseconds, UTC)."""
        self._journal.expire(before)

    def release(self) -> None:
        """Gives the right back."""
        state = self._journal.state
        with contextlib.suppress(OSError, NotRecorded):
            if not state.newly_dead:
                if state.gone:
                    self._journal.sync()
                    self._dead.discard(state.gone)
                    state.gone.clear()
                    self._journal.save()
                self._journal.save_if_worth_it()
        self._journal.close()
        self._lock.close()

    def _keep_dead(self) -> None:
        """Makes the copies of what has died, also of what a crash between the journal and the letters left out."""
        dead = self._journal.state.newly_dead
        if not dead:
            return
        # A letter must never survive a power failure that its journal line does not.
        self._journal.sync()
        try:
            missing = [entry for entry in dead.values() if entry.pos not in self._letters]
            found = [(self._log.event_at(entry.pos, entry.len), entry) for entry in missing]
            letters = [_letter(event, entry) for event, entry in found if event is not None]
            self._dead.keep(letters)
        except OSError as error:
            raise NotRecorded(f"a dead letter cannot be kept ({error.strerror}): delivering stopped") from error
        self._letters.update(letter.pos for letter in letters)
        dead.clear()

    @cached_property
    def _letters(self) -> set[int]:
        return self._dead.positions()


def _letter(event: Event, entry: AttemptLine) -> DeadLine:
    position, length = event.position, event.length
    return DeadLine(position, length, event.id, event.at, event.name, entry.at, event.body, entry.status, entry.error)
