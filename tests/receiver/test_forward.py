"""Forwarding: what goes to the application and back, byte for byte, and the message if it does not answer."""

import asyncio
import gzip
import re
import socket
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx
import trustme

from arkcli.errors import UsageError
from arkcli.httpd.messages import Reply, Request
from arkcli.httpd.server import listen_on, url_of
from arkcli.receiver.forward import LARGEST_ANSWER, Forwarder, end_to_end
from tests import world
from tests.hostile.servers import Handler, Talk, answers, hostile, says
from tests.receiver.running import BODY, Running, everything, request, running
from tests.world import TestReceiver, answer

SideEffect = (
    Callable[[httpx.Request], Awaitable[httpx.Response]] | Callable[[httpx.Request], httpx.Response] | Exception
)
APPLICATION = "http://app.example/hook"


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ([(b"X-A", b"1"), (b"x-a", b"2")], [(b"X-A", b"1"), (b"x-a", b"2")]),
        ([(b"Keep-Alive", b"5"), (b"TE", b"trailers"), (b"Upgrade", b"h2c"), (b"Proxy-Connection", b"x")], []),
        ([(b"Transfer-Encoding", b"chunked"), (b"Host", b"x"), (b"Content-Length", b"3")], []),
        ([(b"Connection", b"close, X-Hop ,x-b"), (b"x-hop", b"1"), (b"X-B", b"2"), (b"X-C", b"3")], [(b"X-C", b"3")]),
        ([(b"Expect", b"100-continue")], []),
        ([(b"Authorization", b"x"), (b"Cookie", b"y"), (b"Date", b"z")],) * 2,
    ],
)
def test_all_headers_go_on_but_those_about_one_connection(
    given: list[tuple[bytes, bytes]], left: list[tuple[bytes, bytes]]
) -> None:
    assert end_to_end(given) == left


@pytest.mark.parametrize(
    "url", ["", "localhost:3000", "ftp://x/", "http://", "http://x:99999/", "/hook", "http://[::1"]
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="--forward-to"):
        Forwarder(url)


def forwarded(deadline: float = 5.0) -> Reply:
    async def forward() -> Reply:
        forwarder = Forwarder(APPLICATION, deadline=deadline)
        try:
            return await forwarder.forward(Request("POST", "/", ((b"X-A", b"1"),), BODY))
        finally:
            await forwarder.close()

    return asyncio.run(forward())


async def too_late(_: httpx.Request) -> httpx.Response:
    await asyncio.sleep(60)
    raise AssertionError


def endless(_: httpx.Request) -> httpx.Response:
    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65_536

    return httpx.Response(200, content=pieces())


@pytest.mark.parametrize(
    ("application", "status", "error"),
    [
        (too_late, 504, "the application did not answer within 0.1 s"),
        (endless, 502, f"larger than {LARGEST_ANSWER:,} bytes"),
    ],
)
def test_an_application_that_does_not_answer_is_told_of(
    respx_mock: respx.MockRouter, application: SideEffect, status: int, error: str
) -> None:
    respx_mock.post(APPLICATION).mock(side_effect=application)
    reply = forwarded(0.1 if application is too_late else 5.0)
    assert reply.status == status
    assert error in (reply.error or "")
    assert error in reply.body.decode()


Receive = Callable[..., TestReceiver]


def gone() -> str:
    """A URL where nothing listens."""
    (listener,) = listen_on("127.0.0.1", 0)
    with listener:
        return url_of(listener)


@pytest.fixture
def before(receive: Receive) -> Iterator[Callable[..., tuple[Running, TestReceiver]]]:
    """Starts a receiver that forwards to an application."""
    with ExitStack() as stack:

        def started(behave: world.Behaviour | int, **orders: Any) -> tuple[Running, TestReceiver]:
            application = receive(behave)
            forwarder = Forwarder(application.url)
            return stack.enter_context(running(forwarder=forwarder, **orders)), application

        yield started


Before = Callable[..., tuple[Running, TestReceiver]]


def test_the_request_goes_on_byte_for_byte(before: Before) -> None:
    receiver, application = before(200)
    body = b'{"a": "\xff\x00",\r\n "b": 1}\n'
    headers = ("X-Twice: 1", "x-twice: 2", "X-CaSe: \xe9 x", "Content-Type: application/json", "Keep-Alive: 5")
    receiver.say(request(body, *headers, close=True).replace(b"\xc3\xa9", b"\xe9") + body)
    (got,) = application.requests
    assert got.body == body
    lines = got.head.split(b"\r\n")
    assert lines[0] == b"POST /hook HTTP/1.1"
    for line in (b"X-Twice: 1", b"x-twice: 2", b"X-CaSe: \xe9 x", b"Content-Type: application/json"):
        assert line in lines
    names = [line.partition(b":")[0].lower() for line in lines[1:] if line]
    # No headers that httpx adds, and none that concern the connection.
    assert sorted(names) == sorted(
        [*(b"host", b"content-length", b"content-type", b"x-case", b"x-twice", b"x-twice", b"x-signalark-signature")]
    )
    assert got.headers["host"] == f"127.0.0.1:{application.port}"


