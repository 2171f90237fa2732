"""Which destinations a drain claims, so that any number of drains share them. Pure; docs/internals.md, section 9.

A drain holds at most its equal part of the destinations that have something due, and gives back what is above it. A
destination that nobody held in two looks may be taken by anybody: not every drain may have it, such as one with `--to`.

Where there are more destinations than may be held at once, those that have had a turn make room for those that wait.
Destinations that have not answered in this run get three quarters of the room together, so that those which answer
do not wait for those which hang.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Final

#: How long a destination is left alone that somebody else had when it was tried, in seconds.
_BUSY_FOR: Final = 0.15
#: How long a destination is held while others wait for their turn, in seconds.
_TURN: Final = 1.0
#: How long one is kept that was taken above the equal part, since nobody else did. Seconds.
_KEPT: Final = 5.0
#: In how many looks in a row nobody may have had a destination, until it is taken above the equal part.
_LOOKS: Final = 2
#: Of how many destinations to ask at a look whether anybody has them.
_ASKED: Final = 16


class Shares:
    """What one drain knows of the destinations and of who has them. Times are seconds of a monotonic clock."""

    def __init__(self, capacity: int) -> None:
        """`capacity` is how many destinations may be held at once."""
        self._capacity = capacity
        #: Since when each of those is held that this drain has, and until when it may keep those above its part.
        self._held: dict[str, float] = {}
        self._kept_until: dict[str, float] = {}
        #: Those of them that it was told to release, and has not yet.
        self._going: set[str] = set()
        #: When each destination was tried or held last.
        self._turns: dict[str, float] = {}
        self._busy_until: dict[str, float] = {}
        self._free_looks: dict[str, int] = {}
        self._answering: Collection[str] = ()
        self._part = 0
        self._waiting: list[str] = []

    def look(self, due: Iterable[str], drains: int, answering: Collection[str] = ()) -> None:
        """Takes in which destinations may have something due, beside those that are held, and how many drains run, this
        one included.

        `answering` are those that answered their last attempt in this run.
        """
        self._answering = answering
        self._waiting = [found for found in due if found not in self._held]
        self._waiting.sort(key=lambda found: self._turns.get(found, 0.0))
        self._part = -(-(len(self._held) + len(self._waiting)) // drains)
        for gone in self._free_looks.keys() - set(self._waiting):
            del self._free_looks[gone]

    @property
    def waiting(self) -> Sequence[str]:
        """Those that may have something due and are not held, as of the last look; first whose turn is longest ago."""
        return self._waiting

    def _silent_room(self) -> int:
        """How many more may be held of those that have not answered."""
        if self._capacity >= self._part:
            return len(self._waiting)
        return max(self._capacity * 3 // 4, 1) - sum(found not in self._answering for found in self._held)

    def to_claim(self, now: float) -> tuple[list[str], int]:
        """Which destinations to try, in order, and how many of them to claim at most."""
        room = min(self._part, self._capacity) - len(self._held)
        if room <= 0:
            return [], 0
        silent_room = self._silent_room()
        ids = []
        for found in self._waiting:
            if self._busy_until.get(found, 0.0) > now:
                continue
            if found not in self._answering:
                silent_room -= 1
                if silent_room < 0:
                    continue
            ids.append(found)
        return ids, room

    def to_ask(self) -> list[str]:
        """The destinations of which it is worth asking whether anybody has them: a few at a look."""
        spare = self._capacity - len(self._held)
        return self._waiting[: min(spare, _ASKED)] if len(self._held) >= self._part else []

    def free(self, destination_id: str, now: float, *, is_free: bool) -> bool:
        """Takes in whether somebody has a destination, and tells whether to take it above the equal part."""
        looks = self._free_looks.get(destination_id, 0) + 1 if is_free else 0
        self._free_looks[destination_id] = looks
        if not is_free:
            # It is asked for again when the others have been.
            self._turns[destination_id] = now
        return looks >= _LOOKS

    def tried(self, tried: Iterable[str], claimed: Collection[str], now: float, *, above: bool = False) -> None:
        """Takes in which of the destinations that were tried are held now."""
        for found in tried:
            self._turns[found] = now
            if found in claimed:
                self._held[found] = now
                self._busy_until.pop(found, None)
                self._free_looks.pop(found, None)
                if above:
                    self._kept_until[found] = now + _KEPT
            else:
                self._busy_until[found] = now + _BUSY_FOR
        self._waiting = [found for found in self._waiting if found not in claimed]

    def released(self, destination_id: str, now: float) -> None:
        """Takes in that a destination is not held any more."""
        self._held.pop(destination_id, None)
        self._kept_until.pop(destination_id, None)
        self._going.discard(destination_id)
        self._turns[destination_id] = now

    def to_release(self, now: float, in_flight: Collection[str]) -> list[str]:
        """Those held above the equal part, and those whose turn is over while others wait for room; each once."""
        # Those that have nothing under way go first, and of the others those that have been held for the longest time.
        order = sorted(self._held.keys() - self._going, key=lambda found: (found in in_flight, self._held[found]))
        if self._capacity < self._part:
            going = self._over(now, order)
        else:
            surplus = len(order) - self._part
            going = [found for found in order if self._kept_until.get(found, 0.0) <= now][: max(surplus, 0)]
        self._going.update(going)
        return going

    def _over(self, now: float, order: Sequence[str]) -> list[str]:
        """Those whose turn is over, as far as others wait for it: first those that have not answered."""
        past = [found for found in order if self._held[found] + _TURN <= now]
        silent = [found for found in past if found not in self._answering][: len(self._waiting)]
        waiting = sum(found in self._answering for found in self._waiting)
        wanted = waiting + min(len(self._waiting) - waiting, max(self._silent_room(), 0))
        answering = [found for found in past if found in self._answering][: max(wanted - len(silent), 0)]
        return silent + answering
