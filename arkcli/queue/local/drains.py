"""The drains that run now, so that they can share the work: a locked file for each."""

import contextlib
import os
from pathlib import Path

from arkcli.system import files


class Drains:
    """The drains of one queue. The kernel frees a file's lock when its process ends, however that happens."""

    def __init__(self, directory: Path) -> None:
        """Nothing is made before it is needed."""
        self._directory = directory
        self._own: files.Lock | None = None
        self._path = directory / f"{os.getpid()}-{id(self):x}"

    def count(self) -> int:
        """How many run now, this one included; the first call makes it one of them. What others left is removed."""
        if self._own is None:
            self._enter()
        running = 0
        for entry in self._entries():
            if entry == self._path or self._is_locked(entry):
                running += 1
            else:
                with contextlib.suppress(OSError):
                    files.unlink(entry)
        return max(running, 1)

    def _enter(self) -> None:
        # Under a name that nobody counts until it is locked: else it might be taken for one that was left behind.
        hidden = self._path.with_name(f".{self._path.name}")
        try:
            files.make_directory(self._directory)
            lock = files.Lock(hidden)
            lock.try_acquire()
            files.move(hidden, self._path)
        except OSError:
            # Without it the others take this one's share as well, until they find its destinations claimed.
            return
        self._own = lock

    def _entries(self) -> list[Path]:
        try:
            return [entry for entry in self._directory.iterdir() if not entry.name.startswith(".")]
        except OSError:
            return []

    def _is_locked(self, path: Path) -> bool:
        try:
            with contextlib.closing(files.Lock(path)) as lock:
                return not lock.try_acquire()
        except OSError:
            return True

    def close(self) -> None:
        """Leaves the others alone."""
        if self._own is not None:
            with contextlib.suppress(OSError):
                files.unlink(self._path)
            self._own.close()
            self._own = None
