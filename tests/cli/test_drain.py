"""`ark drain`: what it attempts, what it prints, and its exit statuses."""

from collections.abc import Callable

import pytest

from arkcli.model import RetrySchedule
from tests.world import PAYLOAD, TestReceiver, World, answer, in_turn

Receive = Callable[..., TestReceiver]


def queue(world: World, *options: str) -> None:
    assert world.ark("send", "signal.promoted", "--queue", *options, stdin=PAYLOAD).status == 0


def test_with_nothing_to_do_it_is_done(world: World) -> None:
    result = world.ark("drain", "--json")
    assert result.status == 0
    assert result.json["attempted"] == 0
    assert result.json["destinations"] == []


def test_the_json_of_a_drain(world: World, receive: Receive) -> None:
    world.add(receive(200), "good")
    world.add(receive(500), "bad")
    queue(world)
    queue(world)
    result = world.ark("drain", "--json")
    assert result.status == 0
    assert result.json.keys() == {
        "attempted", "delivered", "retrying", "dead", "skipped", "left_out", "held", "held_back", "broken",
        "duration_s", "destinations",
    }  # fmt: skip
    counts = {key: result.json[key] for key in ("attempted", "delivered", "retrying", "dead", "skipped")}
    assert counts == {"attempted": 4, "delivered": 2, "retrying": 2, "dead": 0, "skipped": 0}
    assert result.json["destinations"] == [
        {"name": "bad", "attempted": 2, "delivered": 0, "retrying": 2, "dead": 0},
        {"name": "good", "attempted": 2, "delivered": 2, "retrying": 0, "dead": 0},
    ]


def test_strict_says_that_something_is_left(world: World, receive: Receive) -> None:
    world.add(receive(500), "bad")
    queue(world)
    assert world.ark("drain", "--strict").status == 75
    assert world.ark("drain", "--strict").status == 75
    assert world.ark("drain").status == 0


def test_events_are_delivered_oldest_first(world: World, receive: Receive) -> None:
    server = receive(200)
    world.add(server, "d")
    for number in range(20):
        queue(world, "--id", f"event-{number}")
    world.ark("drain", "--per-destination", "1")
    arrived = [request.delivery.partition(".")[0] for request in server.requests]
    assert arrived == [f"event-{number}" for number in range(20)]


def test_to_drains_these_alone(world: World, receive: Receive) -> None:
    one, two = receive(200), receive(200)
    world.add(one, "one")
    world.add(two, "two")
    queue(world)
    assert world.ark("drain", "--to", "one", "--json").json["delivered"] == 1
    assert (len(one.requests), len(two.requests)) == (1, 0)
    assert world.ark("drain", "--to", "nobody").status == 2


def test_a_clock_that_was_set_back_strands_nothing(world: World, receive: Receive) -> None:
    server = receive(in_turn(500, 200))
    world.add(server, "d")
    world.ark("send", "signal.promoted", stdin=PAYLOAD)
    world.clock.advance(-365 * 86400)
    assert world.ark("drain", "--json").json["delivered"] == 1


def test_watching_for_a_while_makes_the_retry_that_falls_due(world: World, receive: Receive) -> None:
    server = receive(in_turn(500, 200))
    world.add(server, "d")
    queue(world)
    result = world.ark("drain", "--for", "55s", "--json")
    assert (result.status, result.json["attempted"], result.json["delivered"]) == (0, 2, 1)
    assert 55 <= result.json["duration_s"] < 56


@pytest.mark.parametrize("duration", ["", "5", "5 s", "-5s", "five", "5x"])
def test_a_bad_duration_is_bad_input(world: World, duration: str) -> None:
    result = world.ark("drain", f"--for={duration}")
    assert result.status == 2
    assert "30s, 5m, 2h or 7d" in result.err


@pytest.mark.parametrize("option", ["--concurrency=0", "--per-destination=-1", "--concurrency=x"])
def test_limits_must_be_positive(world: World, option: str) -> None:
    assert world.ark("drain", option).status == 2


def test_a_destination_whose_secret_cannot_be_had_holds_up_no_other(world: World, receive: Receive) -> None:
    bad, good = receive(200), receive(200)
    secret_file = world.home.parent / "secret"
    secret_file.write_text("env:NO_SUCH_VARIABLE")
    world.add(bad, "bad", "--secret-file", str(secret_file))
    world.add(good, "good")
    world.variables["NO_SUCH_VARIABLE"] = "x"
    queue(world)
    del world.variables["NO_SUCH_VARIABLE"]
    result = world.ark("drain", "--json")
    assert result.json["delivered"] == 1
    assert "NO_SUCH_VARIABLE" in result.err
    world.variables["NO_SUCH_VARIABLE"] = "x"
    assert world.ark("drain", "--json").json["delivered"] == 1


