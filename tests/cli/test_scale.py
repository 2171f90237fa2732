"""Much that waits: every question about it is answered in memory that does not grow with it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from arkcli import times
from arkcli.model import Answer, Destination, Draft
from arkcli.signing import Secret
from tests.world import START, World, receiver

#: Were the bodies held in memory, that alone would be more than the limit.
EVENTS = 40_000
BODY = b'{"event":"signal.promoted","text":"%b"}' % (b"x" * 1_700)
LIMIT = 64 * 1024
#: A process's peak counts that of the one it was forked from, so a small one stands in between.
MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
"""

FEW_FILES = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A home where half of the events wait for their first attempt, and half for their second."""
    world = World(tmp_path_factory.mktemp("scale"))
    with receiver() as one:
        world.add(one, "crm")
    queue = world.environment().queue
    for start in range(0, EVENTS, 1_000):
        queue.accept([draft(number) for number in range(start, start + 1_000)])
    with world.held("crm") as claim:
        for _ in range(0, EVENTS // 2, 1_000):
            taken = claim.take(START, 1_000)
            claim.record([(delivery, Answer(503, "HTTP 503", 3)) for delivery in taken], START)
    queue.close()
    yield world


def draft(number: int) -> Draft:
    return Draft(f"evt_{number:06}", "signal.promoted", times.to_text(START), BODY)


COMMANDS = {
    "queue": ["queue", "--json"],
    "list-json": ["queue", "list", "--json"],
    "list-text": ["queue", "list"],
    "list-retrying": ["queue", "list", "--state", "retrying", "--json"],
    "dry-run": ["drain", "--dry-run", "--at", "2100-01-01T00:00:00Z", "--json"],
    "check": ["queue", "check", "--json"],
    "log": ["log", "--json"],
    "show": ["queue", "show", f"evt_{EVENTS - 1:06}", "--json"],
    "replay": ["replay", "--since", "2000-01-01T00:00:00Z", "--dry-run", "--json"],
    "drop": ["queue", "drop", "evt_000001", "--dry-run", "--json"],
}
FOUND: dict[str, Callable[[str], bool]] = {
    "queue": lambda out: json.loads(out)["destinations"][0]["waiting"] == EVENTS // 2,
    "list-json": lambda out: len(json.loads(out)["deliveries"]) == EVENTS,
    "list-text": lambda out: out.count("\n") == EVENTS,
    "list-retrying": lambda out: len(json.loads(out)["deliveries"]) == EVENTS // 2,
    "dry-run": lambda out: len(json.loads(out)["deliveries"]) == EVENTS,
    # One journal line more is the snapshot that it begins with.
    "check": lambda out: json.loads(out)["lines"] >= EVENTS + EVENTS // 2,
    "log": lambda out: out.count("\n") == EVENTS // 2,
    "show": lambda out: json.loads(out)["deliveries"][0]["state"] == "waiting",
    "replay": lambda out: json.loads(out)["replayed"] == EVENTS // 2,
    "drop": lambda out: json.loads(out)["dropped"] == 1,
}


@pytest.mark.parametrize("name", COMMANDS)
def test_an_answer_about_much_takes_little_memory(full: World, tmp_path: Path, name: str) -> None:
    said = tmp_path / "said"
    with said.open("wb") as out:
        measured = subprocess.run(
            [sys.executable, "-c", MEASURE, sys.executable, "-m", "arkcli", *COMMANDS[name]],
            stdout=out,
            stderr=subprocess.PIPE,
            check=True,
            env={**os.environ, **full.variables},
        )
    assert FOUND[name](said.read_text())
    assert int(measured.stderr) < LIMIT


def fill(world: World, *names: str) -> None:
    """Puts destinations with these names into the store."""
    with world.environment().store.change() as current:
        current.workspace.secret = Secret("secret")
        current.destinations = [
            Destination(id=f"dst_{number}", name=name, url=f"https://crm.example/{number}", added_at="")
            for number, name in enumerate(names)
        ]


def test_a_name_is_made_up_in_no_time_however_many_have_that_of_the_host(world: World) -> None:
    fill(world, "crm.example", *(f"crm.example-{number}" for number in range(2, 6_001)))
    spent: list[float] = []
    for options in (["--name", "named"], []):
        before = time.process_time()
        url = f"https://crm.example/more{len(spent)}"
        assert world.ark("dest", "add", url, "--no-ping", *options).status == 0
        spent.append(time.process_time() - before)
    assert world.environment().store.read().find("crm.example-6001") is not None
    # Were each name looked for among all others, it would take seconds more.
    assert spent[1] < 1.5 * spent[0] + 0.2


@pytest.mark.parametrize(
    ("words", "lines"),
    [(["log"], 2), (["log", "--stats"], 120), (["replay", "--since", "2000-01-01T00:00:00Z", "--dry-run"], 1)],
    ids=["log", "stats", "replay"],
)
def test_there_may_be_more_destinations_than_open_files(world: World, words: list[str], lines: int) -> None:
    fill(world, *(f"d{number}" for number in range(120)))
    assert world.ark("send", "signal.promoted", "--sample", "--queue").status == 0
    for name in ("d0", "d119"):
        with world.held(name) as claim:
            claim.record([(delivery, Answer(200, None, 1)) for delivery in claim.take(START, 1)], START)
    run = subprocess.run(
        [sys.executable, "-c", FEW_FILES, sys.executable, "-m", "arkcli", *words],
        env={**os.environ, **world.variables},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (len(run.stdout.splitlines()), run.stderr) == (lines, "")
