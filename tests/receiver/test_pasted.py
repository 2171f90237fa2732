"""Requests that were saved or pasted somewhere: what is read from them, and what is said of those that are broken."""

import base64
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from arkcli.errors import UsageError
from arkcli.httpd.messages import Request
from arkcli.output import to_json
from arkcli.receiver import record
from arkcli.receiver.pasted import read
from arkcli.receiver.record import Received
from arkcli.signing import sign, verify
from arkcli.signing.verdict import VALID

BODY = '{"event":"ping","who":"Zoë"}'.encode()
SIGNATURE = sign("s3cret", BODY)
SIGNED = f"x-signalark-SIGNATURE: {SIGNATURE}"
CHUNKED = b"8\r\n%b\r\nA;name=value\n%b\n%X\r\n%b\r\n0\r\nTrailer: 1\r\n\r\n" % (
    *(BODY[:8], BODY[8:18]),
    len(BODY) - 18,
    BODY[18:],
)


def http(*headers: str, body: bytes = BODY, end: str = "\r\n", line: str = "POST /hook?a=b HTTP/1.1") -> bytes:
    """A request as it goes over the wire."""
    return "".join(f"{text}{end}" for text in (line, "Host: a.example", *headers, "")).encode() + body


def har(*requests: dict[str, Any]) -> bytes:
    """A HAR file with an entry for each request, indented as browsers write it."""
    entries = [{"startedDateTime": "2026-11-23T12:00:00Z", "request": found, "response": {}} for found in requests]
    return json.dumps({"log": {"version": "1.2", "entries": entries}}, indent=2).encode()


def har_request(text: str | None = BODY.decode(), *, signed: bool = True, **more: Any) -> dict[str, Any]:
    headers = [{"name": "Host", "value": "a.example"}]
    headers += [{"name": "X-SignalArk-Signature", "value": SIGNATURE}] * signed
    body = {} if text is None else {"postData": {"mimeType": "application/json", "text": text, **more}}
    return {"method": "POST", "url": "https://a.example/hook", "httpVersion": "h2", "headers": headers, **body}


def saved(body: bytes | None, *headers: tuple[bytes, bytes]) -> bytes:
    """The line that `ark listen --save` writes for a request."""
    request = Request("POST", "/hook?a=b", headers, body)
    received = Received(at=0, request=request, verdict=VALID, event="ping", delivery=None, attempt=None, before=0)
    return to_json(record.saved(received)).encode() + b"\n"


LINE = saved(BODY, (b"X-SignalArk-Signature", SIGNATURE.encode()))
LENGTH = f"Content-Length: {len(BODY)}"
ENCODED = base64.b64encode(BODY).decode()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(http(SIGNED, LENGTH), id="as it came"),
        pytest.param(http(SIGNED), id="without a length"),
        pytest.param(http(SIGNED, f"Content-Length: {'9' * 5000}"), id="a length that cannot be"),
        pytest.param(http(SIGNED, LENGTH, end="\n"), id="LF for CRLF"),
        pytest.param(b"\r\n\n" + http(SIGNED, LENGTH), id="blank lines before"),
        pytest.param(b"\xef\xbb\xbf" + http(SIGNED, LENGTH), id="a byte-order mark"),
        pytest.param(http(SIGNED, LENGTH).decode().encode("utf-16"), id="PowerShell's UTF-16"),
        pytest.param(http(SIGNED, LENGTH, line="POST /"), id="no version"),
        pytest.param(http(SIGNED, line=":method: POST"), id="pseudo-headers"),
        pytest.param(http(SIGNED, line="X-First: 1"), id="no request line"),
        pytest.param(http(f"X-SignalArk-Signature:\r\n  {SIGNATURE}"), id="a folded header"),
        pytest.param(http(SIGNED.replace(": ", " :\t")), id="white space around the colon"),
        pytest.param(http(SIGNED, "Transfer-Encoding: chunked", body=CHUNKED), id="chunks"),
        pytest.param(LINE, id="a saved line"),
        pytest.param(json.dumps(json.loads(LINE), indent=1).encode(), id="a saved line, indented"),
        pytest.param(har(har_request()), id="a HAR file"),
        pytest.param(har(har_request(None, signed=False), har_request()), id="the signed entry of a HAR file"),
        pytest.param(har(har_request(ENCODED, encoding="base64")), id="a HAR file with base64"),
        pytest.param(json.dumps({"request": har_request()}).encode(), id="an entry of a HAR file"),
        pytest.param(json.dumps(har_request()).encode(), id="the request of an entry"),
        pytest.param(json.dumps([har_request()]).encode(), id="a list of requests"),
    ],
)
def test_a_request_is_read_with_its_exact_body_and_its_signature(data: bytes) -> None:
    found = read(data)
    assert (found.request.body, found.signatures(), found.remarks) == (BODY, [SIGNATURE], ())


