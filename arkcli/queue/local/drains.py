"""The drains that are running, each with a locked file, so that they can share the work."""

import contextlib
import os
from pathlib import Path

from arkcli.system import files


class Drains:
    """The drains of one queue. The kernel frees a drain's lock when its process ends, for whatever reason."""

    def __init__(self, directory: Path) -> None:
        """Makes nothing yet."""
        self._directory = directory
        self._own: files.Lock | None = None
        self._path = directory / f"{os.getpid()}-{id(self):x}"

    def count(self) -> int:
        """The number of running drains; the first call adds this one. Removes files left by ended drains."""
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
        # Hidden until locked: otherwise another drain could take it for a leftover and remove it.
        hidden = self._path.with_name(f".{self._path.name}")
        try:
            files.make_directory(self._directory)
            lock = files.Lock(hidden)
            lock.try_acquire()
            files.move(hidden, self._path)
        except OSError:
            # Without the file, the other drains try this one's share as well, and find its destinations claimed.
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
        """Removes this drain from the count."""
        if self._own is not None:
            with contextlib.suppress(OSError):
                files.unlink(self._path)
            self._own.close()
            self._own = None
