"""Sets values in a payload and leaves every other byte as it was: `ark send --set PATH=VALUE`."""

import json
import re
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

import msgspec

from arkcli.contract import complaints
from arkcli.contract.bodies import TOO_DEEP, check_depth, check_object, half_a_pair
from arkcli.errors import PayloadError, UsageError
from arkcli.text import pattern

#: `.key`, `[0]`, or any key as a JSON string: `["a.b"]`.
_STEP: Final = r'\.([^.\[\]=]+)|\[(\d{1,9})\]|\[("(?:[^"\\]|\\.)*")\]'
_STEPS: Final = pattern(_STEP)
_PATH: Final = pattern(rf"(?:{_STEP})+")
_ASSIGNMENT: Final = pattern(rf"(?P<path>(?:{_STEP})+)=(?P<value>.*)", re.DOTALL)
_SPACE: Final = pattern(r"[ \t\r\n]*")
#: Finds where a value ends. It keeps numbers as strings, so they may have any length.
_reader: Final = json.JSONDecoder(parse_int=str, parse_float=str)


#: Keys and indices that lead to a value. A key of digits may be an index.
Path = tuple[str | int, ...]


class Assignment(NamedTuple):
    """A value as JSON, and the path to its place."""

    path: Path
    value: str


class _Item(NamedTuple):
    """A value in an object (with its key) or in a list, and its position in the JSON text."""

    key: str | None
    begin: int
    end: int


def parse(text: str) -> Assignment:
    """Parses `PATH=VALUE`. VALUE is JSON if it parses, else a string. Raises UsageError."""
    match = _ASSIGNMENT.fullmatch(_rooted(text))
    try:
        if match is None:
            raise ValueError(text)
        path = _steps(match["path"])
    except ValueError:
        shown = complaints.excerpt(text.encode("utf-8", "replace"))
        raise UsageError(
            f"--set takes PATH=VALUE, as in signal.icp_score=87 or plays[0].name=Hiring, not {shown!r}"
        ) from None
    try:
        return Assignment(path, _to_json(match["value"]))
    except UnicodeEncodeError:
        raise UsageError(f"--set {match['path'].removeprefix('.')}: the value is not UTF-8") from None


def parse_path(text: str) -> Path:
    """Parses a path as in `--set`. Raises UsageError."""
    try:
        if not _PATH.fullmatch(_rooted(text)):
            raise ValueError(text)
        return _steps(_rooted(text))
    except ValueError:
        shown = complaints.excerpt(text.encode("utf-8", "replace"))
        raise UsageError(f"expected a path, as in signal.id or plays[0].id, got {shown!r}") from None


def _rooted(text: str) -> str:
    rooted = re.sub(r"^\$(?=[.\[])", "", text)
    return rooted if rooted.startswith((".", "[")) else f".{rooted}"


def _steps(path: str) -> Path:
    """Raises ValueError if a key is not valid JSON or UTF-8."""
    steps = tuple(key or (json.loads(quoted) if quoted else int(index)) for key, index, quoted in _STEPS.findall(path))
    "".join(map(str, steps)).encode()
    return steps


def _to_json(value: str) -> str:
    encoded = value.encode()
    check_depth(encoded)
    try:
        msgspec.json.decode(encoded, type=msgspec.Raw)
    except RecursionError:
        raise PayloadError(TOO_DEEP) from None
    except msgspec.MsgspecError:
        if half := half_a_pair(encoded):
            raise UsageError(f"--set: {half}") from None
        return msgspec.json.encode(value).decode()
    return value


def put(payload: bytes, assignments: Sequence[Assignment]) -> bytes:
    """The payload after the assignments, applied in order. Everything they do not name keeps its spelling.

    Creates missing objects and lists along a path. Raises PayloadError, which names the place, if a path does not fit
    the values in the payload, or if the payload is not a JSON object.
    """
    check_object(payload)
    text = payload.decode()
    try:
        for assignment in assignments:
            text = _put(text, assignment)
    except RecursionError:
        raise PayloadError(TOO_DEEP) from None
    return text.encode()


