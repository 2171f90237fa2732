"""Many waiting deliveries: every command about them runs in constant memory."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from arkcli import times
from arkcli.model import Answer, Destination, Draft
from arkcli.queue.engine import Selection
from arkcli.signing import Secret
from tests.world import START, World, receiver

#: Enough events that their bodies alone would exceed the limit if they were held in memory.
EVENTS = 20_000
REVIVED = 200
BODY = b'{"event":"signal.promoted","text":"%b"}' % (b"x" * 3_400)
#: In KiB: about 30 for everything that is imported, and less than 1 for each event.
LIMIT = 47 * 1024
#: A process's peak memory includes that of the process that forked it, so a small one is put in between.
MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
"""

FEW_FILES = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (%d, %d))
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A home in which half of the events wait for their first attempt, and half for their second."""
    world = World(tmp_path_factory.mktemp("scale"))
    with receiver() as one:
        world.add(one, "crm")
    queue = world.session().home.queue
    for start in range(0, EVENTS, 1_000):
        queue.accept([draft(number) for number in range(start, start + 1_000)])
    with world.held("crm") as claim:
        for _ in range(0, EVENTS // 2, 1_000):
            taken = claim.take(START, 1_000)
            claim.record([(delivery, Answer(503, "HTTP 503", 3)) for delivery in taken], START)
    queue.close()
    yield world


@pytest.fixture(scope="module")
def dead(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A home in which all events were sent to one of two destinations and are dead; some have been revived."""
    world = World(tmp_path_factory.mktemp("dead"))
    with receiver() as one, receiver() as two:
        world.add(one, "crm")
        world.add(two, "other")
    queue = world.session().home.queue
    crm = world.session().home.store.read().destinations[0].id
    for start in range(0, EVENTS, 1_000):
        queue.accept([draft(number, (crm,)) for number in range(start, start + 1_000)])
    with world.held("crm") as claim:
        for now in (START + number * 10**8 for number in range(5)):
            for _ in range(0, EVENTS, 1_000):
                taken = claim.take(now, 1_000)
                claim.record([(delivery, Answer(503, "HTTP 503", 3)) for delivery in taken], now)
    some = frozenset(f"evt_{number:06}" for number in range(2, 2 + REVIVED))
    queue.retry(Selection(destination_ids=(crm,), event_ids=some), START + 10**9)
    queue.close()
    yield world


def draft(number: int, to: tuple[str, ...] | None = None) -> Draft:
    return Draft(f"evt_{number:06}", "signal.promoted", times.to_text(START), BODY, to)


COMMANDS = {
    "queue": ["queue", "--json"],
    "list-json": ["queue", "list", "--json"],
    "list-text": ["queue", "list"],
    "list-retrying": ["queue", "list", "--state", "retrying", "--json"],
    "list-by-error": ["queue", "list", "--by", "error", "--json"],
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
    "list-by-error": lambda out: [one["count"] for one in json.loads(out)["groups"]] == [EVENTS // 2] * 2,
    "dry-run": lambda out: len(json.loads(out)["deliveries"]) == EVENTS,
    # Plus one journal line: the snapshot at its beginning.
    "check": lambda out: json.loads(out)["lines"] >= EVENTS + EVENTS // 2,
    "log": lambda out: out.count("\n") == EVENTS // 2,
    "show": lambda out: json.loads(out)["deliveries"][0]["state"] == "waiting",
    "replay": lambda out: json.loads(out)["replayed"] == EVENTS // 2,
    "drop": lambda out: json.loads(out)["dropped"] == 1,
}


@pytest.mark.parametrize("name", COMMANDS)
def test_an_answer_about_much_takes_little_memory(full: World, tmp_path: Path, name: str) -> None:
    assert_little(full, tmp_path, COMMANDS[name], FOUND[name])


DEAD_COMMANDS: dict[str, tuple[list[str], Callable[[str], bool]]] = {
    "queue": (
        ["queue", "--json"],
        lambda out: (
            [(one["waiting"], one["dead"]) for one in json.loads(out)["destinations"] if one["name"] == "crm"]
            == [(REVIVED, EVENTS - REVIVED)]
            and json.loads(out)["events"] == EVENTS
        ),
    ),
    "list": (["queue", "list", "--json"], lambda out: len(json.loads(out)["deliveries"]) == EVENTS),
    "drop": (["queue", "drop", "evt_000000", "--yes", "--json"], lambda out: json.loads(out)["dropped"] == 1),
    "retry": (["queue", "retry", "evt_000001", "--dry-run", "--json"], lambda out: json.loads(out)["retried"] == 1),
    "retry-all": (
        ["queue", "retry", "--all-dead", "--dry-run", "--json"],
        # The test before may have dropped one.
        lambda out: json.loads(out)["retried"] >= EVENTS - REVIVED - 1,
    ),
    "idle": (["drain", "--to", "other", "--json"], lambda out: json.loads(out)["attempted"] == 0),
}


@pytest.mark.parametrize("name", DEAD_COMMANDS)
def test_so_does_one_about_many_that_are_dead_or_were_for_somebody_else(dead: World, tmp_path: Path, name: str) -> None:
    assert_little(dead, tmp_path, *DEAD_COMMANDS[name])


def assert_little(world: World, tmp_path: Path, command: list[str], is_right: Callable[[str], bool]) -> None:
    said = tmp_path / "said"
    with said.open("wb") as out:
        measured = subprocess.run(
            [sys.executable, "-c", MEASURE, sys.executable, "-m", "arkcli", *command],
            stdout=out,
            stderr=subprocess.PIPE,
            check=True,
            env={**os.environ, **world.variables},
        )
    assert is_right(said.read_text())
    assert int(measured.stderr) < LIMIT


def fill(world: World, *names: str, url: str = "https://crm.example", local: bool = False) -> None:
    """Adds destinations with these names to the store."""
    with world.session().home.store.change() as current:
        current.workspace.secret = Secret("secret")
        current.destinations = [
            Destination(id=f"dst_{number}", name=name, url=f"{url}/{number}", added_at="", allow_local=local)
            for number, name in enumerate(names)
        ]


def test_a_name_is_made_up_however_many_have_that_of_the_host(world: World) -> None:
    fill(world, "crm.example", *(f"crm.example-{number}" for number in range(2, 6_001)))
    assert world.ark("dest", "add", "https://crm.example/more", "--no-ping").status == 0
    assert world.session().home.store.read().find("crm.example-6001") is not None


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
        [sys.executable, "-c", FEW_FILES % (64, 64), sys.executable, "-m", "arkcli", *words],
        env={**os.environ, **world.variables},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (len(run.stdout.splitlines()), run.stderr) == (lines, "")


def test_five_hundred_destinations_get_an_event_with_256_open_files_and_in_little_memory(world: World) -> None:
    with receiver() as server:
        fill(world, *(f"d{number}" for number in range(500)), url=server.url, local=True)
        measured = [sys.executable, "-c", MEASURE, sys.executable, "-m", "arkcli"]
        run = subprocess.run(
            [sys.executable, "-c", FEW_FILES % (256, 256), *measured, "send", "signal.promoted", "--sample", "--json"],
            env={**os.environ, **world.variables},
            capture_output=True,
            text=True,
            check=True,
        )
    statuses = [found["status"] for found in json.loads(run.stdout)["deliveries"]]
    assert statuses == [200] * 500
    assert int(run.stderr) < LIMIT
