"""The note that a destination's receiver is away, for whoever holds the destination next."""

from pathlib import Path

import msgspec

from arkcli import files
from arkcli.queue.engine import Absence


class AwayNote:
    """One destination's note, a JSON object in a file. Losing it costs time; only the claim's holder writes it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Absence | None:
        """What it says; None when there is none, or it cannot be read."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Absence)
        except (OSError, msgspec.MsgspecError):
            return None

    def write(self, absence: Absence | None) -> None:
        """Replaces it, or removes it. Raises OSError."""
        if absence is None:
            files.unlink(self._path)
        else:
            files.replace(self._path, msgspec.json.encode(absence) + b"\n", durable=False)
