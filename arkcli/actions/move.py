"""Moves the queue and the store from the files of this host to a database, or back, over the engines' interface."""

import socket
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Final, NamedTuple

from arkcli.actions.home import Home
from arkcli.actions.shared import Given, Shared
from arkcli.errors import ArkError, Busy, Held, InDoubt, NotAccepted, Unreachable, Unreadable, UsageError
from arkcli.errors import Moved as MovedAway
from arkcli.model import State
from arkcli.queue.engine import Standing
from arkcli.queue.moves import Counts, Mark, differences
from arkcli.queue.patience import patiently
from arkcli.store.layout import pointer
from arkcli.store.shelf import FileShelf
from arkcli.store.store import Contents, QueueSettings, Store
from arkcli.system import files
from arkcli.text import counted

#: What the move calls the files of this host.
LOCAL: Final = "local"


_AGAIN: Final = "the move may not be complete; run the same command again"


class Moved(NamedTuple):
    """How much was moved, and where it is now, as text for the user. `deliveries` are unfinished.

    `is_moved` is False on a host that had nothing to move, and only begins to use the database.
    """

    events: int
    attempts: int
    deliveries: int
    place: str
    is_moved: bool = True


class Move:
    """One move between the files of this host and a database. `run` again if it was interrupted."""

    def __init__(self, home: Home, to: str, another: Callable[[], Home]) -> None:
        """`to` is a URL or LOCAL, `another` makes a home. Opens nothing yet. Raises UsageError and Unreadable."""
        self._to = to
        self._is_to_database = to != LOCAL
        self._file = home.directory / "destinations.toml"
        self._shelf = FileShelf(self._file)
        self._id: str | None = None
        self._unreadable = 0
        self.source, self.target = home, another()
        shared = home.shared_at(Given(to, "the command line")) if self._is_to_database else home.shared
        if shared is None:
            raise UsageError(f"the queue is in files of this host already, in {home.queue_directory}")
        self.shared = shared
        if home.shared is not None and self._is_to_database:
            _check_same(home.shared, shared, "move it back first, with `ark queue move local`")
            # ARK_QUEUE is set already, or an earlier run has written the url.
            self.source = another()
        self._made = [one for one in (self.source, self.target) if one is not home]
        for one in (self.source, self.target):
            one.is_moving = True
            one.shared = shared if (one is self.target) == self._is_to_database else None
        if (url := Store(self._file.parent).read().queue.url) is not None:
            _check_same(
                home.shared_at(Given(url, str(self._file))), shared, "remove [queue] url there, or unset ARK_QUEUE"
            )

    def use_key(self, path: Path) -> None:
        """Copies a key that exists to this host's place for it. Raises UsageError and Unreadable."""
        from arkcli.store.sealed import KeySource

        if self.shared.key.given:
            raise UsageError("--key and ARK_QUEUE_KEY both name a key; use one of them")
        found = KeySource(path, None, {}).read()
        if found is None:
            raise UsageError(f"--key: {path} does not exist")
        known = self.shared.key.read()
        if known is not None and known != found:
            raise UsageError(
                f"{self.shared.key.file} has another key than {path}; move it away first if nobody needs it"
            )
        if known is None:
            self.shared.key.make(found.reveal())

    def run(self) -> Moved:
        """Moves everything, or does what is left of an interrupted move.

        Raises Busy if another process delivers, UsageError if the target has something else, and the errors of both
        engines. After an error the queue is where it was, unless the message says otherwise.
        """
        with self._shelf.held():
            try:
                if self._is_new_host():
                    moved = Moved(0, 0, 0, _name(self.target), is_moved=False)
                else:
                    moved = patiently(self.source.clock, self._move, self._busy)
                self._point()
            except OSError as error:
                where = f"{error.filename}: " if error.filename else ""
                raise NotAccepted(f"{where}{error.strerror}", _AGAIN) from error
            except (InDoubt, Unreachable) as error:
                raise type(error)(f"{error}: {_AGAIN}") from error
        return moved

    def _busy(self, held: Held) -> str:
        found = self.source.store.read().find(held.destination_id)
        name = held.destination_id if found is None else found.name
        return (
            f"{held.holder} is delivering to {name}, so nothing was moved. Stop it and try again; in a database the "
            "claim of a process that was killed ends within 20 s"
        )

    def _is_new_host(self) -> bool:
        """Whether nothing is here to be moved, but the database is in use: then this host begins to use it, too."""
        source, target = self.source, self.target
        if not self._is_to_database or {source.moves.mark.state, target.moves.mark.state} != {"ready"}:
            return False
        is_empty = not source.queue.totals.events and _is_empty(source.store.read())
        return is_empty and not _is_empty(target.store.read())

    def _move(self) -> Moved:
        source, target = self.source, self.target
        found, theirs = source.moves.mark, target.moves.mark
        is_continued = theirs.move.rpartition(":")[0] == found.move
        if found.state == "moved" and not is_continued:
            raise MovedAway(_name(source), found.place)
        if found.state == "moved" and theirs.state == "ready":
            # An earlier run has moved it, and perhaps removed a part of what is left.
            return self._moved(self._counted_again())
        if found.state == theirs.state == "ready" and not _is_empty(target.store.read()):
            raise UsageError(f"{target.store.name} already has destinations; a queue can only be moved to an empty one")
        if found.state == "ready" and found.move != self._id and not (is_continued and theirs.state == "moving"):
            self._id = source.new_id("mov")
            known, found = found, Mark("ready", self._id, _name(target))
            if not source.moves.note(found, known):
                # Another host was faster.
                return self._move()
        asked, counts = found._replace(place=_name(source)), Counts()
        begun, is_ending = Mark(), False
        try:
            with source.moves.still():
                self._check_mark(found)
                self._check_source()
                begun = target.moves.begin(asked)
                if begun.state == "moving":
                    self._copy(counts)
                    source.moves.note(Mark("moved", asked.move, _name(target)))
            if begun.state == "moving":
                is_ending = True
                target.moves.finish(begun)
        except BaseException as error:
            if begun.state == "moving" and not (is_ending and _is_in_doubt(error)):
                self._take_back(asked)
            raise
        return self._moved(counts if begun.state == "moving" else self._counted_again())

    def _moved(self, counts: Counts) -> Moved:
        undone = sum(standing.undone for standing in self.target.queue.standings(counts.ids).values())
        return Moved(counts.events, counts.attempts, undone, _name(self.target))

    def _counted_again(self) -> Counts:
        """Counts what an earlier run has moved. Others may use it by now."""
        counts, queue = Counts(), self.target.queue
        counts.events = queue.totals.events
        # Back in files, they are where they were until the last step of the move.
        for destination in self.target.store.read().destinations or self.source.store.read().destinations:
            counts.ids.append(destination.id)
            with closing(queue.view(destination.id)) as view:
                counts.attempts += sum(1 for _ in view.attempts())
        return counts

    def _check_mark(self, known: Mark) -> None:
        """Raises Moved and Busy if another host has moved the source, or begun to, before everybody was kept out."""
        found = self.source.moves.mark
        if found.state == "moved" != known.state:
            raise MovedAway(_name(self.source), found.place)
        if found != known:
            raise Busy(f"another `ark queue move` of {_name(self.source)} has begun; this one moved nothing")

    def _check_source(self) -> None:
        """Raises Unreadable if lines are damaged: the target would be without them, and `remove` would delete them."""
        damage = self.source.queue.check().damaged
        if damage:
            first = damage[0]
            raise Unreadable(
                f"{_name(self.source)} has {counted(len(damage), 'problem')}, the first in {first.file}: "
                f"{first.problem}. Nothing was moved; run `ark queue check --repair`, and try again"
            )

    def _copy(self, counts: Counts) -> None:
        source, target = self.source, self.target
        target.queue.restore(counts.through(source.queue.dump()))
        before, after = (home.queue.standings(counts.ids) for home in (source, target))
        wrong = differences(before, after)
        if wrong:
            # Standings also count deliveries of which a repair has set the event or the dead letter aside.
            readable = {found: _readable(source, found, standing) for found, standing in before.items()}
            self._unreadable = sum(before[found].undone - readable[found].undone for found in before)
            wrong = differences(readable, after)
        if (found := target.queue.totals.events) < counts.events:
            wrong.append(f"{counts.events:,} events, and {found:,} in the copy")
        if wrong:
            raise Unreadable(
                f"the copy in {_name(target)} is not the same, so nothing was moved. Run `ark queue check`, then "
                f"`ark drain`, and try again ({'; '.join(wrong[:3])})"
            )
        if self._is_to_database:
            target.store.put(source.store.document())

    def _take_back(self, asked: Mark) -> None:
        """The target did not become ready: the queue is still in the source."""
        with suppress(ArkError, OSError):
            found = self.source.moves.mark
            if (found.state, found.move) == ("moved", asked.move):
                self.source.moves.note(asked._replace(state="ready"), found)

    def _point(self) -> None:
        """Makes this host use the target from now on. What its file had is kept beside it."""
        found = self._shelf.read()
        if self._is_to_database:
            document = pointer(self._to).encode()
            if found is not None and found != document and not _is_empty(Store(self._file.parent).read()):
                files.replace(self._kept, found)
            self._shelf.replace(document)
        elif found is None or _is_empty(Store(self._file.parent).read()):
            self._shelf.replace(self.source.store.document())

    @property
    def notes(self) -> list[str]:
        """What the user has to know after the move."""
        given = self.source.variables.get("ARK_QUEUE")
        left = self._unreadable
        lost = f"{counted(left, 'delivery', 'deliveries')} could not be moved: the event or the dead letter is missing"
        return [*([lost] if left else []), *self._use(given)]

    def _use(self, given: str | None) -> list[str]:
        if self._is_to_database:
            key = self.shared.key
            where = f"{self._file} now has [queue] url, so this host uses the database"
            copy = f"other hosts need the same url and a copy of the key: {key.name}"
            return [where + (" (as ARK_QUEUE says, too)" if given else ""), copy]
        if given:
            return ["ARK_QUEUE is still set and says that the queue is in the database; unset it on this host"]
        return [f"{self._file} has the destinations again; the other hosts cannot use the queue any more"]

    @property
    def _kept(self) -> Path:
        return self._file.with_name(f"{self._file.name}.moved")

    @property
    def left(self) -> str:
        """What is left where the queue was, as text for the user; empty if nothing is."""
        if not self._is_to_database:
            return f"the tables in {_name(self.source)}" if self.source.moves.has_content() else ""
        found = [str(self.source.queue_directory)] if self.source.moves.has_content() else []
        return " and ".join([str(self._kept)] * self._kept.exists() + found)

    def close(self) -> None:
        """Closes what this move has opened."""
        for one in self._made:
            one.close()

    def remove(self) -> None:
        """Removes what is left. The mark stays, so that whoever looks there learns where the queue is."""
        self.source.moves.clear()
        if self._is_to_database:
            files.unlink(self._kept)


