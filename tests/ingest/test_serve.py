"""`ark serve`: a real process, real clients, and what remains when it is killed."""

import fcntl
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.started import Started, started, until
from tests.test_processes import arrived
from tests.world import PAYLOAD, Request, TestReceiver, World, answer, receiver

EVENTS = "/events/signal.promoted"
#: How to make a pipe small; Linux only.
SET_SIZE: int = getattr(fcntl, "F_SETPIPE_SZ", 0)
needs_proc = pytest.mark.skipif(not Path("/proc/self").exists(), reason="/proc tells which processes there are")


class Response(NamedTuple):
    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=20)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(self._path)


class Served:
    """A running `ark serve`."""

    def __init__(self, made: Started, addresses: list[str], world: World) -> None:
        self.process, self.stop = made.process, made.stop
        self.addresses = addresses
        self.world = world

    def connect(self) -> http.client.HTTPConnection:
        address = self.addresses[0]
        return (
            http.client.HTTPConnection(address.removeprefix("http://"), timeout=20)
            if address.startswith("http:")
            else UnixConnection(address)
        )

    @property
    def token(self) -> str:
        return (self.world.home / "config" / "serve.token").read_text().strip()

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Response:
        known = {"Authorization": f"Bearer {self.token}"} if self.addresses[0].startswith("http:") else {}
        return ask(self.connect(), method, path, body, known | (headers or {}))

    def send(self, body: bytes = PAYLOAD, key: str | None = None, event: str = "signal.promoted") -> Response:
        return self.ask("POST", f"/events/{event}", body, {} if key is None else {"Idempotency-Key": key})

    @property
    def drain(self) -> int:
        """The id of the process that delivers."""
        # Right after its start a process has no command line yet.
        until(lambda: self.is_draining)
        (found,) = self._drains
        return found

    @property
    def is_draining(self) -> bool:
        return len(self._drains) == 1

    @property
    def _drains(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(one) for one in children if "drain" in Path(f"/proc/{one}/cmdline").read_text().split("\0")]


def ask(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None, headers: dict[str, str]
) -> Response:
    try:
        connection.request(method, path, body, headers)
        got = connection.getresponse()
        return Response(got.status, got.headers, got.read())
    finally:
        connection.close()


@contextmanager
def serving(
    world: World, *args: str, before: tuple[str, ...] = (), as_json: bool = True, **variables: str
) -> Iterator[Served]:
    form = ["--json"] if as_json else []
    with started(world, "serve", *form, *(args or ("--port", "0")), before=before, **variables) as made:
        yield Served(made, made.printed["listening"] if as_json else [made.line.split()[-1]], world)


def test_an_event_is_accepted_and_delivered(world: World, crm: TestReceiver) -> None:
    with serving(world) as served:
        response = served.send()
        until(lambda: crm.requests)
        assert served.stop()[0] == 0
    assert response.status == 202
    event = response.json["event"]
    assert json.loads(crm.requests[0].body).items() >= json.loads(PAYLOAD).items()
    assert (event["type"], event["bytes"]) == ("signal.promoted", len(crm.requests[0].body))
    shown = world.ark("queue", "show", event["id"], "--json").json
    assert {name: shown["event"][name] for name in event} == event
    assert shown["deliveries"][0]["state"] == "delivered"


def test_a_repeated_key_answers_with_the_first_event_and_another_body_is_refused(
    world: World, crm: TestReceiver
) -> None:
    with serving(world) as served:
        first, again = served.send(key="deal-1"), served.send(key="deal-1")
        other = served.send(b'{"note": 1, %b' % PAYLOAD[1:], key="deal-1")
        until(lambda: crm.requests)
    assert (first.status, first.json["event"]["id"], "repeated" in first.json) == (202, "deal-1", False)
    assert (again.status, again.json) == (202, first.json | {"repeated": True})
    assert (other.status, other.json["error"]["code"]) == (409, "usage")
    assert "belongs to another event" in other.json["error"]["message"]
    assert len(crm.requests) == 1


def test_the_same_key_from_many_clients_at_once_is_one_event(world: World, crm: TestReceiver) -> None:
    with serving(world) as served, ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: served.send(key="deal-1"), range(32)))
        until(lambda: crm.requests)
    assert {one.status for one in answers} == {202}
    assert sum("repeated" not in one.json for one in answers) == 1
    assert world.ark("queue", "--json").json["events"] == 1


