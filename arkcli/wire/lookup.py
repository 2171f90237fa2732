"""Looks up host names in threads, so that one slow name delays no other.

libcurl uses at most 20 threads, so 20 names without an answer would block all other look-ups.
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

#: How long a look-up's result is used, in seconds: the system's resolver reports no lifetime. libcurl's own default.
_GOOD_FOR: Final = 60.0
#: The same for addresses where no server answered, in seconds. The name may have moved, but a thousand refused
#: connections must not cause a thousand look-ups.
_DOUBTED_AFTER: Final = 1.0
#: The addresses of a name, in the resolver's order; empty if the look-up failed.
Addresses = tuple[str, ...]
_UNKNOWN: Final[tuple[Addresses, float, float]] = ((), 0.0, 0.0)


class Found(NamedTuple):
    """What a look-up found. If it found nothing, `lacking` names the resource that this machine ran out of, if any."""

    name: str
    addresses: Addresses
    lacking: str | None = None


class Lookups:
    """Looks up names with the system's resolver, each in its own thread. Call all methods from one thread."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        #: By name: what was found, when, and until when it may be used.
        self._known: dict[str, tuple[Addresses, float, float]] = {}
        self._under_way: set[str] = set()
        self._done: queue.SimpleQueue[tuple[float, Found]] = queue.SimpleQueue()
        # A pipe, not a socket pair: a service may be forbidden to open Unix sockets.
        self._bell, self._rope = map(FileIO, os.pipe(), "rw")
        for end in (self._bell, self._rope):
            os.set_blocking(end.fileno(), False)

    def addresses(self, name: str) -> Addresses | None:
        """The addresses found for a name within the last minute. Otherwise None, and a look-up is under way.

        Each look-up makes a new tuple, even if it equals the one before.
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
        """Notes that nothing answered at these addresses of a name: they expire one second after they were found."""
        found, at, until = self._known.get(name, _UNKNOWN)
        if found is addresses:
            self._known[name] = found, at, min(until, at + _DOUBTED_AFTER)

    def wait(self, seconds: float, reading: list[int], writing: list[int], failing: list[int]) -> None:
        """Waits until one of these descriptors is ready or a look-up ends; at most for `seconds`."""
        bell = self._bell.fileno()
        ready, _, _ = select.select([bell, *reading], writing, failing, seconds)
        if bell in ready:
            self._bell.read(4096)

    def finished(self) -> list[Found]:
        """The look-ups that have ended since the last call."""
        done = []
        while not self._done.empty():
            at, found = self._done.get()
            self._under_way.discard(found.name)
            self._known[found.name] = found.addresses, at, at + _GOOD_FOR
            done.append(found)
        return done

    def close(self) -> None:
        """Abandons the look-ups under way; their threads end when the resolver times out, or with the process."""
        self._bell.close()
        self._rope.close()

    def _look_up(self, name: str) -> None:
        try:
            # As bytes: Python would encode a string with the outdated IDNA of 2003.
            rows = socket.getaddrinfo(name.encode(), None, type=socket.SOCK_STREAM)
            found = Found(name, tuple(dict.fromkeys(str(row[4][0]).partition("%")[0] for row in rows)))
        except OSError:
            found = Found(name, (), shortage.of_sockets())
        self._done.put((self._monotonic(), found))
        try:
            # A full pipe drops the byte: that is fine, since the bytes before it wake `wait`, too.
            self._rope.write(b"!")
        except (OSError, ValueError):
            # `close` was called in the meantime.
            return
