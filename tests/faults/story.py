"""What happened before the fault: a home with every kind of file in it, and every kind of delivery, told once.

There are three receivers that work and one that never does. The home is kept as it was at three moments, so that a
part of it can be restored from an older or from a newer copy.
"""

import shutil
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from tests.faults.runner import Ran, Runner
from tests.world import PAYLOAD, Request, TestReceiver, answer, receiver

HEALTHY = ("anna", "berta", "clara")
FAILING = "dora"
NAMES = (*HEALTHY, FAILING)
LINES = (PAYLOAD.decode() + "\n") * 2
#: When the cells go on, in seconds after the story's beginning, and when every retry has become due.
NOW, LATER = 10_200.0, 30_000.0

Pair = tuple[str, str]


class Receivers:
    """The four receivers. What was answered with 200 has `arrived`: pairs of a destination's name and an event's id."""

    def __init__(self, stack: ExitStack) -> None:
        self.status = dict.fromkeys(NAMES, 200) | {FAILING: 500}
        self.arrived: set[Pair] = set()
        self.urls = {name: stack.enter_context(receiver(self._behave(name))).url for name in NAMES}

    def _behave(self, name: str) -> Callable[[Request], bytes]:
        def behave(request: Request) -> bytes:
            if self.status[name] == 200:
                self.arrived.add((name, request.delivery.partition(".")[0]))
            return answer(self.status[name])

        return behave


class Moment(NamedTuple):
    """A home as it was, which deliveries had been promised by then, and which had arrived."""

    home: Path
    promised: frozenset[Pair]
    arrived: frozenset[Pair]


class Story(NamedTuple):
    """The three moments; the ids of the destinations by name, of the event that is retried, and of those that died."""

    old: Moment
    now: Moment
    new: Moment
    ids: dict[str, str]
    retried: str
    dead: list[str]


class _Telling:
    def __init__(self, runner: Runner, receivers: Receivers, directory: Path) -> None:
        self._runner, self.receivers, self._directory = runner, receivers, directory
        self.home = directory / "telling"
        make_home(self.home, runner)
        self.promised: set[Pair] = set()

    def ark(self, *args: str, at: float, stdin: str = "", exits: int = 0) -> Ran:
        ran = self._runner.ark(self.home, *args, "--json", at=at, stdin=stdin)
        assert ran.status == exits, ran
        return ran

    def send(self, *args: str, at: float, to: tuple[str, ...] = NAMES, exits: int = 75) -> str:
        """Sends one event; returns its id."""
        to_options = [option for name in to if to != NAMES for option in ("--to", name)]
        ran = self.ark("send", "signal.promoted", *(args or ("--sample",)), *to_options, at=at, stdin=LINES, exits=exits)
        accepted = ran.accepted()
        self.promised |= {(name, event) for event in accepted for name in to}
        return accepted[0]

    def revive(self, event: str, at: float) -> None:
        """Has clara attempt a dead delivery, after which it has a new checkpoint; the others attempt what is due."""
        self.ark("queue", "retry", event, "--to", "clara", at=at)
        self.ark("drain", at=at)
        assert ("clara", event) in self.receivers.arrived

    def moment(self, name: str) -> Moment:
        copy(self.home, self._directory / name)
        return Moment(self._directory / name, frozenset(self.promised), frozenset(self.receivers.arrived))


def tell(runner: Runner, receivers: Receivers, directory: Path) -> Story:
    """Makes the three moments below a directory."""
    telling = _Telling(runner, receivers, directory)
    ids = {}
    for name, url in receivers.urls.items():
        added = telling.ark("dest", "add", url, "--name", name, "--allow-local", "--no-ping", at=0).documents[0]
        ids[name] = added["destination"]["id"]
    receivers.status["clara"] = 503
    dead = [telling.send(at=at) for at in (1, 2, 3)]
    for at, exits in (40, 0), (400, 0), (2300, 0), (9600, 1):
        telling.ark("drain", at=at, exits=exits)
    receivers.status["clara"] = 200
    telling.revive(dead[0], at=9605)
    journal = telling.home / "state/queue/destinations" / ids["anna"] / "journal"
    with next(journal.iterdir()).open("ab") as file:
        file.write(b"damaged\n")
    telling.ark("queue", "check", "--repair", at=9610)
    telling.send(at=9620)
    old = telling.moment("old")

    telling.revive(dead[1], at=9690)
    receivers.status["clara"] = 503
    retried = telling.send(at=9700)
    receivers.status["clara"] = 200
    telling.send(at=9710, to=("berta",), exits=0)
    telling.send("--sample", "--queue", at=9720, to=("berta",), exits=0)
    telling.send("--ndjson", "--queue", at=9730, exits=0)
    telling.ark("queue", "retry", dead[0], "--to", FAILING, at=9740)
    now = telling.moment("now")

    telling.ark("dest", "set", "anna", "--description", "changed", at=10_000)
    telling.revive(dead[2], at=10_010)
    telling.send(at=10_020)
    telling.send("--sample", "--queue", at=10_030, exits=0)
    return Story(old, now, telling.moment("new"), ids, retried, dead)


def make_home(home: Path, runner: Runner) -> None:
    """An empty home for whoever runs `ark`."""
    home.mkdir()
    for part in "config", "state":
        (home / part).mkdir(0o700)
        if runner.user is not None:
            shutil.chown(home / part, runner.user, runner.user)


def copy(source: Path, target: Path) -> None:
    """Copies a file or a directory, owners and modes included."""
    subprocess.run(["cp", "-a", source, target], check=True)
