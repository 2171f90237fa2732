"""`queue retry --now` and `replay --now`: what was queued again is delivered at once, and nothing else."""

import json
from collections.abc import Callable
from contextlib import closing

import pytest

from arkcli import times
from arkcli.model import Answer
from arkcli.queue.local.queue import LocalQueue
from tests.world import PAYLOAD, START, FakeClock, TestReceiver, World, answer, in_turn

Receive = Callable[..., TestReceiver]


def send(world: World, *ids: str, options: tuple[str, ...] = ()) -> None:
    for event_id in ids:
        world.ark("send", "signal.promoted", "--id", event_id, *options, stdin=PAYLOAD)


def die(world: World) -> None:
    for delay in (30, 300, 1800, 7200):
        world.clock.advance(delay)
        world.ark("drain")


def events_of(server: TestReceiver) -> list[str]:
    return [request.delivery.partition(".")[0] for request in server.requests]


def waiting(world: World) -> list[str]:
    return [one["event_id"] for one in world.ark("queue", "list", "--json").json["deliveries"]]


class Meanwhile(FakeClock):
    """A clock that has something happen whenever somebody sleeps."""

    def __init__(self, now: int, happens: Callable[[], object]) -> None:
        super().__init__(now)
        self.happens = happens

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        self.happens()


@pytest.mark.parametrize("command", [("queue", "retry", "one"), ("replay", "one"), ("queue", "retry", "--all-dead")])
def test_what_is_dead_is_delivered_at_once_and_reported_as_send_does(
    world: World, receive: Receive, command: tuple[str, ...]
) -> None:
    server = receive(500)
    world.add(server, "d")
    send(world, "one")
    die(world)
    server.behave = lambda _: answer(200)
    result = world.ark(*command, "--now", "--json")

    (delivery,) = result.json["deliveries"]
    assert (result.status, delivery["event_id"], delivery["destination"]) == (0, "one", "d")
    assert (delivery["outcome"], delivery["attempt"], delivery["status"]) == ("delivered", 1, 200)
    assert waiting(world) == []
    assert len({(request.body, request.delivery) for request in server.requests}) == 1


def test_a_failure_says_why_and_when_the_next_attempt_comes(world: World, receive: Receive) -> None:
    world.add(receive(200), "good")
    world.add(receive(lambda _: answer(500, b'{"error": "lead table is locked"}')), "bad")
    send(world, "one")
    world.clock.advance(5)
    result = world.ark("queue", "retry", "one", "--now")

    assert result.status == 75
    (row,) = (line.split("\t") for line in result.out.splitlines())
    assert row[:3] == ["bad", "retrying", 'answered 500, not a 2xx: {"error": "lead table is locked"}']
    assert row[4:] == [times.to_text(START + 35_000), "one"]
    assert "in 30 s" in world.on_a_terminal("queue", "retry", "one", "--now", columns=80)


def test_others_that_are_due_at_the_same_destination_are_left_alone(world: World, receive: Receive) -> None:
    server = receive(in_turn(500, 200))
    world.add(server, "d")
    send(world, "before", options=("--queue",))
    send(world, "one")
    send(world, "after", options=("--queue",))
    send(world, "waits", options=("--queue",))
    server.requests.clear()

    assert world.ark("queue", "retry", "one", "waits", "--now").status == 0
    assert sorted(events_of(server)) == ["one", "waits"]
    assert sorted(waiting(world)) == ["after", "before"]
    world.ark("drain")
    assert sorted(events_of(server)) == ["after", "before", "one", "waits"]


def test_many_dead_deliveries_are_attempted_together_and_summed_up_on_a_terminal(
    world: World, receive: Receive
) -> None:
    server = receive(500)
    world.add(server, "d")
    send(world, *(f"e{number}" for number in range(25)), options=("--queue",))
    world.ark("drain")
    die(world)
    send(world, "other", options=("--queue",))
    server.requests.clear()
    server.behave = lambda request: answer(503 if "e7" in events_of(server)[-1:] else 200)
    shown = world.on_a_terminal("queue", "retry", "--all-dead", "--now", columns=80, NO_COLOR="1")

    assert len(server.requests) == 25
    assert "attempted 25 in " in shown
    assert ": 24 delivered, 1 to retry, 0 dead" in shown
    assert len(shown.splitlines()) == 3
    assert set(waiting(world)) == {"e7", "other"}


def test_replaying_a_time_at_once_attempts_what_was_accepted_then(world: World, receive: Receive) -> None:
    server = receive(in_turn(200, 500, 200))
    world.add(server, "d")
    send(world, "old")
    world.clock.advance(3600)
    send(world, "failed", "delivered")
    world.ark("replay", "old")
    server.requests.clear()
    # The line that sends "old" again is new, but "old" is not.
    result = world.ark("replay", "--since", "10m", "--now", "--yes", "--json")

    assert (result.status, result.json["replayed"], len(result.json["deliveries"])) == (0, 2, 2)
    assert sorted(events_of(server)) == ["delivered", "failed"]


def test_with_failed_only_what_failed_is_attempted(world: World, receive: Receive) -> None:
    server = receive(in_turn(500, 200))
    world.add(server, "d")
    send(world, "failed", "delivered")
    send(world, "waits", options=("--queue",))
    server.requests.clear()

    assert world.ark("replay", "--since", "1h", "--failed", "--now", "--yes", "--json").json["replayed"] == 1
    assert events_of(server) == ["failed"]


