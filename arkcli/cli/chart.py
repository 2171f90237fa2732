"""A destination's last hour as a picture of one line."""

import contextlib
from typing import Final

from arkcli import stats
from arkcli.environment import Environment
from arkcli.model import Destination
from arkcli.output import Painted

_SLOTS: Final = 12
_LENGTH: Final = 5 * 60_000
#: How much of a journal's end is read for it, in bytes: about a thousand attempts.
_TAIL: Final = 256 * 1024
_BARS: Final = "▁▂▃▄▅▆▇█"


def last_hour(environment: Environment, destination: Destination) -> Painted:
    """Twelve bars of five minutes each, as high as there were attempts, red where one failed; and the counts."""
    with contextlib.closing(environment.queue.view(destination.id)) as view:
        attempts = view.recent(_TAIL)
    return drawn(stats.slots(attempts, environment.clock.now(), _SLOTS, _LENGTH))


def drawn(slots: list[stats.Slot]) -> Painted:
    """The picture of these parts of an hour."""
    highest = max(slot.delivered + slot.failed for slot in slots)
    pieces = [_bar(slot, highest) for slot in slots]
    failed = sum(slot.failed for slot in slots)
    made = failed + sum(slot.delivered for slot in slots)
    return Painted([*pieces, (f" {made} made, {failed} failed" if failed else f" {made} made", "")])


def _bar(slot: stats.Slot, highest: int) -> tuple[str, str]:
    count = slot.delivered + slot.failed
    if not count:
        return "·", "dim"
    return _BARS[(count * len(_BARS) - 1) // highest], "red" if slot.failed else "green"
