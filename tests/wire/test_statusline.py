"""The status of an answer: HTTP/1, final, and with complete headers."""

import pytest

from arkcli.wire.statusline import read_status


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
        # A trailer, complete or not.
        (b"HTTP/1.1 201 OK\r\n\r\nDigest: x\r\n", 201),
        (b"HTTP/1.1 201 OK\r\n\r\nHTTP/1.1 500 No\r\n\r\n", 201),
        # Interim answers.
        (b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n", None),
        (b"HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 102 Yes\r\n\r\nHTTP/1.1 404 No\r\nA: b\r\n\r\n", 404),
        (b"HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 404 No\r\n", None),
        # What libcurl takes for a 200.
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
