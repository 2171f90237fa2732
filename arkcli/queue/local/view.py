"""Reads a destination's deliveries without its lock, while another process delivers. Changes nothing."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

from arkcli import times
from arkcli.model import Attempt, Event, RetrySchedule, State
from arkcli.queue.engine import Selection, Standing
from arkcli.queue.local.addressed import id_sum
from arkcli.queue.local.deadletters import DeadLetters
from arkcli.queue.local.eventlog import EventLog, is_for
from arkcli.queue.local.fit import check_fit
from arkcli.queue.local.journal import Journal
from arkcli.queue.local.lanes import Arrivals, Retries, UnderWay, Waiting, arrived_at
from arkcli.queue.local.lines import AttemptLine, DeadLine
from arkcli.queue.local.notes import read_outage
from arkcli.queue.local.state import DestinationState
from arkcli.queue.local.stored import Positions, StoredEvent, StoredPending
from arkcli.queue.local.trouble import told

_ORDER: Final = (State.RETRYING, State.WAITING, State.DEAD)
#: The start positions of the deliveries that others replace, by their next attempt: the second, and so on.
_TakenOver = list[Positions]
#: How many bytes of a journal's end are read first to find attempts of other processes at an event.
_TAIL: Final = 64 * 1024


class View:
    """The deliveries of one destination, as of each reading. Its methods raise Gone and Broken."""

    def __init__(self, log: EventLog, journal: Journal, schedule: RetrySchedule) -> None:
        """Opens nothing yet."""
        self.place = journal.directory
        self.destination_id = self.place.name
        self._log = log
        self._journal = journal
        self._dead = DeadLetters(self.place / "dead.jsonl")
        self._schedule = schedule
        self._end = 0
        self._followed = 0
        self._watched: StoredEvent | None = None
        self._outcome: Attempt | None = None

    @told
    def standing(self, now: int | None = None, *, look: bool = True) -> Standing:
        """The counts, and when the next attempt is due. With `now`, whatever is dated later is due now.

        Without `look`, the log has just been looked at.
        """
        state = self._load(look=look)
        retrying, dead = list(state.retrying), state.dead
        # Removed events count neither as waiting nor as finished ahead of waiting ones.
        state.first.skip_to(self._log.start)
        stretches = state.first.unfinished(self._end)
        waiting = sum(self._log.addressed.count(self.destination_id, begin, end) for begin, end in stretches)
        in_vain, taken_over = self._replaced(self._lanes()[0])
        waiting = max(waiting - in_vain, 0)
        *retrying, dead = (count - len(taken) for count, taken in zip((*retrying, dead), taken_over, strict=True))
        # Only now: finding a retry's event may look at the log again, and the counts must be from one moment.
        lanes = self._lanes()
        # If nothing waits, the remaining events were to replace deliveries that have gone on.
        counted = lanes if waiting else lanes[1:]
        due = [at for lane in counted if (at := lane.due_at(now)) is not None]
        oldest = [at for lane in counted if (at := lane.oldest_at()) is not None]
        if state is not self._journal.state:
            # Because of damage, the lanes have folded the state again.
            return self.standing(now)
        # If lines were moved by hand, the state may count retries that cannot be found.
        retrying = [count if lane.head() else 0 for lane, count in zip(lanes[1:], retrying, strict=True)]
        last = state.last.to_attempt() if state.last else None
        return Standing(
            *(waiting, tuple(retrying), dead, min(due, default=None), min(oldest, default=None), last),
            outage=read_outage(self.place),
        )

    def _replaced(self, arrivals: Arrivals) -> tuple[int, _TakenOver]:
        """How many events wait in vain to replace a delivery, and the deliveries that the others will replace."""
        first, in_vain, taken_over = self._journal.state.first, 0, self._nothing()
        places = self._log.addressed.replacing(self.destination_id, first.cursor, self._end)
        for position, instead, event_sum in places:
            if first.passed(position) is None:
                in_vain += not (arrivals.may_replace(instead, event_sum) and taken_over[instead[0] - 2].add(instead[1]))
        return in_vain, taken_over

    def _nothing(self) -> _TakenOver:
        return [Positions() for _ in range(self._journal.state.beyond - 1)]

    @told
    def deliveries(self, chosen: Selection | None = None, now: int | None = None) -> Iterator[StoredPending]:
        """See `engine.View.deliveries`."""
        self._load()
        arrivals, *retries = self._lanes()
        ids = frozenset() if chosen is None else chosen.event_ids
        found = [one for event_id in sorted(ids) for one in self._deliveries_of(event_id, arrivals, now)]
        yield from sorted(found, key=lambda one: (_ORDER.index(one.state), -one.attempt))
        if chosen is not None and not chosen.dead:
            return
        taken_over = self._replaced(arrivals)[1]
        if chosen is None:
            for lane in reversed(retries):
                yield from self._retrying(lane.each(), taken_over, now)
            arrivals = self._lanes()[0]
            yield from self._waiting(arrivals.each(), arrivals, self._nothing(), now)
        yield from self._dead_among((one for one in self._dead if one.id not in ids), taken_over)

    def _deliveries_of(self, event_id: str, arrivals: Arrivals, now: int | None = None) -> Iterator[StoredPending]:
        """The deliveries of one event, from all its lines in the log."""
        state = self._journal.state
        taken_over = self._nothing()
        events = (event for event in self._log.find_all(event_id) if is_for(event, self.destination_id))
        waiting = (event for event in events if state.first.passed(event.position) is None)
        # First, because the deliveries that these replace are left out below.
        yield from self._waiting(waiting, arrivals, taken_over, now)
        yield from self._retrying(self._retries_of(event_id), taken_over, now)
        yield from self._dead_among(self._dead.of(event_id), taken_over)

    def _retries_of(self, event_id: str) -> Iterator[Waiting]:
        """The journal's lines of an event whose retries are still to be made."""
        state = self._journal.state
        waiting = (lane.cursor for lane, count in zip(state.lanes, state.retrying, strict=True) if count)
        begin = min(waiting, default=state.journal)
        for line, entry in self._journal.telling_of(event_id, begin, state.journal):
            if isinstance(entry, AttemptLine) and state.awaits_retry(entry, line.start):
                yield Waiting(line.start, line.end, entry, times.from_text(entry.at))

    def _waiting(
        self, events: Iterable[StoredEvent], arrivals: Arrivals, taken_over: _TakenOver, now: int | None
    ) -> Iterator[StoredPending]:
        """The events that do not wait in vain. Adds the deliveries that they replace to `taken_over`."""
        for event in events:
            instead = event.instead.get(self.destination_id) if event.instead else None
            if instead is None or (
                arrivals.may_replace(instead, id_sum(event.id)) and taken_over[instead[0] - 2].add(instead[1])
            ):
                key = (1, event.position, event.length)
                yield StoredPending(event, State.WAITING, 0, arrived_at(event, now), None, None, key)

    def _dead_among(self, letters: Iterable[DeadLine], taken_over: _TakenOver) -> Iterator[StoredPending]:
        beyond = self._journal.state.beyond
        for letter in letters:
            key = (beyond, letter.pos, letter.len)
            if letter.pos not in self._journal.state.gone and letter.pos not in taken_over[-1]:
                yield StoredPending(letter.to_event(), State.DEAD, beyond - 1, None, letter.status, letter.error, key)

    @told
    def needed_from(self, below: int) -> int:
        """The position of the oldest event that this destination still needs; at most `below`."""
        state = self._load()
        arrivals, *retries = self._lanes(below)
        arrivals.head()
        retried = (waiting.entry.pos for lane in retries for waiting in lane.each())
        needed = min([below, *state.newly_dead, *retried])
        # Damage makes the lanes fold the state again; then the old state cannot be relied on.
        return min(needed, state.first.cursor) if state is self._journal.state else self.needed_from(below)

    @told
    def is_waiting(self, event: Event) -> bool:
        """Whether an event's first attempt is still to be made."""
        if not isinstance(event, StoredEvent) or not is_for(event, self.destination_id):
            return False
        return self._journal.load().first.passed(event.position) is None

    @told
    def attempts(self) -> Iterator[Attempt]:
        """All attempts still in the journal, oldest first, up to now. `new_attempts` continues from there."""
        self._followed = end = self._journal.end
        return chain.from_iterable(found for found, _ in self._blocks(0, end))

    @told
    def new_attempts(self) -> Iterator[Attempt]:
        """The attempts made since the last call of `attempts` or `new_attempts`."""
        for found, following in self._blocks(self._followed, self._journal.end):
            self._followed = following
            yield from found

    def _blocks(self, begin: int, end: int) -> Iterator[tuple[Iterator[Attempt], int]]:
        """The attempts in a part of the journal, block by block, and where each block ends."""
        for found, following in self._journal.blocks(begin, end):
            # Keep no file open while the caller works: it may read a thousand destinations at once.
            self.close()
            entries = map(self._journal.decode, found)
            yield (entry.to_attempt() for entry in entries if isinstance(entry, AttemptLine)), following
        self.close()

    def _watch(self, event: StoredEvent) -> None:
        self._watched, self._outcome = event, None
        self._followed = end = self._journal.end
        size, complete = _TAIL, False
        while not complete:
            # Attempts at the event were recorded after it was accepted.
            attempts, complete = self._journal.tail(size, end)
            complete = complete or (bool(attempts) and attempts[0].at < event.at)
            size *= 8
        found = [entry for entry in attempts if (entry.pos, entry.id) == (event.position, event.id)]
        self._outcome = found[-1].to_attempt() if found else None

    @told
    def outcome(self, event: StoredEvent) -> Attempt | None:
        """The newest attempt at an event; None if there is none. A second call reads only what is new."""
        if self._watched is not event:
            self._watch(event)
        for found, following in self._journal.blocks(self._followed, self._journal.end):
            self._followed = following
            for entry in map(self._journal.decode, found):
                if isinstance(entry, AttemptLine) and entry.pos == event.position:
                    self._outcome = entry.to_attempt()
        return self._outcome

    @told
    def history(self, event_id: str) -> tuple[State | None, list[Attempt]]:
        """An event's state here and its attempts, oldest first. State None: the history does not contain the event."""
        state: State | None = None
        attempts = []
        # Everything as of one moment.
        until = self._load().journal
        for _, entry in self._journal.telling_of(event_id, 0, until):
            if isinstance(entry, AttemptLine):
                attempts.append(entry.to_attempt())
                state = self._schedule.state_after(entry.attempt, entry.outcome)
            elif entry.action != "void":
                state = State.DROPPED
        for one in self._deliveries_of(event_id, self._lanes()[0]):
            # An event that waits for its own first attempt has no history.
            if one.state is not State.WAITING or one.event.instead is not None:
                return one.state, attempts
        return state, attempts

    @told
    def recent(self, size: int) -> tuple[list[Attempt], bool]:
        """The attempts in the last `size` bytes of the journal, oldest first, and whether these are all."""
        entries, complete = self._journal.tail(size)
        return [entry.to_attempt() for entry in entries], complete

    def _retrying(self, waiting: Iterable[Waiting], taken_over: _TakenOver, now: int | None) -> Iterator[StoredPending]:
        for start, end, entry, failed_at in waiting:
            event = self._log.event_at(entry.pos, entry.len)
            key = (entry.attempt + 1, start, end - start)
            if event is not None and start not in taken_over[entry.attempt - 1]:
                following = self._schedule.next_attempt_at(entry.attempt, failed_at, now)
                yield StoredPending(event, State.RETRYING, entry.attempt, following, entry.status, entry.error, key)

    def _lanes(self, before: int | None = None) -> tuple[Arrivals, *tuple[Retries, ...]]:
        nothing = UnderWay(self._journal.state.beyond)
        # Read again each time: other processes write them.
        dead = DeadLetters(self.place / "dead.jsonl")
        retries = (
            Retries(attempt, self._log, self._journal, self._schedule, nothing, before)
            for attempt in range(1, self._schedule.attempts)
        )
        return (Arrivals(self._log, self._journal, nothing, dead), *retries)

    def _load(self, *, look: bool = True) -> DestinationState:
        if look:
            self._log.look()
        # What is accepted from here on does not count: the journal does not say whether it has been attempted.
        self._end = self._log.end
        state = self._journal.load()
        check_fit(self._journal, self._log)
        return state

    def close(self) -> None:
        """Closes what is open."""
        self._journal.close()
