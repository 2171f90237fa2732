"""`ark doctor`: what is checked, what passes, and the messages if it does not."""

import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from arkcli import times
from arkcli.actions import doctor
from arkcli.actions.doctor import Space
from arkcli.actions.findings import Status
from arkcli.model import Answer, Attempt, Destination, Event, Outcome
from arkcli.queue.engine import Holder, Standing
from arkcli.queue.local.stored import StoredEvent
from tests.world import START, Certificates, TestReceiver, World, receiver

MB = 1024 * 1024
GB = 1024 * MB
MINUTE = 60_000


def examined(world: World) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in world.ark("doctor", "--json").json["checks"]}


@pytest.mark.parametrize(
    ("free", "total", "inodes", "status"),
    [
        (50 * GB, 100 * GB, 1_000, Status.PASS),
        (50 * GB, 100 * GB, None, Status.PASS),
        (11 * GB, 1000 * GB, 1_000, Status.PASS),
        (4 * GB, 100 * GB, 1_000, Status.WARN),
        (99 * MB, 200 * MB, 1_000, Status.WARN),
        (7 * MB, 200 * MB, 1_000, Status.FAIL),
        (50 * GB, 100 * GB, 0, Status.FAIL),
    ],
)
def test_space(free: int, total: int, inodes: int | None, status: Status) -> None:
    assert doctor.check_space(Path("/q"), Space(free, total, inodes)).status is status


@pytest.mark.parametrize(
    ("now", "newest", "status"),
    [
        (START, None, Status.PASS),
        (START, START - MINUTE, Status.PASS),
        (START, START + 4_000, Status.PASS),
        (START, START + MINUTE, Status.WARN),
        (0, None, Status.FAIL),
        (4_200_000_000_000, None, Status.FAIL),
    ],
)
def test_clock(now: int, newest: int | None, status: Status) -> None:
    assert doctor.check_clock(now, newest).status is status


def attempt(at: int, number: int = 1) -> Attempt:
    return Attempt("evt_1", "ping", number, at, Outcome.FAILED, 503, None, 3, "")


def event(at: int) -> Event:
    return Event("evt_1", "ping", times.to_text(at), b"{}")


def standing(due_at: int | None, last: Attempt | None = None) -> Standing:
    return Standing(1, (0, 0, 0, 0), 0, due_at, due_at, last)


def destination(name: str, *, paused: bool = False) -> Destination:
    return Destination(id=f"dst_{name}", name=name, url=f"https://{name}.example/", added_at="", paused=paused)


@pytest.mark.parametrize(
    ("due", "last", "accepted", "paused", "drained", "status"),
    [
        # In minutes: time since due, since the last attempt, and since its event was accepted.
        (None, None, None, False, False, Status.PASS),
        (-1, None, None, False, False, Status.PASS),
        (4, None, None, False, False, Status.PASS),
        (6, None, None, False, False, Status.WARN),
        (60, 30, 90, False, False, Status.WARN),
        # A drain is working through a backlog, oldest first.
        (60, 1, 61, False, False, Status.PASS),
        (60, 1, 60, False, False, Status.PASS),
        (60, 1, None, False, False, Status.PASS),
        # Newer events were sent, but due deliveries are not attempted.
        (60, 1, 1, False, False, Status.WARN),
        (60, 1, 59, False, False, Status.WARN),
        # A drain is delivering to it now, perhaps for the first time in a long while.
        (60, None, None, False, True, Status.PASS),
        (60, 30, 30, False, True, Status.PASS),
        (60, 1, 1, False, True, Status.PASS),
        (60, None, None, True, False, Status.PASS),
    ],
)
def test_drain(
    due: int | None, last: int | None, accepted: int | None, paused: bool, drained: bool, status: Status
) -> None:
    made = None if last is None else attempt(START - last * MINUTE)
    check = doctor.check_drain(
        START,
        [(destination("crm", paused=paused), standing(None if due is None else START - due * MINUTE, made))],
        {"crm"} if drained else set(),
        lambda _: None if accepted is None else event(START - accepted * MINUTE),
    )
    assert check.status is status
    if status is Status.WARN:
        assert "ark drain --for 55s" in str(check.hint)


def test_a_retry_that_was_just_made_is_the_work_of_a_drain() -> None:
    made = attempt(START - MINUTE, 2)
    check = doctor.check_drain(
        START, [(destination("crm"), standing(START - 60 * MINUTE, made))], (), lambda _: event(START)
    )
    assert (check.status, check.message) == (Status.PASS, "what is due is being attempted")


def test_of_several_the_one_is_named_where_something_has_been_due_longest_and_since_when() -> None:
    standings = [
        (destination("busy"), standing(START - 99 * MINUTE)),
        (destination("late"), standing(START - 20 * MINUTE)),
        (destination("crm"), standing(START - 60 * MINUTE)),
        (destination("idle"), standing(None)),
    ]
    check = doctor.check_drain(START, standings, {"busy"}, lambda _: None)
    since = times.to_text(START - 60 * MINUTE)
    assert check.message == (
        f"deliveries to crm have been due since {since} (60 min), and no process attempts them; "
        "the same is true of 1 more destination"
    )


