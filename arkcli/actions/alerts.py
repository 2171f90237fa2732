"""Alerts: runs the user's command when a destination fails for long, when a delivery dies, and when it recovers.

Each trouble is told once, whichever processes see it: what is to be told is in a ledger in the queue. A process takes a
fact from there, runs the command, and removes the fact when the command has ended. Nothing here stops a delivery.
"""

import math
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from arkcli import times
from arkcli.actions.checks import Check, Status, passed
from arkcli.actions.notice import notice_of, owner_of, variables_for
from arkcli.delivery.ledger import Fact, Kind, Ledger, Rule, Seen, see
from arkcli.errors import ArkError, Busy
from arkcli.system.child import Program
from arkcli.text import process_ending

if TYPE_CHECKING:
    from arkcli.actions.home import Home
    from arkcli.delivery.sent import Sent
    from arkcli.model import Destination, RetrySchedule, State
    from arkcli.queue.engine import Claim, Recorded, Result, Standing, Work
    from arkcli.store.store import AlertSettings, Contents

#: The ledger's name in the queue.
NAME: Final = "alerts"
#: How often to look whether there is anything to tell, in seconds; and when to look again after that was impossible.
_LOOK_EVERY: Final = 1.0
_LOOK_AGAIN: Final = 10.0
#: How many commands run at once, and for how long one may, in seconds.
_ROOM: Final = 4
_LIMIT: Final = 60.0
#: How long a process that ends waits for the command, in seconds; and one that was told to stop.
_PATIENCE: Final = 5.0
_HASTE: Final = 1.0
#: How long not to ask again whether a destination still fails, in seconds.
_ASK_AGAIN: Final = 30.0
#: How often to try to change the ledger, when another process holds it.
_TRIES: Final = 40


class _Running(NamedTuple):
    fact: Fact
    name: str
    program: Program
    began: float


