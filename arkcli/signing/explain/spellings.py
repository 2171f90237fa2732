"""Other spellings of the same JSON: how a signed body may have looked before somebody parsed it."""

import json
import re
from collections.abc import Callable, Iterator
from functools import cache, lru_cache, partial
from itertools import product
from typing import Any, Final

_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[^\s",:{}\[\]]+|[,:{}\[\]]')
_NO_BRACKET: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[^"\[\]{}]+')
#: The deepest nesting that is examined, so that recursion stays within Python's limit.
_DEEPEST: Final = 100
_STRING_OR_NUMBER: Final = re.compile(r'("(?:[^"\\]|\\.)*")|(-?[0-9][0-9.eE+-]*)')
#: Escapes other than \\uXXXX.
_SHORT: Final = {**{character: json.dumps(character)[1:-1] for character in '"\\\b\f\n\r\t'}, "/": r"\/"}
#: json reads and writes numbers as strings that begin with this, so that they keep their spelling.
_NUMBER: Final = "\ufdd0"

#: The order in which Signal Ark's documentation shows the fields (contract, "Body").
ORDER: Final = (
    *("event", "timestamp", "batchId", "signal", "engagement", "account", "plays"),
    *("id", "signal_name", "source", "source_url", "detected_at", "description", "icp_score", "why_now"),
    *("name", "domain"),
    *("platform", "engagement_type", "engager_name", "engager_title", "engager_company", "engager_profile_url"),
    *("company_domain", "engagement_content", "post_content", "post_url", "engagement_date", "warmth_score"),
)
_PLACE: Final = {key: place for place, key in enumerate(ORDER)}


def parsed(body: bytes) -> Any:
    """The body as a JSON object or list; None if it is neither, or is nested more than _DEEPEST levels deep."""
    try:
        text = body.decode()
        found = json.loads(text, parse_float=_marked, parse_int=_marked, parse_constant=_marked)
    except (ValueError, RecursionError):
        return None
    brackets = _NO_BRACKET.sub("", text).replace("{", "[").replace("}", "]")
    for _ in range(_DEEPEST):
        brackets = brackets.replace("[]", "")
    return found if isinstance(found, dict | list) and not brackets else None


def _marked(number: str) -> str:
    return _NUMBER + number


# Layouts: how tokens are joined.


def _compact(tokens: list[str]) -> str:
    return "".join(tokens)


def _spaced(tokens: list[str]) -> str:
    return "".join(map({",": ", ", ":": ": "}.get, tokens, tokens))


def _indented(indent: str) -> Callable[[list[str]], str]:
    def lay_out(tokens: list[str]) -> str:
        parts: list[str] = []
        depth = 0
        for token, following in zip(tokens, [*tokens[1:], ""], strict=True):
            if token in "{[" and following not in ("}", "]"):
                depth += 1
                parts.append(f"{token}\n{indent * depth}")
            elif token == ",":
                parts.append(f",\n{indent * depth}")
            elif token == ":":
                parts.append(": ")
            elif following in ("}", "]") and token not in "{[":
                depth -= 1
                parts.append(f"{token}\n{indent * depth}")
            else:
                parts.append(token)
        return "".join(parts)

    return lay_out


LAYOUTS: Final[dict[str, Callable[[list[str]], str]]] = {
    "compact (as JSON.stringify writes)": _compact,
    "spaced (as Python's json.dumps writes)": _spaced,
    "indented by 2 (as jq writes)": _indented("  "),
    "indented by 4": _indented("    "),
    "indented by tabs": _indented("\t"),
}


# Strings: which characters are written as escapes.


def _escaping(lower: str, upper: str = "\0") -> Callable[[str], str]:
    """Writes strings as JSON.stringify does, but also escapes characters of `lower` and `upper`, with hex digits in
    lower and upper case.
    """
    escaped, in_upper = re.compile(rf'["\\\x00-\x1f\ud800-\udfff{lower}{upper}]'), re.compile(f"[{upper}]")

    @lru_cache(4096)
    def escape(character: str) -> str:
        is_upper = in_upper.match(character)
        if character in _SHORT and not (is_upper and character == '"'):
            return _SHORT[character]
        digits = character.encode("utf-16-be", "surrogatepass").hex(" ", 2)
        return "\\u" + (digits.upper() if is_upper else digits).replace(" ", "\\u")

    return lambda token: f'"{escaped.sub(lambda found: escape(found[0]), json.loads(token))}"'


#: By the library or language that writes strings so, the most likely first.
STRINGS: Final[dict[str, Callable[[str], str]]] = {
    "JavaScript": _escaping(""),
    "Python": _escaping("\x7f-\U0010ffff"),
    "PHP": _escaping("/\x80-\U0010ffff"),
    "Swift": _escaping("/"),
    "Go and Rails": _escaping("<>&\u2028\u2029"),
    "System.Text.Json (.NET)": _escaping("", "\0-\x1f\"&'+<>`\x7f-\U0010ffff"),
    "Symfony and Laravel (PHP)": _escaping("/\x80-\U0010ffff", "\"&'<>"),
    "Gson (Java)": _escaping("<>&='\u2028\u2029"),
    "PHP with JSON_UNESCAPED_UNICODE": _escaping("/\u2028\u2029"),
    "Go without SetEscapeHTML": _escaping("\u2028\u2029"),
    "Jackson (Java) with ESCAPE_NON_ASCII": _escaping("", "\0-\x1f\x80-\U0010ffff"),
    "Jackson (Java)": _escaping("", "\0-\x1f"),
    ".NET's UnsafeRelaxedJsonEscaping": _escaping("", "\0-\x1f\x7f-\xa0\u2028-\u202f\u3000\U00010000-\U0010ffff"),
}


# Keys: their order.


def _tokens_of(tree: Any, *, sort: bool) -> list[str]:
    tokens = _TOKEN.findall(json.dumps(tree, ensure_ascii=False, sort_keys=sort))
    return [token[2:-1] if token.startswith(f'"{_NUMBER}') else token for token in tokens]


def _documented(tree: Any) -> Any:
    if isinstance(tree, dict):
        keys = sorted(tree, key=lambda key: _PLACE.get(key, len(ORDER)))
        return {key: _documented(tree[key]) for key in keys}
    return [_documented(inner) for inner in tree] if isinstance(tree, list) else tree


def _orders(text: str, tree: Any) -> Iterator[list[str]]:
    yield _TOKEN.findall(text)
    yield _tokens_of(_documented(tree), sort=False)
    yield _tokens_of(tree, sort=True)


def respelled(body: bytes) -> Iterator[bytes]:
    """A JSON object or list in every other known spelling, the most likely first."""
    tree = parsed(body)
    if tree is None:
        return
    text = body.decode()
    used = json.dumps("".join({char for token in _strings_of(text) for char in json.loads(token)}))
    if len(used) > 60_000:  # About 10,000 different characters: no real text has as many, and each takes time.
        return
    # Only one of the writers that spell all characters used here in the same way.
    different = {spell(used): spell for spell in STRINGS.values()}.values()
    strings: list[Callable[[str], str]] = [*([str] if "\\" in text else []), *map(cache, different)]
    for lay_out, tokens, spell in product(LAYOUTS.values(), _orders(text, tree), strings):
        # Tries the unlikely writers only with the most likely layout.
        if lay_out is not _compact and spell in strings[7:]:
            continue
        spelled = [spell(token) if token[0] == '"' else token for token in tokens]
        try:
            yield lay_out(spelled).encode()
        except UnicodeEncodeError:
            # Half a surrogate pair can only be written as an escape.
            continue


def renumbered(body: bytes) -> Iterator[bytes]:
    """The same JSON with numbers spelled differently, one by one and all together."""
    if parsed(body) is None:
        return
    text = body.decode()
    for respell in (_shorter, _without_exponent, _with_fraction):
        yield _STRING_OR_NUMBER.sub(partial(_respell, respell), text).encode()
    numbers = [match for match in _STRING_OR_NUMBER.finditer(text) if match[2]]
    for match in numbers[:32]:
        for respell in (_with_fraction, _shorter):
            yield (text[: match.start()] + respell(match[2]) + text[match.end() :]).encode()


def _respell(respell: Callable[[str], str], match: re.Match[str]) -> str:
    return match[1] or respell(match[2])


def _with_fraction(number: str) -> str:
    return number + ("0" if "." in number else ".0") if "e" not in number.lower() else number


def _shorter(number: str) -> str:
    return number.rstrip("0").rstrip(".") if "." in number and "e" not in number.lower() else number


def _without_exponent(number: str) -> str:
    return repr(float(number)) if "e" in number.lower() else number


def differences(body: bytes, signed: bytes) -> str:
    """How two spellings of the same JSON differ, in words."""
    here, there = body.decode(), signed.decode()
    told = []
    if layout_of(here) != layout_of(there):
        told.append(f"it is {layout_of(here)} here and was {layout_of(there)} when signed")
    if json.dumps(parsed(body)) != json.dumps(parsed(signed)):
        told.append("its keys are in another order")
    strings = _strings_of(there)
    written = (name for name, spell in STRINGS.items() if strings == set(map(spell, strings)))
    if not strings <= _strings_of(here) and (name := next(written, None)):
        told.append(f"the signed body has its strings as {name} writes them")
    return "; ".join(told) or "its characters are escaped differently"


def _strings_of(text: str) -> set[str]:
    return {token for token in _TOKEN.findall(text) if token[0] == '"'}


def layout_of(text: str) -> str:
    """The layout of a JSON text, in words."""
    tokens = _TOKEN.findall(text)
    return next((name for name, lay_out in LAYOUTS.items() if lay_out(tokens) == text.strip()), "laid out by hand")
