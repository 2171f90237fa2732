"""The exclusive right to deliver to one destination: takes what is due and records the outcomes."""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Final, cast

from arkcli import times
from arkcli.errors import Broken, NotRecorded
from arkcli.model import Answer, Outcome, RetrySchedule, State
from arkcli.queue.engine import Result
from arkcli.queue.local.deadletters import DeadLetters
from arkcli.queue.local.eventlog import EventLog
from arkcli.queue.local.journal import Journal
from arkcli.queue.local.lanes import Arrivals, Retries, UnderWay
from arkcli.queue.local.lines import AttemptLine, DeadLine, DropLine
from arkcli.queue.local.notes import note_end, read_outage, read_pace, write_outage, write_pace
from arkcli.queue.local.stored import StoredDelivery, StoredEvent
from arkcli.queue.local.trouble import told, trouble
from arkcli.queue.outage import Outage
from arkcli.queue.pace import Pace, Terms, Turn, Turns
from arkcli.system import files

# Bound once: enum member access is slow on the hot path.
_DELIVERED: Final = Outcome.DELIVERED
_OK: Final = State.DELIVERED
#: How many dead letters have to be gone before the file is rewritten without them.
_WORTH_DISCARDING: Final = 1_000
#: Called with the destination, the position up to which the log was searched, and when something is due next
#: (milliseconds, UTC; None: never).
Released = Callable[[str, int, int | None], None]
Lane = Arrivals | Retries


