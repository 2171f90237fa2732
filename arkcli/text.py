"""Text for people, and text from outside made safe: a receiver's answer must not control a terminal."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, AnyStr, Final, cast


class _Pattern:
    def __init__(self, source: Any, flags: int) -> None:
        self._source = source
        self._flags = flags

    def __getattr__(self, name: str) -> Any:
        compiled = re.compile(self._source, self._flags)
        # From now on as fast as the compiled pattern's own methods.
        for method in ("fullmatch", "match", "search", "findall", "finditer", "sub"):
            setattr(self, method, getattr(compiled, method))
        return getattr(compiled, name)


def pattern(source: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """A regular expression that is compiled when it is first used. A command uses few of all that its modules have."""
    return cast("re.Pattern[AnyStr]", _Pattern(source, flags))


_HARMFUL: Final = pattern(
    "["
    # C0 and C1 control characters, line and paragraph separators.
    r"\x00-\x1f\x7f-\x9f\u2028\u2029"
    # Marks that override the direction of text.
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
    # Invisible characters: word joiners, annotations, tags that spell hidden text.
    r"\u200b\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"
    # Surrogates, which no terminal accepts: they come from bytes that were not UTF-8.
    r"\ud800-\udfff"
    "]+"
)


def is_harmless(text: str) -> bool:
    """Whether the text is safe to print as it is: it may have newlines and tabs, but nothing that could mislead."""
    return all(_HARMFUL.search(piece) is None for piece in re.split(r"[\n\t]", text))


def clean(text: str) -> str:
    """The text on one line. Each run of characters that could mislead a terminal or its reader becomes one space."""
    return text.strip() if text.isprintable() else _HARMFUL.sub(" ", text).strip()


def clean_lines(text: str) -> str:
    """Like `clean`, line by line; keeps the indentation."""
    return "\n".join(line[: len(line) - len(line.lstrip(" "))] + clean(line) for line in text.splitlines())


def escaped(text: str) -> str:
    """The text with each character that could mislead, newlines included, as Python's escape sequence for it."""
    return _HARMFUL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def columns_of(text: str) -> int:
    """How many columns a terminal needs for one line of text: East Asian wide characters take two."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(char) else 1 + (east_asian_width(char) in "WF") for char in text)


def folded(text: str, width: int, indent: str = "") -> str:
    """The text with line breaks between words, so that no line is wider than `width` columns, unless a word is.

    A word stays whole, so that an id or a URL can be copied, and so does a command in backticks that fits a line.
    `indent` begins each line but the first.
    """

    def whole(found: re.Match[str]) -> str:
        return found[0].replace(" ", "\0") if columns_of(found[0]) <= width - len(indent) else found[0]

    lines = []
    for paragraph in re.sub("`[^`\n]*`", whole, text).split("\n"):
        line = ""
        for number, word in enumerate(paragraph.split(" ")):
            if number and line.strip() and columns_of(line) + 1 + columns_of(word) > width:
                lines.append(line)
                line = indent + word
            else:
                line += f" {word}" if number else word
        lines.append(line)
    return "\n".join(line.rstrip(" ") for line in lines).replace("\0", " ")


def counted(number: int, one: str, several: str | None = None) -> str:
    """Formats a count with its noun: `1 line`, `2,000 lines`. `several` is the plural if it is not `one` with an s."""
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"


def listed(names: Sequence[str], most: int = 3) -> str:
    """`a, b and c`; of more names, the first few, and how many more there are."""
    if len(names) <= most:
        return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
    return f"{', '.join(names[:most])} and {len(names) - most:,} more"


def process_ending(status: int | None) -> str:
    """Describes how a process ended. `status` is its exit status, or minus the signal that killed it."""
    return f"was killed by signal {-status}" if status is not None and status < 0 else f"ended with {status}"


#: How many destinations one sentence names at most.
_NAMED: Final = 10


def left_out(reasons: Mapping[str, str]) -> list[str]:
    """Says which destinations are left out, in a sentence for each reason. `reasons` are by name."""
    names: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        names.setdefault(reason, []).append(name)
    return [
        f"{listed(found, _NAMED)} {'is' if len(found) == 1 else 'are'} left out: {reason}"
        for reason, found in names.items()
    ]
