"""Small documents in a queue, which processes change in turn. A part of the interface in `engine`."""

from contextlib import AbstractContextManager
from typing import Protocol


class Memo:
    """A small document while a process holds it. Set `data` to change it; None removes it."""

    def __init__(self, data: bytes | None) -> None:
        """`data` is the document as it was before; None if there was none."""
        self.data = data


class Memos(Protocol):
    """Keeps small documents."""

    def memo(self, name: str) -> AbstractContextManager[Memo]:
        """Holds the small document with a name (lowercase letters) during a block, then stores it if it was changed.

        One process at a time can hold it, and briefly: raises Busy at once if another does. Raises NotRecorded. It
        survives a crash of this process; a power failure may undo the last change. A dump does not contain it.
        """

    def read_memo(self, name: str) -> bytes | None:
        """A small document as it was last stored; None if there is none."""
