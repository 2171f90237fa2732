"""A destination's journal: the history of its deliveries. docs/internals.md, sections 2 to 5."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from arkcli import times
from arkcli.errors import Broken
from arkcli.queue.local import lines
from arkcli.queue.local.lines import AttemptLine, Damaged, DropLine, Ends, Snapshot
from arkcli.queue.local.segments import SEGMENT_SIZE, Line, Segments
from arkcli.queue.local.state import DestinationState, joined
from arkcli.system import files

#: After how many lines read or written the state is worth saving.
_WORTH_SAVING: Final = 1_000
#: How many lines a long run writes between two checkpoints; after a crash, the next run reads as many again.
_SAVED_EVERY: Final = 20_000


class Origin(NamedTuple):
    """What the roll knows of a place: `position` is where it began, None if only the place knows.

    Call `keep` when the place has stored it.
    """

    position: Callable[[], int | None]
    keep: Callable[[], None]
    #: False if the place does not exist and cannot be made.
    is_written: bool = True


class Journal:
    """The journal and the checkpoint of one destination.

    Reading needs no lock. Hold the destination's lock to call `append` or `save`.
    """

    def __init__(
        self,
        directory: Path,
        retries: int,
        segment_size: int = SEGMENT_SIZE,
        origin: Origin | None = None,
        *,
        to_read: bool = False,
    ) -> None:
        """Opens the journal of a destination that has joined. `retries` is the number per delivery.

        With `to_read`, do not call what writes.
        """
        #: The destination's directory, named by its id.
        self.directory = directory
        self._retries = retries
        self._origin = origin
        self._checkpoint = directory / "checkpoint.json"
        is_optional = bool(origin and not origin.is_written)
        self._segments = Segments(directory / "journal", segment_size, optional=is_optional, to_read=to_read)
        self.state = DestinationState(joined(0, retries))
        self._unsaved = 0
        self._loaded = False
        self._rebuilt: set[int] = set()

    @staticmethod
    def create(directory: Path, first: Snapshot) -> None:
        """Makes the journal of a destination that joins, in its own directory. Syncs nothing."""
        files.make_directory(directory / "journal", durable=False)
        files.overwrite(directory / "journal" / f"{0:020d}.jsonl", lines.encode_snapshot(first), durable=False)

    def load(self) -> DestinationState:
        """The state as of the journal's end. Loading again reads only what has been added since.

        Raises Broken if no state can be found.
        """
        end = self._segments.last_line_end(self._segments.look())
        return self._load(None if self._loaded else self.checkpoint(), end)

    def _load(self, snapshot: Snapshot | None, end: int) -> DestinationState:
        """The state as of `end`, from the checkpoint, or from what has been loaded before."""
        if self._loaded and self.state.journal < self._segments.start:
            # The next lines to read have been removed; the remaining segments hold a later state.
            self._loaded = False
            snapshot = self.checkpoint()
        if not self._loaded:
            if snapshot is None or snapshot.journal > end or snapshot.journal < self._segments.start:
                snapshot = self._head_snapshot()
            self.state = DestinationState(snapshot)
            self._loaded = True
        for block, _ in self._segments.blocks(self.state.journal, end):
            for line in block:
                self.state.apply(self.decode(line), line.start, line.end)
            self._unsaved += len(block)
        return self.state

    def load_to_append(self, ended: int = 0) -> DestinationState:
        """Like `load`, for the holder of the lock: first cuts a torn last line.

        `ended` is where the journal ended when the lock was last released; 0: unknown.
        """
        self._segments.look()
        snapshot = None if self._loaded else self.checkpoint()
        # What a checkpoint counts was synced before it, and what has been read was whole.
        end = self._segments.mend_tail(Ends(self.state.journal if snapshot is None else snapshot.journal, ended))
        state = self._load(snapshot, end)
        if snapshot is not None and snapshot.journal > end:
            # Once the journal had grown beyond this checkpoint, it would seem to fit.
            files.unlink(self._checkpoint)
        if not end:
            # Only the roll knows where it began, and only until `keep` is called.
            self._begin_segment()
        return state

    def rebuild(self, position: int) -> bool:
        """Folds the state again without the checkpoint, which had counted the line at a position that is now damaged.

        The fold begins at the snapshot at the start of that line's segment, or an earlier one. False if this has been
        done for this position before: then lines have been moved, and positions no longer point at them.
        """
        if position in self._rebuilt:
            return False
        self._rebuilt.add(position)
        self.state = DestinationState(self._head_snapshot(position))
        self.load()
        self._unsaved = _SAVED_EVERY
        return True

    def checkpoint(self) -> Snapshot | None:
        """The last checkpoint; None if it cannot be read. It may be ahead of the journal."""
        try:
            found = lines.decode_journal(files.read(self._checkpoint).rstrip(b"\n"))
        except (OSError, Damaged):
            return None
        return found if isinstance(found, Snapshot) else None

    def _head_snapshot(self, before: int | None = None) -> Snapshot:
        """The snapshot at the start of the newest readable segment, among those that begin before a position."""
        end = self._segments.size()
        for start in reversed(self._segments.starts):
            if before is not None and start >= before > 0:
                continue
            block, _ = self._segments.block(start, end)
            found = self.decode(block[0]) if block else None
            if isinstance(found, Snapshot):
                return found
        position = self._origin.position() if self._origin else 0
        if position is None and before is None:
            words = "has nothing readable; after `ark queue check --repair` its events are sent, some of them again"
            raise Broken(self.directory.name, f"{self.directory / 'journal'} {words}")
        return joined(position or 0, self._retries)

    def decode(self, line: Line) -> AttemptLine | DropLine | Snapshot | None:
        """The entry in a line; None if the line is damaged."""
        try:
            return lines.entry_of(line.text) if line.is_whole else None
        except Damaged:
            return None

    def entry_at(self, position: int, length: int) -> AttemptLine | DropLine | Snapshot | None:
        """The entry in the line at exactly this position and length; None if there is none, or it is damaged."""
        if not self._segments.start <= position <= position + length <= self.state.journal:
            return None
        try:
            text = self._segments.read(position, length)
            return lines.decode_journal(text[:-1]) if len(text) == length else None
        except Damaged:
            return None

    def sync(self) -> None:
        """Returns when the journal is on stable storage. Raises OSError."""
        self._segments.sync()

    def block(self, position: int) -> tuple[list[Line], int]:
        """The next lines from a position, up to that of the state."""
        found, following = self._segments.block(position, self.state.journal)
        self._unsaved += len(found)
        return found, following

    def telling_of(self, event_id: str, begin: int, end: int) -> Iterator[tuple[Line, AttemptLine | DropLine]]:
        """The entries about an event between two positions, oldest first."""
        needle = b'"id":%b,' % msgspec.json.encode(event_id)
        for line in self._segments.holding(needle, max(begin, self._segments.start), end):
            entry = self.decode(line)
            if isinstance(entry, AttemptLine | DropLine) and entry.id == event_id:
                yield line, entry

    def entries(self) -> Iterator[AttemptLine | DropLine]:
        """All attempts and drops in the journal, oldest first, up to its present end."""
        for found, _ in self.blocks(0, self.end):
            for line in found:
                entry = self.decode(line)
                if isinstance(entry, AttemptLine | DropLine):
                    yield entry

    def tail(self, size: int, end: int | None = None) -> tuple[list[AttemptLine], bool]:
        """The attempts in the last `size` bytes before a position, oldest first, and whether these are all."""
        end = self.end if end is None else end
        found = (self.decode(line) for line in self._segments.tail(end, size))
        return [entry for entry in found if isinstance(entry, AttemptLine)], end - size <= self._segments.start

    @property
    def end(self) -> int:
        """The position after the last line; reads no lines."""
        return self._segments.last_line_end(self._segments.look())

    def blocks(self, position: int, end: int) -> Iterator[tuple[list[Line], int]]:
        """The lines from a position to an end, which may be an earlier end of the journal. See `Segments.blocks`."""
        return self._segments.blocks(position, end)

    def append(self, entries: Sequence[AttemptLine | DropLine]) -> None:
        """Writes lines and applies them to the state, all or none. Raises OSError.

        A delivery that they make dead is in the state's `newly_dead` until its copy is kept.
        """
        if not entries:
            return
        encoded = [lines.encode(entry) for entry in entries]
        if self._segments.is_full(self.state.journal) or self.state.journal == self._segments.starts[-1]:
            self._begin_segment()
        position = self.state.journal
        self._segments.append(b"".join(encoded), position)
        apply = self.state.apply
        for entry, text in zip(entries, encoded, strict=True):
            end = position + len(text)
            apply(entry, position, end)
            position = end
        self._unsaved += len(entries)

    def _begin_segment(self) -> None:
        """Begins a segment with a snapshot. May reuse one that a crash left empty."""
        start = self.state.journal
        self._segments.begin(start)
        snapshot = lines.encode_snapshot(self.state.snapshot())
        try:
            self._segments.append(snapshot, start)
            self._segments.sync()
        except OSError:
            self._segments.take_back(start)
            raise
        self.state.journal = start + len(snapshot)

    def restart(self, snapshot: Snapshot) -> None:
        """Begins a segment with a state that does not follow from the lines before it. Raises OSError."""
        # The checkpoint would restore the old state.
        files.unlink(self._checkpoint)
        self._segments.look()
        end = self._segments.mend_tail(Ends(self.state.journal), keep_zeros=True)
        self.state = DestinationState(msgspec.structs.replace(snapshot, journal=end))
        self._begin_segment()

    def expire(self, before: int) -> None:
        """Removes segments that no retry needs and that hold only attempts before a time (milliseconds, UTC)."""
        starts = self._segments.starts
        if len(starts) < 2:
            return
        snapshot = self.state.snapshot()
        needed = min(cursor for cursor, _ in snapshot.lanes)
        expired = starts[0]
        for start in starts[1:]:
            block, _ = self._segments.block(start, self.state.journal)
            first = next((entry for line in block if isinstance(entry := self.decode(line), AttemptLine)), None)
            if start > needed or first is None or times.from_text(first.at) >= before:
                break
            expired = start
        if expired > starts[0]:
            self.save()
            self._segments.remove_before(expired)

    def passed_over(self, events: int) -> None:
        """Counts events found finished, or for other destinations: a checkpoint saves skipping them again."""
        self._unsaved += events

    def forget_dead(self) -> None:
        """Clears `newly_dead`, whose copies are kept: a checkpoint saves looking for them again."""
        self.state.newly_dead.clear()
        self._unsaved = max(self._unsaved, _WORTH_SAVING)

    def save_if_worth_it(self, *, going_on: bool = False) -> None:
        """Writes a checkpoint if it saves the next run enough reading; `going_on`: less often."""
        if self._unsaved >= (_SAVED_EVERY if going_on else _WORTH_SAVING):
            self.save()

    def save(self) -> None:
        """Syncs the journal, then writes the checkpoint. Ignores a full disk, which then costs only time."""
        try:
            self._segments.sync()
            if self._origin and not self._checkpoint.exists():
                self._origin.keep()
            snapshot = self.state.snapshot()
            files.replace(self._checkpoint, lines.encode_snapshot(snapshot), durable=False)
        except OSError:
            return
        self._unsaved = 0
        self.state.newly_dead.clear()

    def close(self) -> None:
        """Closes what is open."""
        self._segments.close()
