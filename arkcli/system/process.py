"""The process itself: its limits, the signals that ask it to stop, and its last message."""

import gc
import os
import resource
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from arkcli.errors import ExitCode
from arkcli.system import descriptors

if TYPE_CHECKING:
    from types import FrameType

#: timeout(1) sends SIGTERM to a process and then to its group, so two of them within this many seconds are one.
_ONE_SIGNAL: Final = 0.1
_STOPS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: A message of more characters than this does not fit on one line of a narrow terminal.
_LONG: Final = 80


def prepare() -> None:
    """Makes new files private (umask 077), keeps a crash from leaving a core dump, and allows as many open files as it
    may: every destination needs some.
    """
    # Nearly everything here is freed by its reference count; Python's default frequency of cycle detection costs 5 %.
    gc.set_threshold(50_000, 20, 20)
    os.umask(0o077)
    _open_what_is_closed()
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    # 0 keeps the kernel from writing a file, but not from piping the memory to a program; 1 prevents both (core(5)).
    # A service may be forbidden to change any limit.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (min(1, most) if most >= 0 else 1, most))
    descriptors.raise_limit()


class Process:
    """Whether this process has been asked to stop."""

    def __init__(self) -> None:
        #: The signal that asked the process to stop; None if none has.
        self.stop_signal: int | None = None
        #: What has been accepted, as text for the user. It is printed however the process ends.
        self.accepted: str | None = None
        #: Whether Ctrl-C and Ctrl-\ are for another program, such as an editor, that has the terminal.
        self.lends_terminal = False
        #: What to write to standard error before a message of the signal handler, so that it begins a line.
        self.erasing = ""
        self._stopped_at = 0.0
        self._on_stop: Callable[[], None] = lambda: None
        self._before_end: Callable[[], None] = lambda: None
        self._words: Callable[[], str] | None = None

    def stopping(self) -> bool:
        """Whether a clean stop has been asked for."""
        return self.stop_signal is not None

    def ask_to_stop(self, number: int) -> None:
        """Asks for a clean stop, as this signal would."""
        self.stop_signal = self.stop_signal or number
        self._on_stop()

    def stop_on_signals(
        self,
        then: Callable[[], None] | None = None,
        *,
        at_hangup: bool = True,
        words: Callable[[], str] | None = None,
    ) -> None:
        """From now on the first SIGINT, SIGTERM or SIGHUP asks for a clean stop; another SIGINT or SIGTERM ends the
        process at once. A SIGHUP that was ignored at the start (nohup) stays ignored.

        The first signal calls `then`, wherever the process is, and writes what `words` returns to standard error. Both
        may neither take a lock nor wait. Without `at_hangup`, SIGHUP is ignored.
        """
        self._on_stop = then or self._on_stop
        self._words = words
        is_heard = at_hangup and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
        for number in _STOPS:
            signal.signal(number, self._stop if is_heard or number != signal.SIGHUP else signal.SIG_IGN)

    def around_stops(self, before: Callable[[], None], after: Callable[[], None]) -> None:
        """Calls `before` when SIGTSTP (Ctrl-Z) is about to suspend this process, or SIGQUIT or a second SIGINT or
        SIGTERM to end it; calls `after` when it goes on.
        """

        def obey(number: int, _frame: "FrameType | None") -> None:
            if number == signal.SIGQUIT and self.lends_terminal:
                return
            before()
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            # Going on: a shell has sent SIGCONT, or there is no shell that could, and the kernel has not suspended.
            signal.signal(number, obey)
            after()

        self._before_end = before
        for number in (signal.SIGTSTP, signal.SIGQUIT):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, obey)
        # After a SIGSTOP, which no process notices.
        signal.signal(signal.SIGCONT, lambda *_: after())

    def ignore_signals(self) -> None:
        """Ignores signals at the very end. Python restores their defaults as it exits, so a late signal would kill the
        process, and its exit status would not say what was done.
        """
        for number in _STOPS:
            signal.signal(number, signal.SIG_IGN)

    def follow(self) -> None:
        """From now on this process stops only when its parent tells it to: Ctrl-C, a closed terminal and a service
        manager send signals to the whole process group.
        """
        self.ignore_signals()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)

    @contextmanager
    def signals_held(self) -> Iterator[None]:
        """Blocks stop signals until the end of the block; in a process started within it, until `follow`."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)

    def let_go_of_streams(self) -> None:
        """Replaces standard input and output with /dev/null, so that the other ends see them close."""
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1):
            os.dup2(nowhere, descriptor)
        os.close(nowhere)

    def _stop(self, number: int, _frame: "FrameType | None") -> None:
        if number == signal.SIGINT and self.lends_terminal:
            return
        # A closed terminal often sends SIGHUP twice, and a service manager sends it with SIGTERM.
        if self.stop_signal in (None, signal.SIGHUP):
            is_first, self.stop_signal = self.stop_signal is None, number
            self._stopped_at = time.monotonic()
            self._on_stop()
            if is_first and self._words is not None:
                self._say(f"{self._words()}\n")
        elif number == self.stop_signal == signal.SIGTERM and time.monotonic() - self._stopped_at < _ONE_SIGNAL:
            pass
        elif number != signal.SIGHUP:
            self._before_end()
            self._say(f"interrupted: {self.accepted}\n" if self.accepted else "")
            # A crash at any point loses nothing: docs/internals.md, section 5.
            os._exit(ExitCode.INTERRUPTED)

    def _say(self, text: str) -> None:
        # Take no lock here, and do not wait.
        with suppress(OSError, ValueError):
            if (text or self.erasing) and select.select((), (2,), (), 0)[1]:
                # A terminal would break a long line inside a word.
                shown = text.replace("; ", ";\n  ") if self.erasing and len(text) > _LONG else text
                os.write(2, f"{self.erasing}{shown}".encode())


def _open_what_is_closed() -> None:
    """Opens /dev/null for each closed standard stream: otherwise the next file opened would get its number, and be read
    or written as that stream.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # open() uses the lowest free number, which is this one.
            os.open(os.devnull, os.O_RDWR)