def test_what_is_due_is_overdue_though_others_are_sent(world: World, receive: Callable[..., TestReceiver]) -> None:
    world.add(receive(200), "crm")
    world.ark("send", "signal.promoted", "--sample", "--queue")
    world.clock.advance(3_600)
    with world.held("crm", "send"):
        # Another process holds the destination, but only for its own event.
        assert examined(world)["drain"]["status"] == "warn"
    with world.held("crm", "drain"):
        assert examined(world)["drain"]["status"] == "pass"
    world.ark("send", "signal.promoted", "--sample", "--queue", "--id", "newer")
    newer = world.session().home.queue.find("newer")
    with world.held("crm", "send") as claim:
        assert isinstance(newer, StoredEvent)
        delivery = claim.first_attempt(newer)
        assert delivery is not None
        claim.record([(delivery, Answer(200, None, 1))], world.clock.now())
    assert "due since 2026-11-18" in examined(world)["drain"]["message"]
    world.ark("drain")
    assert examined(world)["drain"]["message"] == "nothing is overdue"


@pytest.mark.parametrize(
    ("holders", "status", "word"),
    [
        ({}, Status.PASS, "no process"),
        ({"crm": Holder(12, "drain")}, Status.PASS, "crm by process 12 (drain)"),
        ({"crm": Holder(99, "drain")}, Status.FAIL, "process 99 is delivering to crm but is suspended"),
    ],
)
def test_locks(holders: dict[str, Holder], status: Status, word: str) -> None:
    check = doctor.check_locks(holders, lambda process: process == 99)
    assert (check.status, word in check.message) == (status, True)


@pytest.mark.parametrize(
    ("directory", "file", "mode", "status"),
    [
        (0o700, "destinations.toml", 0o600, Status.PASS),
        (0o700, "destinations.toml", 0o400, Status.PASS),
        (0o755, "destinations.toml", 0o600, Status.WARN),
        (0o700, "events.jsonl", 0o640, Status.WARN),
        (0o700, "destinations.toml", 0o604, Status.FAIL),
    ],
)
def test_permissions(tmp_path: Path, directory: int, file: str, mode: int, status: Status) -> None:
    home = tmp_path / "it's home"
    home.mkdir()
    (home / file).touch()
    (home / file).chmod(mode)
    home.chmod(directory)
    (check,) = doctor.check_permissions(home, tmp_path / "missing")
    assert check.status is status
    if check.hint is not None:
        subprocess.run(["sh", "-c", check.hint], check=True)
        assert doctor.check_permissions(home, tmp_path / "missing")[0].status is Status.PASS


@pytest.mark.parametrize(
    ("days", "status", "word"),
    [(60, Status.PASS, "valid until"), (10, Status.WARN, "10 days from now"), (-1, Status.FAIL, "expired")],
)
def test_a_certificate_is_judged_by_a_real_handshake_and_nothing_is_sent(
    world: World, tmp_path: Path, days: int, status: Status, word: str
) -> None:
    certificates = Certificates(tmp_path)
    world.clock.milliseconds = time.time_ns() // 1_000_000
    ends = datetime.now(UTC) + timedelta(days=days, minutes=5)
    with receiver(200, certificates.wrapping("127.0.0.1", valid_until=ends)) as found:
        world.add(found, "crm", "--ca-file", certificates.ca_file)
        check = examined(world)["destination crm"]
        assert check["status"] == status
        assert word in check["message"]
        assert found.requests == []


@pytest.mark.parametrize(
    ("url", "options", "word"),
    [
        ("https://127.0.0.1/", [], "loopback"),
        ("https://no-such-host.invalid/", [], "resolved"),
        ("http://127.0.0.1:1/", ["--allow-local"], "refused"),
    ],
)
def test_a_destination_that_cannot_be_reached_fails(world: World, url: str, options: list[str], word: str) -> None:
    world.ark("dest", "add", url, "--name", "crm", "--no-ping", *options)
    result = world.ark("doctor", "--json")
    assert (result.status, result.json["ok"]) == (1, False)
    assert word in examined(world)["destination crm"]["message"]


def test_a_paused_destination_that_cannot_be_reached_is_worth_a_warning(world: World) -> None:
    world.ark("dest", "add", "http://127.0.0.1:1/", "--name", "crm", "--no-ping", "--allow-local")
    world.ark("dest", "pause", "crm")
    assert examined(world)["destination crm"]["status"] == "warn"