def test_a_queue_of_a_newer_version_is_left_untouched(world: World, receive: Receive) -> None:
    world.add(receive(200), "d")
    (world.queue_directory / "VERSION").write_text("2\n")
    for command in (("drain",), ("queue",), ("send", "signal.promoted", "--sample")):
        result = world.ark(*command)
        assert result.status == 78
        assert "VERSION" in result.err
    assert (world.queue_directory / "VERSION").read_text() == "2\n"
    assert world.event_lines == []


def test_a_destination_without_a_usable_secret_is_left_out_and_that_is_no_success(
    world: World, receive: Receive
) -> None:
    world.add(receive(200), "good")
    world.add(receive(200), "bad")
    queue(world)
    text = world.store_file.read_text()
    world.store_file.write_text(text.replace('name = "bad"', 'name = "bad"\nsecret = "env:NOWHERE"'))
    for options in ([], ["--strict"]):
        drained = world.ark("drain", "--json", *options)
        assert (drained.status, drained.json["left_out"]) == (1, ["bad"])
        assert "bad is left out" in drained.err
    world.variables["NOWHERE"] = "here now"
    drained = world.ark("drain", "--json")
    assert (drained.status, drained.json["delivered"], drained.json["left_out"]) == (0, 1, [])


def test_with_nothing_due_it_says_what_is_next(world: World, receive: Receive) -> None:
    world.add(receive(500), "bad")
    queue(world)
    assert "nothing is due" not in world.ark("drain").err
    world.clock.advance(10)
    assert "nothing is due yet: 1 to retry, the next in 20 s" in world.ark("drain").err
    assert world.ark("drain", "--quiet").err == ""


def test_a_name_that_stands_twice_is_taken_once(world: World, receive: Receive) -> None:
    world.add(receive(200), "d")
    queue(world)
    (found,) = world.ark("drain", "--dry-run", "--to", "d", "--to", "d", "--json").json["deliveries"]
    assert found["destination"] == "d"


@pytest.mark.parametrize("option", [("--watch",), ("--for", "1s")])
def test_a_dry_run_does_not_go_on(world: World, option: tuple[str, ...]) -> None:
    result = world.ark("drain", "--dry-run", *option)
    assert (result.status, "leave out --watch and --for" in result.err) == (2, True)


def test_a_quiet_drain_names_what_died_why_and_what_to_do(world: World, receive: Receive) -> None:
    world.retries = RetrySchedule((1_000,))
    world.add(receive(lambda _: answer(500, b'{"error": "no space left"}')), "crm")
    for number in range(5):
        queue(world, "--id", f"event-{number}")
    in_order = ("drain", "--quiet", "--per-destination", "1")
    assert world.ark(*in_order) == (0, "", "")
    world.clock.advance(2)
    died = world.ark(*in_order)
    assert died.status == 1
    said = died.err.splitlines()
    assert len(said) == 4
    assert [line.split(" is dead ")[0] for line in said[:3]] == [f"warning: crm: event-{number}" for number in range(3)]
    assert said[0].endswith(
        'after 2 attempts: answered 500, not a 2xx: {"error": "no space left"}; '
        "`ark queue show event-0` shows the attempts, `ark queue retry event-0` tries again"
    )
    assert said[3] == "warning: crm: 2 more died; `ark queue list --state dead --to crm` lists them"
    assert [row["state"] for row in world.ark("queue", "list", "--json").json["deliveries"]] == ["dead"] * 5


@pytest.mark.parametrize("options", [(), ("--json", "--quiet")], ids=["loud", "json"])
def test_a_drain_that_is_not_quiet_says_what_died_in_its_summary(
    world: World, receive: Receive, options: tuple[str, ...]
) -> None:
    world.retries = RetrySchedule(())
    world.add(receive(500), "crm")
    queue(world)
    died = world.ark("drain", *options)
    assert (died.status, died.err) == (1, "")


def test_a_quiet_stream_names_what_died(world: World, receive: Receive) -> None:
    world.retries = RetrySchedule(())
    world.add(receive(500), "crm")
    died = world.ark("send", "signal.promoted", "--ndjson", "--quiet", stdin=PAYLOAD)
    assert died.status == 1
    assert "is dead after 1 attempt: answered 500, not a 2xx; `ark queue show evt_" in died.err
