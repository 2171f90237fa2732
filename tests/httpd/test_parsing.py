"""Whatever way a connection's bytes arrive in, the same requests come out, and nothing that is not one."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arkcli.httpd.parsing import Reader, Refused

HEAD, BODY = 1024, 4096
bodies = st.binary(max_size=300) | st.sampled_from(
    [b"\r\n\r\n", b"\n\n", b"0\r\n\r\n", b"\r\n" * 90, b"POST / HTTP/1.1\r\n"]
)


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """The bytes of a request and its body."""
    target = draw(st.sampled_from(["/", "/hook?a=b", "/%20"]))
    head = f"POST {target} HTTP/1.1\r\nHost: x\r\nX-A: {draw(st.sampled_from(['', 'b', 'é']))}\r\n".encode("latin-1")
    if draw(st.booleans()):
        body = draw(bodies)
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body, body
    pieces = [piece for piece in draw(st.lists(bodies, max_size=4)) if piece]
    extension = draw(st.sampled_from([b"", b";a=b", b';a="b"']))
    chunks = b"".join(b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces)
    trailers = draw(st.sampled_from([b"", b"X-Sum: 1\r\n"]))
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n" + trailers + b"\r\n", b"".join(pieces)


@given(st.lists(requests(), min_size=1, max_size=4), st.lists(st.integers(0, 3000), max_size=12))
def test_the_same_requests_come_out_however_the_bytes_are_cut(sent: list[tuple[bytes, bytes]], cuts: list[int]) -> None:
    stream = b"".join(raw for raw, _ in sent)
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    reader, found = Reader(HEAD, BODY), []
    for begin, end in pairwise(places):
        reader.receive(stream[begin:end])
        while (request := reader.next()) is not None:
            assert request.method == "POST"
            assert reader.keeps_alive
            found.append(request.body)
    assert found == [body for _, body in sent]
    assert reader.waiting == 0


@given(
    st.binary(max_size=400)
    | st.from_regex(rb"\A(POST|GET|PUT) /[a-z]* HTTP/1\.[01]\r\n([A-Za-z-]{1,9}: ?[ -~]{0,9}\r\n)*\r\n")
)
def test_wild_bytes_are_a_request_or_refused_with_a_status_or_incomplete(data: bytes) -> None:
    reader = Reader(HEAD, BODY)
    reader.receive(data)
    try:
        while reader.next() is not None:
            pass
    except Refused as refused:
        assert refused.status in (400, 431, 501)
        assert str(refused)


@pytest.mark.parametrize(
    ("version", "connection", "kept"),
    [
        ("1.1", "", True),
        ("1.1", "Connection: close\r\n", False),
        ("1.1", "Connection: Keep-Alive, Close\r\n", False),
        ("1.1", "Connection: keep-alive\r\nConnection: close\r\n", False),
        ("1.0", "", False),
        ("1.0", "Connection: Keep-Alive\r\n", True),
    ],
)
def test_a_connection_is_kept_as_the_client_asks(version: str, connection: str, kept: bool) -> None:
    reader = Reader(HEAD, BODY)
    reader.receive(f"GET / HTTP/{version}\r\nHost: x\r\n{connection}\r\n".encode())
    request = reader.next()
    assert request is not None
    assert (request.method, request.version, request.body, reader.keeps_alive) == ("GET", version, b"", kept)


@pytest.mark.parametrize(
    "upgrade", ["Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: a\r\n", ""]
)
def test_a_client_that_would_rather_speak_another_protocol_is_taken_at_its_request(upgrade: str) -> None:
    reader = Reader(HEAD, BODY)
    reader.receive(f"POST / HTTP/1.1\r\nHost: x\r\n{upgrade}Content-Length: 2\r\n\r\nab".encode())
    reader.receive(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nc")
    assert [request.body for request in (reader.next(), reader.next()) if request] == [b"ab", b"c"]


@pytest.mark.parametrize("framing", ["sized", "chunked"])
@pytest.mark.parametrize(("size", "is_taken"), [(BODY, True), (BODY + 1, False)])
def test_a_body_has_a_largest_size(framing: str, size: int, is_taken: bool) -> None:
    reader, body = Reader(HEAD, BODY), b"x" * size
    framed = b"Content-Length: %d\r\n\r\n%b" % (size, body)
    if framing == "chunked":
        framed = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (size, body)
    reader.receive(b"POST / HTTP/1.1\r\nHost: x\r\n" + framed)
    request = reader.next()
    assert request is not None
    assert request.body == (body if is_taken else None)


@pytest.mark.parametrize("size", range(4070, 4100))
def test_a_chunked_body_ends_where_it_ends_also_at_the_end_of_a_piece(size: int) -> None:
    reader, body = Reader(HEAD, 2 * BODY), b"x" * size
    framed = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (size, body)
    reader.receive(framed + b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nc")
    assert [request.body for request in (reader.next(), reader.next()) if request] == [body, b"c"]
