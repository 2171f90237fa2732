"""Reads a request that was saved or pasted, for `ark verify --request`. Forgiving where the body's bytes stay certain.

It takes raw HTTP, lines of `ark listen --save`, and HAR files or parts of them.
"""

import json
import re
from typing import Any, Final, NamedTuple

from arkcli.errors import UsageError
from arkcli.httpd.messages import Header, Request
from arkcli.receiver import structured
from arkcli.signing import SIGNATURE_HEADER
from arkcli.signing.standard import Webhook
from arkcli.text import counted

_REQUEST_LINE: Final = re.compile(rb"([A-Z]+) (\S+)(?: HTTP/[0-9.]+)?[ \t]*")
#: Some tools print the pseudo-headers of HTTP/2, such as `:path`.
_HEADER: Final = re.compile(rb"(:?[!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*:[ \t]*(.*?)[ \t]*")
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r?\n")
_TRAILERS: Final = re.compile(rb"(?:[^\r\n]+\r?\n)*(?:\r?\n)?")
_LINE_END: Final = re.compile(rb"\r?\n")
#: How many requests a message lists.
_LISTED: Final = 5


class Pasted(NamedTuple):
    """A request. `place` says where in the file it is; `remarks`, what is odd about its body."""

    place: str
    request: Request
    remarks: tuple[str, ...] = ()

    def signatures(self) -> list[str]:
        """The values of all its signature headers."""
        return self.request.headers_named(SIGNATURE_HEADER)

    @property
    def is_signed(self) -> bool:
        """Whether it has a signature that `ark` knows."""
        return bool(self.signatures()) or Webhook.of(self.request.header) is not None

    def other_signature(self) -> str:
        """The first header line that may be another sender's signature; empty if there is none."""
        lines = (f"{name.decode('latin-1')}: {value.decode('latin-1')}" for name, value in self.request.headers)
        return next((line for line in lines if re.match("[^:]*(signature|hmac)", line, re.IGNORECASE)), "")


