"""Reads requests from the bytes of a connection: httptools (llhttp) parses heads and chunks. Pure; no sockets."""

import re
from contextlib import suppress
from typing import Final

import httptools

from arkcli.httpd.messages import Header, Request

#: The end of a head, and of a body in chunks: an empty line.
_EMPTY_LINE: Final = re.compile(rb"\n\r?\n")
#: The lines of a head may end in LF alone (RFC 9112, 2.2).
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")
#: Chunks are read in pieces of at most this many bytes, to notice what does not belong to the body.
_PIECE: Final = 4096
#: The last of the bytes that cannot begin a request: control characters, and the space.
_NOT_A_METHOD: Final = 0x20
_LENGTH: Final = b"content-length"
_ENCODING: Final = b"transfer-encoding"


class Refused(Exception):
    """What came is not a request that can be taken; `status` answers it."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class _Message:
    """What httptools has found in one request. It calls these methods."""

    def __init__(self) -> None:
        self.target = b""
        self.headers: list[Header] = []
        self.body = bytearray()
        self.is_complete = False
        self.is_in_body = False

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        # What comes after the body, in trailers, says nothing about the request.
        if not self.is_in_body:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.is_in_body = True

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.is_complete = True


class Reader:
    """The requests of one connection, one after the other."""

    def __init__(self, most_head: int, most_body: int) -> None:
        """The largest head (request line and headers; also all trailers, or one chunk's extensions) and body, in bytes.

        A request with a larger body is returned with None in its place, and nothing can be read after it.
        """
        self._most_head = most_head
        self._most_body = most_body
        self._data = bytearray()
        #: How much of a head that is not complete has been searched for its end.
        self._searched = 0
        self._message: _Message | None = None
        self._parser: httptools.HttpRequestParser | None = None
        #: The length of the body under way; None if it comes in chunks.
        self._length: int | None = None
        #: Bytes of chunks since the last piece of the body: extensions and trailers.
        self._between = 0
        #: The HTTP version, the method, and whether the connection may be kept, of the last request.
        self.version = "1.1"
        self.method = b""
        self.keeps_alive = True
        #: Whether the client sends the body only after "100 Continue".
        self.is_asked_to_continue = False

    @property
    def waiting(self) -> int:
        """How many bytes have come that belong to no request yet."""
        return len(self._data)

    def receive(self, data: bytes) -> None:
        """Takes bytes from the connection."""
        self._data += data

    def next(self) -> Request | None:
        """The next request; None until more bytes come. Raises Refused."""
        try:
            if self._message is None and not self._begin():
                return None
            return self._chunked() if self._length is None else self._sized(self._length)
        except httptools.HttpParserError as error:
            is_encoding = "`Transfer-Encoding`" in str(error) and "`Content-Length`" not in str(error)
            raise Refused(501 if is_encoding else 400, str(error)) from None

    def _begin(self) -> bool:
        """Reads the head of a request, if it is complete."""
        # An empty line before a request is ignored (RFC 9112, 2.2).
        while self._data[:2] == b"\r\n" or self._data[:1] == b"\n":
            del self._data[: 2 if self._data[:1] == b"\r" else 1]
        if self._data and self._data[0] <= _NOT_A_METHOD:
            raise Refused(400, "it does not begin with a method")
        # What was searched before may end in the middle of an empty line.
        found = _EMPTY_LINE.search(self._data, max(self._searched - 2, 0), self._most_head + 2)
        self._searched = 0 if found else len(self._data)
        end = found.end() if found else len(self._data)
        if end > self._most_head:
            raise Refused(431, f"the request line and the headers are larger than {self._most_head:,} bytes")
        if found is None:
            return False
        head = _BARE_LF.sub(b"\r\n", self._data[:end])
        del self._data[:end]
        message = _Message()
        parser = httptools.HttpRequestParser(message)
        # Nobody changes to another protocol here.
        with suppress(httptools.HttpParserUpgrade):
            parser.feed_data(head)
        self._message, self._parser = message, parser
        self._understand(message, parser)
        return True

    def _understand(self, message: _Message, parser: httptools.HttpRequestParser) -> None:
        self.version, self.method = parser.get_http_version(), parser.get_method()
        fields: dict[bytes, list[bytes]] = {}
        for name, value in message.headers:
            fields.setdefault(name.lower(), []).append(value)
        if fields.keys() >= {_LENGTH, _ENCODING}:
            # They may disagree on where the next request begins (RFC 9112, 6.3).
            raise Refused(400, "it has both a Content-Length and a Transfer-Encoding")
        if len(fields.get(b"host", ())) != 1 and (self.version != "1.0" or b"host" in fields):
            raise Refused(400, "it has no Host header, or several")
        if [value.lower() for value in fields.get(_ENCODING, ())] not in ([], [b"chunked"]):
            raise Refused(501, "it has a Transfer-Encoding other than chunked")
        self._length = int(fields[_LENGTH][0]) if _LENGTH in fields else None if _ENCODING in fields else 0
        self._between = 0
        options = b",".join(fields.get(b"connection", ())).lower().replace(b" ", b"").split(b",")
        self.keeps_alive = b"close" not in options if self.version != "1.0" else b"keep-alive" in options
        self.is_asked_to_continue = (
            self.version != "1.0"
            and self._length != 0
            and not self._data
            and any(value.lower() == b"100-continue" for value in fields.get(b"expect", ()))
        )

    def _sized(self, length: int) -> Request | None:
        if length > self._most_body:
            return self._finished(None)
        if len(self._data) < length:
            return None
        body = bytes(self._data[:length])
        del self._data[:length]
        return self._finished(body)

    def _chunked(self) -> Request | None:
        message, parser = self._message, self._parser
        assert message is not None
        assert parser is not None
        while self._data and not message.is_complete:
            # The body ends with an empty line. httptools does not say where it stops, so it gets no more than that, and
            # nothing of an empty line that is still to come.
            found = _EMPTY_LINE.search(self._data, 0, _PIECE)
            end = found.end() if found else min(len(self._data), _PIECE) - 2
            if end < 1:
                break
            before = len(message.body)
            parser.feed_data(bytes(self._data[:end]))
            del self._data[:end]
            self._between = self._between + end if len(message.body) == before else 0
            if self._between >= self._most_head:
                raise Refused(431, f"a chunk's extensions or the trailers are larger than {self._most_head:,} bytes")
            if len(message.body) > self._most_body:
                return self._finished(None)
        return self._finished(bytes(message.body)) if message.is_complete else None

    def _finished(self, body: bytes | None) -> Request:
        message, self._message, self._parser = self._message, None, None
        assert message is not None
        self.is_asked_to_continue = False
        return Request(self.method.decode(), message.target.decode("latin-1"), message.headers, body, self.version)
