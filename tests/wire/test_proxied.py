"""Deliveries through a proxy: what it sees, what it is told, and that it keeps destinations apart."""

import base64
import shutil
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pycurl
import pytest

from arkcli.actions.advice import hint
from arkcli.model import Event, Outcome
from arkcli.signing import Concealed, Secret
from arkcli.wire.proxied import Proxied
from arkcli.wire.wire import Endpoint, Wire
from tests.hostile.rows import GOOD
from tests.hostile.servers import Handler, Hostile, Talk, answers, hostile
from tests.proxies import Where, socks, tunnels
from tests.wire.attempts import attempt, wired
from tests.wire.test_wire import EVENT, endpoint
from tests.world import Certificates, FakeClock

LARGE = Event("evt_2", "signal.promoted", EVENT.at, b'{"event":"signal.promoted","x":"' + b"x" * 2**20 + b'"}')
SCHEMES = ("http", "https", "socks5h", "socks5")


def through(proxy: str, target: Endpoint) -> Endpoint:
    return Endpoint(msgspec.structs.replace(target.destination, proxy=Secret(proxy)), target.secret)


class Side(NamedTuple):
    """A kind of proxy, running, and what it was asked for."""

    scheme: str
    server: Hostile
    asked: list[Where]
    ca_file: str

    def url(self, login: str = "") -> str:
        return f"{self.scheme}://{login}127.0.0.1:{self.server.port}"


def secured(certificates: Certificates, handle: Handler, *names: str) -> Handler:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificates.authority.issue_cert(*names).configure_cert(context)

    def secure(talk: Talk) -> None:
        talk.secure(context)
        handle(talk)

    return secure


@pytest.fixture(params=SCHEMES)
def side(request: pytest.FixtureRequest, certificates: Certificates) -> Iterator[Side]:
    asked: list[Where] = []
    handle = socks(asked) if request.param.startswith("socks") else tunnels(asked)
    if request.param == "https":
        handle = secured(certificates, handle, "127.0.0.1")
    with hostile(handle) as server:
        yield Side(request.param, server, asked, certificates.ca_file)


