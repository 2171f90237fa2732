"""OpenSSL's and libcurl's reports in words. tests/hostile has the servers behind them."""

import pytest

from arkcli.wire.tlswords import ASKS, certificate, handshake


@pytest.mark.parametrize(
    ("result", "message", "said"),
    [
        (10, "SSL certificate OpenSSL verify result: certificate has expired (10)", "it has expired"),
        (9, "", "it is not valid yet"),
        (18, "", "it is self-signed"),
        (19, "", "its chain ends in a self-signed certificate"),
        (20, "", "its issuer is not trusted, or the receiver does not send its intermediate certificate"),
        (21, "", "its issuer is not trusted, or the receiver does not send its intermediate certificate"),
        # Python's.
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
    assert certificate(result, message).startswith(said)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("error:0A00042E:SSL routines::tlsv1 alert protocol version", "the server offers nothing newer than TLS 1.1"),
        ("error:0A000102:SSL routines::unsupported protocol", "the server offers nothing newer than TLS 1.1"),
        ("error:0A00010B:SSL routines::wrong version number", "what answers there does not speak TLS"),
        ("Recv failure: Connection reset by peer", "the server closed the connection"),
        ("EOF occurred in violation of protocol (_ssl.c:1006)", "the server closed the connection"),
        ("error:0A00045C:SSL routines::tlsv13 alert certificate required, errno 0", ASKS),
        ("error:0A000412:SSL routines::ssl/tls alert bad certificate", ASKS),
        ("[SSL: SSLV3_ALERT_CERTIFICATE_UNKNOWN] sslv3 alert certificate unknown (_ssl.c:1006)", ASKS),
        (
            "error:0A000410:SSL routines::ssl/tls alert handshake failure",
            "the receiver refused it; perhaps it asks for a client certificate (mTLS), which ark does not support yet",
        ),
        ("something new", "something new"),
    ],
)
def test_why_a_handshake_failed_is_said_in_words(message: str, said: str) -> None:
    assert handshake(message) == said
