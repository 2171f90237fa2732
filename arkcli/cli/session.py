"""One run of a command line: its standard streams, the form of what it prints, and the home it works on."""

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
    """Where a command's words come from and go. Standard streams, variables and randomness enter here alone."""

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
        """`randomness` returns that number of random bytes; without `retries` the documented schedule holds.

        `as_json`, `quiet` and `color` (auto, always or never) may be set afterwards: the form of what is printed.
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
        """The real one, in a process that is made fit for it."""
        prepare()
        return cls(os.environ, _stdin(), Stream(1, sys.stdout), Stream(2, sys.stderr))

    @cached_property
    def home(self) -> "Home":
        """The store, the queue and the way out."""
        from arkcli.actions.home import Home
        from arkcli.system.clock import SystemClock

        return Home(self.variables, self._clock or SystemClock(), self._randomness, self._warn, self._retries)

    def output(self) -> "Output":
        """Where a command's words go, in the form that the user asked for."""
        from arkcli.output import Output

        return Output(
            self.stdout, self.stderr, self.variables, as_json=self.as_json, quiet=self.quiet, color=self.color
        )

    def _warn(self, text: str) -> None:
        self.output().warn(text)


def _stdin() -> BinaryIO:
    return sys.stdin.buffer if sys.stdin is not None else open(os.devnull, "rb")  # noqa: PTH123 - lives as long
