"""Whole commands with receivers that go down and come back; one destination's failure must not affect the others."""

import errno
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.queue.local.machine import filled, small_disk
from tests.refused import without_sockets
from tests.test_processes import accept, after, ark, arrived, finish, start
from tests.world import PAYLOAD, Request, TestReceiver, World, answer, in_turn

Receive = Callable[..., TestReceiver]


def closed_port() -> str:
    """A URL that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}/"


class Gateway:
    """A receiver behind a gateway, which answers 503 at once while the receiver is down."""

    def __init__(self) -> None:
        self.is_unreachable = True
        self.asked: list[float] = []

    def __call__(self, _: Request) -> bytes:
        self.asked.append(time.monotonic())
        return answer(503 if self.is_unreachable else 200)


def standing(world: World, name: str = "d") -> dict[str, object]:
    found = ark(world, "queue")
    return next(one for one in found["destinations"] if one["name"] == name)


def test_a_restart_of_half_a_second_costs_a_backlog_nothing(world: World, receive: Receive) -> None:
    gateway = Gateway()
    server = receive(gateway)
    world.add(server, "d")
    ids = accept(world, 300)
    back = threading.Timer(0.4, lambda: setattr(gateway, "is_unreachable", False))
    drain = start(world, "drain", "--json")
    back.start()
    status, out, err = finish(drain)
    assert status == 0, err
    # Due later: the attempts in flight when it went down, and one probe.
    assert json.loads(out)["retrying"] <= 8 + 1
    assert len(ids) - json.loads(out)["delivered"] == json.loads(out)["retrying"]
    assert json.loads(out)["held_back"] == []


def test_while_it_is_away_only_probes_are_made_and_ever_less_often(world: World, receive: Receive) -> None:
    gateway = Gateway()
    world.add(receive(gateway), "d")
    accept(world, 300)
    _, out, _err = finish(start(world, "drain", "--for", "4s", "--json"))
    probes = gateway.asked[-3:]
    # At first two at once, and one more that starts when they return; then after 0.5, 1 and 2 s.
    assert 6 <= len(gateway.asked) <= 8, gateway.asked
    assert [round(later - sooner) for sooner, later in itertools.pairwise(probes)] == [1, 2]
    (held,) = json.loads(out)["held_back"]
    assert (held["name"], held["error"]) == ("d", "answered 503, not a 2xx")


def test_the_next_run_begins_with_one_probe_and_goes_on_when_that_is_answered(world: World, receive: Receive) -> None:
    gateway = Gateway()
    world.add(receive(gateway), "d")
    accept(world, 50)
    for _ in range(2):
        world.ark("drain")
    asked = len(gateway.asked)
    assert standing(world)["held_back"] is not None
    world.clock.advance(60)
    assert world.ark("drain").status == 0
    # It has been down for longer than a drain waits.
    assert len(gateway.asked) == asked + 1
    gateway.is_unreachable = False
    world.clock.advance(60)
    world.ark("drain")
    assert world.ark("queue", "--json").json["destinations"][0]["waiting"] == 0
    assert world.ark("queue", "--json").json["destinations"][0]["held_back"] is None


def test_it_is_held_back_from_every_process_that_shares_it(world: World, receive: Receive) -> None:
    gateway = Gateway()
    server = receive(gateway)
    world.add(server, "d")
    accept(world, 50)
    world.ark("drain")
    asked = len(gateway.asked)
    result = world.ark("send", "signal.promoted", "--json", stdin=PAYLOAD)
    assert result.status == 75
    (delivery,) = result.json["deliveries"]
    assert (delivery["outcome"], delivery["attempt"]) == ("waiting", 0)
    assert delivery["error"].startswith("held back: unreachable since ")
    assert delivery["next_attempt_at"] is not None
    assert len(gateway.asked) == asked


def test_the_queue_shows_since_when_and_why_it_is_held_back(world: World) -> None:
    result = world.ark("dest", "add", closed_port(), "--name", "d", "--allow-local", "--no-ping")
    assert result.status == 0
    accept(world, 20)
    world.ark("drain")
    shown = world.ark("queue")
    assert "d is held back: unreachable since 2026-" in shown.err
    assert "connection refused" in shown.err
    held = world.ark("queue", "--json").json["destinations"][0]["held_back"]
    assert held.keys() == {"since", "until", "error", "reason"}


def test_one_that_is_away_costs_the_others_nothing(world: World, receive: Receive) -> None:
    good = receive(200)
    world.ark("dest", "add", closed_port(), "--name", "away", "--allow-local", "--no-ping")
    world.add(good, "good")
    ids = accept(world, 200)
    began = time.monotonic()
    finish(start(world, "drain", "--for", "2s"))
    assert time.monotonic() - began < 10
    assert arrived(good) == dict.fromkeys(ids, 1)


def test_a_receiver_that_refuses_by_its_own_words_is_not_held_back(world: World, receive: Receive) -> None:
    world.add(receive(500), "d")
    accept(world, 40)
    assert world.ark("drain", "--json").json["retrying"] == 40


def test_one_that_fails_now_and_then_is_not_held_back(world: World, receive: Receive) -> None:
    world.add(receive(in_turn(*[200, 503] * 100)), "d")
    accept(world, 40)
    result = world.ark("drain", "--per-destination", "1", "--json").json
    assert (result["attempted"], result["held_back"]) == (40, [])


# --- many `ark send` at once


def test_sends_at_once_to_a_slow_receiver_are_made_side_by_side(world: World, receive: Receive) -> None:
    server = receive(after(1.0, lambda: server))
    world.add(server, "d")
    began = time.monotonic()
    sends = [start(world, "send", "signal.promoted", "--sample", "--json") for _ in range(8)]
    ended = [finish(send) for send in sends]
    assert [status for status, _, _ in ended] == [0] * 8
    ids = [json.loads(out)["event"]["id"] for _, out, _ in ended]
    assert arrived(server) == dict.fromkeys(ids, 1)
    assert server.most_at_once > 2, time.monotonic() - began


def test_a_send_makes_no_more_at_once_than_a_destination_may_have(world: World, receive: Receive) -> None:
    server = receive(after(1.0, lambda: server))
    world.add(server, "d")
    first = start(world, "send", "signal.promoted", "--sample")
    while not server.requests:
        time.sleep(0.01)
    ids = accept(world, 30)
    assert finish(first)[0] == 0
    assert server.most_at_once <= 8
    # A send ends when its own event is delivered, and leaves the rest to other processes.
    assert len(server.requests) < 30
    ark(world, "drain")
    assert set(ids) <= set(arrived(server))
    assert set(arrived(server).values()) == {1}


# --- one destination's part of the queue is broken


def _link(place: Path) -> None:
    (journal,) = (place / "journal").iterdir()
    journal.rename(place.parent.parent / "elsewhere")
    journal.symlink_to(place.parent.parent / "elsewhere")


def _directory(place: Path) -> None:
    (journal,) = (place / "journal").iterdir()
    journal.unlink()
    journal.mkdir()


def _lock(place: Path) -> None:
    (place / "lock").unlink(missing_ok=True)
    (place / "lock").mkdir()


def _file(place: Path) -> None:
    shutil.rmtree(place)
    place.write_bytes(b"")


@pytest.mark.parametrize("break_", [_link, _directory, _lock, _file])
@pytest.mark.parametrize("command", ["send", "drain"])
def test_the_others_are_served_and_the_broken_one_is_named(
    world: World, receive: Receive, break_: Callable[[Path], None], command: str
) -> None:
    servers = {name: receive(200) for name in ("a", "b", "c")}
    for name, server in servers.items():
        world.add(server, name)
    world.ark("send", "signal.promoted", stdin=PAYLOAD)
    if command == "drain":
        accept(world, 3)
    broken = world.session().home.store.read().find("b")
    assert broken is not None
    break_(world.queue_directory / "destinations" / broken.id)
    before = {name: len(server.requests) for name, server in servers.items()}
    asked = ("send", "signal.promoted", "--sample") if command == "send" else ("drain",)
    result = world.ark(*asked)
    assert result.status == (75 if command == "send" else 1)
    assert result.err.count("b is left out: ") == 1
    assert broken.id in result.err
    new = {name: len(server.requests) - before[name] for name, server in servers.items()}
    count = 1 if command == "send" else 3
    assert (new["a"], new["b"], new["c"]) == (count, 0, count)


def test_what_waits_for_a_broken_one_is_delivered_when_it_is_whole_again(world: World, receive: Receive) -> None:
    server = receive(200)
    world.add(server, "d")
    ids = accept(world, 3)
    (place,) = (world.queue_directory / "destinations").iterdir()
    (place / "lock").mkdir()
    assert world.ark("drain").status == 1
    (place / "lock").rmdir()
    assert world.ark("drain").status == 0
    assert arrived(server) == dict.fromkeys(ids, 1)


# --- shortages on this machine


def test_on_a_full_disk_no_attempt_is_made_and_nothing_is_lost(world: World, receive: Receive) -> None:
    server = receive(200)
    world.home.mkdir()
    with small_disk(world.home / "state", "size=3m"):
        world.add(server, "d")
        ids = accept(world, 20)
        with filled(world.home / "state"):
            result = world.ark("drain")
            assert result.status == 1
            assert "the disk is full" in result.err
            assert "nothing was attempted" in result.err
        assert server.requests == []
        assert world.ark("drain").status == 0
        assert arrived(server) == dict.fromkeys(ids, 1)


def test_what_is_under_way_as_the_disk_fills_up_is_written_down(world: World, receive: Receive) -> None:
    world.home.mkdir()
    with small_disk(world.home / "state", "size=6m"):
        filler = world.home / "state" / "filler"

        def fill(_: Request) -> bytes:
            if len(server.requests) > 1:
                return answer(200)
            free = os.statvfs(world.home / "state")
            with filler.open("ab") as file:
                file.write(b"x" * (free.f_bavail * free.f_frsize))
            return answer(200)

        server = receive(fill)
        world.add(server, "d")
        ids = accept(world, 40)
        while (result := world.ark("drain")).status == 1:
            assert "No space left" in result.err or "the disk is full" in result.err
            filler.unlink()
        assert arrived(server) == dict.fromkeys(ids, 1)


def test_a_drain_with_too_few_descriptors_for_its_attempts_fails_nobody(world: World, receive: Receive) -> None:
    for number in range(8):
        world.add(receive(200), f"d{number}")
    accept(world, 20)
    drain = subprocess.run(
        [
            "/bin/bash",
            "-c",
            "ulimit -n 40; exec python3 -m tests.ark_at 0 drain --concurrency 256 --json".replace(
                "python3", sys.executable
            ),
        ],
        env={**os.environ, **world.variables},
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert drain.returncode == 0, drain.stderr
    assert json.loads(drain.stdout)["delivered"] == 160


#: Runs a drain in a process that opens files of its own after the drain has counted the free descriptors.
CROWDED = """
import os, resource, sys
from arkcli.actions import drain as draining
from arkcli.delivery.drain import Plan
from arkcli.cli.session import Session