def _readable(home: Home, destination_id: str, standing: Standing) -> Standing:
    """The standing of a destination without the deliveries whose event or dead letter is missing."""
    with closing(home.queue.view(destination_id)) as view:
        found = Counter((one.state, one.attempt if one.state is State.RETRYING else 0) for one in view.deliveries())
    retrying = tuple(found[State.RETRYING, attempt] for attempt in range(1, len(standing.retrying) + 1))
    return standing._replace(waiting=found[State.WAITING, 0], retrying=retrying, dead=found[State.DEAD, 0])


def _name(home: Home) -> str:
    """Where a home's queue is, as text for the users of all hosts."""
    if home.shared is not None:
        return home.shared.address.masked
    return f"files on {socket.gethostname()} ({home.queue_directory})"


def _is_empty(contents: Contents) -> bool:
    """Whether a store has no settings, or only says which database has them."""
    return contents == Contents(version=contents.version, queue=QueueSettings(url=contents.queue.url))


def _is_in_doubt(error: BaseException) -> bool:
    """Whether a transaction may have been committed after all."""
    return isinstance(error, InDoubt) or not isinstance(error, ArkError)


def _check_same(found: Shared, given: Shared, ends: str) -> None:
    """Raises UsageError if two settings name different databases."""
    if found.address.parameters != given.address.parameters:
        raise UsageError(
            f"{found.given.source} says that the queue is in {found.address.masked}, not {given.address.masked}; {ends}"
        )
