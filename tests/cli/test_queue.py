"""`ark queue`: what is waiting, and for how long."""

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
    assert "no event in the queue has the id 'two', or one that begins so" in result.err
    assert world.ark("queue", "list").out == before
    assert world.ark("queue", command, "one", *yes).status == 0


@pytest.mark.parametrize("command", ["retry", "drop"])
def test_events_with_no_delivery_to_act_on_are_all_named_and_nothing_is_changed(
    world: World, receive: Receive, command: str
) -> None:
    world.add(receive(in_turn(200, 200, 503)), "d")
    for name in ("three", "two"):
        world.ark("send", "signal.promoted", "--id", name, stdin=PAYLOAD)
    world.ark("send", "signal.promoted", "--id", "one", stdin=PAYLOAD)
    before = world.ark("queue", "list").out
    result = world.ark("queue", command, "one", "two", "three", *(("--yes",) if command == "drop" else ()))
    assert (result.status, result.out) == (2, "")
    assert "no delivery of three, two is " in result.err
    assert world.ark("queue", "list").out == before


@pytest.mark.parametrize("given", ["evt_abc1", "evt_abc", "abc1", "abc", "a", "last"])
def test_an_id_may_be_any_unique_beginning_of_it_with_or_without_its_prefix_or_last(
    world: World, receive: Receive, given: str
) -> None:
    world.add(receive(503), "d")
    for event_id in ("evt_b1", "evt_b2", "evt_abc1"):
        world.ark("send", "signal.promoted", "--id", event_id, stdin=PAYLOAD)

    shown = world.ark("queue", "show", given, "--json")
    assert (shown.status, shown.json["event"]["id"]) == (0, "evt_abc1")
    assert world.ark("queue", "retry", given, "--json").json == {"retried": 1}
    assert world.ark("queue", "drop", given, "--yes", "--json").json == {"dropped": 1}
    assert world.ark("replay", given, "--json").json == {"replayed": 1}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("b", "several events have an id that begins with 'b', such as evt_b1 and evt_b2; give more of it"),
        ("evt_", "several events have an id that begins with 'evt_', such as evt_b1 and evt_b2; give more of it"),
        ("c", "no event in the queue has the id 'c', or one that begins so"),
        ("", "no event in the queue has the id '', or one that begins so"),
    ],
)
def test_a_beginning_of_several_ids_or_of_none_is_refused(
    world: World, receive: Receive, given: str, says: str
) -> None:
    world.add(receive(503), "d")
    for event_id in ("evt_b1", "evt_b2"):
        world.ark("send", "signal.promoted", "--id", event_id, stdin=PAYLOAD)

    for words in (("queue", "show", given), ("queue", "retry", given), ("replay", given)):
        result = world.ark(*words)
        assert (result.status, says in result.err) == (2, True)


def test_the_whole_id_of_one_event_may_be_the_beginning_of_another(world: World, receive: Receive) -> None:
    world.add(receive(503), "d")
    for event_id in ("evt_1", "evt_10"):
        world.ark("send", "signal.promoted", "--id", event_id, stdin=PAYLOAD)

    assert world.ark("queue", "show", "evt_1", "--json").json["event"]["id"] == "evt_1"


def test_the_last_event_of_an_empty_queue_is_refused_with_what_to_do(world: World, receive: Receive) -> None:
    world.add(receive(200), "d")
    result = world.ark("queue", "show", "last")
    assert (result.status, "the queue has no event yet; send one with `ark send`" in result.err) == (2, True)


def test_the_last_event_may_be_as_large_as_a_body_may_be(world: World, receive: Receive) -> None:
    world.add(receive(200), "d")
    payload = PAYLOAD.rstrip()[:-1] + b', "more": "' + b"x" * 1_000_000 + b'"}'
    world.ark("send", "signal.promoted", "--id", "large", stdin=payload)
    assert world.ark("queue", "show", "last", "--json").json["event"]["id"] == "large"


def saying(body: bytes) -> bytes:
    return b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b'{"error": "lead table is locked"}', 'answered 500, not a 2xx: {"error": "lead table is locked"}'),
        (b"Traceback\n\n  line 3\n", "answered 500, not a 2xx: Traceback line 3"),
        (b"\x1b[2Jgone", "answered 500, not a 2xx: [2Jgone"),
        (b"x" * 300, f"answered 500, not a 2xx: {'x' * 200}…"),
        (b"", "answered 500, not a 2xx"),
    ],
)
def test_what_a_receiver_said_with_a_failure_is_shown_by_send_and_by_queue_show(
    world: World, receive: Receive, body: bytes, shown: str
) -> None:
    server = receive(200)
    server.behave = lambda _: saying(body)
    world.add(server, "d")

    assert world.ark("send", "signal.promoted", "--id", "one", stdin=PAYLOAD).out.split("\t")[2] == shown
    assert world.ark("queue", "show", "one").out.splitlines()[-1].split("\t")[-1] == shown
    assert shown == "answered 500, not a 2xx" or shown not in world.ark("log").out


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
    assert (result.status, "Did you mean 'signal.promoted'?" in result.err) == (2, True)


def test_with_nothing_to_list_it_says_so_beside_the_data(world: World, receive: Receive) -> None:
    world.add(receive(200), "d")
    for command, remark in (
        (("queue", "list"), "no delivery matches"),
        (("drain", "--dry-run"), "nothing would be"),
        (("log", "--outcome", "failed"), "no attempt matches"),
    ):
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
