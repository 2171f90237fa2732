"""`ark listen` as a process: real sockets, real signals, and third-party applications behind it."""

import base64
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from arkcli.signing import sign
from tests.programs import node_modules
from tests.receiver.running import request
from tests.test_output import COLOUR, plain
from tests.test_processes import ark
from tests.world import PAYLOAD, Certificates, World, answer, receiver

ROOT = Path(__file__).parent.parent
SECRET = "s3cret"
BODY = b'{"event":"ping"}'
#: What it says on standard error as it starts.
STARTED = "checking signatures with the secret from --secret\nanswering 200\n"


class Listening:
    """A running `ark listen`."""

    def __init__(self, world: World, *args: str, stdout: int = subprocess.PIPE, own_secret: bool = True) -> None:
        """Without a secret given here, it uses the store's."""
        own_secret = own_secret and not any(arg.startswith("--secret") for arg in args)
        given = ("--secret", SECRET) if own_secret else ()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "arkcli", "listen", "--port", "0", *given, *args],
            env={**os.environ, **world.variables},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
        )
        if stdout != subprocess.PIPE:
            return
        assert self.process.stdout is not None
        self.first = self.process.stdout.readline().decode()
        assert self.first, self.finish()
        self.url = json.loads(self.first)["listening"] if "--json" in args else self.first.split()[-1]

    def post(self, body: bytes = BODY, signature: str | None = None, **headers: str) -> httpx.Response:
        """Posts a signed request; `delivery` becomes X-SignalArk-Delivery, and so on."""
        named = {f"X-SignalArk-{name.title()}": value for name, value in headers.items()}
        named["X-SignalArk-Signature"] = sign(SECRET, body) if signature is None else signature
        return httpx.post(self.url, content=body, headers=named, trust_env=False)

    def finish(self, number: int | None = None) -> tuple[int, list[str], str]:
        """Sends a signal; returns the exit status, the lines after the first, and standard error."""
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, (out or b"").decode().splitlines(), err.decode()


@pytest.fixture
def listen(world: World) -> Iterator[Callable[..., Listening]]:
    """Starts receivers that are stopped when the test ends."""
    begun: list[Listening] = []

    def start(*args: str, **options: Any) -> Listening:
        begun.append(Listening(world, *args, **options))
        return begun[-1]

    yield start
    for one in begun:
        one.process.kill()
        one.process.communicate()


Listen = Callable[..., Listening]


def test_five_attempts_of_a_drain_are_answered_as_planned(world: World, listen: Listen) -> None:
    """Takes 10 s, the time that a sender waits for an answer."""
    world.ark("secret", "set", stdin=SECRET.encode())
    receiver = listen("--plan", "503x2,timeout,reset,200", "--json", "--count", "5")
    added = world.ark("dest", "add", f"{receiver.url}/hook", "--allow-local", "--no-ping", "--name", "d")
    assert added.status == 0, added
    assert ark(world, "send", "signal.promoted", "--sample", "--queue", at=0)["event"]["type"] == "signal.promoted"

    outcomes = [ark(world, "drain", at=at) for at in (0, 31, 340, 2200, 9500)]

    assert [(one["retrying"], one["delivered"]) for one in outcomes] == [*[(1, 0)] * 4, (0, 1)]
    status, lines, _ = receiver.finish()
    seen = [json.loads(line) for line in lines]
    assert status == 0
    assert [one["answer"] for one in seen] == ["503", "503", "timeout", "reset", "200"]
    assert [one["status"] for one in seen] == [503, 503, None, None, 200]
    assert [one["attempt"] for one in seen] == [1, 2, 3, 4, 5]
    assert [one["repeated"] for one in seen] == [False, True, True, True, True]
    assert all(one["valid"] for one in seen)
    assert len({one["delivery"] for one in seen}) == 1


