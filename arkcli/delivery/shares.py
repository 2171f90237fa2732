"""Which destinations a drain claims, so that any number of drains share them. Pure; docs/internals.md, section 9.

A drain holds at most an equal share of the destinations with due deliveries, and releases what is above it. If nobody
holds a destination at two looks in a row, any drain may take it above its share: the other drains may not be able to,
for example one with `--to`.

If there are more destinations than may be held at once, those that have had their turn make room for those that wait.
Destinations that have not answered in this run get three quarters of the room together, so that those that answer do
not wait for those that hang.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

#: How long to leave a destination alone after it could not be claimed, in seconds.
_BUSY_FOR: Final = 0.15
#: How long to hold a destination while others wait for their turn, in seconds.
_TURN: Final = 1.0
#: How long to keep a destination that was taken above the equal share, in seconds.
_KEPT: Final = 5.0
#: At how many looks in a row a destination must be free before it is taken above the equal share.
_LOOKS: Final = 2
#: How many destinations to try at once, besides two for each that may be claimed. Those tried come last next time.
_MORE: Final = 64
#: For how many destinations to ask, at each look, whether anybody holds them.
_ASKED: Final = 16


class Shares:
    """What one drain knows about the destinations and their holders. Times are seconds of a monotonic clock."""

    def __init__(self, capacity: int) -> None:
        """`capacity` is how many destinations may be held at once."""
        self._capacity = capacity
        #: Since when this drain has held each destination, and until when it may keep those above its share.
        self._held: dict[str, float] = {}
        self._kept_until: dict[str, float] = {}
        #: The held destinations that are to be released but have not been yet.
        self._going: set[str] = set()
        #: When each destination was last tried or held.
        self._turns: dict[str, float] = {}
        self._busy_until: dict[str, float] = {}
        self._free_looks: dict[str, int] = {}
        self._answering: Collection[str] = ()
        self._part = 0
        self._waiting: list[str] = []

    def look(self, due: Iterable[str], drains: int, answering: Collection[str] = ()) -> None:
        """Sets the destinations that may have due deliveries, other than those held, and how many drains run, including
        this one.

        `answering` holds those that answered their last attempt in this run.
        """
        self._answering = answering
        self._waiting = [found for found in due if found not in self._held]
        self._waiting.sort(key=lambda found: self._turns.get(found, 0.0))
        self._part = -(-(len(self._held) + len(self._waiting)) // drains)
        for gone in self._free_looks.keys() - set(self._waiting):
            del self._free_looks[gone]

    @property
    def waiting(self) -> Sequence[str]:
        """Destinations that may have due deliveries and were not held at the last look; the longest wait first."""
        return self._waiting

    def _silent_room(self) -> int:
        """How many more destinations that have not answered may be held."""
        if self._capacity >= self._part:
            return len(self._waiting)
        return max(self._capacity * 3 // 4, 1) - sum(found not in self._answering for found in self._held)

    def to_claim(self, now: float) -> tuple[list[str], int]:
        """Which destinations to try, in order, and how many of them to claim at most."""
        room = min(self._part, self._capacity) - len(self._held)
        return (list(islice(self._free_ones(now), 2 * room + _MORE)), room) if room > 0 else ([], 0)

    def _free_ones(self, now: float) -> Iterator[str]:
        silent_room = self._silent_room()
        for found in self._waiting:
            if self._busy_until.get(found, 0.0) > now:
                continue
            if found not in self._answering:
                silent_room -= 1
                if silent_room < 0:
                    continue
            yield found

    def to_ask(self) -> list[str]:
        """A few destinations for which to ask whether anybody holds them."""
        spare = self._capacity - len(self._held)
        return self._waiting[: min(spare, _ASKED)] if len(self._held) >= self._part else []

    def free(self, destination_id: str, now: float, *, is_free: bool) -> bool:
        """Notes whether a destination is free; returns whether to take it above the equal share."""
        looks = self._free_looks.get(destination_id, 0) + 1 if is_free else 0
        self._free_looks[destination_id] = looks
        if not is_free:
            # Ask for it again only after the others.
            self._turns[destination_id] = now
        return looks >= _LOOKS

    def tried(self, tried: Iterable[str], claimed: Collection[str], now: float, *, above: bool = False) -> None:
        """Notes which of the destinations tried were claimed; `above` the equal share or not."""
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
        """Notes that a destination is not held any more."""
        self._held.pop(destination_id, None)
        self._kept_until.pop(destination_id, None)
        self._going.discard(destination_id)
        self._turns[destination_id] = now

    def to_release(self, now: float, in_flight: Collection[str]) -> list[str]:
        """Held destinations above the equal share, and those whose turn is over while others wait; each only once."""
        # First those without attempts in flight, then those held longest.
        order = sorted(self._held.keys() - self._going, key=lambda found: (found in in_flight, self._held[found]))
        if self._capacity < self._part:
            going = self._over(now, order)
        else:
            surplus = len(order) - self._part
            going = [found for found in order if self._kept_until.get(found, 0.0) <= now][: max(surplus, 0)]
        self._going.update(going)
        return going

    def _over(self, now: float, order: Sequence[str]) -> list[str]:
        """Destinations whose turn is over, at most as many as others need; first those that have not answered."""
        past = [found for found in order if self._held[found] + _TURN <= now]
        silent = [found for found in past if found not in self._answering][: len(self._waiting)]
        waiting = sum(found in self._answering for found in self._waiting)
        wanted = waiting + min(len(self._waiting) - waiting, max(self._silent_room(), 0))
        answering = [found for found in past if found in self._answering][: max(wanted - len(silent), 0)]
        return silent + answering
