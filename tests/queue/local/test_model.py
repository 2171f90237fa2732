"""The queue against a plain model of it, step by step, whatever the order: two processes, tiny segments, a clock that
steps, lost checkpoints, torn tails, retries asked for by hand, and segments that are removed.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from arkcli import times
from arkcli.model import AHEAD, Answer, Draft, Outcome, RetrySchedule, State
from arkcli.queue.engine import Selection
from arkcli.queue.local.claim import Claim
from arkcli.queue.local.deadletters import DeadLetters
from arkcli.queue.local.journal import Journal
from arkcli.queue.local.lines import DropLine
from arkcli.queue.local.queue import LocalQueue
from arkcli.queue.local.stored import StoredDelivery, StoredDraft, StoredEvent, StoredPending
from tests.queue.local.machine import MEMORY
from tests.queue.memory import holds
from tests.world import START

SCHEDULE: Final = RetrySchedule((1_000, 2_500, 4_000, 9_000))
NAMES: Final = ("dst_a", "dst_b", "dst_c")
OK: Final = Answer(200, None, 3)
BAD: Final = Answer(503, "HTTP 503", 3)
TAILS: Final = (b"{", b'{"crc":"0123', b'{"crc":"01234567","seq":3,"id":"evt_')

names = st.sampled_from(NAMES)
processes = st.integers(0, 1)
answers = st.sampled_from([OK, BAD, BAD, BAD])


class Known:
    """One delivery, as the model knows it."""

    def __init__(self, event: StoredEvent, instead: "tuple[Known, int] | None" = None) -> None:
        self.event = event
        self.instead = instead
        self.state = State.WAITING
        self.attempts = 0
        self.failed_at = 0

    @property
    def due_at(self) -> int:
        if self.state is State.WAITING:
            return times.from_text(self.event.at)
        return self.failed_at + SCHEDULE.delays[self.attempts - 1]

    def is_due(self, now: int) -> bool:
        return self.state is State.WAITING or now >= self.due_at or self.failed_at > now + AHEAD

    @property
    def replaced(self) -> "Known | None":
        """The delivery whose place this one takes; None when that one went on meanwhile, or there is none."""
        if self.instead is None or self.state is not State.WAITING:
            return None
        known, attempts = self.instead
        pending = known.state in (State.RETRYING, State.DEAD) and known.attempts == attempts
        return known if pending else None

    @property
    def is_void(self) -> bool:
        return self.instead is not None and self.state is State.WAITING and self.replaced is None


class Place:
    """A destination, as the model knows it: five lanes, each first in, first out."""

    def __init__(self) -> None:
        self.lanes: list[list[Known]] = [[], [], [], [], []]
        self.dead: list[Known] = []
        self.all: dict[int, Known] = {}
        self.last: tuple[str, int, Outcome] | None = None

    def arrive(self, event: StoredEvent, instead: tuple[Known, int] | None) -> None:
        self.all[event.position] = known = Known(event, instead)
        self.lanes[0].append(known)

    def leave(self, known: Known, state: State) -> None:
        """A delivery leaves its place."""
        for lane in (*self.lanes, self.dead):
            if known in lane:
                lane.remove(known)
        known.state = state

    def record(self, known: Known, outcome: Outcome, now: int) -> None:
        replaced = known.replaced
        if replaced is not None:
            self.leave(replaced, State.DROPPED)
        self.leave(known, State.DELIVERED)
        known.attempts += 1
        known.failed_at = now
        if outcome is Outcome.FAILED:
            known.state = State.DEAD if known.attempts == 5 else State.RETRYING
            (self.dead if known.attempts == 5 else self.lanes[known.attempts]).append(known)
        self.last = (known.event.id, known.attempts, outcome)

    def counted(self) -> tuple[list[Known], list[Known]]:
        """What waits, without what is void by now or asked for twice; and what is replaced by some of it."""
        waiting, replaced = [], []
        for known in self.lanes[0]:
            if known.replaced not in replaced and not known.is_void:
                waiting.append(known)
                if known.replaced is not None:
                    replaced.append(known.replaced)
        return waiting, replaced


class Held(NamedTuple):
    """A claim, which process has it, and what it has handed out."""

    claim: Claim
    process: int
    taken: dict[int, tuple[StoredDelivery, Known]]

    @property
    def under_way(self) -> list[Known]:
        taken = [known for _, known in self.taken.values()]
        return taken + [known.replaced for known in taken if known.replaced is not None]


class TheQueue(RuleBasedStateMachine):
    """What may happen to a queue, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(dir=MEMORY))
        self.now = START
        self.number = 0
        self.places: dict[str, Place] = {}
        self.held: dict[str, Held] = {}
        self.stashed: dict[str, bytes] = {}
        self.size = 0
        self.queues: list[LocalQueue] = []

    @initialize(size=st.sampled_from([1, 300, 700, 2000]), joined=st.sets(names, min_size=1))
    def open(self, size: int, joined: set[str]) -> None:
        self.size = size
        self.queues = [self.opened(), self.opened()]
        for name in sorted(joined):
            self.join(name, 0)

    def opened(self) -> LocalQueue:
        return LocalQueue(self.home / "queue", SCHEDULE, self.size)

    def place(self, name: str) -> Path:
        return self.home / "queue" / "destinations" / name

    # --- what processes do

    @rule(name=names, process=processes)
    def join(self, name: str, process: int) -> None:
        self.queues[process].join([name])
        self.places.setdefault(name, Place())

    @rule(process=processes, count=st.integers(1, 4), to=st.none() | st.sets(names, max_size=2))
    def accept(self, process: int, count: int, to: set[str] | None) -> None:
        addressed = None if to is None else tuple(sorted(to))
        drafts = [self.draft(addressed) for _ in range(count)]
        events = self.queues[process].accept(drafts)
        assert [event.body for event in events] == [draft.body for draft in drafts]
        for event in events:
            self.arrive(event, {})

    def draft(self, to: tuple[str, ...] | None) -> Draft:
        self.number += 1
        return Draft(f"evt_{self.number}", "ping", times.to_text(self.now), b'{"n":%d}' % self.number, to)

    def arrive(self, event: StoredEvent, instead: dict[str, tuple[Known, int]]) -> None:
        for name, place in self.places.items():
            if event.to is None or name in event.to:
                place.arrive(event, instead.get(name))

    @rule(name=names, process=processes)
    def claim(self, name: str, process: int) -> None:
        if name not in self.places:
            return
        claim = self.queues[process].claim(name, "drain")
        if name in self.held:
            assert claim is None
        else:
            assert claim is not None
            self.held[name] = Held(claim, process, {})

    @precondition(lambda self: self.held)
    @rule(data=st.data(), count=st.integers(1, 6))
    def take(self, data: st.DataObject, count: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.held)))
        held = self.held[name]
        self.queues[held.process].look([], 0)
        self.taken(name, held, count)

    def taken(self, name: str, held: Held, most: int) -> list[StoredDelivery]:
        """Takes deliveries, which must be the expected ones, with the right attempts and their own bytes."""
        expected: list[Known] = []
        while len(expected) < most and (known := self.due(name, held)) is not None:
            held.taken[known.event.position] = StoredDelivery(known.event, known.attempts + 1), known
            expected.append(known)
        deliveries = held.claim.take(self.now, most)
        assert len(deliveries) == len(expected)
        for delivery, known in zip(deliveries, expected, strict=True):
            assert (delivery.event, delivery.attempt) == (known.event, known.attempts + 1)
            assert 1 <= delivery.attempt <= 5
            held.taken[known.event.position] = delivery, known
        return deliveries

    def due(self, name: str, held: Held) -> Known | None:
        """The head that has been due longest. What is void is passed on the way to it."""
        place = self.places[name]
        while True:
            heads = [head for lane in place.lanes if (head := first_not_in(held.under_way, lane)) is not None]
            ready = [head for head in heads if head.is_due(self.now)]
            if not ready:
                return None
            head = min(ready, key=lambda known: known.due_at)
            if not head.is_void and head.replaced not in held.under_way:
                return head
            place.leave(head, State.DROPPED)

    @precondition(lambda self: any(held.taken for held in self.held.values()))
    @rule(data=st.data())
    def record(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(name for name, held in self.held.items() if held.taken)))
        held, place = self.held[name], self.places[name]
        positions = data.draw(st.lists(st.sampled_from(sorted(held.taken)), unique=True, min_size=1))
        found = [(*held.taken.pop(position), data.draw(answers)) for position in positions]
        states = held.claim.record([(delivery, answer) for delivery, _, answer in found], self.now)
        for (_, known, answer), state in zip(found, states, strict=True):
            place.record(known, answer.outcome, self.now)
            assert state is known.state

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        self.let_go(data.draw(st.sampled_from(sorted(self.held))))

    def let_go(self, name: str) -> None:
        """Releases a claim; what it had taken and not recorded is as if it had never been taken."""
        self.held.pop(name).claim.release()
        journal = Journal(self.place(name), 4, self.size)
        gone = journal.load().gone
        journal.close()
        # The dead letters are rewritten when many are gone; until then the snapshot lists those.
        letters = [letter for letter in DeadLetters(self.place(name) / "dead.jsonl") if letter.pos not in gone]
        dead = {known.event.position: known.event.body for known in self.places[name].dead}
        assert {letter.pos: bytes(letter.body) for letter in letters} == dead
        assert len(letters) == len(dead)

    @rule(name=names, process=processes, answer=answers)
    def drain(self, name: str, process: int, answer: Answer) -> None:
        """Attempts everything that is due, one by one, with the same answer to all."""
        if name in self.held or name not in self.places:
            return
        self.claim(name, process)
        held = self.held[name]
        self.queues[process].look([], 0)
        while deliveries := self.taken(name, held, 1):
            _, expected = held.taken.pop(deliveries[0].event.position)
            held.claim.record([(deliveries[0], answer)], self.now)
            self.places[name].record(expected, answer.outcome, self.now)
        self.let_go(name)

    @rule(process=processes, answer=answers)
    def send(self, process: int, answer: Answer) -> None:
        """Accepts an event and makes its first attempt at once, out of turn, where nobody else delivers."""
        (event,) = self.queues[process].accept([self.draft(None)])
        self.arrive(event, {})
        for name, place in self.places.items():
            claim = self.queues[process].claim(name, "send")
            assert (claim is None) == (name in self.held)
            if claim is not None:
                delivery = claim.first_attempt(event)
                assert delivery == StoredDelivery(event, 1)
                claim.record([(delivery, answer)], self.now)
                assert claim.first_attempt(event) is None
                claim.release()
                place.record(place.all[event.position], answer.outcome, self.now)

    @rule(process=processes)
    def reopen(self, process: int) -> None:
        for name in [name for name, held in self.held.items() if held.process == process]:
            self.let_go(name)
        self.queues[process].close()
        self.queues[process] = self.opened()

    # --- what operators do

    @rule(name=names, process=processes, data=st.data())
    def retry_now(self, name: str, process: int, data: st.DataObject) -> None:
        """Asks for what is retrying or dead to be sent again at once, possibly twice."""
        found = [one for one in self.pending(name, process) if one.state is not State.WAITING]
        if not found:
            return
        chosen = data.draw(st.lists(st.sampled_from(found), min_size=1, max_size=3))
        drafts = [
            StoredDraft(one.event.id, "ping", times.to_text(self.now), one.event.body, (name,), {name: one.key})
            for one in chosen
        ]
        events = self.queues[process].accept(drafts)
        for event, one in zip(events, chosen, strict=True):
            known = self.places[name].all[one.event.position]
            self.arrive(event, {name: (known, known.attempts)})

    @rule(name=names, process=processes, data=st.data())
    def drop(self, name: str, process: int, data: st.DataObject) -> None:
        found = [] if name in self.held else self.pending(name, process)
        if not found:
            return
        one = data.draw(st.sampled_from(found))
        known = self.places[name].all[one.event.position]
        claim = self.queues[process].claim(name, "drop")
        assert claim is not None
        attempt, start, length = one.key
        where = (one.event.position, one.event.length)
        after = None if attempt in (1, 6) else (start, length)
        claim.drop([DropLine(*where, one.event.id, "ping", "drop", attempt, times.to_text(self.now), after)])
        claim.release()
        self.places[name].leave(known, State.DROPPED)

    def pending(self, name: str, process: int) -> list[StoredPending]:
        if name not in self.places:
            return []
        self.queues[process].look([], 0)
        with contextlib.closing(self.queues[process].view(name)) as view:
            return list(view.deliveries())

    @rule(process=processes)
    def expire(self, process: int) -> None:
        """Removes all that nobody needs any more, however young."""
        self.queues[process].look([], 0)
        self.queues[process].tidy(self.places, self.now + 10**12)

    # --- what the world does

    @rule(milliseconds=st.sampled_from([1, 500, 999, 1_000, 2_500, 4_000, 9_000, 60_000]))
    def time_passes(self, milliseconds: int) -> None:
        self.now += milliseconds

    @rule(milliseconds=st.sampled_from([1, 900, 6_000, 3_600_000]))
    def the_clock_is_set_back(self, milliseconds: int) -> None:
        self.now -= milliseconds

    @rule(
        name=names, damage=st.sampled_from(["gone", "empty", "flipped", "saved", "stashed", "stale"]), at=st.integers(0)
    )
    def the_checkpoint_is(self, name: str, damage: str, at: int) -> None:
        path = self.place(name) / "checkpoint.json"
        if damage == "saved" and name in self.places and name not in self.held:
            journal = Journal(self.place(name), 4, self.size)
            journal.load_to_append()
            journal.save()
            journal.close()
        elif damage == "stale" and name in self.stashed:
            path.write_bytes(self.stashed[name])
        elif path.exists():
            self.spoil(name, path, damage, at)

    def spoil(self, name: str, path: Path, damage: str, at: int) -> None:
        data = bytearray(path.read_bytes())
        if damage == "stashed":
            self.stashed[name] = bytes(data)
        elif damage == "gone":
            path.unlink()
        elif damage == "empty":
            path.write_bytes(b"")
        elif damage == "flipped" and data:
            data[at % len(data)] ^= 0x01
            path.write_bytes(data)

    @rule(tail=st.sampled_from(TAILS), name=st.none() | names)
    def a_crash_leaves_a_torn_tail(self, tail: bytes, name: str | None) -> None:
        if name in self.held:
            return
        segments = self.home / "queue" / "events" if name is None else self.place(name) / "journal"
        newest = max(segments.glob("*.jsonl"), default=None)
        # Whoever appends mends first, so that no crash leaves two tails.
        if newest is not None and newest.read_bytes()[-1:] in (b"", b"\n"):
            with newest.open("ab") as file:
                file.write(tail)

    # --- what must always be so

    @invariant()
    def every_process_sees_what_waits(self) -> None:
        for name, place in self.places.items():
            queue = self.queues[self.number % 2]
            queue.look([], 0)
            standing = queue.standing(name)
            waiting, replaced = place.counted()
            retrying = tuple(sum(known not in replaced for known in lane) for lane in place.lanes[1:])
            dead = sum(known not in replaced for known in place.dead)
            assert (standing.waiting, standing.retrying, standing.dead) == (len(waiting), retrying, dead)
            # Where nothing waits, what arrived was to take the place of deliveries that went on.
            heads = [lane[0] for lane in (place.lanes if waiting else place.lanes[1:]) if lane]
            assert standing.next_due_at == min((known.due_at for known in heads), default=None)
            oldest = (times.from_text(known.event.at) for known in heads)
            assert standing.oldest_at == min(oldest, default=None)
            last = standing.last
            assert (last and (last.event_id, last.attempt, last.outcome)) == place.last

    @rule(name=names, process=processes)
    def list_what_is_pending(self, name: str, process: int) -> None:
        if name not in self.places:
            return
        place = self.places[name]
        waiting, replaced = place.counted()
        expected = [known for lane in reversed(place.lanes[1:]) for known in lane if known not in replaced]
        expected += waiting
        expected += [known for known in place.dead if known not in replaced]
        found = self.pending(name, process)
        told = sorted((one.event.position, one.state, one.attempt) for one in found)
        assert told == sorted((known.event.position, known.state, known.attempts) for known in expected)
        for event_id in {one.event.id for one in found} | {"evt_1", "evt_2"}:
            chosen = Selection(destination_ids=(), event_ids=frozenset([event_id]))
            with contextlib.closing(self.queues[process].view(name)) as view:
                assert sorted(view.deliveries(chosen), key=str) == sorted(
                    (one for one in found if holds(chosen, one)), key=str
                )

    def teardown(self) -> None:
        try:
            if self.queues:
                self.finish()
        finally:
            for queue in self.queues:
                queue.close()
            shutil.rmtree(self.home)

    def finish(self) -> None:
        """In the end everything accepted has reached every destination, or is dead, or was dropped."""
        for name in list(self.held):
            self.let_go(name)
        for _ in range(6):
            self.now += 3_600_000 + 9_000
            for name in self.places:
                self.drain(name, 0, BAD)
        self.every_process_sees_what_waits()
        for place in self.places.values():
            assert {known.state for known in place.all.values()} <= {State.DELIVERED, State.DEAD, State.DROPPED}


