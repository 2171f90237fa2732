"""Small documents that processes change in turn: a file each, and its lock beside it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from arkcli.errors import Busy, NotRecorded
from arkcli.queue.memo import Memo
from arkcli.system import files
from arkcli.system.refused import in_words


def read(directory: Path, name: str) -> bytes | None:
    """A document; None if there is none. Raises OSError."""
    try:
        return files.read(_path(directory, name))
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def held(directory: Path, name: str) -> Iterator[Memo]:
    """Holds a document during a block. See `engine.Queue.memo`. Raises Busy and NotRecorded."""
    path = _path(directory, name)
    with _told(path, directory):
        lock = files.Lock(path.with_suffix(".lock"))
    with contextlib.closing(lock):
        with _told(path, directory):
            if not lock.try_acquire():
                raise Busy(f"another process holds {path}")
            before = read(directory, name)
        memo = Memo(before)
        yield memo
        with _told(path, directory):
            if memo.data is None:
                files.unlink(path)
            elif memo.data != before:
                files.replace(path, memo.data, durable=False)


def _path(directory: Path, name: str) -> Path:
    return directory / f"{name}.json"


@contextlib.contextmanager
def _told(path: Path, directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NotRecorded(f"{path} cannot be changed: {in_words(error, directory)}") from error
