"""The event log: every accepted event, once, in order. docs/internals.md, sections 2 and 4."""

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from arkcli import times
from arkcli.errors import NotAccepted, Replaced, Unreadable
from arkcli.model import Draft, Event
from arkcli.queue.local import lines
from arkcli.queue.local.addressed import Addressed
from arkcli.queue.local.ahead import Ahead
from arkcli.queue.local.index import Index, Row
from arkcli.queue.local.lines import Damaged, Ends
from arkcli.queue.local.notes import MARK, Mark, MarkFile, read_mark
from arkcli.queue.local.segments import SEGMENT_SIZE, Line, Segments
from arkcli.queue.local.stored import StoredDraft, StoredEvent
from arkcli.queue.local.trouble import NO_ROOM, used_up
from arkcli.system import files
from arkcli.system.followed import stamp_of
from arkcli.system.refused import in_words

_CACHED_BLOCKS: Final = 16
#: A table is kept if it took one reading of the log per this many bytes of segment size: 8 readings by default.
_KEPT_FOR: Final = 8 * 1024 * 1024
#: An event's id is within this many bytes from the start of its line.
_HEAD: Final = 300


class Gap(NamedTuple):
    """A stretch of the log that cannot be read."""

    position: int
    length: int


class EventLog:
    """One log on disk. Many processes may append to it and read it at the same time."""

    def __init__(
        self, directory: Path, segment_size: int = SEGMENT_SIZE, furthest: Callable[[], int] = int, fixed: bool = False
    ) -> None:
        """Opens a log whose directory exists. A `fixed` log may be missing, and is never written.

        `furthest` returns the position up to which destinations have seen events; called if the log's mark is missing.
        """
        self._directory = directory
        self._ahead = Ahead()
        self._segments = Segments(directory, segment_size, optional=fixed, ahead=self._ahead)
        self._mark = MarkFile(directory.with_name(MARK))
        self._furthest = furthest
        self._lock = None if fixed else files.Lock(directory / "lock")
        self._locked = _identity(directory / "lock")
        #: The directories of the log and of its mark, as text, which takes less time; and their stamps, as last seen.
        self._directories = str(directory), str(directory.parent)
        self._stamps = tuple(map(stamp_of, self._directories))
        self._end = 0
        self._counts: tuple[int, int, int] | None = None
        #: Raises Unreadable if the queue has been moved. Called under each lock, before anything is done.
        self.check: Callable[[], None] = lambda: None
        self._blocks: OrderedDict[int, tuple[Sequence[StoredEvent | Gap], int]] = OrderedDict()
        worth = 0 if fixed else max(segment_size // _KEPT_FOR, 1)
        self.addressed = Addressed(directory / "index", self._segments, worth)
        self._ids = Index(directory / "index", "ids", self._segments, self._scan_ids, worth)
        self.look()

    @property
    def end(self) -> int:
        """The position after the last event, as of the last `look`."""
        return self._end

    @property
    def start(self) -> int:
        """The position of the oldest event still in the log."""
        return self._segments.start

    def look(self) -> int:
        """Finds newly accepted events; returns the new end.

        Syncs them first, so that ark never delivers an event that a power failure could still remove.
        """
        with self._held(shared=True):
            self.check()
            self._is_as_seen()
            size = self._segments.look()
            if size == self._end:
                return size
            if self._lock:
                self._segments.sync()
        self._end = self._segments.last_line_end(size)
        return self._end

    def _held(self, *, shared: bool = False) -> contextlib.AbstractContextManager[None]:
        return self._lock.held(shared=shared) if self._lock else files.shared_if_possible(self._directory / "lock")

    def accept(self, drafts: Sequence[Draft], *, unique: bool = False) -> list[StoredEvent]:
        """Makes events durable, all or none, with one sync; returns them in order.

        With `unique`, a draft whose id is already in the log is not written; the existing event is returned. Raises
        NotAccepted; the log is then unchanged.
        """
        if unique:
            # Index the existing events before taking the lock, so that others can go on.
            self._ids.cover(self.start, self.look())
        with self._held():
            self.check()
            try:
                return self._accept(drafts, unique=unique)
            except OSError as error:
                raise _not_accepted(error, self._mark.path.parent) from error

    def _accept(self, drafts: Sequence[Draft], *, unique: bool) -> list[StoredEvent]:
        mark, end = self._latest()
        # The positions of missing bytes are not used again: destinations may have passed them.
        before = position = max(end, mark.end)
        seq, addressed = (mark.seq, mark.addressed) if position == mark.end else self._count(position)
        accepted: list[StoredEvent] = []
        written: list[bytes] = []
        if unique:
            # The process that wrote a known event may have been killed before it synced.
            self._segments.sync()
        fresh: dict[str, StoredEvent] = {}
        seen = self._seen([draft.id for draft in drafts], end) if unique else ()
        for draft in drafts:
            known = fresh.get(draft.id) or (next(self.find_all(draft.id, end), None) if draft.id in seen else None)
            if known is not None:
                accepted.append(known)
                continue
            line = lines.encode_event(draft, seq, addressed)
            instead = draft.instead if isinstance(draft, StoredDraft) else None
            place = position, len(line), instead
            accepted.append(StoredEvent(draft.id, draft.name, draft.at, draft.body, draft.to, *place))
            if unique:
                fresh[draft.id] = accepted[-1]
            written.append(line)
            position += len(line)
            seq += 1
            addressed += draft.to is not None
        if written:
            if end < before or self._segments.is_full(before) or before == self._segments.starts[-1]:
                self._segments.begin(before)
            self._segments.append(b"".join(written), before)
            try:
                self._segments.sync()
            except OSError:
                self._segments.take_back(before)
                raise
            with contextlib.suppress(OSError):
                # An outdated mark does no harm.
                self._mark.write(Mark(mark.start, position, seq, addressed))
            self._end = position
            self._counts = (position, seq, addressed)
        return accepted

    def _latest(self) -> tuple[Mark, int]:
        """The mark, and the log's end, after a repair. Quick if nobody else has accepted since this process did."""
        if self._is_as_seen() and (left := self._mark.left()) is not None and self._segments.is_as_left(left.end):
            return left, left.end
        self._segments.look()
        mark = self._marked()
        return mark, self._segments.mend_tail(Ends(mark.end), keep_zeros=True)

    def _is_as_seen(self) -> bool:
        """Whether no file has got or lost its name beside the log and its mark. If one has, opens both again.

        Raises Replaced if the log itself is another one by now: the lock of this process keeps nobody out of that.
        """
        stamps = tuple(map(stamp_of, self._directories))
        if stamps == self._stamps:
            return True
        if self._lock and stamps[0] is not None and _identity(self._directory / "lock") != self._locked:
            raise Replaced(str(self._directory.parent))
        self._segments.close()
        self._mark.close()
        self._stamps = stamps
        return False

    def _seen(self, ids: Sequence[str], end: int) -> set[str]:
        """The ids that the log has up to `end`, perhaps with a few that it has not. Writes no index."""
        self._ids.cover(self.start, end, keep=False)
        return self._ids.known(ids, self.start, end)

    def _marked(self) -> Mark:
        """The mark; if it is missing, one derived from the log and the destinations."""
        mark = self._mark.read()
        if mark is not None:
            return mark
        end = self._segments.last_line_end(self._segments.size())
        return Mark(self.start, max(end, self._furthest()), *self._count(end))

    @property
    def reach(self) -> int:
        """The position after the last event known to have been accepted, even if its bytes are missing."""
        mark = read_mark(self._mark.path)
        return self._end if mark is None else max(mark.end, self._end)

    def _count(self, end: int) -> tuple[int, int]:
        """`seq` and `addressed` of the next line if the log ends at a position."""
        if self._counts is not None and self._counts[0] == end:
            return self._counts[1], self._counts[2]
        counts = self.addressed.counts_behind(end)
        return sum(counts), counts.addressed

    def block(self, position: int) -> tuple[Sequence[StoredEvent | Gap], int]:
        """The next events from a position, and the position after them; no events at the end of the log.

        Destinations at the same position share one reading.
        """
        cached = self._blocks.get(position)
        if cached is not None:
            self._blocks.move_to_end(position)
            return cached
        data = self._segments.whole_lines(position, self._end)
        events: Sequence[StoredEvent | Gap] | None = lines.events_in(data, position) if data else None
        following = position + len(data)
        if events is None:
            found, following = self._segments.block(position, self._end)
            events = [_decode(line) for line in found]
        if events:
            self._blocks[position] = events, following
            if len(self._blocks) > _CACHED_BLOCKS:
                self._blocks.popitem(last=False)
        return events, following

    def events(self) -> Iterator[StoredEvent]:
        """All readable events, oldest first."""
        for found, _ in self._segments.blocks(self.start, self._end):
            yield from _events(found)

    def tail(self, size: int) -> list[StoredEvent]:
        """The events in the last `size` bytes of the log, oldest first."""
        return list(_events(self._segments.tail(self._end, size)))

    def event_at(self, position: int, length: int) -> StoredEvent | None:
        """The event whose line is at this position and has this length; None if it cannot be read."""
        if position + length > self._end:
            # Another process that looked later recorded this position.
            self.look()
        # The line may be after the end: if only its newline is damaged, the log seems to end before it.
        text = self._segments.read(position, length) if position >= self.start else b""
        return _event_in(text[:-1], position) if len(text) == length else None

    def last_before(self, position: int) -> StoredEvent | None:
        """The last event before a position; None if it cannot be read."""
        line = self._segments.last_line(position)
        return None if line is None else _event_in(line.text, line.start)

    def has_another(self, position: int, length: int, event_id: str) -> bool:
        """Whether a line other than this event's is in its place. A damaged or missing line is not another line."""
        if not length or not self.start <= position < self._end:
            return False
        needle = b',"id":"%b","at":"' % event_id.encode()
        if needle in self._segments.read(position, _HEAD):
            return False
        found, _ = self._segments.block(self._segments.line_start(position), self._end)
        overlapping = (line for line in found if line.start < position + length and position < line.end)
        return any(line.is_whole and needle not in line.text[:_HEAD] for line in overlapping)

    def find(self, event_id: str) -> StoredEvent | None:
        """The first event in the log with an id."""
        return next(self.find_all(event_id), None)

    def find_all(self, event_id: str, end: int | None = None) -> Iterator[StoredEvent]:
        """The events with an id, oldest first: an event may have been sent again. With `end`, writes no index."""
        stop = self._end if end is None else end
        self._ids.cover(self.start, stop, keep=end is None)
        for _, position, length, _ in self._ids.rows(event_id, self.start, stop):
            event = _event_in(self._segments.read(position, length)[:-1], position)
            if event is not None and event.id == event_id:
                yield event

    def find_prefix(self, beginning: str) -> list[StoredEvent]:
        """The first events of up to two ids with this prefix."""
        keys = self._ids.keys(beginning, self.start, self._end)
        return list(islice((event for key in keys if (event := self.find(key)) is not None), 2))

    def _scan_ids(self, begin: int, end: int) -> Iterator[tuple[list[Row], int]]:
        for found, following in self._segments.blocks(begin, end):
            yield [(event.id, event.position, event.length, "") for event in _events(found)], following

    @property
    def totals(self) -> tuple[int, int]:
        """How many events are in the log, where a resent event counts once, and how many bytes its lines take."""
        return self.addressed.count_once(self.start, self._end), max(self._end - self.start, 0)

    def expired(self, before: int) -> int:
        """The position up to which whole segments hold only events accepted before a time (milliseconds, UTC)."""
        expired = self.start
        for start in self._segments.starts[1:]:
            events, _ = self.block(start)
            first = next((event for event in events if isinstance(event, StoredEvent)), None)
            # Events are in order of acceptance.
            if first is None or times.from_text(first.at) >= before:
                break
            expired = start
        return expired

    def remove_before(self, position: int) -> None:
        """Removes the segments that end at or before a position."""
        with self._held():
            self._is_as_seen()
            self._segments.look()
            mark = self._marked()
            start = max((found for found in self._segments.starts if found <= position), default=self.start)
            try:
                # The mark comes first: bytes missing after its start are then known to be lost, not removed.
                self._mark.write(Mark(start, mark.end, mark.seq, mark.addressed), durable=True)
            except OSError:
                return
            self._segments.remove_before(position)
            self._blocks.clear()
            for index in (self.addressed.index, self._ids):
                index.prune(0, self.start)

    def close(self) -> None:
        """Closes what is open."""
        if self._ahead.has_filled:
            with contextlib.suppress(OSError, Unreadable):
                # Without waiting: this may run while this very thread accepts, in the finalizer of an object.
                if self._lock and self._lock.try_acquire():
                    self.check()
                    self._is_as_seen()
                    self._segments.look()
                    self._segments.trim()
        self._segments.close()
        self._mark.close()
        if self._lock:
            self._lock.close()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_for(event: Event, destination_id: str) -> bool:
    """Whether an event is for a destination."""
    return event.to is None or destination_id in event.to


def _event_in(text: bytes, position: int) -> StoredEvent | None:
    try:
        return lines.decode_event(text, position)
    except Damaged:
        return None


def _decode(line: Line) -> StoredEvent | Gap:
    try:
        if line.is_whole:
            return lines.event_of(line.text, line.start)
    except Damaged:
        pass
    return Gap(line.start, line.end - line.start)


def _events(found: Iterable[Line]) -> Iterator[StoredEvent]:
    return (event for line in found if isinstance(event := _decode(line), StoredEvent))


def _not_accepted(error: OSError, directory: Path) -> NotAccepted:
    if error.errno in NO_ROOM:
        return NotAccepted(used_up(error, directory), "nothing was accepted. Free some space and send it again")
    where = f"{error.filename}: " if error.filename else ""
    return NotAccepted(f"the event log cannot be written ({where}{in_words(error, directory)})", "nothing was accepted")