def first_not_in(under_way: Iterable[Known], lane: list[Known]) -> Known | None:
    return next((known for known in lane if known not in under_way), None)


class TheDamagedQueue(RuleBasedStateMachine):
    """Bits flip anywhere in any file. Then attempts may be repeated, but nothing that can still be read is lost.

    A line of the event log is hit once at most: where the last one is hit twice it may look as if it had never been
    written whole.
    """

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(dir=MEMORY))
        self.now = START
        self.number = 0
        self.size = 0
        self.queue: LocalQueue | None = None
        #: Where the lines of the event log begin, and whether they have been hit.
        self.hit: dict[int, bool] = {}
        #: Which events have ended where: delivered there once, or failed there five times.
        self.ended: dict[str, set[str]] = {name: set() for name in NAMES[:2]}

    @initialize(size=st.sampled_from([1, 300, 700, 4000]))
    def open(self, size: int) -> None:
        self.size = size
        self.reopen().join(self.ended)

    @rule()
    def reopen_it(self) -> None:
        self.reopen()

    def reopen(self) -> LocalQueue:
        if self.queue is not None:
            self.queue.close()
        self.queue = LocalQueue(self.home / "queue", SCHEDULE, self.size)
        return self.queue

    @rule(count=st.integers(1, 3))
    def accept(self, count: int) -> None:
        assert self.queue is not None
        for _ in range(count):
            self.number += 1
            (event,) = self.queue.accept([Draft(f"evt_{self.number}", "ping", times.to_text(self.now), b"{}")])
            self.hit[event.position] = False

    @rule(name=st.sampled_from(NAMES[:2]), count=st.integers(1, 9), data=st.data())
    def drain(self, name: str, count: int, data: st.DataObject) -> None:
        self.attempt(name, count, [data.draw(answers) for _ in range(count)])

    def attempt(self, name: str, count: int, given: list[Answer]) -> int:
        assert self.queue is not None
        claim = self.queue.claim(name, "drain")
        assert claim is not None
        taken = claim.take(self.now, count)
        found = list(zip(taken, given, strict=False))
        claim.record(found, self.now)
        claim.release()
        for delivery, answer in found:
            if answer.outcome is Outcome.DELIVERED or delivery.attempt == 5:
                self.ended[name].add(delivery.event.id)
        return len(taken)

    @rule(milliseconds=st.sampled_from([500, 1_000, 2_500, 4_000, 9_000, -900]))
    def time_passes(self, milliseconds: int) -> None:
        self.now += milliseconds

    @rule(name=st.sampled_from(NAMES[:2]))
    def a_checkpoint_is_saved(self, name: str) -> None:
        journal = Journal(self.home / "queue" / "destinations" / name, 4, self.size)
        journal.load_to_append()
        journal.save()
        journal.close()

    @rule(
        kind=st.sampled_from(["events/*.jsonl", "destinations/*/*.json*", "destinations/*/journal/*"]), data=st.data()
    )
    def a_bit_flips(self, kind: str, data: st.DataObject) -> None:
        files = sorted(path for path in (self.home / "queue").glob(kind) if path.stat().st_size)
        if not files:
            return
        path = data.draw(st.sampled_from(files))
        content = bytearray(path.read_bytes())
        # The end of a line is worth hitting more often than by chance.
        ends = [place for place, byte in enumerate(content) if byte == ord("\n")]
        place = data.draw(st.integers(0, len(content) - 1) | st.sampled_from(ends or [0]))
        if path.parent.name == "events":
            line = max(start for start in self.hit if start <= int(path.stem) + place)
            if self.hit[line]:
                return
            self.hit[line] = True
        content[place] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(content)
        self.reopen()

    @invariant()
    def no_count_is_below_nothing(self) -> None:
        for name in self.ended:
            if self.queue is not None:
                standing = self.queue.standing(name)
                assert min(standing.waiting, *standing.retrying, standing.dead) >= 0

    def teardown(self) -> None:
        try:
            if self.queue is not None:
                self.finish(self.queue)
                self.queue.close()
        finally:
            shutil.rmtree(self.home)

    def finish(self, queue: LocalQueue) -> None:
        for name in self.ended:
            for _ in range(8):
                self.now += 3_600_000
                while self.attempt(name, 5, [OK] * 5):
                    pass
            standing = queue.standing(name)
            assert (standing.waiting, standing.retrying, standing.next_due_at) == (0, (0, 0, 0, 0), None)
            assert {event.id for event in queue.events()} <= self.ended[name]


TestTheDamagedQueue = TheDamagedQueue.TestCase
TestTheDamagedQueue.settings = settings(
    max_examples=20, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestTheQueueAgainstItsModel = TheQueue.TestCase
TestTheQueueAgainstItsModel.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
