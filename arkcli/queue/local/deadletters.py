"""Dead letters: full copies of deliveries whose last attempt failed, kept until the user drops them."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from arkcli import files
from arkcli.queue.local import lines
from arkcli.queue.local.lines import Damaged, DeadLine


class DeadLetters:
    """The dead letters of one destination. Written only under the destination's lock."""

    def __init__(self, path: Path) -> None:
        """The file is made with the first dead letter."""
        self._path = path

    def __iter__(self) -> Iterator[DeadLine]:
        """The dead letters, oldest first. Damaged lines are passed over."""
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return
        with file:
            for line in file:
                for text in lines.pieces(line.removesuffix(b"\n")):
                    with contextlib.suppress(Damaged):
                        yield lines.decode_dead(text)

    def positions(self) -> set[int]:
        """Where in the event log the dead events stood."""
        return {letter.pos for letter in self}

    def keep(self, letters: Iterable[DeadLine]) -> None:
        """Adds letters, and returns when they are on stable storage. A torn last line is cut first."""
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

    def discard(self, positions: set[int]) -> None:
        """Takes out the events that stood at these positions in the event log, by replacing the file as a whole."""
        files.replace(self._path, (lines.encode_dead(letter) for letter in self if letter.pos not in positions))


def _mended_end(descriptor: int) -> tuple[int, bytes]:
    """Where the whole lines end, and the newline that the last of them may lack."""
    size = end = os.fstat(descriptor).st_size
    while end and os.pread(descriptor, 1, end - 1) != b"\n":
        begin = max(0, end - 65536)
        end = begin + os.pread(descriptor, end - begin, begin).rfind(b"\n") + 1
    try:
        lines.check(os.pread(descriptor, size - end, end))
    except Damaged:
        return end, b""
    return size, b"\n"
