"""Client certificates: which files can be used, what the receiver sees, and what happens when the files change."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from arkcli.errors import UsageError
from arkcli.model import Answer, Outcome
from arkcli.wire import answers
from arkcli.wire.identity import expires_at, read_identity
from arkcli.wire.wire import Endpoint
from tests.hostile.rows import GOOD
from tests.hostile.servers import Hostile, Talk, hostile
from tests.proxies import tunnels
from tests.wire.attempts import attempt, wired
from tests.wire.test_proxied import through
from tests.wire.test_wire import endpoint
from tests.world import Certificates, FakeClock

BROKEN = b"-----BEGIN CERTIFICATE-----\nbm90IGEgY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n"


class Client:
    """An authority for client certificates, and the files of the one in use."""

    def __init__(self, directory: Path) -> None:
        self.authority = trustme.CA()
        self.certificate, self.key = directory / "client.pem", directory / "client.key"
        self.issue("ann@example.com")

    def issue(self, name: str, authority: trustme.CA | None = None, until: datetime | None = None) -> None:
        """Writes a new certificate and its key into the files."""
        issuer = authority or self.authority
        made = issuer.issue_cert(name, not_before=datetime(2020, 1, 1, tzinfo=UTC), not_after=until)
        self.certificate.write_bytes(b"".join(pem.bytes() for pem in made.cert_chain_pems))
        self.key.touch(0o600)
        self.key.write_bytes(made.private_key_pem.bytes())


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client(tmp_path)


@contextmanager
def asking(
    certificates: Certificates, client: Client, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> Iterator[tuple[Hostile, list[str], list[bool]]]:
    """A receiver that requires a client certificate; the names that it has seen, and which sessions were resumed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = newest
    context.verify_mode = ssl.CERT_REQUIRED
    certificates.authority.issue_cert("127.0.0.1").configure_cert(context)
    client.authority.configure_trust(context)
    seen: list[str] = []
    resumed: list[bool] = []

    def handle(talk: Talk) -> None:
        talk.secure(context)
        assert isinstance(talk.connection, ssl.SSLSocket)
        peer: Any = talk.connection.getpeercert()
        resumed.append(bool(talk.connection.session_reused))
        while talk.read() is not None:
            seen.extend(name for _, name in peer["subjectAltName"])
            talk.say(GOOD)

    with hostile(handle) as server:
        yield server, seen, resumed


def certified(server: Hostile, certificates: Certificates, client: Client | None, path: str = "") -> Endpoint:
    plain = endpoint(f"https://127.0.0.1:{server.port}/{path}", ca_file=certificates.ca_file)
    if client is None:
        return plain
    files = {"client_cert": str(client.certificate), "client_key": str(client.key)}
    return Endpoint(msgspec.structs.replace(plain.destination, **files), plain.secret)


def test_a_receiver_that_requires_a_certificate_gets_it(certificates: Certificates, client: Client) -> None:
    with asking(certificates, client) as (server, seen, _), wired(clock=FakeClock()) as wire:
        target = certified(server, certificates, client)
        assert [attempt(wire, target).status for _ in range(3)] == [200] * 3
    assert seen == ["ann@example.com"] * 3
    assert server.connections == 1


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_an_identity_is_for_its_destination_alone(
    certificates: Certificates, client: Client, tmp_path: Path, newest: ssl.TLSVersion
) -> None:
    """Neither connections nor TLS sessions are shared, not even with a destination that has the same URL."""
    (tmp_path / "other").mkdir()
    other = Client(tmp_path / "other")
    other.issue("bob@example.com", client.authority)
    with asking(certificates, client, newest) as (server, seen, resumed), wired(clock=FakeClock()) as wire:
        ann, bob = (certified(server, certificates, who) for who in (client, other))
        nobody = certified(server, certificates, None)
        found = [attempt(wire, target) for target in (ann, nobody, bob, ann, nobody, bob)]
    assert [one.outcome is Outcome.DELIVERED for one in found] == [True, False, True, True, False, True]
    assert seen == ["ann@example.com", "bob@example.com"] * 2
    assert not any(resumed)


def test_a_client_certificate_goes_through_a_proxy(certificates: Certificates, client: Client) -> None:
    with (
        asking(certificates, client) as (server, seen, _),
        hostile(tunnels()) as proxy,
        wired(clock=FakeClock()) as wire,
    ):
        target = through(f"http://127.0.0.1:{proxy.port}", certified(server, certificates, client))
        assert attempt(wire, target).status == 200
    assert seen == ["ann@example.com"]


def test_a_new_certificate_is_in_force_a_second_later(certificates: Certificates, client: Client) -> None:
    """Connections made with the old one are not used again, although they are still open."""
    clock = FakeClock()
    with asking(certificates, client) as (server, seen, resumed), wired(clock=clock) as wire:
        target = certified(server, certificates, client)
        for name in ("ann@example.com", "cat@example.com", "dan@example.com"):
            client.issue(name)
            clock.advance(1)
            assert [attempt(wire, target).status for _ in range(2)] == [200] * 2
    assert seen == [f"{name}@example.com" for name in ("ann", "ann", "cat", "cat", "dan", "dan")]
    assert not any(resumed)


