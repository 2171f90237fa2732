"""Counts and finds the lines of the event log that are for one destination.

Events for all destinations are counted by subtraction: each line says how many lines precede it, and how many of those
have a `to`. Lines with a `to` are in an index by destination.
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

#: The key of all lines that send an event again; not a possible destination id.
_AGAIN: Final = "again"


class Counts(NamedTuple):
    """How many events for all destinations, and how many with a `to`, precede a position in the log."""

    broadcast: int
    addressed: int


class Addressed:
    """The lines of one log that have a `to`. The log must be synced up to any `end` that is passed."""

    def __init__(self, directory: Path, segments: Segments, worth: int) -> None:
        """See `Index`."""
        self._segments = segments
        self.index = Index(directory, "addressed", segments, self._scan, worth)
        self._quiet = 0, 0

    def count(self, destination_id: str, begin: int, end: int) -> int:
        """How many events of a stretch are for a destination. Damaged lines count as far as their destination is known.

        Reads only a few lines, however many events there are.
        """
        broadcast, _, own = self._counted(destination_id, begin, end)
        return broadcast + own

    def count_once(self, begin: int, end: int) -> int:
        """How many events a stretch has, not counting lines that send one again."""
        broadcast, addressed, again = self._counted(_AGAIN, begin, end)
        return broadcast + addressed - again

    def _counted(self, key: str, begin: int, end: int) -> tuple[int, int, int]:
        """How many lines of a stretch have no `to`, how many have one, and how many of the latter have a key."""
        before, behind = self._counts(begin, end), self.counts_behind(end)
        broadcast, addressed = (max(there - here, 0) for there, here in zip(behind, before or behind, strict=True))
        return broadcast, addressed, self.index.count(key, begin, end) if addressed else 0

    def replacing(self, destination_id: str, begin: int, end: int) -> Iterator[tuple[int, Instead, int]]:
        """The lines of a stretch that replace a delivery: position, delivery, the event's `id_sum`. Reads no body."""
        key = _replacing(destination_id)
        for _, position, _, more in self.index.rows(key, begin, end) if self._counted(key, begin, end)[2] else ():
            attempt, start, length, event_sum = map(int, more.split(","))
            yield position, (attempt, start, length), event_sum

    def without_broadcast(self, begin: int, end: int) -> int:
        """How far from a line's start no event is for all destinations; the next such one is within a block after."""
        if not self._quiet[0] <= begin < self._quiet[1]:
            self._quiet = begin, self._unchanged(begin, end, 0)
        return min(self._quiet[1], end)

    def counts_behind(self, end: int) -> Counts:
        """The counts after the last line before a position. Damaged lines count as events for all destinations."""
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
        """The counts at a line's start, or at the first readable line after it; None if there is none."""
        line = self._segments.line_from(position, end)
        if line is None or line.start != position:
            # A damaged line may contain several lines.
            block, _ = self._segments.block(position, end)
            line = next((one for one in block if one.is_whole), line)
        return None if line is None else _counts(line)

    def _unchanged(self, begin: int, end: int, which: int) -> int:
        """How far from `begin` one of the counts stays the same. Never too far if the counts in the lines are right."""
        first = self._segments.line_from(begin, end)
        known = None if first is None or first.start != begin else _counts(first)
        if known is None:
            return begin
        if self.counts_behind(end)[which] == known[which]:
            return end
        low, high, step = begin, end, BLOCK_SIZE
        while high - low > BLOCK_SIZE:
            # The end is usually near, so begin with small steps and let them grow until one is too large.
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
    """The checksum by which the index knows an event id."""
    return zlib.crc32(event_id.encode())


def _replacing(destination_id: str) -> str:
    return f"{destination_id}+"


def _counts(line: Line) -> Counts | None:
    """The counts before a line; None if it is not an event (somebody put it there)."""
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