def read(data: bytes, number: int | None = None) -> Pasted:
    """The request in a file, or request `number` (from 1) of it: by default, the only one that is signed.

    Raises UsageError, whose message begins with the place.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        # PowerShell's > writes UTF-16.
        data = data.decode("utf-16", "replace").encode()
    data = data.removeprefix(b"\xef\xbb\xbf")
    found = _of_json(data) if data.lstrip()[:1] in (b"{", b"[") else _of_http(data)
    chosen = _chosen(found, number)
    if len(chosen.signatures()) > 1:
        raise UsageError(f"{chosen.place}: there are two {SIGNATURE_HEADER} headers; keep the one that the sender set")
    return chosen


def _chosen(found: list[Pasted], number: int | None) -> Pasted:
    if number is not None:
        if not 1 <= number <= len(found):
            raise UsageError(f"there is no request #{number}: the file has {counted(len(found), 'request')}")
        return found[number - 1]
    signed = [(place, one) for place, one in enumerate(found, 1) if one.is_signed]
    if len(found) == 1 or len(signed) == 1:
        return found[0] if len(found) == 1 else signed[0][1]
    if not signed:
        raise UsageError(f"none of its {counted(len(found), 'request')} has the header {SIGNATURE_HEADER}")
    listed = ", ".join(f"#{place} ({_described(one.request)})" for place, one in signed[:_LISTED])
    more = f" and {len(signed) - _LISTED:,} more" if len(signed) > _LISTED else ""
    raise UsageError(f"it has {len(signed):,} signed requests: {listed}{more}; choose one: FILE#{signed[0][0]}")


def _described(request: Request) -> str:
    return f"{request.method} {request.target[:40]}, {counted(len(request.body or b''), 'byte')}"


def _of_json(data: bytes) -> list[Pasted]:
    lines = [(place, line) for place, line in enumerate(data.splitlines(), 1) if line.strip()]
    first = _parsed(lines[0][1])
    if first is None or len(lines) == 1:
        return [_checked(where, request) for where, request in structured.requests(_document(data))]
    return [
        _checked(f"line {place}", request)
        for place, line in lines
        for _, request in structured.requests(_document(line, place), f"line {place}")
    ]


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _document(text: bytes, line: int = 1) -> Any:
    """The document in a text that begins in a line of the file. Raises UsageError."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {line + error.lineno - 1}, column {error.colno}"
        raise UsageError(f"{place}: this is not JSON: {error.msg}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"line {line}: byte {error.start} is not UTF-8; save the file as UTF-8") from None
    except RecursionError:
        raise UsageError(f"line {line}: it is nested too deeply") from None


def _checked(place: str, request: Request) -> Pasted:
    """The request, with a remark if its body has another length than the one that was announced."""
    length, body = _length(request), request.body or b""
    if length is None or length == len(body):
        return Pasted(place, request)
    said = f"the body has {counted(len(body), 'byte')}, and Content-Length says {length:,}"
    why = "the end is missing" if len(body) < length else "something changed it after it was received"
    return Pasted(place, request, (f"{said}: {why}",))


def _length(request: Request) -> int | None:
    """The body's length as its header says it; None if it does not."""
    text = request.header("Content-Length") or ""
    is_number = re.fullmatch("[0-9]{1,15}", text) is not None
    return int(text) if is_number and request.header("Transfer-Encoding") is None else None


def _of_http(data: bytes) -> list[Pasted]:
    found: list[Pasted] = []
    at = 0
    while data[at:].strip(b"\r\n") or not found:
        pasted, at = _next(data, at, f"request {len(found) + 1}")
        found.append(pasted)
    return found


def _next(data: bytes, at: int, place: str) -> tuple[Pasted, int]:
    """The request that begins at a position, and the position after it."""
    method, target, headers, at = _head(data, at)
    request = Request(method, target, headers, data[at:])
    if "chunked" in (request.header("Transfer-Encoding") or "").lower():
        if (chunked := _joined(data, at)) is not None:
            body, end = chunked
            return Pasted(place, Request(method, target, headers, body)), end
        remark = "Transfer-Encoding says chunked, but the body is not in chunks: it was taken as it is"
        return Pasted(place, request, (remark,)), len(data)
    length = _length(request)
    if length is None or len(data) <= at + length:
        return _checked(place, request), len(data)
    whole, end = Request(method, target, headers, data[at : at + length]), at + length
    rest = data[end:].lstrip(b"\r\n")
    if not rest:
        extra = counted(len(data) - end, "byte")
        remark = f"{extra} after the body left out, by Content-Length: a newline that an editor or `echo` added"
        return Pasted(place, whole, (remark,)), len(data)
    if _REQUEST_LINE.fullmatch(_LINE_END.split(rest, 1)[0]):
        return Pasted(place, whole), len(data) - len(rest)
    return _checked(place, request), len(data)


def _head(data: bytes, at: int) -> tuple[str, str, list[Header], int]:
    """Method, target and headers of the request that begins at a position, and where its body begins."""
    method, target = "POST", "/"
    headers: list[Header] = []
    at = len(data) - len(data[at:].lstrip(b"\r\n"))
    begin = at
    while at < len(data):
        end = _LINE_END.search(data, at)
        line = data[at : end.start() if end else len(data)]
        here, at = at, end.end() if end else len(data)
        if not line:
            break
        if here == begin and (match := _REQUEST_LINE.fullmatch(line)):
            method, target = match[1].decode(), match[2].decode("latin-1")
        elif headers and line[:1] in b" \t":
            # A value may go on in the next line (RFC 9112, 5.2).
            headers[-1] = (headers[-1][0], (headers[-1][1] + b" " + line.strip()).strip())
        elif match := _HEADER.fullmatch(line):
            headers.append((match[1], match[2]))
        else:
            place = data.count(b"\n", 0, here) + 1
            raise UsageError(f"line {place}: {_wrong(line, has_headers=bool(headers))}")
    if not headers:
        raise UsageError("line 1: there are no headers; give the request line, the headers, a blank line and the body")
    return method, target, headers, at


def _wrong(line: bytes, *, has_headers: bool) -> str:
    if line.startswith(b"HTTP/"):
        return "this is an answer, not a request"
    if line[:2] in (b"* ", b"> ", b"< "):
        return "this is what `curl -v` prints, which leaves out the body; save the request at the receiver"
    if has_headers and line.lstrip()[:1] in (b"{", b"["):
        return "the body begins here; put a blank line before it"
    shown = line[:40].decode("utf-8", "replace")
    return f"expected a header, written as Name: value, got {shown!r}"


def _joined(data: bytes, at: int) -> tuple[bytes, int] | None:
    """The chunks from a position on as one body, and where they end; None if they are not chunks (RFC 9112, 7.1)."""
    body = bytearray()
    while chunk := _CHUNK.match(data, at):
        size, at = int(chunk[1], 16), chunk.end()
        if size == 0:
            trailers = _TRAILERS.match(data, at)
            return bytes(body), trailers.end() if trailers else at
        body += data[at : at + size]
        end = _LINE_END.match(data, at + size)
        if end is None:
            return None
        at = end.end()
    return None
