"""One POST through libcurl: what counts as delivered, and that it never takes longer than 10 seconds."""

import hashlib
import hmac
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import certifi
import pycurl
import pytest

from arkcli.model import Answer, Delivery, Destination, Event, Outcome
from arkcli.signing import Concealed, Secret
from arkcli.system.clock import SystemClock
from arkcli.wire.sockets import Sockets
from arkcli.wire.transfer import Transfer
from arkcli.wire.wire import Endpoint, Wire
from tests.world import Certificates, FakeClock, Request, TestReceiver, answer, hang, receiver, then_close

Receive = Callable[..., TestReceiver]
BODY = b'{"event":"signal.promoted","n":1.50}'
EVENT = Event("evt_1", "signal.promoted", "2026-11-23T00:00:00.000Z", BODY)


def endpoint(
    url: str, *, allow_local: bool = True, ca_file: str | None = None, headers: dict[str, Concealed] | None = None
) -> Endpoint:
    destination = Destination(
        id="dst_1", name="d", url=url, added_at="", allow_local=allow_local, ca_file=ca_file, headers=headers or {}
    )
    return Endpoint(destination, Secret("secret"))


def post(*endpoints: Endpoint, attempt: int = 1) -> list[Answer]:
    """Posts to all endpoints at once; returns the answers in their order."""
    wire: Wire[int] = Wire(certifi.where(), SystemClock())
    found: dict[int, Answer] = {}
    for index, target in enumerate(endpoints):
        wire.start(target, [(Delivery(EVENT, attempt), index)])
    while wire.in_flight:
        found.update(wire.wait(0.5))
    wire.close()
    return [found[index] for index in range(len(endpoints))]


def test_a_request_is_what_the_contract_says(receive: Receive) -> None:
    server = receive(200)
    (found,) = post(endpoint(server.url), attempt=3)
    assert found.outcome is Outcome.DELIVERED
    (request,) = server.requests
    assert request.line == "POST /hook HTTP/1.1"
    assert request.body == BODY
    names = [line.partition(b":")[0].lower() for line in request.head.split(b"\r\n")[1:] if line]
    assert sorted(names) == sorted(name.encode() for name in request.headers), "each header is sent once"
    assert request.headers == {
        "host": f"127.0.0.1:{server.port}",
        "content-type": "application/json",
        "user-agent": "ark/0.1.0",
        "content-length": str(len(BODY)),
        "x-signalark-signature": hmac.new(b"secret", BODY, hashlib.sha256).hexdigest(),
        "x-signalark-event": "signal.promoted",
        "x-signalark-delivery": "evt_1.dst_1",
        "x-signalark-attempt": "3",
    }


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_every_2xx_is_delivered(receive: Receive, status: int) -> None:
    (found,) = post(endpoint(receive(status).url))
    assert (found.outcome, found.status, found.error) == (Outcome.DELIVERED, status, None)


@pytest.mark.parametrize("status", [300, 304, 400, 401, 403, 404, 408, 410, 413, 429, 500, 502, 503, 504, 599, 999])
def test_every_other_status_is_a_failure_that_says_so(receive: Receive, status: int) -> None:
    (found,) = post(endpoint(receive(status).url))
    assert found.outcome is Outcome.FAILED
    assert found.status == status
    assert f"answered {status}" in str(found.error)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_failure_and_is_never_followed(receive: Receive, status: int) -> None:
    elsewhere = receive(200)
    server = receive(lambda _: answer(status, b"", f"Location: {elsewhere.url}"))
    (found,) = post(endpoint(server.url))
    assert found.outcome is Outcome.FAILED
    assert "ark does not follow redirects" in str(found.error)
    assert elsewhere.connections == 0


def test_a_refused_connection_is_said_in_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    (found,) = post(endpoint(f"http://127.0.0.1:{port}/"))
    assert (found.status, found.error) == (None, "no connection: connection refused")


def test_a_name_that_does_not_exist_is_said_in_words() -> None:
    (found,) = post(endpoint("https://no-such-host.invalid/", allow_local=False))
    assert (found.status, found.error) == (None, "the name cannot be resolved")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ((), "closed without an answer"),
        ((b"hello there",), "not HTTP/1.1"),
        ((b"HTTP/1.1 200 OK\r\nContent-",), "broke before the answer was complete"),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",), "broken"),
        ((b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 100_000, b"\r\n"), "header lines are too many"),
        ((b"HTTP/1.1 100 Continue\r\n\r\n",), "closed without an answer"),
    ],
)
def test_a_broken_answer_is_a_failure(receive: Receive, said: tuple[bytes, ...], why: str) -> None:
    (found,) = post(endpoint(receive(then_close(*said)).url))
    assert found.outcome is Outcome.FAILED
    assert why in str(found.error)


def test_a_2xx_counts_although_its_body_breaks_off(receive: Receive) -> None:
    server = receive(then_close(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"part"))
    (found,) = post(endpoint(server.url))
    assert (found.outcome, found.status, found.excerpt) == (Outcome.DELIVERED, 200, "part")


