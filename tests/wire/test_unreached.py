"""Failures that say nothing about the event: no receiver was reached, or this machine ran out of a resource."""

import errno
import os
import resource
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from arkcli.model import Answer, Delivery
from arkcli.system.clock import SystemClock
from arkcli.wire import shortage
from arkcli.wire.wire import Endpoint, Wire
from tests.hostile.rows import GOOD, HEAD
from tests.hostile.servers import Handler, Talk, answers, hostile, says
from tests.refused import without_sockets
from tests.wire.test_wire import EVENT, endpoint, post
from tests.world import Certificates, World

ROOT = Path(__file__).parent.parent.parent
DESCRIPTORS = "file descriptors (EMFILE)"


def reset(talk: Talk) -> None:
    talk.read()
    talk.reset()


def hello(talk: Talk, end: Callable[[Talk], None]) -> None:
    """Ends the connection during the TLS handshake."""
    talk.connection.recv(1)
    end(talk)


@pytest.mark.parametrize(
    ("url", "error", "unreached"),
    [
        ("http://127.0.0.1:{}/", "no connection: connection refused", True),
        ("https://no-such-host.invalid/", "the name cannot be resolved", True),
        # The guard refuses this address, so there is no connection.
        ("http://169.254.169.254/", "169.254.169.254 is link-local", False),
    ],
    ids=["refused", "no name", "guard"],
)
def test_where_no_connection_can_be_made_nobody_was_reached(url: str, error: str, unreached: bool) -> None:
    # Nothing listens here, and nothing else can use the port.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        (found,) = post(endpoint(url.format(taken.getsockname()[1])))
    assert str(found.error).startswith(error)
    assert (found.unreached, found.lacking) == (unreached, None)


