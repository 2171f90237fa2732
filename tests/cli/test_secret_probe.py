"""`ark secret rotate --probe`: a new secret is used only once every receiver accepts it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.world import TestReceiver, World, answer

ROOT = Path(__file__).parent.parent.parent
Receive = Callable[..., TestReceiver]


@pytest.fixture
def listen(world: World) -> Iterator[Callable[..., str]]:
    """Starts `ark listen` with these secrets; returns its URL."""
    processes: list[subprocess.Popen[str]] = []

    def start(*secrets: str) -> str:
        words = [word for secret in secrets for word in ("--secret", secret)]
        process = subprocess.Popen(
            [sys.executable, "-m", "arkcli", "listen", "--port", "0", "--json", *words],
            cwd=ROOT,
            env={**os.environ, **world.variables},
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdout is not None
        return str(json.loads(process.stdout.readline())["listening"])

    yield start
    for process in processes:
        with process:
            process.kill()


@pytest.fixture
def new(world: World, tmp_path: Path) -> tuple[str, ...]:
    """The options that name the file with the new secret; the current one is set, too."""
    world.ark("secret", "set", stdin=b"old")
    (tmp_path / "new.txt").write_text("new\n")
    return "--probe", "--secret-file", str(tmp_path / "new.txt")


def secret(world: World) -> str:
    return world.ark("secret", "show", "--reveal").out.strip()


def test_a_secret_that_every_receiver_accepts_is_used_and_one_that_some_refuse_is_not(
    world: World, listen: Callable[..., str], new: tuple[str, ...]
) -> None:
    world.ark("dest", "add", listen("old", "new"), "--allow-local", "--name", "both")
    world.ark("dest", "add", listen("old"), "--allow-local", "--name", "one")
    before = world.store_file.read_text()

    refused = world.ark("secret", "rotate", *new)
    assert refused.status == 1
    both, one = refused.out.splitlines()
    assert both.startswith("both\tdelivered\t200\t")
    assert one.startswith("one\tfailed\tanswered 401, not a 2xx")
    assert "nothing was changed: one does not accept a ping signed with the new secret. Make your" in refused.err
    assert world.store_file.read_text() == before

    world.ark("dest", "remove", "one", "--yes")
    done = world.ark("secret", "rotate", *new)
    assert (done.status, secret(world)) == (0, "new")
    assert 'previous = "old"' in world.store_file.read_text()
    assert "your receivers accept the new secret; the one before is `previous` in" in done.err


def test_as_json_it_says_what_each_receiver_answered(world: World, receive: Receive, new: tuple[str, ...]) -> None:
    receivers = {name: receive(200) for name in ("fine", "broken")}
    for name, made in receivers.items():
        world.add(made, name)
    receivers["broken"].behave = lambda _: answer(500)
    result = world.ark("secret", "rotate", *new, "--json")
    assert result.status == 1
    assert result.json.keys() == {"secret", "source", "probe"}
    assert [(ping["destination"], ping["outcome"], ping["status"]) for ping in result.json["probe"]] == [
        ("fine", "delivered", 200),
        ("broken", "failed", 500),
    ]
    assert secret(world) == "old"
    receivers["broken"].behave = lambda _: answer(204)
    assert world.ark("secret", "rotate", *new, "--json").json["probe"][1]["status"] == 204
    assert secret(world) == "new"


def test_only_destinations_that_use_the_shared_secret_and_are_not_paused_are_asked(
    world: World, receive: Receive, new: tuple[str, ...]
) -> None:
    receivers = {name: receive(200) for name in ("shared", "own", "paused")}
    for name, made in receivers.items():
        world.add(made, name, *(("--own-secret",) if name == "own" else ()))
    world.ark("dest", "pause", "paused")
    before = {name: len(made.requests) for name, made in receivers.items()}
    result = world.ark("secret", "rotate", *new)
    assert result.status == 0
    assert "paused is paused and got no ping" in result.err
    assert "your receivers need the new secret" in result.err
    assert {name: len(made.requests) - before[name] for name, made in receivers.items()} == {
        "shared": 1,
        "own": 0,
        "paused": 0,
    }


def test_without_a_destination_it_is_a_plain_rotate(world: World) -> None:
    assert world.ark("secret", "rotate", "--probe", "--json").json["probe"] == []
    first = secret(world)
    assert world.ark("secret", "rotate", "--probe").status == 0
    assert first != secret(world)


def test_a_generated_secret_can_be_probed_too_and_if_it_is_refused_it_says_how_to_go_on(
    world: World, listen: Callable[..., str]
) -> None:
    world.ark("secret", "set", stdin=b"old")
    world.ark("dest", "add", listen("old"), "--allow-local")
    result = world.ark("secret", "rotate", "--probe")
    assert (result.status, secret(world)) == (1, "old")
    assert "run `ark secret rotate --probe --secret-file FILE`" in result.err


def test_with_reveal_standard_output_is_the_new_secret_alone(
    world: World, receive: Receive, new: tuple[str, ...]
) -> None:
    world.add(receive(200), "crm")
    assert world.ark("secret", "rotate", *new, "--reveal").out == "new\n"


def test_a_refused_secret_is_not_revealed_in_place_of_the_current_one(
    world: World, receive: Receive, new: tuple[str, ...]
) -> None:
    made = receive(200)
    world.add(made, "crm")
    made.behave = lambda _: answer(401)
    for form in ((), ("--json",)):
        result = world.ark("secret", "rotate", *new, "--reveal", *form)
        assert result.status == 1
        assert "old" not in result.out.replace("hold", "")
        assert "new" not in result.out


def test_on_a_terminal_it_asks_before_it_pings(world: World, receive: Receive, new: tuple[str, ...]) -> None:
    made = receive(200)
    world.add(made, "crm")
    pinged = len(made.requests)
    refused = world.answered(b"n\n", "secret", "rotate", *new)
    assert (refused.status, len(made.requests), secret(world)) == (130, pinged, "old")
    assert world.answered(b"y\n", "secret", "rotate", *new).status == 0
    assert (len(made.requests), secret(world)) == (pinged + 1, "new")