@pytest.mark.parametrize(
    ("data", "body", "remark"),
    [
        (http(SIGNED, LENGTH) + b"\n", BODY, "1 byte after the body left out"),
        (http(SIGNED, LENGTH) + b"\r\n\r\n", BODY, "4 bytes after the body left out"),
        (http(SIGNED, LENGTH)[:-3], BODY[:-3], "26 bytes, and Content-Length says 29: the end is missing"),
        (http(SIGNED, LENGTH) + b"}", BODY + b"}", "30 bytes, and Content-Length says 29: something changed it"),
        (http(SIGNED, "Transfer-Encoding: chunked"), BODY, "the body is not in chunks"),
        (http(SIGNED, "Transfer-Encoding: chunked", body=CHUNKED[:20]), CHUNKED[:20], "the body is not in chunks"),
        (saved(BODY, (b"Content-Length", b"30")), BODY, "29 bytes, and Content-Length says 30"),
    ],
)
def test_what_is_odd_about_a_body_is_remarked(data: bytes, body: bytes, remark: str) -> None:
    found = read(data)
    assert found.request.body == body
    assert len(found.remarks) == 1
    assert remark in found.remarks[0]


def test_a_newline_at_the_end_is_left_alone_where_no_length_says_that_it_does_not_belong() -> None:
    assert read(http(SIGNED) + b"\n").request.body == BODY + b"\n"


THREE = http(SIGNED, LENGTH) + b"\r\n" + http(LENGTH) + http(SIGNED, "Transfer-Encoding: chunked", body=CHUNKED)


@pytest.mark.parametrize("data", [THREE, LINE + b"\n" + saved(BODY) + LINE])
def test_one_of_several_requests_is_chosen_by_its_number(data: bytes) -> None:
    assert [read(data, number).request.body for number in (1, 2, 3)] == [BODY] * 3
    assert [len(read(data, number).signatures()) for number in (1, 2, 3)] == [1, 0, 1]


