"""How an attempt ended. The servers that cause these reports of OpenSSL and libcurl are in tests/hostile."""

import pytest

from arkcli import times
from arkcli.wire.answers import ASKS, failed_handshake, read_retry_after, read_status, wrong_certificate


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"", None),
        (b"HTTP/1.1 200 OK\r\n", None),
        (b"HTTP/1.1 200 OK\r\nServer: x\r\n", None),
        (b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n", 200),
        (b"HTTP/1.1 200\r\n\r\n", 200),
        (b"HTTP/1.0 503 No\n\n", 503),
        (b"HTTP/1.1 204 OK\nServer: x\n\r\n", 204),
        # Trailers, complete or not.
        (b"HTTP/1.1 201 OK\r\n\r\nDigest: x\r\n", 201),
        (b"HTTP/1.1 201 OK\r\n\r\nHTTP/1.1 500 No\r\n\r\n", 201),
        # Interim answers.
        (b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n", None),
        (b"HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 102 Yes\r\n\r\nHTTP/1.1 404 No\r\nA: b\r\n\r\n", 404),
        (b"HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 404 No\r\n", None),
        # libcurl reports 200 for these.
        (b"HTTP/2 500\r\n", 0),
        (b"HTTP/3\r\n\r\n", 0),
        (b"HTTP/1.1 2000 OK\r\n\r\n", 0),
        (b"HTTP/1.1 099 OK\r\n\r\n", 0),
        (b"HTTP/1.1 100 Go\r\n\r\nHTTP/2 500\r\n\r\n", 0),
    ],
)
def test_only_a_status_of_http_1_whose_headers_are_complete_counts(head: bytes, status: int | None) -> None:
    assert read_status(head) == status
    assert read_status(bytearray(head)) == status


@pytest.mark.parametrize(
    ("result", "message", "said"),
    [
        (10, "SSL certificate OpenSSL verify result: certificate has expired (10)", "it has expired"),
        (9, "", "it is not valid yet"),
        (18, "", "it is self-signed"),
        (19, "", "its chain ends in a self-signed certificate"),
        (20, "", "its issuer is not trusted, or the receiver does not send its intermediate certificate"),
        (21, "", "its issuer is not trusted, or the receiver does not send its intermediate certificate"),
        # From Python's ssl.
        (62, "Hostname mismatch, certificate is not valid for 'localhost'.", "it is for another host"),
        (64, "IP address mismatch, certificate is not valid for '127.0.0.1'.", "it is for another host"),
        (
            0,
            "SSL: no alternative certificate subject name matches 'a.io'",
            "it is for another host: no alternative",
        ),
        (1, "SSL: unable to obtain common name from peer certificate", "it is for another host: unable to obtain"),
        (79, "SSL certificate OpenSSL verify result: invalid CA certificate (79)", "SSL certificate OpenSSL"),
    ],
)
def test_what_is_wrong_with_a_certificate_is_said_in_words(result: int, message: str, said: str) -> None:
    assert wrong_certificate(result, message).startswith(said)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("error:0A00042E:SSL routines::tlsv1 alert protocol version", "the server offers nothing newer than TLS 1.1"),
        ("error:0A000102:SSL routines::unsupported protocol", "the server offers nothing newer than TLS 1.1"),
        ("error:0A00010B:SSL routines::wrong version number", "the server there does not speak TLS"),
        ("Recv failure: Connection reset by peer", "the server closed the connection"),
        ("EOF occurred in violation of protocol (_ssl.c:1006)", "the server closed the connection"),
        ("error:0A00045C:SSL routines::tlsv13 alert certificate required, errno 0", ASKS),
        ("error:0A000412:SSL routines::ssl/tls alert bad certificate", ASKS),
        ("[SSL: SSLV3_ALERT_CERTIFICATE_UNKNOWN] sslv3 alert certificate unknown (_ssl.c:1006)", ASKS),
        (
            "error:0A000410:SSL routines::ssl/tls alert handshake failure",
            "the receiver refused it; it may require a client certificate (mTLS)",
        ),
        ("something new", "something new"),
    ],
)
def test_why_a_handshake_failed_is_said_in_words(message: str, said: str) -> None:
    assert failed_handshake(message) == said


NOON = times.from_text("2026-11-24T12:00:00Z")


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        ("Retry-After: 120", 120),
        ("retry-after:7", 7),
        ("Server: x\r\nRETRY-AFTER:  30  \r\nContent-Length: 0", 30),
        ("Retry-After: Tue, 24 Nov 2026 12:01:30 GMT", 90),
        ("Retry-After: 3601", 3600),
        ("Retry-After: 999999999999", 3600),
        ("Retry-After: Tue, 24 Nov 2099 12:01:30 GMT", 3600),
        ("Retry-After: Tue, 24 Nov 2026 11:59:59 GMT", None),
        ("Retry-After: 0", None),
        ("Retry-After: -5", None),
        ("Retry-After: 1.5", None),
        ("Retry-After: soon", None),
        ("Retry-After:", None),
        ("Retry-After: " + "9" * 400, None),
        ("Retry-After: Tue, 99 Foo 2026 12:01:30 GMT", None),
        ("X-Retry-After: 5", None),
        ("Server: x", None),
    ],
)
def test_how_long_a_receiver_asks_to_be_left_alone_is_a_number_or_a_date_of_at_most_an_hour(
    lines: str, seconds: int | None
) -> None:
    head = f"HTTP/1.1 429 Slow\r\n{lines}\r\n\r\n".encode()
    assert read_retry_after(head, NOON) == (None if seconds is None else seconds * 1_000)
    assert read_retry_after(bytearray(b"HTTP/1.1 103 Early\r\nRetry-After: 9\r\n\r\n" + head), NOON) == (
        None if seconds is None else seconds * 1_000
    )
