"""`ark queue`: what waits, and for how long."""

from collections.abc import Callable
from pathlib import Path

import pytest

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
            "held_back": None,
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


@pytest.mark.parametrize("command", ["retry", "drop"])
@pytest.mark.parametrize("options", [(), ("--all-dead",)])
def test_an_id_that_matches_nothing_is_named_and_nothing_is_changed(
    world: World, receive: Receive, command: str, options: tuple[str, ...]
) -> None:
    world.add(receive(503), "d")
    world.ark("send", "signal.promoted", "--id", "one", stdin=PAYLOAD)
    yes = ("--yes",) if command == "drop" else ()
    before = world.ark("queue", "list").out
    result = world.ark("queue", command, "one", "two", "three", *options, *yes)
    assert (result.status, result.out) == (2, "")
    assert "no delivery of three, two is " in result.err
    assert world.ark("queue", "list").out == before
    assert world.ark("queue", command, "one", *yes).status == 0


def test_where_nothing_is_dead_dropping_all_that_is_dead_asks_nothing(world: World, receive: Receive) -> None:
    world.add(receive(503), "d")
    world.ark("send", "signal.promoted", stdin=PAYLOAD)
    assert world.ark("queue", "drop", "--all-dead", "--json") == (0, '{"dropped": 0}\n', "")


@pytest.mark.parametrize("words", [("list",), ("check",)])
def test_metrics_are_refused_where_none_would_be_written(world: World, tmp_path: Path, words: tuple[str, ...]) -> None:
    result = world.ark("queue", "--prometheus", str(tmp_path / "ark.prom"), *words)
    assert (result.status, "`ark queue` alone" in result.err) == (2, True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [("queue", "list"), ("log",), ("log", "-f"), ("replay", "--since", "-1h")])
def test_an_event_that_does_not_exist_is_refused_wherever_it_is_named(world: World, command: tuple[str, ...]) -> None:
    result = world.ark(*command, "--event", "signal.promted")
    assert (result.status, "did you mean 'signal.promoted'?" in result.err) == (2, True)


def test_with_nothing_to_list_it_says_so_beside_the_data(world: World, receive: Receive) -> None:
    world.add(receive(200), "d")
    for command, remark in ((("queue", "list"), "no delivery matches"), (("drain", "--dry-run"), "nothing would be")):
        result = world.ark(*command)
        assert (result.status, result.out) == (0, "")
        assert remark in result.err
        assert world.ark(*command, "--quiet").err == ""


def test_only_states_of_what_is_not_done_can_be_listed(world: World) -> None:
    refused = world.ark("queue", "list", "--state", "delivered")
    assert refused.status == 2
    assert "'waiting', 'retrying', 'dead'" in refused.err


def test_what_failed_while_the_clock_was_ahead_is_shown_to_be_due_now(world: World, receive: Receive) -> None:
    world.add(receive(500), "d")
    world.clock.advance(365 * 86_400)
    world.ark("send", "signal.promoted", stdin=PAYLOAD)
    world.ark("send", "signal.promoted", "--queue", stdin=PAYLOAD)
    world.clock.advance(-365 * 86_400)
    now = times.to_text(world.clock.now())
    deliveries = world.ark("queue", "list", "--json").json["deliveries"]
    assert [(found["state"], found["next_attempt_at"]) for found in deliveries] == [("retrying", now), ("waiting", now)]
    assert world.ark("queue", "--json").json["destinations"][0]["next_due_at"] == now
    assert len(world.ark("drain", "--dry-run", "--json").json["deliveries"]) == 2
    assert world.ark("drain", "--json").json["attempted"] == 2


@pytest.mark.parametrize(("command", "state"), [("retry", "retrying"), ("retry", "dead"), ("replay", "delivered")])
def test_what_is_sent_again_is_shown_to_wait_as_it_is_listed_with_the_attempts_before(
    world: World, receive: Receive, command: str, state: str
) -> None:
    server = receive(200 if state == "delivered" else 500)
    world.add(server, "d")
    world.ark("send", "signal.promoted", "--id", "one", stdin=PAYLOAD)
    for delay in (30, 300, 1800, 7200) if state == "dead" else ():
        world.clock.advance(delay)
        world.ark("drain")

    def shown() -> tuple[str, list[int]]:
        (found,) = world.ark("queue", "show", "one", "--json").json["deliveries"]
        return found["state"], [attempt["attempt"] for attempt in found["attempts"]]

    before = shown()
    assert before[0] == state
    world.ark(*(("queue", "retry") if command == "retry" else ("replay",)), "one")
    assert [found["state"] for found in world.ark("queue", "list", "--json").json["deliveries"]] == ["waiting"]
    assert shown() == ("waiting", before[1])
    world.ark("drain")
    assert shown()[1] == [*before[1], 1]
