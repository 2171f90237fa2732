"""Finds requests in JSON documents: lines of `ark listen --save`, and HAR files or parts of them."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from arkcli.errors import UsageError
from arkcli.httpd.messages import Header, Request


def requests(document: Any, place: str = "request 1") -> Iterator[tuple[str, Request]]:
    """The requests in a document, each with its place, which errors name. Raises UsageError."""
    match document:
        case {"log": {"entries": [*entries]}} | [*entries]:
            yield from _each(entries)
        case {"request": {"headers": _} as request} | ({"headers": _} as request):
            yield place, _request(request, place)
        case _:
            raise UsageError(
                f"{place}: expected a request with `headers`: a line of `ark listen --save`, or a HAR file"
            )


def _each(entries: Sequence[Any]) -> Iterator[tuple[str, Request]]:
    if not entries:
        raise UsageError("the file has no requests")
    for number, entry in enumerate(entries, 1):
        yield from requests(entry, f"entry {number}")


def _request(found: Mapping[str, Any], place: str) -> Request:
    target = found.get("target") or found.get("url") or "/"
    try:
        return Request(str(found.get("method") or "POST"), str(target), _headers(found["headers"]), _body(found))
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise UsageError(f"{place}: its headers or its body cannot be read: {error}") from None


def _headers(found: Any) -> list[Header]:
    """Headers given as pairs, or as objects with `name` and `value`."""
    pairs = [(one["name"], one["value"]) if isinstance(one, Mapping) else one for one in found]
    return [(name.encode("latin-1", "replace"), value.encode("latin-1", "replace")) for name, value in pairs]


def _body(found: Mapping[str, Any]) -> bytes:
    match found:
        case {"body_base64": str(text)} | {"postData": {"encoding": "base64", "text": str(text)}}:
            return base64.b64decode(text, validate=True)
        case {"body": str(text)} | {"postData": {"text": str(text)}}:
            return text.encode()
        case {"httpVersion": _}:
            # An entry of a HAR file without a body.
            return b""
    raise ValueError("it has no body (`ark listen --save` keeps none above 1 MiB)")
