"""The OpenAPI document of `ark serve`, made from the types that also validate events."""

from typing import Any, Final

from arkcli.contract.events import ISO_8601, PURPOSES, QUEUED, UTC_TIME
from arkcli.contract.schemas import schema
from arkcli.version import __version__

#: What `ark` fills in where a payload has none.
_FILLED: Final = frozenset(("event", "timestamp", "batchId"))
_INTRO: Final = (
    "Takes events and delivers them as signed webhooks. 202 means that the event is durable. Repeat a request with the "
    "same Idempotency-Key and body as often as you like: the event is sent once."
)
_ERROR: Final = {"$ref": "#/components/schemas/Error"}
_EVENT: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "type": {"type": "string"},
        "at": {"type": "string", "format": "date-time"},
        "bytes": {"type": "integer"},
    },
    "required": ["id", "type", "at", "bytes"],
}
_COMPONENTS: Final[dict[str, Any]] = {
    "Event": _EVENT,
    "Accepted": {
        "type": "object",
        "properties": {
            "event": {"$ref": "#/components/schemas/Event"},
            "repeated": {"const": True, "description": "the Idempotency-Key was used before, with the same body"},
        },
        "required": ["event"],
    },
    "Error": {
        "type": "object",
        "properties": {
            "error": {
                "type": "object",
                "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
                "required": ["code", "message"],
            }
        },
        "required": ["error"],
    },
    "Health": {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}, "problems": {"type": "array", "items": {"type": "string"}}},
        "required": ["ok", "problems"],
    },
}
_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The event's id: the same key and body again do nothing.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$"},
}
_AGAIN: Final = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}
_CHALLENGE: Final = {"WWW-Authenticate": {"description": "Bearer", "schema": {"type": "string"}}}


def document() -> dict[str, Any]:
    """The document: OpenAPI 3.1."""
    security = {"401": _answer("The token is missing or wrong.", _ERROR, _CHALLENGE)}
    paths = {f"/events/{name}": {"post": _sending(name, security)} for name in QUEUED}
    return {
        "openapi": "3.1.0",
        "info": {"title": "ark serve", "version": __version__, "description": _INTRO, "license": {"name": "MIT"}},
        "paths": {
            **paths,
            "/events/-": {"post": _streaming(security)},
            "/healthz": {
                "get": {
                    "operationId": "health",
                    "summary": "Whether events are accepted and delivered",
                    "security": [],
                    "responses": {
                        "200": _answer("Everything works.", {"$ref": "#/components/schemas/Health"}),
                        "503": _answer("Something does not.", {"$ref": "#/components/schemas/Health"}, _AGAIN),
                    },
                }
            },
            "/metrics": {"get": _read("metrics", "The queue in Prometheus's text format", "text/plain", security)},
            "/openapi.json": {"get": _read("openapi", "This document", "application/json", security)},
        },
        "components": {
            "schemas": _COMPONENTS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


def _sending(name: str, security: dict[str, Any]) -> dict[str, Any]:
    return {
        "operationId": f"send_{name.replace('.', '_')}",
        "summary": f"Accept an event that says: {PURPOSES[name]}",
        "parameters": [_KEY],
        "requestBody": {"required": True, "content": {"application/json": {"schema": _payload(name)}}},
        "responses": {
            "202": _answer("The event is durable.", {"$ref": "#/components/schemas/Accepted"}),
            "400": _answer("The payload or the key is not valid.", _ERROR),
            **security,
            "409": _answer("The key belongs to another event.", _ERROR),
            "413": _answer("The body is larger than 1 MiB.", _ERROR),
            "503": _answer("The event cannot be accepted now.", _ERROR, _AGAIN),
        },
    }


def _streaming(security: dict[str, Any]) -> dict[str, Any]:
    lines = {"application/x-ndjson": {"schema": {"type": "string"}}}
    return {
        "operationId": "send_lines",
        "summary": "Accept one event per line, each named by its own `event`",
        "description": "In place of `-`, an event's name is for all lines. The answer has a line for each of them: "
        "`line`, and `event_id` or `error`. The valid lines are accepted together.",
        "requestBody": {"required": True, "content": lines},
        "responses": {
            "202": {"description": "The events of all valid lines are durable.", "content": lines},
            "400": {"description": "No line is valid.", "content": {**lines, "application/json": {"schema": _ERROR}}},
            **security,
            "404": _answer("There is no such event.", _ERROR),
            "413": _answer("The body is larger than 1 MiB.", _ERROR),
            "503": _answer("The events cannot be accepted now.", _ERROR, _AGAIN),
        },
    }


def _read(name: str, summary: str, kind: str, security: dict[str, Any]) -> dict[str, Any]:
    answers = {
        "200": {"description": summary, "content": {kind: {"schema": {}}}},
        "503": _answer("The queue cannot be read.", _ERROR, _AGAIN),
    }
    return {"operationId": name, "summary": summary, "responses": {**answers, **security}}


def _answer(description: str, content: dict[str, Any], headers: dict[str, Any] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"description": description, "content": {"application/json": {"schema": content}}}
    return found | ({"headers": headers} if headers else {})


def _payload(name: str) -> dict[str, Any]:
    """The schema of what a client sends: of the body, without what `ark` fills in."""
    found = schema(name)
    found["required"] = [field for field in found["required"] if field not in _FILLED]
    parts = found.pop("$defs")
    return {key: _inlined(value, parts) for key, value in found.items() if key != "$schema"}


def _inlined(part: Any, known: dict[str, Any]) -> Any:
    """A schema with each reference replaced by what it names: a reference cannot reach into another document part."""
    if isinstance(part, list):
        return [_inlined(one, known) for one in part]
    if not isinstance(part, dict):
        return part
    named = known[part["$ref"].rpartition("/")[2]] if "$ref" in part else {}
    whole = {**named, **{name: value for name, value in part.items() if name != "$ref"}, **_time(part)}
    return {name: _inlined(value, known) for name, value in whole.items()}


def _time(part: dict[str, Any]) -> dict[str, Any]:
    """In place of a pattern for times, the format that tools know. A pattern does not say which days a month has."""
    pattern = part.get("pattern")
    if pattern not in (UTC_TIME, ISO_8601):
        return {}
    return {"format": "date-time", "pattern": "Z$" if pattern == UTC_TIME else "T"}