resource.setrlimit(resource.RLIMIT_NOFILE, (400, 400))
opened = []

def choose(contents):
    while not opened or os.dup(0) < 400 - int(sys.argv[1]) - 1:
        opened.append(0)
    return contents.destinations

session = Session.of_this_process()
drained = draining.drain(session.home, draining.Job(choose, Plan()), print, session.process.stopping)
print({what: drained.total(what) for what in ("attempted", "delivered", "retrying")})
"""


def crowded(world: World, left: int) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", CROWDED, str(left)],
        env={**os.environ, **world.variables},
        cwd=Path(__file__).parent.parent,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_this_machine_cannot_attempt_costs_no_delivery_an_attempt(world: World, receive: Receive) -> None:
    server = receive(after(0.02, lambda: server))
    world.add(server, "d")
    ids = accept(world, 60)
    drain = crowded(world, left=14)
    assert drain.stdout == "{'attempted': 60, 'delivered': 60, 'retrying': 0}\n", drain.stderr[-2000:]
    assert arrived(server) == dict.fromkeys(ids, 1)


def test_where_not_even_one_attempt_can_be_made_the_run_ends_and_says_why(world: World, receive: Receive) -> None:
    server = receive(200)
    world.add(server, "d")
    ids = accept(world, 3)
    # It can open files, and so gets as far as the attempt, but no socket, as if the last descriptor had been taken.
    refused = [socket.AF_INET, socket.AF_INET6]
    drain = without_sockets(
        refused, errno.EMFILE, sys.executable, "-m", "tests.ark_at", "0", "drain", **world.variables
    )
    assert drain.returncode == 1
    reason = "no attempt can be made: this machine is short of file descriptors (EMFILE). Deliveries stay due"
    assert reason in drain.stderr
    assert server.requests == []
    assert world.ark("drain").status == 0
    assert arrived(server) == dict.fromkeys(ids, 1)


def test_however_few_descriptors_are_left_a_run_delivers_or_says_what_is_missing(
    world: World, receive: Receive
) -> None:
    server = receive(200)
    world.add(server, "d")
    ids = accept(world, 3)
    left = 3
    while (drain := crowded(world, left)).returncode != 0:
        missing = ("Too many open files", "(EMFILE)", "curl-multi")
        assert any(word in drain.stderr for word in missing), (left, drain.stderr)
        left += 2
    assert arrived(server) == dict.fromkeys(ids, 1)
