"""The hint for a failed attempt, caused by real servers: each has the one fault that the hint is about."""

import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from arkcli.actions import advice
from tests.hostile.rows import GOOD
from tests.hostile.servers import Handler, Talk, answers, hostile
from tests.hostile.test_tls import in_turn
from tests.wire.test_wire import endpoint

DAYS = timedelta(days=1)


class Signed(NamedTuple):
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)


def signed(name: str, by: Signed | None = None, *, until: int = 10, only: str | None = None) -> Signed:
    """A certificate for a name, signed `by` an authority; or an authority, which may sign `only` for one domain.

    It is valid for `until` more days.
    """
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder(by.certificate.subject if by else subject, subject, key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 10 * DAYS)
        .not_valid_after(now + until * DAYS)
        .add_extension(x509.BasicConstraints(by is None, None), critical=True)
    )
    if by is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    if only is not None:
        builder = builder.add_extension(x509.NameConstraints([x509.DNSName(only)], None), critical=True)
    return Signed(builder.sign(by.key if by else key, hashes.SHA256()), key)


def context(directory: Path, certificate: Signed) -> ssl.SSLContext:
    file = directory / "server.pem"
    private = certificate.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + certificate.pem)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(file)
    return made


def speaking(secure: ssl.SSLContext, then: Handler) -> Handler:
    def handle(talk: Talk) -> None:
        talk.secure(secure)
        then(talk)

    return handle


def alert(number: int) -> Handler:
    """Answers the greeting of TLS with a fatal alert (RFC 8446, 6)."""

    def handle(talk: Talk) -> None:
        talk.connection.recv(9_999)
        talk.say(bytes((21, 3, 3, 0, 2, 2, number)))
        talk.connection.recv(9_999)

    return handle


def http_2_only(talk: Talk) -> None:
    """Begins as every HTTP/2 server does, with a SETTINGS frame (RFC 9113, 3.4)."""
    talk.say(bytes.fromhex("000006 04 00 00000000 0003 00000064"))
    talk.connection.recv(9_999)


def unknown_name(secure: ssl.SSLContext) -> ssl.SSLContext:
    secure.sni_callback = lambda *_: ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
    return secure


def serving(name: str = "localhost", by: Signed | None = None, *, until: int = 10) -> "Fault":
    """Answers well, with a certificate for this name, signed by an authority: by default the trusted one."""
    return lambda at, trusted: speaking(context(at, signed(name, by or trusted, until=until)), answers(GOOD))


#: Makes a server's handler from a directory for its certificate and the authority that `ark` trusts.
Fault = Callable[[Path, Signed], Handler]
ROOT = signed("root")
FAULTS: dict[str, tuple[Fault, Signed, str, str]] = {
    "certificate expired": (
        serving(until=-1),
        ROOT,
        "the certificate does not verify: it has expired, or its authority's has; or this machine's clock is wrong",
        "Renew the certificate that has expired",
    ),
    "root expired": (
        serving(),
        signed("root", until=-1),
        "the certificate does not verify: it has expired, or its authority's has; or this machine's clock is wrong",
        "Renew the certificate that has expired",
    ),
    "name constraint violated": (
        serving(),
        signed("root", only="example.com"),
        "the certificate does not verify: its authority may not sign certificates for this host (name constraints)",
        "Give the receiver a certificate from an authority that may sign for this host; --ca-file does not help",
    ),
    "other authority": (
        serving(by=signed("other")),
        ROOT,
        "the certificate does not verify: its issuer is not trusted",
        "If your own certificate authority signed it, pass that authority's certificate with --ca-file",
    ),
    "other name": (
        serving("x.example"),
        ROOT,
        "the certificate does not verify: it is for another host",
        "Use the host name that the certificate is for",
    ),
    "unknown server name": (
        lambda at, root: speaking(unknown_name(context(at, signed("localhost", root))), answers(GOOD)),
        ROOT,
        "the TLS handshake failed: the server there does not know this host (TLS alert unrecognized_name)",
        "Check the spelling of the host; the server must be set up for this name",
    ),
    "HTTP/2 only, said by TLS": (
        lambda _at, _root: alert(120),
        ROOT,
        "the TLS handshake failed: the server there does not speak HTTP/1.1, perhaps only HTTP/2",
        "Let the receiver take HTTP/1.1; `ark` does not speak HTTP/2",
    ),
    "HTTP/2 only, spoken at once": (
        lambda at, root: speaking(context(at, signed("localhost", root)), http_2_only),
        ROOT,
        "what came back is not HTTP/1.1",
        "Check the port; the server may speak HTTP/2 only, which `ark` does not",
    ),
}


@pytest.mark.parametrize(("fault", "trusted", "error", "helps"), FAULTS.values(), ids=FAULTS)
def test_a_server_with_this_fault_gets_its_own_words(
    tmp_path: Path, fault: Fault, trusted: Signed, error: str, helps: str
) -> None:
    (tmp_path / "ca.pem").write_bytes(trusted.pem)
    with hostile(fault(tmp_path, trusted)) as server:
        url = f"https://localhost:{server.port}/hook"
        (found,) = in_turn(endpoint(url, ca_file=str(tmp_path / "ca.pem")))
    assert (found.error or "").startswith(error)
    assert advice.hint({}, url, found.error or "").startswith(helps)
