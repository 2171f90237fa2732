"""Messages about invalid bodies, which name the place: `$.signal.icp_score: expected …, got …`."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw

from arkcli.text import pattern

_AT: Final = pattern(r"^(?P<problem>.*?)(?: - at `(?P<path>\$.*)`)?$", re.DOTALL)
_MISSING: Final = pattern(r"Object missing required field `(?P<field>.*)`")


def explain(kind: type[msgspec.Struct], message: str, body: bytes) -> str:
    """A validator's message about a body of this type, as `place: expected …, got …`."""
    match = _AT.match(message)
    problem, path = (match["problem"], match["path"] or "$") if match else (message, "$")
    if missing := _MISSING.match(problem):
        path = f"{path}.{missing['field']}"
        return f"{path}: required but missing: expected {_description(kind, path) or 'a value'}"
    description = _description(kind, path) or problem
    try:
        got = excerpt(_look_up(msgspec.json.decode(body, type=dict[str, Raw]), path))
    except (msgspec.MsgspecError, LookupError):
        # A key appears twice: the message is about its first value, and the last one has no such place.
        got = "a key that appears twice with different values"
    return f"{path}: expected {description}, got {got}"


def _steps(path: str) -> list[str]:
    return re.findall(r"[^.\[\]$]+", path)


def _look_up(fields: dict[str, Raw], path: str) -> bytes:
    found: Any = fields
    for step in _steps(path):
        if isinstance(found, Raw):
            found = msgspec.json.decode(found, type=list[Raw] if step.isdigit() else dict[str, Raw])
        found = found[int(step) if isinstance(found, list) else step]
    return bytes(found) if isinstance(found, Raw) else b"an object"


def _description(kind: type[msgspec.Struct], path: str) -> str | None:
    """The description of the value at a path, from the types; None if there is none."""
    found = msgspec.inspect.type_info(kind)
    for step in _steps(path):
        found = next(iter(_members(found, step)), msgspec.inspect.AnyType())
    while isinstance(found, msgspec.inspect.Metadata):
        text = (found.extra_json_schema or {}).get("description")
        if text:
            return str(text)
        found = found.type
    return None


def _members(kind: msgspec.inspect.Type, step: str) -> list[msgspec.inspect.Type]:
    return [found for name, found in _parts(kind) if name in (None, step)]


def _parts(kind: msgspec.inspect.Type) -> Iterator[tuple[str | None, msgspec.inspect.Type]]:
    """What a value of a type has: the fields of an object by name, or the items of a list without one."""
    if isinstance(kind, msgspec.inspect.Metadata):
        yield from _parts(kind.type)
    elif isinstance(kind, msgspec.inspect.UnionType):
        yield from (found for option in kind.types for found in _parts(option))
    elif isinstance(kind, msgspec.inspect.ListType):
        yield None, kind.item_type
    elif isinstance(kind, msgspec.inspect.StructType):
        yield from ((field.encode_name, field.type) for field in kind.fields)


def fields(kind: type[msgspec.Struct], path: Sequence[str | int]) -> set[str]:
    """The fields, by name, of the object at a path in a body of this type; none if the type does not list them."""
    found = [msgspec.inspect.type_info(kind)]
    for step in path:
        found = [member for part in found for member in _members(part, str(step))]
    return {name for part in found for name, _ in _parts(part) if name is not None}


def expected(path: str, description: str, found: str) -> str:
    """`place: expected …, got …` for a string value."""
    return f"{path}: expected {description}, got {excerpt(msgspec.json.encode(found))}"


def excerpt(value: bytes) -> str:
    """A JSON value, cut to 78 characters if it has more than 80."""
    text = value.decode("utf-8", "replace")
    return text if len(text) <= 80 else text[:77] + "…"