def test_a_paused_destination_is_named_and_its_deliveries_wait(world: World, receive: Receive) -> None:
    good, bad = receive(500), receive(500)
    world.add(good, "good")
    world.add(bad, "bad")
    send(world, "one")
    world.ark("dest", "pause", "bad")
    good.behave = bad.behave = lambda _: answer(200)
    result = world.ark("queue", "retry", "one", "--now")

    assert (result.status, len(good.requests), len(bad.requests)) == (0, 2, 1)
    assert "bad is paused: its deliveries wait until `ark dest resume bad`" in result.err
    assert [line.split("\t")[:3] for line in result.out.splitlines()] == [
        ["good", "delivered", "200"], ["bad", "waiting", "paused"],
    ]  # fmt: skip


def test_a_destination_that_another_process_delivers_to_is_left_to_it(world: World, receive: Receive) -> None:
    server = receive(500)
    world.add(server, "d")
    send(world, "one")
    with world.held("d"):
        result = world.ark("queue", "retry", "one", "--now")
    assert (result.status, len(server.requests)) == (75, 1)
    assert "d is left to process" in result.err
    assert result.out.startswith("d\twaiting\t")
    assert waiting(world) == ["one"]


def test_what_another_process_attempts_meanwhile_is_waited_for_and_reported(world: World, receive: Receive) -> None:
    server = receive(500)
    world.add(server, "d")
    send(world, "one")
    (found,) = world.session().home.store.read().destinations
    with closing(LocalQueue(world.queue_directory, world.retries)) as other:
        claim = other.claim(found.id, "drain")
        assert claim is not None

        def attempt() -> None:
            other.look([found.id], world.clock.now())
            taken = claim.take(world.clock.now(), 8)
            other.record([(claim, [(one, Answer(404, "answered 404", 3)) for one in taken])], world.clock.now())

        world.clock = Meanwhile(world.clock.now(), attempt)
        result = world.ark("queue", "retry", "one", "--now")
        claim.release()
    assert (result.status, result.out.split("\t")[:3]) == (75, ["d", "retrying", "answered 404"])
    assert "is left to" not in result.err
    assert len(server.requests) == 1


def test_a_destination_that_is_held_back_is_not_attempted(world: World, receive: Receive) -> None:
    server = receive(500)
    world.add(server, "d")
    server.close()
    send(world, "one", "two", "three", options=("--queue",))
    world.ark("drain", "--for", "60s")
    result = world.ark("queue", "retry", "one", "--now")
    assert result.status == 75
    assert "d is held back: unreachable since" in result.err


def test_a_destination_without_its_secret_is_left_out(world: World, receive: Receive) -> None:
    world.add(receive(500), "d")
    send(world, "one")
    text = world.store_file.read_text()
    world.store_file.write_text(text.replace('secret = "', 'secret = "env:NO_SUCH_VARIABLE_', 1))
    result = world.ark("queue", "retry", "one", "--now")
    assert (result.status, "d is left out" in result.err) == (1, True)


@pytest.mark.parametrize("command", [("queue", "retry", "one"), ("replay", "one")])
def test_a_dry_run_changes_nothing_so_now_is_refused_with_it(
    world: World, receive: Receive, command: tuple[str, ...]
) -> None:
    server = receive(500)
    world.add(server, "d")
    send(world, "one")
    result = world.ark(*command, "--now", "--dry-run")
    assert (result.status, "--now and --dry-run do not go together" in result.err) == (2, True)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("queue retry --all-dead", "nothing to do: no dead delivery"),
        ("queue retry --dead --to d", "nothing to do: no dead delivery to d"),
        ("queue retry waits", "nothing to do: waits waits already; `ark drain` attempts it"),
        ("queue retry done", "nothing to do: no delivery of done is retrying or dead"),
        ("replay waits", "nothing to do: waits waits already; `ark drain` attempts it"),
        ("replay --since 1h --event social.lead_promoted", "nothing to do: no event matches"),
        ("replay done --failed", "nothing to do: no delivery that you chose is retrying or dead"),
    ],
)
def test_where_there_is_nothing_to_do_it_says_why(world: World, receive: Receive, command: str, says: str) -> None:
    world.add(receive(200), "d")
    send(world, "done")
    send(world, "waits", options=("--queue",))
    result = world.ark(*command.split())
    assert (result.status, result.out) == (0, f"{says}\n")
    counts = json.loads(world.ark(*command.split(), "--json").out)
    assert list(counts.values()) == [0]


def test_events_that_wait_already_are_named_beside_those_that_are_queued_again(world: World, receive: Receive) -> None:
    world.add(receive(500), "d")
    send(world, "failed")
    send(world, "a", "b", options=("--queue",))
    result = world.ark("queue", "retry", "failed", "a", "b")
    assert (result.status, result.out) == (0, "queued again: 1 delivery; run `ark drain`\n")
    assert result.err == "a and b wait already; `ark drain` attempts them\n"


def test_on_a_terminal_no_sentence_is_broken_inside_a_word(world: World, receive: Receive) -> None:
    world.add(receive(200), "d")
    world.ark("send", "signal.promoted", "--queue", stdin=PAYLOAD)
    for command in (("queue", "retry", "last"), ("replay", "last")):
        lines = world.on_a_terminal(*command, columns=50).splitlines()
        assert [line.split()[-1] for line in lines] == ["evt_01a1ee565e000000000000000006", "it"]
