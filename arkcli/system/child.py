"""Other processes: an `ark` that works for this one and ends with it, and programs of the system."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, BinaryIO

from arkcli.text import process_ending


class Child:
    """A process with `ark`'s command line. Its standard input is a pipe from here: when that ends, so should it."""

    def __init__(self, args: Sequence[str], variables: Mapping[str, str]) -> None:
        """`args` are the arguments of `ark`; the command should stop when its standard input ends."""
        self._command = [sys.executable, "-m", "arkcli", *args]
        self._variables = dict(variables)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """Whether it runs now."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts it. Its standard error is this process's own; what it prints on standard output is dropped.

        It has a process group of its own, so that Ctrl-C reaches this process alone, which then stops it.
        """
        self._process = subprocess.Popen(
            self._command,
            env=self._variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            process_group=0,
        )

    def ending(self) -> str | None:
        """How it ended, in words; None while it runs."""
        status = None if self._process is None else self._process.poll()
        return None if status is None else process_ending(status)

    def ask_to_stop(self) -> None:
        """Lets it finish what is in flight, and then end."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def wait(self) -> None:
        """Waits until it has ended."""
        if self._process is not None:
            self._process.wait()


class Program:
    """A program of the user's, which gets bytes on its standard input. What it prints is dropped."""

    def __init__(
        self, command: Sequence[str], variables: Mapping[str, str], given: bytes, user: tuple[int, int] | None = None
    ) -> None:
        """Starts it, without a shell and in a session of its own; as another `user` (its ids) if given.

        `given` must be at most 4,096 bytes, which every pipe has room for. Raises OSError and ValueError.
        """
        as_user: dict[str, Any] = {} if user is None else {"user": user[0], "group": user[1], "extra_groups": []}
        self._process = subprocess.Popen(
            command,
            env=dict(variables),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            **as_user,
        )
        assert self._process.stdin is not None
        # It need not read them.
        with suppress(BrokenPipeError), self._process.stdin as stdin:
            stdin.write(given)

    def wait(self, seconds: float) -> int | None:
        """Its exit status, or minus the signal that killed it; None if it still runs after a time."""
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(seconds)
        return None

    def leave(self, seconds: float) -> None:
        """Waits for it in another thread, and kills it after a time, if this process lives that long."""

        def watch() -> None:
            if self.wait(seconds) is None:
                self.kill()

        threading.Thread(target=watch, daemon=True).start()

    def kill(self) -> None:
        """Kills it, and what it has started in its session."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def printed(program: str, *args: str) -> str:
    """What a program of the system prints, such as ps(1); empty if it cannot be run.

    The user's PATH does not count: root may ask.
    """
    command = shutil.which(program, path="/sbin:/bin:/usr/sbin:/usr/bin")
    done = subprocess.run([command, *args], capture_output=True, check=False) if command else None
    return done.stdout.decode("utf-8", "replace") if done else ""


def when_input_ends(stream: BinaryIO, then: Callable[[], None]) -> None:
    """Calls `then`, in another thread, when a stream ends: the process at its other end has closed it, or has died."""

    def watch() -> None:
        while os.read(stream.fileno(), 4096):
            pass
        then()

    threading.Thread(target=watch, daemon=True).start()
