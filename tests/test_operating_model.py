"""Years of operation, command by command in any order, compared with a plain dictionary of the deliveries that must
wait.

Commands run as a user types them, with real receivers. Segments are tiny, the clock moves by seconds, hours and years,
also backwards, the disk is sometimes full, and processes are killed.
"""

import errno
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from arkcli import times
from arkcli.actions import home
from arkcli.cli.session import Session
from arkcli.model import AHEAD, DOCUMENTED
from arkcli.queue.engine import Queue
from arkcli.queue.local.queue import LocalQueue
from tests.queue.local.faults import failing_at, hooked, killed_at
from tests.queue.local.machine import MEMORY
from tests.world import PAYLOAD, Request, Result, TestReceiver, World, answer

NAMES: Final = ("crm", "lake", "wiki")
SECOND, HOUR, YEAR = 1.0, 3_600.0, 366 * 86_400.0
KEPT: Final = 7 * 86_400_000

names = st.sampled_from(NAMES)
#: The step, among those that change a file, that fails.
steps = st.integers(0, 30)


class Pending:
    """An unfinished delivery in the dictionary: attempts made, and when the last one failed.

    A delivery replayed at a time replaces another one, unless that one is attempted first.
    """

    def __init__(self, attempts: int = 0, failed_at: int = 0, instead: "Pending | None" = None, at: int = 0) -> None:
        self.attempts = attempts
        self.failed_at = failed_at
        self.instead = instead
        self.at = at

    @property
    def state(self) -> str:
        return "waiting" if not self.attempts else "dead" if self.attempts == 5 else "retrying"

    def is_due(self, now: int) -> bool:
        if not 0 < self.attempts < 5:
            return not self.attempts
        return now >= self.failed_at + DOCUMENTED.delays[self.attempts - 1] or self.failed_at > now + AHEAD

    def due_at(self, now: int) -> int:
        return now if self.failed_at > now + AHEAD else self.failed_at + DOCUMENTED.delays[self.attempts - 1]

    def first(self, now: int) -> "Pending":
        """The one of the two that is attempted: the one that has been due longer."""
        old = self.instead
        if old is None or not 0 < old.attempts < 5 or not old.is_due(now):
            return self
        return old if old.failed_at + DOCUMENTED.delays[old.attempts - 1] < self.at else self

    def attempted(self, status: int, now: int) -> "Pending | None":
        """The delivery after one more attempt; None if that delivers."""
        return None if status == 200 else Pending(self.attempts + 1, now)


class SmallSegments(home.Home):
    """A home whose queue starts a new segment every few lines."""

    def open_queue(self) -> Queue:
        directory = Path(self.variables["ARK_STATE_DIR"])
        return LocalQueue(directory / "queue", self.schedule, segment_size=1_500)


class Home(World):
    """A World whose home has such a queue."""

    def session(self, stdin: bytes = b"") -> Session:
        made = super().session(stdin)
        made.home.__class__ = SmallSegments
        return made


