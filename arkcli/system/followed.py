"""What others may change at any time: looked at now and then, and read again once it has changed. Pure but for files'
stamps.
"""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

from arkcli.errors import ArkError
from arkcli.system.refused import of_system

Value = TypeVar("Value")

#: What has changed is read once more after so many seconds: a file system's clock ticks, and two changes within a tick
#: leave the same stamp.
_TICK: Final = 0.05
#: What cannot be read is tried again after so many seconds, though its stamp is the same: no descriptor may have been
#: free.
_AGAIN: Final = 5.0


def stamp_of(file: Path | int) -> object:
    """Something that differs once a file has changed, or the one that a link leads to; None where it cannot be seen.

    An open file is given by its descriptor.
    """
    try:
        found = os.stat(file)  # noqa: PTH116 - a descriptor has no path
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev


class Followed(Generic[Value]):
    """A value that others may change: as it is now or, while it cannot be read, as it could be read last."""

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
        """`stamp` gives something that differs once it has changed. `read` raises ArkError or OSError where that cannot
        be read; `warn` is told so once. It is looked at once in `every` seconds at most.

        With `patient` a change is read at the look after the one that saw it: whoever writes it may not be done.
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
        """As of the last look. Raises what kept it from being read where it never could be."""
        if self._value is None:
            assert self._error is not None
            raise self._error
        return self._value

    def now(self) -> Value:
        """Looks at it first."""
        self.look()
        return self.value

    def look(self) -> bool:
        """Reads it where it has changed; whether the value is another one now."""
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
