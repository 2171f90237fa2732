"""The server on real sockets: every framing of HTTP/1.1, and clients that are slow, stuck, broken or too many."""

import contextlib
import errno
import itertools
import re
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arkcli.errors import UsageError
from arkcli.httpd.connection import ServerLimits
from arkcli.httpd.server import listen_on
from tests.receiver.running import BODY, SECRET, Running, chunked, everything, request, running, until
from tests.refused import without_sockets

MIB = 1024 * 1024
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture(scope="module")
def shared() -> Iterator[Running]:
    with running() as made:
        yield made


@given(st.lists(st.binary(max_size=200), max_size=6), st.lists(st.integers(1, 400), max_size=8), st.booleans())
@settings(max_examples=50)
def test_a_body_is_the_same_however_it_is_cut_up(
    shared: Running, pieces: list[bytes], cuts: list[int], in_chunks: bool
) -> None:
    body = b"".join(pieces)
    framed = request(body, "Transfer-Encoding: chunked") + chunked(*pieces) if in_chunks else request(body) + body
    with shared.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for cut in cuts:
            client.sendall(framed[:cut])
            framed = framed[cut:]
        client.sendall(framed)
        assert until(client, b"\r\n\r\n") == OK
    assert shared.received[-1].request.body == body
    assert shared.received[-1].verdict.valid


@pytest.mark.parametrize("framing", ["length", "chunked", "expect"])
@pytest.mark.parametrize(("size", "status"), [(MIB, 200), (MIB + 1, 413), (4 * MIB, 413)])
def test_a_body_of_one_mebibyte_is_taken_and_a_larger_one_refused(
    shared: Running, framing: str, size: int, status: int
) -> None:
    body = b"x" * size
    headers = {"chunked": ["Transfer-Encoding: chunked"], "expect": ["Expect: 100-continue"], "length": []}[framing]
    framed = chunked(body[: size // 2], body[size // 2 :]) if framing == "chunked" else body
    with shared.connect() as client:
        client.sendall(request(body, *headers))
        if framing == "expect" and status == 200:
            assert until(client, b"\r\n\r\n") == b"HTTP/1.1 100 \r\n\r\n"
        # A client may send its body without a "100 Continue", and can still read the answer.
        client.sendall(framed)
        assert until(client, b"\r\n\r\n").startswith(b"HTTP/1.1 %d " % status)
    last = shared.received[-1]
    assert (last.size, last.status, last.verdict.valid) == ((size, 200, True) if status == 200 else (None, 413, False))


def test_connections_are_kept_alive_and_pipelined_requests_are_answered_in_order() -> None:
    with running(answers="201,202,203") as receiver, receiver.connect() as client:
        client.sendall(request() + BODY)
        assert until(client, b"\r\n\r\n").startswith(b"HTTP/1.1 201 Created")
        client.sendall(request() + BODY + request(b"last", close=True) + b"last")
        said = everything(client)
    assert [line[9:12] for line in said.splitlines() if line.startswith(b"HTTP/")] == [b"202", b"203"]
    assert [one.request.body for one in receiver.received] == [BODY, BODY, b"last"]


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nX-A: b\r\n c\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nX-A: b\rContent-Length: 9\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 70_000, 431),
        (b"POST / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", 431),
        (b"POST /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost: x\r\nX:" + b" " * 70_000 + b"x\r\n\r\n", 431),
        (CHUNKED + b"1;a=" + b"x" * 70_000 + b"\r\nx\r\n0\r\n\r\n", 431),
        (CHUNKED + b"0\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", 431),
        (b"PUT / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 405),
        (b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 405),
        (b"GET /elsewhere HTTP/1.0\r\n\r\n", 405),
        (b"GET / HTTP/1.0\r\n\r\n", 200),
        (b"\x16\x03\x01\x00\x05hello\r\n\r\n", 400),
    ],
)
def test_what_is_no_webhook_is_answered_and_not_reported(said: bytes, status: int) -> None:
    with running() as receiver:
        assert receiver.say(said).startswith(b"HTTP/1.1 %d " % status)
        assert receiver.post().status_code == 200
    assert len(receiver.received) == 1
    assert len(receiver.complaints) == (status not in (200, 405))


