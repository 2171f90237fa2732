"""Where destinations.toml is kept: a file here; another engine may keep it elsewhere, behind the same few methods."""

import contextlib
import os
import shlex
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from arkcli import files
from arkcli.errors import Unreadable
from arkcli.followed import stamp_of

#: Whoever is not the owner: nobody but the owner may read or write what holds secrets.
_OTHERS: Final = 0o077


class Kept(NamedTuple):
    """What is on a shelf, and a stamp that differs once it has been replaced."""

    data: bytes
    stamp: object


class Shelf(Protocol):
    """Keeps one document, which is only ever replaced as a whole."""

    @property
    def name(self) -> str:
        """Where it is, for people."""

    def read(self) -> Kept | None:
        """What is kept; None where nothing is yet. Raises Unreadable."""

    def stamp(self) -> object:
        """The stamp alone, cheap enough to ask often; None where nothing is kept."""

    def held(self) -> AbstractContextManager[None]:
        """Keeps all others from replacing it for a block. Raises Unreadable."""

    def replace(self, data: bytes) -> None:
        """Replaces it in one step; the caller holds it. Raises Unreadable, and then it is as it was."""


class FileShelf:
    """A file for its user alone, beside a lock."""

    def __init__(self, path: Path) -> None:
        """Nothing is opened or made before it is needed."""
        self._path = path

    @property
    def name(self) -> str:
        """The file's path."""
        return str(self._path)

    def read(self) -> Kept | None:
        """What the file holds; None where there is none. Raises Unreadable, also where others may read it."""
        try:
            with files.open_to_read(self._path) as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                kept = Kept(stamp=stamp_of(file.fileno()), data=file.read())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unreadable(f"{self._path} cannot be read: {error.strerror}") from error
        if mode & _OTHERS:
            raise Unreadable(
                f"{self._path} holds secrets and is open to others (mode {mode:04o}); "
                f"close it with `chmod 600 {shlex.quote(str(self._path))}`, and rotate the secret if others were there"
            )
        return kept

    def stamp(self) -> object:
        """Something that differs once the file has been changed, also in its place; None where it cannot be seen."""
        return stamp_of(self._path)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Holds the lock beside the file for a block."""
        directory = self._path.parent
        try:
            files.make_directory(directory)
            lock = files.Lock(self._path.with_name(f"{self._path.name}.lock"))
        except OSError as error:
            raise Unreadable(f"{error.filename or directory} cannot be written: {error.strerror}") from error
        try:
            with lock.held():
                yield
        finally:
            lock.close()

    def replace(self, data: bytes) -> None:
        """Replaces the file."""
        try:
            files.replace(self._path, data)
        except OSError as error:
            raise Unreadable(f"{self._path} cannot be written: {error.strerror}; it is as it was") from error