def test_json_lines_have_these_keys(listen: Listen) -> None:
    receiver = listen("--json", "--count", "2", "-v", "--respond", "503")
    assert json.loads(receiver.first) == {"listening": receiver.url}
    receiver.post(b"\xff", event="ping", delivery="d1", attempt="1")
    receiver.post("é".encode(), signature="0" * 64)
    status, lines, err = receiver.finish()
    assert (status, err) == (0, "")
    first, second = (json.loads(line) for line in lines)
    assert first.pop("at").endswith("Z")
    assert ["X-SignalArk-Delivery", "d1"] in first.pop("headers")
    assert first == {
        "event": "ping",
        "valid": True,
        "signature": "valid",
        "webhook_signature": None,
        "reason": None,
        "explanation": None,
        "bytes": 1,
        "delivery": "d1",
        "attempt": 1,
        "repeated": False,
        "answer": "503",
        "status": 503,
        "error": None,
        "duration_ms": None,
        "excerpt": "",
        "method": "POST",
        "target": "/",
        "body_base64": "/w==",
    }
    assert (second["valid"], second["signature"], second["status"], second["body"]) == (False, "mismatch", 401, "é")
    assert "does not match these bytes" in second["reason"]


def test_piped_a_request_is_a_line_of_tab_separated_fields(listen: Listen) -> None:
    receiver = listen("--count", "3")
    receiver.post(b'{"event": "signal.promoted\\u001b[2J"}', event="ping", delivery="d1", attempt="1")
    receiver.post(delivery="d1", attempt="2")
    receiver.post(signature="0")
    status, lines, err = receiver.finish()
    assert status == 0
    assert receiver.first == f"listening on {receiver.url}\n"
    rows = [line.split("\t")[1:] for line in lines]
    assert rows[0] == ["signal.promoted [2J", "valid", "37", "200", ""]
    assert rows[1] == ["ping", "valid", "16", "200", "repeated: attempt 2 of d1"]
    assert rows[2][:4] == ["ping", "invalid", "16", "401"]
    assert "not 64 hex digits" in rows[2][4]
    assert err == f"{STARTED}3 requests: 2 valid, 1 invalid, 1 repeated\n"


@pytest.mark.parametrize(
    ("option", "shown"),
    [
        ("", []),
        ("-v", ["POST / HTTP/1.1", "X-SignalArk-Attempt: 2", "", "{", '  "a": " [2J"', "}"]),
        (
            "-vv",
            ["POST / HTTP/1.1", "X-SignalArk-Attempt: 2", "", r'{"a":"\x9b[2J"}', "(13 bytes, no newline at the end)"],
        ),
    ],
    ids=["rows", "-v", "-vv"],
)
def test_on_a_terminal_columns_are_aligned_and_details_are_below(
    listen: Listen, world: World, option: str, shown: list[str]
) -> None:
    ours, theirs = pty.openpty()
    world.variables.update(NO_COLOR="1", COLUMNS="120")
    receiver = listen("--count", "2", *filter(None, [option]), stdout=theirs)
    os.close(theirs)
    with open(ours, encoding="utf-8") as terminal:  # noqa: PTH123 - it is a descriptor
        receiver.url = terminal.readline().split()[-1]
        receiver.post(event="ping", attempt="1", delivery="evt_019ab3c4d5e6f7a8b9c0d1e2f3a4.dst_1")
        receiver.post('{"a":"\x9b[2J"}'.encode(), event="social.lead_promoted", attempt="2", signature="0" * 64)
        _, _, said = receiver.finish()
        text = ""
        # Linux reports the closed end as an error.
        with suppress(OSError):
            while line := terminal.readline():
                text += line
    assert "`ark dest add http://127.0.0.1:" in said
    assert not COLOUR.search(text)
    lines = [line.rstrip() for line in plain(text).splitlines()]
    headings = lines[0]
    assert headings.split() == ["#", "time", "UTC", "event", "verdict", "try", "bytes", "answer", "event", "id"]
    first, second = (next(line for line in lines if line.startswith(f"  {number}  ")) for number in (1, 2))
    for heading, cells in (
        ("event", ("ping", "social.")),
        ("verdict", ("valid", "invalid")),
        ("answer", ("200", "401")),
        ("event id", ("019ab3c4d5e6f7a8b9c0d1e2f3a4", "-")),
    ):
        assert [first.index(cells[0]), second.rindex(cells[1])] == [headings.index(heading)] * 2
    below = [line.removeprefix("    ") for line in lines[lines.index(second) + 1 :]]
    assert below[0] == "the signature does not match these bytes with this secret"
    assert [line for line in below[1:] if line in shown] == shown
    assert bool(below[1:]) is bool(option)


