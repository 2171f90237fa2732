"""Real processes: killed at any moment, stopped by signals, many at once."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from arkcli.actions import send
from arkcli.actions.send import Order
from tests.ark_at import MovedClock
from tests.queue.local.machine import filled, small_disk
from tests.world import PAYLOAD, Request, TestReceiver, World, answer, hang

Receive = Callable[..., TestReceiver]
ROOT = Path(__file__).parent.parent


def start(world: World, *args: str, at: float = 0.0, stdin: Any = subprocess.DEVNULL) -> "subprocess.Popen[str]":
    """Starts `ark` in a separate process whose clock is ahead by a number of seconds."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.ark_at", str(at), *args],
        cwd=ROOT,
        env={**os.environ, **world.variables},
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def ark(world: World, *args: str, at: float = 0.0) -> Any:
    """Runs `ark … --json` to its end, in this process beside the others, and returns what it printed."""
    _, out, err = world.ark(*args, "--json", clock=MovedClock(at))
    assert out, err
    return json.loads(out)


def accept(world: World, count: int) -> list[str]:
    """Accepts `count` events, as `ark send --queue` would; returns their ids."""
    session = world.session()
    session.home.queue.join(found.id for found in session.home.store.read().destinations)
    drafts = [send.draft(session.home, Order(event="signal.promoted", payload=PAYLOAD)) for _ in range(count)]
    session.home.queue.accept(drafts)
    session.home.queue.close()
    return [draft.id for draft in drafts]


def arrived(server: TestReceiver) -> Counter[str]:
    """How many times each event arrived."""
    return Counter(request.delivery.partition(".")[0] for request in server.requests)


def after(seconds: float, server: Callable[[], TestReceiver]) -> Callable[[Request], bytes]:
    """The behaviour of a receiver that waits before it answers."""

    def behave(_: Request) -> bytes:
        server().closing.wait(seconds)
        return answer(200)

    return behave


def announcing(event: threading.Event) -> Callable[[Request], bytes]:
    """The behaviour of a receiver that sets an event when a request comes."""

    def behave(_: Request) -> bytes:
        event.set()
        return answer(200)

    return behave


def test_twenty_drains_at_once_deliver_each_event_exactly_once(world: World, receive: Receive) -> None:
    servers = [receive(200) for _ in range(4)]
    for number, server in enumerate(servers):
        world.add(server, f"d{number}")
    ids = accept(world, 500)

    drains = [start(world, "drain", "--json") for _ in range(20)]
    results = [finish(drain) for drain in drains]

    assert [status for status, _, _ in results] == [0] * 20
    assert sum(json.loads(out)["delivered"] for _, out, _ in results) == 2000
    for server in servers:
        assert arrived(server) == dict.fromkeys(ids, 1)


def test_an_event_is_on_disk_before_the_first_packet_goes_out(world: World, receive: Receive) -> None:
    seen: list[bytes] = []

    def look(request: Request) -> bytes:
        seen.append(b"".join(world.event_lines))
        return answer(200)

    server = receive(look)
    world.add(server, "d")
    assert world.ark("send", "signal.promoted", stdin=PAYLOAD).status == 0
    assert server.requests[0].body in seen[0]


@pytest.mark.parametrize("request_number", [1, 2, 7, 30])
def test_a_drain_killed_amid_deliveries_loses_nothing_and_repeats_at_most_what_was_in_flight(
    world: World, receive: Receive, request_number: int
) -> None:
    process: list[subprocess.Popen[str]] = []
    arrivals = threading.Semaphore(0)

    def kill(request: Request) -> bytes:
        if len(server.requests) == request_number and process:
            process.pop().kill()
        arrivals.release()
        return answer(200)

    server = receive(kill)
    world.add(server, "d")
    ids = accept(world, 60)
    drain = start(world, "drain")
    process.append(drain)
    finish(drain)
    assert drain.returncode == -signal.SIGKILL

    ark(world, "drain")
    counts = arrived(server)
    assert set(counts) == set(ids)
    assert max(counts.values()) <= 2
    assert sum(counts.values()) - len(ids) <= 8


