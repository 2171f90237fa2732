"""Making text from outside harmless: what a receiver answered must not drive a terminal."""

import re
from typing import Final

#: C0 and C1 control characters, and the marks that override the direction of text.
_HARMFUL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


def clean(text: str) -> str:
    """The text on one line, with each run of control characters and direction overrides as one space."""
    return text.strip() if text.isprintable() else _HARMFUL.sub(" ", text).strip()