LONG = "x" * 129


WRONG: list[tuple[str, str, bytes | None, dict[str, str], int, str]] = [
    ("POST", EVENTS, b"{", {}, 400, "JSON"),
    ("POST", EVENTS, b"[]", {}, 400, "JSON object"),
    ("POST", EVENTS, b"", {}, 400, "JSON"),
    ("POST", EVENTS, b"{}", {}, 400, "$"),
    ("POST", EVENTS, b'{"event": "ping"}', {}, 400, "$.event"),
    ("POST", EVENTS, PAYLOAD, {"Idempotency-Key": "a b"}, 400, "an id has up to 128 letters"),
    ("POST", EVENTS, PAYLOAD, {"Idempotency-Key": LONG}, 400, "an id has up to 128 letters"),
    ("POST", EVENTS, PAYLOAD, {"Idempotency-Key": ""}, 400, "an id has up to 128 letters"),
    ("POST", EVENTS, b" " * (1 << 20) + PAYLOAD, {}, 413, "1,048,576 bytes"),
    ("POST", "/events/signal.promotd", PAYLOAD, {}, 404, "no event 'signal.promotd' to send; the events are"),
    ("POST", "/events/ping", b"{}", {}, 404, "no event 'ping' to send"),
    ("POST", "/events/", PAYLOAD, {}, 404, "no event ''"),
    ("POST", "/", PAYLOAD, {}, 404, "there is nothing at /; POST events to /events/EVENT"),
    ("GET", EVENTS, None, {}, 405, "only POST"),
    ("POST", "/metrics", b"", {}, 405, "only GET and HEAD"),
    ("DELETE", "/healthz", None, {}, 405, "only GET and HEAD"),
]


def test_a_wrong_request_is_told_what_is_wrong_as_the_command_line_would(world: World, crm: TestReceiver) -> None:
    with serving(world) as served:
        for method, path, body, headers, status, said in WRONG:
            response = served.ask(method, path, body, headers)
            assert (response.status, response.headers["Content-Type"]) == (status, "application/json"), path
            assert said in response.json["error"]["message"]
            if status == 405:
                assert response.headers["Allow"] == ("POST" if "POST" in said else "GET, HEAD")
        assert served.send().status == 202
    assert world.ark("queue", "--json").json["events"] == 1


def test_without_a_destination_nothing_is_accepted_and_health_says_so(world: World, crm: TestReceiver) -> None:
    world.ark("dest", "remove", "crm", "--yes")
    with serving(world) as served:
        response, health = served.send(), served.ask("GET", "/healthz")
        world.add(crm, "crm")
        assert served.send().status == 202
        until(lambda: crm.requests)
        assert served.ask("GET", "/healthz").json == {"ok": True, "problems": []}
    assert response.status == 400
    assert "there is no destination yet" in response.json["error"]["message"]
    assert (health.status, health.json["ok"]) == (503, False)
    assert "there is no destination yet" in health.json["problems"][0]


def test_lines_are_accepted_together_and_each_has_a_receipt(world: World, crm: TestReceiver) -> None:
    lead = json.dumps({"event": "social.lead_promoted", "engagement": {"platform": "x", "engagement_type": "like"}})
    promoted = json.dumps({"event": "signal.promoted", **json.loads(PAYLOAD)})
    body = "\n".join([promoted, "", "{", lead, '{"a": 1}', '{"event": "ping"}']).encode()
    kind = {"Content-Type": "application/x-ndjson; charset=utf-8"}
    with serving(world) as served:
        mixed = served.ask("POST", "/events/-", body, kind)
        one = served.ask("POST", EVENTS, PAYLOAD + b"\n" + PAYLOAD, kind)
        bad = served.ask("POST", EVENTS, b"{}\n{}\n", kind)
        empty = served.ask("POST", EVENTS, b"\n\n", kind)
        keyed = served.ask("POST", EVENTS, PAYLOAD, {**kind, "Idempotency-Key": "a"})
        unknown = served.ask("POST", "/events/nothing", PAYLOAD, kind)
        until(lambda: len(crm.requests) == 4)
    receipts = [json.loads(line) for line in mixed.body.splitlines()]
    assert [(one["line"], "event_id" in one) for one in receipts] == [
        (1, True), (3, False), (4, True), (5, False), (6, False),
    ]  # fmt: skip
    assert "$.event: required but missing: expected one of" in receipts[3]["error"]
    assert [one.status for one in (mixed, one, bad, empty, keyed, unknown)] == [202, 202, 400, 400, 400, 404]
    assert sorted(json.loads(request.body)["event"] for request in crm.requests) == [
        *["signal.promoted"] * 3, "social.lead_promoted",
    ]  # fmt: skip