def test_it_says_what_it_does_and_whose_secret_it_uses(world: World, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)

    def said(*args: str) -> str:
        return world.ark("listen", "--port", "0", "--timeout", "1ms", *args).err

    assert said("--plan", "503x2,200", "--delay", "2s", "--secret-file", f"{tmp_path}/secret").startswith(
        f"checking signatures with the secret from {tmp_path}/secret\n"
        "answering 503x2,200; the last answer repeats, after 2s\n"
    )
    forwarding = said("--forward-to", "http://me:hidden@localhost:1/hook")
    assert f"checking signatures with the secret from {world.store_file}\n" in forwarding
    assert "forwarding valid requests to http://localhost:1/hook and returning its answers\n" in forwarding
    world.variables["ARK_SECRET"] = SECRET
    chosen = said("--event", "ping", "--event", "signal.promoted")
    assert "checking signatures with the secret from ARK_SECRET\n" in chosen
    assert "showing only ping, signal.promoted; others are answered, but not shown or forwarded\n" in chosen


def test_what_the_application_says_against_a_request_is_shown(listen: Listen) -> None:
    said = b'{"error":\n "no \x1b[2Jaccount"}'
    with receiver(lambda _: answer(500, said)) as application:
        piped = listen("--forward-to", str(application.port), "--count", "1")
        piped.post()
        (row,) = piped.finish()[1]
        assert row.endswith('\t500\tthe application said: {"error": "no  [2Jaccount"}')


def test_other_events_than_the_chosen_ones_are_answered_and_nothing_else(listen: Listen, tmp_path: Path) -> None:
    file = tmp_path / "saved"
    one = listen("--event", "ping", "--plan", "503,200", "--count", "2", "--save", str(file), "--json")
    other = b'{"event":"signal.promoted"}'
    answers = [one.post(other), one.post(), one.post(other, signature="0" * 64), one.post(other), one.post()]
    assert [got.status_code for got in answers] == [200, 503, 401, 200, 200]
    _, lines, _ = one.finish()
    assert [json.loads(line)["event"] for line in lines] == ["ping", "ping"]
    assert len(file.read_bytes().splitlines()) == 2


def test_saved_lines_rebuild_the_bodies(listen: Listen, tmp_path: Path) -> None:
    file = tmp_path / "saved.jsonl"
    file.write_bytes(b'{"torn')
    bodies = [b'{"a":1}\n', b"\x00\xff\xfe", "é\u2028".encode(), b""]
    receiver = listen("--save", str(file), "--count", str(len(bodies)), "--quiet")
    for body in bodies:
        receiver.post(body, event="ping")
    assert receiver.finish() == (0, [], "")
    torn, *lines = file.read_bytes().splitlines()
    assert torn == b'{"torn'
    saved = [json.loads(line) for line in lines]
    assert [one["body"].encode() if "body" in one else base64.b64decode(one["body_base64"]) for one in saved] == bodies
    for one, body in zip(saved, bodies, strict=True):
        assert ["x-signalark-signature", sign(SECRET, body)] in [
            [name.lower(), value] for name, value in one["headers"]
        ]


def test_a_new_file_is_for_its_user_alone(listen: Listen, tmp_path: Path) -> None:
    receiver = listen("--save", str(tmp_path / "new.jsonl"), "--count", "1")
    assert receiver.post().status_code == 200
    receiver.finish()
    assert (tmp_path / "new.jsonl").stat().st_mode & 0o777 == 0o600


def test_when_too_few_come_in_time_it_fails(listen: Listen) -> None:
    receiver = listen("--count", "2", "--timeout", "1s", "--json")
    assert receiver.post().status_code == 200
    status, lines, _ = receiver.finish()
    assert (status, len(lines)) == (1, 1)


