"""Words for people, and text from outside made harmless: what a receiver answered must not drive a terminal."""

import re
from typing import Final

_HARMFUL: Final = re.compile(
    "["
    # C0 and C1 control characters, and what ends a line or a paragraph.
    r"\x00-\x1f\x7f-\x9f\u2028\u2029"
    # Marks that override the direction of text.
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
    # What is not seen at all: joined words, annotations, tags that spell hidden text.
    r"\u200b\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"
    # Halves of characters, which no terminal takes: bytes that were not UTF-8.
    r"\ud800-\udfff"
    "]+"
)


def is_harmless(text: str) -> bool:
    """Whether a terminal may be given the text as it is: lines, tabs, and nothing that could mislead."""
    return all(_HARMFUL.search(piece) is None for piece in re.split(r"[\n\t]", text))


def clean(text: str) -> str:
    """The text on one line, with each run of what could mislead a terminal or its reader as one space."""
    return text.strip() if text.isprintable() else _HARMFUL.sub(" ", text).strip()


def clean_lines(text: str) -> str:
    """The same line by line, indentation kept."""
    return "\n".join(line[: len(line) - len(line.lstrip(" "))] + clean(line) for line in text.splitlines())


def counted(number: int, one: str, several: str | None = None) -> str:
    """So many things: `1 line`, `2,000 lines`. `several` is the plural where it is not `one` with an s."""
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"


def process_ending(status: int | None) -> str:
    """How a process ended, whose exit status (below 0: the signal that killed it) is this."""
    return f"was killed by signal {-status}" if status is not None and status < 0 else f"ended with {status}"