def test_bad_lines_hold_nobody_up(world: World, crm: TestReceiver) -> None:
    """Half a million of them, which is 1 MiB, would take seconds."""
    kind = {"Content-Type": "application/x-ndjson"}
    with serving(world) as served, ThreadPoolExecutor(1) as pool:
        bad = pool.submit(served.ask, "POST", EVENTS, b"{\n" * (1 << 15), kind)
        done = 0
        while not bad.done():
            assert served.ask("GET", "/healthz").status == 200
            done += 1
        assert bad.result().status == 400
        assert bad.result().body.count(b"\n") == 1 << 15
    assert done > 10


def test_two_different_keys_are_refused(world: World, crm: TestReceiver) -> None:
    with serving(world) as served:
        for keys, status in ((("a", "b"), 400), (("a", "a"), 202)):
            connection = served.connect()
            connection.putrequest("POST", EVENTS)
            for name, value in (("Authorization", f"Bearer {served.token}"), ("Content-Length", str(len(PAYLOAD)))):
                connection.putheader(name, value)
            for key in keys:
                connection.putheader("Idempotency-Key", key)
            connection.endheaders(PAYLOAD)
            response = connection.getresponse()
            assert response.status == status
            assert (b"several Idempotency-Key headers" in response.read()) is (status == 400)
            connection.close()


def test_a_queue_that_has_gone_is_told_and_the_service_goes_on(world: World, crm: TestReceiver) -> None:
    with serving(world) as served:
        assert served.ask("GET", "/metrics").status == 200
        world.queue_directory.rename(world.home / "away")
        gone = served.ask("GET", "/metrics")
        shutil.rmtree(world.queue_directory, ignore_errors=True)
        (world.home / "away").rename(world.queue_directory)
        assert served.ask("GET", "/metrics").status == 200
    assert (gone.status, gone.headers["Retry-After"]) == (503, "5")
    assert "No such file or directory" in gone.json["error"]["message"]


def test_a_queue_that_was_replaced_by_a_copy_is_used_by_another_service(world: World, crm: TestReceiver) -> None:
    with serving(world) as served:
        assert served.send().status == 202
        crm.settle()
        shutil.copytree(world.queue_directory, world.home / "copy")
        shutil.rmtree(world.queue_directory)
        (world.home / "copy").rename(world.queue_directory)
        refused = served.send()
        assert (refused.status, refused.json["error"]["code"]) == (503, "replaced")
        assert served.process.wait(20) == 78
    with serving(world) as served:
        assert served.send().status == 202
        until(lambda: len(crm.requests) == 2)


@pytest.mark.skipif(not SET_SIZE, reason="a small pipe is needed")
def test_a_log_that_nobody_reads_stops_nothing(world: World, crm: TestReceiver) -> None:
    with serving(world) as served:
        assert served.process.stderr is not None
        errors = served.process.stderr.fileno()
        fcntl.fcntl(errors, SET_SIZE, 4096)
        host, _, port = served.addresses[0].removeprefix("http://").partition(":")

        def disturb(line: bytes = b"nonsense") -> None:
            with socket.create_connection((host, int(port)), timeout=20) as client:
                client.sendall(line + b"\r\n\r\n")
                assert client.recv(100)

        disturb(b"x" * 30_000)
        for _ in range(60):
            disturb()
        assert served.send().status == 202
        read = os.read(errors, 65_536)
        assert len(read.splitlines()[0]) < 1000
        disturb()
        status, _, err = served.stop()
    assert status == 0
    assert re.search(r'"warning": "\d+ lines could not be written here, because nobody was reading"', err)


# --- who may send


