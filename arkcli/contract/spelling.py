"""Finds a path of `--set` that is probably a known one, misspelled."""

import json
import re
from collections.abc import Iterable
from typing import Any, Final

from arkcli.contract import complaints
from arkcli.contract.assignments import Assignment, index_of, shown
from arkcli.contract.events import EVENTS

#: In a name of at least this length two letters may be wrong; in a shorter one, only one.
_LONG: Final = 5


def doubt(event: str, payload: bytes, assignment: Assignment) -> str | None:
    """A warning if an assignment adds a key whose name is nearly that of a known one in its place; otherwise None.

    Known are the keys in the payload, and the fields of the event's type. A payload that is not JSON raises no doubt.
    """
    try:
        found: Any = json.loads(payload, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return None
    path = assignment.path
    meant = list(path)
    for depth, step in enumerate(path):
        if isinstance(found, list):
            index = index_of(step)
            found = found[index] if index is not None and index < len(found) else None
            continue
        own = found if isinstance(found, dict) else {}
        known = {*own, *complaints.fields(EVENTS[event], meant[:depth]), *(() if depth else ("event",))}
        if isinstance(step, str) and step not in known:
            near = _nearest(step, known)
            if near is None:
                break
            meant[depth] = near
        found = own.get(meant[depth])
    if meant == list(path):
        return None
    return f"`{shown(path)[2:]}` is not in the payload; did you mean `{shown(meant)[2:]}`?"


def _nearest(name: str, known: Iterable[str]) -> str | None:
    letters = set(name)
    # Two wrong letters change a set by four at most. There may be many thousands of keys.
    near = [one for one in known if abs(len(one) - len(name)) <= 2 and len(letters ^ set(one)) <= 4]
    near = sorted(one for one in near if _letters(one) != _letters(name))
    for wrong in (1, 2) if len(name) >= _LONG else (1,):
        for one in near:
            if _is_near(name, one, wrong):
                return one
    return None


def _letters(name: str) -> str:
    """Names that differ in digits only, such as `line_1` and `line_2`, are seldom the same one misspelled."""
    return re.sub(r"\d", "", name)


def _is_near(name: str, known: str, wrong: int) -> bool:
    """Whether at most this many letters are missing, too many, different, or swapped with the next one."""
    letters = enumerate(zip(name, known, strict=False))
    same = next((number for number, (one, other) in letters if one != other), min(len(name), len(known)))
    name, known = name[same:], known[same:]
    if not (name and known and wrong):
        return len(name) + len(known) <= wrong
    rests = [(name[1:], known[1:]), (name[1:], known), (name, known[1:])]
    if name[:2] == known[1::-1]:
        rests.append((name[2:], known[2:]))
    return any(_is_near(*rest, wrong - 1) for rest in rests)
