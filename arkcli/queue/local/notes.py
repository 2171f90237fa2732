"""Small notes beside the logs: how far the event log has come, who has joined, and a receiver's outage.

The first two are told outside of what they tell of, so that a part that vanishes or becomes shorter is missed.
docs/internals.md, "Parts of different ages".
"""

from pathlib import Path
from typing import Final, TypeVar

import msgspec

from arkcli.queue.engine import Outage
from arkcli.queue.local import lines
from arkcli.queue.local.lines import Damaged
from arkcli.system import files

#: The mark's file, beside `events`. A copy that is made in the order of names takes it before that: then it is behind.
MARK: Final = "accepted"
#: The roll's file, in the queue's directory.
ROLL: Final = "joined"
#: The file of an outage, in the destination's directory.
_OUTAGE: Final = "outage.json"
Kind = TypeVar("Kind")


class Mark(msgspec.Struct, frozen=True):
    """The positions between which the log has bytes, and `seq` and `addressed` of the line that will stand at `end`."""

    start: int
    end: int
    seq: int
    addressed: int

    def write(self, path: Path, *, durable: bool = False) -> None:
        """Writes it over the one before. Raises OSError."""
        files.overwrite(path, lines.encode(self), durable=durable)


class Roll(msgspec.Struct):
    """Who has joined: the position of the event log where each begins; None when its place is on disk and tells more.

    `lost` are those whose place was gone, until that is noted.
    """

    begins: dict[str, int | None] = {}
    lost: list[str] = []

    def write(self, path: Path, *, durable: bool = True) -> None:
        """Replaces the one before. Raises OSError."""
        files.replace(path, lines.encode(self), durable=durable)


def read_mark(path: Path) -> Mark | None:
    """The mark in a file; None where none can be read: after an older ark, or a power failure. Raises OSError."""
    return _read(path, Mark)


def read_roll(path: Path) -> Roll:
    """The roll in a file; an empty one where none can be read, as after an older ark. Raises OSError."""
    return _read(path, Roll) or Roll()


def _read(path: Path, kind: type[Kind]) -> Kind | None:
    try:
        # What is written over may have been longer.
        text, _, _ = files.read(path).partition(b"\n")
        lines.check(text)
        return msgspec.json.decode(text, type=kind)
    except (FileNotFoundError, Damaged, msgspec.MsgspecError):
        return None


def read_outage(place: Path) -> Outage | None:
    """The outage of the destination whose directory that is; None if there is none, or it cannot be read."""
    try:
        return msgspec.json.decode(files.read(place / _OUTAGE), type=Outage)
    except (OSError, msgspec.MsgspecError):
        return None


def write_outage(place: Path, outage: Outage | None) -> None:
    """Replaces the outage, or removes it. Only the claim's holder does; losing it costs time. Raises OSError."""
    if outage is None:
        files.unlink(place / _OUTAGE)
    else:
        files.replace(place / _OUTAGE, msgspec.json.encode(outage) + b"\n", durable=False)