class Claim:
    """The exclusive right to deliver to one destination."""

    def __init__(
        self, lock: files.Lock, log: EventLog, journal: Journal, schedule: RetrySchedule, released: Released
    ) -> None:
        """Takes a lock already held and a journal already loaded."""
        self.place = journal.directory
        self.destination_id = self.place.name
        self._schedule = schedule
        self._released = released
        self._end = log.end
        self._lock = lock
        self._log = log
        self._journal = journal
        self._dead = DeadLetters(self.place / "dead.jsonl")
        self._under_way = UnderWay(journal.state.beyond)
        self._arrivals = Arrivals(log, journal, self._under_way, self._dead)
        self._lanes: tuple[Lane, ...] = (
            self._arrivals,
            *(Retries(attempt, log, journal, schedule, self._under_way) for attempt in range(1, schedule.attempts)),
        )
        self.outage = read_outage(self.place)
        self._behind: Arrivals | None = None
        #: What counts against the destination's rate; None before it was asked for.
        self._turns: Turns | None = None
        self._pace = Pace()
        self._terms: Terms | None = None
        self._keep_dead()

    @property
    def has_lapsed(self) -> bool:
        """Whether another process may claim the destination by now: never, while this one has the lock."""
        return False

    def note(self, outage: Outage | None) -> None:
        """Stores the receiver's outage, or its end. Ignores a failure to store it, which only costs time."""
        self.outage = outage
        with contextlib.suppress(OSError):
            write_outage(self.place, outage)

    @told
    def admit(self, terms: Terms, most: int, now: int) -> Turn:
        """See `engine.Claim.admit`. Raises Broken and NotRecorded."""
        if self._turns is None:
            self._turns, self._pace = Turns(), read_pace(self.place, now)
        self._terms = terms
        turn = self._turns.admit(self._pace, terms, most, now)
        if turn.count and terms.count is not None:
            write_pace(self.place, self._pace)
        return turn

    def give_back(self, count: int) -> None:
        """Says that attempts that `admit` let begin were not made."""
        if self._turns is not None:
            self._turns.give_back(count)

    @told
    def is_due(self, now: int) -> bool:
        """Whether `take` would return something. Raises Broken and NotRecorded."""
        self._arrivals.settle()
        return any(lane.is_due(now) for lane in self._lanes)

    def take(self, now: int, most: int) -> list[StoredDelivery]:
        """See `engine.Claim.take`. Raises Broken and NotRecorded."""
        taken: list[StoredDelivery] = []
        try:
            while len(taken) < most and (ready := self._ready(now)):
                if len(ready) == 1:
                    taken += ready[0].pop(most - len(taken))
                else:
                    taken += min(ready, key=lambda lane: lane.due_at() or 0).pop(1)
        except OSError as error:
            raise trouble(self.place, error) from error
        if not taken:
            self._end = self._log.end
        return taken

    def _ready(self, now: int) -> Sequence[Lane]:
        """The lanes whose heads are due."""
        if any(self._journal.state.retrying):
            return [lane for lane in self._lanes if lane.is_due(now)]
        # No retries, as in most runs: only one lane to look at.
        return self._lanes[:1] if self._lanes[0].is_due(now) else ()

    def first_attempt(self, event: StoredEvent) -> StoredDelivery | None:
        """The first attempt at one event, out of turn; None if it has been made, or is not to be made any more."""
        if self._journal.state.first.passed(event.position) is not None:
            return None
        delivery = self._arrivals.begin(event)
        if delivery is not None:
            self._behind = self._arrivals.behind(event)
        return delivery

    @told
    def take_behind(self, most: int) -> list[StoredDelivery]:
        """Takes up to `most` first attempts at events accepted after the one passed to `first_attempt`."""
        if self._behind is None or self._behind.head() is None:
            return []
        return self._behind.pop(most)

    @told
    def next_due_at(self) -> int | None:
        """When the next delivery is due (milliseconds, UTC); None if nothing waits."""
        return min((at for lane in self._lanes if (at := lane.due_at()) is not None), default=None)

    def record(self, results: Sequence[Result], now: int) -> list[State]:
        """Records the outcomes of attempts, at `now` (milliseconds, UTC); returns the new state of each delivery.

        Raises Broken and NotRecorded.
        """
        at = times.to_text(now)
        if self._turns is not None:
            self._turns.ended(len(results), now)
        ours = cast("Sequence[tuple[StoredDelivery, Answer]]", results)
        entries = [
            # Positional arguments, in the order of the class: keywords take half as long again.
            AttemptLine(
                event.position,
                event.length,
                event.id,
                event.name,
                delivery.attempt,
                at,
                answer.outcome,
                answer.duration_ms,
                answer.status,
                answer.error,
                answer.excerpt,
                delivery.after,
                delivery.instead,
            )
            for delivery, answer in ours
            for event in (delivery.event,)
        ]
        gone = self._journal.state.gone
        fresh = [entry for entry in entries if entry.pos not in gone] if gone else entries
        try:
            self._journal.append(entries)
            self._under_way.end([delivery for delivery, _ in ours])
            self._keep_dead(fresh)
            # Only now: a checkpoint forgets which deliveries died, so their copies come first.
            self._journal.save_if_worth_it(going_on=True)
        except OSError as error:
            raise trouble(self.place, error) from error
        after = self._schedule.state_after
        return [_OK if entry.outcome is _DELIVERED else after(entry.attempt, entry.outcome) for entry in entries]

    @property
    def beyond(self) -> int:
        """One more than the last attempt: stands for the next attempt of a dead delivery."""
        return self._journal.state.beyond

    @told
    def drop(self, entries: Sequence[DropLine]) -> None:
        """Discards deliveries. Raises Broken and NotRecorded."""
        self._journal.append(entries)

    @told
    def expire(self, before: int) -> None:
        """Removes from the journal what no retry needs and is older than a time (milliseconds, UTC)."""
        self._journal.expire(before)

    def release(self) -> None:
        """Ends the claim."""
        state = self._journal.state
        with contextlib.suppress(OSError, Broken, NotRecorded):
            self._keep_pace()
            # A delivery taken but not recorded is due again, wherever the log ends.
            end = -1 if self._under_way.events or self._under_way.lines else self._end
            self._released(self.destination_id, end, self.next_due_at())
            if not state.newly_dead:
                # The snapshot lists the letters that are gone until the whole file is rewritten.
                if len(state.gone) >= (max(_WORTH_DISCARDING, state.dead // 8) if state.dead else 1):
                    self._journal.sync()
                    self._dead.discard(state.gone)
                    state.gone.clear()
                    self._journal.save()
                self._journal.save_if_worth_it()
        with contextlib.suppress(OSError):
            note_end(self._lock, state.journal)
        self._journal.close()
        self._lock.close()

    def _keep_pace(self) -> None:
        """Writes which attempts have ended. What is said to be under way counts as ending when it is read."""
        if self._turns is not None and self._terms is not None and self._terms.count is not None:
            self._turns.tell(self._pace, self._terms.period, 0)
            write_pace(self.place, self._pace)

    def _keep_dead(self, fresh: Iterable[AttemptLine] = ()) -> None:
        """Copies dead events, including any that a crash between the journal and the letters left out.

        `fresh` are lines written just now: the events that they made dead have no copy yet.
        """
        dead = self._journal.state.newly_dead
        if not dead:
            return
        # A dead letter must not survive a power failure that its journal line does not.
        self._journal.sync()
        new = {entry.pos for entry in fresh}
        missing = [entry for entry in dead.values() if entry.pos in new or not self._dead.holds(entry.pos)]
        found = [(self._log.event_at(entry.pos, entry.len), entry) for entry in missing]
        letters = [_letter(event, entry) for event, entry in found if event is not None and event.id == entry.id]
        self._dead.keep(letters)
        self._journal.forget_dead()


def _letter(event: StoredEvent, entry: AttemptLine) -> DeadLine:
    position, length = event.position, event.length
    return DeadLine(position, length, event.id, event.at, event.name, entry.at, event.body, entry.status, entry.error)
