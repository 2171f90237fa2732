"""Idle libcurl handles, of all destinations: kept while they are worth their memory.

A handle that has sent something takes about 20 KB. While libcurl keeps its destination's connection, too, it saves
preparing another one (40 µs); without a connection it saves little of what a delivery costs.
"""

from operator import attrgetter
from typing import TYPE_CHECKING
from weakref import ref

if TYPE_CHECKING:
    from arkcli.wire.transfer import Transfer


class Handles(list["Transfer"]):
    """The idle handles of one destination. They are in reference cycles, so they would be freed late by themselves."""

    def __init__(self) -> None:
        """Has none yet."""
        super().__init__()
        #: How many there are, including those under way; and when one was last used (seconds since 1970).
        self.made = 0
        self.used_at = 0

    def close(self) -> None:
        """Closes the idle ones. libcurl may keep their connections."""
        self.made -= len(self)
        while self:
            self.pop().curl.close()

    def __del__(self) -> None:
        self.close()


class Stock:
    """The handles of all destinations of a wire. At most as many are idle as connections are kept."""

    def __init__(self, most: int) -> None:
        """At most `most` handles stay idle, at least 1."""
        self._most = most
        self._known: list[ref[Handles]] = []
        self._made = 0

    def add(self, handles: Handles) -> None:
        """Call this before a handle is made for a destination. Closes others if there are too many."""
        if self._made * 2 >= self._most:
            self._thin_out()
        if not handles.made:
            self._known.append(ref(handles))
        handles.made += 1
        self._made += 1

    def _thin_out(self) -> None:
        """Halves the idle handles if as many again may be made before this is called next; the longest unused go."""
        present = [handles for known in self._known if (handles := known()) is not None]
        present.sort(key=attrgetter("used_at"))
        idle = sum(map(len, present))
        for handles in present:
            if idle * 2 <= self._most:
                break
            idle -= len(handles)
            handles.close()
        self._known = [ref(handles) for handles in present if handles.made]
        self._made = 0
