"""How far the event log has come, told outside of it, so that one that has become shorter is known.

docs/internals.md, "Parts of different ages".
"""

from pathlib import Path

import msgspec

from arkcli.queue.local import lines
from arkcli.queue.local.lines import Damaged
from arkcli.system import files

#: The file, beside `events`. A copy that is made in the order of names takes it before that: then it is behind.
NAME = "accepted"


class Mark(msgspec.Struct, frozen=True):
    """The positions between which the log has bytes, and `seq` and `addressed` of the line that will stand at `end`."""

    start: int
    end: int
    seq: int
    addressed: int

    def write(self, path: Path, *, durable: bool = False) -> None:
        """Writes it over the one before. Raises OSError."""
        files.overwrite(path, lines.seal(msgspec.json.encode(self)[1:]), durable=durable)


def read_mark(path: Path) -> Mark | None:
    """The mark in a file; None where none can be read: after an older ark, or a power failure. Raises OSError."""
    try:
        text, _, _ = files.read(path).partition(b"\n")
        lines.check(text)
        return msgspec.json.decode(text, type=Mark)
    except (FileNotFoundError, Damaged, msgspec.MsgspecError):
        return None
