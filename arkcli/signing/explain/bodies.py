"""Common mistakes with a body between signing and verification."""

import ast
import base64
import binascii
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import product
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from arkcli.signing.explain.rules import Looks, Rules
from arkcli.signing.explain.spellings import layout_of, parsed, renumbered, respelled

RULES: Final = Rules()
LOOKS: Final = Looks()

_RAW: Final = "check the raw bytes, before anything parses them (docs/receivers.md shows how)"
_BOM: Final = b"\xef\xbb\xbf"
_CHUNK: Final = re.compile(rb"([0-9a-fA-F]{1,8})(?:;[^\r\n]*)?\r\n")
_BUFFER: Final = re.compile(rb'\s*\{\s*"type"\s*:\s*"Buffer"')
#: A string, with or without its closing quote. Possessive, so that nothing is scanned twice.
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+("?)', re.DOTALL)

#: The cause whose text also lists the differences.
RESPELLED: Final = "json-reserialised"


@RULES.rule(
    "newline-added",
    "the body ends in a newline that was not signed: `echo` and most editors add one; write it with"
    " `printf %s`, or save the raw bytes of the request",
)
def _without_newline(body: bytes) -> Iterator[bytes]:
    if body.endswith(b"\n"):
        yield from (body[:-1], body[:-1].removesuffix(b"\r"), body.rstrip(b"\r\n"))


@RULES.rule(
    "newline-lost",
    "the signed body ended in a newline that is missing here: `curl -d @file` and the shell's $(…) remove it; send with"
    " `curl --data-binary @file`, or sign without the newline",
)
def _with_newline(body: bytes) -> Iterator[bytes]:
    yield from (body + b"\n", body + b"\r\n")


@RULES.rule(
    "crlf-line-ends",
    "lines of the body end in CR LF, and in LF in the signed body: an editor, git or a text-mode transfer on Windows "
    "changed them; keep the body as bytes",
)
def _lf(body: bytes) -> Iterator[bytes]:
    if b"\r" in body:
        yield from (body.replace(b"\r\n", b"\n"), body.replace(b"\r", b"\n"))


@RULES.rule(
    "lf-line-ends",
    "lines of the body end in LF, and in CR LF in the signed body: something read it as text and changed them; keep "
    "the body as bytes",
)
def _crlf(body: bytes) -> Iterator[bytes]:
    if b"\n" in body:
        yield body.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


@RULES.rule(
    "byte-order-mark-added",
    "the body begins with a byte-order mark (EF BB BF) that was not signed: an editor on Windows added it; save as "
    "UTF-8 without a byte-order mark",
)
def _without_bom(body: bytes) -> Iterator[bytes]:
    if body.startswith(_BOM):
        yield body.removeprefix(_BOM)


@RULES.rule(
    "byte-order-mark-lost",
    "the signed body begins with a byte-order mark (EF BB BF) that is missing here: read it as bytes, or sign it "
    "without the mark",
)
def _with_bom(body: bytes) -> Iterator[bytes]:
    if not body.startswith(_BOM):
        yield _BOM + body


@RULES.rule(
    "white-space-around",
    "the body gained or lost white space at its beginning or end: check the bytes as they arrived",
)
def _stripped(body: bytes) -> Iterator[bytes]:
    yield from (body.strip(), body.lstrip(), body + b" ", b" " + body)


@RULES.rule("body-empty-when-signed", "an empty body was signed: the signer had already read the stream to its end")
def _empty(body: bytes) -> Iterator[bytes]:
    if body:
        yield b""


@RULES.rule(
    "something-behind",
    "something follows the JSON that was signed: a second body in the file, or the rest of a larger buffer",
)
def _first_value(body: bytes) -> Iterator[bytes]:
    yield body.rstrip(b"\x00")
    try:
        text = body.decode()
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return
    if text[end:].strip():
        yield text[:end].encode()


@RULES.rule(
    "http-head-in-front",
    "the HTTP headers come before the body: only what follows the empty line was signed",
)
def _behind_the_head(body: bytes) -> Iterator[bytes]:
    for gap in (b"\r\n\r\n", b"\n\n"):
        head, found, rest = body.partition(gap)
        if found and re.match(rb"(?:[A-Z]+ \S+ HTTP/|HTTP/|[A-Za-z-]+:)", head):
            yield rest


@RULES.rule(
    "chunk-sizes-inside",
    "the body still contains HTTP chunk sizes: let the HTTP library decode the chunks",
)
def _dechunked(body: bytes) -> Iterator[bytes]:
    pieces: list[bytes] = []
    at = 0
    while match := _CHUNK.match(body, at):
        size = int(match[1], 16)
        if size == 0:
            yield b"".join(pieces)
            return
        pieces.append(body[match.end() : match.end() + size])
        at = match.end() + size + 2


@RULES.rule(
    "url-encoded",
    f"the body was read or written as a form, so it is URL-encoded: post it as application/json, and {_RAW}",
)
def _url_decoded(body: bytes) -> Iterator[bytes]:
    if b"%" not in body and b"+" not in body:
        return
    name, equals, value = body.strip().partition(b"=")
    for part in (body, *((value, name) if equals else ())):
        yield from (unquote_to_bytes(part.replace(b"+", b" ")), unquote_to_bytes(part))


@RULES.rule(
    "body-base64",
    "the body is in base64, as API gateways pass it to a function: decode it first (isBase64Encoded is true)",
)
def _from_base64(body: bytes) -> Iterator[bytes]:
    with suppress(binascii.Error):
        yield base64.b64decode(b"".join(body.split()), validate=True)


@RULES.rule(
    "json-in-a-string",
    f"the body was encoded as JSON twice, so it is one JSON string: {_RAW}",
)
def _unquoted(body: bytes) -> Iterator[bytes]:
    if body.lstrip().startswith(b'"'):
        with suppress(ValueError, AttributeError, RecursionError):
            yield json.loads(body).encode()


@RULES.rule(
    "node-buffer",
    "the body is a Node Buffer that was serialised as JSON: give the Buffer itself to createHmac().update()",
)
def _from_buffer(body: bytes) -> Iterator[bytes]:
    if _BUFFER.match(body):
        try:
            data = json.loads(body)["data"]
            # bytes(9) would be nine zero bytes.
            found = bytes(data) if isinstance(data, list) else b""
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return
        if found:
            yield found


@RULES.rule(
    "python-repr",
    "the body is Python's str() or repr() of bytes or a dict, not the bytes: write request.data itself, in mode 'wb'",
)
def _from_repr(body: bytes) -> Iterator[bytes]:
    if body.lstrip()[:2] not in (b"b'", b'b"', b"{'"):
        return
    with suppress(ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        found = ast.literal_eval(body.decode().strip())
        yield from [found] if isinstance(found, bytes) else respelled(json.dumps(found).encode())


def _recoded(body: bytes, reads: str, writes: str) -> Iterator[bytes]:
    """The body decoded from each charset in `reads` and encoded in each in `writes`, with ? for missing characters."""
    for read, write in product(reads.split(), writes.split()):
        with suppress(UnicodeError):
            text = body.decode(read)
            # For a character above U+FFFF, .NET writes two ?; everything else writes one.
            yield from (form.encode(write, "replace") for form in (text, re.sub("[\U00010000-\U0010ffff]", "??", text)))


@RULES.rule("utf-16", "the body is UTF-16: PowerShell's > and `Save as Unicode` write that; save it as UTF-8 or bytes")
def _from_utf_16(body: bytes) -> Iterator[bytes]:
    return _recoded(body, "utf-16 utf-16-le utf-16-be", "utf-8")


@RULES.rule(
    "hashed-as-ascii",
    "the body was hashed as ASCII, with ? for every other character (.NET's Encoding.ASCII, Java's US_ASCII): hash "
    "its UTF-8 bytes",
)
def _as_ascii(body: bytes) -> Iterator[bytes]:
    return _recoded(body, "utf-8", "ascii")


@RULES.rule(
    "encoded-twice",
    "the body's UTF-8 was decoded as Latin-1 (or Windows-1252) and encoded again, so that é became Ã©: read it as"
    " bytes, or decode it as UTF-8",
)
def _encoded_once(body: bytes) -> Iterator[bytes]:
    for found in _recoded(body, "utf-8", "latin-1 cp1252"):
        with suppress(UnicodeError):
            yield found.decode().encode()


@RULES.rule(
    "hashed-as-latin-1",
    "the body was hashed as Latin-1 or Windows-1252 (.NET's Encoding.Latin1, Java's ISO_8859_1, Node's 'latin1' and"
    " 'binary'): hash its UTF-8 bytes",
)
def _as_latin_1(body: bytes) -> Iterator[bytes]:
    yield from _recoded(body, "utf-8", "latin-1 cp1252")
    # Node keeps the low byte of each 16-bit unit.
    yield from (wide[::2] for wide in _recoded(body, "utf-8", "utf-16-le"))


@RULES.rule(
    "latin-1",
    "the body is in Latin-1 (or Windows-1252) here and was signed as UTF-8: keep the bytes as they arrived, or read "
    "them as UTF-8",
)
def _from_latin_1(body: bytes) -> Iterator[bytes]:
    return _recoded(body, "latin-1 cp1252", "utf-8")


@RULES.rule("hashed-as-utf-16", "the body was hashed as UTF-16 (.NET's Encoding.Unicode): hash its UTF-8 bytes")
def _as_utf_16(body: bytes) -> Iterator[bytes]:
    return _recoded(body, "utf-8", "utf-16-le utf-16-be utf-16")


@RULES.rule(
    RESPELLED,
    f"the body was parsed and serialised again, so its bytes differ: {_RAW}",
    cost=24,
)
def _respelled(body: bytes) -> Iterator[bytes]:
    yield from respelled(body)


@RULES.rule(
    "json-numbers",
    "the body was parsed and serialised again, and a number is written differently (87 and 87.0, 1.5 and 1.50): "
    f"{_RAW}",
    cost=3,
)
def _renumbered(body: bytes) -> Iterator[bytes]:
    yield from renumbered(body)


@LOOKS.look(
    "body-empty",
    f"the body is empty: check the file or standard input. In a receiver, something read the stream first: {_RAW}",
)
def _is_empty(body: bytes) -> bool:
    return not body.strip()


@LOOKS.look(
    "body-cut-off",
    "the body looks cut off: its JSON ends in the middle. Compare its length with the request's"
    " Content-Length, and look for a limit or a read that stops early",
)
def _is_cut_off(body: bytes) -> bool:
    if body.lstrip()[:1] not in (b"{", b"["):
        return False
    outside = _STRING.sub(lambda string: b"" if string[1] else b'"', body)
    opened = sum(map(outside.count, (b"{", b"["))) - sum(map(outside.count, (b"}", b"]")))
    return parsed(body) is None and (opened > 0 or b'"' in outside)


@LOOKS.look(
    "body-not-text",
    "the body contains the replacement character (U+FFFD): unless it was sent that way, it was decoded in the wrong "
    "encoding and bytes are lost; keep it as bytes",
    weak=True,
)
def _is_replaced(body: bytes) -> bool:
    return b"\xef\xbf\xbd" in body


@LOOKS.look(
    "body-not-written-out",
    f"the body is what JavaScript prints for any object, so it had been parsed: {_RAW}",
)
def _is_object_object(body: bytes) -> bool:
    return b"[object Object]" in body


@LOOKS.look(
    "json-keys-sorted",
    "the keys of the body are in alphabetical order, as `jq -S`, sort_keys and Go's maps write them: if it was "
    f"parsed and serialised again, the signed order is lost, so {_RAW}",
    weak=True,
)
def _is_sorted(body: bytes) -> bool:
    tree = parsed(body)
    return isinstance(tree, dict) and len(tree) > 2 and all(map(_sorted_inside, tree.values())) and _in_order(tree)


def _sorted_inside(tree: Any) -> bool:
    return not isinstance(tree, dict) or (_in_order(tree) and all(map(_sorted_inside, tree.values())))


def _in_order(tree: dict[str, Any]) -> bool:
    return list(tree) == sorted(tree)


@LOOKS.look(
    "json-laid-out",
    "the body is JSON with white space between its parts, which `ark send` sends only with `--raw`: otherwise it was "
    f"parsed and serialised again, so {_RAW}",
    weak=True,
)
def _is_laid_out(body: bytes) -> bool:
    return parsed(body) is not None and not layout_of(body.decode()).startswith("compact ")
