"""Changes a TOML document written by hand, keeping its comments, order and layout. Pure.

Only the table that changes goes through tomlkit, which is slow. Every other byte stays as it is.
"""

import re
from itertools import pairwise
from typing import Any, Final

from arkcli.text import pattern

#: Tables as plain values: each of SINGLE by its name (empty where absent), then the destinations by id, in order.
Tables = dict[str, dict[str, Any]]

SINGLE: Final = ("workspace", "queue", "network", "alerts")
_LIST: Final = "destinations"
#: The header of a table (`sub`: of one within it), a comment, a string or another word.
_words: Final = pattern(
    r'^[ \t]*\[+[ \t]*(["\']?)(?P<name>workspace|queue|network|alerts|destinations)\1[ \t]*(?:\]|(?P<sub>\.))'
    r'|(?P<comment>#[^\n]*)|"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|[^\s"\'#]+',
    re.DOTALL | re.MULTILINE,
)
#: Blank lines, then the comments directly above what follows.
_above: Final = pattern(r"(?:^[ \t]*\r?\n)*(?:^[ \t]*#[^\n]*\n)*\Z", re.MULTILINE)


def pointer(url: str) -> str:
    """A document that only says which database has the queue and all settings."""
    import tomli_w

    return tomli_w.dumps({"version": 1, "queue": {"url": url}})


def edited(text: str, was: Tables, now: Tables) -> str:
    """The document changed from `was` to `now`. Removing a table also removes the comments directly above it.

    Decode the result and compare it: not every layout is supported. Raises ValueError, TypeError and LookupError.
    """
    import tomli_w

    headers = [found for found in _words.finditer(text) if found["name"] and not found["sub"]]
    pieces = [text[begin:end] for begin, end in pairwise([0, *(found.start() for found in headers), len(text)])]
    listed = [key for key in was | now if key not in SINGLE]
    # Backwards, because removing an item from an array moves those after it.
    for key in [*reversed(was), *(key for key in now if key not in was)]:
        before, after = was.get(key, {}), now.get(key)
        if before == after:
            continue
        name, index = (key, 0) if key in SINGLE else (_LIST, listed.index(key))
        places = [place for place, found in enumerate(headers, 1) if found["name"] == name]
        # Above all headers, the table is written as `name = …` or `name.key = …`.
        if not places and re.search(rf"^\s*[\"']?{name}\b", pieces[0], re.MULTILINE):
            pieces[0] = _changed(pieces[0], name, index, before, after)
        elif not before and (key not in was or not places):
            table = tomli_w.dumps({name: after})
            table = "[" + table.replace("]", "]]", 1) if name == _LIST else table
            gap = "\n" if pieces[-1].endswith("\n") else "\n\n"
            pieces.append((gap + table).replace("\n", "\r\n" if "\r\n" in pieces[0] else "\n"))
        elif after is None:
            above, below = _split(pieces[places[index] - 1])
            pieces[places[index] - 1] = above + _above.sub("", below)
            pieces[places[index]] = _split(pieces[places[index]])[1]
        else:
            pieces[places[index]] = _changed(pieces[places[index]], name, 0, before, after)
    return "".join(pieces)


def _split(piece: str, end: int | None = None) -> tuple[str, str]:
    """Splits a piece after its last line that is not blank or a comment, or the last such line before `end`."""
    words = _words.finditer(piece, 0, len(piece) if end is None else end)
    last = max((found.end() for found in words if not found["comment"]), default=0)
    end = piece.find("\n", last) + 1 or len(piece)
    return piece[:end], piece[end:]


def _changed(piece: str, name: str, index: int, was: dict[str, Any], now: dict[str, Any] | None) -> str:
    """A piece with a table changed, removed (`now` is None) or added (`was` is empty)."""
    import tomlkit

    sub = next((found.start() for found in _words.finditer(piece) if found["sub"]), None)
    body, below = _split(piece, sub if now and was.get("headers") == now.get("headers") else None)
    document: Any = tomlkit.parse(body.replace("\r\n", "\n").removesuffix("\n") + "\n")
    if now is None:
        del document[name][index]
    elif name == _LIST and not was:
        document[name].append(now)
    else:
        _put(document[name][index] if name == _LIST else document[name], was, now)
    text = tomlkit.dumps(document)
    return (text.replace("\n", "\r\n") if "\r\n" in body else text) + below


def _put(table: Any, was: dict[str, Any], now: dict[str, Any]) -> None:
    # Remove keys last: tomlkit loses count of dotted keys after a removal.
    for key in now | was:
        if was.get(key) == now.get(key):
            continue
        if isinstance(now.get(key), dict) and key in table:
            _put(table[key], was.get(key, {}), now[key])
        elif key in now or was[key] is True:
            # Write false instead of removing the line: it may have a comment that says why.
            table[key] = now.get(key, False)
        else:
            del table[key]