def without(payload: bytes, keys: Collection[str]) -> bytes:
    """A JSON object without these keys of its own. Everything else keeps its spelling."""
    check_object(payload)
    text = payload.decode()
    begin = _past_space(text, 0)
    items, _ = _items(text, begin)
    ends = [begin + 1, *(item.end for item in items)]
    members = zip(ends, items, strict=False)
    kept = [text[before : item.end].lstrip(" \t\r\n,") for before, item in members if item.key not in keys]
    return f"{text[: begin + 1]}{','.join(kept)}{text[ends[-1] :]}".encode()


def _put(text: str, assignment: Assignment) -> str:
    begin, end = _past_space(text, 0), len(text)
    for depth, step in enumerate(assignment.path):
        bracket = text[begin]
        items, inside = _items(text, begin) if bracket in "{[" else ([], begin)
        found = _find(items, bracket, step)
        if found is not None:
            _, begin, end = found
        elif _may_follow(items, bracket, step):
            grown = ("," if items else "") + _made(assignment, depth, bracket)[1:-1]
            return text[:inside] + grown + text[inside:]
        else:
            got = complaints.excerpt(text[begin:end].strip().encode())
            place = shown(assignment.path[:depth])
            raise PayloadError(f"{place}: expected {_wanted(bracket, step)} to put {step!r} into, got {got}")
    return text[:begin] + assignment.value + text[end:]


def _items(text: str, begin: int) -> tuple[list[_Item], int]:
    """The items of an object or a list, and where the last one ends (if empty: where the first would begin)."""
    items: list[_Item] = []
    position = _past_space(text, begin + 1)
    while text[position] not in "}]":
        key = None
        if text[begin] == "{":
            key, position = _reader.raw_decode(text, position)
            position = _past_space(text, _past_space(text, position) + 1)
        _, end = _reader.raw_decode(text, position)
        items.append(_Item(key, position, end))
        position = _past_space(text, end)
        if text[position] == ",":
            position = _past_space(text, position + 1)
    return items, items[-1].end if items else begin + 1


def _past_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _find(items: list[_Item], bracket: str, step: str | int) -> _Item | None:
    if bracket == "{":
        # If a key appears twice, readers take the last one.
        return next((item for item in reversed(items) if item.key == step), None)
    index = index_of(step)
    return items[index] if index is not None and index < len(items) else None


def _may_follow(items: list[_Item], bracket: str, step: str | int) -> bool:
    return isinstance(step, str) if bracket == "{" else bracket == "[" and index_of(step) == len(items)


def _made(assignment: Assignment, depth: int, bracket: str) -> str:
    """A new object or list (as `bracket` says) with the rest of the path, from `depth` on, and the value."""
    step, made = assignment.path[depth], assignment.value
    if depth + 1 < len(assignment.path):
        inner = "{" if index_of(assignment.path[depth + 1]) is None else "["
        if inner == "[" and index_of(assignment.path[depth + 1]) != 0:
            place = shown(assignment.path[: depth + 1])
            raise PayloadError(f"{place}: there is no list yet; a new list begins at [0]")
        made = _made(assignment, depth + 1, inner)
    return f"{{{msgspec.json.encode(step).decode()}:{made}}}" if bracket == "{" else f"[{made}]"


def index_of(step: str | int) -> int | None:
    """The index that a step may be; None if it can only be a key."""
    if isinstance(step, int):
        return step
    return int(step) if step.isascii() and step.isdigit() and len(step) < 10 else None


def _wanted(bracket: str, step: str | int) -> str:
    index = index_of(step)
    if index is None:
        return "an object"
    return f"a list of at least {index}" if bracket == "[" else "a list"


def shown(path: Sequence[str | int]) -> str:
    """A path as messages show it: `$.plays[0].name`."""
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
