"""A terminal that is read key by key, and left as it was at every end."""

import os
import termios
from contextlib import suppress
from typing import Any, Final

_LOCAL_FLAGS: Final = 3
_CONTROL_CHARACTERS: Final = 6


class Keyboard:
    """The keys of a terminal, while this process is in its foreground: a process in the background that reads it, or
    changes its modes, is suspended by the kernel.
    """

    def __init__(self, descriptor: int) -> None:
        """`descriptor` is the terminal's."""
        self.descriptor: Final = descriptor
        self._before: list[Any] | None = None
        self._own: list[Any] | None = None
        self._is_taken = False
        self._has_ended = False

    def take(self, *, again: bool = False) -> bool:
        """From now on keys can be read one by one, and are not echoed. Does so once, until `release`, or if `again`.

        Returns False if there are none to read: this process is in the background, or the terminal is gone.
        """
        self._is_taken = self._is_taken and not again
        if not self._is_in_foreground():
            self._is_taken = False
        elif not self._is_taken:
            with suppress(termios.error):
                found = termios.tcgetattr(self.descriptor)
                # After a SIGSTOP the modes may still be the ones set here.
                if found != self._own:
                    self._before = found
                    self._set(_key_by_key(found))
                    self._own = termios.tcgetattr(self.descriptor)
                self._is_taken = True
        return self._is_taken

    def release(self) -> None:
        """Sets the modes that the terminal had before `take`, whoever has changed them."""
        self._is_taken = False
        if self._before is not None and self._is_in_foreground():
            with suppress(termios.error):
                self._set(self._before)

    def read(self) -> bytes:
        """What was pressed; empty at the end of input, after which `take` returns False."""
        try:
            pressed = os.read(self.descriptor, 1024)
        except OSError:
            pressed = b""
        self._has_ended = not pressed
        return pressed

    def _set(self, modes: list[Any]) -> None:
        # Not TCSADRAIN: a terminal that was stopped with Ctrl-S never drains.
        termios.tcsetattr(self.descriptor, termios.TCSANOW, modes)

    def _is_in_foreground(self) -> bool:
        try:
            return not self._has_ended and os.tcgetpgrp(self.descriptor) == os.getpgrp()
        except OSError:
            # It is not, or no longer, the terminal of this session.
            return False


def _key_by_key(modes: list[Any]) -> list[Any]:
    """The modes without lines and echo; signals stay, so that Ctrl-C and Ctrl-Z work."""
    own = [*modes]
    own[_LOCAL_FLAGS] &= ~(termios.ICANON | termios.ECHO)
    own[_CONTROL_CHARACTERS] = [*modes[_CONTROL_CHARACTERS]]
    own[_CONTROL_CHARACTERS][termios.VMIN] = 1
    own[_CONTROL_CHARACTERS][termios.VTIME] = 0
    return own
