"""Processes of `ark` that stay: started, waited for, and stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tests.world import World


class Started:
    """A running `ark`, and the first line that it printed."""

    def __init__(self, process: "subprocess.Popen[str]", line: str) -> None:
        self.process = process
        self.line = line

    @property
    def printed(self) -> Any:
        return json.loads(self.line)

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err


@contextmanager
def started(world: World, *args: str, before: Sequence[str] = (), **variables: str) -> Iterator[Started]:
    """Runs `ark` during a block, without a screen. `before` are a command and its arguments that run it."""
    inherited = {name: value for name, value in os.environ.items() if "DISPLAY" not in name and name != "BROWSER"}
    with subprocess.Popen(
        [*before, sys.executable, "-m", "arkcli", *args],
        env={**inherited, **world.variables, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line, process.communicate(timeout=10)
            yield Started(process, line)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(30)


def until(holds: Callable[[], object], within: float = 30) -> float:
    """Waits until something holds; returns after how many seconds it did."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < within, "it did not happen in time"
        time.sleep(0.01)
    return time.monotonic() - began
