"""A destination's limits hold for all processes together: what its receiver sees, and what ark says."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import postgres
from tests.test_processes import accept, finish, start
from tests.world import PAYLOAD, Request, TestReceiver, World, answer

Receive = Callable[..., TestReceiver]
SLOW = answer(429, b"", "Retry-After: 120")


def busiest(times: list[float], period: float) -> int:
    """The most requests within any period."""
    times = sorted(times)
    return max(sum(first <= at < first + period for at in times) for first in times)


@pytest.fixture(params=["local", "postgres"])
def hosts(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[World, World]]:
    """Two homes with one database, or the same home twice."""
    if request.param == "local":
        world = World(tmp_path / "home")
        yield world, world
        return
    with ExitStack() as stack:
        url = stack.enter_context(postgres.database())
        key = {"ARK_QUEUE_KEY": "env:KEY", "KEY": "ab" * 32}
        worlds = [World(tmp_path / name, database=url) for name in ("one", "two")]
        for world in worlds:
            world.variables |= key
        yield worlds[0], worlds[1]


def test_two_drains_and_two_sends_at_once_never_make_an_eleventh_request_in_a_second(
    hosts: tuple[World, World], receive: Receive, tmp_path: Path
) -> None:
    arrived: list[float] = []
    mutex = threading.Lock()

    def behave(_: Request) -> bytes:
        with mutex:
            arrived.append(time.monotonic())
            number = len(arrived)
        # The first requests of a connection take longer than later ones.
        time.sleep(0.15 if number % 3 == 0 else 0.01)
        return answer(200)

    server = receive(behave)
    hosts[0].add(server, "crm", "--rate", "10/s", "--max-in-flight", "3")
    accept(hosts[0], 18)
    (tmp_path / "payload").write_bytes(PAYLOAD)
    send = ("send", "signal.promoted", str(tmp_path / "payload"))
    processes = [start(host, *what) for what in (("drain",), send) for host in hosts]
    assert [finish(process)[0] for process in processes] == [0] * 4
    assert len(arrived) == 20
    # The rate was used, too.
    assert 8 <= busiest(arrived, 1.0) <= 10
    assert server.most_at_once <= 3


def test_a_receiver_that_asks_to_be_left_alone_is(world: World, receive: Receive) -> None:
    slow, lake = receive(lambda _: SLOW), receive(200)
    world.add(slow, "crm")
    world.add(lake, "lake")
    accept(world, 5)
    drained = world.ark("drain", "--json").json
    # Only what was under way when it asked.
    assert (len(slow.requests), len(lake.requests)) == (2, 5)
    (held_back,) = drained["held_back"]
    assert (held_back["name"], held_back["reason"], held_back["error"]) == ("crm", "asked", "429, Retry-After")
    until = held_back["until"]
    said = f"asked to wait until {until} (429, Retry-After)"
    assert said in world.ark("drain").err
    assert said in world.ark("queue").err
    assert said in world.ark("dest", "show", "crm").out
    sent = world.ark("send", "signal.promoted", "--to", "crm", stdin=PAYLOAD)
    assert (sent.status, len(slow.requests)) == (75, 2)
    assert f"waiting\theld back: {said}" in sent.out
    # The retries are due after 30 s, but the receiver asked for 120 s.
    world.clock.advance(60)
    assert world.ark("drain", "--json").json["attempted"] == 0
    slow.behave = lambda _: answer(200)
    world.clock.advance(60)
    assert "asked to wait" not in world.ark("queue").err
    assert world.ark("drain", "--json").json["delivered"] == 6
    assert world.ark("queue", "--json").json["destinations"][0]["held_back"] is None


def test_a_short_wait_that_a_receiver_asks_for_is_waited_for(world: World, receive: Receive) -> None:
    answers = iter([answer(503, b"", "Retry-After: 3")])
    server = receive(lambda _: next(answers, answer(200)))
    world.add(server, "crm")
    assert world.ark("send", "signal.promoted", stdin=PAYLOAD).status == 75
    before = world.clock.now()
    assert world.ark("send", "signal.promoted", stdin=PAYLOAD).status == 0
    assert 3_000 <= world.clock.now() - before <= 3_500


def test_what_a_rate_leaves_waiting_is_said_with_the_time_of_the_next_turn(world: World, receive: Receive) -> None:
    server = receive(200)
    world.add(server, "crm", "--rate", "2/m")
    accept(world, 3)
    drained = world.ark("drain", "--json").json
    assert (drained["delivered"], drained["held_back"][0]["reason"]) == (2, "rate")
    assert "its limit of 2/m allows the next attempt at " in world.ark("drain").err
    sent = world.ark("send", "signal.promoted", "--json", stdin=PAYLOAD)
    (delivery,) = sent.json["deliveries"]
    assert (sent.status, delivery["outcome"], delivery["attempt"]) == (75, "waiting", 0)
    assert delivery["error"].startswith("held back: its limit of 2/m allows the next attempt at ")
    assert delivery["next_attempt_at"] == drained["held_back"][0]["until"]
    world.clock.advance(61)
    assert world.ark("drain", "--json").json["delivered"] == 2
    # Everything is delivered, so nothing waits for a turn.
    assert world.ark("drain", "--json").json["held_back"] == []


def test_a_ping_neither_takes_a_turn_nor_waits_for_one(world: World, receive: Receive) -> None:
    world.add(receive(200), "crm", "--rate", "1/h")
    for command, status in (("ping", 0), ("send", 0), ("ping", 0), ("send", 75)):
        words = ("signal.promoted",) if command == "send" else ()
        assert world.ark(command, *words, stdin=PAYLOAD).status == status


def test_a_send_waits_for_its_turn(world: World, receive: Receive) -> None:
    server = receive(200)
    world.add(server, "crm", "--rate", "7/m")
    for _ in range(7):
        assert world.ark("send", "signal.promoted", stdin=PAYLOAD).status == 0
        world.clock.advance(8)
    before = world.clock.now()
    assert world.ark("send", "signal.promoted", stdin=PAYLOAD).status == 0
    assert 3_000 <= world.clock.now() - before <= 5_000


def test_a_plain_drain_delivers_all_at_a_rate_per_second_and_the_others_do_not_wait(
    world: World, receive: Receive
) -> None:
    slow, fast = receive(200), receive(200)
    world.add(slow, "slow", "--rate", "4/s")
    world.add(fast, "fast")
    accept(world, 7)
    drained = world.ark("drain", "--json").json
    assert (drained["delivered"], drained["held_back"]) == (14, [])


def test_a_changed_rate_is_in_force_and_one_taken_away_is_gone(world: World, receive: Receive) -> None:
    server = receive(200)
    world.add(server, "crm", "--rate", "1/h", "--max-in-flight", "2")
    accept(world, 4)
    assert world.ark("drain", "--json").json["delivered"] == 1
    world.ark("dest", "set", "crm", "--rate", "2/h")
    assert world.ark("drain", "--json").json["delivered"] == 1
    shown = world.ark("dest", "set", "crm", "--no-rate", "--no-max-in-flight", "--json").json["destination"]
    assert (shown["rate"], shown["max_in_flight"]) == (None, None)
    assert world.ark("drain", "--json").json["delivered"] == 2


@pytest.mark.parametrize("rate", ["", "10", "0/s", "10/d"])
def test_what_is_not_a_rate_is_refused(world: World, receive: Receive, rate: str) -> None:
    server = receive(200)
    world.add(server, "crm")
    result = world.ark("dest", "set", "crm", "--rate", rate, "--json")
    assert result.status == 2
    assert "10/s" in json.loads(result.err or result.out)["error"]["message"]


@pytest.mark.parametrize(
    ("line", "place"), [('rate = "fast"', "rate"), ("max_in_flight = 0", "max_in_flight"), ("rate = 10", "rate")]
)
def test_a_limit_that_was_written_by_hand_and_is_none_is_named(
    world: World, receive: Receive, line: str, place: str
) -> None:
    world.add(receive(200), "crm")
    world.store_file.write_text(world.store_file.read_text() + f"{line}\n")
    result = world.ark("drain")
    assert result.status == 78
    assert f"destinations[0].{place}" in result.err