class Alerts:
    """What one process that delivers sees of troubles, and tells."""

    def __init__(
        self,
        home: "Home",
        contents: "Callable[[], Contents]",
        warn: Callable[[str], None],
        stopping: Callable[[], bool],
    ) -> None:
        """`contents` returns the current settings; `warn` is told of a command that fails.

        Once `stopping` returns True, no command starts.
        """
        self._home = home
        self._contents = contents
        self._warn = warn
        self._stopping = stopping
        self._is_on = True
        self._seen: dict[str, Seen] = {}
        self._running: list[_Running] = []
        self._ended: list[tuple[Fact, str | None]] = []
        self._asked: dict[str, float] = {}
        self._look_at = 0.0
        #: Until when commands may start.
        self._starts_until = math.inf
        self._trouble: str | None = None

    def watching(self, queue: "Work") -> "Work":
        """The queue, whose outcomes are seen from now on."""
        return _Watched(queue, self)

    def see(self, destination_id: str, states: "Sequence[State | None]", at: int | None = None) -> None:
        """Takes in the outcomes of attempts, recorded at a time (milliseconds, UTC; None: now). Cheap."""
        if self._is_on:
            see(self._seen, destination_id, states, self._home.clock.now() if at is None else at)

    def look(self) -> None:
        """Tells what there is to tell, at most once a second. Waits for nothing."""
        now = self._home.clock.monotonic()
        if now >= self._look_at:
            is_settled = self._settled()
            self._look_at = self._home.clock.monotonic() + (_LOOK_EVERY if is_settled else _LOOK_AGAIN)

    def finish(self) -> None:
        """Tells what is left to tell, and waits for the commands for a moment."""
        now = self._home.clock.monotonic()
        until = now + (_HASTE if self._stopping() else _PATIENCE)
        self._starts_until = now + _PATIENCE / 2
        while self._settled() and self._home.clock.monotonic() < until:
            if self._running:
                self._running[0].program.wait(0.05)
            elif self._seen or self._ended:
                self._home.clock.sleep(0.02)
            else:
                break
        for running in self._running:
            running.program.leave(_LIMIT)
            self._warn(
                f"the alert command for {running.name} still runs; ark does not wait for it any longer, so it does not "
                "know whether that was told, and runs it again"
            )

    def _settled(self) -> bool:
        """Brings the ledger up to date and starts what is to be told. False if that is impossible for now."""
        try:
            self._reap()
            self._settle()
        except Busy:
            return True
        except (ArkError, OSError) as error:
            if str(error) != self._trouble:
                self._warn(f"alerts are late: {error}")
            self._trouble = str(error)
            return False
        self._trouble = None
        return True

    def _settle(self) -> None:
        contents = self._contents()
        rule = _rule(contents.alerts, self._home.schedule)
        self._is_on = rule is not None
        if rule is None:
            self._seen.clear()
            return
        queue, now = self._home.queue, self._home.clock.now()
        before = queue.read_memo(NAME)
        # While all goes well, this is all.
        if before is None and not self._ended and not any(seen.failed_at or seen.died for seen in self._seen.values()):
            self._seen.clear()
            return
        standings = self._standings(Ledger.of(before), contents, now, rule)
        is_late = self._stopping() or self._home.clock.monotonic() > self._starts_until
        room = 0 if is_late else _ROOM - len(self._running)
        ids = [found.id for found in contents.destinations]
        if self._changed(before, standings, now, rule, ids, room)[0] == before:
            self._seen.clear()
            return
        with queue.memo(NAME) as memo:
            memo.data, taken = self._changed(memo.data, standings, now, rule, ids, room)
        self._seen.clear()
        self._ended.clear()
        for fact in taken:
            self._start(fact, contents, now)

    def _standings(self, ledger: Ledger, contents: "Contents", now: int, rule: Rule) -> "Mapping[str, Standing]":
        moment = self._home.clock.monotonic()
        self._asked = {found: at for found, at in self._asked.items() if at > moment}
        asked = ledger.to_ask(self._seen, now, rule, self._asked)
        self._asked |= dict.fromkeys(asked, moment + _ASK_AGAIN)
        # Nobody delivers to those that are paused.
        idle = {found.id for found in contents.destinations if found.paused} - self._seen.keys() if asked else ()
        asked = [found for found in asked if found not in idle]
        return self._home.queue.standings(asked, now) if asked else {}

    def _changed(
        self,
        data: bytes | None,
        standings: "Mapping[str, Standing]",
        now: int,
        rule: Rule,
        ids: Iterable[str],
        room: int,
    ) -> tuple[bytes | None, list[Fact]]:
        """The ledger after what this process has seen and done, and the facts that it takes to tell."""
        ledger = Ledger.of(data)
        ledger.settle(self._seen, standings, now, rule)
        for fact, failure in self._ended:
            ledger.told(fact, now, failure)
        ledger.forget_all_but(ids)
        taken = ledger.take(now, room)
        return ledger.document(), taken

    def _start(self, fact: Fact, contents: "Contents", now: int) -> None:
        """Does what a fact asks for. What cannot be done now is tried again later."""
        destination = contents.find(fact.destination_id)
        if destination is None:
            self._ended.append((fact, None))
            return
        try:
            if fact.kind is Kind.PAUSED:
                self._pause(fact, destination)
            if not (words := contents.alerts.words):
                self._ended.append((fact, None))
                return
            standing = self._home.queue.standings([destination.id], now).get(destination.id)
            given = msgspec.json.encode(notice_of(fact, destination, standing)) + b"\n"
            user = owner_of(self._home.store.path)
            program = Program(words, variables_for(self._home.variables, contents), given, user)
        except (ArkError, OSError, ValueError) as error:
            said = getattr(error, "strerror", None) or str(error)
            self._end(fact, destination.name, f"cannot be run: {said}")
        else:
            self._running.append(_Running(fact, destination.name, program, self._home.clock.monotonic()))

    def _pause(self, fact: Fact, destination: "Destination") -> None:
        since = fact.since or fact.at
        note = f"it had failed since {times.to_text(since)} ([alerts] auto_pause_after)"
        if not destination.paused:
            with self._home.store.change() as contents:
                if known := contents.find(destination.id):
                    contents.replace(msgspec.structs.replace(known, paused=True, pause_note=note))
            self._warn(f"{destination.name} is paused: {note}. Resume it with `ark dest resume {destination.name}`")

    def _reap(self) -> None:
        for running in list(self._running):
            status = running.program.wait(0)
            is_late = status is None and self._home.clock.monotonic() - running.began > _LIMIT
            if status is None and not is_late:
                continue
            self._running.remove(running)
            if is_late:
                running.program.kill()
                self._end(running.fact, running.name, f"was killed after {_LIMIT:.0f} s")
            else:
                self._end(running.fact, running.name, process_ending(status) if status else None)

    def _end(self, fact: Fact, name: str, failure: str | None) -> None:
        self._ended.append((fact, failure))
        if failure is not None:
            self._warn(
                f"the alert command for {name} {failure}; docs/operating.md, section Alerts, shows how to try it"
            )


