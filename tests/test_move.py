"""`ark queue move`: the queue and the store from files to a database, and back."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.postgres import query
from tests.world import PAYLOAD, TestReceiver, World, in_turn

Receive = Callable[..., TestReceiver]
#: Commands that show what is in the queue and the store, in every form.
SHOWN = (
    ("queue",),
    ("queue", "list"),
    ("queue", "list", "--state", "dead"),
    ("queue", "list", "--by", "error"),
    ("log",),
    ("log", "-v"),
    ("log", "--stats"),
    ("dest", "list"),
    ("dest", "show", "crm"),
    ("secret", "show"),
    *(("queue", "show", found) for found in ("delivered", "retrying", "dead", "revived", "dropped", "replayed", "to")),
)

#: Where the store is; the size of the log; and when an event was accepted that is sent again: the local engine's log has
#: a second line for it.
DIFFERS = {"source", "bytes", "accepted_at", "oldest_at"}


def shown(world: World) -> dict[str, tuple[list[object], int]]:
    """What the commands show."""
    found: dict[str, tuple[list[object], int]] = {}
    for words in SHOWN:
        result = world.ark(*words, "--json")
        found[" ".join(words)] = [_same(json.loads(line)) for line in result.out.splitlines()], result.status
    return found


def changed(world: World, before: dict[str, tuple[list[object], int]]) -> dict[str, object]:
    """What the commands show otherwise than before."""
    return {words: found for words, found in shown(world).items() if found != before[words]}


def _same(document: object) -> object:
    if isinstance(document, dict):
        return {key: _same(value) for key, value in document.items() if key not in DIFFERS}
    if isinstance(document, list):
        # What is sent again has another place among what waits.
        return sorted((_same(one) for one in document), key=str)
    return document


def build(world: World, receive: Receive) -> None:
    """A home in which deliveries have every state."""
    crm, lake, other = receive(200), receive(503), receive(200)
    world.add(crm, "crm", "--header", "Authorization: Bearer tok_hidden")
    world.add(lake, "lake", "--own-secret")

    def send(name: str, *options: str) -> None:
        world.ark("send", "signal.promoted", "--id", name, *options, stdin=PAYLOAD)

    for name in ("dead", "revived", "dropped", "delivered"):
        send(name)
    for _ in range(12):
        world.clock.advance(7200)
        world.ark("drain")
    world.ark("queue", "drop", "dropped", "--to", "lake")
    world.clock.advance(1)
    send("retrying")
    send("replayed", "--to", "crm")
    world.ark("replay", "replayed", "--to", "crm", "--queue")
    world.add(other, "other")
    world.ark("dest", "pause", "other")
    send("to", "--to", "other", "--queue")
    send("waiting", "--queue")
    # Last: in files, what is sent again is behind everything else after a move.
    world.ark("queue", "retry", "revived", "--to", "lake")


def test_every_command_shows_the_same_before_and_after_a_move_and_back_again(
    world: World, receive: Receive, empty_database: str
) -> None:
    build(world, receive)
    before, document = shown(world), world.store_file.read_bytes()
    assert {words: result for words, result in before.items() if result[1]} == {}

    moved = world.ark("queue", "move", empty_database, "--yes", "--json")
    counts = {"events": 8, "attempts": len(before["log"][0]), "deliveries": 9}
    assert (moved.status, moved.json) == (0, {"moved": counts})
    assert changed(world, before) == {}
    assert world.store_file.read_text().startswith("version = 1\n\n[queue]\nurl = ")
    assert sorted(path.name for path in world.queue_directory.iterdir()) == ["VERSION", "lock", "move.json"]

    back = world.ark("queue", "move", "local", "--yes", "--json")
    assert back.json == moved.json
    assert changed(world, before) == {}
    assert world.store_file.read_bytes() == document
    assert query(empty_database, "select state, (select count(*) from ark.event) from ark.meta") == [("moved", 0)]
