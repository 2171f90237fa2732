"""Checks the whole queue for damage, and sets damaged lines aside."""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import msgspec

from arkcli.errors import Busy
from arkcli.queue.engine import Checked, Damage
from arkcli.queue.local import lines
from arkcli.queue.local.ahead import FILL, written_size
from arkcli.queue.local.journal import Journal
from arkcli.queue.local.lines import Damaged, Ends
from arkcli.queue.local.notes import MARK, end_noted, read_mark
from arkcli.queue.local.opening import is_a_link
from arkcli.queue.local.trouble import is_gone
from arkcli.system import files
from arkcli.text import counted

#: No line has as many bytes. A longer one is read in parts of this size.
_LONGEST_LINE: Final = 4 * 1024 * 1024


class DamagedLine(NamedTuple):
    """A damaged line: its file, its number (from 1), its offset in the file, its bytes, and the problem.

    A problem with more than one line has no bytes, or those to be replaced, and perhaps a `cure` for repair to call.
    """

    file: Path
    line: int
    offset: int
    text: bytes
    problem: str
    cure: Callable[[], None] | None = None

    @property
    def damage(self) -> Damage:
        """The same without the engine's own fields."""
        return Damage(str(self.file), self.line, self.problem)


class _Row(msgspec.Struct, rename={"text": "bytes"}):
    """A line of a file of damaged lines; its text in base64."""

    file: str
    line: int
    offset: int
    problem: str
    #: Not `bytes`: since Python 3.14 its own type would mean the field.
    text: bytes