def test_on_a_port_every_request_needs_the_token_and_health_does_not(world: World, crm: TestReceiver) -> None:
    with serving(world) as served:
        for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {served.token}"}):
            for method, path in (("POST", EVENTS), ("GET", "/metrics"), ("GET", "/openapi.json"), ("GET", "/nothing")):
                response = ask(served.connect(), method, path, PAYLOAD if method == "POST" else None, given)
                assert (response.status, response.headers["WWW-Authenticate"]) == (401, "Bearer")
                assert served.token.encode() not in response.body
        assert ask(served.connect(), "GET", "/healthz", None, {}).status == 200
        assert served.send().status == 202
        assert (world.home / "config" / "serve.token").stat().st_mode & 0o777 == 0o600
        assert re.fullmatch("[0-9a-f]{64}", served.token)


def test_a_changed_token_counts_at_once_and_survives_a_new_start(world: World, crm: TestReceiver) -> None:
    file = world.home / "token"
    file.write_text("first\n")
    with serving(world, "--port", "0", "--token-file", str(file)) as served:
        assert ask(served.connect(), "POST", EVENTS, PAYLOAD, {"Authorization": "Bearer first"}).status == 202
        file.write_text("second\n")
        until(lambda: ask(served.connect(), "POST", EVENTS, PAYLOAD, {"Authorization": "Bearer second"}).status == 202)
        assert ask(served.connect(), "POST", EVENTS, PAYLOAD, {"Authorization": "Bearer first"}).status == 401
    assert file.read_text() == "second\n"


def test_an_empty_token_file_is_named_as_that(world: World, tmp_path: Path) -> None:
    (tmp_path / "token").touch()
    refused = world.ark("serve", "--port", "0", "--token-file", str(tmp_path / "token"))
    said = f"error: the token file {tmp_path}/token is empty; write the bearer token into it\n"
    assert (refused.status, refused.err) == (2, said)


def test_a_token_is_compared_byte_for_byte(world: World, crm: TestReceiver) -> None:
    file = world.home / "token"
    file.write_text("voilà\n", encoding="utf-8")
    with serving(world, "--port", "0", "--token-file", str(file)) as served:
        for given, status in (("voilà".encode(), 200), ("voilà".encode("latin-1"), 401)):
            connection = served.connect()
            connection.putrequest("GET", "/metrics")
            connection.putheader("Authorization", b"Bearer " + given)
            connection.endheaders()
            assert connection.getresponse().status == status
            connection.close()


def test_a_unix_socket_is_for_its_owner_alone_and_needs_no_token(world: World, crm: TestReceiver) -> None:
    path = world.home / "ark.sock"
    with serving(world, "--socket", str(path)) as served:
        assert served.addresses == [str(path)]
        assert path.stat().st_mode & 0o777 == 0o600
        accepted = served.send()
        assert (accepted.status, accepted.body[-2:]) == (202, b"}\n")
        assert not (world.home / "config" / "serve.token").exists()
        served.stop()
    assert not path.exists()


def test_a_socket_that_was_left_behind_is_replaced_and_one_in_use_is_not(world: World, crm: TestReceiver) -> None:
    path = world.home / "ark.sock"
    with serving(world, "--socket", str(path)) as served:
        served.process.kill()
        served.process.wait()
    assert path.is_socket()
    with serving(world, "--socket", str(path)) as served:
        second = run(world, "--socket", str(path))
        assert (second.returncode, second.stdout) == (2, "")
        assert "another process is listening there; choose another --socket" in second.stderr
        assert served.send().status == 202
    with socket.socket(socket.AF_UNIX) as foreign:
        foreign.bind(str(path))
        foreign.listen()
        assert "another process is listening there" in run(world, "--socket", str(path)).stderr
    path.unlink()
    path.write_text("something of yours")
    assert run(world, "--socket", str(path)).returncode == 2
    assert path.read_text() == "something of yours"


@pytest.mark.parametrize("name", ["missing/ark.sock", "x" * 120])
def test_a_path_that_cannot_be_a_socket_is_named(world: World, name: str) -> None:
    done = run(world, "--socket", str(world.home / name))
    assert done.returncode == 2
    assert f"cannot listen on {world.home / name}: " in done.stderr
    assert "Traceback" not in done.stderr


