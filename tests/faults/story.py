"""The history before the fault: a home with every kind of file and every kind of delivery.

Three receivers work and one never does. Copies of the home from three moments are kept, so that a part of it can be
restored from an older or a newer copy.
"""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from arkcli.queue.local.notes import write_outage
from arkcli.queue.outage import Outage
from tests.faults.runner import Ran, Runner
from tests.world import PAYLOAD, Request, answer, receiver

HEALTHY = ("anna", "berta", "clara")
#: Clara failed for a while, so she has dead deliveries, retries and every kind of file. Her files are those that break.
CONCERNED, FAILING = "clara", "dora"
NAMES = (*HEALTHY, FAILING)
LINES = (PAYLOAD.decode() + "\n") * 2
#: When cells start, and when every retry is due, in seconds after the story's beginning.
NOW, LATER = 10_200.0, 30_000.0

#: A destination's name and an event's id.
Pair = tuple[str, str]


class Moment(NamedTuple):
    """A copy of the home, and the deliveries promised and arrived by then."""

    home: Path
    promised: frozenset[Pair]
    arrived: frozenset[Pair]


class Story:
    """The three moments, the important ids, and the receivers; deliveries answered with 200 are in `arrived`."""

    def __init__(self, runner: Runner, directory: Path, stack: ExitStack) -> None:
        """Plays the whole history in a directory."""
        self.runner, self.directory = runner, directory
        self.arrived: set[Pair] = set()
        self._promised: set[Pair] = set()
        self._home, places = directory / "home", directory / "home/state/queue/destinations"
        self._status = dict.fromkeys(NAMES, 200) | {FAILING: 500}
        make = 'mkdir -p "$home"/config "$home"/state; chown "$user" "$home" "$home"/*; chmod 700 "$home"/*'
        runner.shell(make, home=self._home)
        self.ids: dict[str, str] = {}
        for name in NAMES:
            url = stack.enter_context(receiver(self._behaviour(name))).url
            added = self._ark(f"dest add {url} --name {name} --allow-local --no-ping", at=0)
            self.ids[name] = added.documents[0]["destination"]["id"]

        self._status[CONCERNED] = 500
        self.dead = [self._send("--sample", at, exits=75) for at in (1, 2, 3)]
        for at, exits in (40, 0), (400, 0), (2300, 0), (9600, 1):
            self._ark("drain", at, exits)
        self._status[CONCERNED] = 200
        self._revive(self.dead[0], at=9605)
        runner.shell(
            'for file in "$journal"/*; do echo damaged >> "$file"; done', journal=places / self.ids["anna"] / "journal"
        )
        self._ark("queue check --repair", at=9610)
        self._send("--sample", at=9620, exits=75)
        self.old = self._moment("old")

        self._revive(self.dead[1], at=9690)
        self._status[CONCERNED] = 503
        self.retried = self._send("--sample", at=9700, exits=75)
        self._status[CONCERNED] = 200
        self._send("--sample --to berta", at=9710, to=("berta",))
        self._send("--sample --to berta --queue", at=9720, to=("berta",))
        self._send("--ndjson --queue", at=9730)
        self._ark(f"queue retry {self.dead[0]} --to {FAILING}", at=9740)
        # A leftover of a past outage, written by hand because a real outage takes too long.
        place = places / self.ids[CONCERNED]
        write_outage(place, Outage(since=1, until=2, probes=0, error="refused"))
        runner.shell('chown "$user" "$note"', note=place / "outage.json")
        self.now = self._moment("now")

        self._ark("dest set anna --description changed", at=10_000)
        self._revive(self.dead[2], at=10_010)
        self._send("--sample", at=10_020, exits=75)
        self._send("--sample --queue", at=10_030)
        self.new = self._moment("new")

    def _behaviour(self, name: str) -> Callable[[Request], bytes]:
        def behave(request: Request) -> bytes:
            if self._status[name] == 200:
                self.arrived.add((name, request.delivery.partition(".")[0]))
            return answer(self._status[name])

        return behave

    def _ark(self, line: str, at: float, exits: int = 0) -> Ran:
        ran = self.runner.ark(self._home, line, at, LINES)
        assert ran.status == exits, ran
        return ran

    def _send(self, options: str, at: float, exits: int = 0, to: tuple[str, ...] = NAMES) -> str:
        """Sends, and returns the id of the first accepted event."""
        accepted = self._ark(f"send signal.promoted {options}", at, exits).accepted()
        self._promised |= {(name, event) for event in accepted for name in to}
        return accepted[0]

    def _revive(self, event: str, at: float) -> None:
        """Attempts Clara's delivery, which gives her a new checkpoint, and everything else that is due."""
        self._ark(f"queue retry {event} --to {CONCERNED}", at)
        self._ark("drain", at)

    def _moment(self, name: str) -> Moment:
        self.runner.shell('cp -a "$home" "$copy"', home=self._home, copy=self.directory / name)
        return Moment(self.directory / name, frozenset(self._promised), frozenset(self.arrived))
