"""The user's editor on a piece of text, while this process goes on."""

import shlex
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from arkcli.system import files
from arkcli.system.followed import stamp_of

#: How long an editor may take to end when it is told to, in seconds.
_PATIENCE: Final = 2.0


def editor_of(variables: Mapping[str, str]) -> list[str]:
    """The command of the user's editor: VISUAL, else EDITOR, else vi, split like a shell's words. Raises ValueError."""
    named = (variables.get(name, "").strip() for name in ("VISUAL", "EDITOR"))
    return shlex.split(next(filter(None, named), "vi"))


class Editor:
    """An editor that runs on this process's terminal. It belongs to the same job, so that Ctrl-Z suspends both."""

    def __init__(self, command: list[str], name: str, text: bytes) -> None:
        """Starts it on a private file with this name and text. Raises OSError."""
        self._text = text
        self._directory = tempfile.TemporaryDirectory(prefix="ark-edit-", ignore_cleanup_errors=True)
        self._path = Path(self._directory.name, name)
        try:
            files.overwrite(self._path, text, durable=False)
            self._stamp = stamp_of(self._path)
            self._process = subprocess.Popen([*command, str(self._path)])
        except BaseException:
            self._directory.cleanup()
            raise

    @property
    def status(self) -> int | None:
        """Its exit status, or minus the signal that killed it; None while it runs."""
        return self._process.poll()

    def saved(self) -> bytes | None:
        """What the user saved, even if it is the same as before; None if nothing was saved. Raises OSError."""
        # Some editors write a new file, and some the same one. Two writes within a tick may leave the same stamp.
        text = files.read(self._path)
        return None if text == self._text and stamp_of(self._path) == self._stamp else text

    def close(self) -> None:
        """Ends it if it still runs, and removes the file."""
        with suppress(subprocess.TimeoutExpired):
            self._process.terminate()
            self._process.wait(_PATIENCE)
        self._process.kill()
        self._process.wait()
        self._directory.cleanup()
