"""Where destinations.toml is kept: here a file; another `Shelf` may keep it elsewhere."""

import contextlib
import os
import shlex
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from arkcli.errors import Unreadable
from arkcli.system import files
from arkcli.system.followed import stamp_of
from arkcli.system.owner import as_owner, is_private
from arkcli.system.refused import in_words, name_of, taking


class Shelf(Protocol):
    """Keeps one document, which is always replaced as a whole."""

    @property
    def name(self) -> str:
        """Where the document is, as text for the user."""

    def read(self) -> bytes | None:
        """The document; None if there is none yet. Raises Unreadable."""

    def stamp(self) -> object:
        """A value that changes when the document is replaced; None if there is no document. Cheap."""

    def held(self) -> AbstractContextManager[None]:
        """Keeps other processes from replacing the document during a block. Raises Unreadable."""

    def replace(self, data: bytes) -> None:
        """Replaces the document in one step, within `held`. Raises Unreadable; then the document is unchanged."""


class FileShelf:
    """A file that only its user can access, with a lock beside it."""

    def __init__(self, path: Path) -> None:
        """Opens and makes nothing yet."""
        self._path = path

    @property
    def name(self) -> str:
        """The file's path."""
        return str(self._path)

    def read(self) -> bytes | None:
        """The file's content; None if there is no file. Raises Unreadable, also if other users can access it."""
        self._check_directories()
        try:
            with files.open_to_read(self._path) as file:
                found, data = os.fstat(file.fileno()), file.read()
                owner = os.geteuid() or self._real.parent.stat().st_uid
        except FileNotFoundError:
            if self._path.is_symlink():
                cure = "mount or restore that, or remove the link"
                raise Unreadable(f"{self._path} is a link to {self._real}, which does not exist; {cure}") from None
            return None
        except OSError as error:
            raise Unreadable(f"{self._path} cannot be read: {in_words(error, self._path.parent)}") from error
        _check_owner(self._path, found, owner, self._real.parent)
        if not is_private(found):
            raise Unreadable(
                f"{self._path} contains secrets and other users can read it (mode {stat.S_IMODE(found.st_mode):04o}); "
                f"run `chmod 600 {shlex.quote(str(self._path))}` (in a pod: defaultMode: 0440), and rotate "
                f"the secret if other users had access"
            )
        return data

    @property
    def _real(self) -> Path:
        """The file that a symbolic link leads to; a path on the way if the links form a loop."""
        return Path(os.path.realpath(self._path))

    def _check_directories(self) -> None:
        """Raises Unreadable if another user could replace the file."""
        for directory in {self._path.parent, self._real.parent}:
            # If the directory cannot be examined, or is not one, reading and writing report why.
            with contextlib.suppress(OSError):
                found = directory.stat()
                if stat.S_ISDIR(found.st_mode):
                    _check_directory(directory, found, self._path.name)

    def stamp(self) -> object:
        """A value that changes when the file is replaced or changed in place; None if it cannot be examined."""
        return stamp_of(self._path)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Holds the lock beside the file during a block."""
        directory = self._path.parent
        try:
            files.make_directory(directory)
            self._check_directories()
            lock = files.Lock(self._path.with_name(f"{self._path.name}.lock"))
        except OSError as error:
            where = error.filename or directory
            raise Unreadable(f"{where} cannot be written: {in_words(error, directory)}") from error
        try:
            with lock.held():
                yield
        finally:
            lock.close()

    def replace(self, data: bytes) -> None:
        """Replaces the file. A file of root's that a group can read stays so."""
        try:
            real = self._real
            # Follow a symbolic link that a user made as that user.
            with contextlib.nullcontext() if real == self._path else as_owner(self._path):
                is_roots = not os.geteuid() and real.exists() and not real.parent.stat().st_uid
                is_shared = is_roots and real.stat().st_mode & stat.S_IRGRP
                files.replace(real, data, mode=0o640 if is_shared else files.FILE_MODE)
        except OSError as error:
            why = in_words(error, self._path.parent)
            raise Unreadable(f"{self._path} cannot be written: {why}; the file is unchanged") from error


def _check_directory(directory: Path, found: os.stat_result, name: str) -> None:
    mode, user = stat.S_IMODE(found.st_mode), os.geteuid()
    is_of_group = found.st_gid in (os.getegid(), *os.getgroups())
    may_group = is_of_group if user else found.st_uid or not found.st_gid
    if not mode & stat.S_ISVTX and mode & (0o002 if may_group else 0o022):
        raise Unreadable(
            f"others can write to {directory} (mode {mode:04o}) and replace {name}; `chmod go-w "
            f"{shlex.quote(str(directory))}`, or set ARK_CONFIG_DIR to a directory that only you can write to"
        )
    # A container's arbitrary user owns nothing, but its group can write.
    if user and not (is_of_group and mode & stat.S_IWGRP):
        _check_owner(directory, found, user, directory)


def _check_owner(path: Path, found: os.stat_result, owner: int, directory: Path) -> None:
    if found.st_uid not in (0, owner):
        whose = f"{path} belongs to {name_of(found.st_uid)}, who could change it"
        to = "" if os.geteuid() else f"{owner}:{directory.stat().st_gid}"
        raise Unreadable(f"{whose}; run ark as that user, or make it {name_of(owner)}'s: `{taking(directory, to)}`")
