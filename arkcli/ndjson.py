"""The lines of a stream as they arrive, in constant memory: nothing is waited for that is not needed yet."""

import io
import os
import select
from typing import BinaryIO, Final, NamedTuple

#: How much is read at a time, in bytes: what a pipe holds.
_PIECE: Final = 64 * 1024


class Line(NamedTuple):
    """A line without its newline, and its number from 1. `text` is None when it was too long to be kept."""

    number: int
    text: bytes | None


class Lines:
    """Reads lines from a file, a pipe or a terminal. Blank ones are counted and left out."""

    def __init__(self, stream: BinaryIO, longest: int, copy: BinaryIO | None = None) -> None:
        """Of a line with more than `longest` bytes only the number is told. What is read is written to `copy`, too."""
        self._stream = stream
        self._longest = longest
        self._copy = copy
        #: How many bytes have been read.
        self.taken = 0
        self._number = 0
        #: The beginning of a line whose newline has not come yet; empty while it is being passed over.
        self._begun: list[bytes] = []
        self._size = 0
        self._ended = False
        self._descriptor = _descriptor(stream)
        self._poll = select.poll()
        if self._descriptor is not None:
            self._poll.register(self._descriptor, select.POLLIN)

    @property
    def ended(self) -> bool:
        """Whether everything has been read."""
        return self._ended

    def read(self, seconds: float) -> list[Line]:
        """The lines that have arrived; where there are none, waits so long for more. Raises OSError."""
        if self._descriptor is None:
            piece = self._stream.read(_PIECE)
        elif self._poll.poll(seconds * 1000):
            piece = os.read(self._descriptor, _PIECE)
        else:
            return []
        self.taken += len(piece)
        if self._copy is not None:
            self._copy.write(piece)
        if piece:
            return self._split(piece)
        self._ended = True
        # The last line may lack its newline.
        return self._split(b"\n") if self._size else []

    def _split(self, piece: bytes) -> list[Line]:
        first, *others = piece.split(b"\n")
        self._add(first)
        if not others:
            return []
        found = [Line(self._number + 1, b"".join(self._begun) if self._size <= self._longest else None)]
        *whole, rest = others
        found += [
            Line(number, text if len(text) <= self._longest else None)
            for number, text in enumerate(whole, self._number + 2)
        ]
        self._number += len(others)
        self._begun, self._size = [], 0
        self._add(rest)
        return [line for line in found if line.text is None or line.text.strip()]

    def _add(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size <= self._longest:
            self._begun.append(piece)
        else:
            self._begun.clear()


def _descriptor(stream: BinaryIO) -> int | None:
    try:
        return stream.fileno()
    except (AttributeError, io.UnsupportedOperation):
        return None
