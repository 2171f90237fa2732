"""What stands where in the event log, by key: sorted tables. docs/internals.md, section 2, "The index".

They are derived from the log and never synced: what is missing, damaged or of another log is read from the log again.
So nobody needs a lock, and all of them may be deleted at any time.
"""

import contextlib
import os
import re
import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import chain, islice, takewhile
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from arkcli import files
from arkcli.queue.local import table
from arkcli.queue.local.lines import Damaged
from arkcli.queue.local.segments import Segments
from arkcli.queue.local.table import Head, Opened, Row, Rows, Table

#: Reads a stretch of the log: the rows of a part of it, and the position behind that part.
Scan = Callable[[int, int], Iterator[tuple[list[Row], int]]]
Answer = TypeVar("Answer")

#: How many rows are in memory before they are written, and how many a table may grow to.
_AT_ONCE: Final = 1 << 15
_LARGEST: Final = 1 << 18
#: How many rows are looked up at once.
_FEW: Final = 64
#: More tables than this are pieces that nobody asks for: the oldest go.
_TABLES: Final = 100
#: By so many of its first bytes a line is known, since they hold its checksum.
_KNOWN_BY: Final = 64


class _Part(msgspec.Struct, eq=False):
    """A stretch of the log and its rows. `reads` says how much was read to have them in memory."""

    start: int
    end: int
    rows: list[Row]
    saved: Table | None = None
    reads: int = 0

    @property
    def content(self) -> Rows:
        return self.rows if self.saved is None else self.saved


