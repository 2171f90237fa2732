"""Whatever step the queue is broken at, nothing accepted is lost, and no delivery is forked."""

import errno
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from arkcli import model, times
from arkcli.errors import ArkError
from arkcli.model import Answer, Draft, State
from arkcli.queue.local.queue import LocalQueue
from arkcli.queue.local.stored import StoredDraft
from tests.queue.local.faults import Recorder, count_steps, failing_at, hooked, killed_at, short_at
from tests.world import START

GOOD, FLAKY, BAD = "dst_good", "dst_flaky", "dst_bad"
DESTINATIONS = (GOOD, FLAKY, BAD)
IN_FLIGHT = 3
DELAYS = model.DOCUMENTED.delays


class Arrival(NamedTuple):
    """An attempt as the receiver saw it."""

    destination: str
    event: str
    attempt: int
    now: int
    body: bytes


class Script:
    """A scripted life of a queue. What was acknowledged and what arrived is written down outside of it."""

    def __init__(self, home: Path) -> None:
        self.directory = home / "queue"
        self._ledger = home / "ledger"
        self._now = START

    def run(self) -> None:
        """Accepts events, attempts them with failures, retries now, and lets time pass."""
        queue = self._open()
        for number in range(5):
            self._accept(queue, f"evt_{number}a", None)
            self._accept(queue, f"evt_{number}b", (DESTINATIONS[number % 3],))
            self._drain(queue)
            if number == 2:
                self._retry(queue)
            self._now += DELAYS[number % 4]
        queue.close()

    def recover(self) -> None:
        """What the next runs do, until nothing waits any more."""
        self._now = START + 10 * DELAYS[3]
        queue = self._open()
        for _ in range(7):
            self._drain(queue)
            self._now += DELAYS[3]
        standings = [queue.standing(found) for found in DESTINATIONS]
        assert [(found.waiting, sum(found.retrying)) for found in standings] == [(0, 0)] * 3
        assert queue.check().damaged == [] or self.may_be_damaged
        queue.close()

    may_be_damaged = False

    def _open(self) -> LocalQueue:
        queue = LocalQueue(self.directory, model.DOCUMENTED, segment_size=1500)
        queue.join(DESTINATIONS)
        return queue

    def _accept(self, queue: LocalQueue, event: str, to: tuple[str, ...] | None) -> None:
        body = b'{"event":"ping","id":"%b","text":"%b"}' % (event.encode(), b"x" * 100)
        queue.accept([Draft(event, "ping", times.to_text(self._now), body, to)])
        for destination in to or DESTINATIONS:
            # One that could not join is named instead.
            if destination not in queue.broken:
                self.write(f"ack {destination} {event}")

    def _retry(self, queue: LocalQueue) -> None:
        for destination in (FLAKY, BAD):
            view = queue.view(destination)
            drafts = [
                StoredDraft(
                    found.event.id,
                    "ping",
                    times.to_text(self._now),
                    found.event.body,
                    (destination,),
                    {destination: found.key},
                )
                for found in view.deliveries()
                if found.state is not State.WAITING
            ]
            view.close()
            # Written down before: a retry that was not acknowledged may happen all the same.
            for draft in drafts:
                self.write(f"retry {destination} {draft.id}")
            if drafts:
                queue.accept(drafts)

    def _drain(self, queue: LocalQueue) -> None:
        queue.look([], 0)
        for destination in DESTINATIONS:
            claim = queue.claim(destination, "test")
            assert claim is not None
            try:
                while True:
                    taken = claim.take(self._now, IN_FLIGHT)
                    if not taken:
                        break
                    for found in taken:
                        self.write(
                            f"got {destination} {found.event.id} {found.attempt} {self._now} {found.event.body.hex()}"
                        )
                    claim.record([(found, answer(destination, found.attempt)) for found in taken], self._now)
            finally:
                claim.release()

    def write(self, line: str) -> None:
        with self._ledger.open("a") as file:
            file.write(line + "\n")

    def lines(self, kind: str) -> Iterator[list[str]]:
        text = self._ledger.read_text() if self._ledger.exists() else ""
        return (line.split() for line in text.splitlines() if line.startswith(kind + " "))

    def check(self, *, crashes: int, repeats: int | None) -> None:
        """The oracle. `repeats` is how many arrivals may be repetitions; None: the power failed, so any number may."""
        arrivals: dict[tuple[str, str], list[Arrival]] = {}
        for _, destination, event, attempt, now, body in self.lines("got"):
            arrivals.setdefault((destination, event), []).append(
                Arrival(destination, event, int(attempt), int(now), bytes.fromhex(body))
            )
        retried = {(destination, event) for _, destination, event in self.lines("retry")}
        for _, destination, event in self.lines("ack"):
            found = {arrival.attempt for arrival in arrivals[destination, event]}
            assert set(range(1, {GOOD: 1, FLAKY: 3, BAD: 5}[destination] + 1)) <= found, (destination, event, found)
        extra = 0
        for key, chain in arrivals.items():
            assert len({arrival.body for arrival in chain}) == 1
            if key in retried:
                continue
            counts = Counter(arrival.attempt for arrival in chain)
            extra += sum(counts.values()) - len(counts)
            if repeats is not None:
                assert len(chain) <= 5 + crashes, chain
                assert [arrival.attempt for arrival in chain] == sorted(arrival.attempt for arrival in chain), chain
            for before, after in pairwise(chain):
                if after.attempt == before.attempt + 1:
                    assert after.now - before.now >= DELAYS[before.attempt - 1], (before, after)
        assert repeats is None or extra <= repeats, extra


