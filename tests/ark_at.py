"""Runs `ark` in this process with its clock moved: `python -m tests.ark_at SECONDS ARGUMENTS…`."""

import sys

from arkcli.cli.app import run
from arkcli.cli.session import Session
from arkcli.system.clock import SystemClock


class MovedClock(SystemClock):
    """The machine's clock, moved ahead by a number of seconds."""

    def __init__(self, seconds: float) -> None:
        self._milliseconds = round(seconds * 1000)

    def now(self) -> int:
        return super().now() + self._milliseconds


if __name__ == "__main__":
    session = Session.of_this_process()
    session.home.clock = MovedClock(float(sys.argv[1]))
    sys.exit(run(sys.argv[2:], session))
