"""One table of the index: sorted rows of the same width in a file of their own. docs/internals.md, section 2."""

import os
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Final, Protocol

import msgspec

from arkcli import files
from arkcli.queue.local import lines
from arkcli.queue.local.lines import Damaged

#: A key; position and length of an event's line; what else belongs to them, without a space. Rows are in this order.
Row = tuple[str, int, int, str]

#: What a row begins with: its checksum and a space.
_SEALED: Final = 9
#: How many rows are read or written at once.
_MANY: Final = 512
#: How many tables are open at once.
_OPEN: Final = 8


class Rows(Protocol):
    """Rows in order, in memory or in a table."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> Row: ...

    def __iter__(self) -> Iterator[Row]: ...


class Head(msgspec.Struct):
    """The first line of a table: from where to where it knows the log, how many rows it has, and how wide they are.

    `last` is where the last line of that stretch begins, and the checksum of that line's beginning.
    """

    start: int
    end: int
    rows: int
    width: int
    last: tuple[int, int]


_heads: Final = msgspec.json.Decoder(Head)


class Opened:
    """The tables that are open, a few at a time."""

    def __init__(self) -> None:
        self._descriptors: OrderedDict[Path, int] = OrderedDict()

    def read(self, path: Path, position: int, size: int) -> bytes:
        """What stands in a table. Raises OSError."""
        descriptor = self._descriptors.get(path)
        if descriptor is None:
            if len(self._descriptors) >= _OPEN:
                os.close(self._descriptors.popitem(last=False)[1])
            opened = files.open_private(path, os.O_RDONLY)
            descriptor = self._descriptors[path] = files.out_of_selects_way(opened)
        self._descriptors.move_to_end(path)
        return os.pread(descriptor, size, position)

    def close(self, path: Path | None = None) -> None:
        """Closes all, or one that is being replaced or removed: under its name there may be another one."""
        for found in list(self._descriptors) if path is None else [path]:
            if found in self._descriptors:
                os.close(self._descriptors.pop(found))


class Table:
    """A table that was written. Every row is checked when it is read."""

    def __init__(self, path: Path, opened: Opened) -> None:
        """Raises Damaged and OSError."""
        self.path = path
        self._opened = opened
        line, newline, _ = opened.read(path, 0, 4096).partition(b"\n")
        lines.check(line)
        try:
            self.head = _heads.decode(line)
        except msgspec.MsgspecError as error:
            raise Damaged(str(error)) from None
        self._begin = len(line) + len(newline)

    def __len__(self) -> int:
        return self.head.rows

    def __getitem__(self, number: int) -> Row:
        width = self.head.width
        return _row(self._opened.read(self.path, self._begin + number * width, width))

    def __iter__(self) -> Iterator[Row]:
        width = self.head.width
        for number in range(0, self.head.rows, _MANY):
            size = min(_MANY, self.head.rows - number) * width
            text = self._opened.read(self.path, self._begin + number * width, size)
            yield from (_row(text[begin : begin + width]) for begin in range(0, size, width))


def write(path: Path, rows: Iterable[Row], head: Head) -> None:
    """Replaces a table in one step; nothing is synced. Raises OSError, and whatever reading the rows raises."""
    left = iter(rows)
    batches = iter(lambda: b"".join(_text(row, head.width) for row in islice(left, _MANY)), b"")
    first = lines.seal(msgspec.json.encode(head)[1:])
    files.replace(path, chain([first], batches), durable=False)


def width_of(row: Row) -> int:
    """How wide a table has to be for a row, in bytes."""
    return _SEALED + len(_fields(row)) + 1


def _fields(row: Row) -> bytes:
    return f"{row[0]} {row[1]} {row[2]} {row[3] or '-'}".encode()


def _text(row: Row, width: int) -> bytes:
    fields = _fields(row).ljust(width - _SEALED - 1) + b"\n"
    return b"%08x %b" % (zlib.crc32(fields), fields)


def _row(text: bytes) -> Row:
    if not text.startswith(b"%08x " % zlib.crc32(text[_SEALED:])):
        raise Damaged("a row of the index is damaged")
    key, position, length, more = text[_SEALED:].decode().rstrip().rsplit(" ", 3)
    return key, int(position), int(length), "" if more == "-" else more
