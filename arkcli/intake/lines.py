"""Reads the lines of a stream as they arrive, in constant memory."""

import io
import os
import select
from typing import BinaryIO, Final, NamedTuple

#: How much to read at a time, in bytes. A pipe usually holds less.
_PIECE: Final = 256 * 1024


class Arrived(NamedTuple):
    """Consecutive lines without their newlines; None for a line that was too long."""

    #: The number of the first line here; the stream's first line is 1.
    number: int
    texts: list[bytes | None]


class Lines:
    """Reads lines from a file, a pipe or a terminal."""

    def __init__(self, stream: BinaryIO, longest: int, copy: BinaryIO | None = None) -> None:
        """Lines with more than `longest` bytes become None. Everything read is also written to `copy`."""
        self._stream = stream
        self._longest = longest
        self._copy = copy
        #: The number of bytes read so far.
        self.taken = 0
        self._number = 0
        #: The pieces of a line whose newline has not arrived yet; empty if the line is already too long.
        self._begun: list[bytes] = []
        self._size = 0
        #: Whether everything has been read.
        self.ended = False
        self._descriptor = _descriptor(stream)
        self._poll = select.poll()
        if self._descriptor is not None:
            self._poll.register(self._descriptor, select.POLLIN)

    def flush(self) -> None:
        """Flushes the copy. Raises OSError."""
        if self._copy is not None:
            self._copy.flush()

    def read(self, seconds: float) -> Arrived:
        """The lines that have arrived; waits at most `seconds` for them. Raises OSError."""
        if self._descriptor is None:
            piece = self._stream.read(_PIECE)
        elif self._has_more(seconds):
            piece = os.read(self._descriptor, _PIECE)
        else:
            return self._arrived([])
        self.taken += len(piece)
        if self._copy is not None:
            self._copy.write(piece)
        if piece:
            return self._split(piece)
        self.ended = True
        # The last line may have no newline.
        return self._split(b"\n" if self._size else b"")

    def _has_more(self, seconds: float) -> bool:
        found = self._poll.poll(seconds * 1000)
        if found and found[0][1] & select.POLLNVAL:
            # Some systems cannot poll a terminal.
            return bool(select.select([found[0][0]], [], [], seconds)[0])
        return bool(found)

    def _split(self, piece: bytes) -> Arrived:
        texts: list[bytes | None] = []
        begin = 0
        # Not bytes.split, which looks at every byte; find uses the processor's own search.
        while (end := piece.find(b"\n", begin)) >= 0:
            if self._size:
                self._add(piece[begin:end])
                texts.append(b"".join(self._begun) if self._size <= self._longest else None)
                self._begun, self._size = [], 0
            else:
                texts.append(piece[begin:end] if end - begin <= self._longest else None)
            begin = end + 1
        if begin < len(piece):
            self._add(piece[begin:])
        return self._arrived(texts)

    def _arrived(self, texts: list[bytes | None]) -> Arrived:
        arrived = Arrived(self._number + 1, texts)
        self._number += len(texts)
        return arrived

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
