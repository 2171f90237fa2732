"""The process itself: its limits, the signals that ask it to stop, and what has to be said at its end."""

import gc
import os
import resource
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from arkcli.errors import ExitCode

if TYPE_CHECKING:
    from types import FrameType

_STOPS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def prepare() -> None:
    """Makes files that this process makes its user's alone, and keeps a crash from leaving a core dump."""
    # Nearly everything here is freed by its reference count; looking for cycles as often as Python does costs 5 %.
    gc.set_threshold(50_000, 20, 20)
    os.umask(0o077)
    _open_what_is_closed()
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    # 0 keeps the kernel from writing a file, but not from handing the memory to a program: 1 does both (core(5)).
    resource.setrlimit(resource.RLIMIT_CORE, (min(1, most) if most >= 0 else 1, most))


class Process:
    """Whether this process has been asked to stop."""

    def __init__(self) -> None:
        #: The signal that asked for it; None until one has.
        self.stop_signal: int | None = None
        #: What has been accepted, in words: however the process ends, that is said.
        self.accepted: str | None = None
        self._on_stop: Callable[[], None] = lambda: None

    def stopping(self) -> bool:
        """Whether a clean stop has been asked for."""
        return self.stop_signal is not None

    def stop_on_signals(self, then: Callable[[], None] | None = None, *, at_hangup: bool = True) -> None:
        """From now on the first SIGINT, SIGTERM or SIGHUP asks for a clean stop; another SIGINT or SIGTERM ends the
        process at once. A SIGHUP that is ignored when the process begins (nohup) stays ignored.

        `then` is called at the first, wherever the process is; without `at_hangup` a SIGHUP changes nothing.
        """
        self._on_stop = then or self._on_stop
        is_heard = at_hangup and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
        for number in _STOPS:
            signal.signal(number, self._stop if is_heard or number != signal.SIGHUP else signal.SIG_IGN)

    def ignore_signals(self) -> None:
        """For the very end: Python gives signals their defaults back as it ends, and one that comes then would kill the
        process, with an exit status that says less than has been done.
        """
        for number in _STOPS:
            signal.signal(number, signal.SIG_IGN)

    def follow(self) -> None:
        """From now on this process leaves it to the one that began it to be told to stop: Ctrl-C, a terminal that goes
        away and a service manager reach a whole group of processes.
        """
        self.ignore_signals()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)

    @contextmanager
    def signals_held(self) -> Iterator[None]:
        """Signals that ask to stop wait for the end of the block; in a process begun in it, for `follow`."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)

    def let_go_of_streams(self) -> None:
        """Puts /dev/null in the place of standard input and output: whoever is at their other ends sees them end."""
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1):
            os.dup2(nowhere, descriptor)
        os.close(nowhere)

    def _stop(self, number: int, _frame: "FrameType | None") -> None:
        # A terminal that goes away often says so twice, and a service manager says it beside SIGTERM.
        if self.stop_signal in (None, signal.SIGHUP):
            self.stop_signal = number
            self._on_stop()
        elif number != signal.SIGHUP:
            # No lock is taken here, and nothing waited for.
            if self.accepted and select.select((), (2,), (), 0)[1]:
                with suppress(OSError):
                    os.write(2, f"interrupted: {self.accepted}\n".encode())
            # Whatever is being done, a crash at this point loses nothing: docs/internals.md, section 5.
            os._exit(ExitCode.INTERRUPTED)


def _open_what_is_closed() -> None:
    """Puts /dev/null in the place of a standard stream that is closed: else the next file opened would get its number,
    and be read or written as if it were that stream.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is this one.
            os.open(os.devnull, os.O_RDWR)
