"""A standard stream whose other end may go away, or have no room, while a command is at work."""

import io
import select
from typing import Any, TextIO


class _Raw(io.FileIO):
    lost: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            while self.lost is None:
                if (written := super().write(data)) is not None:
                    return written
                # Somebody who has the same stream made it non-blocking.
                select.select((), (self,), ())
        except OSError as error:
            self.lost = error
        return len(data)


class Unread(Exception):
    """Nobody takes what is listed, so the rest is not looked for."""


class Stream(io.TextIOWrapper):
    """Standard output or error. What cannot be written is dropped, and so is all behind it: a command goes on to its
    own end and exit status. What the encoding has no character for is escaped.
    """

    def __init__(self, descriptor: int, like: TextIO | None) -> None:
        """Writes to a descriptor, in the encoding of Python's own stream."""
        self._raw = _Raw(descriptor, "w", closefd=False)
        super().__init__(
            io.BufferedWriter(self._raw), encoding=like.encoding if like else "utf-8", errors="backslashreplace",
            line_buffering=descriptor == 2 or self._raw.isatty(), write_through=getattr(like, "write_through", False),
        )  # fmt: skip

    @property
    def lost(self) -> OSError | None:
        """Why it takes nothing any more; None as long as it does."""
        return self._raw.lost
