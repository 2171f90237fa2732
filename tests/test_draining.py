"""`ark drain --workers`: real processes that share the destinations, are stopped together, and may die."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arkcli.delivery.drain import Drained, Held, Tally, together
from arkcli.delivery.places import Limits
from arkcli.queue.local import Holder
from tests.test_processes import accept, arrived
from tests.world import Request, TestReceiver, World, answer

Receive = Callable[..., TestReceiver]
ROOT = Path(__file__).parent.parent


def start(world: World, *args: str) -> "subprocess.Popen[str]":
    """Starts `ark drain` at the head of a group of processes."""
    return subprocess.Popen(
        [sys.executable, "-m", "arkcli", "drain", "--json", *args],
        cwd=ROOT,
        env={**os.environ, **world.variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


def finish(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """What it said, once every process that could still say something has ended."""
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def holder(world: World, name: str) -> int:
    """The process that delivers to a destination, as its lock file says."""
    found = world.environment().store.read().find(name)
    assert found is not None
    return int((world.queue_directory / "destinations" / found.id / "lock").read_text().split()[0])


def test_workers_share_the_destinations_and_tell_as_one(world: World, receive: Receive) -> None:
    seen: set[int] = set()
    all_seen = threading.Event()

    def note(name: str) -> Callable[[Request], bytes]:
        def behave(_: Request) -> bytes:
            seen.add(holder(world, name))
            if len(seen) == 3:
                all_seen.set()
            all_seen.wait(30)
            return answer(200)

        return behave

    servers = {name: receive(note(name)) for name in ("d0", "d1", "d2", "d3", "d4")}
    for name, server in servers.items():
        world.add(server, name)
    ids = accept(world, 20)
    status, out, err = finish(start(world, "--workers", "3"))
    assert (status, err) == (0, "")
    report = json.loads(out)
    assert report.pop("duration_s") > 0
    one = {"attempted": 20, "delivered": 20, "retrying": 0, "dead": 0}
    assert report == {
        **{what: count * 5 for what, count in one.items()},
        "skipped": 0,
        "held": [],
        "left_out": [],
        "destinations": [{"name": name, **one} for name in servers],
    }
    for server in servers.values():
        assert arrived(server) == dict.fromkeys(ids, 1)
    assert len(seen) == 3


def test_more_workers_than_destinations_do_no_harm(world: World, receive: Receive) -> None:
    server = receive(200)
    world.add(server, "d")
    ids = accept(world, 20)
    status, out, _ = finish(start(world, "--workers", "4"))
    assert (status, json.loads(out)["delivered"]) == (0, 20)
    assert arrived(server) == dict.fromkeys(ids, 1)


@pytest.mark.parametrize(("answered", "options", "status"), [(200, [], 0), (500, [], 0), (500, ["--strict"], 75)])
def test_the_exit_status_is_that_of_one_process(
    world: World, receive: Receive, answered: int, options: list[str], status: int
) -> None:
    world.add(receive(answered), "a")
    world.add(receive(200), "b")
    accept(world, 1)
    assert finish(start(world, "--workers", "2", *options))[0] == status


def test_what_a_killed_worker_left_is_done_by_the_others_and_the_exit_status_tells(
    world: World, receive: Receive
) -> None:
    killed = threading.Event()

    def kill(_: Request) -> bytes:
        if not killed.is_set():
            os.kill(holder(world, "b"), signal.SIGKILL)
            killed.set()
        return answer(200)

    def wait(_: Request) -> bytes:
        killed.wait(30)
        return answer(200)

    first, second = receive(wait), receive(kill)
    world.add(first, "a")
    world.add(second, "b")
    ids = accept(world, 20)
    status, out, err = finish(start(world, "--workers", "2"))
    assert status == 1
    assert "was killed by signal 9; what it had in flight will be sent again" in err
    report = json.loads(out)
    assert [found["name"] for found in report["destinations"]] == ["a", "b"]
    assert arrived(first) == dict.fromkeys(ids, 1)
    assert arrived(second).keys() == set(ids)


@pytest.mark.parametrize("whom", ["leader", "group"])
@pytest.mark.parametrize("options", [[], ["--watch"]])
def test_a_signal_lets_what_is_in_flight_finish_whoever_else_it_reaches(
    world: World, receive: Receive, whom: str, options: list[str]
) -> None:
    arrivals, released = threading.Semaphore(0), threading.Event()

    def wait(_: Request) -> bytes:
        arrivals.release()
        released.wait(30)
        return answer(200)

    for name in ("a", "b"):
        world.add(receive(wait), name)
    accept(world, 20)
    process = start(world, "--workers", "2", "--per-destination", "1", *options)
    for _ in range(2):
        assert arrivals.acquire(timeout=30)
    (os.killpg if whom == "group" else os.kill)(process.pid, signal.SIGTERM)
    # Nothing can be seen of a signal having been taken in; until it has been, more is attempted, one by one.
    threading.Timer(0.5, released.set).start()
    status, out, err = finish(process)
    assert (status, err) == (0 if options else 130, "")
    report = json.loads(out)
    assert 2 <= report["delivered"] == report["attempted"] < 40


def test_workers_end_with_their_leader(world: World, receive: Receive) -> None:
    arrivals = threading.Semaphore(0)

    def tell(_: Request) -> bytes:
        arrivals.release()
        return answer(200)

    for name in ("a", "b"):
        world.add(receive(tell), name)
    accept(world, 1)
    process = start(world, "--workers", "2", "--watch")
    for _ in range(2):
        assert arrivals.acquire(timeout=30)
    process.kill()
    assert finish(process)[0] == -signal.SIGKILL


def test_a_name_that_is_unknown_is_said_once(world: World, receive: Receive) -> None:
    world.add(receive(200), "d")
    status, out, err = finish(start(world, "--workers", "2", "--to", "nobody"))
    assert (status, err) == (2, "")
    assert "nobody" in json.loads(out)["error"]["message"]


def test_what_a_worker_cannot_do_is_an_error_of_the_whole(world: World, receive: Receive) -> None:
    world.add(receive(200), "a")
    world.add(receive(200), "b")
    accept(world, 1)
    (world.queue_directory / "VERSION").write_text("2\n")
    status, out, err = finish(start(world, "--workers", "2"))
    assert (status, err) == (78, "")
    assert json.loads(out)["error"]["code"] == "unreadable"


@pytest.mark.parametrize("workers", ["0", "-1", "x", "65"])
def test_the_number_of_workers_must_make_sense(world: World, workers: str) -> None:
    assert world.ark("drain", f"--workers={workers}").status == 2


@given(total=st.integers(1, 900), per_destination=st.integers(1, 900), of=st.integers(1, 64))
def test_workers_have_together_what_one_process_would_have(total: int, per_destination: int, of: int) -> None:
    parts = [Limits(total, per_destination).shared(number, of) for number in range(of)]
    assert sum(part.total for part in parts) == max(total, of)
    assert all(1 <= part.per_destination <= min(per_destination, part.total) for part in parts)


def test_what_one_worker_left_to_another_was_not_left_to_anybody() -> None:
    ours, theirs = Held("a", Holder(1, "drain")), Held("b", Holder(99, "send"))
    parts = [
        Drained([ours, theirs], 1.0, [Tally("c", 2, 1, 1, 0)]),
        Drained([theirs], 2.0, [Tally("a", 3, 3, 0, 0), Tally("c", 1, 0, 0, 1)]),
    ]
    assert together(parts, {1, 2}, 2.5) == Drained([theirs], 2.5, [Tally("a", 3, 3, 0, 0), Tally("c", 3, 1, 1, 1)])


def test_what_one_worker_left_to_another_process_and_a_later_one_delivered_was_not_left() -> None:
    outside = Held("crm", Holder(4711, "send"))
    early = Drained([outside, Held("lake", Holder(4711, "send"))], 1.0, [])
    late = Drained([], 1.0, [Tally("crm", attempted=2, delivered=2)])
    assert [found.name for found in together([early, late], {1, 2}, 1.0).held] == ["lake"]
