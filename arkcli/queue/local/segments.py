"""An append-only file of lines, kept in segments. docs/internals.md, "Segments and positions"."""

import contextlib
import os
from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final

import msgspec

from arkcli.queue.local import lines
from arkcli.queue.local.ahead import Ahead, has_room, size_of, trim, written_size
from arkcli.queue.local.trouble import is_gone
from arkcli.system import files

#: A segment that has reached this many bytes is followed by a new one.
SEGMENT_SIZE: Final = 64 * 1024 * 1024
#: How many bytes are read at a time.
BLOCK_SIZE: Final = 128 * 1024
#: No line has as many bytes. More than this without a newline is damage, and is skipped.
_LONGEST_LINE: Final = 4 * 1024 * 1024
_SUFFIX: Final = ".jsonl"


class Line(msgspec.Struct, frozen=True, gc=False):
    """A line without its newline, its position, and whether its checksum fits. `end` is after the newline."""

    start: int
    end: int
    text: bytes
    is_whole: bool = False


class Segments:
    """The segments of one directory. A position counts bytes from the first byte ever written."""

    def __init__(
        self,
        directory: Path,
        size: int = SEGMENT_SIZE,
        *,
        optional: bool = False,
        to_read: bool = False,
        ahead: Ahead | None = None,
    ) -> None:
        """Opens nothing yet. An `optional` directory may be missing; it then counts as empty.

        With `ahead`, the last segment may have room that is filled in advance; call `trim` before `close`.
        With `to_read`, call nothing that writes, and close it soon: its descriptors are among the first 1,024.
        """
        self._directory = directory
        self._optional = optional
        self._to_read = to_read
        self._ahead = ahead
        self._size = size
        #: The position after the last byte, as last seen.
        self._seen = 0
        self._starts: list[int] = []
        self._descriptors: dict[int, int] = {}

    def look(self) -> int:
        """Reads the directory again and returns the position after the last byte."""
        while True:
            self._starts = sorted(
                int(entry.name[:20])
                for entry in (() if self._optional and is_gone(self._directory) else os.scandir(self._directory))
                if entry.name.endswith(_SUFFIX) and entry.name[:20].isdigit() and len(entry.name) == 26
            )
            for gone in self._descriptors.keys() - set(self._starts):
                os.close(self._descriptors.pop(gone))
            # A segment may be removed before it is opened; then there is a newer one.
            with contextlib.suppress(FileNotFoundError):
                return self.size()

    def size(self) -> int:
        """The position after the last byte of the segments known so far, without room filled in advance; cheap."""
        if not self._starts:
            return 0
        last = self._starts[-1]
        descriptor = self._open(last)
        if self._ahead is None:
            return last + os.fstat(descriptor).st_size
        self._seen = last + written_size(descriptor, size_of(descriptor), self._seen - last)
        return self._seen

    def is_as_left(self, end: int) -> bool:
        """Whether there is still room behind this position, up to which this process wrote the last line.

        Then nobody has begun another segment, since that trims this one first.
        """
        descriptor = self._descriptors.get(self._starts[-1]) if self._starts else None
        if descriptor is None or not files.is_writable(descriptor):
            return False
        return has_room(descriptor, end - self._starts[-1])

    @property
    def start(self) -> int:
        """The position of the first byte that still exists."""
        return self._starts[0] if self._starts else 0

    @property
    def starts(self) -> list[int]:
        """The positions at which the segments begin."""
        return list(self._starts)

    def read(self, position: int, size: int) -> bytes:
        """Up to `size` bytes from a position; fewer at the end of a segment, none if the segment has been removed."""
        try:
            return self._read(position, size)
        except FileNotFoundError:
            self.look()
            return b"" if position < self.start else self._read(position, size)

    def _read(self, position: int, size: int) -> bytes:
        if not self._starts:
            return b""
        start = self._segment(position)
        return os.pread(self._open(start), size, position - start)

    def whole_lines(self, position: int, end: int) -> bytes:
        """The next lines from a position, up to BLOCK_SIZE bytes; empty where only `block` knows what is there."""
        if not self.start <= position < end:
            return b""
        data = self.read(position, min(BLOCK_SIZE, self._limit(position, end) - position))
        return data[: data.rfind(b"\n") + 1]

    def block(self, position: int, end: int) -> tuple[list[Line], int]:
        """The next lines from a position, and the position after them.

        Returns no lines and the same position if no complete line precedes `end`. Starts at the first existing byte if
        the position's own bytes have been removed.
        """
        while True:
            try:
                return self._block(max(position, self.start), end)
            except FileNotFoundError:
                # The segment was removed because no destination needs it; continue after it.
                self.look()

    def _block(self, position: int, end: int) -> tuple[list[Line], int]:
        if position >= end:
            return [], position
        following = bisect_right(self._starts, position)
        limit = self._limit(position, end)
        size = BLOCK_SIZE
        while True:
            data = self._read(position, min(size, limit - position))
            cut = data.rfind(b"\n") + 1
            if cut:
                return _split(position, data[:cut]), position + cut
            if len(data) < min(size, limit - position) or position + len(data) >= limit:
                # The segment ends without a newline: damage if another one follows, else a line still being written.
                if following == len(self._starts):
                    return [], position
                return [Line(position, limit, data, lines.is_whole(data))], limit
            if size >= _LONGEST_LINE:
                return [Line(position, position + len(data), b"")], position + len(data)
            size *= 4

    def blocks(self, position: int, end: int) -> Iterator[tuple[list[Line], int]]:
        """All lines from a position to `end`, block by block, and the position after each block."""
        while position < end:
            found, following = self.block(position, end)
            if following == position:
                return
            position = following
            yield found, position

    def line_from(self, position: int, end: int) -> Line | None:
        """The first whole line that begins at or after a position; None if there is none before `end`.

        If the position is within a line, nothing in that line is taken for one.
        """
        position = max(position, self.start)
        if self.start < position < end and position not in self._starts:
            position = self._behind_newline(position - 1, end)
        while position < end:
            following = self._behind_newline(position, end)
            if following - position <= _LONGEST_LINE:
                text = self.read(position, following - position).removesuffix(b"\n")
                if lines.is_whole(text):
                    return Line(position, following, text, is_whole=True)
            position = following
        return None

    def _behind_newline(self, position: int, end: int) -> int:
        """The position after the next newline; if none comes first, the segment's end or `end`."""
        limit, size = self._limit(position, end), 4096
        while data := self.read(position, min(size, limit - position)):
            cut = data.find(b"\n") + 1
            if cut:
                return position + cut
            position += len(data)
            size = BLOCK_SIZE
        return limit

    def _limit(self, position: int, end: int) -> int:
        """Where a position's segment ends, or `end` if that comes first."""
        following = bisect_right(self._starts, position)
        return min(self._starts[following], end) if following < len(self._starts) else end

    def holding(self, needle: bytes, position: int, end: int) -> Iterator[Line]:
        """The lines from a position on that contain `needle`. The others are not looked at one by one."""
        for start, limit in pairwise([*self._starts, max(end, self.start)]):
            yield from holding(self.read, needle, max(start, position), min(limit, end))

    def tail(self, end: int, size: int) -> list[Line]:
        """The complete lines in the last `size` bytes before a position, oldest first."""
        position = max(self.start, end - size)
        # The position may be within a line, which is then left out.
        partial = position > self.start and position not in self._starts and self.read(position - 1, 1) != b"\n"
        found = [line for block, _ in self.blocks(position, end) for line in block]
        return found[1:] if partial else found

    def last_line(self, end: int) -> Line | None:
        """The last complete line before a position, within its segment."""
        if not self._starts:
            return None
        start = self._segment(max(end - 1, 0))
        # Bytes after the segment's end may be missing.
        end = min(end, self.size() if start == self._starts[-1] else start + os.fstat(self._open(start)).st_size)
        begin = self._last_newline(start, end - 1)
        return Line(begin, end, self.read(begin, end - begin)[:-1]) if end > start else None

    def last_line_end(self, end: int) -> int:
        """The position after the last newline before a position."""
        if not self._starts or end <= self._starts[-1] or self.read(end - 1, 1) == b"\n":
            return end
        return self._last_newline(self._starts[-1], end)

    def line_start(self, position: int) -> int:
        """The start of the line that contains a position."""
        return self._last_newline(self._segment(position), position)

    def append(self, data: bytes, position: int) -> None:
        """Writes lines at the end. If that fails, raises OSError and leaves the file unchanged."""
        start = self._starts[-1]
        descriptor = self._open(start)
        write = files.write_all if self._ahead is None else self._ahead.write
        try:
            write(descriptor, data, position - start)
            self._seen = position + len(data)
        except BaseException:
            files.truncate(descriptor, position - start)
            raise

    def take_back(self, position: int) -> None:
        """Cuts the last segment at a position."""
        files.truncate(self._open(self._starts[-1]), position - self._starts[-1])

    def trim(self) -> None:
        """Cuts off the room that was filled in advance."""
        if self._starts and self._ahead is not None:
            trim(self._open(self._starts[-1]))
            self._ahead.forget()

    def mend_tail(self, ends: lines.Ends, *, keep_zeros: bool = False) -> int:
        """Makes the last segment end in a newline, and returns the position after it.

        Cuts a torn last line; adds the newline to a line that lacks only that. Other bytes get a newline, too: they
        were lines, perhaps they were read, and they count as damaged. So do zeros, with `keep_zeros`.
        """
        end = self.size()
        if self._ahead is not None:
            self._ahead.forget()
        if self._starts and not files.is_writable(self._open(self._starts[-1])):
            # Fail now, not when an attempt's outcome has to be written.
            os.close(files.open_private(self._path(self._starts[-1]), os.O_RDWR))
        kept = self.last_line_end(end)
        if kept == end:
            return end
        is_kept = end - kept > _LONGEST_LINE
        if not is_kept:
            tail = self.read(kept, end - kept)
            # An editor may have removed the newline, or its byte is damaged.
            for newline in (end, end - 1):
                if lines.is_whole(lines.pieces(tail[: newline - kept])[-1]):
                    self.append(b"\n", newline)
                    return newline + 1
            is_kept = not ends.are_torn(tail, kept) or (keep_zeros and b"\0" in tail)
        if is_kept:
            self.append(b"\n", end)
            return end + 1
        self.take_back(kept)
        return kept

    def is_full(self, end: int) -> bool:
        """Whether the next line belongs in a new segment."""
        return not self._starts or end - self._starts[-1] >= self._size

    def begin(self, position: int) -> None:
        """Begins a segment at a position, or reuses one that a crash left empty. Returns when its name is synced, and
        all that was written to the one before.
        """
        self.trim()
        self.sync()
        files.create(self._path(position))
        if not self._starts or self._starts[-1] != position:
            self._starts.append(position)

    def remove_before(self, position: int) -> None:
        """Removes the segments that end at or before a position; the last one always stays."""
        while len(self._starts) > 1 and self._starts[1] <= position:
            gone = self._starts.pop(0)
            if gone in self._descriptors:
                os.close(self._descriptors.pop(gone))
            files.unlink(self._path(gone))

    def sync(self) -> None:
        """Returns when the last segment is on stable storage."""
        if self._starts:
            files.sync(self._open(self._starts[-1]))

    def close(self) -> None:
        """Closes what is open. A segment is opened again when it is next needed."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()

    def _last_newline(self, start: int, end: int) -> int:
        size = 4096
        while end > start:
            begin = max(start, end - size)
            cut = self.read(begin, end - begin).rfind(b"\n") + 1
            if cut:
                return begin + cut
            end, size = begin, BLOCK_SIZE
        return start

    def _segment(self, position: int) -> int:
        return self._starts[max(bisect_right(self._starts, position) - 1, 0)]

    def _path(self, start: int) -> Path:
        return self._directory / f"{start:020d}{_SUFFIX}"

    def _open(self, start: int) -> int:
        descriptor = self._descriptors.get(start)
        if descriptor is None:
            if len(self._descriptors) >= 4:
                # Close the oldest: reading has moved past it. The last segment is opened again when needed.
                os.close(self._descriptors.pop(next(iter(self._descriptors))))
            path = self._path(start)
            if self._to_read:
                descriptor = files.open_as_reader(path)
            else:
                opened = files.open_private(path, os.O_RDWR if os.access(path, os.W_OK) else os.O_RDONLY)
                descriptor = files.out_of_selects_way(opened)
            self._descriptors[start] = descriptor
        return descriptor


def holding(read: Callable[[int, int], bytes], needle: bytes, position: int, end: int) -> Iterator[Line]:
    """The lines of any file that contain `needle`. `read` takes a position and the most bytes to return."""
    while position < end and (data := read(position, min(_LONGEST_LINE, end - position))):
        cut = data.rfind(b"\n") + 1 or len(data)
        found = data.find(needle, 0, cut)
        while found >= 0:
            begin, stop = data.rfind(b"\n", 0, found) + 1, data.find(b"\n", found, cut) + 1 or cut
            yield from (line for line in _split(position + begin, data[begin:stop]) if needle in line.text)
            found = data.find(needle, stop, cut)
        position += cut


def _split(position: int, data: bytes) -> list[Line]:
    found, begin, view = [], 0, memoryview(data)
    # Not data.split, which looks at every byte: find uses the processor's own search.
    while end := data.find(b"\n", begin) + 1:
        if data.startswith(lines.seal_for(view[begin + lines.SEALED : end - 1]), begin):
            found.append(Line(position + begin, position + end, data[begin : end - 1], is_whole=True))
        else:
            found += _parted(position + begin, data[begin : end - 1])
        begin = end
    return found


def _parted(position: int, damaged: bytes) -> list[Line]:
    """The lines in a damaged one: if a newline was lost, it contains several."""
    found = []
    for text in lines.pieces(damaged):
        found.append(Line(position, position + len(text) + 1, text, lines.is_whole(text)))
        position = found[-1].end
    return found