def test_retries_survive_kills_with_the_same_bytes_and_numbers(world: World, receive: Receive) -> None:
    process: list[subprocess.Popen[str]] = []

    def kill_once_per_attempt(request: Request) -> bytes:
        if process:
            process.pop().kill()
        return answer(500)

    server = receive(kill_once_per_attempt)
    world.add(server, "d")
    accept(world, 1)
    at = 0.0
    for delay in (0, 31, 301, 1801, 7201):
        at += delay
        killed = start(world, "drain", at=at)
        process.append(killed)
        finish(killed)
        assert ark(world, "drain", at=at)["attempted"] == 1
    assert [request.attempt for request in server.requests] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert len({(request.body, request.signature, request.delivery) for request in server.requests}) == 1
    assert ark(world, "queue", at=at)["destinations"][0]["dead"] == 1


def test_a_send_killed_while_it_delivers_leaves_the_event_to_drain(world: World, receive: Receive) -> None:
    process: list[subprocess.Popen[str]] = []

    def kill(request: Request) -> bytes:
        if process:
            process.pop().kill()
        return answer(200)

    server = receive(kill)
    world.add(server, "d")
    sending = start(world, "send", "signal.promoted", stdin=subprocess.PIPE)
    process.append(sending)
    sending.communicate(PAYLOAD.decode(), timeout=30)
    assert sending.returncode == -signal.SIGKILL
    assert ark(world, "drain")["delivered"] == 1
    assert len({request.body for request in server.requests}) == 1


def test_a_stopped_drain_holds_up_only_what_it_holds_and_the_others_say_who_it_is(
    world: World, receive: Receive
) -> None:
    asked = threading.Event()

    def held(request: Request) -> bytes:
        asked.set()
        return hang(request)

    stuck, other = receive(held), receive(200)
    world.add(stuck, "stuck")
    accept(world, 1)
    stopped = start(world, "drain", "--to", "stuck")
    assert asked.wait(20)
    stopped.send_signal(signal.SIGSTOP)
    try:
        world.add(other, "other")
        ids = accept(world, 20)
        drained = ark(world, "drain")
        assert drained["delivered"] == 20
        assert arrived(other) == dict.fromkeys(ids, 1)
        assert drained["held"] == [{"name": "stuck", "process": stopped.pid, "purpose": "drain"}]
    finally:
        stopped.kill()
    finish(stopped)
    stuck.behave = lambda _: answer(200)
    freed = ark(world, "drain")
    assert (freed["delivered"], freed["held"]) == (21, [])


def test_sigterm_lets_what_is_in_flight_finish_and_begins_nothing_new(world: World, receive: Receive) -> None:
    first = threading.Event()

    def slow(request: Request) -> bytes:
        first.set()
        server.closing.wait(0.4)
        return answer(200)

    server = receive(slow)
    world.add(server, "d")
    ids = accept(world, 200)
    drain = start(world, "drain", "--json")
    assert first.wait(20)
    drain.send_signal(signal.SIGTERM)
    status, out, _ = finish(drain)
    assert status == 130
    assert json.loads(out)["delivered"] == len(server.requests) < 200

    server.behave = lambda _: answer(200)
    ark(world, "drain")
    assert arrived(server) == dict.fromkeys(ids, 1)


def test_a_watching_drain_that_is_told_to_stop_has_done_its_work(world: World, receive: Receive) -> None:
    server = receive(200)
    world.add(server, "d")
    accept(world, 1)
    arrived_once = threading.Event()
    server.behave = announcing(arrived_once)
    drain = start(world, "drain", "--watch", "--json")
    assert arrived_once.wait(20)
    drain.send_signal(signal.SIGTERM)
    status, out, _ = finish(drain)
    assert (status, json.loads(out)["delivered"]) == (0, 1)


