"""Homes for the threads of a process that stays: each for one call at a time, and stopped together."""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from arkcli.actions.home import Home
from arkcli.actions.reading import Overview, Reading
from arkcli.errors import Interrupted, UsageError
from arkcli.system.process import Process

if TYPE_CHECKING:
    from arkcli.model import Destination

#: How old an overview may be: in seconds, and in times of how long it took.
_FRESH: Final = 2.0
_TIMES: Final = 5.0


class Homes:
    """Lends a home to one call, with a process that is told to stop when all are."""

    def __init__(self, open_home: Callable[[], Home]) -> None:
        self._open = open_home
        self._lock = threading.Lock()
        self._idle: list[Home] = []
        self._busy: set[Process] = set()
        self._is_stopped = False

    @contextmanager
    def lent(self) -> Iterator[tuple[Home, Process]]:
        """Lends one during a block. One that met an error which is not the caller's is not used again."""
        process = Process()
        with self._lock:
            if self._is_stopped:
                raise Interrupted("ark is stopping")
            self._busy.add(process)
            home = self._idle.pop() if self._idle else self._open()
        is_whole = False
        try:
            if home.has_queue:
                # What others have accepted since it was lent last.
                home.queue.look((), home.clock.now())
            yield home, process
            is_whole = True
        except UsageError:
            is_whole = True
            raise
        finally:
            with self._lock:
                self._busy.discard(process)
                is_kept = is_whole and not self._is_stopped
                if is_kept:
                    self._idle.append(home)
            if not is_kept:
                home.close()

    def stop(self) -> None:
        """Lets attempts in flight end, and lends no more. A signal handler may not call it."""
        with self._lock:
            self._is_stopped = True
            homes, self._idle = self._idle, []
            for process in self._busy:
                process.ask_to_stop(signal.SIGTERM)
        for home in homes:
            home.close()


class Glance:
    """The overview of all destinations for those who look often: with a thousand, to take it lasts half a second."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: tuple[Sequence[Destination], Overview] | None = None
        self._until = 0.0

    def overview(self, home: Home, destinations: "Sequence[Destination]") -> Overview:
        """What waits for these destinations, as of now or a few seconds ago."""
        with self._lock:
            began = home.clock.monotonic()
            if self._known is None or began >= self._until or self._known[0] != destinations:
                self._known = list(destinations), Reading(home, destinations).overview()
                took = home.clock.monotonic() - began
                self._until = began + took + max(_FRESH, _TIMES * took)
            return self._known[1]

    def forget(self) -> None:
        """Makes the next overview a new one: something was changed."""
        self._until = 0.0
