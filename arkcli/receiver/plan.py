"""What a receiver answers, one request after the other: `503x2,timeout,reset,200`."""

import re
from collections.abc import Iterable
from typing import Final

from arkcli.httpd.messages import Silence

_ITEM: Final = re.compile(r"(\w+?)(?:x(\d+))?")


#: An HTTP status, or no answer at all.
Answer = int | Silence


class Plan:
    """Answers in their order, the last one for ever."""

    def __init__(self, steps: Iterable[tuple[Answer, int]]) -> None:
        """Each answer is given so many times. Raises ValueError where there is none."""
        self._steps = list(steps)
        if not self._steps:
            raise ValueError("a plan needs an answer")
        self._given = 0

    def next(self) -> Answer:
        """The answer to the next request."""
        answer, times = self._steps[0]
        if len(self._steps) > 1:
            self._given += 1
            if self._given == times:
                self._given = 0
                del self._steps[0]
        return answer


def parse(text: str) -> Plan:
    """The plan that a text means: statuses from 200 to 599, `timeout` and `reset`, separated by commas; `x2` behind
    one says how often. Raises ValueError.
    """
    return Plan(_step(item.strip()) for item in text.split(","))


def _step(item: str) -> tuple[Answer, int]:
    found = _ITEM.fullmatch(item)
    word, times = found.groups() if found else ("", None)
    if times is not None and int(times) == 0:
        raise ValueError(f"{item!r} would never be answered; leave it out, or say how often, like 503x2")
    if word in set(Silence):
        return Silence(word), int(times or 1)
    if not re.fullmatch(r"[2-5]\d\d", word, re.ASCII):
        raise ValueError(
            f"{item!r} is not an answer; write a status from 200 to 599, timeout or reset, like 503x2,timeout,reset,200"
        )
    return int(word), int(times or 1)
