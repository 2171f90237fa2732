"""The queue on this host: the event log, and a journal for each destination. docs/internals.md describes it.

What the delivery loop asks of a queue is: accept events, claim a destination, hand out what is due, record outcomes.
"""

import contextlib
import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from arkcli import files
from arkcli.errors import ArkError, NotRecorded, Unreadable
from arkcli.model import Attempt, Draft, Event
from arkcli.queue.check import Check, Checked
from arkcli.queue.claim import Claim
from arkcli.queue.deadletters import DeadLetters
from arkcli.queue.eventlog import EventLog
from arkcli.queue.journal import Journal
from arkcli.queue.lines import AttemptLine
from arkcli.queue.segments import SEGMENT_SIZE
from arkcli.queue.state import joined
from arkcli.queue.view import Standing, View
from arkcli.schedule import RetrySchedule

VERSION: Final = 1


class Holder(NamedTuple):
    """Who holds a destination's lock: the process id, None when it is not known, and what it does."""

    process: int | None
    purpose: str

    def __str__(self) -> str:
        return "another process" if self.process is None else f"process {self.process} ({self.purpose})"


class LocalQueue:
    """A queue in one directory, shared by any number of processes on this host."""

    def __init__(self, directory: Path, schedule: RetrySchedule, segment_size: int = SEGMENT_SIZE) -> None:
        """Opens the queue, and makes it where there is none. Raises Unreadable, and ArkError when the disk is full."""
        self._directory = directory
        self._schedule = schedule
        self._segment_size = segment_size
        self._journals: dict[str, Journal] = {}
        try:
            _check_local(directory)
            files.make_directory(directory)
            _check_version(directory / "VERSION")
            for part in ("events", "destinations"):
                _check_no_link(directory / part)
                files.make_directory(directory / part)
            files.raise_descriptor_limit()
            self._log = EventLog(directory / "events", segment_size)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise ArkError(
                    f"the disk is full: the queue in {directory} cannot be opened, so nothing was accepted or "
                    f"attempted. Free some space and try again"
                ) from error
            raise Unreadable(f"the queue in {directory} cannot be opened: {error.strerror}") from error

    def join(self, destination_ids: Iterable[str]) -> None:
        """Makes sure that each destination has its place; a new one starts at the end of the log."""
        missing = [found for found in destination_ids if not self._place(found).is_dir()]
        if not missing:
            return
        lock = files.Lock(self._directory / "lock")
        try:
            with lock.held():
                for left in (self._directory / "destinations").glob(".joining-*"):
                    files.remove_tree(left)
                for destination_id in missing:
                    self._join(destination_id)
        finally:
            lock.close()

    def _join(self, destination_id: str) -> None:
        place = self._place(destination_id)
        if place.is_dir():
            return
        made = place.with_name(f".joining-{destination_id}")
        Journal.create(made, joined(self._log.look()))
        files.rename(made, place)

    def has_place(self, destination_id: str) -> bool:
        """Whether a destination has joined."""
        return self._place(destination_id).is_dir()

    def leave(self, destination_id: str) -> None:
        """Forgets a destination and all that waits for it. The caller holds no claim on it."""
        files.remove_tree(self._place(destination_id))

    def accept(self, drafts: Sequence[Draft], *, unique: bool = False) -> list[Event]:
        """Makes events durable, all or none. See `EventLog.accept`. Raises NotAccepted."""
        return self._log.accept(drafts, unique=unique)

    @property
    def end(self) -> int:
        """The position behind the last event, as of the last look."""
        return self._log.end

    def look(self) -> int:
        """Looks for events that others have accepted; returns the position behind the last."""
        return self._log.look()

    def claim(self, destination_id: str, purpose: str) -> Claim | None:
        """The sole right to deliver to a destination, until released; None when another process has it.

        `purpose` is what the lock file then says of the holder. Raises NotRecorded.
        """
        lock = files.Lock(self._place(destination_id) / "lock")
        if not lock.try_acquire():
            lock.close()
            return None
        try:
            with contextlib.suppress(OSError):
                # For people to read; a disk too full for it can still be delivered from.
                lock.sign(f"{os.getpid()} {purpose}\n")
            journal = self._journal(destination_id)
            journal.load_to_append()
            # The journal may tell of events that this process has not seen yet.
            self._log.look()
            return Claim(destination_id, lock, self._log, journal, self._dead_letters(destination_id), self._schedule)
        except OSError as error:
            lock.close()
            raise NotRecorded(f"the journal cannot be mended ({error.strerror}): delivering stopped") from error
        except BaseException:
            lock.close()
            raise

    def holder(self, destination_id: str) -> Holder:
        """Who last held a destination's lock, as it said itself."""
        process, _, purpose = files.read_holder(self._place(destination_id) / "lock").strip().partition(" ")
        return Holder(int(process) if process.isdecimal() else None, purpose)

    def is_held(self, destination_id: str) -> bool:
        """Whether some process holds a destination's lock at this moment."""
        path = self._place(destination_id) / "lock"
        if not path.exists():
            return False
        lock = files.Lock(path)
        try:
            return not lock.try_acquire(shared=True)
        finally:
            lock.close()

    def view(self, destination_id: str) -> View:
        """A destination's deliveries, to be read without its lock. Close it after use."""
        journal = Journal(self._place(destination_id), self._segment_size)
        return View(destination_id, self._log, journal, self._dead_letters(destination_id), self._schedule)

    def standing(self, destination_id: str) -> Standing:
        """What waits for a destination."""
        with contextlib.closing(self.view(destination_id)) as view:
            return view.standing()

    def events(self) -> Iterator[Event]:
        """Every event in the log that can be read, oldest first."""
        return self._log.events()

    def recent_events(self, size: int) -> list[Event]:
        """The events within the last so many bytes of the log, oldest first."""
        return self._log.tail(size)

    def find(self, event_id: str) -> Event | None:
        """The event as it was first accepted under an id; None when the log has none (any more)."""
        return self._log.find(event_id)

    def check(self, *, repair_at: str | None = None) -> Checked:
        """Reads everything for damage; with `repair_at`, which names the time, sets it aside. Raises Busy."""
        return Check(self._directory).run(repair_at=repair_at)

    def check_tails(self, size: int) -> Checked:
        """Reads only the last so many bytes of each file for damage. Line numbers are then unknown."""
        return Check(self._directory, tail=size).run()

    def watch(self, destination_id: str) -> Callable[[Event], Attempt | None]:
        """A function that tells what became of an event's first attempt since now, made by whoever holds the lock."""
        journal = Journal(self._place(destination_id), self._segment_size)
        position = journal.end
        journal.close()
        seen: dict[int, Attempt] = {}

        def outcome(event: Event) -> Attempt | None:
            nonlocal position
            found, position = journal.since(position)
            for line in found:
                entry = journal.decode(line)
                if isinstance(entry, AttemptLine):
                    seen[entry.pos] = entry.to_attempt()
            journal.close()
            return seen.get(event.position)

        return outcome

    def expire(self, destination_ids: Iterable[str], before: int) -> None:
        """Removes what every destination has passed, no retry needs, and is older than a time (milliseconds, UTC).

        `destination_ids` are all there are. A destination that another process holds keeps its journal for now.
        """
        everybody = list(destination_ids)
        expired = self._log.expired(before)
        for destination_id in everybody if expired > self._log.start else ():
            # One that has been removed meanwhile needs nothing.
            with contextlib.suppress(FileNotFoundError), contextlib.closing(self.view(destination_id)) as view:
                expired = min(expired, view.needed_from())
        if expired > self._log.start:
            self._log.remove_before(expired)
        for destination_id in everybody:
            with contextlib.suppress(FileNotFoundError):
                self._expire_journal(destination_id, before)

    def _expire_journal(self, destination_id: str, before: int) -> None:
        if len(list((self._place(destination_id) / "journal").iterdir())) > 1:
            claim = self.claim(destination_id, "expire")
            if claim is not None:
                claim.expire(before)
                claim.release()

    @property
    def totals(self) -> tuple[int, int]:
        """How many events are in the log, and how many bytes they take."""
        return self._log.totals

    def close(self) -> None:
        """Closes what is open."""
        for journal in self._journals.values():
            journal.close()
        self._log.close()

    def _place(self, destination_id: str) -> Path:
        place = self._directory / "destinations" / destination_id
        _check_no_link(place)
        _check_no_link(place / "journal")
        return place

    def _dead_letters(self, destination_id: str) -> DeadLetters:
        return DeadLetters(self._place(destination_id) / "dead.jsonl")

    def _journal(self, destination_id: str) -> Journal:
        journal = self._journals.get(destination_id)
        if journal is None:
            journal = self._journals[destination_id] = Journal(self._place(destination_id), self._segment_size)
        return journal


def _check_local(directory: Path) -> None:
    try:
        mounts = Path("/proc/self/mountinfo").read_text("utf-8", "replace")
    except OSError:
        # Not Linux: then nobody can tell, and docs/internals.md says what is assumed.
        return
    kind = files.network_file_system(directory.resolve(), mounts)
    if kind is not None:
        raise Unreadable(
            f"{directory} is on a network file system ({kind}), where locks cannot be trusted; "
            f"set ARK_STATE_DIR to a directory on a local disk"
        )


def _check_no_link(path: Path) -> None:
    """Raises Unreadable for a link: it would lead out of the queue."""
    if path.is_symlink():
        raise Unreadable(f"{path} is a link, and no link is followed out of the queue; put the directory itself there")


def _check_version(path: Path) -> None:
    try:
        found = path.read_text("utf-8", "replace").strip()
    except FileNotFoundError:
        files.replace(path, b"%d\n" % VERSION)
        return
    if found != str(VERSION):
        raise Unreadable(
            f"{path} says {found[:40]!r}, and this ark reads version {VERSION}: it is untouched; update ark to use it"
        )
