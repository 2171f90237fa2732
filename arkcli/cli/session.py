"""One run of a command line: its standard streams, its output format, and the home it works on."""

import os
import sys
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, BinaryIO, TextIO

from arkcli.system.process import Process, prepare
from arkcli.system.streams import Stream

if TYPE_CHECKING:
    from arkcli.actions.home import Home
    from arkcli.model import RetrySchedule
    from arkcli.output import Output
    from arkcli.system.clock import Clock


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
        self.process = Process()
        self._clock = clock
        self._randomness = randomness
        self._retries = retries

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

        return Home(self.variables, self._clock or SystemClock(), self._randomness, self._warn, self._retries)

    def output(self) -> "Output":
        """A command's output, in the form that the user chose."""
        from arkcli.output import Output

        return Output(
            self.stdout, self.stderr, self.variables, as_json=self.as_json, quiet=self.quiet, color=self.color
        )

    def _warn(self, text: str) -> None:
        self.output().warn(text)


def _stdin() -> BinaryIO:
    return sys.stdin.buffer if sys.stdin is not None else open(os.devnull, "rb")  # noqa: PTH123 - stays open until the process ends