class TheBox(RuleBasedStateMachine):
    """The events in a machine's life."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(dir=MEMORY))
        self.world = Home(self.home)
        self.statuses = dict.fromkeys(NAMES, 200)
        self.receiver = TestReceiver(self.behave)
        #: Unfinished deliveries, by destination, then by event id.
        self.pending: dict[str, dict[str, Pending]] = {}
        self.paused: set[str] = set()
        #: Every event's time of acceptance.
        self.events: dict[str, int] = {}
        self.read = 0
        self.sound = True

    def behave(self, request: Request) -> bytes:
        return answer(self.statuses[self.name_of(request)])

    @staticmethod
    def name_of(request: Request) -> str:
        return request.line.split()[1].rpartition("/")[2]

    @initialize(chosen=st.sets(names, min_size=1))
    def open(self, chosen: set[str]) -> None:
        for name in sorted(chosen):
            self.add(name)

    def ark(self, *args: str, stdin: bytes = b"") -> Result:
        self.sound = False
        result = self.world.ark(*args, stdin=stdin)
        assert "Traceback" not in result.err
        return result

    @property
    def now(self) -> int:
        return self.world.clock.milliseconds

    def arrived(self) -> Counter[tuple[str, str, int]]:
        """Requests received since the last call: destination, event, attempt."""
        new, self.read = self.receiver.requests[self.read :], len(self.receiver.requests)
        return Counter((self.name_of(one), one.delivery.partition(".")[0], one.attempt) for one in new)

    # --- destinations

    @rule(name=names)
    def add(self, name: str) -> None:
        url = f"{self.receiver.url}/{name}"
        result = self.ark("dest", "add", url, "--name", name, "--allow-local", "--no-ping")
        assert result.status == (2 if name in self.pending else 0), result
        self.pending.setdefault(name, {})

    @rule(name=names, action=st.sampled_from(["pause", "resume"]))
    def pause_or_resume(self, name: str, action: str) -> None:
        result = self.ark("dest", action, name)
        assert result.status == (0 if name in self.pending else 2), result
        if name in self.pending:
            (self.paused.add if action == "pause" else self.paused.discard)(name)

    @rule(name=names)
    def remove(self, name: str) -> None:
        result = self.ark("dest", "remove", name, "--yes", "--json")
        assert result.status == (0 if name in self.pending else 2), result
        if name in self.pending:
            assert result.json["dropped"] == len(self.pending.pop(name))
            self.paused.discard(name)

    @rule(name=names, status=st.sampled_from([200, 500]))
    def a_receiver_answers(self, name: str, status: int) -> None:
        self.statuses[name] = status

    # --- events

    @rule(queue=st.booleans(), to=st.none() | names)
    def send(self, queue: bool, to: str | None) -> None:
        result = self.ark(*self.sending(queue, to), stdin=PAYLOAD)
        chosen = [to] if to else list(self.pending)
        if not chosen or not set(chosen) <= set(self.pending):
            assert result.status == 2, result
            return
        event = self.accepted(result, chosen)
        tried = [] if queue else [name for name in chosen if name not in self.paused]
        assert self.arrived() == Counter((name, event, 1) for name in tried)
        for name in tried:
            self.attempt(name, event)
        assert result.status == (75 if any(event in self.pending[name] for name in tried) else 0), result

    def sending(self, queue: bool, to: str | None) -> list[str]:
        return ["send", "signal.promoted", "--json", *(["--queue"] if queue else []), *(["--to", to] if to else [])]

    def accepted(self, result: Result, chosen: list[str]) -> str:
        event = str(result.json["event"]["id"])
        self.events[event] = self.now
        for name in chosen:
            self.pending[name][event] = Pending()
        return event

    def attempt(self, name: str, event: str) -> None:
        left = self.pending[name].pop(event).first(self.now).attempted(self.statuses[name], self.now)
        if left is not None:
            self.pending[name][event] = left

    @rule(to=st.none() | names)
    def drain(self, to: str | None) -> None:
        result = self.ark("drain", "--json", *(["--to", to] if to else []))
        if to is not None and to not in self.pending:
            assert result.status == 2, result
            return
        due = self.due(to)
        assert self.arrived() == due
        for name, event, _ in due:
            self.attempt(name, event)
        died = any(self.pending[name].get(event, Pending()).attempts == 5 for name, event, _ in due)
        assert result.status == (1 if died else 0), result
        assert result.json["attempted"] == len(due)

    def due(self, to: str | None = None) -> Counter[tuple[str, str, int]]:
        return Counter(
            (name, event, one.first(self.now).attempts + 1)
            for name, known in self.pending.items()
            for event, one in known.items()
            if name not in self.paused and to in (None, name) and one.is_due(self.now)
        )

    # --- operators

    def choose(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.events)))

    @precondition(lambda self: self.events)
    @rule(data=st.data(), everything_dead=st.booleans())
    def retry(self, data: st.DataObject, everything_dead: bool) -> None:
        event = self.choose(data)
        found = [
            (name, one)
            for name, known in self.pending.items()
            for one, state in known.items()
            if (state.state == "dead" if everything_dead else one == event and state.attempts)
        ]
        result = self.ark("queue", "retry", "--all-dead" if everything_dead else event, "--json")
        if result.status == 2:
            assert not found
            self.check_forgotten(event, result)
            return
        assert (result.status, result.json) == (0, {"retried": len(found)})
        for name, one in found:
            self.pending[name][one] = Pending(instead=self.pending[name][one], at=self.now)

    @precondition(lambda self: self.events)
    @rule(data=st.data(), everything_dead=st.booleans())
    def retry_at_once(self, data: st.DataObject, everything_dead: bool) -> None:
        event = self.choose(data)
        chosen = [
            (name, one)
            for name, known in self.pending.items()
            for one, state in known.items()
            if (state.state == "dead" if everything_dead else one == event)
        ]
        result = self.ark("queue", "retry", "--all-dead" if everything_dead else event, "--now", "--json")
        if result.status == 2:
            assert not chosen
            self.check_forgotten(event, result)
            return
        tried = [(name, one) for name, one in chosen if name not in self.paused]
        assert len(result.json["deliveries"]) == len(chosen)
        assert self.arrived() == Counter((name, one, 1) for name, one in tried)
        for name, one in chosen:
            before = self.pending[name].pop(one)
            again = Pending(instead=before, at=self.now) if before.attempts else before
            after = again if name in self.paused else Pending().attempted(self.statuses[name], self.now)
            if after is not None:
                self.pending[name][one] = after
        assert result.status == (75 if any(one in self.pending[name] for name, one in tried) else 0), result

    def check_forgotten(self, event: str, result: Result) -> None:
        """An event is kept for seven days, and while a destination still needs it."""
        assert self.now - self.events[event] > KEPT or min(self.events.values()) > self.now, result

    @precondition(lambda self: self.events)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        event = self.choose(data)
        found = [known for known in self.pending.values() if event in known]
        result = self.ark("queue", "drop", event, "--yes", "--json")
        if not found:
            assert result.status == 2, result
            return
        assert result.json == {"dropped": len(found)}
        for known in found:
            del known[event]

    @precondition(lambda self: self.events and self.pending)
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        event = self.choose(data)
        before = self.listed()
        result = self.ark("replay", event, "--json")
        if result.status == 2:
            self.check_forgotten(event, result)
            return
        # Where it is still waiting it is not sent twice; an event for some destinations is sent again only to those.
        for name in {name for name, one, _, _ in self.listed() - before if one == event}:
            assert self.pending[name].get(event, Pending(1)).attempts
            self.pending[name][event] = Pending(instead=self.pending[name].get(event), at=self.now)

    # --- the outside world

    @rule(seconds=st.sampled_from([SECOND, 30 * SECOND, 300 * SECOND, HOUR, 2 * HOUR, YEAR]))
    def time_passes(self, seconds: float) -> None:
        self.world.clock.advance(seconds)

    @rule(seconds=st.sampled_from([SECOND, HOUR, YEAR]))
    def the_clock_is_set_back(self, seconds: float) -> None:
        self.world.clock.advance(-seconds)

    @precondition(lambda self: self.pending)
    @rule(step=steps, halfway=st.booleans())
    def a_drain_is_killed(self, step: int, halfway: bool) -> None:
        def run() -> None:
            self.world.ark("drain")

        killed_at(step, run, halfway=halfway)
        self.receiver.settle()
        self.anything_due_may_have_been_attempted()

    @precondition(lambda self: self.pending)
    @rule(step=steps)
    def a_drain_finds_the_disk_full(self, step: int) -> None:
        with hooked(failing_at(step, errno.ENOSPC)):
            self.ark("drain")
        self.anything_due_may_have_been_attempted()

    def anything_due_may_have_been_attempted(self) -> None:
        """Each due delivery was attempted at most once, and either nothing or the outcome was recorded."""
        due = self.due()
        arrived = self.arrived()
        assert arrived <= due
        listed = {(name, event): (state, attempts) for name, event, state, attempts in self.listed()}
        for name, event, attempt in due:
            before = self.pending[name][event]
            after = before.first(self.now).attempted(self.statuses[name], self.now)
            found = listed.get((name, event))
            if found != (before.state, before.attempts):
                assert arrived[name, event, attempt] == 1
                assert found == (after and (after.state, after.attempts))
                self.attempt(name, event)

    @precondition(lambda self: self.pending)
    @rule(step=steps, queue=st.booleans())
    def a_send_finds_the_disk_full(self, step: int, queue: bool) -> None:
        with hooked(failing_at(step, errno.ENOSPC)):
            result = self.ark(*self.sending(queue, None), stdin=PAYLOAD)
        if "event" in result.json:
            event = self.accepted(result, list(self.pending))
        else:
            assert result.status == 1, result
            new = {event for _, event, _, _ in self.listed()} - set(self.events)
            if not new:
                assert not self.arrived(), "nothing was accepted, so nothing is sent"
                return
            assert "the event was accepted" in result.json["error"]["message"]
            (event,) = new
            self.events[event] = self.now
            for known in self.pending.values():
                known[event] = Pending()
        listed = {name: (state, attempts) for name, one, state, attempts in self.listed() if one == event}
        for name, _, _ in self.arrived():
            if listed.get(name) != ("waiting", 0):
                self.attempt(name, event)

    # --- invariants

    def listed(self) -> Counter[tuple[str, str, str, int]]:
        found: list[dict[str, Any]] = self.ark("queue", "list", "--json").json["deliveries"]
        return Counter((one["destination"], one["event_id"], one["state"], one["attempt"]) for one in found)

    @invariant()
    def what_waits_is_what_the_dictionary_says(self) -> None:
        found = self.ark("queue", "list", "--json").json["deliveries"]
        said = Counter(
            (one["destination"], one["event_id"], one["state"], one["attempt"], one["next_attempt_at"])
            for one in found
            if one["state"] == "retrying"
        )
        expected = Counter(
            # What a wrong clock dated later than now is due now.
            (name, event, "retrying", one.attempts, times.to_text(one.due_at(self.now)))
            for name, known in self.pending.items()
            for event, one in known.items()
            if one.state == "retrying"
        )
        assert said == expected
        assert self.listed() == Counter(
            (name, event, one.state, one.attempts)
            for name, known in self.pending.items()
            for event, one in known.items()
        )

    @invariant()
    def the_counts_agree(self) -> None:
        for found in self.ark("queue", "--json").json["destinations"]:
            states = Counter(one.state for one in self.pending[found["name"]].values())
            assert {state: found[state] for state in ("waiting", "retrying", "dead")} == {
                state: states[state] for state in ("waiting", "retrying", "dead")
            }
        self.sound = True

    def teardown(self) -> None:
        try:
            if self.sound:
                self.finish()
        finally:
            self.receiver.close()
            shutil.rmtree(self.home)

    def finish(self) -> None:
        """In the end every delivery has arrived, is dead, or was dropped."""
        for name in list(self.paused):
            self.pause_or_resume(name, "resume")
        for _ in range(6):
            self.drain(None)
            self.world.clock.advance(2 * HOUR)
        states = {one.state for known in self.pending.values() for one in known.values()}
        assert states <= {"dead"}
        assert self.ark("queue", "check").status == 0


TestABoxThatIsOperated = TheBox.TestCase
TestABoxThatIsOperated.settings = settings(
    max_examples=6, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
