"""Small files beside the logs: the event log's end (the mark), who has joined (the roll), a receiver's outage, and what
counts against a destination's rate (the pace).

The first two are kept outside the parts they describe, so that a part that is lost or truncated is noticed.
docs/internals.md, "Parts of different ages".
"""

import os
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from arkcli.queue.local import lines
from arkcli.queue.local.lines import Damaged
from arkcli.queue.outage import Outage
from arkcli.queue.pace import Pace
from arkcli.system import files

#: The mark's file. A copy made in name order takes it before `events`, so the copied mark is not ahead of the log.
MARK: Final = "accepted"
#: The roll's file, in the queue's directory.
ROLL: Final = "joined"
#: The outage's file, in the destination's directory.
_OUTAGE: Final = "outage.json"
#: More bytes than any mark has.
_LONGEST_MARK: Final = 4096
#: The file with what counts against a rate, in the destination's directory.
_PACE: Final = "pace.json"
Kind = TypeVar("Kind")


#: What a lock file says, with a position, where its last holder released it.
_ENDED: Final = "ended"


def note_end(lock: files.Lock, position: int) -> None:
    """Writes into a lock's file where the journal ends, before the lock is released. Raises OSError."""
    lock.sign(f"{_ENDED} {position}\n")


def end_noted(said: str) -> int:
    """Where the journal ended when its lock was released, from what the lock's file says; 0 if it does not say that."""
    word, _, position = said.strip().partition(" ")
    return int(position) if word == _ENDED and position.isdecimal() else 0


class Mark(msgspec.Struct, frozen=True):
    """The positions between which the log has bytes, and `seq` and `addressed` of the next line, at `end`."""

    start: int
    end: int
    seq: int
    addressed: int


class MarkFile:
    """The mark's file, kept open by a process that accepts events: to open it takes half as long as to accept one."""

    def __init__(self, path: Path) -> None:
        """Opens nothing yet."""
        self.path = path
        self._descriptor = -1
        self._last: tuple[bytes, Mark] | None = None

    def left(self) -> Mark | None:
        """The mark, if the file is as this process left it; None if it is not, or was never written.

        Does not look at the file's times: see `ahead.size_of`.
        """
        if self._last is None or os.pread(self._descriptor, len(self._last[0]), 0) != self._last[0]:
            return None
        return self._last[1]

    def read(self) -> Mark | None:
        """See `read_mark`. Call `close` first if another file may have been put in its place."""
        try:
            return _decoded(os.pread(self._open(os.O_RDWR), _LONGEST_MARK, 0), Mark)
        except FileNotFoundError:
            return None

    def write(self, mark: Mark, *, durable: bool = False) -> None:
        """Overwrites the mark, or makes its file. Raises OSError."""
        line = lines.encode(mark)
        descriptor = self._open(os.O_RDWR | os.O_CREAT)
        files.write_all(descriptor, line, 0)
        self._last = line, mark
        if durable:
            files.sync(descriptor)

    def _open(self, flags: int) -> int:
        if self._descriptor < 0:
            self._descriptor = files.out_of_selects_way(files.open_private(self.path, flags))
        return self._descriptor

    def close(self) -> None:
        """Closes the file. It is opened again when it is next needed."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor, self._last = -1, None


class Roll(msgspec.Struct):
    """Who has joined: where in the event log each one begins; None once its place is on disk and knows more.

    `lost` are those whose place was lost, until a repair notes it.
    """

    begins: dict[str, int | None] = {}
    lost: list[str] = []

    def write(self, path: Path, *, durable: bool = True) -> None:
        """Replaces the roll. Raises OSError."""
        files.replace(path, lines.encode(self), durable=durable)


def read_mark(path: Path) -> Mark | None:
    """The mark in a file; None if it cannot be read, as after an older ark or a power failure. Raises OSError."""
    return _read(path, Mark)


def read_roll(path: Path) -> Roll:
    """The roll in a file; empty if it cannot be read, as after an older ark. Raises OSError."""
    return _read(path, Roll) or Roll()


def _read(path: Path, kind: type[Kind]) -> Kind | None:
    try:
        return _decoded(files.read(path), kind)
    except FileNotFoundError:
        return None


def _decoded(data: bytes, kind: type[Kind]) -> Kind | None:
    # The overwritten mark may have been longer.
    text, _, _ = data.partition(b"\n")
    try:
        lines.check(text)
        return msgspec.json.decode(text, type=kind)
    except (Damaged, msgspec.MsgspecError):
        return None


def read_outage(place: Path) -> Outage | None:
    """The outage of the destination with this directory; None if there is none or it cannot be read."""
    try:
        return msgspec.json.decode(files.read(place / _OUTAGE), type=Outage)
    except (OSError, msgspec.MsgspecError):
        return None


def write_outage(place: Path, outage: Outage | None) -> None:
    """Replaces or removes the outage. Call it only with the claim; a lost outage only costs time. Raises OSError."""
    if outage is None:
        files.unlink(place / _OUTAGE)
    else:
        files.replace(place / _OUTAGE, msgspec.json.encode(outage) + b"\n", durable=False)


def read_pace(place: Path, now: int) -> Pace:
    """What counts at the destination with this directory, for its next holder: what was under way has ended by `now`.

    Empty if the file cannot be read. A hand-made one delays attempts by one period at most.
    """
    try:
        pace = msgspec.json.decode(files.read(place / _PACE), type=Pace)
    except (OSError, msgspec.MsgspecError):
        return Pace()
    # Not under the name that the next holder's own attempts get.
    pace.open = {"before": (sum(count for count, _ in pace.open.values()), now)}
    return pace


def write_pace(place: Path, pace: Pace) -> None:
    """Replaces the pace. Call it only with the claim, and before the attempts begin that it counts. Raises OSError."""
    files.replace(place / _PACE, msgspec.json.encode(pace) + b"\n", durable=False)