class _Watched:
    """A queue whose recorded outcomes alerts see. See `delivery.drain.Work`."""

    def __init__(self, queue: "Work", alerts: Alerts) -> None:
        self._queue = queue
        self._alerts = alerts
        self.drains, self.claim_due, self.holder = queue.drains, queue.claim_due, queue.holder

    def look(self, ids: Sequence[str], now: int) -> Sequence[str]:
        due = self._queue.look(ids, now)
        self._alerts.look()
        return due

    def record(self, results: "Sequence[tuple[Claim, Sequence[Result]]]", now: int) -> "Sequence[Recorded]":
        recorded = self._queue.record(results, now)
        for (claim, _), told in zip(results, recorded, strict=True):
            self._alerts.see(claim.destination_id, told.states, now)
        return recorded

    def late(self) -> "Sequence[tuple[Claim, Sequence[Result], Recorded]]":
        late = self._queue.late()
        for claim, _, told in late:
            self._alerts.see(claim.destination_id, told.states)
        return late

    @property
    def broken(self) -> Mapping[str, str]:
        return self._queue.broken


def tell_of(home: "Home", contents: "Contents", deliveries: "Iterable[Sent]", stopping: Callable[[], bool]) -> None:
    """Takes in what a `send` has done, and tells what there is to tell."""
    alerts = Alerts(home, lambda: contents, home.warn, stopping)
    ids = {found.name: found.id for found in contents.destinations}
    for sent in deliveries:
        if sent.attempt is not None:
            alerts.see(ids[sent.destination], [sent.state], sent.attempt.at)
    alerts.finish()


def resume(home: "Home", destination_id: str) -> None:
    """Starts the time again for a destination that has been resumed. Its recovery is still told."""
    # The destination is resumed, whether or not this succeeds.
    with suppress(ArkError, OSError):
        for _ in range(_TRIES if home.has_queue and home.queue.read_memo(NAME) is not None else 0):
            with suppress(Busy), home.queue.memo(NAME) as memo:
                ledger = Ledger.of(memo.data)
                ledger.resume(destination_id)
                memo.data = ledger.document()
                break
            home.clock.sleep(0.05)


def check(home: "Home", contents: "Contents") -> list[Check]:
    """Checks, if there is a command, that it can be run and did not fail the last time. Does not run it."""
    if not (words := contents.alerts.words):
        return []
    program = words[0]
    if shutil.which(program, path=home.variables.get("PATH", os.defpath)) is None:
        where = "is not an executable file" if "/" in program else "is not in the PATH"
        hint = "give its full path in [alerts] command, and make it executable: nobody is told of a trouble until then"
        return [Check("alerts", Status.FAIL, f"{program} {where}", hint)]
    failure = None
    # Other checks say what is wrong with the queue.
    with suppress(ArkError, OSError):
        failure = Ledger.of(home.queue.read_memo(NAME)).failure if home.has_queue else None
    if failure is not None:
        said = f"{program} failed the last time ({times.to_text(failure.at)}): it {failure.reason}"
        return [Check("alerts", Status.WARN, said, "docs/operating.md, section Alerts, shows how to try it")]
    return [passed("alerts", f"{program} is told when a destination has failed for {contents.alerts.failing_for}")]


def _rule(settings: "AlertSettings", schedule: "RetrySchedule") -> Rule | None:
    if not settings.are_on:
        return None
    pause = settings.auto_pause_after
    return Rule(
        tells=settings.command is not None,
        failing_for=round(times.parse_duration(settings.failing_for) * 1000),
        pause_after=None if pause is None else round(times.parse_duration(pause) * 1000),
        lifetime=sum(schedule.delays),
    )
