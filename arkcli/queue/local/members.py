"""Who has joined a queue, told outside of their places: so one that vanishes is missed, and joining waits for one sync.

docs/internals.md, "Parts of different ages".
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from arkcli import files
from arkcli.queue.local import lines
from arkcli.queue.local.journal import Journal, saved_progress
from arkcli.queue.local.lines import Damaged
from arkcli.queue.local.state import joined
from arkcli.queue.local.trouble import EVERYBODYS

#: The file in the queue's directory.
NAME: Final = "joined"


class Word(StrEnum):
    """What a line says of a destination."""

    #: It begins at a position of the event log. Until it is kept, its place need not be on stable storage.
    JOINED = "joined"
    #: Its place is on stable storage, and tells more than this file does.
    KEPT = "kept"
    #: Its place was gone, and it began again at a position.
    LOST = "lost"
    #: The user knows that its place was gone.
    NOTED = "noted"
    LEFT = "left"


class MemberLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of the file."""

    id: str
    word: Word
    position: int | None = None


class Member(msgspec.Struct):
    """A destination that has joined: where it begins while it is not kept, and whether a loss is still to be noted."""

    position: int | None = None
    is_lost: bool = False


class Members:
    """The file of members, and the places that it tells of. Whoever adds a line holds the queue's lock."""

    def __init__(self, directory: Path) -> None:
        """Opens nothing. `directory` is the queue's."""
        self.path = directory / NAME
        self._places = directory / "destinations"
        self._lock = directory / "lock"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the queue's lock for a block."""
        lock = files.Lock(self._lock)
        try:
            with lock.held():
                yield
        finally:
            lock.close()

    def read(self) -> dict[str, Member]:
        """Those who have joined and not left. Raises OSError."""
        found: dict[str, Member] = {}
        for text in self.path.read_bytes().splitlines() if self.path.exists() else ():
            with contextlib.suppress(Damaged):
                line = decode_member(text)
                member = found.setdefault(line.id, Member())
                if line.word is Word.LEFT:
                    del found[line.id]
                elif line.word is Word.NOTED:
                    member.is_lost = False
                else:
                    member.position = line.position
                    member.is_lost = member.is_lost or line.word is Word.LOST
        return found

    def add(self, added: Iterable[MemberLine], *, durable: bool = True) -> None:
        """Adds lines, and returns when they are on stable storage. Raises OSError."""
        text = b"".join(lines.seal(msgspec.json.encode(line)[1:]) for line in added)
        if not self.path.exists():
            files.create(self.path)
        file = files.LineFile(self.path)
        try:
            file.append(text.removesuffix(b"\n"))
            if durable:
                file.sync()
        finally:
            file.close()

    def is_missing(self, destination_id: str) -> bool:
        """Whether a destination has no place. One that cannot be used is another trouble."""
        try:
            os.stat(f"{self._places}/{destination_id}/journal")  # noqa: PTH116 - asked of all by every command
        except FileNotFoundError:
            return True
        except OSError:
            pass
        return False

    def keep(self, destination_id: str) -> None:
        """From now on the place tells where the destination stands. What it holds must be on stable storage."""
        place = self._places / destination_id
        for directory in (place / "journal", place, self._places):
            files.sync_directory(directory)
        with self.locked():
            self.add([MemberLine(destination_id, Word.KEPT)], durable=False)

    def join(self, ids: Iterable[str], end: int, retries: int) -> tuple[Mapping[str, str], Mapping[str, OSError]]:
        """Makes places for destinations that have none, at the event log's end. The queue's lock is held.

        Returns what is to be told of some, and what kept others from having a place.
        """
        for left in self._places.glob(".joining-*"):
            files.remove_tree(left)
        members = self.read()
        missing = [found for found in ids if self.is_missing(found)]
        here = {found.name for found in self._places.iterdir() if not found.name.startswith(".")}
        # An older ark wrote down nobody.
        added = [MemberLine(found, Word.KEPT) for found in sorted(here - members.keys() - set(missing))]
        told, failed = {}, {}
        for found in missing:
            line = self._beginning(found, members.get(found), end)
            try:
                Journal.create(self._places / f".joining-{found}", joined(line.position or 0, retries))
            except OSError as error:
                if error.errno in EVERYBODYS:
                    raise
                failed[found] = error
                continue
            added += [line] if found not in members or line.word is Word.LOST else []
            if line.word is Word.LOST:
                told[found] = loss(found)
            elif found in members:
                told[found] = "its part of the queue was gone; what was accepted since it joined is sent (again)"
        # Only what stands here has to survive a power failure: the places can be made from it.
        self.add(added)
        for found in (found for found in missing if found not in failed):
            try:
                self._appear(found)
            except OSError as error:
                failed[found] = error
        return told, failed

    def _beginning(self, destination_id: str, member: Member | None, end: int) -> MemberLine:
        if member is None:
            return MemberLine(destination_id, Word.JOINED, end)
        if member.position is not None:
            return MemberLine(destination_id, Word.JOINED, member.position)
        saved = saved_progress(self._places / destination_id)
        return MemberLine(destination_id, Word.LOST, end if saved is None else min(saved, end))

    def _appear(self, destination_id: str) -> None:
        hidden, place = self._places / f".joining-{destination_id}", self._places / destination_id
        if place.is_dir():
            files.move(hidden / "journal", place / "journal")
        else:
            files.move(hidden, place)


def loss(destination_id: str) -> str:
    """What is lost with a place, and what to do."""
    return (
        "its part of the queue was gone, and with it the deliveries that waited or were to be retried; what is "
        f"accepted from now on is delivered. Send the others again: ark replay --to {destination_id} --since TIME"
    )


def decode_member(line: bytes) -> MemberLine:
    """What a line (without its newline) says. Raises Damaged."""
    lines.check(line)
    try:
        return msgspec.json.decode(line, type=MemberLine)
    except msgspec.MsgspecError as error:
        raise Damaged(str(error)) from None
