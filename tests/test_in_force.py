"""Settings that change while `ark drain` is running: real processes that are always busy.

An attempt that starts half a second after a change uses the new settings. Times are seconds of this process's clock.
"""

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from arkcli.signing import sign
from tests.actions.test_drain import repeated, start
from tests.test_processes import accept, arrived, finish
from tests.test_processes import start as ark_process
from tests.world import Request, TestReceiver, World, answer

Receive = Callable[..., TestReceiver]
#: Changes apply half a second after a command returned; allow twice that on a busy machine.
IN_FORCE = 1.0


class Seen(NamedTuple):
    """A request and its time of arrival."""

    at: float
    request: Request


class Busy:
    """A destination with work for many seconds, and a drain that is delivering to it."""

    def __init__(self, world: World, receive: Receive, *options: str, secret: bytes = b"old secret") -> None:
        self.world = world
        self.seen: list[Seen] = []
        self.server = receive(self.behave)
        world.ark("secret", "set", stdin=secret)
        world.add(self.server, "d")
        self.ids = accept(world, 1_000)
        self.drain = start(world, *options)
        self.until(lambda: len(self.seen) > 50)

    def behave(self, request: Request) -> bytes:
        self.seen.append(Seen(time.monotonic(), request))
        time.sleep(0.03)
        return answer(200)

    def until(self, holds: Callable[[], bool], seconds: float = 30.0) -> None:
        ends = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < ends
            assert self.drain.poll() is None, self.drain.communicate()
            time.sleep(0.01)

    def afterwards(self, count: int = 100) -> list[Request]:
        """Requests that arrived after a change that was just made must have taken effect."""
        since = time.monotonic() + IN_FORCE
        self.until(lambda: sum(seen.at > since for seen in self.seen) >= count)
        return [seen.request for seen in self.seen if seen.at > since]

    def end(self) -> str:
        """Stops the drain; returns its standard error."""
        self.drain.send_signal(signal.SIGTERM)
        return finish(self.drain)[2]


def test_a_rotated_secret_signs_from_then_on_and_everything_arrives_once(world: World, receive: Receive) -> None:
    busy = Busy(world, receive)
    assert world.ark("secret", "set", stdin=b"new secret").status == 0
    assert {request.signature == sign("new secret", request.body) for request in busy.afterwards()} == {True}
    status, _, err = finish(busy.drain)
    assert (status, err) == (0, "")
    assert arrived(busy.server) == dict.fromkeys(busy.ids, 1)
    # Connections were reused: eight at once, and a few more for those that were closed in between.
    assert busy.server.connections <= 16


def test_an_address_that_was_withdrawn_gets_nothing_more(world: World, receive: Receive) -> None:
    busy, other = Busy(world, receive), receive(200)
    assert world.ark("dest", "set", "d", "--url", other.url, "--no-ping").status == 0
    time.sleep(IN_FORCE)
    before = len(busy.seen)
    assert finish(busy.drain)[0] == 0
    assert len(busy.seen) == before < 1_000
    assert arrived(busy.server) + arrived(other) == dict.fromkeys(busy.ids, 1)


def test_a_header_that_was_changed_is_sent_from_then_on(world: World, receive: Receive) -> None:
    busy = Busy(world, receive)
    assert world.ark("dest", "set", "d", "--header", "Authorization: Bearer new").status == 0
    assert {request.headers.get("authorization") for request in busy.afterwards()} == {"Bearer new"}
    busy.end()


@pytest.mark.parametrize("command", [("pause", "d"), ("remove", "d", "--yes")], ids=lambda words: words[0])
def test_one_that_is_paused_or_removed_is_sent_nothing_more(
    world: World, receive: Receive, command: tuple[str, ...]
) -> None:
    busy = Busy(world, receive, "--watch")
    # In a separate process, because it waits for the drain to release the destination.
    assert finish(ark_process(world, "dest", *command))[0] == 0
    time.sleep(IN_FORCE)
    before = len(busy.seen)
    time.sleep(0.5)
    assert len(busy.seen) == before
    assert "all destinations have been removed or paused" in busy.end()


