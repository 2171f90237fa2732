"""Room on the disk for the outcomes of what is under way: no attempt is made whose outcome could not be kept."""

import errno
import os
from pathlib import Path
from typing import Final

from arkcli.errors import NotRecorded
from arkcli.system import files

#: More than the outcomes of all attempts that are under way at once take, and the blocks they begin. Bytes.
_SIZE: Final = 256 * 1024
#: With fewer free descriptors than this, an attempt needs the one that the reserve would take.
_MANY_DESCRIPTORS: Final = 24
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


class Reserve:
    """Room that this process holds from its first claim on, and gives up for what it still has to write down."""

    def __init__(self, directory: Path) -> None:
        """Nothing is held before it is needed."""
        self._directory = directory
        self._descriptor: int | None = None
        self._is_held = False

    def hold(self) -> None:
        """Sees to it that there is room. Raises NotRecorded where it cannot be had."""
        if self._is_held or files.free_descriptors() < _MANY_DESCRIPTORS:
            return
        try:
            self._descriptor = files.reserve(self._directory, _SIZE)
        except OSError as error:
            if error.errno not in _FULL:
                reason = f"{self._directory} cannot be used ({error.strerror})"
                raise NotRecorded(f"nothing was attempted: {reason}") from error
            # Where only the number of files is used up, lines can be written all the same.
            if files.has_inodes(self._directory):
                raise NotRecorded(
                    f"the disk is full ({self._directory}): nothing was attempted, since ark could not record the "
                    "outcome. Waiting deliveries are kept; free some space"
                ) from error
        self._is_held = True

    def give_up(self, error: BaseException | None) -> bool:
        """Frees the room after an error of a full disk; whether there was some to free."""
        if self._descriptor is None or not isinstance(error, OSError) or error.errno not in _FULL:
            return False
        self.close()
        return True

    def close(self) -> None:
        """Frees the room."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        self._is_held = False