class Index:
    """The lines of one log by some key. Positions are those of the log."""

    def __init__(self, directory: Path, kind: str, segments: Segments, scan: Scan, worth: int) -> None:
        """`worth`: what took so many readings of the log is kept on disk. `kind` begins the names of the tables."""
        self._directory = directory
        self._kind = kind
        self._segments = segments
        self._scan = scan
        self._worth = worth
        self._opened = Opened()
        self._parts: list[_Part] = []
        self._bad: set[Path] = set()

    def count(self, key: str, begin: int, end: int) -> int:
        """How many lines of a stretch of the log have a key. What is in that stretch must be synced."""

        def counted(rows: Rows, low: int, high: int) -> int:
            first = bisect_left(rows, (key, low))
            is_there = first < len(rows) and rows[first][:2] < (key, high)
            return bisect_left(rows, (key, high), first) - first if is_there else 0

        return sum(self._each(begin, end, counted))

    def rows(self, key: str, begin: int, end: int) -> Iterator[Row]:
        """The rows with a key in a stretch of the log, by position."""

        def some(rows: Rows, low: int, high: int) -> list[Row]:
            first = bisect_left(rows, (key, low))
            chosen = (rows[number] for number in range(first, min(first + _FEW, len(rows))))
            return list(takewhile(lambda row: row[:2] < (key, high), chosen))

        while begin < end:
            # A few at a time: a table may be replaced meanwhile.
            found = list(islice(chain.from_iterable(self._each(begin, end, some)), _FEW))
            yield from found
            begin = found[-1][1] + 1 if len(found) == _FEW else end

    def keys(self, beginning: str, begin: int, end: int) -> list[str]:
        """The first few keys with a beginning, in order."""

        def some(rows: Rows, low: int, high: int) -> list[str]:  # noqa: ARG001 - they are in order by key
            chosen: list[str] = []
            number = bisect_left(rows, (beginning,))
            while len(chosen) < _FEW and number < len(rows) and (key := rows[number][0]).startswith(beginning):
                chosen.append(key)
                number = bisect_left(rows, (key + "\0",), number)
            return chosen

        return sorted(set(chain.from_iterable(self._each(begin, end, some))))[:_FEW]

    def _each(self, begin: int, end: int, question: Callable[[Rows, int, int], Answer]) -> Iterator[Answer]:
        """Asks for each part of a stretch, in order, of its rows and from where to where they are meant."""
        while begin < end:
            for part, low, high in self.cover(begin, end):
                try:
                    answer = question(part.content, low, high)
                except (Damaged, OSError):
                    self._forget(part)
                    break
                begin = high
                yield answer

    def cover(self, begin: int, end: int, *, keep: bool = True) -> list[tuple[_Part, int, int]]:
        """Makes sure of a stretch of the log: its parts, in order, and from where to where each is meant.

        Without `keep` nothing is written.
        """
        found: list[tuple[_Part, int, int]] = []
        tables: list[tuple[int, int]] | None = None
        while begin < end:
            part = next((one for one in self._parts if one.start <= begin < one.end), None)
            if part is None:
                tables = self._tables() if tables is None else tables
                part = self._saved_at(begin, end, tables)
            if part is not None:
                found.append((part, begin, min(part.end, end)))
                begin = part.end
                continue
            following = [one.start for one in self._parts] + [start for start, stop in tables or () if stop <= end]
            self._fill(begin, min((start for start in following if begin < start < end), default=end), keep=keep)
        return found

    def _fill(self, begin: int, end: int, *, keep: bool) -> None:
        """Reads the log."""
        part = self._growing(begin)
        try:
            for found, part.end in self._scan(begin, end):
                part.rows += found
                part.reads += 1
                if keep and len(part.rows) >= _AT_ONCE and self._save(part):
                    part = self._growing(part.end)
        except BaseException:
            self._parts.remove(part)
            raise
        part.end = end
        part.rows.sort()
        if keep and part.reads >= self._worth:
            self._save(part)

    def _growing(self, begin: int) -> _Part:
        """The part in memory that ends at a position, or a new one."""
        for part in self._parts:
            if part.end == begin and part.saved is None:
                return part
        self._parts.append(_Part(begin, begin, []))
        return self._parts[-1]

    def _save(self, part: _Part) -> bool:
        """Writes what is in memory, together with tables before it that are not larger: so there are never many."""
        import heapq

        joined, count, tables = [part], len(part.rows), self._tables()
        while (before := self._saved_until(joined[0].start, tables)) is not None and before.saved is not None:
            if len(before.saved) > count or len(before.saved) + count > _LARGEST:
                break
            joined.insert(0, before)
            count += len(before.saved)
        part.rows.sort()
        last = self._segments.last_line(part.end)
        if last is None or not count:
            return False
        width = max([one.saved.head.width for one in joined if one.saved] + [*map(table.width_of, part.rows)])
        head = Head(joined[0].start, part.end, count, width, (last.start, self._known_by(last.start)))
        path = self._path(head.start, head.end)
        try:
            if self._directory.is_symlink():
                return False
            files.make_directory(self._directory)
            table.write(path, heapq.merge(*(one.content for one in joined)), head)
            self._opened.close(path)
            saved = _Part(head.start, head.end, [], Table(path, self._opened))
        except (OSError, Damaged):
            return False
        self._parts = [one for one in self._parts if one not in joined] + [saved]
        self._prune(head.start, head.end)
        return True

    def _saved_until(self, end: int, tables: list[tuple[int, int]]) -> _Part | None:
        """The table that ends at a position."""
        start = min((start for start, stop in tables if stop == end), default=None)
        return None if start is None else self._open(start, end)

    def _saved_at(self, begin: int, end: int, tables: list[tuple[int, int]]) -> _Part | None:
        """The table that reaches from a position the farthest, but not beyond `end`."""
        for stop, start in sorted(((stop, start) for start, stop in tables if stop <= end), reverse=True):
            if start <= begin < stop and (part := self._open(start, stop)) is not None:
                return part
        return None

    def _open(self, start: int, end: int) -> _Part | None:
        """A table, unless it is not what was written, or not of this log."""
        for part in self._parts:
            if (part.start, part.end) == (start, end) and part.saved is not None:
                return part
        path = self._path(start, end)
        if path in self._bad:
            return None
        self._bad.add(path)
        with contextlib.suppress(OSError):
            try:
                saved = Table(path, self._opened)
                head = saved.head
                if (head.start, head.end, head.last[1]) != (start, end, self._known_by(head.last[0])):
                    raise Damaged("it is of another log")
            except Damaged:
                self._remove(path)
            else:
                self._bad.discard(path)
                self._parts.append(_Part(start, end, [], saved))
                return self._parts[-1]
        return None

    def _forget(self, part: _Part) -> None:
        self._parts = [one for one in self._parts if one is not part]
        if part.saved is not None:
            self._bad.add(part.saved.path)
            self._remove(part.saved.path)

    def _remove(self, path: Path) -> None:
        self._opened.close(path)
        with contextlib.suppress(OSError):
            files.unlink(path)

    def _known_by(self, position: int) -> int:
        return zlib.crc32(self._segments.read(position, _KNOWN_BY))

    def _path(self, start: int, end: int) -> Path:
        return self._directory / f"{self._kind}-{start:020d}-{end:020d}"

    def _tables(self) -> list[tuple[int, int]]:
        """From where to where there are tables."""
        try:
            names = os.listdir(self._directory)  # noqa: PTH208 - nobody needs a Path for each
        except OSError:
            return []
        found = (re.fullmatch(r"(\w+)-(\d{20})-(\d{20})", name) for name in names)
        return sorted((int(one[2]), int(one[3])) for one in found if one and one[1] == self._kind)

    def prune(self) -> None:
        """Removes tables of what has been removed from the log."""
        self._prune(0, self._segments.start)

    def _prune(self, start: int, end: int) -> None:
        """Removes the tables within a stretch, but that of the whole."""
        tables = [found for found in self._tables() if found != (start, end)]
        gone = {found for found in tables if start <= found[0] and found[1] <= end} | set(tables[:-_TABLES])
        for found in gone:
            self._remove(self._path(*found))

    def close(self) -> None:
        """Closes what is open."""
        self._opened.close()
