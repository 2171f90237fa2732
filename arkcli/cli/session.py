"""One run of a command line: its standard streams, its output format, and the home it works on."""

import os
import sys
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from math import ceil
from typing import TYPE_CHECKING, BinaryIO, Final, TextIO

from arkcli.system.process import Process, prepare
from arkcli.system.streams import Stream

if TYPE_CHECKING:
    from arkcli.actions.home import Home
    from arkcli.model import RetrySchedule
    from arkcli.output import Output
    from arkcli.output.live import Live
    from arkcli.system.clock import Clock

#: What a second Ctrl-C does: to deliveries in the queue, and to attempts that are made once.
ATTEMPTED_AGAIN: Final = "to leave {them} to the next `ark drain`"
NOT_ATTEMPTED_AGAIN: Final = "to stop at once"


class Session:
    """The surroundings of a command. Standard streams, environment variables and randomness enter `ark` only here."""

    def __init__(
        self,
        variables: Mapping[str, str],
        stdin: BinaryIO,
        stdout: TextIO,
        stderr: TextIO,
        clock: "Clock | None" = None,
        randomness: Callable[[int], bytes] = os.urandom,
        retries: "RetrySchedule | None" = None,
    ) -> None:
        """`randomness` returns that number of random bytes; `retries` defaults to the documented schedule.

        `as_json`, `quiet` and `color` (auto, always or never) may be set afterwards; they decide the output format.
        """
        self.variables = variables
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self.color = "auto"
        self.as_json = False
        self.quiet = False
        #: The command, such as `ark drain`.
        self.purpose = "ark"
        #: Whether the command accepts events: an error has to say that it accepted none.
        self.is_accepting = False
        #: Whether standard error is the log of a service.
        self.is_service = False
        self.process = Process()
        self._clock = clock
        self._randomness = randomness
        self._retries = retries
        self._live: Live | None = None

    @classmethod
    def of_this_process(cls) -> "Session":
        """The session of the real process, which it prepares first."""
        prepare()
        return cls(os.environ, _stdin(), Stream(1, sys.stdout), Stream(2, sys.stderr))

    @cached_property
    def home(self) -> "Home":
        """The store, the queue and the network access."""
        return self.new_home()

    def new_home(self) -> "Home":
        """A home of its own, for another thread."""
        from arkcli.actions.home import Home
        from arkcli.system.clock import SystemClock

        home = Home(self.variables, self._clock or SystemClock(), self._randomness, self._warn, self._retries)
        home.purpose = self.purpose
        return home

    def output(self) -> "Output":
        """A command's output, in the form that the user chose."""
        from arkcli.output import Output

        made = Output(
            self.stdout, self.stderr, self.variables, as_json=self.as_json, quiet=self.quiet, color=self.color,
            live=self._live,
        )  # fmt: skip
        self._live = made.live
        return made

    def stop_on_signals(self, again: str) -> None:
        """From now on a signal asks for a clean stop, as `Process.stop_on_signals` says.

        A person at the terminal is told at once what is still in flight. `again` says what a second Ctrl-C is for, with
        {them} in place of the attempts.
        """
        self.process.erasing = self.output().erasing
        # With --json, too: the words go to standard error.
        is_told = self.stderr.isatty() and not self.quiet
        self.process.stop_on_signals(words=partial(self._stopping, again) if is_told else None)

    def _stopping(self, again: str) -> str:
        """What is said at the first signal. A signal handler calls it, so it takes no lock."""
        count, seconds = self.home.in_flight
        if not count:
            return "stopping"
        attempts = "1 attempt is in flight and ends" if count == 1 else f"{count:,} attempts are in flight and end"
        again = again.format(them="it" if count == 1 else "them")
        return f"stopping: {attempts} within {max(ceil(seconds), 1)} s; Ctrl-C again {again}"

    def _warn(self, text: str) -> None:
        output = self.output()
        (output.log_warning if self.is_service else output.warn)(text)


def _stdin() -> BinaryIO:
    return sys.stdin.buffer if sys.stdin is not None else open(os.devnull, "rb")  # noqa: PTH123 - stays open until the process ends