@pytest.mark.parametrize("event", [EVENT, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_delivery_goes_through_the_proxy(side: Side, certificates: Certificates, scheme: str, event: Event) -> None:
    receive = answers(GOOD)
    with hostile(secured(certificates, receive, "127.0.0.1") if scheme == "https" else receive) as receiver:
        target = endpoint(f"{scheme}://127.0.0.1:{receiver.port}/hook", ca_file=certificates.ca_file)
        with wired(certificates.ca_file) as wire:
            found = [attempt(wire, through(side.url(), target), event) for _ in range(2)]
    assert [(one.status, one.error) for one in found] == [(200, None)] * 2
    assert side.asked == [("127.0.0.1", receiver.port)] * 2
    assert [request.body for _, request in receiver.requests] == [event.body] * 2


def test_the_proxy_sees_no_header_of_the_request(certificates: Certificates) -> None:
    with hostile(tunnels()) as proxy, hostile(answers(GOOD)) as receiver, wired() as wire:
        target = endpoint(f"http://127.0.0.1:{receiver.port}/hook", headers={"Authorization": Concealed("Bearer x")})
        assert attempt(wire, through(f"http://127.0.0.1:{proxy.port}", target)).status == 200
    ((_, told),) = proxy.requests
    assert told.headers.keys() == {"host", "proxy-connection"}


def test_a_name_is_looked_up_by_the_proxy(certificates: Certificates) -> None:
    for handle, scheme in ((tunnels, "http"), (socks, "socks5h")):
        asked: list[Where] = []
        receive = secured(certificates, answers(GOOD), "hooks.example.com")
        with (
            hostile(handle(asked)) as proxy,
            hostile(receive) as receiver,
            wired() as wire,
        ):
            url = f"https://hooks.example.com:{receiver.port}/"
            target = through(
                f"{scheme}://127.0.0.1:{proxy.port}", endpoint(url, allow_local=False, ca_file=certificates.ca_file)
            )
            assert attempt(wire, target).outcome is Outcome.DELIVERED
        assert asked == [("hooks.example.com", receiver.port)]


def test_with_socks5_ark_looks_the_name_up_and_judges_it() -> None:
    asked: list[Where] = []
    with (
        hostile(socks(asked)) as proxy,
        hostile(answers(GOOD)) as receiver,
        wired() as wire,
    ):
        url = f"socks5://127.0.0.1:{proxy.port}"
        refused = attempt(wire, through(url, endpoint(f"https://localhost:{receiver.port}/", allow_local=False)))
        assert (refused.status, proxy.connections) == (None, 0)
        assert refused.error == "::1 is a loopback address; --allow-local permits it for this destination"
        assert attempt(wire, through(url, endpoint(f"http://localhost:{receiver.port}/"))).status == 200
    ((host, port),) = asked
    assert (host in ("::1", "127.0.0.1"), port) == (True, receiver.port)


@pytest.mark.parametrize(
    ("proxy", "url"),
    [
        ("http", "https://127.0.0.1:{}/"),
        ("http", "https://10.0.0.5:{}/"),
        ("socks5h", "https://localhost:{}/"),
        ("http", "https://intranet:{}/"),
        ("socks5h", "https://files.local:{}/"),
        ("socks5", "https://10.0.0.5:{}/"),
    ],
)
def test_a_proxy_is_not_asked_for_what_is_plainly_local(proxy: str, url: str) -> None:
    with hostile(tunnels()) as server, wired() as wire:
        target = through(f"{proxy}://127.0.0.1:{server.port}", endpoint(url.format(443), allow_local=False))
        found = attempt(wire, target)
        assert server.connections == 0
    assert found.error is not None
    assert found.error.endswith("--allow-local permits it for this destination")


def test_a_proxy_at_a_metadata_address_is_never_dialled() -> None:
    with wired() as wire:
        found = attempt(wire, through("http://169.254.169.254:3128", endpoint("http://127.0.0.1:1/")))
    assert "ark never connects to it" in str(found.error)


def test_credentials_are_for_the_proxy_alone() -> None:
    with hostile(tunnels()) as proxy, hostile(answers(GOOD)) as receiver, wired() as wire:
        target = endpoint(f"http://127.0.0.1:{receiver.port}/")
        assert attempt(wire, through(f"http://me:p%40ss%3A@127.0.0.1:{proxy.port}", target)).status == 200
    ((_, told),) = proxy.requests
    assert told.headers["proxy-authorization"] == f"Basic {base64.b64encode(b'me:p@ss:').decode()}"
    ((_, got),) = receiver.requests
    assert "proxy-authorization" not in got.headers


def test_a_socks_proxy_gets_its_user_name_and_password() -> None:
    with (
        hostile(socks(login=b"me:p@ss")) as proxy,
        hostile(answers(GOOD)) as receiver,
        wired() as wire,
    ):
        target = endpoint(f"http://127.0.0.1:{receiver.port}/")
        answered = [
            attempt(wire, through(f"socks5h://{login}127.0.0.1:{proxy.port}", target))
            for login in ("me:p%40ss@", "me:wrong@", "")
        ]
    assert [one.error for one in answered] == [
        None,
        "the proxy refused the user name and password",
        "the proxy wants a user name and password",
    ]


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (1, "the proxy failed"),
        (2, "the proxy does not allow this destination"),
        (3, "the proxy found no way to the receiver"),
        (4, "the proxy found no way to the receiver"),
        (5, "the proxy says that the receiver refused the connection"),
    ],
)
def test_what_a_socks_proxy_replies_is_said_in_words(reply: int, said: str) -> None:
    with hostile(socks(reply=reply)) as proxy, wired() as wire:
        found = attempt(wire, through(f"socks5h://127.0.0.1:{proxy.port}", endpoint("http://127.0.0.1:1/")))
    assert (found.status, found.error, found.unreached) == (None, said, True)


def test_an_https_proxy_must_have_a_trusted_certificate(certificates: Certificates, tmp_path: Path) -> None:
    """It is trusted by the system's authorities, which a destination's --ca-file does not replace for it."""
    (tmp_path / "other").mkdir()
    other = Certificates(tmp_path / "other")
    with (
        hostile(secured(certificates, tunnels(), "127.0.0.1")) as proxy,
        hostile(secured(other, answers(GOOD), "127.0.0.1")) as receiver,
    ):
        url, found = f"https://127.0.0.1:{proxy.port}", {}
        for trusted, ca_file in ((certificates, other.ca_file), (other, other.ca_file)):
            target = endpoint(f"https://127.0.0.1:{receiver.port}/", ca_file=ca_file)
            with wired(trusted.ca_file) as wire:
                found[trusted] = attempt(wire, through(url, target))
    assert found[certificates].status == 200
    said = str(found[other].error)
    assert said.startswith("the proxy's certificate does not verify: its issuer is not trusted")


