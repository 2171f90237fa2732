"""The world a run lives in, and what is assembled from it: the only door for the clock, randomness, standard streams,
signals and the environment's variables. Everything is made when it is first asked for.
"""

import gc
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING, BinaryIO, Final, TextIO

from arkcli.errors import ArkError, ExitCode, UsageError
from arkcli.signing import Secret
from arkcli.system.streams import Stream

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

    from arkcli.delivery.loop import Token
    from arkcli.model import Destination
    from arkcli.output import Output
    from arkcli.queue.engine import Queue
    from arkcli.schedule import RetrySchedule
    from arkcli.signing.secrets import ReadFile
    from arkcli.store.store import Contents, Store
    from arkcli.times import Clock
    from arkcli.wire.wire import Endpoint, Wire


_STOPS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class SystemClock:
    """The machine's clocks."""

    def now(self) -> int:
        """Milliseconds since 1970, UTC."""
        return time.time_ns() // 1_000_000

    #: Seconds on a clock that never goes back. Python's own function: the delivery loop asks it all the time.
    monotonic = staticmethod(time.monotonic)

    def sleep(self, seconds: float) -> None:
        """Waits so many seconds."""
        time.sleep(seconds)


class Environment:
    """One run's world. Tests replace single parts of it."""

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
        self.clock: Clock = clock or SystemClock()
        self.randomness = randomness
        self._retries = retries
        self.color = "auto"
        self.as_json = False
        self.quiet = False
        self.stop_signal: int | None = None
        #: What this run has accepted, in words: however it ends, that is said.
        self.accepted: str | None = None
        #: The names of destinations whose deliveries are gone, as was found out in this run.
        self.losses: list[str] = []
        self._on_stop: Callable[[], None] = lambda: None

    @classmethod
    def of_this_process(cls) -> "Environment":
        """The real one. Files that this process makes are for its user alone, and a crash leaves no core dump."""
        # Nearly everything here is freed by its reference count; looking for cycles as often as Python does costs 5 %.
        gc.set_threshold(50_000, 20, 20)
        os.umask(0o077)
        _open_what_is_closed()
        _, most = resource.getrlimit(resource.RLIMIT_CORE)
        # 0 keeps the kernel from writing a file, but not from handing the memory to a program: 1 does both (core(5)).
        resource.setrlimit(resource.RLIMIT_CORE, (min(1, most) if most >= 0 else 1, most))
        return cls(os.environ, _stdin(), Stream(1, sys.stdout), Stream(2, sys.stderr))

    def output(self) -> "Output":
        """Where a command's words go, in the form that the user asked for."""
        from arkcli.output import Output

        return Output(
            self.stdout, self.stderr, self.variables, as_json=self.as_json, quiet=self.quiet, color=self.color
        )

    @cached_property
    def schedule(self) -> "RetrySchedule":
        """When a failed delivery is tried again."""
        from arkcli.schedule import DOCUMENTED

        return self._retries or DOCUMENTED

    @cached_property
    def store(self) -> "Store":
        """The destinations and the secret."""
        from arkcli.store.store import Store
        from arkcli.system.paths import config_directory

        return Store(config_directory(self.variables))

    @cached_property
    def queue(self) -> "Queue":
        """The queue, opened; made where there is none. Raises Unreadable. No other module knows which engine it is."""
        from arkcli.queue.local.queue import LocalQueue

        return LocalQueue(self.queue_directory, self.schedule)

    def joined(self, destinations: "Iterable[Destination]", *, to_read: bool = False) -> "list[Destination]":
        """Destinations that have their place in the queue. Ask here for those that you ask the queue about.

        What there is to tell of some is told as a warning. See `engine.Queue.join`.
        """
        found = list(destinations)
        told = self.queue.join((destination.id for destination in found), to_read=to_read) if found else {}
        for destination in found if told else ():
            if destination.id in told:
                self.losses.append(destination.name)
                self.output().warn(f"{destination.name}: {told[destination.id]}")
        return found

    @property
    def queue_directory(self) -> "Path":
        """Where the queue is, or will be."""
        from arkcli.system.paths import state_directory

        return state_directory(self.variables) / "queue"

    def nameless_file(self) -> BinaryIO:
        """A file on the queue's disk, for what is too large for memory. It is gone when it is closed."""
        from arkcli.system import files
        from arkcli.system.paths import state_directory

        directory = state_directory(self.variables)
        files.make_directory(directory)
        return files.nameless(directory)

    def wire(self, connections: int = 256) -> "Wire[Token]":
        """A way out to the network; `connections` is the most that it keeps."""
        from arkcli.wire.transfer import ca_bundle
        from arkcli.wire.wire import Wire

        return Wire(ca_bundle(self.variables), self.clock, connections)

    def new_id(self, prefix: str) -> str:
        """A fresh id: the prefix and 28 hex digits, 12 of time and 16 random, so that ids sort by age."""
        (digits,) = self.new_digits(1)
        return f"{prefix}_{digits}"

    def new_digits(self, count: int) -> list[str]:
        """What makes so many ids fresh: 28 hex digits each."""
        now, random = f"{self.clock.now():012x}", self.randomness(8 * count).hex()
        return [now + random[begin : begin + 16] for begin in range(0, 16 * count, 16)]

    def secret_of(
        self, destination: "Destination", contents: "Contents", read_file: "ReadFile | None" = None
    ) -> Secret:
        """The secret that signs for a destination: its own, else the workspace's. Raises UsageError."""
        from arkcli.signing.secrets import resolve_secret

        if destination.secret is not None:
            place = f"the secret of {destination.name}"
            return resolve_secret(destination.secret, self.variables, place, read_file)
        return self.workspace_secret(contents, read_file)

    def workspace_secret(self, contents: "Contents", read_file: "ReadFile | None" = None) -> Secret:
        """The workspace's signing secret. Raises UsageError where there is none."""
        from arkcli.signing.secrets import resolve_secret

        if contents.workspace.secret is None:
            raise UsageError("there is no signing secret yet; `ark dest add URL` or `ark secret rotate` makes one")
        return resolve_secret(contents.workspace.secret, self.variables, "the workspace's secret", read_file)

    def known_secrets(self) -> dict[str, Secret]:
        """Every secret that stands in the environment and the store, by where. What cannot be read is left out."""
        known: dict[str, Secret] = {}
        if given := self.variables.get("ARK_SECRET"):
            known["the one in ARK_SECRET"] = Secret(given)
        with suppress(ArkError):
            contents = self.store.read()
            for found in contents.destinations:
                if found.secret is not None:
                    with suppress(ArkError):
                        known[f"the one of {found.name}"] = self.secret_of(found, contents)
            known["the store's"] = self.workspace_secret(contents)
        return known

    def endpoints(self, destinations: "Iterable[Destination]", contents: "Contents") -> "list[Endpoint]":
        """Destinations made ready for sending. Raises UsageError where one's secret cannot be had."""
        from arkcli.wire.wire import Endpoint

        return [Endpoint(destination, self.secret_of(destination, contents)) for destination in destinations]

    def stop_on_signals(self, then: Callable[[], None] | None = None, *, at_hangup: bool = True) -> None:
        """From now on the first SIGINT, SIGTERM or SIGHUP asks for a clean stop; another SIGINT or SIGTERM ends the
        process at once. What is ignored when the process begins (nohup, a script's `&`) stays ignored.

        `then` is called at the first, wherever the process is; without `at_hangup` a SIGHUP changes nothing.
        """
        self._on_stop = then or self._on_stop
        for number in _STOPS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                is_followed = at_hangup or number != signal.SIGHUP
                signal.signal(number, self._stop if is_followed else signal.SIG_IGN)

    def follow(self) -> None:
        """From now on this process leaves it to the one that began it to be told to stop: Ctrl-C, a terminal that goes
        away and a service manager reach a whole group of processes.
        """
        # What it opens from now on is its own: locks are shared with whoever opened them.
        self.__dict__.pop("queue", None)
        for number in _STOPS:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)

    def let_go_of_streams(self) -> None:
        """Puts /dev/null in the place of standard input and output: whoever is at their other ends sees them end."""
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1):
            os.dup2(nowhere, descriptor)
        os.close(nowhere)

    @contextmanager
    def signals_held(self) -> Iterator[None]:
        """Signals that ask to stop wait for the end of the block; in a process begun in it, for `follow`."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)

    def stopping(self) -> bool:
        """Whether a clean stop has been asked for."""
        return self.stop_signal is not None

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


def _stdin() -> BinaryIO:
    return sys.stdin.buffer if sys.stdin is not None else open(os.devnull, "rb")  # noqa: PTH123 - lives as long