def answer(destination: str, attempt: int) -> Answer:
    delivered = destination == GOOD or (destination == FLAKY and attempt >= 3)
    return Answer(200, None, 1) if delivered else Answer(500, "answered 500", 1)


def points(total: int, request: pytest.FixtureRequest) -> range:
    """Every step with --all-faults, else a sample that a test run has time for."""
    return range(0, total, 1 if request.config.getoption("--all-faults") else max(1, total // 25))


def steps_of(home: Path) -> int:
    script = Script(home)
    total = count_steps(script.run)
    script.recover()
    script.check(crashes=0, repeats=0)
    return total


def test_unbroken_the_script_makes_every_attempt_once(tmp_path: Path) -> None:
    assert steps_of(tmp_path) > 100


@pytest.mark.parametrize("halfway", [False, True], ids=["before a step", "amid a write"])
def test_killed_at_any_step_nothing_is_lost_or_forked(
    tmp_path: Path, request: pytest.FixtureRequest, halfway: bool
) -> None:
    total = steps_of(tmp_path / "whole")
    for number in points(total, request):
        script = Script(tmp_path / str(number))
        script.directory.parent.mkdir()
        killed_at(number, script.run, halfway=halfway)
        script.recover()
        script.check(crashes=1, repeats=IN_FLIGHT)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EINTR], ids=errno.errorcode.get)
def test_failing_at_any_step_nothing_is_lost_or_forked(
    tmp_path: Path, request: pytest.FixtureRequest, code: int
) -> None:
    total = steps_of(tmp_path / "whole")
    for number in points(total, request):
        script = Script(tmp_path / str(number))
        script.directory.parent.mkdir()
        try:
            with hooked(failing_at(number, code)):
                script.run()
        except (ArkError, OSError):
            # Said by `ark`, which then stops; what was not acknowledged need not arrive.
            pass
        script.recover()
        script.check(crashes=1, repeats=IN_FLIGHT)


def test_a_short_write_at_any_step_changes_nothing(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    for number in points(steps_of(tmp_path / "whole"), request):
        script = Script(tmp_path / str(number))
        script.directory.parent.mkdir()
        with hooked(short_at(number)):
            script.run()
        script.recover()
        script.check(crashes=0, repeats=0)


def test_when_the_power_fails_at_any_step_nothing_that_was_acknowledged_is_lost(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    whole = Script(tmp_path / "whole")
    whole.directory.parent.mkdir()
    recorder = Recorder(whole.directory)
    told: list[tuple[int, str]] = []
    whole.write = lambda line: told.append((len(recorder.operations), line))  # type: ignore[method-assign]
    with hooked(recorder.hook):
        whole.run()
    chance = random.Random(1)
    for number in points(len(recorder.operations) + 1, request):
        for _ in range(3):
            script = Script(tmp_path / "broken")
            script.may_be_damaged = True
            script.directory.mkdir(parents=True)
            recorder.disk_after(number, script.directory, chance)
            for at, line in told:
                if at <= number:
                    script.write(line)
            script.recover()
            script.check(crashes=1, repeats=None)
            shutil.rmtree(tmp_path / "broken")