def test_an_authority_that_is_removed_is_not_trusted_for_a_proxy_either(
    certificates: Certificates, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other, system, clock = Certificates(tmp_path / "other"), tmp_path / "system.pem", FakeClock()
    shutil.copy(certificates.ca_file, system)
    with (
        hostile(secured(certificates, tunnels(), "127.0.0.1")) as proxy,
        hostile(secured(other, answers(GOOD), "127.0.0.1")) as receiver,
    ):
        wire: Wire[int] = Wire(str(system), clock)
        plain = endpoint(f"https://127.0.0.1:{receiver.port}/", ca_file=other.ca_file)
        target = through(f"https://127.0.0.1:{proxy.port}", plain)
        assert attempt(wire, target).status == 200
        shutil.copy(other.ca_file, system)
        clock.advance(1)
        assert str(attempt(wire, target).error).startswith("the proxy's certificate does not verify")
        wire.close()


def test_two_destinations_never_share_a_connection(side: Side) -> None:
    """Even with the same URL; each keeps its own, except behind an https proxy, which keeps none."""
    with hostile(answers(GOOD)) as receiver, wired(side.ca_file) as wire:
        targets = [through(side.url(), endpoint(f"http://127.0.0.1:{receiver.port}/{path}")) for path in "ab"]
        for target in targets * 3:
            assert attempt(wire, target).status == 200
    assert receiver.connections == (6 if side.scheme == "https" else 2)


@pytest.mark.parametrize("change", ["proxy", "user"])
def test_a_destination_with_another_proxy_keeps_no_connection(side: Side, change: str) -> None:
    with hostile(answers(GOOD)) as receiver, wired(side.ca_file) as wire:
        before = through(side.url("me:one@"), endpoint(f"http://127.0.0.1:{receiver.port}/"))
        other = None if change == "proxy" else Secret(side.url("me:two@"))
        after = Endpoint(msgspec.structs.replace(before.destination, proxy=other), before.secret, before)
        assert [attempt(wire, target).status for target in (before, after)] == [200, 200]
    assert receiver.connections == 2


@pytest.mark.parametrize("scheme", ["http", "socks5h", "socks5"])
def test_a_stray_answer_is_found_behind_a_proxy(scheme: str) -> None:
    """It came on a kept connection, so the next request goes out on a new one."""

    def handle(talk: Talk) -> None:
        while (request := talk.read()) is not None:
            talk.say(GOOD * 2 if request.attempt == 1 else b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")

    handler = tunnels() if scheme == "http" else socks()
    with hostile(handler) as proxy, hostile(handle) as receiver, wired() as wire:
        target = through(f"{scheme}://127.0.0.1:{proxy.port}", endpoint(f"http://127.0.0.1:{receiver.port}/"))
        for _ in range(5):
            assert attempt(wire, target).status == 200
            _settle()
            assert attempt(wire, target, number=2).status == 500


def _settle() -> None:
    """Gives the second answer the time to come through the proxy."""
    time.sleep(0.05)


@pytest.mark.parametrize("scheme", ["http", "socks5h", "socks5"])
def test_a_kept_connection_that_breaks_is_not_the_proxys_fault(scheme: str) -> None:
    """Nothing is asked of the proxy for the second request."""

    def handle(talk: Talk) -> None:
        talk.read()
        talk.say(GOOD)
        talk.read()
        talk.say(b"HTTP/1.1 200 OK\r\nContent-Le")

    handler = tunnels() if scheme == "http" else socks()
    with hostile(handler) as proxy, hostile(handle) as receiver, wired() as wire:
        target = through(f"{scheme}://127.0.0.1:{proxy.port}", endpoint(f"http://127.0.0.1:{receiver.port}/"))
        first, second = attempt(wire, target), attempt(wire, target)
    assert (first.status, receiver.connections) == (200, 1)
    assert second.error == "the connection broke before the answer was complete (through the proxy)"


@pytest.mark.parametrize(
    ("scheme", "said"),
    [
        ("http", "no answer from the proxy within 10 s"),
        ("socks5h", "no connection through the proxy within 10 s"),
        ("socks5", "no connection through the proxy within 10 s"),
    ],
)
def test_a_proxy_that_says_nothing_is_not_taken_for_a_receiver_that_does_not(scheme: str, said: str) -> None:
    proxied = Proxied(pycurl.Curl(), f"{scheme}://127.0.0.1:1", "")
    assert proxied.why(pycurl.E_OPERATION_TIMEDOUT, "") == said


def test_an_address_that_ark_never_connects_to_is_said_to_be_the_proxys() -> None:
    with wired() as wire:
        found = attempt(wire, through("http://169.254.169.254:80", endpoint("http://10.1.2.3/")))
    assert str(found.error).startswith("the proxy's address 169.254.169.254 is link-local")
    assert hint({}, "http://10.1.2.3/", str(found.error)).startswith("Use another address of the proxy")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda port: f"http://127.0.0.1:{port}", "no connection to the proxy: connection refused"),
        (lambda port: f"socks5h://127.0.0.1:{port}", "no connection to the proxy: connection refused"),
        (lambda _: "http://no-such-proxy.invalid:3128", "the name of the proxy cannot be resolved"),
        (lambda _: "socks5://no-such-proxy.invalid:1080", "the name of the proxy cannot be resolved"),
    ],
)
def test_a_proxy_that_is_not_there_is_named(make: Callable[[int], str], said: str) -> None:
    with hostile(tunnels()) as gone:
        port = gone.port
    with wired() as wire:
        found = attempt(wire, through(make(port), endpoint("http://127.0.0.1:1/")))
    assert (found.error, found.unreached) == (said, True)
