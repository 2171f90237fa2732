"""Homes for the threads of a process that stays: each for one call at a time, and stopped together."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

from arkcli.actions.home import Home
from arkcli.errors import ArkError, UsageError
from arkcli.system.process import Process

if TYPE_CHECKING:
    from arkcli.actions.reading import Overview
    from arkcli.model import Destination

#: How old an overview may be: in seconds, and in times of how long it took.
_FRESH: Final = 2.0
_TIMES: Final = 5.0


class Homes:
    """Lends a home to one call, with a process that is told to stop when all are. A home is for one thread at a time.

    After a fork the child opens its own: closing a connection that its parent opened would end it there.
    """

    def __init__(self, open_home: Callable[[], Home], stopped: Callable[[], ArkError]) -> None:
        """`stopped` makes the error of a call that comes after `stop`."""
        self._open = open_home
        self._stopped = stopped
        self._lock = threading.Lock()
        self._idle: list[Home] = []
        self._busy: dict[Process, Home] = {}
        self._is_stopped = False
        _all.add(self)

    @property
    def has_idle(self) -> bool:
        """Whether a home is open that no call uses."""
        return bool(self._idle)

    @contextmanager
    def lent(self) -> Iterator[tuple[Home, Process]]:
        """Lends one during a block. One that met an error which is not the caller's is not used again."""
        process = Process()
        with self._lock:
            if self._is_stopped:
                raise self._stopped()
            home = self._busy[process] = self._idle.pop() if self._idle else self._open()
        is_whole = False
        try:
            yield home, process
            is_whole = True
        except UsageError:
            is_whole = True
            raise
        finally:
            with self._lock:
                # In a child that was forked meanwhile it is the parent's.
                is_ours = self._busy.pop(process, None) is not None
                is_kept = is_whole and is_ours and not self._is_stopped
                if is_kept:
                    self._idle.append(home)
            if is_ours and not is_kept:
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

    def _begin_again(self) -> None:
        """Leaves what a parent opened to the parent."""
        # Another thread may have held it, and that thread is not here.
        self._lock = threading.Lock()
        _inherited.extend((*self._idle, *self._busy.values()))
        self._idle, self._busy = [], {}


_all: WeakSet[Homes] = WeakSet()
#: Those of a parent process. They are kept, so that nothing of them is closed.
_inherited: list[Home] = []


def _in_a_forked_child() -> None:
    for homes in list(_all):
        homes._begin_again()


os.register_at_fork(after_in_child=_in_a_forked_child)


class Glance:
    """The overview of all destinations for those who look often: with a thousand, to take it lasts half a second."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: tuple[Sequence[Destination], Overview] | None = None
        self._until = 0.0

    def overview(self, home: Home, destinations: "Sequence[Destination]") -> "Overview":
        """What waits for these destinations, as of now or a few seconds ago."""
        from arkcli.actions.reading import Reading

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
