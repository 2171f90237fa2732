"""Finds requests in JSON documents: lines of `ark listen --save`, HAR files, and objects with `headers` and `body`."""

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from arkcli.errors import UsageError
from arkcli.httpd.messages import Header, Request


def requests(document: Any, place: str = "") -> Iterator[tuple[str, Request]]:
    """The requests in a document, each with its place, which errors name. Raises UsageError."""
    match document:
        case {"log": {"entries": [*entries]}}:
            yield from _each(entries, "entry")
        case {"requests": [*entries]}:
            yield from _each(entries, "request")
        case [*entries]:
            yield from _each(entries, "entry")
        case {"request": {"headers": _} as request}:
            yield place or "entry 1", _request(request, place or "entry 1")
        case {"headers": _}:
            yield place or "request 1", _request(document, place or "request 1")
        case _:
            where = f"{place}: " if place else ""
            raise UsageError(f"{where}expected a request, with `headers`: a line of `ark listen --save`, or a HAR file")


def _each(entries: Sequence[Any], kind: str) -> Iterator[tuple[str, Request]]:
    if not entries:
        raise UsageError("the file has no requests")
    for number, entry in enumerate(entries, 1):
        yield from requests(entry, f"{kind} {number}")


def _request(found: Mapping[str, Any], place: str) -> Request:
    target = found.get("target") or found.get("url") or found.get("path") or "/"
    try:
        return Request(str(found.get("method") or "POST"), str(target), _headers(found["headers"]), _body(found))
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise UsageError(f"{place}: its headers or its body cannot be read: {_words(error)}") from None


def _words(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


def _headers(found: Any) -> list[Header]:
    """Headers as pairs, as objects with `name` and `value`, or as one object."""
    if isinstance(found, Mapping):
        several = {name: value if isinstance(value, list) else [value] for name, value in found.items()}
        found = [(name, value) for name, values in several.items() for value in values]
    pairs = [(one["name"], one["value"]) if isinstance(one, Mapping) else one for one in found]
    return [(name.encode("latin-1", "replace"), value.encode("latin-1", "replace")) for name, value in pairs]


def _body(found: Mapping[str, Any]) -> bytes:
    match found:
        case {"body_base64": str(text)} | {"isBase64Encoded": True, "body": str(text)}:
            return _decoded(text)
        case {"body": str(text)} | {"postData": {"encoding": None | "", "text": str(text)}}:
            return text.encode()
        case {"postData": {"encoding": "base64", "text": str(text)}}:
            return _decoded(text)
        case {"postData": {"text": str(text)}}:
            return text.encode()
        case {"httpVersion": _}:
            # An entry of a HAR file without a body.
            return b""
    raise ValueError("it has no body (`ark listen --save` keeps none above 1 MiB)")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"its base64 is broken: {error}") from None