def test_many_destinations_are_reached_at_once(world: World, tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    handshake = certificates.wrapping("127.0.0.1")
    everybody = threading.Barrier(8)

    def wrap(connection: socket.socket) -> socket.socket:
        everybody.wait(9)
        return handshake(connection)

    world.clock.milliseconds = time.time_ns() // 1_000_000
    with receiver(200, wrap) as found:
        options = ["--no-ping", "--allow-local", "--ca-file", certificates.ca_file]
        for number in range(everybody.parties):
            world.ark("dest", "add", f"{found.url}/{number}", "--name", f"n{number}", *options)
        assert world.ark("doctor").status == 0


def test_all_is_well_with_a_store_a_queue_and_a_receiver(world: World, receive: Callable[..., TestReceiver]) -> None:
    world.add(receive(200), "crm")
    assert world.ark("send", "signal.promoted", "--sample").status == 0
    text = world.ark("doctor")
    assert (text.status, text.err) == (0, "")
    assert {line.split()[0] for line in text.out.splitlines()} == {"pass"}
    assert world.ark("doctor", "--quiet").out == ""
    assert {check["status"] for check in world.ark("doctor", "--json").json["checks"]} == {"pass"}


def test_with_nothing_there_it_makes_nothing_and_says_how_to_begin(world: World) -> None:
    result = world.ark("doctor")
    assert result.status == 0
    assert "ark dest add URL" in result.out
    assert not world.home.exists()


def test_a_broken_store_fails_and_the_rest_is_checked_all_the_same(world: World) -> None:
    world.store_file.parent.mkdir(parents=True, mode=0o700)
    world.store_file.write_text("nonsense")
    found = examined(world)
    assert found["store"]["status"] == "fail"
    assert {"space", "queue", "clock"} <= found.keys()
    assert world.store_file.read_text() == "nonsense"


def test_a_secret_that_cannot_be_had_fails(world: World) -> None:
    world.ark("dest", "add", "http://127.0.0.1:1/", "--name", "crm", "--no-ping", "--allow-local")
    text = world.store_file.read_text()
    world.store_file.write_text(re.sub(r'secret = ".*"', 'secret = "env:NOT_THERE"', text))
    check = examined(world)["secret"]
    assert check["status"] == "fail"
    assert "NOT_THERE" in check["message"]


def test_damage_at_the_end_of_a_file_is_found(world: World) -> None:
    world.ark("dest", "add", "http://127.0.0.1:1/", "--name", "crm", "--no-ping", "--allow-local")
    world.ark("send", "signal.promoted", "--sample", "--queue")
    (log,) = (world.queue_directory / "events").glob("*.jsonl")
    log.write_bytes(log.read_bytes().replace(b"signal.promoted", b"signal.promotes"))
    found = examined(world)
    assert found["damage"]["status"] == "fail"
    assert log.name in found["damage"]["message"]


def test_a_newer_queue_fails_and_is_left_alone(world: World) -> None:
    world.queue_directory.mkdir(parents=True, mode=0o700)
    (world.queue_directory / "VERSION").write_text("99\n")
    assert examined(world)["queue"]["status"] == "fail"
    assert (world.queue_directory / "VERSION").read_text() == "99\n"


def test_a_file_where_the_queue_should_be_fails(world: World) -> None:
    world.home.mkdir()
    (world.home / "state").touch()
    check = examined(world)["queue"]
    assert check["status"] == "fail"
    assert "not a directory" in check["message"]


def test_a_stopped_holder_of_a_lock_is_named(world: World, receive: Callable[..., TestReceiver]) -> None:
    world.add(receive(200), "crm")
    world.ark("queue")
    code = """
import os, signal, sys
from pathlib import Path
from arkcli.queue.local.queue import LocalQueue
from arkcli.model import DOCUMENTED
queue = LocalQueue(Path(sys.argv[1]), DOCUMENTED)
claim = queue.claim(sys.argv[2], "drain")
print("held", flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
"""
    place = next((world.queue_directory / "destinations").iterdir()).name
    command = [sys.executable, "-c", code, str(world.queue_directory), place]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        os.waitpid(process.pid, os.WUNTRACED)
        check = examined(world)["locks"]
        process.kill()
    assert check["status"] == "fail"
    assert f"process {process.pid} is delivering to crm" in check["message"]


def test_a_directory_where_ark_does_not_look_is_named_while_there_is_no_destination(world: World) -> None:
    world.variables["HOME"] = str(world.home)
    other = world.home / "Library" / "Application Support" / "ark"
    other.mkdir(parents=True)
    found = examined(world)["store"]
    assert found["message"].endswith(f"has no destination, and ark does not look into {other}")
    assert found["hint"].startswith(f"move what you want to keep from there to {world.store_file.parent}, or add one")
    world.variables["ARK_CONFIG_DIR"] = str(other)
    assert "does not look" not in examined(world)["store"]["message"]


def test_what_is_wrong_with_a_queue_does_not_stop_the_doctor(world: World) -> None:
    world.ark("dest", "add", "http://127.0.0.1:1/", "--name", "crm", "--no-ping", "--allow-local")
    world.ark("send", "signal.promoted", "--sample", "--queue")
    (log,) = (world.queue_directory / "events").glob("*.jsonl")
    log.unlink()
    log.mkdir()
    found = examined(world)
    assert found["queue"]["status"] == "fail"
    assert {"clock", "secret", "destination crm"} <= found.keys()
