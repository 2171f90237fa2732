"""One cell of the table: a part, a fault, a command. It is run in a home of its own, and judged.

Either all goes on, or what cannot go on is named, with an exit status that is not 0. What has nothing to do with the
fault goes on. Whatever was said to be accepted is delivered, or shown as not done, or its loss is named.
"""

import json
import subprocess
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

from tests.faults.runner import Ran, Runner
from tests.faults.story import FAILING, HEALTHY, LATER, LINES, NAMES, NOW, Pair, Receivers, Story
from tests.faults.table import COMMANDS, CONCERNED, FAULTS, PARTS, WHOLES, Cure, Place

#: What a command can be counted on for: a destination (None: no single one), and what is done or shown there.
Fact = tuple[str | None, object]
#: What is said under these keys of JSON is a complaint, and so is what stands beside it.
_COMPLAINTS = ("error", "problem", "broken", "left_out", "hint", "reason", "warning", "warnings")
#: One in so many cells runs its command as a program begun from nothing.
_REAL = 12


class Stage(NamedTuple):
    """Where cells are played."""

    runner: Runner
    receivers: Receivers
    story: Story
    directory: Path
    numbers: "count[int]"


class _Hung(Exception):
    """A command took too long: then nothing more is tried."""


class Cell:
    """One crossing. `problems` is what was found wrong, and `told` what was run and said, in order."""

    def __init__(self, stage: Stage, part: str, fault: str, command: str) -> None:
        self._stage, self._story, self._arrived = stage, stage.story, stage.receivers.arrived
        self._part, self._fault, self._name, self._command = PARTS[part], fault, command, COMMANDS[command]
        self._real = crc32(f"{part}/{fault}/{command}".encode()) % _REAL == 0
        past = self._story.now
        if part in WHOLES:
            past = {"older": self._story.old, "newer": self._story.new}.get(fault, past)
        self._promised = set(past.promised)
        self._arrived.clear()
        self._arrived |= self._story.new.arrived if fault == "newer" else past.arrived
        self._top = stage.directory / f"cell-{next(stage.numbers)}"
        self._home = self._top / "home"
        self.problems: list[str] = []
        self.told: list[str] = []

    def play(self) -> None:
        """Runs and judges all of it. Raises CannotBeTried."""
        runner = self._stage.runner
        self._top.mkdir()
        subprocess.run(["cp", "-a", self._story.now.home, self._home], check=True)
        self._path = self._find(self._home)
        try:
            cure = self._break()
            self._judge()
            self._look_afterwards(cure)
        except _Hung as hung:
            self.problems.append(f"{hung}: hangs")
        finally:
            if self._fault == "full":
                runner.unbound(self._path)
            subprocess.run(["sh", "-c", 'chmod -R u+rwX "$1"; rm -rf "$1"', "sh", self._top], check=True)

    def _find(self, home: Path) -> Path:
        """The part in a home; where it would be, in one that has none."""
        pattern = self._part.pattern.format(id=self._story.ids[CONCERNED])
        return next(home.glob(pattern), home / pattern)

    def _break(self) -> Cure | None:
        older, newer = self._find(self._story.old.home), self._find(self._story.new.home)
        return FAULTS[self._fault][0](Place(self._path, older, newer, self._top / "aside", self._stage.runner))

    def _owed(self) -> set[Pair]:
        return self._promised - self._arrived

    def _run(self, line: str, at: float, *, real: bool = False) -> Ran:
        args = line.format(retried=self._story.retried).split()
        ran = self._stage.runner.ark(self._home, *args, "--json", at=at, stdin=LINES, real=real)
        if args[0] == "send":
            self._promised |= {(name, event) for event in ran.accepted() for name in NAMES}
        self.told.append(str(ran))
        if ran.status is None:
            raise _Hung(line)
        if ran.status not in (0, 1, 2, 75, 78) or "Traceback (most" in ran.err:
            self.problems.append(f"{line}: crashes")
        if ran.garbled:
            self.problems.append(f"{line}: prints no JSON")
        return ran

    def _judge(self) -> None:
        """Runs the command and compares what it did with what it does where nothing is wrong."""
        *before, last = self._command.lines
        for line in before:
            self._run(line, NOW)
        wanted, arrived = self._wanted(), set(self._arrived)
        ran = self._run(last, NOW, real=self._real)
        missing = wanted - self._done(ran, arrived)
        if missing or not {ran.status, self._command.status} <= {1, 75} and ran.status != self._command.status:
            if ran.status == 0:
                self.problems.append(f"{last}: exit 0 is a lie: missing {_words(missing)}")
            if not self._is_named(ran):
                self.problems.append(f"{last}: it is not named: missing {_words(missing)}")
        self._check_rest({fact for fact in missing if fact[0] != CONCERNED}, last)

    def _look_afterwards(self, cure: Cure | None) -> None:
        """Whether what was promised is delivered, or shown, or its loss is named; and delivered after a cure."""
        self._run("send signal.promoted --sample", NOW + 60)
        drained = self._run("drain", LATER)
        shown, check, doctor = (self._run(line, LATER) for line in ("queue list", "queue check", "doctor"))
        dropped = {(name, self._story.retried) for name in NAMES} if self._name == "queue-drop" else set()
        left = self._owed() - dropped
        late = {pair for pair in left if self._is_due(pair)}
        lost = left - self._done(shown, set())
        self._check_rest({pair for pair in late | lost if pair[0] != CONCERNED}, "afterwards")
        if late and not (drained.status and self._is_named(drained)):
            self.problems.append(f"drain afterwards: not named, though not delivered: {_words(late)}")
        for ran, line in ((check, "queue check"), (doctor, "doctor")) if lost else ():
            refused = "config" in self._part.pattern and shown.status and self._is_named(shown)
            if not (ran.status and self._is_named(ran, lost)) and not refused:
                self.problems.append(f"{line} afterwards: not named, though neither delivered nor shown: {_words(lost)}")
        if cure is not None:
            cure()
            self._run("drain", 2 * LATER)
            if late := {pair for pair in self._owed() - dropped if self._is_due(pair)}:
                self.problems.append(f"drain after the cure: not delivered: {_words(late)}")

    def _check_rest(self, missing: set[Any], when: str) -> None:
        if self._part.of_one and missing:
            self.problems.append(f"{when}: the rest does not go on: missing {_words(missing)}")

    def _is_due(self, pair: Pair) -> bool:
        """Whether a drain delivers it where nothing is wrong."""
        return pair[0] in HEALTHY and pair[1] not in self._story.dead

    def _wanted(self) -> set[Fact]:
        """What the command does, or tells, where nothing is wrong."""
        owed = self._owed()
        accepted = [f"event {index}" for index in range(2 if self._name == "send-ndjson" else 1)]
        wanted: dict[str, set[Fact]] = {
            "accepts": {(None, event) for event in accepted},
            "delivers": {(name, event) for name in HEALTHY for event in accepted},
            "drains": {pair for pair in owed if self._is_due(pair)},
            "counts": {(name, index) for name in NAMES for index in range(sum(pair[0] == name for pair in owed))},
            "lists": set(owed),
            "shows": {(name, self._story.retried) for name in NAMES},
            "replays": {(None, index) for index in range(len({event for _, event in self._story.old.arrived}))},
            "logs": set(self._arrived),
            "pauses": {(FAILING, "paused")},
        }
        return {fact for word in self._command.does.split() for fact in wanted[word]}

    def _done(self, ran: Ran, arrived: set[Pair]) -> set[Fact]:
        """What a command did, given what had arrived before it, and told."""
        done: set[Fact] = set(self._arrived - arrived)
        for index, event in enumerate(ran.accepted()):
            done.add((None, f"event {index}"))
            done |= {(name, f"event {index}") for name in NAMES if (name, event) in self._arrived}
        for document in ran.documents:
            if "attempt" in document:
                done.add((document["destination"], document["event_id"]))
            done |= {(None, index) for index in range(document.get("replayed", 0))}
            done |= {(row["destination"], row.get("event_id", self._story.retried)) for row in document.get("deliveries", ())}
            for row in document.get("destinations", ()):
                count = sum(row.get(state, 0) for state in ("waiting", "retrying", "dead"))
                done |= {(row["name"], index) for index in range(count)}
            if document.get("destination") and "paused" in document["destination"]:
                done |= {(FAILING, "paused")} if document["destination"]["paused"] else set()
        return done

    def _is_named(self, ran: Ran, lost: "set[Pair] | frozenset[Pair]" = frozenset()) -> bool:
        """Whether a command complains of the part: of its path, or of whom or what is concerned."""
        names = [str(self._path), str(self._path.relative_to(self._home)).removeprefix("state/queue/")]
        if self._part.of_one:
            names += [CONCERNED, self._story.ids[CONCERNED]]
        elif "queue" in self._part.pattern:
            names += [*NAMES, *self._story.ids.values(), *(event for _, event in lost)]
        if self._fault == "full":
            names.append(str(self._home / "state/queue"))
        said = "\n".join([ran.err, *(text for document in ran.documents for text in _complaints(document))])
        return any(name in said for name in names)


def _complaints(found: Any) -> Iterator[str]:
    """What is complained of anywhere in a document. A check that passed and an HTTP status are no complaints."""
    if isinstance(found, list):
        for one in found:
            yield from _complaints(one)
    elif isinstance(found, dict) and found.get("status") != "pass" and not isinstance(found.get("status"), int):
        complains = any(found.get(key) for key in _COMPLAINTS)
        for key, value in found.items():
            if complains and (key in _COMPLAINTS or isinstance(value, str)):
                yield json.dumps(value, ensure_ascii=False)
            else:
                yield from _complaints(value)


def _words(facts: set[Any]) -> str:
    return ", ".join(sorted(f"{name or 'ark'}: {what}" for name, what in facts)) or "nothing but the exit status"
