"""What happened before the fault: a home with every kind of file in it, and every kind of delivery.

There are three receivers that work and one that never does. The home is kept as it was at three moments, so that a
part of it can be restored from an older or from a newer copy.
"""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from arkcli.queue.engine import Absence
from arkcli.queue.local.away import AwayNote
from tests.faults.runner import Ran, Runner
from tests.world import PAYLOAD, Request, answer, receiver

#: Clara had trouble for a while: she has dead deliveries, retries, and every kind of file. Hers are those that break.
HEALTHY = ("anna", "berta", "clara")
CONCERNED, FAILING = "clara", "dora"
NAMES = (*HEALTHY, FAILING)
LINES = (PAYLOAD.decode() + "\n") * 2
#: When cells begin, in seconds after the story's beginning, and when every retry has become due.
NOW, LATER = 10_200.0, 30_000.0

#: A destination's name and an event's id.
Pair = tuple[str, str]


class Receivers:
    """The four receivers. What was answered with 200 has `arrived`."""

    def __init__(self, stack: ExitStack) -> None:
        self.status = dict.fromkeys(NAMES, 200) | {FAILING: 500}
        self.arrived: set[Pair] = set()
        self.urls = {name: stack.enter_context(receiver(self._behaviour(name))).url for name in NAMES}

    def _behaviour(self, name: str) -> Callable[[Request], bytes]:
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
    """The three moments; the ids of the destinations, of the event that is retried, and of those that died."""

    old: Moment
    now: Moment
    new: Moment
    ids: dict[str, str]
    retried: str
    dead: list[str]


def tell(runner: Runner, receivers: Receivers, directory: Path) -> Story:
    """Makes the homes of the three moments in a directory."""
    home = directory / "home"
    promised: set[Pair] = set()
    runner.shell('mkdir -p "$home"/config "$home"/state; chown "$user" "$home"/*; chmod 700 "$home"/*', home=home)

    def ark(line: str, at: float, exits: int = 0) -> Ran:
        ran = runner.ark(home, *line.split(), "--json", at=at, stdin=LINES)
        assert ran.status == exits, ran
        return ran

    def send(options: str, at: float, exits: int = 0, to: tuple[str, ...] = NAMES) -> str:
        accepted = ark(f"send signal.promoted {options}", at, exits).accepted()
        promised.update((name, event) for event in accepted for name in to)
        return accepted[0]

    def revive(event: str, at: float) -> None:
        """Has Clara's delivery attempted after all, which gives her a new checkpoint, and whatever else is due."""
        ark(f"queue retry {event} --to {CONCERNED}", at)
        ark("drain", at)

    def moment(name: str) -> Moment:
        runner.shell('cp -a "$home" "$copy"', home=home, copy=directory / name)
        return Moment(directory / name, frozenset(promised), frozenset(receivers.arrived))

    ids = {}
    for name, url in receivers.urls.items():
        added = ark(f"dest add {url} --name {name} --allow-local --no-ping", at=0)
        ids[name] = added.documents[0]["destination"]["id"]
    receivers.status[CONCERNED] = 500
    dead = [send("--sample", at, exits=75) for at in (1, 2, 3)]
    for at, exits in (40, 0), (400, 0), (2300, 0), (9600, 1):
        ark("drain", at, exits)
    receivers.status[CONCERNED] = 200
    revive(dead[0], at=9605)
    places = home / "state/queue/destinations"
    runner.shell('for file in "$journal"/*; do echo damaged >> "$file"; done', journal=places / ids["anna"] / "journal")
    ark("queue check --repair", at=9610)
    send("--sample", at=9620, exits=75)
    old = moment("old")

    revive(dead[1], at=9690)
    receivers.status[CONCERNED] = 503
    retried = send("--sample", at=9700, exits=75)
    receivers.status[CONCERNED] = 200
    send("--sample --to berta", at=9710, to=("berta",))
    send("--sample --to berta --queue", at=9720, to=("berta",))
    send("--ndjson --queue", at=9730)
    ark(f"queue retry {dead[0]} --to {FAILING}", at=9740)
    # Hers, too, is the note that she was away: making one takes as long as a receiver must be away.
    AwayNote(Path(places, ids[CONCERNED], "away.json")).write(Absence(since=1, until=2, probes=0, error="refused"))
    runner.shell('chown "$user" "$places"/*/*', places=places)
    now = moment("now")

    ark("dest set anna --description changed", at=10_000)
    revive(dead[2], at=10_010)
    send("--sample", at=10_020, exits=75)
    send("--sample --queue", at=10_030)
    return Story(old, now, moment("new"), ids, retried, dead)
