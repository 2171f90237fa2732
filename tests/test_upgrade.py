"""An upgrade loses nothing: a store and a queue written by version 0.1.0 are read as they are, and delivered.

tests/fixtures/home-0.1.0 was written by the commands of commit d8aa743, with small segments, so that there are several.
The ids of its events say what they are. Two lines were then damaged by hand: the event line of `damaged-event`, and,
at billing, the journal line of the first failure of `damaged-journal-line`. The second failure builds on that line, and
the snapshot at the head of the next segment had counted it.

expected.json is the output of that version, command by command. None of it depends on the clock: it was the same at
the fixture's end and ten days later, so the whole output is compared. One mistake is corrected there: for a delivery
that waits again, `ark queue show` printed the state after its last attempt. The files that `ark queue check` names are
relative to the home. The tests use only commands and no class of the queue, so the code behind them may change.
"""

import base64
import hashlib
import hmac
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.world import PAYLOAD, Request, Result, TestReceiver, World

FIXTURE: Final = Path(__file__).parent / "fixtures" / "home-0.1.0"
EXPECTED: Final[list[dict[str, Any]]] = json.loads((FIXTURE / "expected.json").read_text("utf-8"))
#: The fixture begins when the tests' clock does, and ends three and a half hours later; after a day everything is due.
LATER: Final = 86_400
SECRET: Final = "arksec_" + "ab" * 32
SECRET_OF_BILLING: Final = "arksec_" + "cd" * 32
#: Counts by destination, event id and attempt.
Deliveries = Counter[tuple[str, str, int]]
Receive = Callable[..., TestReceiver]