@pytest.mark.parametrize(("size", "status"), [(64 * 1024, 200), (64 * 1024 + 1, 431)])
@pytest.mark.parametrize("piece", [1, 1000, MIB])
def test_64_kibibytes_of_headers_are_taken_and_no_byte_more_however_they_arrive(
    shared: Running, size: int, status: int, piece: int
) -> None:
    begun = request().removesuffix(b"\r\n")
    head = begun + b"X: " + b"x" * (size - len(begun) - 7) + b"\r\n\r\n"
    assert len(head) == size
    # Only the end goes byte by byte, since that is where the limit is reached.
    cuts = [0, *range(size - 100 if piece == 1 else piece, size, piece), size]
    with shared.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for begin, end in itertools.pairwise(cuts):
            client.sendall(head[begin:end])
        client.sendall(BODY)
        assert until(client, b"\r\n\r\n").startswith(b"HTTP/1.1 %d " % status)


def test_lines_may_end_in_lf_alone() -> None:
    """RFC 9112, 2.2."""
    with running() as receiver, receiver.connect() as client:
        client.sendall(b"POST / HTTP/1.1\nHost: x\nContent-Length: 2\n\nab")
        client.shutdown(socket.SHUT_WR)
        assert everything(client).count(b"HTTP/1.1 401 ") == 1
    assert [one.request.body for one in receiver.received] == [b"ab"]
    assert receiver.complaints == []


def _has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="no IPv6 here")
FAMILIES = {"127.0.0.1": socket.AF_INET, "::1": socket.AF_INET6}


@needs_ipv6
@pytest.mark.parametrize(
    ("host", "reached"),
    [
        ("localhost", ["127.0.0.1", "::1"]),
        ("LOCALHOST", ["127.0.0.1", "::1"]),
        ("::", ["127.0.0.1", "::1"]),
        ("0.0.0.0", ["127.0.0.1"]),
        ("::1", ["::1"]),
        ("127.0.0.1", ["127.0.0.1"]),
    ],
)
def test_every_address_that_a_host_means_is_served_on_one_port(host: str, reached: list[str]) -> None:
    with running(host=host) as receiver:
        port = receiver.listeners[0].getsockname()[1]
        answered = []
        for address, family in FAMILIES.items():
            with socket.socket(family) as client:
                client.settimeout(20)
                if client.connect_ex((address, port)) == 0:
                    client.sendall(request(close=True) + BODY)
                    assert everything(client).startswith(b"HTTP/1.1 200 ")
                    answered.append(address)
    assert answered == reached


@needs_ipv6
def test_what_listens_at_one_of_the_addresses_is_in_the_way() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as other:
        port = other.getsockname()[1]
        with pytest.raises(UsageError, match=f"localhost port {port}: another process is listening there"):
            listen_on("localhost", port)
        # The sockets made before the error are closed.
        socket.create_server(("127.0.0.1", port)).close()


@needs_ipv6
def test_any_port_is_one_that_is_free_at_every_address() -> None:
    """Runs in its own network namespace with twelve local ports, of which eleven are taken at ::1."""
    code = "\n".join(
        (
            "import socket; from arkcli.httpd.server import listen_on, url_of",
            "family = {'family': socket.AF_INET6}",
            "taken = [socket.create_server(('::1', port), **family) for port in range(40000, 40011)]",
            "print(*map(url_of, listen_on('localhost', 0)))",
            "taken.append(socket.create_server(('127.0.0.1', 40000)))",
            "taken.append(socket.create_server(('::1', 40011), **family))",
            "listen_on('localhost', 0)",
        )
    )
    network = 'ip link set lo up && echo 40000 40011 > /proc/sys/net/ipv4/ip_local_port_range && exec "$@"'
    command = ["unshare", "--map-root-user", "--net", "sh", "-c", network, "sh"]
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("a network of its own needs `unshare` and `ip`")
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a network of its own needs the right to use one")
    python = (sys.executable, "-W", "ignore", "-c", code)
    said = subprocess.run([*command, *python], capture_output=True, text=True, check=False, timeout=60)
    assert said.stdout == "http://127.0.0.1:40011 http://[::1]:40011\n", said.stderr
    assert "localhost port 0: another process is listening there" in said.stderr


@needs_ipv6
@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="/proc tells the addresses")
def test_a_link_local_address_is_listened_on_with_its_scope() -> None:
    found = [row for row in Path("/proc/net/if_inet6").read_text().splitlines() if row.startswith("fe80")]
    if not found:
        pytest.skip("no link-local address here")
    address, *_, device = found[0].split()
    host = ":".join(address[begin : begin + 4] for begin in range(0, 32, 4))
    (listener,) = listen_on(f"{host}%{device}", 0)
    listener.close()