def run(world: World, *args: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "arkcli", "serve", *args],
        env={**os.environ, **world.variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_a_port_in_use_is_named(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        done = run(world, "--port", str(other.getsockname()[1]))
    assert done.returncode == 2
    assert "another process is listening there" in done.stderr


# --- what it tells


def test_the_metrics_are_those_of_the_queue(world: World, crm: TestReceiver) -> None:
    world.ark("dest", "pause", "crm")
    with serving(world) as served:
        served.send()
        response = served.ask("GET", "/metrics")
        assert served.ask("HEAD", "/metrics").body == b""
    families = {family.name: family for family in text_string_to_metric_families(response.body.decode())}
    waiting = [one.value for one in families["ark_deliveries"].samples if one.labels["state"] == "waiting"]
    assert waiting == [1.0]


@pytest.mark.parametrize("as_json", [True, False])
def test_each_failure_is_a_line_on_standard_error(world: World, as_json: bool) -> None:
    with receiver(lambda _: answer(500, b"the table is locked")) as found:
        world.add(found, "crm")
        with serving(world, as_json=as_json) as served:
            event = served.send().json["event"]["id"]
            until(lambda: json.loads(world.ark("queue", "--json").out)["destinations"][0]["retrying"])
            _, _, err = served.stop()
    (line,) = err.splitlines()
    if as_json:
        said = json.loads(line)
        assert (said["destination"], said["event_id"], said["attempt"], said["status"]) == ("crm", event, 1, 500)
        assert said["excerpt"] == "the table is locked"
        assert said["next_attempt_at"] > said["at"]
    else:
        assert re.fullmatch(rf"[\d:]+ crm: answered 500, .*the table is locked; attempt 1, .*; {event}", line), line


def test_systemd_is_told_when_it_is_ready_and_when_it_stops(world: World, crm: TestReceiver, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        with serving(world, NOTIFY_SOCKET=str(tmp_path / "notify")) as served:
            assert manager.recv(100) == b"READY=1"
            served.stop()
            assert manager.recv(100) == b"STOPPING=1"


@contextmanager
def passing(world: World, *passed: socket.socket) -> Iterator["subprocess.Popen[str]"]:
    """`ark serve` with sockets that another process has opened, as systemd passes them."""
    code = (
        "import os, sys\n"
        "for number, descriptor in enumerate(sys.argv[1:], 3):\n"
        "    os.dup2(int(descriptor), number); os.set_inheritable(number, True)\n"
        "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(sys.argv) - 1))\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'arkcli', 'serve', '--json'])"
    )
    descriptors = [one.fileno() for one in passed]
    with subprocess.Popen(
        [sys.executable, "-c", code, *map(str, descriptors)],
        env={**os.environ, **world.variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=descriptors,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_socket_that_systemd_opened_is_taken(world: World, crm: TestReceiver) -> None:
    path = world.home / "passed.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen()
        with passing(world, listener) as process:
            assert process.stdout is not None
            made = Started(process, process.stdout.readline())
            served = Served(made, made.printed["listening"], world)
            assert served.addresses == [str(path)]
            assert served.send().status == 202
            assert served.stop()[0] == 0


def test_a_passed_socket_that_everybody_can_connect_to_needs_the_token(world: World, crm: TestReceiver) -> None:
    """systemd opens Unix sockets with mode 0666, unless SocketMode= says another one."""
    path, name = world.home / "passed.sock", f"ark-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as abstract:
        listener.bind(str(path))
        path.chmod(0o666)
        listener.listen()
        abstract.bind(f"\0{name}")
        abstract.listen()
        with passing(world, listener, abstract) as process:
            assert process.stdout is not None
            made = Started(process, process.stdout.readline())
            served = Served(made, made.printed["listening"], world)
            assert served.addresses == [str(path), f"@{name}"]
            token = {"Authorization": f"Bearer {served.token}"}
            for address in (str(path), f"\0{name}"):
                assert ask(UnixConnection(address), "POST", EVENTS, PAYLOAD, {}).status == 401
                assert ask(UnixConnection(address), "POST", EVENTS, PAYLOAD, token).status == 202
            assert served.stop()[0] == 0


def test_what_is_not_a_listening_socket_is_named(world: World, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams, socket.socket(socket.AF_UNIX) as silent:
        for number, one in enumerate((datagrams, silent)):
            one.bind(str(tmp_path / str(number)))
            with passing(world, one) as process:
                out, err = process.communicate(timeout=20)
            assert (process.returncode, err) == (2, "")
            assert "descriptor 3 is not a listening socket; use ListenStream=" in out


def test_without_a_way_in_it_only_delivers(world: World, crm: TestReceiver) -> None:
    world.ark("send", "signal.promoted", "--sample", "--queue")
    with serving(world, "--quiet") as served:
        assert served.addresses == []
        until(lambda: crm.requests)
        assert served.stop()[0] == 0


# --- how it ends


@needs_proc
def test_what_is_under_way_is_answered_before_it_ends(world: World, crm: TestReceiver) -> None:
    with serving(world) as served:
        connection = served.connect()
        connection.putrequest("POST", EVENTS)
        connection.putheader("Authorization", f"Bearer {served.token}")
        connection.putheader("Content-Length", str(len(PAYLOAD)))
        connection.endheaders(PAYLOAD)
        response = connection.getresponse()
        drain = served.drain
        status, out, err = served.stop()
        connection.close()
        assert (status, out, err) == (0, "", "")
        assert response.status == 202
        assert not Path(f"/proc/{drain}").exists()
        with pytest.raises(OSError):
            served.send()


def test_ctrl_c_ends_it_as_well_with_its_own_status(world: World, crm: TestReceiver) -> None:
    with serving(world) as served:
        assert served.stop(signal.SIGINT)[0] == 130


def test_a_delivery_in_flight_ends_and_is_recorded(world: World) -> None:
    def behave(_: Request) -> bytes:
        served.process.terminate()
        time.sleep(0.3)
        return answer(200)

    with receiver(behave) as slow:
        world.add(slow, "slow")
        with serving(world) as served:
            event = served.send().json["event"]["id"]
            assert served.process.wait(20) == 0
        shown = world.ark("queue", "show", event, "--json").json
        assert shown["deliveries"][0]["state"] == "delivered"
        assert len(slow.requests) == 1


@needs_proc
def test_a_service_manager_that_signals_both_processes_cuts_off_nothing(world: World) -> None:
    """systemd sends SIGTERM to every process of a service; the one that delivers may have been told before."""
    waiting, go_on = threading.Event(), threading.Event()

    def slow(_: Request) -> bytes:
        waiting.set()
        go_on.wait(20)
        return answer(200)

    with receiver(slow) as found:
        world.add(found, "crm")
        world.ark("send", "signal.promoted", "--sample", "--queue")
        with subprocess.Popen(
            [sys.executable, "-m", "arkcli", "drain", "--watch", "--until-eof", "--quiet"],
            env={**os.environ, **world.variables},
            stdin=subprocess.PIPE,
        ) as process:
            assert process.stdin is not None
            assert waiting.wait(20)
            threads = Path(f"/proc/{process.pid}/task")
            before = len(list(threads.iterdir()))
            process.stdin.close()
            until(lambda: len(list(threads.iterdir())) < before)
            process.terminate()
            go_on.set()
            assert process.wait(20) == 0
        assert world.ark("queue", "show", "last", "--json").json["deliveries"][0]["state"] == "delivered"


@needs_proc
def test_the_process_that_delivers_is_started_again_and_ends_with_the_other(world: World, crm: TestReceiver) -> None:
    with serving(world) as served:
        first = served.drain
        os.kill(first, signal.SIGKILL)
        until(lambda: served.ask("GET", "/healthz").status == 503)
        served.send()
        until(lambda: crm.requests)
        until(lambda: served.is_draining)
        second = served.drain
        assert second != first
        assert served.ask("GET", "/healthz").status == 200
        served.process.kill()
        until(lambda: not Path(f"/proc/{second}").exists())
        assert served.process.stderr is not None
        assert "the process that delivers was killed by signal 9; it is started again" in served.process.stderr.read()


@pytest.mark.parametrize("as_json", [True, False])
def test_the_log_says_why_the_process_that_delivers_does_not_run(
    world: World, crm: TestReceiver, as_json: bool
) -> None:
    with serving(world, as_json=as_json, ARK_STATE_DIR="relative") as served:
        assert served.process.stderr is not None
        error, again = served.process.stderr.readline(), served.process.stderr.readline()
        assert served.stop()[:2] == (0, "")
    assert "ended with 78; it is started again in 1 s" in again
    said = json.loads(error)["error"]["message"] if as_json else error
    assert "ARK_STATE_DIR" in said
    assert as_json or error.startswith("error: ")


def test_killed_at_any_moment_nothing_that_got_a_202_is_lost_and_a_repeated_key_sends_once(world: World) -> None:
    accepted: set[str] = set()
    chance = random.Random(20)
    with receiver(lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as found:
        world.add(found, "crm")
        path = str(world.home / "ark.sock")
        for turn in range(3):
            with serving(world, "--socket", path) as served, ThreadPoolExecutor(8) as pool:

                def post(number: int, served: Served = served) -> None:
                    try:
                        if served.send(key=f"key-{number}").status == 202:
                            accepted.add(f"key-{number}")
                    except OSError:
                        pass
                    except http.client.HTTPException:
                        pass

                # Half of the keys are repeated in the next turn.
                posts = [pool.submit(post, number) for number in range(turn * 40, turn * 40 + 80)]
                enough = turn * 40 + chance.randrange(40)
                until(lambda enough=enough: len(accepted) > enough)  # type: ignore[misc]
                served.process.kill()
                for one in posts:
                    one.result()
        with serving(world, "--socket", path) as served:
            with ThreadPoolExecutor(8) as pool:
                again = list(pool.map(lambda number: served.send(key=f"key-{number}"), range(160)))
            assert {one.status for one in again} == {202}
            assert sum("repeated" in one.json for one in again) >= len(accepted)
            until(lambda: len(arrived(found)) == 160)
    assert len(accepted) > 60
    assert world.ark("queue", "--json").json["events"] == 160


def test_no_202_before_the_sync_has_returned(world: World, crm: TestReceiver, tmp_path: Path) -> None:
    strace = shutil.which("strace")
    if strace is None or subprocess.run([strace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("watching system calls needs strace")
    world.ark("dest", "pause", "crm")
    trace = tmp_path / "trace"
    calls = "trace=pwrite64,fdatasync,sendto"
    watching = (strace, "-D", "-f", "--seccomp-bpf", "-q", "-o", str(trace), "-e", calls, "-s", "100000")
    with serving(world, before=watching) as served, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: served.send(), range(24)))
        served.stop()
    ids = [one.json["event"]["id"] for one in answers]
    written: dict[str, int] = {}
    synced: list[int] = []
    answered: dict[str, int] = {}
    for number, line in enumerate(trace.read_text().splitlines()):
        for found in re.findall(r"evt_[0-9a-f]{28}", line):
            (written if "pwrite64" in line else answered).setdefault(found, number)
        if "fdatasync" in line and line.rstrip().endswith("= 0"):
            synced.append(number)
    assert answered.keys() == written.keys() == set(ids)
    for found in ids:
        assert any(written[found] < moment < answered[found] for moment in synced), found


def test_on_a_full_disk_nothing_is_accepted_and_it_goes_on_when_there_is_room(
    world: World, crm: TestReceiver, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk needs the right to mount one")
    try:
        world.ark("dest", "pause", "crm")
        with serving(world, ARK_STATE_DIR=str(disk)) as served:
            assert served.send().status == 202
            filler = disk / "filler"
            with suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(b"x" * 4096)
            large = json.dumps(json.loads(PAYLOAD) | {"note": "x" * 100_000}).encode()
            full = served.send(large)
            assert (full.status, full.json["error"]["code"]) == (503, "not_accepted")
            assert full.headers["Retry-After"] == "5"
            assert "the disk is full" in full.json["error"]["message"]
            assert served.ask("GET", "/healthz").status == 503
            filler.unlink()
            assert served.send(large).status == 202
            assert served.ask("GET", "/healthz").status == 200
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_the_document_describes_it_as_it_is(world: World, crm: TestReceiver, tmp_path: Path) -> None:
    """Schemathesis makes requests of the OpenAPI document, valid ones and others, and checks each answer against it."""
    world.ark("dest", "pause", "crm")
    here = Path(__file__).parent
    with serving(world) as served:
        done = subprocess.run(
            [
                str(Path(sys.executable).with_name("st")),
                *("--config-file", str(here / "schemathesis.toml"), "run", f"{served.addresses[0]}/openapi.json"),
                *("--header", f"Authorization: Bearer {served.token}", "--max-examples", "15", "--no-color"),
                "--generation-deterministic",
            ],
            env={**os.environ, "SCHEMATHESIS_HOOKS": "lines_of_json", "PYTHONPATH": str(here)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout
        assert "6 selected / 6 total" in done.stdout
        status, _, err = served.stop()
    assert (status, "Traceback" in err) == (0, False)