@pytest.fixture
def old(tmp_path: Path) -> World:
    """A home as version 0.1.0 left it. Git does not store all modes, so this restores them."""
    home = tmp_path / "home"
    for part in ("config", "state"):
        shutil.copytree(FIXTURE / part, home / part)
    for path in (home, *home.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    world = World(home)
    world.clock.advance(LATER)
    return world


def said(world: World, *command: str) -> Any:
    """A command's JSON output; `ark log` prints one object per line."""
    result = world.ark(*command)
    return read(world, command, result)


def read(world: World, command: tuple[str, ...], result: Result) -> Any:
    assert result.err == "", result
    text = result.out.replace(f"{world.home}/", "")
    return [json.loads(line) for line in text.splitlines()] if command[0] == "log" else json.loads(text)


def expected(*command: str) -> Any:
    """The output of version 0.1.0 for a command."""
    (found,) = (one["says"] for one in EXPECTED if one["command"] == list(command))
    return found


def pending(*states: str) -> Iterator[dict[str, Any]]:
    """The unfinished deliveries according to version 0.1.0, in these states."""
    deliveries = expected("queue", "list", "--json")["deliveries"]
    return (found for found in deliveries if found["state"] in states)


def following(found: dict[str, Any]) -> tuple[str, str, int]:
    """The next attempt of a waiting or retrying delivery."""
    return found["destination"], found["event_id"], found["attempt"] + 1


def ids() -> dict[str, str]:
    """The destinations' ids, by name."""
    return {found["name"]: found["id"] for found in expected("dest", "list", "--json")["destinations"]}


def contents(world: World) -> dict[Path, bytes]:
    """Every file of a home except its locks."""
    found = (path for path in world.home.rglob("*") if path.is_file() and not path.name.endswith("lock"))
    return {path: path.read_bytes() for path in found}


def lead_to(world: World, receiver: TestReceiver) -> None:
    """Points every destination to a receiver, each with its own path."""
    for name in ids():
        url = f"http://127.0.0.1:{receiver.port}/{name}"
        assert world.ark("dest", "set", name, "--url", url, "--no-ping", "--allow-local").status == 0


def received(receiver: TestReceiver) -> Deliveries:
    """What a receiver was sent since the last call."""
    names = {found: name for name, found in ids().items()}
    found: Deliveries = Counter()
    for request in receiver.requests:
        event_id, _, destination_id = request.delivery.rpartition(".")
        name = names[destination_id]
        assert request.line == f"POST /{name} HTTP/1.1"
        check(name, event_id, request)
        found[name, event_id, request.attempt] += 1
    receiver.requests.clear()
    return found


def check(name: str, event_id: str, request: Request) -> None:
    """Checks that a request has the accepted body and is signed with the destination's secret."""
    assert request.body.decode() == expected("queue", "show", event_id, "--json")["event"]["body"]
    secret = SECRET_OF_BILLING if name == "billing" else SECRET
    assert request.signature == hmac.digest(secret.encode(), request.body, hashlib.sha256).hex()
    assert request.headers.get("x-api-key") == ("not-a-real-key" if name == "billing" else None)


def test_the_fixture_holds_a_delivery_of_every_kind() -> None:
    assert {(found["state"], found["attempt"]) for found in pending("waiting", "retrying", "dead")} == {
        ("waiting", 0),
        *(("retrying", failed) for failed in (1, 2, 3, 4)),
        ("dead", 5),
    }
    shown = [one["says"] for one in EXPECTED if one["command"][:2] == ["queue", "show"]]
    states = {delivery["state"] for one in shown for delivery in one["deliveries"]}
    assert states == {"waiting", "retrying", "delivered", "dead", "dropped"}
    log = b"".join(path.read_bytes() for path in sorted((FIXTURE / "state/queue/events").glob("*.jsonl")))
    for part in (b'"raw":"', b'"to":["', b'"instead":{"', b'"instead":{}'):
        assert part in log
    assert len(list(FIXTURE.glob("state/queue/destinations/*/journal/*.jsonl"))) > len(ids())
    assert len(list(FIXTURE.glob("state/queue/destinations/*/checkpoint.json"))) == 1
    assert [found["name"] for found in expected("dest", "list", "--json")["destinations"] if found["paused"]]
    assert len(expected("queue", "check", "--json")["damaged"]) == 2


def without_new_keys(now: Any, then: Any) -> Any:
    """What is said now, without the keys that were added to objects since."""
    if isinstance(now, dict) and isinstance(then, dict):
        return {key: without_new_keys(value, then[key]) for key, value in now.items() if key in then}
    if isinstance(now, list) and isinstance(then, list) and len(now) == len(then):
        return [without_new_keys(*both) for both in zip(now, then, strict=True)]
    return now


@pytest.mark.parametrize("one", EXPECTED, ids=lambda one: " ".join(one["command"]))
def test_todays_ark_says_of_an_old_home_what_the_old_one_said(old: World, one: dict[str, Any]) -> None:
    command = tuple(one["command"])
    before = contents(old)
    result = old.ark(*command)
    assert result.status == one["status"]
    assert without_new_keys(read(old, command, result), one["says"]) == one["says"]
    assert contents(old).items() >= before.items()


def test_what_waited_or_was_retrying_is_delivered_exactly_once_and_nothing_else(old: World, receive: Receive) -> None:
    receiver = receive(200)
    lead_to(old, receiver)
    left = list(pending("waiting", "retrying"))

    assert old.ark("drain", "--json").json["dead"] == 0
    assert received(receiver) == Counter(following(found) for found in left if found["destination"] != "archive")

    # It was paused, so its deliveries still wait.
    assert old.ark("dest", "resume", "archive").status == 0
    assert old.ark("drain", "--json").json["dead"] == 0
    assert received(receiver) == Counter(following(found) for found in left if found["destination"] == "archive")

    old.clock.advance(LATER)
    assert old.ark("drain", "--json").json["attempted"] == 0
    assert received(receiver) == Counter()
    dead = list(pending("dead"))
    assert said(old, "queue", "list", "--json")["deliveries"] == dead
    assert said(old, "queue", "check", "--json")["damaged"] == expected("queue", "check", "--json")["damaged"]


def test_a_user_name_and_password_of_the_old_store_go_along(old: World, receive: Receive) -> None:
    receiver = receive(200)
    store = old.store_file.read_text("utf-8")
    # Edit the file, because `ark dest set --url` would replace or remove the user name and password.
    old.store_file.write_text(
        store.replace('"https://archive.example.com/in"', f'"{receiver.url}"\nallow_local = true'), "utf-8"
    )
    assert old.ark("dest", "resume", "archive").status == 0
    assert old.ark("drain", "--to", "archive").status == 0
    credentials = "Basic " + base64.b64encode(b"ark:not-a-password").decode()
    assert {request.headers["authorization"] for request in receiver.requests} == {credentials}


def test_what_was_dead_is_revived_and_delivered(old: World, receive: Receive) -> None:
    receiver = receive(200)
    lead_to(old, receiver)
    assert old.ark("dest", "resume", "archive").status == 0
    assert old.ark("drain").status == 0
    received(receiver)
    dead = list(pending("dead"))

    assert said(old, "queue", "retry", "--all-dead", "--json") == {"retried": len(dead)}
    assert old.ark("drain", "--json").json["delivered"] == len(dead)

    assert received(receiver) == Counter((found["destination"], found["event_id"], 1) for found in dead)
    assert said(old, "queue", "list", "--json") == {"deliveries": []}
    assert said(old, "queue", "retry", "--all-dead", "--json") == {"retried": 0}


def test_an_event_that_the_old_one_accepted_is_known_by_its_id(old: World) -> None:
    shown = [one["says"]["event"] for one in EXPECTED if one["command"][:2] == ["queue", "show"]]
    before = contents(old)
    for event in shown:
        command = ("send", event["type"], "--id", event["id"], "--raw", "--json")
        assert old.ark(*command, stdin=event["body"].encode()).json["repeated"]
    assert contents(old).items() >= before.items()


def test_an_event_that_is_accepted_today_stands_behind_the_old_ones(old: World, receive: Receive) -> None:
    receiver = receive(200)
    lead_to(old, receiver)
    events = expected("queue", "--json")["events"]
    sent = old.ark("send", "signal.promoted", "--json", stdin=PAYLOAD).json
    assert {found["destination"]: found["outcome"] for found in sent["deliveries"]} == {
        name: "waiting" if name == "archive" else "delivered" for name in ids()
    }
    assert {request.delivery.partition(".")[0] for request in receiver.requests} == {sent["event"]["id"]}
    assert said(old, "queue", "--json")["events"] == events + 1
    left = said(old, "queue", "list", "--json")["deliveries"]
    assert [found for found in left if found["event_id"] != sent["event"]["id"]] == list(
        pending("waiting", "retrying", "dead")
    )
    assert said(old, "queue", "check", "--json")["damaged"] == expected("queue", "check", "--json")["damaged"]
