"""Answers of hostile servers, as one table: each row with the verdict that the contract requires."""

import gzip
import ssl
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from typing import NamedTuple

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.hostile.servers import Handler, Talk, answers, says

GOOD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
HEAD = b"HTTP/1.1 200 OK\r\nX-Padding: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n"

NOTHING = "no answer within 10 s"
BROKEN = "the answer is broken"
NOT_HTTP = "what came back is not HTTP/1.1"
CLOSED = "the connection was closed without an answer"
BROKE = "the connection broke before the answer was complete"
TOO_MUCH = "the answer's header lines are too many or too long"
UNTRUSTED = "the certificate does not verify"
NO_TLS = "the TLS handshake failed"
NEVER_FOLLOWED = "ark does not follow redirects"


class Row(NamedTuple):
    """A server, and the required result of an attempt: its status, and the beginning of its error.

    An error of None means delivered; of several, one must match. `slow`: only the deadline of 10 s ends the attempt.
    """

    name: str
    handle: Handler
    status: int | None
    error: str | tuple[str, ...] | None
    slow: bool = False
    tls: bool = False


def delivered(name: str, answer: bytes, status: int = 200) -> Row:
    return Row(name, says(answer), status, None)


def refused(name: str, answer: bytes, status: int) -> Row:
    return Row(name, says(answer), status, f"answered {status}, not a 2xx")


def broken(name: str, answer: bytes, error: str) -> Row:
    return Row(name, says(answer), None, error)


def _with(prepare: Handler, then: Callable[[Talk], None]) -> Handler:
    def handle(talk: Talk) -> None:
        prepare(talk)
        then(talk)

    return handle


def _after_reading(then: Callable[[Talk], None]) -> Handler:
    def handle(talk: Talk) -> None:
        talk.read()
        then(talk)

    return handle


def _bomb() -> bytes:
    packed = gzip.compress(bytes(50_000_000))
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"
    return head.encode() + packed


def _greeted_and_reset(talk: Talk) -> None:
    talk.connection.recv(9999)
    talk.reset()


