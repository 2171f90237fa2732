"""The roll of destinations, kept outside their places: a lost place is noticed, and joining takes only one sync.

docs/internals.md, "Parts of different ages".
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from arkcli.errors import Broken
from arkcli.queue.local.journal import Journal, Origin
from arkcli.queue.local.notes import ROLL, Roll, read_roll
from arkcli.queue.local.opening import is_a_link
from arkcli.queue.local.state import joined
from arkcli.system import files


class Members:
    """The roll and the places that it lists."""

    def __init__(self, directory: Path, retries: int, segment_size: int) -> None:
        """Opens nothing. `directory` is the queue's; the other arguments are for its journals."""
        self.path = directory / ROLL
        self.places = directory / "destinations"
        self.retries = retries
        self._segment_size = segment_size
        self._unwritten: dict[str, int | None] = {}
        self._lock = directory / "lock"

    def path_of(self, destination_id: str) -> Path:
        """A destination's directory, whether it exists or not."""
        return self.places / destination_id

    def place_of(self, destination_id: str) -> Path:
        """A destination's directory. Raises Broken if it is a symbolic link, which would lead out of the queue."""
        place = self.path_of(destination_id)
        for path in (place, place / "journal"):
            if os.path.islink(path):  # noqa: PTH114 - it raises nothing where the directory cannot be read
                raise Broken(destination_id, is_a_link(path))
        return place

    def journal_at(self, place: Path, *, to_read: bool = False) -> Journal:
        """The journal of the destination with this directory. See `Journal`."""
        found = place.name
        origin = Origin(lambda: self.read().begins.get(found), lambda: self.keep(found))
        if found in self._unwritten:
            origin = Origin(lambda: self._unwritten[found], lambda: None, is_written=False)
        return Journal(place, self.retries, self._segment_size, origin, to_read=to_read)

    def read(self) -> Roll:
        """See `read_roll`. Raises OSError."""
        return read_roll(self.path)

    @contextlib.contextmanager
    def locked(self) -> Iterator[Roll]:
        """Holds the queue's lock for a block that may change and write the roll."""
        with contextlib.closing(files.Lock(self._lock)) as lock, lock.held():
            yield self.read()

    def is_missing(self, destination_id: str) -> bool:
        """Whether a destination has no place, or no journal there. False if the place only cannot be used."""
        place = f"{self.places}/{destination_id}"
        try:
            os.stat(f"{place}/journal")  # noqa: PTH116 - every command does this for all destinations
        except OSError as error:
            return isinstance(error, FileNotFoundError) and not os.path.islink(place)  # noqa: PTH114 - the same
        return False

    def join(self, missing: Iterable[str], end: int) -> list[str]:
        """Makes missing places, at the event log's end; returns the ids whose place was lost. Raises OSError."""
        with self.locked() as roll:
            remove_hidden(self.places)
            fresh = [found for found in missing if self.is_missing(found)]
            for found in {place.name for place in self.places.glob("[!.]*")} - set(fresh):
                # An older ark kept no roll.
                roll.begins.setdefault(found, None)
            vanished = [found for found in fresh if roll.begins.get(found, end) is None]
            roll.lost += [found for found in vanished if found not in roll.lost]
            for found in fresh:
                begins = roll.begins.get(found)
                if begins is None:
                    saved = Journal(self.places / found, self.retries).checkpoint()
                    begins = roll.begins[found] = end if saved is None else min(saved.first[0], end)
                Journal.create(hidden_place(self.places, found), joined(begins, self.retries))
            # Only the roll has to survive a power failure: the places can be made from it.
            roll.write(self.path)
            for found in fresh:
                hidden, place = hidden_place(self.places, found), self.places / found
                if place.is_dir():
                    hidden, place = hidden / "journal", place / "journal"
                files.move(hidden, place)
        return vanished

    def join_unwritten(self, missing: Iterable[str], end: int) -> None:
        """Like `join`, in this process only, for a queue that cannot be written. Using a lost place raises Broken."""
        begins = self.read().begins
        self._unwritten |= {found: begins.get(found, end) for found in missing}

    def furthest(self) -> int:
        """The furthest position in the event log that any destination has seen."""
        furthest = max((begins or 0 for begins in self.read().begins.values()), default=0)
        for place in self.places.glob("[!.]*"):
            with contextlib.suppress(OSError, Broken), contextlib.closing(self.journal_at(place)) as journal:
                furthest = max(furthest, journal.load().first.end)
        return furthest

    def keep(self, destination_id: str) -> None:
        """Records that the place itself holds the destination's progress; its files must be on stable storage."""
        place = self.places / destination_id
        for directory in (place / "journal", place, self.places):
            files.sync_directory(directory)
        with self.locked() as roll:
            roll.begins[destination_id] = None
            roll.write(self.path, durable=False)

    def forget(self, destination_id: str, *, left: bool) -> None:
        """Removes a destination from the roll if it has left; otherwise only the note that its place was lost."""
        with self.locked() as roll:
            roll.lost = [found for found in roll.lost if found != destination_id]
            if left:
                roll.begins.pop(destination_id, None)
            roll.write(self.path)


def hidden_place(places: Path, destination_id: str) -> Path:
    """Where a destination's directory is made until it is complete and gets its name."""
    return places / f".joining-{destination_id}"


def remove_hidden(places: Path) -> None:
    """Removes hidden places left by a crash."""
    for left in places.glob(".joining-*"):
        files.remove_tree(left)


def loss(destination_id: str) -> str:
    """What is lost with a place and what to do, as text for the user."""
    return (
        "its part of the queue was gone, and with it the deliveries that waited or were to be retried; what is "
        f"accepted from now on is delivered. Send the others again: ark replay --to {destination_id} --since TIME"
    )
