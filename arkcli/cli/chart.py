"""One-line charts: a destination's last hour, and how long its attempts took."""

from collections.abc import Sequence
from typing import Final

from arkcli.actions import stats
from arkcli.actions.reading import Reading
from arkcli.model import Destination
from arkcli.output.screen import Painted

_SLOTS: Final = 12
_LENGTH: Final = 5 * 60_000
#: Bytes read from the end of a journal for a chart: about a thousand attempts.
_TAIL: Final = 256 * 1024
_BARS: Final = "▁▂▃▄▅▆▇█"


def last_hour(reading: Reading, destination: Destination, now: int) -> tuple[Painted, str] | None:
    """Twelve bars of five minutes each, and the counts. A bar's height is the number of attempts. It is green if none
    failed, yellow if some did, red if half of them or more did.

    If the hour has more attempts than are read, `?` replaces unknown bars, and `+` follows the counts. None if the
    attempts cannot be read.
    """
    found = reading.recent(destination, _TAIL)
    if found is None:
        return None
    hour = stats.recent(found, now, _SLOTS, _LENGTH)
    return drawn(hour.slots, hour.known)


def drawn(slots: Sequence[stats.Slot], known: int = _SLOTS) -> tuple[Painted, str]:
    """The chart and the counts of these slots, of which the last `known` are known."""
    highest = max(slot.delivered + slot.failed for slot in slots)
    pieces = [_bar(slot, highest) for slot in slots]
    failed = sum(slot.failed for slot in slots)
    made = failed + sum(slot.delivered for slot in slots)
    unknown = max(len(slots) - known, 0)
    more = "+" if unknown else ""
    noun = "attempt" if (made, unknown) == (1, 0) else "attempts"
    said = f"{made:,}{more} {noun}" + (f", {failed:,}{more} failed" if failed else "")
    return Painted([*([("?", "dim")] * unknown), *pieces[unknown:]]), said


def latencies(counts: list[int]) -> Painted:
    """A bar for each of these counts, one after another; its height is its share of the largest."""
    highest = max(counts)
    return Painted([_filled(count, highest, "cyan") for count in counts])


def _bar(slot: stats.Slot, highest: int) -> tuple[str, str]:
    count = slot.delivered + slot.failed
    style = "green" if not slot.failed else "yellow" if slot.failed * 2 < count else "red"
    return _filled(count, highest, style)


def _filled(count: int, highest: int, style: str) -> tuple[str, str]:
    return (_BARS[(count * len(_BARS) - 1) // highest], style) if count else ("·", "dim")