def test_the_answer_comes_back_byte_for_byte(before: Before) -> None:
    packed = gzip.compress(b"thank you")
    said = answer(418, packed, "Content-Encoding: gzip", "Set-Cookie: a=1", "Set-Cookie: b=2", "Keep-Alive: timeout=5")
    receiver, _ = before(lambda _: said)
    got = receiver.say(request(close=True) + BODY)
    head, _, body = got.partition(b"\r\n\r\n")
    assert body == packed
    assert head.split(b"\r\n") == [
        b"HTTP/1.1 418 Whatever",
        b"Content-Encoding: gzip",
        b"Set-Cookie: a=1",
        b"Set-Cookie: b=2",
        f"Content-Length: {len(packed)}".encode(),
        b"Connection: close",
    ]
    assert (receiver.received[0].status, receiver.received[0].error) == (418, None)


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body_comes_back_without_one(before: Before, status: int) -> None:
    receiver, _ = before(lambda _: f"HTTP/1.1 {status} No\r\n\r\n".encode())
    with receiver.connect() as client:
        client.sendall((request() + BODY) * 2)
        client.shutdown(socket.SHUT_WR)
        assert everything(client).count(b"HTTP/1.1 %d No" % status) == 1
    assert receiver.post().status_code == status


def test_an_application_that_takes_longer_than_a_sender_waits_is_told_of(
    before: Before, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arkcli.receiver.receiver.SENDER_WAITS", 0.0)
    receiver, _ = before(200)
    assert receiver.post().status_code == 200
    assert "a sender waits" in (receiver.received[0].error or "")


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 99 Less\r\n\r\n",
        b"nonsense",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
        b"",
    ],
)
def test_an_answer_that_is_none_is_a_502_and_the_next_one_comes_back(before: Before, said: bytes) -> None:
    pieces = iter([[said], [answer(201)]])
    receiver, _ = before(lambda _: iter(next(pieces)))
    assert [receiver.post().status_code for _ in range(2)] == [502, 201]


def test_a_user_name_and_a_password_are_sent_and_never_shown(receive: Receive) -> None:
    application = receive(200)
    url = application.url.replace("http://", "http://me:s%40me@")
    with running(forwarder=Forwarder(url)) as receiver:
        assert receiver.post().status_code == 200
        application.close()
    assert application.requests[0].headers["authorization"] == f"Basic {b64encode(b'me:s@me').decode()}"
    forwarder = Forwarder(gone().replace("http://", "http://me:s%40me@") + "/x?token=t")
    with running(forwarder=forwarder) as receiver:
        assert receiver.post().text == f"{receiver.received[0].error}\n"
    assert not {"s%40me", "s@me", "token"} & set(re.split(r"[/:?=; ]+", str(receiver.received[0].error)))


def test_a_redirect_is_not_followed(before: Before) -> None:
    receiver, application = before(lambda _: answer(307, b"", "Location: /elsewhere"))
    assert receiver.post().headers["Location"] == "/elsewhere"
    assert len(application.requests) == 1