def test_ctrl_c_is_an_interruption(world: World, receive: Receive) -> None:
    server = receive(200)
    world.add(server, "d")
    accept(world, 1)
    heard = threading.Event()
    server.behave = announcing(heard)
    drain = start(world, "drain", "--watch")
    assert heard.wait(20)
    drain.send_signal(signal.SIGINT)
    assert finish(drain)[0] == 130


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_log_that_is_followed_ends_when_it_is_told_to(world: World, receive: Receive, number: int) -> None:
    world.add(receive(200), "d")
    world.ark("send", "signal.promoted", stdin=PAYLOAD)
    log = start(world, "log", "-f")
    assert log.stdout is not None
    assert "delivered" in log.stdout.readline()
    log.send_signal(number)
    assert finish(log) == (130, "", "")


def test_a_log_that_is_followed_ends_amid_its_first_listing(world: World, receive: Receive) -> None:
    world.add(receive(200), "d")
    # More than fits into a pipe, so the listing blocks until it is read.
    accept(world, 1_000)
    ark(world, "drain")
    log = start(world, "log", "-f", "--json")
    assert log.stdout is not None
    log.stdout.read(1)
    log.send_signal(signal.SIGINT)
    status, out, err = finish(log)
    assert (status, err) == (130, "")
    assert out.count("\n") < 1_000


def test_a_log_whose_reader_has_gone_ends_early_without_a_word(world: World, receive: Receive) -> None:
    world.add(receive(200), "d")
    accept(world, 1_000)
    ark(world, "drain")
    log = start(world, "log", "-f")
    assert log.stdout is not None
    log.stdout.read(1)
    log.stdout.close()
    assert log.stderr is not None
    with log.stderr:
        assert (log.wait(20), log.stderr.read()) == (0, "")


def test_a_log_that_is_followed_goes_on_while_destinations_come_and_go(world: World, receive: Receive) -> None:
    for name in ("a", "b"):
        world.add(receive(200), name)
    log = start(world, "log", "-f", "--json")
    assert log.stdout is not None

    def follows(event_id: str, *names: str) -> None:
        """Sends an event, and checks that the log shows its attempts at these destinations."""
        world.ark("send", "signal.promoted", "--id", event_id, stdin=PAYLOAD)
        assert log.stdout is not None
        shown = [json.loads(log.stdout.readline()) for _ in names]
        assert {(one["event_id"], one["destination"]) for one in shown} == {(event_id, name) for name in names}

    follows("one", "a", "b")
    world.ark("dest", "remove", "b", "--yes")
    follows("two", "a")
    world.add(receive(200), "c")
    follows("three", "a", "c")
    store = world.store_file.read_bytes()
    world.store_file.write_bytes(b"half of a")
    assert log.stderr is not None
    assert "half of a" not in log.stderr.readline()
    world.store_file.write_bytes(store)
    world.ark("dest", "pause", "c")
    follows("four", "a")
    log.send_signal(signal.SIGTERM)
    assert finish(log) == (130, "", "")


def test_a_log_that_is_followed_shows_many_attempts_as_soon_as_they_are_made(world: World, receive: Receive) -> None:
    world.add(receive(200), "d")
    log = start(world, "log", "-f", "--json")
    assert log.stdout is not None
    accept(world, 1)
    ark(world, "drain")
    log.stdout.readline()
    log.send_signal(signal.SIGSTOP)
    # If it read one block per poll, this many attempts would take more than four seconds.
    accept(world, 10_000)
    ark(world, "drain")
    read = threading.Thread(target=lambda: [log.stdout.readline() for _ in range(10_000) if log.stdout])
    log.send_signal(signal.SIGCONT)
    read.start()
    read.join(3)
    assert not read.is_alive()
    log.send_signal(signal.SIGINT)
    assert finish(log)[0] == 130


def test_the_second_signal_ends_at_once(world: World, receive: Receive) -> None:
    heard = threading.Event()

    def behave(request: Request) -> bytes:
        heard.set()
        return hang(request)

    server = receive(behave)
    world.add(server, "d")
    accept(world, 1)
    drain = start(world, "drain")
    assert heard.wait(20)
    drain.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        drain.wait(0.3)
    drain.send_signal(signal.SIGTERM)
    assert finish(drain)[0] == 130


