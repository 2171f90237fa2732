"""OpenSSL's and libcurl's reports in words. tests/hostile has the servers behind them."""

import pytest

from arkcli.tlswords import certificate, handshake


@pytest.mark.parametrize(
    ("result", "message", "said"),
    [
        (10, "SSL certificate OpenSSL verify result: certificate has expired (10)", "it has expired"),
        (9, "", "it is not valid yet"),
        (18, "", "it is self-signed"),
        (19, "", "its chain ends in a self-signed certificate"),
        (20, "", "its issuer is not trusted"),
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
        ("something new", "something new"),
    ],
)
def test_why_a_handshake_failed_is_said_in_words(message: str, said: str) -> None:
    assert handshake(message) == said