@pytest.mark.parametrize(("unverified", "status", "requests"), [(False, 401, 0), (True, 202, 1)])
def test_what_is_not_verified_goes_on_only_when_asked_for(
    before: Before, unverified: bool, status: int, requests: int
) -> None:
    receiver, application = before(202, forward_unverified=unverified)
    assert httpx.post(receiver.url, content=BODY).status_code == status
    assert len(application.requests) == requests
    assert receiver.received[0].verdict.valid is False


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("http://127.0.0.1:{}", "nothing answers at {origin}; is the application running?"),
        # Refused at both addresses, or at the only one.
        ("http://localhost:{}", "nothing answers at {origin}; is the application running?"),
        ("http://no-such-host.invalid:8080", "the name in {origin} cannot be resolved"),
        ("http://255.255.255.255:9", "no connection to {origin}: "),
    ],
    ids=["refused", "localhost", "name", "no way"],
)
def test_an_application_that_cannot_be_reached_is_a_502_that_says_why(url: str, error: str) -> None:
    url = url.format(gone().rpartition(":")[2])
    with running(forwarder=Forwarder(f"{url}/hook")) as receiver:
        reply = receiver.post()
    assert (reply.status_code, reply.text) == (502, f"{receiver.received[0].error}\n")
    assert error.format(origin=url) in reply.text


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def secure(authority: trustme.CA, name: str = "localhost", **settings: Any) -> Handler:
    """A TLS server; with `verify_mode` it asks for a client certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    authority.configure_trust(context)
    for setting, value in settings.items():
        setattr(context, setting, value)

    def handle(talk: Talk) -> None:
        talk.secure(context)
        talk.read()
        talk.say(answer(201))

    return handle


def hello(talk: Talk) -> None:
    talk.connection.recv(65_536)


def plain(talk: Talk) -> None:
    hello(talk)
    talk.say(answer(400))


def reset(talk: Talk) -> None:
    talk.read()
    talk.reset()


ASKED: dict[str, Any] = {"verify_mode": ssl.CERT_REQUIRED}
BROKEN_OFF: dict[str, tuple[str, Callable[[trustme.CA], Handler], str]] = {
    "untrusted": ("https", lambda _: secure(trustme.CA()), "does not verify: its chain ends in a self-signed"),
    "other name": ("https", lambda ours: secure(ours, "other.example"), "does not verify: it is for another host"),
    "plain http": ("https", lambda _: plain, "the server there does not speak TLS"),
    "handshake": ("https", lambda _: hello, "{origin} failed: the server closed the connection"),
    "TLS 1.2": (
        "https",
        lambda ours: secure(ours, maximum_version=ssl.TLSVersion.TLSv1_2, **ASKED),
        "it may require a client certificate",
    ),
    "TLS 1.3": ("https", lambda ours: secure(ours, **ASKED), "requires a client certificate (mTLS)"),
    "TLS": ("http", secure, "perhaps it expects https"),
    "reset": ("http", lambda _: reset, "the application closed the connection: connection reset by peer; perhaps"),
    "closed": ("http", lambda _: says(), "Server disconnected without sending a response.; perhaps"),
    "half": (
        "http",
        lambda _: says(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"),
        "(received 2 bytes, expected 5)\n",
    ),
}


@pytest.mark.parametrize("case", BROKEN_OFF)
def test_an_application_that_breaks_off_is_a_502_that_says_why(
    authority: trustme.CA, tmp_path: Path, case: str
) -> None:
    scheme, application, error = BROKEN_OFF[case]
    ca_file = str(tmp_path / "ca.pem")
    authority.cert_pem.write_to_path(ca_file)
    with hostile(application(authority)) as server:
        origin = f"{scheme}://localhost:{server.port}"
        with running(forwarder=Forwarder(f"{origin}/hook?token=t", ca_file)) as receiver:
            reply = receiver.post()
    assert reply.status_code == 502
    assert error.format(origin=origin) in reply.text
    # The option helps only if the certificate's issuer is not trusted.
    assert ("--forward-ca-file" in reply.text) == (case == "untrusted")
    assert "is the application running?" not in reply.text
    assert "token" not in reply.text


def test_the_certificates_to_trust_are_those_of_the_file(authority: trustme.CA, tmp_path: Path) -> None:
    """An authority, or the application's own certificate, as for a delivery."""
    own = authority.issue_cert("localhost")
    files = {"ca.pem": authority.cert_pem, "own.pem": own.cert_chain_pems[0]}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.configure_cert(context)

    def handle(talk: Talk) -> None:
        talk.secure(context)
        answers(answer(201))(talk)

    with hostile(handle) as server:
        for name, pem in files.items():
            pem.write_to_path(str(tmp_path / name))
            forwarder = Forwarder(f"https://localhost:{server.port}/", str(tmp_path / name))
            with running(forwarder=forwarder) as receiver:
                assert receiver.post().status_code == 201, receiver.received


@pytest.mark.parametrize("text", [None, "no certificate"])
def test_certificates_that_cannot_be_used_are_told_of_at_once(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "ca.pem"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UsageError, match=r"the CA certificates in .*/ca\.pem cannot be used"):
        Forwarder("https://localhost/", str(file))
    asyncio.run(Forwarder("http://localhost/", str(file)).close())


def test_a_slow_application_delays_no_other_request(receive: Receive) -> None:
    slow = receive(world.hang)
    with running(forwarder=Forwarder(slow.url), forward_unverified=False) as receiver:
        waiting = [receiver.connect() for _ in range(5)]
        for client in waiting:
            client.sendall(request() + BODY)
        assert httpx.post(receiver.url, content=BODY).status_code == 401
        for client in waiting:
            client.close()
