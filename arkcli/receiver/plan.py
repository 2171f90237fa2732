"""The planned answers of a receiver, one per request: `503x2,timeout,reset,200`."""

import re
import sys
from collections.abc import Iterator
from itertools import chain, repeat, starmap
from typing import Final

from arkcli.httpd.messages import Silence

_ITEM: Final = re.compile(r"(\w+?)(?:x(\d+))?")

#: An HTTP status, or no answer at all.
Answer = int | Silence


def parse(text: str) -> Iterator[Answer]:
    """The answers in `text`, in order; the last one repeats endlessly. Raises ValueError.

    `text` lists statuses from 200 to 599, `timeout` and `reset`, separated by commas; `x2` after one repeats it.
    """
    *first, (last, _) = [_step(item.strip()) for item in text.split(",")]
    return chain(chain.from_iterable(starmap(repeat, first)), repeat(last))


def _step(item: str) -> tuple[Answer, int]:
    found = _ITEM.fullmatch(item)
    word, times = found.groups() if found else ("", None)
    # The largest count that `repeat` accepts.
    count = min(int(times or 1), sys.maxsize)
    if not count:
        raise ValueError(f"{item!r} repeats an answer 0 times; leave it out, or give a count as in 503x2")
    if word in set(Silence):
        return Silence(word), count
    if not re.fullmatch(r"[2-5]\d\d", word, re.ASCII):
        raise ValueError(
            f"{item!r} is not an answer; write a status from 200 to 599, timeout or reset, like 503x2,timeout,reset,200"
        )
    return int(word), count
