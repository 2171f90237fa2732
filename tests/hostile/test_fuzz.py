"""Whatever bytes come back, the verdict is valid, and not better than the bytes allow."""

import re
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arkcli.model import Answer, Outcome
from arkcli.text import clean
from tests.hostile.rows import GOOD
from tests.hostile.servers import Hostile, Talk, hostile
from tests.wire.test_wire import endpoint, post

GOODS = [
    GOOD,
    b"HTTP/1.0 201 Created\r\nServer: x\r\n\r\nbody until the end",
    b"HTTP/1.1 204 No Content\r\nDate: Mon, 23 Nov 2026 00:00:00 GMT\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n2\r\nok\r\n3;a=b\r\nyes\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nxx",
    b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 500 Internal Server Error\r\nRetry-After: 3\r\nContent-Length: 4\r\n\r\noops",
    b'HTTP/1.1 401 No\r\nWWW-Authenticate: Digest realm="a", nonce="b"\r\nContent-Length: 0\r\n\r\n',
]
PIECES = [
    *(b"\r\n", b"\n", b"\r", b"\0", b"\xff", b" ", b"\t", b":", b"\r\n\r\n", b"0\r\n", b"-1", b"\x1b[31m"),
    *(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/2 ", b"ICY ", b"Content-Length: 5\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"ffffffffffffffffff\r\n", b"99999999999999999999"),
]
#: The least that a 2xx needs: a status line at the start of a line, and a blank line after it.
LIKE_A_2XX = re.compile(rb"(?m)^HTTP/1\.[01][ \t]+2\d\d(?!\d)[^\n]*\n(.*\n)*?\r?\n")


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid answer with some bytes removed, doubled, changed or inserted."""
    said = bytearray(draw(st.sampled_from(GOODS)))
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(said)))
        end = draw(st.integers(start, min(len(said), start + 12)))
        put = draw(st.sampled_from(PIECES) | st.binary(max_size=8) | st.just(bytes(said[start:end]) * 2))
        said[start:end] = put
    return bytes(said)


wild = st.binary(max_size=300) | st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join)


class Saying:
    """A server that sends given bytes in pieces, and closes."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def __call__(self, talk: Talk) -> None:
        talk.read()
        talk.say(*self.pieces)


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Saying, Hostile]]:
    saying = Saying()
    with hostile(saying) as made:
        yield saying, made


def ask(server: tuple[Saying, Hostile], pieces: list[bytes]) -> Answer:
    saying, made = server
    saying.pieces = pieces
    (found,) = post(endpoint(f"http://127.0.0.1:{made.port}/"))
    return found


def check(found: Answer, said: bytes) -> None:
    assert 0 <= found.duration_ms < 9_000
    assert not found.timed_out
    assert found.excerpt == clean(found.excerpt)
    assert len(found.excerpt) <= 2048
    if found.outcome is Outcome.DELIVERED:
        assert found.error is None
        assert found.status is not None
        assert LIKE_A_2XX.search(said), said
    else:
        assert found.error == clean(str(found.error)) != ""
        assert found.status is None or 300 <= found.status <= 999


@settings(max_examples=400)
@given(said=mutated(), at=st.integers(0, 300))
def test_a_good_answer_gone_wrong_gets_a_legal_verdict(server: tuple[Saying, Hostile], said: bytes, at: int) -> None:
    check(ask(server, [said[:at], said[at:]]), said)


@settings(max_examples=200)
@given(said=wild)
def test_wild_bytes_get_a_legal_verdict(server: tuple[Saying, Hostile], said: bytes) -> None:
    check(ask(server, [said]), said)


@settings(max_examples=200)
@given(headers=wild, body=wild)
def test_behind_a_good_status_line_anything_gets_a_legal_verdict(
    server: tuple[Saying, Hostile], headers: bytes, body: bytes
) -> None:
    said = b"HTTP/1.1 200 OK\r\n" + headers + b"\r\n\r\n" + body
    check(ask(server, [said]), said)


@settings(max_examples=100)
@given(said=st.binary(max_size=400))
def test_bytes_that_are_no_tls_get_a_legal_verdict(said: bytes) -> None:
    def handle(talk: Talk) -> None:
        talk.connection.recv(9999)
        talk.say(said)

    with hostile(handle) as made:
        (found,) = post(endpoint(f"https://127.0.0.1:{made.port}/"))
    assert found.outcome is Outcome.FAILED
    assert found.error
    assert found.error == clean(found.error)