def test_told_twice_to_stop_a_send_says_first_what_it_accepted(world: World, receive: Receive) -> None:
    heard = threading.Event()

    def behave(request: Request) -> bytes:
        heard.set()
        return hang(request)

    world.add(receive(behave), "d")
    sending = start(world, "send", "signal.promoted", "--sample", "--json")
    assert heard.wait(20)
    told = 0
    while sending.poll() is None:
        # Two signals that come before the first is handled count as one (signal(7)), so send more.
        sending.send_signal(signal.SIGINT)
        told += 1
        with suppress(subprocess.TimeoutExpired):
            sending.wait(0.5)
    assert told >= 2
    status, out, err = finish(sending)
    event_id = json.loads(world.event_lines[0])["id"]
    assert (status, out) == (130, "")
    assert err.startswith(f"interrupted: {event_id} is accepted and queued")


def test_told_to_stop_a_quiet_send_says_what_it_accepted(world: World, receive: Receive) -> None:
    heard = threading.Event()

    def behave(_: Request) -> bytes:
        heard.set()
        time.sleep(0.3)
        return answer(500)

    world.add(receive(behave), "d")
    sending = start(world, "send", "signal.promoted", "--sample", "--quiet")
    assert heard.wait(20)
    sending.send_signal(signal.SIGTERM)
    status, _, err = finish(sending)
    event_id = json.loads(world.event_lines[0])["id"]
    assert status == 130
    assert f"interrupted: {event_id} is accepted and queued" in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_after_all_is_done_does_not_change_the_exit_status(world: World, number: int) -> None:
    world.ark("dest", "add", "https://crm.example/", "--name", "crm", "--no-ping")
    # Python destroys this object after it has restored the default signal handlers.
    late = f"type('', (), dict(__del__=lambda _, kill=os.kill, me=os.getpid(): kill(me, {number})))()"
    code = f"import os, sys; sys.late = {late}; from arkcli.__main__ import main; main()"
    command = ["send", "signal.promoted", "--sample", "--queue", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-c", code, *command],
        env={**os.environ, **world.variables},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(world.event_lines) == 1


def test_a_send_says_that_it_has_accepted_before_anybody_answers(world: World, receive: Receive) -> None:
    said = threading.Event()
    world.add(receive(lambda _: answer(200) if said.wait(20) else answer(500)), "d")
    sending = start(world, "send", "signal.promoted", "--sample")
    assert sending.stderr is not None
    assert sending.stderr.readline().startswith("accepted evt_")
    said.set()
    assert finish(sending)[0] == 0


@pytest.mark.parametrize("command", [("drain", "--watch"), ("send", "signal.promoted", "--sample")])
def test_what_is_in_flight_when_the_terminal_goes_away_is_recorded(
    world: World, receive: Receive, command: tuple[str, ...]
) -> None:
    heard, gone = threading.Event(), threading.Event()

    def behave(_: Request) -> bytes:
        heard.set()
        gone.wait(20)
        return answer(200)

    server = receive(behave)
    world.add(server, "d")
    if command[0] == "drain":
        accept(world, 1)
    # When a terminal closes, the kernel sends SIGHUP to the first process of its session.
    process, terminal = pty.fork()
    if process == 0:
        os.execve(sys.executable, [sys.executable, "-m", "arkcli", *command], {**os.environ, **world.variables})
    assert heard.wait(20)
    os.close(terminal)
    # A shell sends SIGHUP to its jobs, too.
    os.kill(process, signal.SIGHUP)
    gone.set()
    _, ended = os.waitpid(process, 0)
    # A drain has done its work by then, but its output is lost.
    assert os.waitstatus_to_exitcode(ended) == (74 if command[0] == "drain" else 130)
    server.behave = lambda _: answer(200)
    assert ark(world, "drain")["attempted"] == 0
    assert len(server.requests) == 1


def drain_that_waits(world: World, receive: Receive, told: threading.Event) -> "subprocess.Popen[str]":
    """A watching drain whose attempt has begun and ends when `told` is set."""
    heard = threading.Event()

    def behave(_: Request) -> bytes:
        heard.set()
        told.wait(20)
        return answer(200)

    world.add(receive(behave), "d")
    accept(world, 1)
    drain = start(world, "drain", "--watch", "--json")
    assert heard.wait(20)
    return drain


@pytest.mark.parametrize("numbers", [(signal.SIGHUP, signal.SIGHUP), (signal.SIGTERM, signal.SIGHUP)])
def test_a_hangup_is_no_second_signal(
    world: World, receive: Receive, numbers: tuple[signal.Signals, signal.Signals]
) -> None:
    told = threading.Event()
    drain = drain_that_waits(world, receive, told)
    for number in numbers:
        drain.send_signal(number)
        time.sleep(0.1)
    told.set()
    status, out, _ = finish(drain)
    assert (status, json.loads(out)["delivered"]) == (0, 1)


def test_a_sigterm_that_comes_twice_at_once_as_from_timeout_is_one_signal(world: World, receive: Receive) -> None:
    told = threading.Event()
    drain = drain_that_waits(world, receive, told)
    drain.send_signal(signal.SIGTERM)
    time.sleep(0.02)
    drain.send_signal(signal.SIGTERM)
    told.set()
    status, out, _ = finish(drain)
    assert (status, json.loads(out)["delivered"]) == (0, 1)


def test_a_hangup_that_was_ignored_at_the_start_stays_ignored(world: World, receive: Receive) -> None:
    server = receive(200)
    world.add(server, "d")
    accept(world, 1)
    heard = threading.Event()
    server.behave = announcing(heard)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    drain = start(world, "drain", "--watch", "--json")
    signal.signal(signal.SIGHUP, before)
    assert heard.wait(20)
    drain.send_signal(signal.SIGHUP)
    accept(world, 1)
    while len(server.requests) < 2:
        assert drain.poll() is None
        assert not server.closing.wait(0.05)
    drain.send_signal(signal.SIGTERM)
    assert finish(drain)[0] == 0


def test_a_send_beside_a_watching_drain_is_delivered_once_and_reported(world: World, receive: Receive) -> None:
    server = receive(200)
    world.add(server, "d")
    heard = threading.Event()
    server.behave = announcing(heard)
    accept(world, 1)
    drain = start(world, "drain", "--watch", "--json")
    assert heard.wait(20)
    for _ in range(5):
        sending = start(world, "send", "signal.promoted", "--json", stdin=subprocess.PIPE)
        out, err = sending.communicate(PAYLOAD.decode(), timeout=30)
        assert sending.returncode == 0, (out, err)
        assert json.loads(out)["deliveries"][0]["outcome"] == "delivered"
    drain.send_signal(signal.SIGTERM)
    finish(drain)
    assert set(arrived(server).values()) == {1}
    assert len(server.requests) == 6


def test_a_watching_drain_delivers_what_others_queue_and_follows_the_store(world: World, receive: Receive) -> None:
    one, two = receive(200), receive(200)
    world.add(one, "one")
    drain = start(world, "drain", "--watch", "--json")
    heard = threading.Event()
    two.behave = announcing(heard)
    world.add(two, "two")
    accept(world, 3)
    assert heard.wait(20)
    while len(two.requests) < 3 or len(one.requests) < 3:
        assert not one.closing.wait(0.05)
    drain.send_signal(signal.SIGTERM)
    assert json.loads(finish(drain)[1])["delivered"] == 6


def test_retries_are_made_by_a_watching_drain_when_their_time_comes(world: World, receive: Receive) -> None:
    server = receive(500)
    world.add(server, "d")
    accept(world, 1)
    ark(world, "drain")
    server.behave = lambda _: answer(200)
    assert ark(world, "drain", "--for", "500ms", at=28.0)["attempted"] == 0
    assert ark(world, "drain", "--for", "4s", at=28.0)["delivered"] == 1


def test_a_hung_destination_delays_no_other(world: World, receive: Receive) -> None:
    hung = [receive(hang) for _ in range(8)]
    healthy = [receive(200) for _ in range(12)]
    for number, server in enumerate([*hung, *healthy]):
        world.add(server, f"d{number:02}")
    accept(world, 30)
    drain = start(world, "drain", "--json")
    done = threading.Event()
    for _ in range(100):
        if all(len(server.requests) == 30 for server in healthy):
            done.set()
            break
        done.wait(0.1)
    drain.kill()
    finish(drain)
    assert done.is_set()
    assert all(len(server.requests) <= 8 for server in hung)


def test_no_more_attempts_are_in_flight_than_allowed(world: World, receive: Receive) -> None:
    server = receive()
    server.behave = after(0.02, lambda: server)
    other = receive()
    other.behave = after(0.02, lambda: other)
    world.add(server, "one")
    world.add(other, "two")
    accept(world, 100)
    ark(world, "drain", "--per-destination", "5", "--concurrency", "7")
    assert server.most_at_once <= 5
    assert other.most_at_once <= 5
    assert max(server.most_at_once, other.most_at_once) >= 3


def test_retries_and_replays_asked_for_while_a_drain_runs_fork_nothing(world: World, receive: Receive) -> None:
    server = receive(500)
    world.add(server, "d")
    ids = accept(world, 40)
    ark(world, "drain")
    assert len(server.requests) == 40
    server.behave = after(0.02, lambda: server)
    accept(world, 20)
    drain = start(world, "drain", "--watch", "--json", at=31.0)
    asking = [start(world, "queue", "retry", *ids, "--json", at=31.0) for _ in range(3)]
    asking += [start(world, "replay", *ids, "--yes", "--json", at=31.0) for _ in range(2)]
    for asked in asking:
        finish(asked)
    while ark(world, "queue", at=31.0)["destinations"][0]["waiting"]:
        assert not server.closing.wait(0.1)
    drain.send_signal(signal.SIGTERM)
    finish(drain)
    # Only a replay may send an event twice, if the event was delivered before the replay.
    assert ark(world, "drain", at=99999.0)["attempted"] == 0
    counts = arrived(server)
    assert all(2 <= counts[event] <= 4 for event in ids)
    assert ark(world, "queue", "check")["damaged"] == []


def test_a_full_disk_accepts_nothing_and_says_so(world: World, receive: Receive, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, "size=1m"):
        world.variables["ARK_STATE_DIR"] = str(disk / "state")
        server = receive(200)
        world.add(server, "d")
        accept(world, 3)
        (log,) = (disk / "state" / "queue" / "events").glob("*.jsonl")
        before = log.read_bytes()
        large = json.dumps({**json.loads(PAYLOAD), "notes": "x" * 15_000}).encode()
        with filled(disk):
            full = world.ark("send", "signal.promoted", stdin=large)
        assert full.status == 1
        assert "the disk is full: nothing was accepted" in full.err
        assert log.read_bytes() == before
        assert world.ark("send", "signal.promoted", stdin=large).status == 0
        assert world.ark("queue", "check").status == 0
        assert world.ark("drain", "--json").json["delivered"] == 3


def test_a_disk_that_fills_stops_a_drain_which_says_why_and_loses_nothing(
    world: World, receive: Receive, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, "size=1m"):
        world.variables["ARK_STATE_DIR"] = str(disk / "state")
        server = receive(200)
        world.add(server, "d")
        ids = accept(world, 60)
        with filled(disk):
            status, _, err = finish(start(world, "drain"))
        assert status == 1
        assert "the disk is full" in err
        assert len(server.requests) < 60
        ark(world, "drain")
        counts = arrived(server)
        assert set(counts) == set(ids)
        assert sum(counts.values()) - 60 <= 8
