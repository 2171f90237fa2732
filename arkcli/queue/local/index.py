"""Sorted tables of the event log's lines, by key. docs/internals.md, section 2, "The index".

They are derived from the log and never synced: what is missing, damaged or from another log is read from the log again.
So they need no lock, and can be deleted at any time.
"""

import contextlib
import heapq
import os
import re
import struct
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator
from itertools import chain, islice, takewhile
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from arkcli.queue.local import lines
from arkcli.queue.local.lines import Damaged
from arkcli.queue.local.segments import Segments
from arkcli.system import files

#: A key; position and length of an event's line; further data, without a space. Rows are sorted in this order.
Row = tuple[str, int, int, str]
#: Reads a stretch of the log in parts: the rows of each part, and the position after it.
Scan = Callable[[int, int], Iterator[tuple[list[Row], int]]]
Answer = TypeVar("Answer")

#: How many rows are looked up at once; how many in memory make a table; the most that a table can have.
_FEW: Final = 64
_MANY: Final = 1 << 15
_MOST: Final = 1 << 18
#: More tables than this are pieces that are no longer used: the oldest are removed.
_TABLES: Final = 100
#: This many of its first bytes identify a line: they contain its checksum.
_KNOWN_BY: Final = 64
#: Finding a key by bisection takes about as long as hashing this many rows. And the bits of a hash.
_DEAR: Final = 128
_HASH: Final = 0xFFFFFFFF
#: The length of what a row begins with: its checksum and a space.
_SEALED: Final = 9


class _Read(list[Row]):
    """The rows of a stretch of the log in memory, and how many readings of the log they took."""

    def __init__(self, start: int) -> None:
        super().__init__()
        self.start = self.end = start
        self.reads = 0

    def prepare(self, keys: int) -> None:
        """Nothing to do: the rows are in memory."""

    def may_have(self, key: str) -> bool:
        """Whether a key is among the rows."""
        place = bisect_left(self, (key,))
        return place < len(self) and self[place][0] == key


class _Head(msgspec.Struct):
    """The first line of a table. `last`: where the last line of its stretch begins, and a checksum of that."""

    start: int
    end: int
    rows: int
    width: int
    last: tuple[int, int]


