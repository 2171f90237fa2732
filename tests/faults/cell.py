"""One cell of the table: a part, a fault, a command. It is run in a home of its own, and judged.

Either all goes on, or what cannot go on is named, with an exit status that is not 0. What has nothing to do with the
fault goes on. Whatever was said to be accepted is delivered, or shown as not done, or its loss is named.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

from tests.faults.runner import Ran, Runner
from tests.faults.story import CONCERNED, FAILING, HEALTHY, LATER, LINES, NAMES, NOW, Pair, Receivers, Story
from tests.faults.table import COMMANDS, FAULTS, PARTS, WHOLES

#: What a command can be counted on for: a destination (None: no single one), and what is done or shown there.
Fact = tuple[str | None, object]
#: What is said under these keys of JSON is a complaint, and so are the words beside it.
_COMPLAINTS = ("error", "problem", "broken", "left_out", "hint", "reason", "warning", "warnings")
#: One in so many cells runs its command as a program begun from nothing.
_REAL = 12


class Stage(NamedTuple):
    """Where cells are played."""

    runner: Runner
    receivers: Receivers
    story: Story
    directory: Path


class _Hung(Exception):
    """A command took too long: then nothing more is tried."""


class Cell:
    """One crossing. `problems` is what was found wrong, and `told` what was run and said, in order."""

    def __init__(self, stage: Stage, part: str, fault: str, command: str) -> None:
        self._runner, self._story, self._arrived = stage.runner, stage.story, stage.receivers.arrived
        self._part, self._fault, self._name = part, fault, command
        self._pattern = PARTS[part].pattern
        past = self._story.now
        if part in WHOLES:
            past = {"older": self._story.old, "newer": self._story.new}.get(fault, past)
        self._promised = set(past.promised)
        self._arrived.clear()
        self._arrived |= self._story.new.arrived if fault == "newer" else past.arrived
        self._real = crc32(f"{part}/{fault}/{command}".encode()) % _REAL == 0
        self._top = stage.directory / "cell"
        self._home = self._top / "home"
        self.problems: list[str] = []
        self.told: list[str] = []

    def play(self) -> None:
        """Runs and judges all of it."""
        self._runner.shell('mkdir "$top"; cp -a "$now" "$top/home"', top=self._top, now=self._story.now.home)
        self._path = self._find(self._home)
        try:
            self._change(FAULTS[self._fault].script)
            self._judge_command()
            self._judge_afterwards()
        except _Hung as hung:
            self.problems.append(f"{hung}: hangs")
        finally:
            self._runner.room = -1
            self._runner.shell('umount -l "$part" || true; rm -rf "$top"', part=self._path, top=self._top)

    def _find(self, home: Path) -> Path:
        """The part in a home; where it would be, in one that has none."""
        pattern = self._pattern.format(id=self._story.ids[CONCERNED])
        return next(home.glob(pattern), home / pattern)

    def _change(self, script: str) -> None:
        """Breaks the part, or cures it. What is new there belongs to whoever runs `ark`."""
        if self._fault == "full" and not self._runner.mounts:
            sizes = [path.stat().st_size for path in self._path.rglob("*")]
            self._runner.room = max(sizes, default=0) if self._runner.room < 0 else -1
            return
        older, newer = self._find(self._story.old.home), self._find(self._story.new.home)
        self._runner.shell(script, part=self._path, older=older, newer=newer, aside=self._top / "aside")

    def _owed(self) -> set[Pair]:
        """What was promised, has not arrived, and was not dropped."""
        dropped = {(name, self._story.retried) for name in NAMES} if self._name == "queue-drop" else set()
        return self._promised - self._arrived - dropped

    def _due(self) -> set[Pair]:
        """What a drain delivers where nothing is wrong."""
        return {(name, event) for name, event in self._owed() if name in HEALTHY and event not in self._story.dead}

    def _run(self, line: str, at: float, *, real: bool = False) -> Ran:
        args = line.format(retried=self._story.retried).split()
        ran = self._runner.ark(self._home, *args, "--json", at=at, stdin=LINES, real=real)
        self._promised |= {(name, event) for event in ran.accepted() for name in NAMES}
        self.told.append(str(ran))
        if ran.status is None:
            raise _Hung(line)
        self._expect("Traceback (most" not in ran.err and ran.status in (0, 1, 2, 75, 78), f"{line}: crashes")
        self._expect(bool(ran.documents) or not ran.out.strip(), f"{line}: prints no JSON")
        return ran

    def _expect(self, right: bool, problem: str, about: "set[Any] | frozenset[Any]" = frozenset()) -> None:
        if not right:
            words = sorted(f"{name or 'ark'} {what}" for name, what in about)
            self.problems.append(problem + ", ".join(words[:3]) + (f" and {len(words) - 3} more" if words[3:] else ""))

    def _judge_command(self) -> None:
        """Compares what the command does with what it does where nothing is wrong."""
        command = COMMANDS[self._name]
        for line in command.lines[:-1]:
            self._run(line, NOW)
        line, wanted, arrived = command.lines[-1], self._wanted(command.does), set(self._arrived)
        ran = self._run(line, NOW, real=self._real)
        missing = wanted - self._done(ran, arrived)
        # Retrying or dead: that is up to the receiver that never works.
        as_ever = ran.status == command.status or {ran.status, command.status} == {1, 75}
        if missing or not as_ever:
            self._expect(ran.status != 0, f"{line}: exit 0 is a lie, missing: ", missing)
            self._expect(self._is_named(ran), f"{line}: does not name what broke, missing: ", missing)
        self._expect_rest(line, missing)

    def _judge_afterwards(self) -> None:
        """What was promised is delivered, or shown, or its loss is named; and delivered when a fault was cured."""
        self._run("send signal.promoted --sample", NOW + 60)
        drained = self._run("drain", LATER)
        late = self._due()
        named = drained.status != 0 and self._is_named(drained)
        self._expect(named or not late, "drain afterwards: does not name what broke, not delivered: ", late)
        listed, check, doctor = (self._run(line, LATER) for line in ("queue list", "queue check", "doctor"))
        lost = self._owed() - self._done(listed, self._arrived)
        self._expect_rest("afterwards", late | lost)
        # `queue check` cannot know what the store would have said.
        for ran in (check, doctor) if self._pattern.startswith("state") else (listed, doctor):
            named = ran.status != 0 and self._is_named(ran, {event for _, event in lost})
            line = " ".join(ran.args[:-1])
            self._expect(
                named or not lost, f"{line} afterwards: does not name what broke, neither there nor shown: ", lost
            )
        if cure := FAULTS[self._fault].cure:
            self._change(cure)
            self._run("drain", 2 * LATER)
            self._expect(not self._due(), "drain after the cure: not delivered: ", self._due())

    def _expect_rest(self, when: str, missing: "set[Any]") -> None:
        rest = {fact for fact in missing if fact[0] != CONCERNED} if "{id}" in self._pattern else set()
        self._expect(not rest, f"{when}: the rest does not go on, missing: ", rest)

    def _wanted(self, does: str) -> set[Fact]:
        """What a command does, or tells, where nothing is wrong."""
        owed, events = self._owed(), [f"event {index}" for index in range(2 if self._name == "send-ndjson" else 1)]
        wanted: dict[str, set[Fact]] = {
            "accepts": {(None, event) for event in events},
            "delivers": {(name, event) for name in HEALTHY for event in events},
            "drains": {*self._due()},
            "counts": {(name, index) for name in NAMES for index in range(sum(pair[0] == name for pair in owed))},
            "lists": {*owed},
            "shows": {(name, self._story.retried) for name in NAMES},
            "replays": {(None, index) for index in range(len({event for _, event in self._story.old.arrived}))},
            "logs": {*self._arrived},
            "pauses": {(FAILING, "paused")},
        }
        return {fact for word in does.split() for fact in wanted[word]}

    def _done(self, ran: Ran, arrived: set[Pair]) -> set[Fact]:
        """What a command did, given what had arrived before it, and told."""
        done: set[Fact] = {*(self._arrived - arrived)}
        for index, event in enumerate(ran.accepted()):
            done.add((None, f"event {index}"))
            done |= {(name, f"event {index}") for name in NAMES if (name, event) in self._arrived}
        for document in ran.documents:
            done |= {(None, index) for index in range(document.get("replayed", 0))}
            about = document.get("destination")
            if isinstance(about, str):
                done.add((about, document["event_id"]))
            elif about is not None and about["paused"]:
                done.add((about["name"], "paused"))
            for row in document.get("deliveries", ()):
                done.add((row["destination"], row.get("event_id", self._story.retried)))
            for row in document.get("destinations", ()):
                count = sum(row.get(state, 0) for state in ("waiting", "retrying", "dead"))
                done |= {(row["name"], index) for index in range(count)}
        return done

    def _is_named(self, ran: Ran, events: "set[str] | frozenset[str]" = frozenset()) -> bool:
        """Whether a command complains of the part by its path, or of a destination or an event that it concerns."""
        names = {str(self._path), str(self._path.relative_to(self._home)).removeprefix("state/queue/"), *events}
        if "queue" in self._pattern:
            concerned = (CONCERNED,) if "{id}" in self._pattern else NAMES
            names |= {*concerned, *(self._story.ids[name] for name in concerned)}
        if self._fault == "full":
            names.add(str(self._home / "state/queue"))
        said = "\n".join([ran.err, *(words for document in ran.documents for words in _complaints(document))])
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
