"""Which lines of the event log are for some destinations only, and how many are for a destination.

Events for everybody are counted by subtraction: each line says how many stand before it, and how many of those have a
`to`. For the others there is an index by destination.
"""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from arkcli.queue.local import lines
from arkcli.queue.local.index import Index, Row
from arkcli.queue.local.lines import Damaged
from arkcli.queue.local.segments import BLOCK_SIZE, Line, Segments
from arkcli.queue.local.stored import Instead

#: The key of all lines that send an event again; no destination has such an id.
_AGAIN: Final = "again"


class Counts(NamedTuple):
    """How many events for everybody, and how many for some, stand before a place in the log."""

    broadcast: int
    addressed: int


class Addressed:
    """The lines of one log that have a `to`. Everything up to the `end` that is asked for must be synced."""

    def __init__(self, directory: Path, segments: Segments, worth: int) -> None:
        """See `Index`."""
        self._segments = segments
        self.index = Index(directory, "addressed", segments, self._scan, worth)
        self._quiet = 0, 0

    def count(self, destination_id: str, begin: int, end: int) -> int:
        """How many events of a stretch are for a destination. What is damaged counts, as far as one can tell.

        Reads a few lines, however many events that is.
        """
        broadcast, _, own = self._counted(destination_id, begin, end)
        return broadcast + own

    def count_once(self, begin: int, end: int) -> int:
        """How many events there are in a stretch, without lines that send one again."""
        broadcast, addressed, again = self._counted(_AGAIN, begin, end)
        return broadcast + addressed - again

    def _counted(self, key: str, begin: int, end: int) -> tuple[int, int, int]:
        """How many lines of a stretch have no `to`, how many have one, and how many of those have a key."""
        before, behind = self._counts(begin, end), self.counts_behind(end)
        broadcast, addressed = (max(there - here, 0) for there, here in zip(behind, before or behind, strict=True))
        return broadcast, addressed, self.index.count(key, begin, end) if addressed else 0

    def replacing(self, destination_id: str, begin: int, end: int) -> Iterator[tuple[int, Instead, int]]:
        """The lines of a stretch that are to take a delivery's place: position, which delivery, `id_sum` of the event.

        No bodies are read.
        """
        key = _replacing(destination_id)
        for _, position, _, more in self.index.rows(key, begin, end) if self._counted(key, begin, end)[2] else ():
            attempt, start, length, event_sum = map(int, more.split(","))
            yield position, (attempt, start, length), event_sum

    def without_broadcast(self, begin: int, end: int) -> int:
        """How far on from a line's start no event is for everybody: the next one is at most a block behind that."""
        if not self._quiet[0] <= begin < self._quiet[1]:
            self._quiet = begin, self._unchanged(begin, end, 0)
        return min(self._quiet[1], end)

    def counts_behind(self, end: int) -> Counts:
        """The counts behind the last line before a position. Damaged lines there count as events for everybody."""
        damaged = 0
        while end > self._segments.start and (line := self._segments.last_line(end)) is not None:
            for text in reversed(lines.pieces(line.text)):
                try:
                    seq, addressed = lines.event_counts(text)
                except Damaged:
                    damaged += 1
                else:
                    return Counts(seq + damaged - addressed, addressed)
            end = line.start
        return Counts(damaged, 0)

    def _counts(self, position: int, end: int) -> Counts | None:
        """The counts at a line's start, or at the first line behind it that can be read; None when there is none."""
        line = self._segments.line_from(position, end)
        if line is None or line.start != position:
            # Several lines may stand in a damaged one.
            block, _ = self._segments.block(position, end)
            line = next((one for one in block if one.is_whole), line)
        return None if line is None else _counts(line)

    def _unchanged(self, begin: int, end: int, which: int) -> int:
        """How far on one of the counts stays what it is at `begin`. Never too far, while the lines count right."""
        first = self._segments.line_from(begin, end)
        known = None if first is None or first.start != begin else _counts(first)
        if known is None:
            return begin
        if self.counts_behind(end)[which] == known[which]:
            return end
        low, high, step = begin, end, BLOCK_SIZE
        while high - low > BLOCK_SIZE:
            # More often than not it is near: so the steps grow, until one was too large.
            middle = min(low + step, (low + high) // 2) if high == end else (low + high) // 2
            step *= 2
            line = self._segments.line_from(middle, high)
            counts = None if line is None else _counts(line)
            if line is not None and counts is not None and counts[which] == known[which]:
                low = line.start
            else:
                high = middle
        return low

    def _scan(self, begin: int, end: int) -> Iterator[tuple[list[Row], int]]:
        found: list[Row] = []
        while begin < end:
            if not found:
                begin = self._unchanged(begin, end, 1)
            block, following = self._segments.block(begin, end)
            if following == begin:
                return
            begin = following
            found = [row for line in block if line.is_whole for row in _rows(line)]
            yield found, begin


def id_sum(event_id: str) -> int:
    """By what an id is known in the index."""
    return zlib.crc32(event_id.encode())


def _replacing(destination_id: str) -> str:
    return f"{destination_id}+"


def _counts(line: Line) -> Counts | None:
    """The counts before a line; None when somebody put it there and it is not an event."""
    try:
        head = lines.head_of(line.text)
    except Damaged:
        return None
    return Counts(head.seq - head.addressed, head.addressed)


def _rows(line: Line) -> Iterator[Row]:
    try:
        head = lines.head_of(line.text)
    except Damaged:
        return
    length, instead = line.end - line.start, head.instead or {}
    for destination_id in dict.fromkeys(head.to or ()):
        yield destination_id, line.start, length, ""
        if destination_id in instead:
            attempt, start, size = instead[destination_id]
            yield _replacing(destination_id), line.start, length, f"{attempt},{start},{size},{id_sum(head.id)}"
    if head.instead is not None:
        yield _AGAIN, line.start, length, ""
