"""The table that is crossed: parts of the store and the queue, faults, and commands."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.faults.runner import Runner
from tests.faults.story import FAILING, copy

#: The destination whose part of the queue a fault meets.
CONCERNED = "clara"
#: A user who is neither root nor the one that runs `ark`.
_STRANGER = 65_534
_PAGE = 4096


class Part(NamedTuple):
    """A part of a home: where it is, and whether it is a file, a lock or a directory."""

    pattern: str
    kind: str

    @property
    def of_one(self) -> bool:
        """Whether it belongs to one destination: then the others must not notice."""
        return "{id}" in self.pattern


_PLACE, _SEGMENT = "state/queue/destinations/{id}", "[0-9]" * 20 + ".jsonl"
PARTS = {
    "config": Part("config", "directory"),
    "store": Part("config/destinations.toml", "file"),
    "store-lock": Part("config/destinations.toml.lock", "lock"),
    "state": Part("state", "directory"),
    "queue": Part("state/queue", "directory"),
    "version": Part("state/queue/VERSION", "file"),
    "queue-lock": Part("state/queue/lock", "lock"),
    "events": Part("state/queue/events", "directory"),
    "events-lock": Part("state/queue/events/lock", "lock"),
    "event-segment": Part(f"state/queue/events/{_SEGMENT}", "file"),
    "destinations": Part("state/queue/destinations", "directory"),
    "place": Part(_PLACE, "directory"),
    "place-lock": Part(f"{_PLACE}/lock", "lock"),
    "journal": Part(f"{_PLACE}/journal", "directory"),
    "journal-segment": Part(f"{_PLACE}/journal/{_SEGMENT}", "file"),
    "checkpoint": Part(f"{_PLACE}/checkpoint.json", "file"),
    "dead-letters": Part(f"{_PLACE}/dead.jsonl", "file"),
    "drains": Part("state/queue/drains", "directory"),
    "drain": Part("state/queue/drains/[0-9]*-*", "lock"),
    "damaged": Part("state/queue/damaged", "directory"),
    "damaged-lines": Part("state/queue/damaged/*.jsonl", "file"),
}
#: Where another copy is another past: what was promised then is all that anybody can know of.
WHOLES = ("state", "queue")


class Place(NamedTuple):
    """A part in the home of one cell, the same part as it was earlier and later, and where to put what is replaced."""

    path: Path
    older: Path
    newer: Path
    aside: Path
    runner: Runner

    def owned(self) -> None:
        """Gives what a fault put there to the user who runs `ark`."""
        if self.runner.user is not None:
            os.chown(self.path, self.runner.user, self.runner.user, follow_symlinks=False)


class CannotBeTried(Exception):
    """This machine does not let us cause such a fault."""


#: Takes back what a fault did, and nothing else.
Cure = Callable[[], None]


def _flipped(place: Place) -> None:
    data = bytearray(place.path.read_bytes())
    for index in range(len(data) // 4, len(data), 700):
        data[index] ^= 1
    place.path.write_bytes(data)


def _halved(place: Place) -> None:
    os.truncate(place.path, place.path.stat().st_size // 2)


def _emptied(place: Place) -> None:
    os.truncate(place.path, 0)


def _appended(place: Place) -> None:
    with place.path.open("ab") as file:
        file.write(b'\0garbage\n{"crc":\xff\n')


def _away(place: Place) -> None:
    place.path.rename(place.aside)


def _link(place: Place) -> None:
    _away(place)
    place.path.symlink_to(place.aside)
    place.owned()


def _directory(place: Place) -> None:
    _away(place)
    place.path.mkdir(0o700)
    place.owned()


def _file(place: Place) -> None:
    _away(place)
    place.path.touch(0o600)
    place.owned()


def _fifo(place: Place) -> None:
    _away(place)
    os.mkfifo(place.path, 0o600)
    place.owned()


def _older(place: Place) -> None:
    _away(place)
    if place.older.exists():
        copy(place.older, place.path)


def _newer(place: Place) -> None:
    _away(place)
    copy(place.newer, place.path)


def _foreign(place: Place) -> Cure:
    user = place.runner.user
    if user is None:
        raise CannotBeTried("only root can make a file another user's")
    place.runner.system("chown", "-R", _STRANGER, place.path)
    return lambda: place.runner.system("chown", "-R", user, place.path)


def _read_only(place: Place) -> Cure:
    if place.runner.user is None and os.geteuid() == 0:
        raise CannotBeTried("modes mean nothing to root, and nobody else can run this Python")
    place.runner.system("chmod", "-R", "a-w", place.path)
    return lambda: place.runner.system("chmod", "-R", "u+w", place.path)


def _full(place: Place) -> Cure:
    """A disk of its own with not a page and not an inode to spare; else no file that may grow."""
    inside = [path.lstat() for path in place.path.rglob("*")]
    runner = place.runner
    if not runner.mounts:
        runner.room = max((found.st_size for found in inside), default=0)
        return lambda: setattr(runner, "room", -1)
    pages = max(sum(-(-found.st_size // _PAGE) for found in inside), 1)
    owner = runner.user or 0
    copy(place.path, place.aside)
    options = f"size={pages * _PAGE},nr_inodes={len(inside) + 1},mode=700,uid={owner},gid={owner}"
    runner.system("mount", "-t", "tmpfs", "-o", options, "tmpfs", place.path)
    runner.system("cp", "-a", f"{place.aside}/.", place.path)
    return lambda: runner.system("mount", "-o", "remount,size=64m,nr_inodes=10000", place.path)


#: What is done to a part, and to which kinds of part.
FAULTS: dict[str, tuple[Callable[[Place], Cure | None], tuple[str, ...]]] = {
    "nothing": (lambda _: None, ()),
    "flipped": (_flipped, ("file",)),
    "halved": (_halved, ("file",)),
    "emptied": (_emptied, ("file",)),
    "garbage-appended": (_appended, ("file", "lock")),
    "taken-away": (_away, ("file", "lock", "directory")),
    "a-link": (_link, ("file", "lock", "directory")),
    "a-directory": (_directory, ("file", "lock")),
    "a-file": (_file, ("directory",)),
    "a-fifo": (_fifo, ("file", "lock", "directory")),
    "foreign": (_foreign, ("file", "lock", "directory")),
    "older": (_older, ("file", "directory")),
    "newer": (_newer, ("file", "directory")),
    "read-only": (_read_only, ("file", "lock", "directory")),
    "full": (_full, ("directory",)),
}


class Command(NamedTuple):
    """A command, its exit status where nothing is wrong, and what it is to tell or to do (`cell` knows these words)."""

    lines: tuple[str, ...]
    status: int
    does: str = ""


COMMANDS = {
    "send": Command(("send signal.promoted --sample",), 75, "accepts delivers"),
    "send-ndjson": Command(("send signal.promoted --ndjson",), 75, "accepts delivers"),
    "send-queue": Command(("send signal.promoted --sample --queue",), 0, "accepts"),
    "drain": Command(("drain",), 0, "drains"),
    "queue": Command(("queue",), 0, "counts"),
    "queue-list": Command(("queue list",), 0, "lists"),
    "queue-show": Command(("queue show {retried}",), 0, "shows"),
    "queue-check": Command(("queue check",), 0),
    "queue-repair": Command(("queue check --repair", "drain"), 0, "drains"),
    "queue-retry": Command(("queue retry --all-dead",), 0),
    "queue-drop": Command(("queue drop {retried} --yes",), 0),
    "replay": Command(("replay --since 2020-01-01T00:00:00Z --dry-run",), 0, "replays"),
    "log": Command(("log",), 0, "logs"),
    "dest-list": Command(("dest list",), 0, "counts"),
    "dest-pause": Command((f"dest pause {FAILING}",), 0, "pauses"),
    "doctor": Command(("doctor",), 0),
}
