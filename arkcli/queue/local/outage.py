"""Where a destination's outage is stored, for whichever process claims the destination next."""

from pathlib import Path

import msgspec

from arkcli.queue.engine import Outage
from arkcli.system import files


class OutageNote:
    """One destination's outage, a JSON object in a file. Losing it costs time; only the claim's holder writes it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Outage | None:
        """The outage; None if there is none, or the file cannot be read."""
        try:
            return msgspec.json.decode(files.read(self._path), type=Outage)
        except (OSError, msgspec.MsgspecError):
            return None

    def write(self, outage: Outage | None) -> None:
        """Replaces the file, or removes it. Raises OSError."""
        if outage is None:
            files.unlink(self._path)
        else:
            files.replace(self._path, msgspec.json.encode(outage) + b"\n", durable=False)
