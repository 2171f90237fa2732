"""A standard stream whose other end may close or fill up while a command runs."""

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
                # Another process with the same stream made it non-blocking.
                select.select((), (self,), ())
        except OSError as error:
            self.lost = error
        return len(data)


def has_room(stream: TextIO) -> bool:
    """Whether a line of up to 4,096 bytes can be written without waiting for a reader (pipe(7))."""
    try:
        return bool(select.select((), (stream,), (), 0)[1])
    except (OSError, ValueError):
        # It is not a file.
        return True


class Unread(Exception):
    """The reader of a list is gone, so the rest is not computed."""


class Stream(io.TextIOWrapper):
    """Standard output or error. After a failed write, drops everything, so that a command still runs to its end and
    exit status. Escapes characters that the encoding lacks.
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
        """The error of the failed write; None if there was none."""
        return self._raw.lost