def test_a_destination_that_was_named_and_is_removed_ends_the_run_without_an_error(
    world: World, receive: Receive
) -> None:
    busy = Busy(world, receive, "--to", "d", "--strict")
    assert finish(ark_process(world, "dest", "remove", "d", "--yes"))[0] == 0
    status, out, err = finish(busy.drain)
    assert (status, json.loads(out)["dead"]) == (0, 0)
    assert err == "warning: all destinations have been removed or paused: there is none to deliver to\n"


def test_a_secret_in_a_file_signs_from_then_on(world: World, receive: Receive) -> None:
    world.home.mkdir(parents=True)
    file = world.home / "secret"
    file.write_text("old secret")
    busy = Busy(world, receive, secret=f"file:{file}".encode())
    assert busy.seen[0].request.signature == sign("old secret", busy.seen[0].request.body)
    file.write_text("new secret")
    assert {request.signature == sign("new secret", request.body) for request in busy.afterwards()} == {True}
    # As in a rotation that went wrong: ark continues with the secret that it knows.
    file.unlink()
    assert {request.signature == sign("new secret", request.body) for request in busy.afterwards()} == {True}
    err = busy.end()
    assert err.count("\n") == 1
    assert f"the secret file {file} cannot be read: No such file or directory" in err


@pytest.mark.parametrize("options", [(), ("--watch",)], ids=["plain", "watch"])
@pytest.mark.parametrize("way", ["in place", "gone", "closed", "not ours"])
def test_a_store_that_cannot_be_read_for_a_while_stops_nothing_and_repeats_nothing(
    world: World, receive: Receive, options: tuple[str, ...], way: str
) -> None:
    busy = Busy(world, receive, *options)
    store = world.store_file
    text = store.read_text()
    if way == "in place":
        store.write_text("")
    elif way == "gone":
        store.unlink()
    elif way == "closed":
        store.parent.rename(store.parent.with_name("away"))
        store.parent.write_text("a file in the directory's place")
    else:
        store.chmod(0o640)
    assert {request.signature == sign("old secret", request.body) for request in busy.afterwards(50)} == {True}
    if way == "closed":
        store.parent.unlink()
        store.parent.with_name("away").rename(store.parent)
    store.touch(0o600)
    store.chmod(0o600)
    store.write_text(text.replace("old secret", "new secret"))
    assert {request.signature == sign("new secret", request.body) for request in busy.afterwards(50)} == {True}
    if options:
        busy.until(lambda: len(busy.seen) >= 1_000)
        err = busy.end()
    else:
        status, _, err = finish(busy.drain)
        assert status == 0
    assert arrived(busy.server) == dict.fromkeys(busy.ids, 1)
    assert (err.count("\n"), str(store) in err, repeated([busy.server])) == (1, True, 0)


def test_a_drain_that_ends_while_the_store_is_broken_tells_what_it_did(world: World, receive: Receive) -> None:
    busy = Busy(world, receive, "--strict")
    text = world.store_file.read_text()
    world.store_file.write_text("")
    status, out, err = finish(busy.drain)
    assert (status, json.loads(out)["delivered"]) == (0, 1_000)
    assert "Object missing required field `version`" in err
    assert world.ark("drain").status == 78
    world.store_file.write_text(text)
    assert world.ark("drain", "--json").json["attempted"] == 0


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="/proc tells what another process has open")
def test_ten_secrets_a_second_leave_no_more_files_open_than_one(world: World, receive: Receive) -> None:
    busy = Busy(world, receive, "--watch")

    def descriptors() -> int:
        return int(subprocess.check_output(["sh", "-c", f"ls /proc/{busy.drain.pid}/fd | wc -l"]))

    before = descriptors()
    for number in range(30):
        world.ark("secret", "set", stdin=f"secret {number}".encode())
        time.sleep(0.05)
    assert {request.signature == sign("secret 29", request.body) for request in busy.afterwards()} == {True}
    assert descriptors() <= before + 4
    busy.end()