def test_it_ends_by_itself_once_the_last_answer_that_was_under_way_has_been_given(listen: Listen) -> None:
    receiver = listen("--count", "1", "--delay", "300ms")
    assert receiver.post().status_code == 200
    assert receiver.finish()[0] == 0


def test_without_a_count_its_time_is_just_over(listen: Listen) -> None:
    assert listen("--timeout", "50ms").finish() == (0, [], f"{STARTED}0 requests: 0 valid, 0 invalid, 0 repeated\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_told_to_stop_it_says_what_came(listen: Listen, number: int) -> None:
    receiver = listen()
    receiver.post()
    status, lines, err = receiver.finish(number)
    assert (status, len(lines), err) == (130, 1, f"{STARTED}1 request: 1 valid, 0 invalid, 0 repeated\n")


def test_told_to_stop_while_it_says_nothing_it_stops(listen: Listen) -> None:
    receiver = listen("--plan", "timeout", "--count", "1")
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(receiver.url, content=BODY, headers={"X-SignalArk-Signature": sign(SECRET, BODY)}, timeout=0.3)
    # The sender has timed out, so the one expected request has been answered as planned.
    assert receiver.finish()[0] == 0


def test_told_to_stop_while_senders_wait_it_ends_all_the_same(listen: Listen) -> None:
    receiver = listen("--plan", "timeout", "--json")
    port = int(receiver.url.rpartition(":")[2])
    half, whole = (socket.create_connection(("127.0.0.1", port)) for _ in range(2))
    with half, whole:
        half.sendall(request()[:20])
        whole.sendall(request() + BODY)
        assert receiver.process.stdout is not None
        assert json.loads(receiver.process.stdout.readline())["answer"] == "timeout"
        assert receiver.finish(signal.SIGTERM) == (130, [], "")


def test_a_reader_that_has_gone_away_ends_it(listen: Listen) -> None:
    receiver = listen()
    assert receiver.process.stdout is not None
    receiver.process.stdout.close()
    assert receiver.post().status_code == 200
    with pytest.raises(httpx.HTTPError):
        receiver.post()
    assert receiver.process.wait(20) == 0
    assert receiver.process.stderr is not None
    assert b"Traceback" not in receiver.process.stderr.read()


def test_what_is_saved_is_worth_going_on_for_though_nobody_reads_what_is_shown(listen: Listen, tmp_path: Path) -> None:
    receiver = listen("--save", str(tmp_path / "saved"), "--count", "3")
    assert receiver.process.stdout is not None
    receiver.process.stdout.close()
    assert [receiver.post().status_code for _ in range(3)] == [200] * 3
    assert receiver.process.wait(20) == 0
    assert len((tmp_path / "saved").read_bytes().splitlines()) == 3


def test_a_saved_file_that_is_rotated_is_begun_again_and_sighup_ends_nothing(listen: Listen, tmp_path: Path) -> None:
    file, moved = tmp_path / "saved", tmp_path / "saved.1"
    receiver = listen("--save", str(file), "--count", "3")
    receiver.post()
    file.rename(moved)
    receiver.process.send_signal(signal.SIGHUP)
    receiver.post()
    receiver.process.send_signal(signal.SIGHUP)
    receiver.post()
    assert receiver.finish()[0] == 0
    assert [len(path.read_bytes().splitlines()) for path in (moved, file)] == [1, 2]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="/proc tells the memory at its peak")
def test_any_number_of_clients_with_the_largest_bodies_takes_a_bounded_memory(listen: Listen) -> None:
    receiver = listen("--json")
    body = b"x" * 1024 * 1024
    address = ("127.0.0.1", int(receiver.url.rpartition(":")[2]))
    clients = [socket.create_connection(address, timeout=20) for _ in range(300)]
    for client in clients:
        with suppress(ConnectionError):
            client.sendall(request(body) + body[:-1])
    statuses = []
    for client in clients:
        with client, suppress(ConnectionError):
            client.sendall(body[-1:])
            statuses.append(client.recv(12))
    assert [status for status in statuses if status] == [b"HTTP/1.1 200"] * 128
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{receiver.process.pid}/status").read_text())
    assert int(peak) < (64 + 128 + 16) * 1024


