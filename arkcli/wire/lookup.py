"""Looks up host names in threads, so that a name that nobody answers for delays no other.

libcurl would do it in 20 threads at most, so that 20 names without an answer keep all others from being looked up.
"""

import os
import queue
import select
import socket
import threading
from collections.abc import Callable
from io import FileIO
from typing import Final, NamedTuple

from arkcli.wire import shortage

#: How long an answer is good for, in seconds. The system's resolver does not tell, and libcurl takes the same.
_GOOD_FOR: Final = 60.0
#: How long an answer is good for where nothing answered: a name may lead elsewhere by now, but its name server need not
#: be asked again for each of a thousand refused connections.
_DOUBTED_AFTER: Final = 1.0
#: What could be looked up, in the resolver's order; empty when it could not.
Addresses = tuple[str, ...]
_UNKNOWN: Final[tuple[Addresses, float, float]] = ((), 0.0, 0.0)


class Found(NamedTuple):
    """What a look-up found. `lacking` is what this machine had too little of for it, where it found nothing."""

    name: str
    addresses: Addresses
    lacking: str | None = None


class Lookups:
    """Looks names up as the system does, each in a thread of its own. All methods are for one thread."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        #: By name: what was found, at what time, and until when that is good.
        self._known: dict[str, tuple[Addresses, float, float]] = {}
        self._under_way: set[str] = set()
        self._done: queue.SimpleQueue[tuple[float, Found]] = queue.SimpleQueue()
        # A pipe: a service may be forbidden to open Unix sockets.
        self._bell, self._rope = map(FileIO, os.pipe(), "rw")
        for end in (self._bell, self._rope):
            os.set_blocking(end.fileno(), False)

    def addresses(self, name: str) -> Addresses | None:
        """What a name was found to be within the last minute; else None, and it is being looked up.

        Each look-up makes a tuple of its own, equal to the one before or not.
        """
        found, _, until = self._known.get(name, _UNKNOWN)
        if found and self._monotonic() < until:
            return found
        if name not in self._under_way:
            self._under_way.add(name)
            try:
                threading.Thread(target=self._look_up, args=(name,), daemon=True).start()
            except RuntimeError:
                self._done.put((self._monotonic(), Found(name, (), shortage.THREADS)))
        return None

    def doubt(self, name: str, addresses: Addresses) -> None:
        """Forgets these addresses of a name, for nothing answered there: from a second after they were found on."""
        found, at, until = self._known.get(name, _UNKNOWN)
        if found is addresses:
            self._known[name] = found, at, min(until, at + _DOUBTED_AFTER)

    def wait(self, seconds: float, reading: list[int], writing: list[int], failing: list[int]) -> None:
        """Waits so long at most for one of these descriptors, or for a look-up to end."""
        bell = self._bell.fileno()
        ready, _, _ = select.select([bell, *reading], writing, failing, seconds)
        if bell in ready:
            self._bell.read(4096)

    def finished(self) -> list[Found]:
        """The look-ups that have ended since this was asked last."""
        done = []
        while not self._done.empty():
            at, found = self._done.get()
            self._under_way.discard(found.name)
            self._known[found.name] = found.addresses, at, at + _GOOD_FOR
            done.append(found)
        return done

    def close(self) -> None:
        """Lets go of what is under way; its threads end when the resolver gives up, or with the process."""
        self._bell.close()
        self._rope.close()

    def _look_up(self, name: str) -> None:
        try:
            # As bytes: text would go through the outdated IDNA of 2003.
            rows = socket.getaddrinfo(name.encode(), None, type=socket.SOCK_STREAM)
            found = Found(name, tuple(dict.fromkeys(str(row[4][0]).partition("%")[0] for row in rows)))
        except OSError:
            found = Found(name, (), shortage.of_sockets())
        self._done.put((self._monotonic(), found))
        try:
            # Where so many have ended at once that it is full, the bell rings anyway.
            self._rope.write(b"!")
        except (OSError, ValueError):
            # Closed meanwhile.
            return
