"""Dead letters: full copies of deliveries whose last attempt failed, kept until the user drops them."""

import contextlib
import os
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from arkcli.queue.local import lines
from arkcli.queue.local.lines import Damaged, DeadLine, Ends
from arkcli.queue.local.segments import holding
from arkcli.queue.local.stored import Positions
from arkcli.system import files

#: How many bytes are read at once.
_PIECE: Final = 1 << 20


class DeadLetters:
    """The dead letters of one destination. Written only under the destination's lock."""

    def __init__(self, path: Path) -> None:
        """Opens nothing. The first dead letter creates the file."""
        self._path = path
        self._known: Positions | None = None

    def __iter__(self) -> Iterator[DeadLine]:
        """The dead letters, oldest first, without damaged lines."""
        return (letter for line in self._lines() for letter in _letters(line))

    def of(self, event_id: str) -> Iterator[DeadLine]:
        """The dead letters of one event, oldest first. The others are not looked at one by one."""
        needle = b'"id":%b,' % msgspec.json.encode(event_id)
        with contextlib.suppress(FileNotFoundError), files.open_to_read(self._path) as file:

            def read(position: int, size: int) -> bytes:
                return os.pread(file.fileno(), size, position)

            for line in holding(read, needle, 0, os.fstat(file.fileno()).st_size):
                yield from (letter for letter in _letters(line.text) if letter.id == event_id)

    def holds(self, position: int) -> bool:
        """Whether the event at a position of the log has a letter here. Reads the file only at the first call."""
        if self._known is None:
            self._known = self.positions()
        return position in self._known

    def positions(self) -> Positions:
        """The positions of the dead events in the event log. Reads only the beginning of each line."""
        found = Positions()
        for line in self._lines():
            for text in [line] if line.count(lines.OPENING) == 1 else lines.pieces(line.removesuffix(b"\n")):
                found.add(lines.position_of(text))
        return found

    def _lines(self) -> Iterator[bytes]:
        with contextlib.suppress(FileNotFoundError), files.open_to_read(self._path, _PIECE) as file:
            yield from file

    def keep(self, letters: Sequence[DeadLine]) -> None:
        """Adds letters; returns when they are on stable storage. First cuts a torn last line."""
        if not self._path.exists():
            files.create(self._path)
        descriptor = files.open_private(self._path, os.O_RDWR)
        try:
            before, missing = _mended_end(descriptor)
            files.truncate(descriptor, before)
            try:
                files.write_all(descriptor, missing + b"".join(map(lines.encode_dead, letters)), before)
                files.sync(descriptor)
            except OSError:
                files.truncate(descriptor, before)
                raise
        finally:
            os.close(descriptor)
        if self._known is not None:
            for letter in letters:
                self._known.add(letter.pos)

    def discard(self, positions: Container[int]) -> None:
        """Removes the letters of the events at these positions of the event log, by replacing the whole file."""
        files.replace(self._path, (lines.encode_dead(letter) for letter in self if letter.pos not in positions))


def _letters(line: bytes) -> Iterator[DeadLine]:
    for text in lines.pieces(line.removesuffix(b"\n")):
        with contextlib.suppress(Damaged):
            yield lines.decode_dead(text)


def _mended_end(descriptor: int) -> tuple[int, bytes]:
    """The end of the lines without a torn one, and the newline if the last one lacks it."""
    size = end = os.fstat(descriptor).st_size
    while end and os.pread(descriptor, 1, end - 1) != b"\n":
        begin = max(0, end - 65536)
        end = begin + os.pread(descriptor, end - begin, begin).rfind(b"\n") + 1
    tail = os.pread(descriptor, size - end, end)
    return (end, b"") if Ends().are_torn(tail, end) and not lines.is_whole(tail) else (size, b"\n")