def test_a_full_disk_ends_it_before_the_sender_is_told_that_all_is_well(listen: Listen, tmp_path: Path) -> None:
    file = tmp_path / "saved"
    script = f"ulimit -f 1; exec {sys.executable} -m arkcli listen --port 0 --secret {SECRET} --save {file}"
    process = subprocess.Popen(["bash", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    url = process.stdout.readline().decode().split()[-1]
    body = b"x" * 4096
    with pytest.raises(httpx.HTTPError):
        httpx.post(url, content=body, headers={"X-SignalArk-Signature": sign(SECRET, body)})
    _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert b"error: File too large" in err
    assert file.read_bytes() == b""


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--plan", "503,"), "--plan: '' is not an answer"),
        (("--respond", "99"), "--respond: '99' is not an answer"),
        (("--respond", "503", "--plan", "200"), "give only one"),
        (("--forward-to", "ftp://localhost/"), "--forward-to: 'ftp://localhost/' is not a URL"),
        (("--forward-to", "no such host"), "--forward-to: 'no such host' is not a URL"),
        (("--forward-to", "me:secret@localhost"), "is not a URL"),
        (("--forward-to", "https:/localhost:1"), "is not a URL"),
        (("--forward-to", "70000"), "--forward-to: 'http://127.0.0.1:70000/' is not a URL"),
        (("--forward-to", "3000", "--forward-ca-file", "/no.pem"), "--forward-ca-file is for https, and"),
        (("--forward-to", "http://x/", "--plan", "200"), "leave out --respond and --plan"),
        (("--forward-unverified",), "--forward-unverified goes with --forward-to"),
        (("--forward-ca-file", "/ca.pem"), "--forward-ca-file goes with --forward-to"),
        (("--forward-to", "https://x/", "--forward-ca-file", "/no.pem"), "the CA certificates in /no.pem cannot be"),
        (("--forward-to", "HTTP://x/", "--forward-ca-file", "/no.pem"), "--forward-ca-file is for https, and"),
        (("--delay", "12"), "--delay: '12' is not a duration"),
        (("--timeout", "soon"), "--timeout: 'soon' is not a duration"),
        (("--count", "0"), "--count"),
        (("--event", "signal.promotd"), "there is no event 'signal.promotd'. Did you mean 'signal.promoted'?"),
        (("--port", "70000"), "--port"),
        (("--save", "/nowhere/at/all"), "--save: /nowhere/at/all cannot be written: No such file or directory"),
        (("--save", "/"), "--save: / cannot be written"),
        (("--save", "/dev/null"), "it is not a regular file"),
        (("--host", "192.0.2.1"), "cannot listen on 192.0.2.1"),
        (("--host", "no such host"), "cannot listen on no such host"),
    ],
)
def test_what_cannot_be_done_is_said_before_it_listens(world: World, args: tuple[str, ...], says: str) -> None:
    result = world.ark("listen", "--port", "0", "--secret", SECRET, *args)
    assert (result.status, result.out) == (2, "")
    assert says in result.err


def test_a_port_in_use_is_named(world: World, listen: Listen) -> None:
    port = listen().url.rpartition(":")[2]
    result = world.ark("listen", "--secret", SECRET, "--port", port)
    assert result.status == 2
    assert f"port {port}: another process is listening there" in result.err


def test_without_a_secret_it_makes_the_shared_one_and_says_where_it_is(world: World, listen: Listen) -> None:
    receiver = listen("--count", "1", own_secret=False)
    added = world.ark("dest", "add", receiver.url, "--allow-local")
    status, lines, said = receiver.finish()

    assert f"made a signing secret for your receivers; it is in {world.store_file}" in said
    assert (added.status, "made a signing secret" in added.err) == (0, False)
    assert (status, len(lines)) == (0, 1)


def test_a_secret_of_its_own_leaves_the_store_as_it_is(world: World, listen: Listen) -> None:
    receiver = listen("--secret", SECRET, "--count", "1")
    assert receiver.post().status_code == 200
    assert not world.store_file.exists()