@needs_ipv6
@pytest.mark.parametrize(("refused", "left"), [(socket.AF_INET6, "127.0.0.1"), (socket.AF_INET, "[::1]")])
def test_a_family_that_this_machine_does_not_have_is_left_out(refused: socket.AddressFamily, left: str) -> None:
    code = "from arkcli.httpd.server import listen_on, url_of; print(*map(url_of, listen_on('localhost', 0)))"
    said = without_sockets([refused], errno.EAFNOSUPPORT, sys.executable, "-W", "ignore", "-c", code)
    assert re.fullmatch(rf"http://{re.escape(left)}:\d+\n", said.stdout), said


@pytest.mark.parametrize("refused", [[socket.AF_UNIX], [socket.AF_INET, socket.AF_INET6]])
def test_without_sockets_it_says_which_it_needs(refused: list[socket.AddressFamily]) -> None:
    command = ("-m", "arkcli", "listen", "--secret", SECRET, "--port", "0")
    said = without_sockets(refused, errno.EAFNOSUPPORT, sys.executable, *command)
    assert (said.returncode, said.stdout, said.stderr.count("\n")) == (2, "", 1)
    assert "is not allowed to open such a socket; allow AF_UNIX, and AF_INET or AF_INET6" in said.stderr


@pytest.mark.parametrize("error", [errno.EACCES, errno.EPERM])
@pytest.mark.parametrize(
    ("port", "says"),
    [(0, "is not allowed to open such a socket"), (8080, "is not allowed to open"), (80, "ports below 1024 need root")],
)
def test_root_is_asked_for_only_where_a_port_needs_it(error: int, port: int, says: str) -> None:
    code = f"from arkcli.httpd.server import listen_on; listen_on('::1', {port})"
    said = without_sockets([socket.AF_INET6], error, sys.executable, "-c", code)
    assert f"cannot listen on ::1 port {port}: " in said.stderr
    assert says in said.stderr


def test_tls_at_a_plain_port_is_named_as_such() -> None:
    with running() as receiver:
        receiver.say(b"\x16\x03\x01\x00\x05hello\r\n\r\n")
    assert "it is TLS" in receiver.complaints[0]


def test_a_look_at_the_root_is_answered_kindly(shared: Running) -> None:
    assert "ark listen" in httpx.get(shared.url).text
    head = httpx.head(f"{shared.url}/?x")
    assert (head.status_code, head.content) == (200, b"")


def test_slow_clients_hold_up_nobody_and_a_connection_above_the_most_is_closed_at_once() -> None:
    with running(ServerLimits(connections=20)) as receiver:
        slow = [receiver.connect() for _ in range(20)]
        for number, client in enumerate(slow):
            client.sendall(request()[: 10 + number])
        for _ in range(3):
            with contextlib.suppress(ConnectionResetError):
                assert receiver.say(b"") == b""
        assert receiver.complaints == ["a connection was refused: 20 are open, and that is the most"] * 3
        for number, client in enumerate(slow):
            client.sendall(request(close=True)[10 + number :] + BODY)
            assert everything(client).startswith(b"HTTP/1.1 200 ")
            client.close()
        # A closed connection frees a place.
        assert [receiver.post().status_code for _ in range(40)] == [200] * 40


def test_slow_clients_lose_their_places_in_time() -> None:
    with running(ServerLimits(connections=20, patience=0.2)) as receiver:
        slow = [receiver.connect() for _ in range(20)]
        for client in slow:
            client.sendall(request()[:30])
        statuses: list[int] = []
        begun = time.monotonic()
        while not statuses:
            with contextlib.suppress(httpx.TransportError):
                statuses.append(receiver.post().status_code)
        assert statuses == [200]
        assert time.monotonic() - begun < 10
        for client in slow:
            client.close()
    assert len([one for one in receiver.complaints if "did not arrive within 0.2 s" in one]) == 20


def test_a_request_that_dawdles_is_cut_off() -> None:
    with running(ServerLimits(patience=0.1)) as receiver:
        assert receiver.say(request()).startswith(b"HTTP/1.1 408 ")
        assert receiver.say(request()[:30]).startswith(b"HTTP/1.1 408 ")
    assert [one for one in receiver.complaints if "did not arrive within 0.1 s" in one] == receiver.complaints
    assert len(receiver.complaints) == 2


