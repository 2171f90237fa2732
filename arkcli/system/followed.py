"""Follows a value that others may change: checks now and then, and reads it again after a change.

Pure, except for `stamp_of`.
"""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

from arkcli.errors import ArkError
from arkcli.system.refused import of_system

Value = TypeVar("Value")

#: Seconds after which a changed value is read once more: two changes within one tick of a file system's clock leave the
#: same stamp.
_TICK: Final = 0.05
#: Seconds after which a failed read is tried again although the stamp is the same: perhaps no descriptor was free.
_AGAIN: Final = 5.0


def stamp_of(file: Path | str | int) -> object:
    """A value that changes with a file, or with the target of a symbolic link; None if it cannot be examined.

    `file` may also be the descriptor of an open file.
    """
    try:
        found = os.stat(file)  # noqa: PTH116 - a descriptor has no path
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev


class Followed(Generic[Value]):
    """A value that others may change. While it cannot be read, the last value read counts."""

    def __init__(
        self,
        stamp: Callable[[], object],
        read: Callable[[], Value],
        monotonic: Callable[[], float],
        warn: Callable[[str], None],
        *,
        every: float = 0.0,
        patient: bool = False,
    ) -> None:
        """`stamp` returns something that differs after a change. `read` raises ArkError or OSError if it cannot read
        the value; `warn` is then called once. The value is checked at most once in `every` seconds.

        With `patient` a change is read one look after it was seen, because the writer may not have finished.
        """
        self._stamp, self._read, self._monotonic, self._warn = stamp, read, monotonic, warn
        self._every = every
        self._patient = patient
        self._value: Value | None = None
        self._error: ArkError | None = None
        self._known: object = self
        self._has_waited = True
        self._look_at = self._again_at = -math.inf
        self.look()

    @property
    def value(self) -> Value:
        """The value as of the last look. Raises the reading error if it could never be read."""
        if self._value is None:
            assert self._error is not None
            raise self._error
        return self._value

    def now(self) -> Value:
        """The value, after a look."""
        self.look()
        return self.value

    def look(self) -> bool:
        """Reads the value again if it has changed; returns whether the new value differs."""
        now = self._monotonic()
        if now < self._look_at:
            return False
        self._look_at = now + self._every
        stamp = self._stamp()
        is_other = stamp != self._known
        if not is_other and now < self._again_at:
            return False
        if is_other and self._patient and not self._has_waited:
            self._has_waited = True
            return False
        self._known, self._has_waited = stamp, False
        before, error = self._value, self._error
        try:
            self._value, self._error = self._read(), None
        except (ArkError, OSError) as raised:
            self._error = raised if isinstance(raised, ArkError) else of_system(raised)
            if before is not None and error is None:
                self._warn(f"{self._error}. Until it can be read, ark uses what it read last")
        self._again_at = now + (_TICK if is_other else _AGAIN if self._error else math.inf)
        return self._value != before