@pytest.mark.parametrize(
    ("data", "number", "said"),
    [
        (
            THREE,
            None,
            "it has 2 signed requests: #1 (POST /hook?a=b, 29 bytes), #3 (POST /hook?a=b, 29 bytes); choose one: FILE#",
        ),
        (LINE * 7, None, "it has 7 signed requests: #1 ("),
        (LINE * 7, None, " and 2 more; choose one: FILE#1"),
        (THREE, 4, "there is no request #4: the file has 3 requests"),
        (LINE, 0, "there is no request #0: the file has 1 request"),
        (saved(BODY) * 2, None, "none of its 2 requests has the header X-SignalArk-Signature"),
        (http(SIGNED, SIGNED), None, "request 1: there are two X-SignalArk-Signature headers"),
        (LINE + saved(BODY, *[(b"x-signalark-signature", b"0")] * 2), 2, "line 2: there are two X-SignalArk-Signature"),
        (b"", None, "line 1: there are no headers"),
        (b"\n\n", None, "line 1: there are no headers"),
        (b"\r\nPOST / HTTP/1.1\r\nHost a.example\r\n\r\n", None, "line 3: expected a header, written as Name: value"),
        (http(SIGNED).replace(b"\r\n\r\n", b"\r\n"), None, "line 4: the body begins here; put a blank line before it"),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n", None, "line 1: this is an answer, not a request"),
        (b"*   Trying 127.0.0.1:80...\n> POST / HTTP/1.1\n", None, "line 1: this is what `curl -v` prints"),
        (b"\x16\x03\x01\x00", None, "line 1: expected a header"),
        (LINE + b'{"headers": [}\n', None, "line 2, column 14: this is not JSON"),
        (har(har_request())[:-40], None, "this is not JSON"),
        (LINE + b'{"listening": "http://127.0.0.1:8765"}\n', None, "line 2: expected a request with `headers`"),
        (b"[1]", None, "entry 1: expected a request with `headers`"),
        (har(), None, "the file has no requests"),
        (b'{"headers": 5, "body": ""}', None, "request 1: its headers or its body cannot be read"),
        (b'{"headers": [{"name": "A"}], "body": ""}', None, "cannot be read: 'value'"),
        (b'{"headers": [], "body": "\\ud800"}', None, "request 1: its headers or its body cannot be read"),
        (b'{"headers": [], "body_base64": "A"}', None, "request 1: its headers or its body cannot be read"),
        (saved(None), None, "request 1: its headers or its body cannot be read: it has no body"),
        (b'{"a": "\xff"}', None, "line 1: byte 7 is not UTF-8"),
        (b"[" * 100_000, None, "nested too deeply"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_place(data: bytes, number: int | None, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        read(data, number)
    assert said in str(raised.value)


def test_an_entry_of_a_har_file_without_a_body_is_a_request_without_a_body() -> None:
    assert read(har(har_request(None))).request.body == b""


def test_a_signature_in_another_header_is_found() -> None:
    found = read(http("X-Hub-Signature-256: sha256=00"))
    assert (found.signatures(), found.other_signature()) == ([], "X-Hub-Signature-256: sha256=00")
    assert read(http()).other_signature() == ""


names = st.text("aZ9-", min_size=1, max_size=8).map(str.encode)
headers = st.lists(st.tuples(names, st.binary(max_size=20)), max_size=3)


@given(st.binary() | st.text().map(str.encode), headers)
@example(b"\xef\xbb\xbf{}\r\n\x00", [])
@example(b"\xed\xa0\x80", [(b"A", b"\xe9")])
@example(b"0\r\n\r\n", [])
def test_what_listen_saves_verifies_again(body: bytes, others: list[tuple[bytes, bytes]]) -> None:
    line = saved(body, *others, (b"X-SignalArk-Signature", sign("s3cret", body).encode()))
    found = read(line)
    assert found.request == Request("POST", "/hook?a=b", [*others, found.request.headers[-1]], body)
    assert verify("s3cret", found.request.body or b"", found.signatures()[-1])


@given(st.binary(), st.booleans(), st.sampled_from(["\r\n", "\n"]))
@example(b"\r\n", True, "\n")
@example(b"POST / HTTP/1.1\r\nA: b\r\n\r\n", True, "\r\n")
def test_what_came_over_the_wire_verifies_again(body: bytes, chunked: bool, end: str) -> None:
    sent = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked and body else body
    how = "Transfer-Encoding: chunked" if chunked and body else f"Content-Length: {len(body)}"
    found = read(http(f"X-SignalArk-Signature: {sign('s3cret', body)}", how, body=sent, end=end))
    assert (found.request.body, found.remarks) == (body, ())
    assert verify("s3cret", body, found.signatures()[0])


@given(st.binary() | st.from_regex(rb"(POST / HTTP/1.1\r?\n)?([A-Z]: [0-9a-z]*\r?\n|\{|\}|\"|,)*", fullmatch=True))
def test_nothing_that_is_pasted_makes_it_crash(data: bytes) -> None:
    try:
        found = read(data)
    except UsageError as error:
        assert str(error)
    else:
        assert found.request.body is not None