SLOW = [
    Row("accepts-and-says-nothing", Talk.hang, None, NOTHING, slow=True),
    Row("reads-and-says-nothing", _after_reading(Talk.hang), None, NOTHING, slow=True),
    Row("status-line-dripped", _after_reading(lambda talk: talk.drip(HEAD, 2.0)), None, NOTHING, slow=True),
    Row(
        "headers-dripped",
        _after_reading(_with(lambda talk: talk.say(HEAD), lambda talk: talk.drip(HEAD[17:], 0.5))),
        None,
        NOTHING,
        slow=True,
    ),
    Row(
        "headers-never-ended",
        _after_reading(_with(lambda talk: talk.say(GOOD[:-4]), Talk.hang)),
        None,
        NOTHING,
        slow=True,
    ),
    Row(
        "interim-answers-without-end-slowly",
        _after_reading(lambda talk: talk.repeat(b"HTTP/1.1 102 Processing\r\n\r\n", 0.2)),
        None,
        NOTHING,
        slow=True,
    ),
    Row(
        "switches-protocols-and-is-silent",
        _after_reading(_with(lambda talk: talk.say(b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\n\r\n"), Talk.hang)),
        None,
        NOTHING,
        slow=True,
    ),
    Row(
        "body-dripped",
        _after_reading(_with(lambda talk: talk.say(HEAD + b"\r\n"), lambda talk: talk.drip(b"x" * 40, 0.5))),
        200,
        None,
        slow=True,
    ),
    Row("body-never-ended", _after_reading(_with(lambda t: t.say(GOOD[:-1]), Talk.hang)), 200, None, slow=True),
    Row(
        "body-of-a-500-never-ended",
        _after_reading(_with(lambda talk: talk.say(b"HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\nx"), Talk.hang)),
        500,
        "answered 500",
        slow=True,
    ),
]

FAST = [
    # Floods.
    Row(
        "interim-answers-without-end",
        _after_reading(lambda talk: talk.repeat(b"HTTP/1.1 102 Processing\r\n\r\n" * 1000)),
        None,
        TOO_MUCH,
    ),
    Row(
        "interim-answers-with-headers-without-end",
        _after_reading(lambda talk: talk.repeat(b"HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n" * 1000)),
        None,
        TOO_MUCH,
    ),
    broken("a-header-of-1-mb", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1_000_000 + b"\r\n\r\n", TOO_MUCH),
    broken("a-million-headers", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 1_000_000 + b"\r\n", TOO_MUCH),
    Row("a-status-line-without-end", _after_reading(lambda talk: talk.repeat(b"HTTP/1.1 200 " * 999)), None, TOO_MUCH),
    Row(
        "a-body-without-end",
        _after_reading(_with(lambda talk: talk.say(HEAD + b"\r\n"), lambda talk: talk.repeat(b"x" * 65536))),
        200,
        None,
    ),
    Row(
        "a-body-of-a-404-without-end",
        _after_reading(
            _with(lambda talk: talk.say(b"HTTP/1.1 404 No\r\n\r\n"), lambda talk: talk.repeat(b"x" * 65536))
        ),
        404,
        "answered 404",
    ),
    Row(
        "chunks-without-end",
        _after_reading(
            _with(
                lambda talk: talk.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
                lambda talk: talk.repeat(b"1\r\nx\r\n" * 1000),
            )
        ),
        200,
        None,
    ),
    Row(
        "trailers-without-end",
        _after_reading(
            _with(
                lambda talk: talk.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"),
                lambda talk: talk.repeat(b"a: b\r\n" * 1000),
            )
        ),
        200,
        None,
    ),
    delivered("a-gzip-bomb", _bomb()),
    # Other protocols, other versions.
    broken("http-0.9", b"<html>hello</html>\r\n", NOT_HTTP),
    delivered("http-1.0", b"HTTP/1.0 200 OK\r\n\r\nok"),
    broken("http-1.2", b"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n", NOT_HTTP),
    *(
        Row(f"http-{version}-{what}", says(f"HTTP/{version}{rest}\r\n\r\n".encode()), None, (NOT_HTTP, BROKEN))
        for version in ("2", "2.0", "3", "4")
        for what, rest in (("alone", ""), ("200", " 200 OK"), ("500", " 500 No"), ("http-1.1-200", " HTTP/1.1 200 OK"))
    ),
    broken("http-2-preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", NOT_HTTP),
    broken("icecast", b"ICY 200 OK\r\n\r\n", NOT_HTTP),
    broken("smtp", b"220 mail.example ESMTP\r\n", NOT_HTTP),
    broken("ssh", b"SSH-2.0-OpenSSH_9.9\r\n", NOT_HTTP),
    broken("zeros", bytes(100_000), NOT_HTTP),
    # Status lines.
    delivered("no-length", b"HTTP/1.1 200 OK\r\n\r\nok"),
    delivered("no-reason-phrase", b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"),
    delivered("bare-line-feeds", b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok"),
    delivered("not-utf-8", b"HTTP/1.1 200 \xff\xfe\r\nX: \xff\r\nContent-Length: 1\r\n\r\n\xff"),
    delivered("status-201", b"HTTP/1.1 201 Created\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", 201),
    delivered("status-204-with-a-body", b"HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\nabc", 204),
    delivered("status-299", b"HTTP/1.1 299 Fine\r\nContent-Length: 0\r\n\r\n", 299),
    broken("status-20", b"HTTP/1.1 20 OK\r\n\r\n", NOT_HTTP),
    broken("status-2000", b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n", NOT_HTTP),
    broken("status-line-without-a-status", b"HTTP/1.1\r\nContent-Length: 0\r\n\r\n", NOT_HTTP),
    Row(
        "a-status-line-among-the-headers",
        says(b"HTTP/1.1 500 No\r\nHTTP/1.1 200 OK: x\r\nContent-Length: 0\r\n\r\n"),
        500,
        "answered 500",
    ),
    Row(
        "a-status-line-among-the-trailers",
        says(
            b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
            b"HTTP/1.1 200: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"
        ),
        500,
        "answered 500",
    ),
    broken("status-99", b"HTTP/1.1 99 Low\r\nContent-Length: 0\r\n\r\n", NOT_HTTP),
    broken("status-000", b"HTTP/1.1 000 None\r\nContent-Length: 0\r\n\r\n", NOT_HTTP),
    broken("status-minus-200", b"HTTP/1.1 -200 OK\r\n\r\n", NOT_HTTP),
    broken("status-199", b"HTTP/1.1 199 Interim\r\nContent-Length: 0\r\n\r\n", CLOSED),
    broken("status-100-and-the-end", b"HTTP/1.1 100 Continue\r\n\r\n", CLOSED),
    delivered("status-100-then-200", b"HTTP/1.1 100 Continue\r\n\r\n" + GOOD),
    broken("status-101-then-200", b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\n\r\n" + GOOD, BROKE),
    refused("status-304", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n", 304),
    *(
        refused(f"status-{status}", f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode(), status)
        for status in (400, 401, 407, 408, 410, 417, 421, 425, 429, 500, 503, 600, 999)
    ),
    refused(
        "asks-for-a-login",
        b'HTTP/1.1 401 Who\r\nWWW-Authenticate: Negotiate\r\nWWW-Authenticate: Basic realm="x"\r\n'
        b"Content-Length: 0\r\n\r\n",
        401,
    ),
    # Lengths and framing.
    delivered("two-equal-lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"),
    broken("two-lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc", BROKEN),
    broken("a-negative-length", b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok", BROKEN),
    broken("a-length-in-letters", b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok", BROKEN),
    delivered("a-length-beyond-all-numbers", b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok"),
    delivered("a-body-cut-short", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nok"),
    delivered(
        "chunked-and-a-length",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 100\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    delivered(
        "a-length-and-chunked",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    delivered("a-broken-chunk", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok"),
    broken("a-transfer-encoding-not-asked-for", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok", BROKEN),
    broken("a-nul-in-a-header", b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n", BROKEN),
    broken("a-header-without-a-colon", b"HTTP/1.1 200 OK\r\nhello there\r\n\r\n", BROKEN),
    delivered("a-folded-header", b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n"),
    delivered("content-that-is-no-gzip", b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok"),
    refused("a-second-answer-behind-the-first", b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n" + GOOD, 500),
    Row("a-refusal-behind-a-2xx", answers(GOOD + b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"), 200, None),
    delivered(
        "sets-what-browsers-keep",
        b'HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=9\r\nAlt-Svc: h3=":443"\r\nSet-Cookie: a=b\r\n'
        b"Content-Length: 0\r\n\r\n",
    ),
    # Endings.
    broken("closes-without-a-word", b"", CLOSED),
    broken("closes-amid-the-status-line", b"HTTP/1.1 200", CLOSED),
    broken("closes-amid-a-header", b"HTTP/1.1 200 OK\r\nContent-", BROKE),
    broken("closes-before-the-blank-line", b"HTTP/1.1 200 OK\r\nX: y\r\n", BROKE),
    Row("resets-when-asked", _after_reading(Talk.reset), None, BROKE),
    Row("resets-at-once", Talk.reset, None, ("the connection broke", "no connection: connection reset by peer")),
]


def redirects(victim: str) -> list[Row]:
    """Answers that redirect; no request may ever reach `victim` (a URL)."""
    targets = {
        "to-http": victim,
        "to-loopback": victim.replace("127.0.0.1", "localhost"),
        "to-metadata": "http://169.254.169.254/latest/meta-data/",
        "to-a-file": "file:///etc/passwd",
        "to-nowhere": "//",
    }
    rows = []
    for status in (300, 301, 302, 303, 307, 308):
        for where, target in targets.items():
            answer = f"HTTP/1.1 {status} Go\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode()
            error = f"answered {status}, not a 2xx; {NEVER_FOLLOWED}"
            rows.append(Row(f"redirect-{status}-{where}", says(answer), status, error))
    refresh = f"HTTP/1.1 200 OK\r\nRefresh: 0; url={victim}\r\nContent-Length: 0\r\n\r\n"
    rows.append(delivered("refresh-header", refresh.encode()))
    return rows


def _speaking(context: ssl.SSLContext, then: Handler) -> Handler:
    return _with(lambda talk: talk.secure(context), then)


def _context(certificate: trustme.LeafCert, newest: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if newest is not None:
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        with warnings.catch_warnings():
            # TLS 1.0 is deprecated; that is the point of this test.
            warnings.simplefilter("ignore", DeprecationWarning)
            context.maximum_version = newest
        context.set_ciphers("ALL:@SECLEVEL=0")
    certificate.configure_cert(context)
    return context


def _self_signed(now: datetime) -> trustme.LeafCert:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return trustme.LeafCert(secret, certificate.public_bytes(pem), [])


def _tls(ours: trustme.CA) -> list[Row]:
    """TLS servers that a client which trusts `ours` must accept, and others that it must not."""
    theirs = trustme.CA()
    now, day = datetime.now(UTC), timedelta(days=1)
    good = ours.issue_cert("127.0.0.1")
    whole = ours.create_child_ca().issue_cert("127.0.0.1")
    alone = trustme.LeafCert(whole.private_key_pem.bytes(), whole.cert_chain_pems[0].bytes(), [])

    def untrusted(name: str, certificate: trustme.LeafCert, why: str) -> Row:
        return Row(name, _speaking(_context(certificate), answers(GOOD)), None, f"{UNTRUSTED}: {why}", tls=True)

    def old(name: str, newest: ssl.TLSVersion) -> Row:
        error = f"{NO_TLS}: the server offers nothing newer than TLS 1.1"
        return Row(name, _speaking(_context(good, newest), answers(GOOD)), None, error, tls=True)

    handshake = "the TLS handshake was not done within 10 s"
    # The first bytes of a ServerHello's record.
    hello = bytes.fromhex("160303007a020000760303") + bytes(32)
    return [
        Row("tls-good", _speaking(_context(good), answers(GOOD)), 200, None, tls=True),
        untrusted("tls-expired", ours.issue_cert("127.0.0.1", not_after=now - day), "it has expired"),
        untrusted("tls-not-yet-valid", ours.issue_cert("127.0.0.1", not_before=now + day), "it is not valid yet"),
        untrusted("tls-self-signed", _self_signed(now), "it is self-signed"),
        untrusted("tls-wrong-name", ours.issue_cert("other.example"), "it is for another host"),
        untrusted("tls-name-in-an-address", ours.issue_cert("127.0.0.1.example"), "it is for another host"),
        untrusted("tls-wrong-authority", theirs.issue_cert("127.0.0.1"), "its issuer is not trusted"),
        untrusted(
            "tls-no-intermediate", alone, "its issuer is not trusted, or the receiver does not send its intermed"
        ),
        old("tls-1.0", ssl.TLSVersion.TLSv1),
        old("tls-1.1", ssl.TLSVersion.TLSv1_1),
        Row("tls-1.2", _speaking(_context(good, ssl.TLSVersion.TLSv1_2), answers(GOOD)), 200, None, tls=True),
        Row(
            "tls-asked-of-http",
            lambda talk: talk.say(b"HTTP/1.1 400 Bad\r\n\r\n"),
            None,
            f"{NO_TLS}: the server there does not speak TLS",
            tls=True,
        ),
        Row("tls-closed-in-the-handshake", lambda _: None, None, f"{NO_TLS}: the server closed", tls=True),
        Row(
            "tls-reset-in-the-handshake",
            _greeted_and_reset,
            None,
            f"{NO_TLS}: the server closed",
            tls=True,
        ),
        Row("tls-handshake-never-begun", Talk.hang, None, handshake, slow=True, tls=True),
        Row("tls-handshake-dripped", lambda talk: talk.drip(hello, 1.0), None, handshake, slow=True, tls=True),
        Row("tls-then-nothing", _speaking(_context(good), Talk.hang), None, NOTHING, slow=True, tls=True),
        Row(
            "tls-answer-dripped",
            _speaking(_context(good), _after_reading(lambda talk: talk.drip(HEAD, 1.0))),
            None,
            NOTHING,
            slow=True,
            tls=True,
        ),
    ]


AUTHORITY = trustme.CA()
TLS = _tls(AUTHORITY)