def test_a_pair_that_is_being_replaced_is_covered_by_the_old_one_for_ten_seconds(
    certificates: Certificates, client: Client
) -> None:
    clock = FakeClock()
    with asking(certificates, client) as (server, seen, _), wired(clock=clock) as wire:
        target = certified(server, certificates, client)
        assert attempt(wire, target).status == 200
        key = client.key.read_bytes()
        client.issue("new@example.com")
        new = client.key.read_bytes()
        client.key.write_bytes(key)
        for _ in range(2):
            clock.advance(4)
            assert attempt(wire, target).status == 200
        clock.advance(8)
        late = attempt(wire, target)
        client.key.write_bytes(new)
        clock.advance(1)
        assert attempt(wire, target).status == 200
    assert late.error == f"the client key {client.key} does not belong to the certificate {client.certificate}"
    assert seen == ["ann@example.com"] * 3 + ["new@example.com"]


def test_a_file_that_is_gone_fails_its_destination_alone(certificates: Certificates, client: Client) -> None:
    clock = FakeClock()
    with asking(certificates, client) as (server, _, __), wired(clock=clock) as wire:
        target = certified(server, certificates, client)
        assert attempt(wire, target).status == 200
        client.certificate.unlink()
        clock.advance(1)
        assert attempt(wire, target).status == 200
        clock.advance(11)
        found = attempt(wire, target)
        before = server.connections
        assert found.error == f"the client certificate {client.certificate} cannot be read: No such file or directory"
        assert (found.unreached, found.lacking) == (False, None)
        assert server.connections == before


def _refused(certificates: Certificates, client: Client, newest: ssl.TLSVersion) -> Answer:
    with asking(certificates, client, newest) as (server, _, __), wired(clock=FakeClock()) as wire:
        return attempt(wire, certified(server, certificates, client))


@pytest.mark.parametrize(
    ("issue", "said"),
    [
        (
            lambda client: client.issue("x@example.com", trustme.CA()),
            "does not trust the issuer of the client certificate",
        ),
        (
            lambda client: client.issue("x@example.com", until=datetime(2021, 1, 1, tzinfo=UTC)),
            "says that the client certificate has expired",
        ),
    ],
)
def test_the_receivers_refusal_is_said_in_words(
    certificates: Certificates, client: Client, issue: Callable[[Client], None], said: str
) -> None:
    issue(client)
    found = _refused(certificates, client, ssl.TLSVersion.TLSv1_2)
    assert found.error == f"the TLS handshake failed: the receiver {said}"
    # In TLS 1.3 the alert comes after the handshake, and a reset may overtake it.
    late = _refused(certificates, client, ssl.TLSVersion.TLSv1_3)
    assert late.outcome is Outcome.FAILED
    assert str(late.error).startswith((str(found.error), "the connection broke", "the connection was closed"))


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("tlsv1 alert unknown ca", "the receiver does not trust the issuer of the client certificate"),
        ("ssl/tls alert certificate revoked", "the receiver says that the client certificate has been revoked"),
        ("ssl/tls alert bad certificate", "the receiver refuses the client certificate"),
        ("ssl/tls alert handshake failure", "the receiver refused it, perhaps because of the client certificate"),
        ("tlsv13 alert certificate required", answers.ASKS),
    ],
)
def test_alerts_about_a_certificate_that_was_sent(message: str, said: str) -> None:
    assert answers.failed_handshake(message, certified=True) == said
    assert answers.is_about_client(message, certified=True)
    assert answers.is_about_client(message, certified=False) == (said == answers.ASKS or "bad" in message)


def _swap(client: Client) -> None:
    client.certificate.write_bytes(trustme.CA().issue_cert("x@example.com").cert_chain_pems[0].bytes())


def _encrypt(client: Client) -> None:
    key = serialization.load_pem_private_key(client.key.read_bytes(), None)
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    client.key.write_bytes(key.private_bytes(*form, serialization.BestAvailableEncryption(b"x")))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda client: client.certificate.unlink(), "client.pem cannot be read: No such file"),
        (lambda client: client.key.unlink(), "client.key cannot be read: No such file"),
        (lambda client: client.key.chmod(0o644), "(mode 0644); run `chmod 600 "),
        (lambda client: client.key.chmod(0o640), "(mode 0640); run `chmod 600 "),
        (lambda client: client.certificate.write_text("hello"), "contains no certificate in PEM form"),
        (lambda client: client.key.write_text("hello"), "contains no private key in PEM form"),
        (lambda client: client.certificate.write_bytes(BROKEN), "cannot be used: "),
        (
            lambda client: client.key.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
            "cannot be used: ",
        ),
        (_swap, "does not belong to the certificate"),
        (_encrypt, "is encrypted, and ark cannot ask for its password; decrypt it: `openssl pkey -in "),
    ],
)
def test_files_that_cannot_be_used_are_refused_with_the_reason(
    client: Client, spoil: Callable[[Client], None], said: str
) -> None:
    assert read_identity(client.certificate, client.key).problem is None
    spoil(client)
    with pytest.raises(UsageError) as raised:
        read_identity(client.certificate, client.key)
    assert said in str(raised.value)


def test_one_file_may_hold_the_certificate_and_the_key(client: Client) -> None:
    client.key.write_bytes(client.key.read_bytes() + client.certificate.read_bytes())
    assert "***" in repr(read_identity(client.key, client.key))


@pytest.mark.parametrize("year", [2027, 2049, 2050, 2067])
def test_when_a_certificate_expires(client: Client, year: int) -> None:
    """From 2050 on, the time has another form (RFC 5280, 4.1.2.5)."""
    until = datetime(year, 3, 4, 5, 6, 7, tzinfo=UTC)
    client.issue("x@example.com", until=until)
    assert expires_at(client.certificate.read_bytes()) == until.timestamp() * 1000