def test_any_of_several_secrets_will_do_and_the_store_has_one_too(world: World, listen: Listen) -> None:
    receiver = listen("--secret", "other", "--secret", SECRET, "--count", "1", "--json")
    assert receiver.post().status_code == 200
    world.ark("secret", "set", stdin=SECRET.encode())
    from_store = [sys.executable, "-m", "arkcli", "listen", "--port", "0", "--timeout", "50ms", "--json"]
    done = subprocess.run(from_store, env={**os.environ, **world.variables}, capture_output=True, check=False)
    assert done.returncode == 0


def taken(receiver: Listening, secret: str) -> bool:
    """Whether it accepts a request signed with this secret."""
    return receiver.post(signature=sign(secret, BODY)).status_code == 200


@pytest.mark.parametrize("where", ["store", "file of the store", "secret file"])
def test_a_secret_that_is_rotated_is_the_one_that_counts_within_a_second(
    world: World, listen: Listen, where: str
) -> None:
    world.home.mkdir(parents=True)
    file = world.home / "secret"
    file.write_text("old")
    if where != "secret file":
        given = b"old" if where == "store" else f"file:{file}".encode()
        assert world.ark("secret", "set", stdin=given).status == 0
    receiver = listen(*(["--secret-file", str(file)] if where == "secret file" else []), own_secret=False)
    assert (taken(receiver, "old"), taken(receiver, "new")) == (True, False)
    if where == "store":
        assert world.ark("secret", "set", stdin=b"new").status == 0
    else:
        file.write_text("new")
    time.sleep(0.6)
    assert (taken(receiver, "old"), taken(receiver, "new")) == (False, True)
    assert receiver.process.stdout is not None
    rows = b"".join(receiver.process.stdout.readline() for _ in range(3))
    assert b"signed with the secret before" in rows
    # Only the file is broken: the receiver continues with the secret that it knows, and warns once.
    (world.store_file if where == "store" else file).write_text("")
    time.sleep(0.6)
    assert [taken(receiver, "new") for _ in range(3)] == [True] * 3
    time.sleep(0.6)
    assert taken(receiver, "new")
    err = receiver.finish(signal.SIGINT)[2]
    assert err.count("the signing secret was changed; requests are checked with the new one from now on") == 1
    assert err.count("Until it can be read, ark uses what it read last") == 1


