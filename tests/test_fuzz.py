"""Random bytes wherever `ark` reads: a documented exit status and a message, never a traceback, never a hang.

`World.ark` runs a command in this process and does not catch what `ark` does not catch, so a traceback fails the test.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arkcli.errors import ExitCode
from tests.queue.local.machine import MEMORY
from tests.world import PAYLOAD, World, receiver

READING: Final = (
    ("dest", "list"),
    ("queue",),
    ("queue", "list"),
    ("queue", "show", "event-3"),
    ("queue", "check"),
    ("log",),
    ("drain", "--dry-run"),
    ("replay", "--since", "-7d", "--dry-run"),
)
CHANGING: Final = (
    ("send", "signal.promoted", "--queue", "--id", "event-9"),
    ("queue", "retry", "--all-dead"),
    ("queue", "drop", "--all-dead", "--yes"),
    ("drain",),
    ("secret", "show"),
    ("dest", "pause", "crm"),
)


class Damage:
    """One way to damage a file."""

    def __init__(self, at: int, cut: int, put: bytes) -> None:
        self.at, self.cut, self.put = at, cut, put

    def __repr__(self) -> str:
        return f"Damage({self.at}, {self.cut}, {self.put!r})"

    def apply(self, content: bytes) -> bytes:
        at = self.at % (len(content) + 1)
        return content[:at] + self.put + content[at + self.cut :]


WORDS = [
    b'"',
    b"}",
    b"{",
    b"\n",
    b"\r\n",
    b"\0" * 9,
    b'{"crc":"',
    b"[" * 5_000,
    b"1e999",
    b"\xff",
    b'"body":',
    b"-1",
    b"]",
]
damage = st.builds(
    Damage, st.integers(0, 1 << 16), st.integers(0, 300), st.binary(max_size=40) | st.sampled_from(WORDS)
)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with a history: events delivered, retrying, dead, and replayed."""
    world = World(tmp_path_factory.mktemp("good"))
    with receiver(500) as failing, receiver(200) as taking:
        world.add(failing, "crm", "--own-secret", "--header", "Authorization: Bearer x")
        world.add(taking, "lake", "--description", "all of it")
        for number in range(6):
            world.ark("send", "signal.promoted", "--id", f"event-{number}", stdin=PAYLOAD)
            world.clock.advance(7_201)
            world.ark("drain")
        world.ark("queue", "retry", "--all-dead")
        world.ark("send", "signal.promoted", "--queue", stdin=PAYLOAD)
    assert world.ark("queue", "check").status == 0
    yield world.home


@contextmanager
def copied(good: Path) -> Iterator[World]:
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        home = Path(name) / "home"
        shutil.copytree(good, home)
        yield World(home)


def all_commands_are_legal(world: World, *form: str) -> None:
    world.clock.advance(100_000)
    for command in (*READING, *CHANGING, *READING[:3]):
        result = world.ark(*command, *form, stdin=PAYLOAD)
        assert result.status in set(ExitCode), (command, result)
        if form:
            assert result.status or '{"error"' not in result.out, (command, result)
        elif result.status in (ExitCode.USAGE, ExitCode.UNREADABLE) and command != ("queue", "check"):
            assert result.err.startswith("error: "), (command, result)


forms = st.sampled_from([(), ("--json",)])


@settings(max_examples=12)
@given(spoiled=st.lists(damage, min_size=1, max_size=3), form=forms)
def test_a_store_of_wild_bytes(good: Path, spoiled: list[Damage], form: tuple[str, ...]) -> None:
    with copied(good) as world:
        content = world.store_file.read_bytes()
        for one in spoiled:
            content = one.apply(content)
        world.store_file.write_bytes(content)
        all_commands_are_legal(world, *form)


@settings(max_examples=12)
@given(spoiled=st.lists(st.tuples(st.integers(0, 20), damage), min_size=1, max_size=4), form=forms)
def test_a_queue_of_wild_bytes(good: Path, spoiled: list[tuple[int, Damage]], form: tuple[str, ...]) -> None:
    with copied(good) as world:
        found = sorted(path for path in world.queue_directory.rglob("*") if path.is_file() and path.name != "VERSION")
        for which, one in spoiled:
            path = found[which % len(found)]
            path.write_bytes(one.apply(path.read_bytes()))
        all_commands_are_legal(world, *form)
        world.ark("queue", "check", "--repair")
        assert world.ark("queue", "check").status == 0


@settings(max_examples=40)
@given(payload=st.binary(max_size=200) | st.builds(lambda one: one.apply(PAYLOAD), damage))
@pytest.mark.parametrize("options", [(), ("--no-validate",)], ids=["validated", "not"])
def test_a_payload_of_wild_bytes(good: Path, options: tuple[str, ...], payload: bytes) -> None:
    with copied(good) as world:
        before = world.event_lines
        result = world.ark("send", "signal.promoted", "--queue", *options, "--json", stdin=payload)
        assert result.status in (ExitCode.DONE, ExitCode.USAGE), result
        assert len(world.event_lines) - len(before) == (result.status == ExitCode.DONE)
        if result.status:
            assert result.json["error"]["message"].startswith("$")