def test_a_2xx_with_an_endless_body_is_delivered_and_only_its_start_is_kept(receive: Receive) -> None:
    def endless(_: Request) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\n\r\n"
        while True:
            yield b"x" * 65536

    (found,) = post(endpoint(receive(endless).url))
    assert found.outcome is Outcome.DELIVERED
    assert found.excerpt == "x" * 2048


def test_an_answers_control_characters_do_not_reach_the_excerpt(receive: Receive) -> None:
    (found,) = post(endpoint(receive(lambda _: answer(500, b"a\x1b[31mred\r\n\x00b")).url))
    assert found.excerpt == "a [31mred b"


@pytest.mark.parametrize("headers_come", [False, True])
def test_the_deadline_is_told_as_such_even_when_only_the_body_ran_into_it(headers_come: bool) -> None:
    """A destination that answers and then stalls must not gain places; test_answers.py has real ones."""
    transfer = Transfer(endpoint("http://127.0.0.1:1/").destination, "", "1.invalid", Sockets())
    if headers_come:
        transfer.head += b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
    found = transfer.answer(10_000, pycurl.E_OPERATION_TIMEDOUT)
    assert found.outcome is (Outcome.DELIVERED if headers_come else Outcome.FAILED)
    assert found.timed_out


def test_connections_are_used_again(receive: Receive) -> None:
    server = receive(200)
    wire: Wire[int] = Wire("", SystemClock())
    target = endpoint(server.url)
    for number in range(20):
        wire.start(target, [(Delivery(EVENT, 1), number)])
        while wire.in_flight:
            wire.wait(0.5)
    wire.close()
    assert len(server.requests) == 20
    assert server.connections == 1


def test_a_connection_that_the_receiver_closed_while_idle_costs_nothing(receive: Receive) -> None:
    server = receive(then_close(answer(200)))
    wire: Wire[int] = Wire("", SystemClock())
    target = endpoint(server.url)
    outcomes = []
    for number in range(5):
        wire.start(target, [(Delivery(EVENT, 1), number)])
        while wire.in_flight:
            outcomes += [found.outcome for _, found in wire.wait(0.5)]
    wire.close()
    assert outcomes == [Outcome.DELIVERED] * 5