@pytest.mark.parametrize(
    ("handle", "unreached"),
    [
        (lambda talk: None, True),
        (Talk.reset, True),
        (says(), True),
        (reset, True),
        (says(HEAD), False),
        (says(b"HTTP/1.1 100 Continue\r\n\r\n"), False),
        (says(b"SSH-2.0-OpenSSH_9.6\r\n"), False),
        (says(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"), False),
        (says(b"HTTP/1.1 503 Down\r\nContent-Length: 0\r\n\r\n"), False),
        (says(GOOD), False),
    ],
    ids=["closed", "reset", "closed later", "reset later", "half", "interim", "ssh", "broken", "503", "200"],
)
def test_a_connection_that_ended_before_an_answer_began_reached_nobody(handle: Handler, unreached: bool) -> None:
    with hostile(handle) as server:
        (found,) = post(endpoint(f"http://127.0.0.1:{server.port}/"))
    assert (found.unreached, found.lacking) == (unreached, None), found


@pytest.mark.parametrize(
    ("handle", "unreached"),
    [
        (lambda talk: hello(talk, Talk.close), True),
        (lambda talk: hello(talk, Talk.reset), True),
        (lambda talk: talk.say(b"HTTP/1.1 400 Plain\r\n\r\n"), False),
    ],
    ids=["closed", "reset", "no TLS"],
)
def test_a_handshake_that_the_server_cuts_off_reached_nobody(handle: Handler, unreached: bool) -> None:
    with hostile(handle) as server:
        (found,) = post(endpoint(f"https://127.0.0.1:{server.port}/"))
    assert (found.unreached, found.lacking) == (unreached, None), found


def test_a_certificate_that_does_not_verify_was_shown_by_somebody(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    Certificates(tmp_path).authority.issue_cert("127.0.0.1").configure_cert(context)
    with hostile(lambda talk: talk.secure(context)) as server:
        (found,) = post(endpoint(f"https://127.0.0.1:{server.port}/"))
    assert "does not verify" in str(found.error)
    assert not found.unreached


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_receiver_that_asks_for_a_client_certificate_was_reached_and_says_so(
    tmp_path: Path, newest: ssl.TLSVersion
) -> None:
    certificates = Certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode, context.maximum_version = ssl.CERT_REQUIRED, newest
    certificates.authority.configure_trust(context)
    certificates.authority.issue_cert("127.0.0.1").configure_cert(context)

    def handle(talk: Talk) -> None:
        # Read the request, so that the client gets the answer and not an RST.
        plain = talk.connection.dup()
        try:
            talk.secure(context)
        finally:
            plain.settimeout(1)
            plain.recv(65_536)
            plain.close()

    with hostile(handle) as server:
        (found,) = post(endpoint(f"https://127.0.0.1:{server.port}/", ca_file=certificates.ca_file))
    assert "require" in str(found.error) and "a client certificate (mTLS)" in str(found.error)
    assert not found.unreached


def test_an_answer_that_does_not_come_within_ten_seconds_is_another_matter() -> None:
    with hostile(Talk.hang) as server:
        (found,) = post(endpoint(f"http://127.0.0.1:{server.port}/"))
    assert found.timed_out
    assert not found.unreached


@pytest.mark.parametrize("name", ["EMFILE", "ENFILE", "ENOMEM", "ENOBUFS"])
def test_what_there_is_too_little_of_is_told_by_its_error_number(name: str) -> None:
    assert f"({name})" in str(shortage.shortage(getattr(errno, name)))


@pytest.mark.parametrize("name", ["EACCES", "EPERM", "EAFNOSUPPORT", "ECONNREFUSED", "ENETUNREACH"])
def test_what_will_not_pass_is_no_shortage(name: str) -> None:
    number = getattr(errno, name)
    assert shortage.shortage(number) is None
    assert shortage.of_ports(number, ["127.0.0.1"]) is None
    assert shortage.shortage(None) is None


def _run(what: str, *arguments: str, before: tuple[str, ...] = ()) -> list[str]:
    """The lines that a function of this module prints in its own process."""
    code = f"import sys; from tests.wire.test_unreached import {what}; {what}(*sys.argv[1:])"
    command = [*before, sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()


@contextmanager
def _free(descriptors: int) -> Iterator[None]:
    """Leaves exactly this many descriptors free for the length of a block."""
    held = []
    try:
        while True:
            try:
                held.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                break
        for _ in range(descriptors):
            os.close(held.pop())
        yield
    finally:
        for each in held:
            os.close(each)


def _attempt(target: Endpoint, *descriptors: int) -> Answer:
    """Makes attempts over one wire, each with this many free descriptors; returns the last answer."""
    wire: Wire[int] = Wire("", SystemClock())
    # Libcurl is loaded when a wire is first used.
    wire.wait(0)
    for count in descriptors:
        done: list[tuple[int, Answer]] = []
        with _free(count):
            wire.start(target, [(Delivery(EVENT, 1), 0)])
            while not done:
                done += wire.wait(0.5)
    wire.close()
    return done[0][1]


def _starved(port: str, ca_file: str) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    plain, missing = f"http://127.0.0.1:{port}/", "https://no-such.invalid/"
    assert _attempt(endpoint(plain), 8).lacking is None
    for url, descriptors in ((plain, 0), (plain, 1), (plain, 2), (missing, 0), (missing, 1), (missing, 8)):
        print(_attempt(endpoint(url), descriptors).lacking)
    with _free(0):
        print(shortage.of_descriptors_for(ca_file))
    found = _attempt(endpoint(plain), 0)
    print(found.error, found.status, found.unreached, found.timed_out, sep="\n")


def test_without_descriptors_no_attempt_is_made_whatever_they_were_for(tmp_path: Path) -> None:
    """For a socket, pycurl's copy of it, a name look-up, and the file of CA certificates."""
    with hostile(answers(GOOD)) as server:
        said = _run("_starved", str(server.port), Certificates(tmp_path).ca_file)
    assert said[:7] == [DESCRIPTORS, DESCRIPTORS, "None", DESCRIPTORS, DESCRIPTORS, "None", DESCRIPTORS]
    assert said[7:] == [f"this machine is out of {DESCRIPTORS}", "None", "False", "False"]


def _starved_later(port: str) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    found = _attempt(endpoint(f"http://127.0.0.1:{port}/"), 8, 0)
    print(found.lacking, found.error, sep="\n")


def test_an_attempt_whose_request_went_out_was_made_though_it_could_not_be_repeated() -> None:
    def handle(talk: Talk) -> None:
        talk.read()
        talk.say(GOOD)
        talk.read()

    with hostile(handle) as server:
        said = _run("_starved_later", str(server.port))
        assert len(server.requests) == 2
    assert said == ["None", "no connection can be opened: too many open files"]


def test_a_ca_file_that_is_at_fault_itself_is_no_shortage(tmp_path: Path) -> None:
    good = Certificates(tmp_path).ca_file
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate\n")
    assert shortage.of_descriptors_for(str(broken)) is None
    assert shortage.of_descriptors_for(str(tmp_path / "missing.pem")) is None
    assert shortage.of_descriptors_for(good) == DESCRIPTORS, "it can be read, so it could not be a moment ago"
    with hostile(answers(GOOD)) as server:
        (found,) = post(endpoint(f"https://127.0.0.1:{server.port}/", ca_file=str(broken)))
    assert (found.lacking, found.unreached) == (None, False)
    assert str(found.error).startswith("the CA file cannot be used")


def _without_threads() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (2**34, 2**34))
    threading.stack_size(2**35)
    print(_attempt(endpoint("https://no-such.invalid/"), 8).lacking)


def test_without_a_thread_no_name_is_looked_up() -> None:
    assert _run("_without_threads") == ["threads"]


#: Attempts at several URLs, without pytest, whose import would take longer than the attempts.
ATTEMPTS = """
import sys
from arkcli.system.clock import SystemClock
from arkcli.model import Delivery, Destination, Event
from arkcli.signing import Secret
from arkcli.wire.wire import Endpoint, Wire

wire = Wire("", SystemClock())
for url in sys.argv[1:]:
    destination = Destination(id="dst_1", name="d", url=url, added_at="", allow_local=True)
    wire.start(Endpoint(destination, Secret("s")), [(Delivery(Event("evt_1", "ping", "", b"{}"), 1), 0)])
    while not (done := wire.wait(0.5)):
        pass
    print(done[0][1].unreached, done[0][1].lacking, done[0][1].error, sep="; ")
"""
V4, V6, UNIX = socket.AF_INET, socket.AF_INET6, socket.AF_UNIX
REFUSED = "True; None; no connection: connection refused"
NO_NAME = "True; None; the name cannot be resolved"
NOT_MADE = "False; {0}; this machine is out of {0}".format("network sockets (EACCES: this process may open none)")


@pytest.mark.parametrize(
    ("refused", "said"),
    [
        # ark connects to the other family's address and reports that error. A destination with only refused addresses
        # fails alone.
        (
            [V6],
            {
                "localhost": REFUSED,
                "127.0.0.1": REFUSED,
                "[::1]": "True; None; no connection can be opened: IPv6 is not available here",
            },
        ),
        ([V4], {"localhost": REFUSED, "127.0.0.1": "True; None; no connection can be opened: permission denied"}),
        ([UNIX], {"localhost": REFUSED, "no-such-host.invalid": NO_NAME}),
        # Not the fault of any destination.
        ([V4, V6], {"localhost": NOT_MADE, "127.0.0.1": NOT_MADE, "no-such-host.invalid": NOT_MADE}),
    ],
    ids=["IPv6", "IPv4", "Unix", "IPv4 and IPv6"],
)
def test_sockets_that_are_refused_cost_an_attempt_only_where_other_destinations_can_be_reached(
    refused: list[socket.AddressFamily], said: dict[str, str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        urls = [f"http://{host}:{taken.getsockname()[1]}/" for host in said]
        done = without_sockets(refused, errno.EACCES, sys.executable, "-c", ATTEMPTS, *urls)
    assert (done.stdout.splitlines(), done.stderr) == (list(said.values()), "")


def test_a_drain_that_may_open_no_socket_says_so_ends_and_costs_no_attempt(world: World) -> None:
    world.ark("dest", "add", "http://127.0.0.1:9/", "--name", "d", "--allow-local", "--no-ping")
    world.ark("send", "signal.promoted", "--sample", "--queue")
    done = without_sockets([V4, V6], errno.EAFNOSUPPORT, sys.executable, "-m", "arkcli", "drain", **world.variables)
    assert done.returncode == 1
    assert "no attempt can be made: this machine is short of network sockets (EAFNOSUPPORT" in done.stderr
    (queued,) = world.ark("queue", "--json").json["destinations"]
    assert (queued["waiting"], queued["retrying"]) == (1, 0)


def _without_ports() -> None:
    """Runs in its own network namespace with two local ports and without IPv6."""
    for path, value in (("ipv4/ip_local_port_range", "40000 40001"), ("ipv6/conf/all/disable_ipv6", "1")):
        Path("/proc/sys/net", path).write_text(value)
    with hostile(answers(GOOD)) as server:
        ends: list[socket.socket] = []
        lacking: list[str | None] = [None]
        while lacking[-1] is None and len(ends) < 3:
            lacking.append(_attempt(endpoint(f"http://127.0.0.1:{server.port}/"), 64).lacking)
            ends.append(socket.socket())
            ends[-1].connect_ex(("127.0.0.1", server.port))
        print(lacking[-1])
    found = post(endpoint("http://[::1]:9/"))[0]
    print(found.lacking, found.unreached, found.error, sep="\n")


def test_without_local_ports_no_attempt_is_made_but_without_a_way_there_one_has_failed() -> None:
    """Both cases report EADDRNOTAVAIL."""
    apart = ("unshare", "--map-root-user", "--net")
    up = ["sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("a network of its own needs `unshare` and `ip`")
    if subprocess.run([*apart, *up, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a network of its own needs the right to use one")
    lacking, *there = _run("_without_ports", before=(*apart, *up))
    assert lacking == "local ports (EADDRNOTAVAIL)"
    assert there[:2] == ["None", "True"]
    assert there[2].startswith("no connection: cannot assign")
