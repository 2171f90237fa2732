"""The programs in docs/applications.md, extracted and run unchanged."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from tests.programs import Language, programs_of
from tests.world import TestReceiver, World

PROGRAMS = programs_of("applications.md")
LANGUAGES = {
    "producer.py": Language(sys.executable, [], [sys.executable, "producer.py"]),
    "producer.js": Language("node", [], ["node", "producer.js"]),
    "producer.go": Language("go", ["go", "build", "-o", "producer", "producer.go"], ["./producer"]),
}

Start = Callable[[], "subprocess.Popen[str]"]


def payload(key: object) -> str:
    signal = {"id": key, "signal_name": "Zoë", "source": "news"}
    return json.dumps({"event": "signal.promoted", "signal": signal}) + "\n"


LEAD = (
    '{"event":"social.lead_promoted","signal":{"id":"lead"},"engagement":{"platform":"x","engagement_type":"like"}}\n'
)


@pytest.fixture(params=LANGUAGES)
def start(request: pytest.FixtureRequest, world: World, tmp_path: Path) -> Iterator[Start]:
    """Starts the page's program in a language."""
    program = request.param
    run = LANGUAGES[program].built(program, PROGRAMS[program], tmp_path)
    variables = {**os.environ, **world.variables, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    started: list[subprocess.Popen[str]] = []

    def begin() -> "subprocess.Popen[str]":
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(run, cwd=tmp_path, env=variables, stdin=pipe, stdout=pipe, text=True))
        return started[-1]

    yield begin
    for process in started:
        with process:
            process.kill()


def write(process: "subprocess.Popen[str]", *lines: str) -> "IO[str]":
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("".join(lines))
    process.stdin.flush()
    return process.stdout


def end(process: "subprocess.Popen[str]") -> int:
    assert process.stdin is not None
    process.stdin.close()
    return process.wait(60)


def accepted(world: World) -> list[str]:
    return [json.loads(line)["id"] for line in world.event_lines]


def test_the_page_has_a_program_in_three_languages() -> None:
    assert PROGRAMS.keys() == LANGUAGES.keys()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="/proc tells which processes there are")
def test_each_event_is_on_disk_when_the_program_says_so_and_a_killed_child_loses_none_and_repeats_none(
    world: World, start: Start, receive: Callable[..., TestReceiver]
) -> None:
    server = receive(200)
    world.add(server, "crm")
    process = start()
    assert write(process, payload("a")).readline() == "a\n"
    assert accepted(world) == ["a"]
    said = write(process, LEAD, payload(5), payload("b"))
    assert said.readline() == "lead\n"
    assert "$.signal.id: expected a non-empty string, got 5" in said.readline()
    assert said.readline() == "b\n"
    os.kill(child_of(process.pid), signal.SIGKILL)
    assert write(process, payload("c")).readline() == "c\n"
    assert end(process) == 0
    assert accepted(world) == ["a", "lead", "b", "c"]
    world.ark("drain")
    sent = sorted(json.loads(request.body)["event"] for request in server.requests)
    assert sent == 3 * ["signal.promoted"] + ["social.lead_promoted"]


def test_when_the_program_is_killed_it_can_repeat_all_its_events(world: World, start: Start) -> None:
    world.ark("dest", "add", "https://a.example/", "--no-ping")
    lines = [payload(f"key_{number}") for number in range(20)]
    process = start()
    said = write(process, *lines)
    for _ in range(3):
        said.readline()
    process.kill()
    process.wait()
    again = start()
    said = write(again, *lines)
    assert [said.readline().strip() for _ in lines] == [f"key_{number}" for number in range(20)]
    assert end(again) == 0
    assert sorted(accepted(world)) == sorted(f"key_{number}" for number in range(20))


def test_where_ark_cannot_be_used_the_program_ends(world: World, start: Start) -> None:
    process = start()
    write(process, payload("a"))
    assert process.stdin is not None
    process.stdin.close()
    process.wait(20)
    assert world.event_lines == []


def child_of(process: int) -> int:
    """The newest child of a process."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        tasks = Path(f"/proc/{process}/task").iterdir()
        found = [int(one) for task in tasks for one in (task / "children").read_text().split()]
        if found:
            return max(found)
    raise AssertionError("there is no child")