def test_proxies_of_the_environment_are_not_used(receive: Receive, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, server = receive(200), receive(200)
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    (found,) = post(endpoint(server.url))
    assert found.outcome is Outcome.DELIVERED
    assert proxy.connections == 0


def test_a_netrc_file_is_not_used(receive: Receive, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    server = receive(200)
    post(endpoint(server.url))
    assert "authorization" not in server.requests[0].headers


def test_headers_of_the_destination_are_sent_along(receive: Receive) -> None:
    server = receive(200)
    post(endpoint(server.url, headers={"Authorization": Concealed("Bearer x"), "X-Empty": Concealed("")}))
    assert server.requests[0].headers["authorization"] == "Bearer x"
    assert server.requests[0].headers["x-empty"] == ""


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"])
def test_a_loopback_address_is_refused_when_it_is_connected_to(receive: Receive, host: str) -> None:
    server = receive(200)
    (found,) = post(endpoint(f"https://{host}:{server.port}/", allow_local=False))
    assert found.outcome is Outcome.FAILED
    assert "loopback" in str(found.error)
    assert server.connections == 0


def test_plain_http_is_refused_without_allow_local(receive: Receive) -> None:
    server = receive(200)
    (found,) = post(endpoint(server.url, allow_local=False))
    assert found.outcome is Outcome.FAILED
    assert server.connections == 0


def test_a_certificate_of_the_ca_file_verifies(certificates: Certificates) -> None:
    with receiver(200, certificates.wrapping("127.0.0.1")) as server:
        (found,) = post(endpoint(server.url, ca_file=certificates.ca_file))
        assert (found.outcome, found.error) == (Outcome.DELIVERED, None)
        assert server.requests[0].body == BODY


def test_connections_over_tls_are_used_again(certificates: Certificates) -> None:
    with receiver(200, certificates.wrapping("127.0.0.1")) as server:
        wire: Wire[int] = Wire("", SystemClock())
        target = endpoint(server.url, ca_file=certificates.ca_file)
        for number in range(5):
            wire.start(target, [(Delivery(EVENT, 1), number)])
            while wire.in_flight:
                wire.wait(0.5)
        wire.close()
        assert (len(server.requests), server.connections) == (5, 1)


@pytest.mark.parametrize(
    ("names", "trusted", "expired", "why"),
    [
        (("127.0.0.1",), False, False, "issuer"),
        (("other.example",), True, False, "127.0.0.1"),
        (("127.0.0.1",), True, True, "expired"),
    ],
)
def test_a_certificate_that_does_not_verify_is_refused_with_the_reason(
    certificates: Certificates, tmp_path: Path, names: tuple[str, ...], trusted: bool, expired: bool, why: str
) -> None:
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    ca_file = certificates.ca_file if trusted else Certificates(stranger).ca_file
    until = datetime.now(UTC) - timedelta(days=1) if expired else None
    with receiver(200, certificates.wrapping(*names, valid_until=until)) as server:
        (found,) = post(endpoint(server.url, ca_file=ca_file))
        assert found.outcome is Outcome.FAILED
        assert "the certificate does not verify" in str(found.error)
        assert why in str(found.error)
        assert server.requests == []


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_tls_below_1_2_is_refused(certificates: Certificates, newest: ssl.TLSVersion) -> None:
    with receiver(200, certificates.wrapping("127.0.0.1", newest=newest)) as server:
        (found,) = post(endpoint(server.url, ca_file=certificates.ca_file))
        assert found.outcome is Outcome.FAILED
        assert "TLS" in str(found.error)
        assert server.requests == []


def test_a_connection_opened_for_a_local_destination_serves_no_other(certificates: Certificates) -> None:
    with receiver(200, certificates.wrapping("127.0.0.1")) as server:
        wire: Wire[str] = Wire("", SystemClock())
        answers: dict[str, Answer] = {}
        for name, allow_local in (("local", True), ("public", False)):
            target = endpoint(server.url, allow_local=allow_local, ca_file=certificates.ca_file)
            wire.start(target, [(Delivery(EVENT, 1), name)])
            while wire.in_flight:
                answers.update(wire.wait(0.5))
        wire.close()
        assert answers["local"].outcome is Outcome.DELIVERED
        assert "loopback" in str(answers["public"].error)
        assert len(server.requests) == 1


def test_a_connection_that_is_reset_is_a_failure(receive: Receive) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        wire: Wire[int] = Wire("", SystemClock())
        wire.start(endpoint(f"http://127.0.0.1:{listener.getsockname()[1]}/"), [(Delivery(EVENT, 1), 1)])
        assert wire.wait(0.1) == []
        connection, _ = listener.accept()
        wire.wait(0.1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        while not (done := wire.wait(0.5)):
            pass
        wire.close()
    assert done[0][1].outcome is Outcome.FAILED


def test_descriptors_are_given_back(receive: Receive) -> None:
    server = receive(200)
    post(endpoint(server.url))
    before = len(list(Path("/dev/fd").iterdir()))
    for _ in range(5):
        post(endpoint(server.url), endpoint("http://127.0.0.1:1/"))
    # The receiver closes its connections a little later, in its threads.
    assert len(list(Path("/dev/fd").iterdir())) <= before + 8


class Steps(SystemClock):
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.mark.parametrize(
    ("idle", "stall"),
    [(0.0, 0.0), (3_600.0, 0.0), (0.0, 11.0), (3_600.0, 86_400.0)],
    ids=["-", "idle", "stall", "both"],
)
def test_an_attempt_has_ten_seconds_of_the_time_in_which_anybody_looks(
    receive: Receive, idle: float, stall: float
) -> None:
    """Neither idle time before the attempt nor a stall during it counts."""
    clock = Steps()
    wire: Wire[int] = Wire("", clock)
    clock.seconds += idle
    wire.start(endpoint(receive(hang).url), [(Delivery(EVENT, 1), 1)])
    looks = 0
    done: list[tuple[int, Answer]] = []
    while not done and looks < 100:
        done = wire.wait(0)
        looks += 1
        clock.seconds += 0.25
        if looks == 20:
            clock.seconds += stall
    wire.close()
    ((_, found),) = done
    assert found.error == "no answer within 10 s"
    assert found.timed_out
    assert 9_900 <= found.duration_ms <= 10_600
    # A stall counts as half a second: two looks.
    assert 39 <= looks <= 42


def test_the_oldest_attempt_and_the_time_by_which_all_end_are_known_while_they_are_under_way(receive: Receive) -> None:
    clock = FakeClock()
    wire: Wire[str] = Wire(certifi.where(), clock)
    assert (wire.oldest(), wire.ends_within()) == (None, 0.0)
    target = endpoint(receive(hang).url)
    for name in ("first", "second"):
        wire.start(target, [(Delivery(EVENT, 1), name)])
        # The wire looks at its connections, as it does ten times a second.
        for _ in range(4):
            clock.advance(0.5)
            assert wire.wait(0.0) == []
    oldest = wire.oldest()
    assert oldest is not None
    assert oldest[0] == "first"
    assert oldest[1] == pytest.approx(4, abs=0.5)
    assert wire.ends_within() == pytest.approx(8, abs=0.5)
    wire.close()


def test_some_attempts_can_be_abandoned_and_the_others_go_on(receive: Receive) -> None:
    slow, quick = receive(hang), receive(200)
    wire: Wire[str] = Wire(certifi.where(), SystemClock())
    wire.start(endpoint(slow.url), [(Delivery(EVENT, 1), "slow"), (Delivery(EVENT, 1), "slower")])
    while len(slow.requests) < 2:
        assert wire.wait(0.1) == []
    wire.start(endpoint(quick.url), [(Delivery(EVENT, 1), "quick")])
    wire.abandon("slow".__eq__)
    assert wire.in_flight == 2
    wire.abandon("slower".__eq__)
    done = []
    while wire.in_flight:
        done += wire.wait(0.5)
    assert [token for token, _ in done] == ["quick"]
    wire.close()
