"""An operator's commands on the queue: list, show, retry, drop, check, replay, log."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.world import PAYLOAD, TestReceiver, World, answer, in_turn

Receive = Callable[..., TestReceiver]


def send(world: World, *options: str, event_id: str = "evt-1") -> None:
    world.ark("send", "signal.promoted", "--id", event_id, *options, stdin=PAYLOAD)


def die(world: World) -> None:
    """Lets retrying deliveries fail until they are dead."""
    for delay in (30, 300, 1800, 7200):
        world.clock.advance(delay)
        world.ark("drain")


def states(world: World) -> list[tuple[str, str, int]]:
    found = world.ark("queue", "list", "--json").json["deliveries"]
    return [(one["event_id"], one["state"], one["attempt"]) for one in found]


def test_list_shows_what_is_not_done(world: World, receive: Receive) -> None:
    world.add(receive(200), "good")
    world.add(receive(500), "bad")
    send(world)
    send(world, "--queue", event_id="evt-2")
    (retrying, *waiting) = sorted(
        world.ark("queue", "list", "--json").json["deliveries"], key=lambda found: str(found["event_id"])
    )
    assert retrying.keys() == {
        "event_id", "event", "destination", "state", "attempt", "next_attempt_at", "last_status", "last_error",
        "accepted_at",
    }  # fmt: skip
    assert (retrying["destination"], retrying["state"], retrying["last_status"]) == ("bad", "retrying", 500)
    assert [found["state"] for found in waiting] == ["waiting", "waiting"]

    def count(*options: str) -> int:
        return len(world.ark("queue", "list", *options, "--json").json["deliveries"])

    assert count("--to", "bad") == 2
    assert count("--state", "retrying") == 1
    assert count("--event", "social.lead_promoted") == 0
    assert count("-n", "1") == 1
    assert world.ark("queue", "list", "--state", "nonsense").status == 2


def test_show_tells_of_every_attempt_at_every_destination(world: World, receive: Receive) -> None:
    good, bad = receive(200), receive(lambda _: answer(503, b"busy"))
    world.add(good, "good")
    world.add(bad, "bad")
    send(world)
    world.clock.advance(30)
    world.ark("drain")
    shown = world.ark("queue", "show", "evt-1", "--json").json
    assert shown["event"]["body"] == good.requests[0].body.decode()
    found = {one["destination"]: one for one in shown["deliveries"]}
    assert found["good"]["state"] == "delivered"
    assert found["bad"]["state"] == "retrying"
    attempts = found["bad"]["attempts"]
    assert [made["attempt"] for made in attempts] == [1, 2]
    assert attempts[0].keys() == {"attempt", "at", "outcome", "status", "error", "duration_ms", "excerpt"}
    assert (attempts[0]["outcome"], attempts[0]["status"], attempts[0]["excerpt"]) == ("failed", 503, "busy")
    assert world.ark("queue", "show", "evt-9").status == 2


def test_retry_makes_it_due_now_once_however_often_it_is_asked_for(world: World, receive: Receive) -> None:
    server = receive(in_turn(500, 200))
    world.add(server, "d")
    send(world)
    assert world.ark("queue", "retry", "evt-1", "--dry-run", "--json").json == {"retried": 1}
    assert states(world) == [("evt-1", "retrying", 1)]
    assert world.ark("queue", "retry", "evt-1", "--json").json == {"retried": 1}
    again = world.ark("queue", "retry", "evt-1")
    assert (again.status, again.out) == (0, "nothing to do: evt-1 waits already; `ark drain` attempts it\n")
    assert states(world) == [("evt-1", "waiting", 0)]
    assert world.ark("drain", "--json").json["delivered"] == 1
    world.clock.advance(86400)
    assert world.ark("drain", "--json").json["attempted"] == 0
    assert [request.attempt for request in server.requests] == [1, 1]
    assert len({(request.body, request.delivery) for request in server.requests}) == 1


def test_a_retry_that_comes_due_first_makes_the_request_void(world: World, receive: Receive) -> None:
    server = receive(500)
    world.add(server, "d")
    world.ark("dest", "pause", "d")
    send(world)
    world.ark("dest", "resume", "d")
    world.ark("drain")
    world.clock.advance(29)
    world.ark("queue", "retry", "evt-1")
    world.clock.advance(1)
    world.ark("drain")
    assert len(server.requests) == 2
    assert len(states(world)) == 1


def test_the_dead_are_revived_with_their_bytes(world: World, receive: Receive) -> None:
    server = receive(500)
    world.add(server, "d")
    send(world)
    die(world)
    assert states(world) == [("evt-1", "dead", 5)]
    server.behave = lambda _: answer(200)
    assert world.ark("queue", "retry", "--dead").status == 2
    assert world.ark("queue", "retry", "--dead", "--to", "d", "--json").json == {"retried": 1}
    assert world.ark("queue", "--json").json["destinations"][0]["dead"] == 0
    assert world.ark("drain", "--json").json["delivered"] == 1
    assert states(world) == []
    assert len({(request.body, request.delivery) for request in server.requests}) == 1
    assert world.ark("queue", "retry", "--all-dead", "--json").json == {"retried": 0}


def test_drop_asks_and_gives_up_whatever_waits(world: World, receive: Receive) -> None:
    server = receive(500)
    world.add(server, "d")
    send(world)
    die(world)
    send(world, event_id="evt-2")
    send(world, "--queue", event_id="evt-3")
    assert [state for _, state, _ in states(world)] == ["retrying", "waiting", "dead"]
    asked = world.ark("queue", "drop", "evt-2")
    assert (asked.status, "--yes" in asked.err) == (2, True)
    assert world.ark("queue", "drop", "evt-2", "evt-3", "--yes", "--json").json == {"dropped": 2}
    assert world.ark("queue", "drop", "--all-dead", "--yes", "--json").json == {"dropped": 1}
    assert states(world) == []
    before = len(server.requests)
    world.clock.advance(86400)
    world.ark("drain")
    assert len(server.requests) == before
    assert world.ark("queue", "drop", "evt-2", "--yes").status == 2
    shown = world.ark("queue", "show", "evt-2", "--json").json
    assert shown["deliveries"][0]["state"] == "dropped"


def test_what_is_told_of_one_thing_is_told_in_the_singular(world: World, receive: Receive) -> None:
    world.add(receive(500), "d")
    send(world)
    assert "1 event stored, " in world.ark("queue").err
    assert "1 event, " in world.ark("doctor").out
    assert world.ark("queue", "retry", "evt-1", "--dry-run").out == "would be queued again: 1 delivery\n"
    assert world.ark("queue", "retry", "evt-1").out == "queued again: 1 delivery; run `ark drain`\n"
    assert world.ark("queue", "drop", "evt-1", "--yes").out == "1 delivery was discarded\n"
    assert world.ark("replay", "evt-1", "--dry-run").out == "would be queued again: 1 event\n"
    assert world.ark("replay", "evt-1").out == "queued again: 1 event; run `ark drain`\n"
    assert world.ark("dest", "remove", "d", "--yes").out == "removed d; 1 delivery was discarded\n"


def test_drop_leaves_alone_what_another_process_delivers_to(world: World, receive: Receive) -> None:
    world.add(receive(200), "d")
    send(world, "--queue")
    with world.held("d"):
        result = world.ark("queue", "drop", "evt-1", "--yes")
        assert result.status == 1
        assert "ark dest pause d" in result.err
    assert len(states(world)) == 1


def test_check_names_file_line_and_problem_and_repair_sets_it_aside(world: World, receive: Receive) -> None:
    server = receive(200)
    world.add(server, "d")
    for number in range(3):
        send(world, "--queue", event_id=f"evt-{number}")
    assert world.ark("queue", "check", "--json").json == {"ok": True, "lines": 4, "damaged": []}
    (file,) = (world.queue_directory / "events").glob("*.jsonl")
    damaged = file.read_bytes().replace(b'"id":"evt-1"', b'"id":"evt-7"')
    file.write_bytes(damaged)
    found = world.ark("queue", "check", "--json")
    assert found.status == 78
    assert found.json["damaged"] == [{"file": str(file), "line": 2, "problem": "the checksum does not fit"}]
    assert world.ark("drain", "--json").json["delivered"] == 2
    repaired = world.ark("queue", "check", "--repair", "--json")
    assert repaired.status == 0
    kept = [json.loads(line) for line in Path(repaired.json["set_aside"]).read_text().splitlines()]
    assert [(one["line"], one["problem"]) for one in kept] == [(2, "the checksum does not fit")]
    assert len(file.read_bytes()) == len(damaged)
    assert world.ark("queue", "check").status == 0
    assert world.ark("send", "signal.promoted", stdin=PAYLOAD).status == 0


def test_replay_sends_old_events_again_but_nothing_twice_that_waits(world: World, receive: Receive) -> None:
    good, bad = receive(200), receive(500)
    world.add(good, "good")
    world.add(bad, "bad")
    send(world)
    assert world.ark("replay", "evt-1", "--json").json == {"replayed": 1}
    assert world.ark("replay", "evt-1", "--json").json == {"replayed": 0}
    world.ark("drain")
    world.clock.advance(86400)
    world.ark("drain")
    assert [request.attempt for request in good.requests] == [1, 1]
    assert [request.attempt for request in bad.requests] == [1, 1, 2]
    assert world.ark("replay", "evt-1", "--to", "good", "--json").json == {"replayed": 1}
    assert world.ark("replay", "evt-9").status == 2


def test_replay_of_a_time_asks_and_filters(world: World, receive: Receive) -> None:
    server = receive(200)
    world.add(server, "d")
    send(world)
    world.clock.advance(3600)
    send(world, event_id="evt-2")
    world.ark("send", "social.lead_promoted", "--sample")
    world.clock.advance(60)

    def count(*options: str) -> int:
        return int(world.ark("replay", *options, "--dry-run", "--json").json["replayed"])

    assert count("--since", "-2h") == 3
    assert count("--since", "-10m") == 2
    assert count("--since", "-2h", "--until", "-30m") == 1
    assert count("--since", "-2h", "--event", "social.lead_promoted") == 1
    assert count("--since", "-2h", "--failed") == 0
    assert world.ark("replay", "--since", "-2h").status == 2
    assert world.ark("replay", "--since", "yesterday").status == 2
    assert world.ark("replay").status == 2
    assert world.ark("replay", "--since", "-2h", "--yes", "--json").json == {"replayed": 3}
    assert world.ark("drain", "--json").json["delivered"] == 3


def test_log_shows_attempts_newest_last(world: World, receive: Receive) -> None:
    world.add(receive(200), "good")
    world.add(receive(in_turn(503, 404, 200)), "flaky")
    send(world)
    for delay in (30, 300):
        world.clock.advance(delay)
        world.ark("drain")

    def log(*options: str) -> list[dict[str, object]]:
        return [json.loads(line) for line in world.ark("log", *options, "--json").out.splitlines()]

    attempts = log()
    assert attempts[0].keys() == {
        "event_id", "event", "destination", "attempt", "at", "outcome", "status", "error", "duration_ms", "excerpt",
    }  # fmt: skip
    assert [str(found["at"]) for found in attempts] == sorted(str(found["at"]) for found in attempts)
    assert sorted(str(found["status"]) for found in attempts) == ["200", "200", "404", "503"]
    assert [found["status"] for found in log("--to", "flaky")] == [503, 404, 200]
    assert [found["status"] for found in log("--status", "5xx")] == [503]
    assert [found["status"] for found in log("--status", "404")] == [404]
    assert len(log("--outcome", "delivered")) == 2
    assert [found["status"] for found in log("--since", "-301s", "--outcome", "failed")] == [404]
    assert len(log("-n", "1")) == 1
    assert log("-n", "0") == []
    assert world.ark("log", "--status", "abc").status == 2


def test_a_dry_run_tells_what_would_be_attempted_at_a_time(world: World, receive: Receive) -> None:
    server = receive(500)
    world.add(server, "d")
    send(world)
    send(world, "--queue", event_id="evt-2")

    def due(*options: str) -> list[str]:
        found = world.ark("drain", "--dry-run", *options, "--json").json["deliveries"]
        return sorted(one["event_id"] for one in found)

    assert due() == ["evt-2"]
    assert due("--at", "2099-01-01T00:00:00Z") == ["evt-1", "evt-2"]
    assert world.ark("drain", "--at", "2099-01-01T00:00:00Z").status == 2
    assert len(server.requests) == 1


@pytest.mark.parametrize("command", [("queue", "list"), ("log",), ("queue", "check")])
def test_questions_to_an_empty_queue_have_an_empty_answer(world: World, command: tuple[str, ...]) -> None:
    assert world.ark(*command).status == 0


def test_dropping_nothing_says_so_in_the_words_of_retry(world: World) -> None:
    world.ark("dest", "add", "http://127.0.0.1:9/", "--allow-local", "--no-ping", "--name", "d")
    for command in (("drop",), ("retry",)):
        assert world.ark("queue", *command, "--dead", "--to", "d").out == "nothing to do: no dead delivery to d\n"