class _Table:
    """The rows of a stretch of the log in a file. All have the same width; each is checked when it is read."""

    def __init__(self, path: Path) -> None:
        """Raises the errors in `_UNUSABLE`; so does reading."""
        self.path = path
        self._file: int | None = None
        self._asked = 0
        #: Sorted hashes of all keys, made when that costs less than the lookups that were asked for.
        self._hashes: array[int] = array("I")
        head = self._read(0, 4096).partition(b"\n")[0]
        lines.check(head)
        self.head = msgspec.json.decode(head, type=_Head)
        self.start, self.end, self._begin = self.head.start, self.head.end, len(head) + 1

    def _read(self, position: int, size: int) -> bytes:
        if self._file is None:
            self._file = files.open_private(self.path, os.O_RDONLY)
        return os.pread(self._file, size, position)

    def __len__(self) -> int:
        return self.head.rows

    def __getitem__(self, number: int) -> Row:
        text = self._read(self._begin + number * self.head.width, self.head.width)
        if not text.startswith(b"%08x " % zlib.crc32(text[_SEALED:])):
            raise Damaged("a row of the index is damaged")
        key, position, length, more = text[_SEALED:].decode().split()
        return key, int(position), int(length), more.removeprefix("-")

    def prepare(self, keys: int) -> None:
        """Makes `may_have` know better, if looking up this many keys more is worth it."""
        self._asked += keys
        if not self._hashes and self._asked * _DEAR > len(self):
            self._hashes = array("I", sorted(self._hashed()))

    def may_have(self, key: str) -> bool:
        """Whether a key may be among the rows. Takes about a microsecond."""
        if not self._hashes:
            return True
        found = hash(key.encode()) & _HASH
        place = bisect_left(self._hashes, found)
        return place < len(self._hashes) and self._hashes[place] == found

    def _hashed(self) -> Iterator[int]:
        width, size = self.head.width, len(self) * self.head.width
        for begin in range(0, size, width << 12):
            wanted = min(width << 12, size - begin)
            piece = self._read(self._begin + begin, wanted)
            if len(piece) < wanted:
                raise Damaged("the index was cut")
            for (row,) in struct.iter_unpack(f"{width}s", piece):
                if not row.startswith(b"%08x " % zlib.crc32(row[_SEALED:])):
                    raise Damaged("a row of the index is damaged")
                yield hash(row[_SEALED : row.index(b" ", _SEALED)]) & _HASH

    def close(self) -> None:
        """Closes the file until the next reading: there may be many tables."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


_UNUSABLE: Final = (Damaged, OSError, msgspec.MsgspecError)
Part = _Read | _Table


class Index:
    """The lines of one log by a key. Positions are those of the log. Ask only for stretches that are synced."""

    def __init__(self, directory: Path, kind: str, segments: Segments, scan: Scan, worth: int) -> None:
        """Keeps a table on disk if it took `worth` readings of the log; 0 keeps none. File names begin with `kind`."""
        self._directory = directory
        self._kind = kind
        self._segments = segments
        self._scan = scan
        self._worth = worth
        self._parts: list[Part] = []
        self._seen: set[Path] = set()

    def count(self, key: str, begin: int, end: int) -> int:
        """How many lines of a stretch of the log have a key."""

        def counted(rows: Part, low: int, high: int) -> int:
            first = bisect_left(rows, (key, low))
            is_there = first < len(rows) and rows[first][:2] < (key, high)
            return bisect_left(rows, (key, high), first) - first if is_there else 0

        return sum(self._each(begin, end, counted))

    def known(self, keys: Collection[str], begin: int, end: int) -> set[str]:
        """The keys that a stretch of the log has, and perhaps others. Cheap for many keys of which it has few."""

        def some(rows: Part, _low: int, _high: int) -> list[str]:
            rows.prepare(len(keys))
            return [key for key in keys if rows.may_have(key)]

        return set(chain.from_iterable(self._each(begin, end, some)))

    def rows(self, key: str, begin: int, end: int) -> Iterator[Row]:
        """The rows with a key in a stretch of the log, by position."""

        def some(rows: Part, low: int, high: int) -> list[Row]:
            if not rows.may_have(key):
                return []
            first = bisect_left(rows, (key, low))
            chosen = map(rows.__getitem__, range(first, min(first + _FEW, len(rows))))
            return list(takewhile(lambda row: row[:2] < (key, high), chosen))

        while begin < end:
            # A few at a time: another process may replace a table in between.
            found = list(islice(chain.from_iterable(self._each(begin, end, some)), _FEW))
            yield from found
            begin = found[-1][1] + 1 if len(found) == _FEW else end

    def keys(self, beginning: str, begin: int, end: int) -> list[str]:
        """The first keys with a prefix, in order; at most 64."""

        def some(rows: Part, _low: int, _high: int) -> list[str]:
            chosen: list[str] = []
            number = bisect_left(rows, (beginning,))
            while len(chosen) < _FEW and number < len(rows) and (key := rows[number][0]).startswith(beginning):
                chosen.append(key)
                number = bisect_left(rows, (key + "\0",), number)
            return chosen

        return sorted(set(chain.from_iterable(self._each(begin, end, some))))[:_FEW]

    def _each(self, begin: int, end: int, question: Callable[[Part, int, int], Answer]) -> Iterator[Answer]:
        """Calls `question` for each part of a stretch, in order, with the part's rows and the bounds within it."""
        while begin < end:
            for part, low, high in self.cover(begin, end):
                try:
                    answer = question(part, low, high)
                except _UNUSABLE:
                    self._forget([part])
                    break
                finally:
                    _close(part)
                begin = high
                yield answer

    def cover(self, begin: int, end: int, *, keep: bool = True) -> list[tuple[Part, int, int]]:
        """Returns the parts that cover a stretch of the log, in order, and the bounds within each.

        Reads the log where no part exists. Without `keep` nothing is written.
        """
        found: list[tuple[Part, int, int]] = []
        while begin < end:
            part = next((one for one in self._parts if one.start <= begin < one.end), None)
            if part is not None:
                found.append((part, begin, min(part.end, end)))
                begin = part.end
            elif not self._load(end):
                following = (one.start for one in self._parts if begin < one.start)
                self._fill(begin, min(following, default=end), keep=keep and self._worth > 0)
        return found

    def _load(self, end: int) -> bool:
        """Loads the new tables that do not reach beyond `end`; False if there are none."""
        found = []
        for start, stop, path in self._tables():
            if stop > end or path in self._seen:
                continue
            self._seen.add(path)
            try:
                table = _Table(path)
                table.close()
                last, known_by = table.head.last
                if (table.start, table.end, self._known_by(last)) != (start, stop, known_by):
                    raise Damaged("it belongs to another log")
            except _UNUSABLE:
                _remove(path)
            else:
                found.append(table)
        self._parts += found
        return bool(found)

    def _fill(self, begin: int, end: int, *, keep: bool) -> None:
        """Reads the log. After one failed write no other is tried: each try would sort all rows again."""
        part = next((one for one in self._parts if isinstance(one, _Read) and one.end == begin), None)
        if part is None:
            self._parts.append(part := _Read(begin))
        try:
            for found, part.end in self._scan(begin, end):
                part += found
                part.reads += 1
                if keep and len(part) >= _MANY and (keep := self._save(part)):
                    self._parts.append(part := _Read(part.end))
            part.end = end
        finally:
            part.sort()
        if keep and part.reads >= self._worth:
            self._save(part)

    def _save(self, part: _Read) -> bool:
        """Writes the rows in memory, merged with earlier tables that are not larger: so there are never many."""
        part.sort()
        joined: list[Part] = [part]
        count, width = len(part), max((len(_fields(row)) for row in part), default=0) + _SEALED + 1
        for one in sorted(self._parts, key=lambda one: -one.end):
            if isinstance(one, _Table) and one.end == joined[0].start and len(one) <= min(count, _MOST - count):
                joined.insert(0, one)
                count, width = count + len(one), max(width, one.head.width)
        last = self._segments.last_line(part.end)
        if last is None or not count:
            return False
        head = _Head(joined[0].start, part.end, count, width, (last.start, self._known_by(last.start)))
        path = self._directory / f"{self._kind}-{head.start:020d}-{head.end:020d}"
        rows = heapq.merge(*(map(one.__getitem__, range(len(one))) for one in joined))
        texts = iter(lambda: b"".join(_text(row, width) for row in islice(rows, 8 * _FEW)), b"")
        try:
            files.make_directory(self._directory)
            files.replace(path, chain([lines.encode(head)], texts), durable=False)
            table = _Table(path)
        except _UNUSABLE:
            return False
        finally:
            for one in joined:
                _close(one)
        self._forget(joined)
        self._parts.append(table)
        self._seen.add(path)
        self.prune(head.start, head.end)
        return True

    def _forget(self, parts: list[Part]) -> None:
        for part in parts:
            self._parts = [one for one in self._parts if one is not part]
            if isinstance(part, _Table):
                _remove(part.path)

    def prune(self, begin: int, end: int) -> None:
        """Removes the tables of parts of a stretch, and the oldest tables if there are too many."""
        files.remove_left(self._directory, f".{self._kind}-")
        tables = [found for found in self._tables() if found[:2] != (begin, end)]
        for number, (start, stop, path) in enumerate(reversed(tables)):
            if begin <= start < stop <= end or number >= _TABLES:
                _remove(path)

    def _tables(self) -> list[tuple[int, int, Path]]:
        """The tables on disk, in order: start, end and file."""
        try:
            names = os.listdir(self._directory)  # noqa: PTH208 - nobody needs a Path for each
        except OSError:
            return []
        found = (re.fullmatch(rf"{self._kind}-(\d{{20}})-(\d{{20}})", name) for name in names)
        return sorted((int(one[1]), int(one[2]), self._directory / one[0]) for one in found if one)

    def _known_by(self, position: int) -> int:
        return zlib.crc32(self._segments.read(position, _KNOWN_BY))


def _fields(row: Row) -> bytes:
    return f"{row[0]} {row[1]} {row[2]} {row[3] or '-'}".encode()


def _text(row: Row, width: int) -> bytes:
    fields = _fields(row).ljust(width - _SEALED - 1) + b"\n"
    return b"%08x %b" % (zlib.crc32(fields), fields)


def _close(part: Part) -> None:
    if isinstance(part, _Table):
        part.close()


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        if os.access(path, os.W_OK):
            files.unlink(path)