def test_a_secret_that_comes_through_a_pipe_is_read_once(world: World) -> None:
    """As in `ark listen --secret-file <(pass show webhook)`."""
    command = 'exec "$0" -m arkcli listen --port 0 --json --secret-file <(echo piped)'
    with subprocess.Popen(
        ["bash", "-c", command, sys.executable],
        env={**os.environ, **world.variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["listening"]
        for _ in range(3):
            headers = {"X-SignalArk-Signature": sign("piped", BODY)}
            assert httpx.post(url, content=BODY, headers=headers, trust_env=False).status_code == 200
            time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        assert "warning" not in process.communicate(timeout=30)[1]


@pytest.mark.parametrize("spelling", ["{port}", "127.0.0.1:{port}", "localhost:{port}/x", "http://127.0.0.1:{port}/"])
def test_an_application_may_be_named_by_its_port_or_without_a_scheme(listen: Listen, spelling: str) -> None:
    with receiver(201) as application:
        assert listen("--forward-to", spelling.format(port=application.port)).post().status_code == 201


@pytest.mark.parametrize("given", [("{port}",), ("localhost:{port}/x",), ("{port}", "--host", "0.0.0.0")])
def test_an_application_that_is_the_receiver_itself_is_refused(world: World, given: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    url, *host = (word.format(port=port) for word in given)
    result = world.ark("listen", "--port", str(port), "--timeout", "1s", "--forward-to", url, *host)
    assert (result.status, result.out) == (2, "")
    assert "--forward-to is this receiver itself" in result.err


@pytest.mark.parametrize("way", ["SSL_CERT_FILE", "--forward-ca-file"])
def test_an_application_over_tls_is_trusted_as_a_destination_would_be(
    world: World, listen: Listen, tmp_path: Path, way: str
) -> None:
    certificates = Certificates(tmp_path)
    if way == "SSL_CERT_FILE":
        world.variables[way] = certificates.ca_file
    option = (way, certificates.ca_file) if way.startswith("--") else ()
    with receiver(201, certificates.wrapping("localhost")) as application:
        url = application.url.replace("127.0.0.1", "localhost")
        assert listen("--forward-to", url, *option).post().status_code == 201
        world.variables.pop(way, None)
        assert "does not verify" in listen("--forward-to", url).post().text


def test_the_first_line_names_one_address_and_the_others_are_noted(listen: Listen) -> None:
    receiver = listen("--host", "localhost", "--timeout", "50ms")
    assert receiver.first == f"listening on {receiver.url}\n"
    assert receiver.url.startswith("http://127.0.0.1:")
    assert f"listening on {receiver.url.replace('127.0.0.1', '[::1]')}, too\n" in receiver.finish()[2]


def test_the_command_that_it_offers_works_though_it_listens_everywhere(world: World) -> None:
    """`ark` never connects to an unspecified address."""
    for host, dialled in (("0.0.0.0", "127.0.0.1"), ("::", "[::1]")):
        shown = world.on_a_terminal(
            *("listen", "--secret", SECRET, "--host", host, "--port", "0"), "--timeout", "1ms", columns=100
        )
        assert f"`ark dest add http://{dialled}:" in shown


def test_another_host_is_warned_of(listen: Listen) -> None:
    receiver = listen("--host", "0.0.0.0", "--timeout", "50ms")
    assert "warning: listening on 0.0.0.0: other machines can reach this receiver" in receiver.finish()[2]


@contextmanager
def application(*command: str, **variables: str) -> Iterator[str]:
    """Runs an application that prints its port; yields the URL of its webhook."""
    environment = {**os.environ, "WEBHOOK_SECRET": SECRET, **variables}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            port = process.stdout.readline().strip()
            assert port.isdecimal()
            yield f"http://127.0.0.1:{port}/webhook"
        finally:
            process.kill()


def send_through(world: World, listen: Listen, url: str, maker: str) -> None:
    """Runs `ark send` through `ark listen` to an application that checks the signature itself."""
    world.ark("secret", "set", stdin=SECRET.encode())
    receiver = listen("--forward-to", url, "--json", "--forward-unverified")
    assert world.ark("dest", "add", receiver.url, "--allow-local", "--name", "d").status == 0
    sent = world.ark("send", "signal.promoted", "--json", stdin=PAYLOAD)
    assert sent.json["deliveries"][0]["status"] == 202
    # The application receives exactly the bytes that were signed, and the sender gets its answer.
    for body in (b'{"a": "\xff\x00\r\n"}', b"x" * (1024 * 1024)):
        taken = receiver.post(body)
        assert (taken.status_code, taken.headers["X-Taken-By"], taken.json()) == (202, maker, {"taken": len(body)})
    refused = receiver.post(signature=sign("other", BODY))
    assert (refused.status_code, refused.text) == (401, "wrong signature")
    _, lines, _ = receiver.finish(signal.SIGINT)
    assert [json.loads(line)["status"] for line in lines] == [202, 202, 202, 202, 401]


def test_a_flask_application_behind_it_verifies_what_it_gets(world: World, listen: Listen) -> None:
    with application(sys.executable, "-m", "tests.applications.flask_app") as url:
        send_through(world, listen, url, "flask")


@pytest.fixture(scope="module")
def express(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The directory of node's modules that contains Express, installed if possible."""
    return node_modules("express", tmp_path_factory.mktemp("express"))


def test_an_express_application_behind_it_verifies_what_it_gets(world: World, listen: Listen, express: str) -> None:
    with application("node", "tests/applications/express_app.js", NODE_PATH=express) as url:
        send_through(world, listen, url, "express")


def test_too_few_requests_are_said_even_when_quiet(world: World) -> None:
    result = world.ark("listen", "--port", "0", "--secret", "s", "--count", "2", "--timeout", "20ms", "--quiet")
    assert result.status == 1
    assert result.err == "warning: 0 of 2 requests came within 20ms\n"