def test_a_client_that_takes_no_answer_is_cut_off() -> None:
    with running(ServerLimits(patience=0.1)) as receiver, receiver.connect() as client:
        client.sendall(request(close=True) + BODY)
        assert until(client, b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")
        assert client.recv(1) == b""
        # The client has got the end of the answer but does not close: the server does.
        with pytest.raises(OSError, match=r"reset|Broken"):
            for _ in range(200):
                client.sendall(b"x")
                time.sleep(0.05)


def test_an_idle_connection_is_closed_without_a_word() -> None:
    with running(ServerLimits(idle=0.1)) as receiver:
        assert receiver.say(b"") == b""
        # On a slow machine the server may close before the client has sent anything.
        said = b""
        while not said:
            with contextlib.suppress(OSError):
                said = receiver.say(request() + BODY)
        assert said == OK


def test_one_who_pipelines_without_end_is_not_read_on_while_an_answer_is_under_way() -> None:
    with running(delay=1.0) as receiver, receiver.connect() as client:
        client.settimeout(0.2)
        client.sendall(request() + BODY)
        with pytest.raises(TimeoutError):
            for _ in range(10_000):
                client.sendall(b"x" * MIB)


def test_a_refused_body_is_not_read_for_ever() -> None:
    with running(ServerLimits(unwanted=MIB)) as receiver, receiver.connect() as client:
        client.sendall(request(b"x" * 2 * MIB))
        with pytest.raises(OSError, match=r"reset|Broken"):
            for _ in range(10_000):
                client.sendall(b"x" * MIB)


def test_reset_breaks_the_connection_off() -> None:
    with running(answers="reset") as receiver, receiver.connect() as client:
        client.sendall(request() + BODY)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert (receiver.received[0].answer, receiver.received[0].status) == ("reset", None)


def test_timeout_says_nothing_until_the_sender_gives_up() -> None:
    with running(answers="timeout,200") as receiver:
        with receiver.connect() as client:
            client.settimeout(0.3)
            client.sendall(request() + BODY)
            with pytest.raises(TimeoutError):
                client.recv(1)
        assert receiver.post().status_code == 200
    assert [one.answer for one in receiver.received] == ["timeout", "200"]
    assert "the sender disconnected after" in receiver.complaints[0]


def test_a_sender_that_has_closed_its_half_gets_its_answer() -> None:
    with running(delay=0.1) as receiver, receiver.connect() as client:
        client.sendall(request() + BODY)
        client.shutdown(socket.SHUT_WR)
        assert everything(client).startswith(b"HTTP/1.1 200 OK")


def test_delay_answers_so_much_later() -> None:
    with running(delay=0.3) as receiver:
        begun = time.monotonic()
        assert receiver.post().status_code == 200
        assert time.monotonic() - begun >= 0.3


def test_clients_that_go_away_amid_anything_do_no_harm() -> None:
    whole = request() + BODY
    abrupt = struct.pack("ii", 1, 0)
    with running(delay=0.05) as receiver:
        for cut in (0, 1, 20, len(whole) - 1, len(whole)):
            for linger in (False, True):
                with receiver.connect() as client:
                    if linger:
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, abrupt)
                    client.sendall(whole[:cut])
        assert receiver.post().status_code == 200


def test_a_wrong_signature_is_answered_401_and_uses_up_no_answer_of_the_plan() -> None:
    with running(answers="503,200") as receiver:
        wrong = httpx.post(receiver.url, content=BODY, headers={"X-SignalArk-Signature": "0" * 64})
        assert (wrong.status_code, wrong.headers["WWW-Authenticate"]) == (401, "X-SignalArk-Signature")
        assert "does not match" in wrong.text
        assert SECRET not in wrong.text
        assert [receiver.post().status_code for _ in range(2)] == [503, 200]
    assert [one.verdict.valid for one in receiver.received] == [False, True, True]
    assert (receiver.receiver.totals.requests, receiver.receiver.totals.valid) == (3, 2)


def test_a_repeated_delivery_is_known() -> None:
    with running() as receiver:
        for attempt, delivery in (("1", "a"), ("1", "b"), ("2", "a"), ("x", "a")):
            receiver.post(delivery=delivery, attempt=attempt, event="ping")
    assert [(one.delivery, one.attempt, one.before) for one in receiver.received] == [
        *(("a", 1, 0), ("b", 1, 0), ("a", 2, 1), ("a", None, 2))
    ]
    assert receiver.receiver.totals.repeated == 2


def test_exactly_so_many_are_taken_as_are_wanted() -> None:
    with running(count=3, delay=0.2) as receiver:
        statuses: list[int] = []
        threads = [threading.Thread(target=lambda: statuses.append(receiver.post().status_code)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert statuses == [200] * 3
    assert len(receiver.received) == 3
    assert receiver.receiver.has_enough
