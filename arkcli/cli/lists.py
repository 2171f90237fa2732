"""What lists show on a terminal: a line of totals, counts in colour, relative times, short answers."""

from collections.abc import Iterable, Sequence
from typing import Final

from arkcli import times
from arkcli.actions import trouble
from arkcli.actions.grouping import short_reason
from arkcli.actions.wording import due, from_now
from arkcli.model import Attempt
from arkcli.output.screen import Painted, Screen
from arkcli.text import counted

#: On a terminal, more destinations than these of which there is nothing to say are one line, and so are more outages.
FEW: Final = 5
#: Something that is due for longer (milliseconds) is shown in red.
_LATE: Final = 300_000
#: The shortest beginning of an id that is shown: no two ids of 100 events accepted in one millisecond begin so.
_BEGINNING: Final = 22


def totals(found: trouble.Sums, screen: Screen) -> list[str]:
    """The lines of totals above a list of destinations, in colours: one if it fits. None above a single destination."""
    if found.destinations <= 1:
        return []
    late = f"{found.overdue:,} overdue for {times.describe_duration(found.longest / 1000)}"
    destinations = [
        (f"{found.failing:,} failing", "red") if found.failing else ("none failing", ""),
        *([(f"{found.unreadable:,} unreadable", "red")] if found.unreadable else []),
        *([(f"{found.paused:,} paused", "")] if found.paused else []),
        *([(late, _style_of(found.longest))] if found.overdue else []),
    ]
    deliveries = [
        (f"{found.waiting:,} waiting", ""),
        (f"{found.retrying:,} retrying", "yellow" if found.retrying else ""),
        (f"{found.dead:,} dead", "red" if found.dead else ""),
    ]
    said = [(f"{counted(found.destinations, 'destination')}:", "")]
    for pieces, end in ((destinations, ";"), (deliveries, "")):
        said += [(text, style) for text, style in pieces]
        ends = [*([","] * (len(pieces) - 1)), end]
        said[-len(pieces) :] = [(text + end, style) for (text, style), end in zip(pieces, ends, strict=True)]
    return _flowed(said, screen)


def _flowed(pieces: Iterable[tuple[str, str]], screen: Screen) -> list[str]:
    """Pieces of text, each with its style, with line breaks only between them."""
    lines: list[list[str]] = [[]]
    used = 0
    for text, style in pieces:
        if lines[-1] and used + 1 + len(text) > screen.width:
            lines.append([])
            used = 0
        used += len(text) + bool(lines[-1])
        lines[-1].append(screen.painted(text, style))
    return [" ".join(line) for line in lines]


def count_cell(count: int, style: str) -> Painted:
    """A number in a table; in a style unless it is 0."""
    return Painted([(f"{count:,}", style if count else "")])


def due_cell(now: int, at: int | None) -> Painted | None:
    """When the next attempt is due, in colour if it is overdue. None if it is not known."""
    return None if at is None else Painted([(due(at, now), _style_of(trouble.lateness(at, now)))])


def last_cell(now: int, last: Attempt | None) -> Painted | None:
    """The last attempt: what came of it, and when."""
    if last is None:
        return None
    style = "" if last.error is None else "red"
    return Painted([(short_reason(last.status, last.error) or "-", style), (f", {from_now(last.at, now)}", "")])


def beginnings(ids: Sequence[str]) -> list[str]:
    """Beginnings of these ids that are different for different ones, and that name an event: all equally long."""
    length = _BEGINNING
    while len({found[:length] for found in ids}) < len(set(ids)):
        length += 1
    return [found[:length] for found in ids]


def percent(share: float) -> str:
    """A share (0 to 1) in percent: 100 % only if it is all, and 0 % only if it is nothing."""
    return f"{share:.0%}".replace("%", " %") if share in (0, 1) else f"{min(max(share * 100, 0.1), 99.9):.1f} %"


def shortened(text: str, width: int) -> str:
    """Both ends of a name or a URL that is longer than `width` characters."""
    return text if len(text) <= width else f"{text[: width - 9]}…{text[-8:]}"


def _style_of(late: int) -> str:
    return "red" if late > _LATE else "yellow" if late else ""
