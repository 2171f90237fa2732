"""Several `ark drain` at once: real processes, stopped and killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.test_processes import accept, arrived
from tests.world import Request, TestReceiver, World, answer, hang

Receive = Callable[..., TestReceiver]
ROOT = Path(__file__).parent.parent.parent


def start(world: World, *args: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "arkcli", "drain", "--json", *args],
        cwd=ROOT,
        env={**os.environ, **world.variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def slow(_: Request) -> bytes:
    time.sleep(0.02)
    return answer(200)


def repeated(servers: list[TestReceiver]) -> int:
    """The number of requests that repeat an attempt that was received before."""
    made = [(request.delivery, request.attempt) for server in servers for request in server.requests]
    return len(made) - len(set(made))


def four_busy(
    world: World, receive: Receive, behave: Callable[[Request], bytes], count: int
) -> tuple[list[TestReceiver], list[str]]:
    """Four destinations with this number of events due at each: their receivers, and the events' ids."""
    servers = [receive(behave) for _ in range(4)]
    for number, server in enumerate(servers):
        world.add(server, f"d{number}")
    return servers, accept(world, count)


def test_two_drains_started_together_each_make_their_part_and_none_twice(world: World, receive: Receive) -> None:
    running, deadline = world.queue_directory / "drains", time.monotonic() + 30

    def wait_for_both(request: Request) -> bytes:
        # On a busy machine one drain may start a second before the other: do not answer until both are running.
        while not both.is_set() and len(list(running.iterdir())) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        both.set()
        return slow(request)

    both = threading.Event()
    servers, ids = four_busy(world, receive, wait_for_both, 1_500)
    drains = [start(world), start(world)]
    ended = [finish(drain) for drain in drains]
    assert [(status, err) for status, _, err in ended] == [(0, "")] * 2
    attempted = [json.loads(out)["attempted"] for _, out, _ in ended]
    assert sum(attempted) == 6_000
    assert all(0.35 * 6_000 <= part <= 0.65 * 6_000 for part in attempted), attempted
    for server in servers:
        assert arrived(server) == dict.fromkeys(ids, 1)


def test_a_drain_that_comes_later_is_given_its_part(world: World, receive: Receive) -> None:
    begun = threading.Event()

    def tell(request: Request) -> bytes:
        begun.set()
        return slow(request)

    servers, _ = four_busy(world, receive, tell, 900)
    first = start(world)
    assert begun.wait(30)
    second = start(world)
    attempted = [json.loads(finish(drain)[1])["attempted"] for drain in (first, second)]
    assert sum(attempted) == 3_600
    assert min(attempted) >= 0.2 * 3_600, attempted
    assert repeated(servers) == 0


def test_what_a_killed_drain_left_is_done_by_the_other(world: World, receive: Receive) -> None:
    servers, ids = four_busy(world, receive, slow, 300)
    drains = [start(world), start(world)]
    while sum(len(server.requests) for server in servers) < 600:
        time.sleep(0.01)
    drains[0].kill()
    status, out, err = finish(drains[1])
    finish(drains[0])
    assert (status, err) == (0, "")
    assert json.loads(out)["attempted"] > 600
    for server in servers:
        assert arrived(server).keys() == set(ids), "nothing is lost"
    # The killed drain's attempts in flight are repeated: eight at each of its destinations, of which it had 2 to 4.
    assert repeated(servers) <= 32


def test_a_destination_that_no_other_drain_may_have_is_not_left_lying(world: World, receive: Receive) -> None:
    """A drain with --to counts as a sharer, but does not take its share of the other destinations."""
    held, released = threading.Event(), threading.Event()

    def wait(_: Request) -> bytes:
        held.set()
        released.wait(30)
        return answer(200)

    world.add(receive(wait), "slow")
    others = [receive(200) for _ in range(5)]
    for number, server in enumerate(others):
        world.add(server, f"d{number}")
    ids = accept(world, 20)
    choosy = start(world, "--to", "slow")
    assert held.wait(30)
    status, out, _ = finish(start(world))
    released.set()
    finish(choosy)
    assert (status, json.loads(out)["attempted"]) == (0, 100)
    for server in others:
        assert arrived(server) == dict.fromkeys(ids, 1)


def test_one_that_answers_is_served_all_the_time_where_more_hang_than_can_be_held(
    world: World, receive: Receive
) -> None:
    served: list[float] = []

    def serve(_: Request) -> bytes:
        served.append(time.monotonic())
        time.sleep(0.01)
        return answer(200)

    hanging, good = receive(hang), receive(serve)
    world.add(good, "good")
    accept(world, 2_000)
    for number in range(24):
        url = f"{hanging.url}/{number}"
        assert world.ark("dest", "add", url, "--name", f"h{number}", "--allow-local", "--no-ping").status == 0
    accept(world, 3)
    started = time.monotonic()
    status, _, _ = finish(start(world, "--concurrency", "4", "--for", "8s"))
    assert status == 0
    by_second = [sum(int(at - started) == second for at in served) for second in range(2, 8)]
    assert min(by_second) > 10, by_second


@pytest.mark.parametrize("options", [[], ["--watch"]])
def test_a_signal_lets_what_is_in_flight_finish(world: World, receive: Receive, options: list[str]) -> None:
    arrivals, released = threading.Semaphore(0), threading.Event()

    def wait(_: Request) -> bytes:
        arrivals.release()
        released.wait(30)
        return answer(200)

    for name in ("a", "b"):
        world.add(receive(wait), name)
    accept(world, 20)
    process = start(world, "--per-destination", "1", *options)
    for _ in range(2):
        assert arrivals.acquire(timeout=30)
    process.send_signal(signal.SIGTERM)
    # The test cannot see when the process has handled the signal; until then it makes further attempts, one by one.
    threading.Timer(0.5, released.set).start()
    status, out, err = finish(process)
    assert (status, err) == (0 if options else 130, "")
    report = json.loads(out)
    assert 2 <= report["delivered"] == report["attempted"] < 40


@pytest.mark.parametrize("descriptors", [14, 64])
def test_more_destinations_than_files_may_be_open_are_all_delivered_to(
    world: World, receive: Receive, descriptors: int
) -> None:
    servers = [receive(200) for _ in range(30)]
    for number, server in enumerate(servers):
        world.add(server, f"d{number}")
    accept(world, 2)
    limited = f'ulimit -n {descriptors} && exec "$@"'
    ark = [sys.executable, "-m", "arkcli"]
    for words in (["send", "signal.promoted", "--sample"], ["drain"]):
        done = subprocess.run(
            ["bash", "-c", limited, "bash", *ark, *words],
            cwd=ROOT,
            env={**os.environ, **world.variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert [len(server.requests) for server in servers] == [3] * 30
    assert repeated(servers) == 0
