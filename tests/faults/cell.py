"""One cell of the table: a part, a fault and a command, run in its own home and judged.

Either everything works, or what does not is named, with an exit status other than 0. Everything unrelated to the fault
works. Every accepted event is delivered, or shown as not done, or its loss is named.
"""

import json
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any
from zlib import crc32

from tests.faults.runner import Ran
from tests.faults.story import CONCERNED, FAILING, HEALTHY, LATER, LINES, NAMES, NOW, Pair, Story
from tests.faults.table import COMMANDS, FAULTS, PARTS, WHOLES

#: An expected result of a command: a destination (None: not a single one), and what is done or shown for it.
Fact = tuple[str | None, object]
#: JSON keys whose values are complaints, as are the strings beside them.
_COMPLAINTS = ("error", "problem", "broken", "left_out", "hint", "reason")
#: One cell in this many starts a new Python for its command.
_REAL = 12


class Cell:
    """One combination. `problems`: what was wrong; `told`: the commands and their output, in order."""

    def __init__(self, story: Story, part: str, fault: str, command: str) -> None:
        self._story, self._runner, self._arrived = story, story.runner, story.arrived
        self._fault, self._name, self._pattern = fault, command, PARTS[part][0]
        self._real = crc32(f"{part}/{fault}/{command}".encode()) % _REAL == 0
        self._top, self._home = story.directory / "cell", story.directory / "cell/home"
        copied = {"older": story.old, "newer": story.new}.get(fault, story.now)
        #: All that `ark` can know. Deliveries that only another copy records count as arrived, too.
        self._past = copied if part in WHOLES else story.now
        self._promised = set(self._past.promised)
        self._arrived.clear()
        self._arrived |= self._past.arrived | (copied.arrived if "state" in self._pattern else frozenset())
        self._is_repaired = False
        self.problems: list[str] = []
        self.told: list[str] = []

    def play(self) -> None:
        """Runs and judges the cell."""
        self._runner.shell('mkdir "$top"; cp -a "$now" "$top/home"', top=self._top, now=self._story.now.home)
        self._path = self._find(self._home)
        try:
            self._change(FAULTS[self._fault][1])
            self._judge_command()
            self._judge_afterwards()
        except TimeoutError as hung:
            self.problems.append(f"{hung}: hangs")
        finally:
            self._runner.shell('umount -l "$part" || true; rm -rf "$top"', part=self._path, top=self._top)

    def _find(self, home: Path) -> Path:
        """The part's path in a home, even if the part does not exist there."""
        pattern = self._pattern.format(id=self._story.ids[CONCERNED])
        return next(home.glob(pattern), home / pattern)

    def _change(self, script: str) -> None:
        """Breaks or restores the part."""
        older, newer = self._find(self._story.old.home), self._find(self._story.new.home)
        self._runner.shell(script, part=self._path, older=older, newer=newer, aside=self._top / "aside")

    def _run(self, line: str, at: float, *, real: bool = False) -> Ran:
        line = line.format(retried=self._story.retried)
        ran = self._runner.ark(self._home, line, at, LINES, real=real)
        self._promised |= {(name, event) for event in ran.accepted() for name in NAMES}
        self.told.append(str(ran))
        if ran.status is None:
            raise TimeoutError(line)
        self._expect("Traceback (most" not in ran.err and ran.status in (0, 1, 2, 75, 78), f"{line}: crashes")
        self._expect(bool(ran.documents) or not ran.out.strip(), f"{line}: prints no JSON")
        return ran

    def _judge_command(self) -> None:
        """Compares what the command does with what it does without a fault."""
        lines, status, does = COMMANDS[self._name]
        for line in lines[:-1]:
            self._is_repaired = self._is_named(self._run(line, NOW))
        wanted, arrived = self._wanted(does), set(self._arrived)
        ran = self._run(lines[-1], NOW, real=self._real)
        missing = wanted - self._done(ran, arrived)
        # Status 1 or 75 depends on the receiver that never works: its deliveries are dead or retried.
        if missing or (ran.status != status and {ran.status, status} != {1, 75}):
            self._expect(self._is_told(ran), f"{lines[-1]}: exit {ran.status}, and what broke is not named", missing)
        self._expect_rest(lines[-1], missing)

    def _judge_afterwards(self) -> None:
        """Promised deliveries are delivered, or shown, or their loss is named; after a cure they are delivered."""
        self._run("send signal.promoted --sample", NOW + 60)
        drained, late = self._run("drain", LATER), self._due()
        listed, check, doctor = (self._run(line, LATER) for line in ("queue list", "queue check", "doctor"))
        lost = self._owed() - self._done(listed, self._arrived)
        self._expect_rest("afterwards", late | lost)
        told = self._is_told(drained)
        self._expect(told or late <= lost, "drain afterwards: does not deliver, what broke is not named", late - lost)
        if self._is_repaired:
            # The repair has already named what it set aside.
            lost = set()
        # `queue check` does not know what was in the store.
        for ran in (check if self._pattern.startswith("state") else listed, doctor):
            told = self._is_told(ran, {event for _, event in lost})
            self._expect(told or not lost, f"{ran.line} afterwards: what is lost is not named", lost)
        if cure := FAULTS[self._fault][2]:
            self._change(f'test ! -e "$part" || {cure}')
            self._run("drain", 2 * LATER)
            self._expect(not self._due(), "drain after the cure: does not deliver", self._due())

    def _expect(self, right: bool, problem: str, missing: Set[Any] = frozenset()) -> None:
        if not right:
            words = sorted(f"{name or 'ark'} {what}" for name, what in missing)
            more = f" and {len(words) - 3} more" if words[3:] else ""
            self.problems.append(f"{problem}: {', '.join(words[:3])}{more}")

    def _expect_rest(self, when: str, missing: Set[Any]) -> None:
        """If one destination's part broke, nothing is missing at the others."""
        rest = {fact for fact in missing if fact[0] != CONCERNED} if "{id}" in self._pattern else set()
        self._expect(not rest, f"{when}: the rest does not go on", rest)

    def _owed(self) -> set[Pair]:
        """Deliveries that were promised, have not arrived, and were not dropped."""
        dropped = {(name, self._story.retried) for name in NAMES} if self._name == "queue-drop" else set()
        return self._promised - self._arrived - dropped

    def _due(self) -> set[Pair]:
        """What a drain delivers without a fault."""
        return {(name, event) for name, event in self._owed() if name in HEALTHY and event not in self._story.dead}

    def _wanted(self, does: str) -> set[Fact]:
        """What a command does or prints without a fault."""
        owed, events = self._owed(), [f"event {index}" for index in range(2 if self._name == "send-ndjson" else 1)]
        wanted: dict[str, set[Fact]] = {
            "accepts": {(None, event) for event in events},
            "delivers": {(name, event) for name in HEALTHY for event in events},
            "drains": {*self._due()},
            "counts": {(name, index) for name in NAMES for index in range(sum(pair[0] == name for pair in owed))},
            "lists": {*owed},
            "shows": {pair for pair in self._past.promised if pair[1] == self._story.retried},
            "replays": {(None, index) for index in range(len({event for _, event in self._story.old.arrived}))},
            "logs": {*self._past.arrived},
            "pauses": {(FAILING, "paused")},
        }
        return {fact for word in does.split() for fact in wanted[word]}

    def _done(self, ran: Ran, arrived: set[Pair]) -> set[Fact]:
        """What a command did and printed; `arrived` is what had arrived before it."""
        done: set[Fact] = {*(self._arrived - arrived)}
        for index, event in enumerate(ran.accepted()):
            done |= {(name, f"event {index}") for name in NAMES if (name, event) in self._arrived}
            done.add((None, f"event {index}"))
        for document in ran.documents:
            about = document.get("destination")
            if isinstance(about, str):
                done.add((about, document["event_id"]))
            elif about is not None and about["paused"]:
                done.add((about["name"], "paused"))
            done |= {(None, index) for index in range(document.get("replayed", 0))}
            for row in document.get("deliveries", ()):
                done.add((row["destination"], row.get("event_id", self._story.retried)))
            for row in document.get("destinations", ()):
                count = sum(row.get(state) or 0 for state in ("waiting", "retrying", "dead"))
                done |= {(row["name"], index) for index in range(count)}
        return done

    def _is_told(self, ran: Ran, events: Set[str] = frozenset()) -> bool:
        return ran.status != 0 and self._is_named(ran, events)

    def _is_named(self, ran: Ran, events: Set[str] = frozenset()) -> bool:
        """Whether a command's complaints name the part's path, or a destination or an event that it concerns."""
        names = {str(self._path), str(self._path.relative_to(self._home)).removeprefix("state/queue/"), *events}
        if "queue" in self._pattern:
            concerned = (CONCERNED,) if "{id}" in self._pattern else NAMES
            names |= {*concerned, *(self._story.ids[name] for name in concerned)}
        names |= {self._story.retried} if self._story.retried in ran.line else set()
        # If two parts do not match, or share a disk, either may be named.
        also = {"older": "state/queue/events/", "newer": "state/queue/events/", "full": "state/queue"}
        if self._fault in also:
            names.add(str(self._home / also[self._fault]))
        said = "\n".join([ran.err, *_complaints(ran.documents)])
        return any(name in said for name in names)


def _complaints(found: Any) -> Iterator[str]:
    """All complaints in a JSON document. A passed check and an HTTP status are not complaints."""
    if isinstance(found, list):
        for one in found:
            yield from _complaints(one)
    elif isinstance(found, dict) and found.get("status") != "pass" and not isinstance(found.get("status"), int):
        complains = any(found.get(key) for key in _COMPLAINTS)
        for key, value in found.items():
            if complains and (key in _COMPLAINTS or isinstance(value, str)):
                yield json.dumps(value)
            else:
                yield from _complaints(value)