class Inspection:
    """One check of a queue's directory. Reads without a lock, and changes nothing unless asked to repair."""

    def __init__(
        self, directory: Path, misfits: Callable[[], Iterable[DamagedLine]], need: int, *, tail: int | None = None
    ) -> None:
        """`tail` reads only the last `tail` bytes of each file, and counts lines from there.

        `misfits` returns problems between parts whose lines are right. `need` is the access needed (as for os.access).
        """
        self._directory = directory
        self._misfits = misfits
        self._need = need
        self._tail = tail
        self._lines = 0

    def run(self, *, repair_at: str | None = None) -> Checked:
        """Checks everything. With `repair_at`, the time as text, sets damaged lines aside. Raises Busy."""
        damaged = [*self._event_log(), *self._destinations(), *self._misfits()]
        told = [found.damage for found in damaged]
        if not damaged or repair_at is None:
            return Checked(self._lines, told, None)
        return Checked(self._lines, told, str(self._set_aside(damaged, repair_at)))

    def _event_log(self) -> Iterator[DamagedLine]:
        """Damaged and missing lines. Both marks are read at a time when the log has at least what they say."""
        events, mark = self._directory / "events", self._directory / MARK
        ends, segments, begins = read_mark(mark), list(_segments(events)), read_mark(mark)
        expected: int | None = None
        position = begins.start if begins else None
        last = DamagedLine(events / f"{position or 0:020d}.jsonl", 0, 0, b"", "")
        for path, is_last in segments:
            start = int(path.stem)
            if position is not None and position != start:
                yield from self._hole(last, position, start)
            expected = expected if self._tail is None else None
            last = last._replace(file=path, line=0)
            for number, offset, text in self._read(path, Ends(ends.end if ends else 0) if is_last else None):
                last = last._replace(line=number)
                try:
                    following, _ = lines.event_counts(text)
                    lines.decode_event(text, offset)
                except Damaged as error:
                    expected = None if expected is None else expected + 1
                    if not _is_blank(text):
                        yield DamagedLine(path, number, offset, text, str(error))
                    continue
                if expected is not None and following != expected + 1 and start + offset not in self._known_holes:
                    problem = f"lines are missing before this one: its number is {following - 1}, not {expected}"
                    yield DamagedLine(path, number, offset, b"", problem)
                expected = following
            position = None
            with contextlib.suppress(FileNotFoundError), files.open_to_read(path) as file:
                position = start + written_size(file.fileno(), os.fstat(file.fileno()).st_size)
        if ends is not None and position is not None and position < ends.end:
            yield from self._hole(last, position, ends.end, ends.seq - (ends.seq if expected is None else expected))

    def _hole(self, last: DamagedLine, position: int, following: int, count: int = 0) -> Iterator[DamagedLine]:
        """Reports that the log continues at `following` instead of `position`, unless that is known."""
        if following not in self._known_holes:
            problem = f"bytes {position:,} to {following:,} of the event log are missing"
            if following < position:
                problem = f"bytes {following:,} to {position:,} of the event log are in the next file, too"
            problem += f", and with them {counted(count, 'event')}" if count > 0 else ""
            yield last._replace(line=last.line + 1, offset=following - int(last.file.stem), problem=problem)

    @cached_property
    def _known_holes(self) -> set[int]:
        """Positions before which bytes are missing, as recorded by an earlier --repair; not reported again."""
        noted: set[int] = set()
        for copy in (self._directory / "damaged").glob("*.jsonl"):
            for line in files.read(copy).splitlines():
                with contextlib.suppress(msgspec.MsgspecError):
                    row = msgspec.json.decode(line, type=_Row)
                    if not row.text and row.file.startswith("events/"):
                        noted.add(int(Path(row.file).stem) + row.offset)
        return noted

    def _destinations(self) -> Iterator[DamagedLine]:
        places = self._directory / "destinations"
        if not is_gone(places) and not os.access(places, self._need | os.X_OK):
            yield DamagedLine(places, 1, 0, b"", "you cannot read and write it")
        for place in sorted(places.glob("[!.]*")):
            try:
                yield from self._place(place)
            except OSError as error:
                yield DamagedLine(Path(error.filename or place), 1, 0, b"", f"it cannot be used ({error.strerror})")

    def _place(self, place: Path) -> Iterator[DamagedLine]:
        journal = place / "journal"
        for path in (place, journal, *sorted(journal.glob("*.jsonl")), place / "lock", place / "dead.jsonl"):
            if os.path.islink(path):  # noqa: PTH114 - it raises nothing where the directory cannot be read
                yield DamagedLine(path, 1, 0, b"", is_a_link(path))
            elif os.path.exists(path) and not os.access(path, self._need):  # noqa: PTH110 - the same
                yield DamagedLine(path, 1, 0, b"", "you cannot read and write it")
            elif path is journal and os.path.exists(path) and not os.path.isdir(path):  # noqa: PTH110, PTH112 - the same
                yield DamagedLine(path, 1, 0, b"", "it is not a directory")
        # What a checkpoint counts was synced before it.
        saved = Journal(place, 0).checkpoint()
        ends = Ends(0 if saved is None else saved.journal, end_noted(files.read_holder(place / "lock")))
        for path, is_last in _segments(journal):
            yield from self._each(path, lines.decode_journal, ends if is_last else None)
        yield from self._each(place / "checkpoint.json", lines.decode_journal)
        yield from self._each(place / "dead.jsonl", lines.decode_dead, Ends())

    def _each(self, path: Path, decode: Callable[[bytes], object], ends: Ends | None = None) -> Iterator[DamagedLine]:
        for number, offset, text in self._read(path, ends):
            try:
                decode(text)
            except Damaged as error:
                if not _is_blank(text):
                    yield DamagedLine(path, number, offset, text, str(error))

    def _read(self, path: Path, ends: Ends | None) -> Iterator[tuple[int, int, bytes]]:
        """A file's lines, without newlines.

        With `ends`, it grows: leaves out what a crash, or a line being written, leaves after the last newline.
        """
        try:
            file = files.open_to_read(path)
        except FileNotFoundError:
            return
        with file:
            # What is written meanwhile is not read: its first part may still seem to be room.
            size = written_size(file.fileno(), os.fstat(file.fileno()).st_size)
            number, offset = 0, self._skip(file, size)
            while offset < size and (line := file.readline(min(_LONGEST_LINE, size - offset))):
                if ends is not None and not line.endswith(b"\n") and len(line) < _LONGEST_LINE:
                    position = offset + (int(path.stem) if path.stem.isdecimal() else 0)
                    if ends.are_torn(line, position) or lines.is_whole(line) or lines.is_whole(line[:-1]):
                        return
                number += 1
                self._lines += 1
                yield number, offset, line.removesuffix(b"\n")
                offset += len(line)

    def _skip(self, file: BinaryIO, size: int) -> int:
        """Seeks to the start of the first line to read, and returns its offset."""
        if self._tail is None or size <= self._tail:
            return 0
        file.seek(size - self._tail - 1)
        file.readline(_LONGEST_LINE)
        return file.tell()

    def _set_aside(self, damaged: list[DamagedLine], now: str) -> Path:
        """Copies the damaged lines into a new file, then blanks them in place, so that positions stay valid."""
        keeping = self._directory / "damaged"
        files.make_directory(keeping)
        copy = keeping / f"{now.replace(':', '')}.jsonl"
        rows = [
            _Row(str(found.file.relative_to(self._directory)), found.line, found.offset, found.problem, found.text)
            for found in damaged
        ]
        files.replace(copy, b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
        for found in damaged:
            if found.cure is not None:
                found.cure()
            elif found.text:
                path = found.file
                with locked(path.parent.parent if path.parent.name == "journal" else path.parent, path):
                    _blank(found)
        return copy


@contextlib.contextmanager
def locked(owner: Path, path: Path) -> Iterator[None]:
    """Holds the lock in the directory of the part to repair. `path` is for the message. Raises Busy."""
    with contextlib.closing(files.Lock(owner / "lock")) as lock:
        if owner.name == "events":
            lock.acquire()
        elif not lock.try_acquire():
            said = files.read_holder(owner / "lock").strip()
            holder = "another process" if end_noted(said) else f"process {said}"
            raise Busy(f"{holder} is using {path}; stop it and repair again")
        yield


def _segments(directory: Path) -> Iterator[tuple[Path, bool]]:
    found = sorted(directory.glob("*.jsonl"))
    for path in found:
        yield path, path == found[-1]


def _is_blank(text: bytes) -> bool:
    return not text.strip(b" " + FILL)


def _blank(found: DamagedLine) -> None:
    descriptor = files.open_private(found.file, os.O_RDWR)
    try:
        # Another process may have cut or rewritten the file since: then this line is gone.
        if os.pread(descriptor, len(found.text), found.offset) == found.text:
            ends = os.pread(descriptor, 1, found.offset + len(found.text)) == b"\n"
            blank = b" " * len(found.text) if ends else b" " * (len(found.text) - 1) + b"\n"
            files.write_all(descriptor, blank, found.offset)
            files.sync(descriptor)
    finally:
        os.close(descriptor)
