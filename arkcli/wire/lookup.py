"""Host names looked up beside everything else: a name that nobody answers for delays no other.

libcurl would do it in 20 threads at most, so that 20 names without an answer keep all others from being looked up.
"""

import queue
import select
import socket
import threading
from collections.abc import Callable
from typing import Final

#: How long an answer is good for, in seconds. The system's resolver does not tell, and libcurl takes the same.
_GOOD_FOR: Final = 60.0
#: What could be looked up, in the resolver's order; empty when it could not.
Addresses = tuple[str, ...]


class Lookups:
    """Looks names up as the system does, each in a thread of its own. All methods are for one thread."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._known: dict[str, tuple[float, Addresses]] = {}
        self._under_way: set[str] = set()
        self._done: queue.SimpleQueue[tuple[str, float, Addresses]] = queue.SimpleQueue()
        self._bell, self._rope = socket.socketpair()
        self._bell.setblocking(False)
        self._rope.setblocking(False)

    def addresses(self, name: str) -> Addresses | None:
        """What a name was found to be within the last minute; else None, and it is being looked up."""
        until, found = self._known.get(name, (0.0, ()))
        if found and self._monotonic() < until:
            return found
        if name not in self._under_way:
            self._under_way.add(name)
            try:
                threading.Thread(target=self._look_up, args=(name,), daemon=True).start()
            except RuntimeError:
                # The system gives no more threads: this attempt fails, and its retry finds others ended.
                self._done.put((name, self._monotonic(), ()))
        return None

    def wait(self, seconds: float, reading: list[int], writing: list[int], failing: list[int]) -> None:
        """Waits so long at most for one of these descriptors, or for a look-up to end."""
        bell = self._bell.fileno()
        ready, _, _ = select.select([bell, *reading], writing, failing, seconds)
        if bell in ready:
            self._bell.recv(4096)

    def finished(self) -> list[tuple[str, Addresses]]:
        """The look-ups that have ended since this was asked last."""
        done = []
        while not self._done.empty():
            name, at, found = self._done.get()
            self._under_way.discard(name)
            self._known[name] = at + _GOOD_FOR, found
            done.append((name, found))
        return done

    def close(self) -> None:
        """Lets go of what is under way; its threads end when the resolver gives up, or with the process."""
        self._bell.close()
        self._rope.close()

    def _look_up(self, name: str) -> None:
        try:
            # As bytes: text would go through the outdated IDNA of 2003.
            rows = socket.getaddrinfo(name.encode(), None, type=socket.SOCK_STREAM)
            found = tuple(dict.fromkeys(str(row[4][0]).partition("%")[0] for row in rows))
        except OSError:
            found = ()
        self._done.put((name, self._monotonic(), found))
        try:
            self._rope.send(b"!")
        except OSError:
            # Closed meanwhile, or so many have ended at once that the bell rings anyway.
            return
