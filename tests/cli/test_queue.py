"""`ark queue`: what waits, and for how long."""

from collections.abc import Callable

from arkcli import times
from tests.world import PAYLOAD, START, TestReceiver, World, in_turn

Receive = Callable[..., TestReceiver]


def test_the_summary_counts_every_state(world: World, receive: Receive) -> None:
    server = receive(500)
    world.add(server, "d")
    for _ in range(3):
        world.ark("send", "signal.promoted", stdin=PAYLOAD)
    world.clock.advance(30)
    server.behave = in_turn(500)
    world.ark("send", "signal.promoted", "--queue", stdin=PAYLOAD)
    found = world.ark("queue", "--json").json
    assert found.keys() == {"destinations", "events", "bytes"}
    assert found["events"] == 4
    assert found["bytes"] == sum(len(line) + 1 for line in world.event_lines)
    assert found["destinations"] == [
        {
            "name": "d",
            "waiting": 1,
            "retrying": 3,
            "retry_lanes": [3, 0, 0, 0],
            "dead": 0,
            "next_due_at": times.to_text(START + 30_000),
            "oldest_at": times.to_text(START),
        }
    ]
    world.ark("drain")
    assert world.ark("queue", "--json").json["destinations"][0]["retry_lanes"] == [1, 3, 0, 0]


def test_events_for_others_are_not_counted(world: World, receive: Receive) -> None:
    for name in ("a", "b"):
        world.add(receive(200), name)
    world.ark("send", "signal.promoted", "--queue", stdin=PAYLOAD)
    world.ark("send", "signal.promoted", "--queue", "--to", "a", stdin=PAYLOAD)
    world.ark("send", "signal.promoted", "--queue", "--to", "a", stdin=PAYLOAD)
    waiting = {found["name"]: found["waiting"] for found in world.ark("queue", "--json").json["destinations"]}
    assert waiting == {"a": 3, "b": 1}
    world.ark("drain", "--to", "b")
    waiting = {found["name"]: found["waiting"] for found in world.ark("queue", "--json").json["destinations"]}
    assert waiting == {"a": 3, "b": 0}


def test_an_empty_queue(world: World) -> None:
    assert world.ark("queue", "--json").json == {"destinations": [], "events": 0, "bytes": 0}


def test_a_list_that_cannot_be_read_to_its_end_is_one_json_object_with_the_error_in_it(world: World) -> None:
    for name in ("a", "b"):
        world.ark("dest", "add", f"https://{name}.example/", "--name", name, "--no-ping")
    world.ark("send", "signal.promoted", "--sample", "--queue")
    _, journal = sorted((world.queue_directory / "destinations").glob("*/journal/*.jsonl"))
    journal.unlink()
    journal.mkdir()
    result = world.ark("queue", "list", "--json")
    assert (result.status, result.err) == (1, "")
    assert [found["destination"] for found in result.json["deliveries"]] == ["a"]
    assert result.json["error"]["message"] == f"{journal}: Is a directory"
