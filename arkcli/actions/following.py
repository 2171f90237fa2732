"""Past and new attempts at several destinations, in order of time, for `ark log`."""

from collections.abc import Callable, Iterable, Iterator
from heapq import merge

import msgspec

from arkcli.actions.home import Home
from arkcli.errors import ArkError, Broken, Gone, InDoubt, Unreachable, Unreadable
from arkcli.model import Attempt, Destination
from arkcli.queue.engine import View
from arkcli.store.store import Contents

Named = tuple[Destination, Attempt]


class _Followed(msgspec.Struct):
    """A destination as it is in the store now; with `has_begun`, the next attempts of its view are new ones."""

    destination: Destination
    has_begun: bool
    view: View | None = None


class Following:
    """Follows the chosen destinations, as they are now, and the attempts at them."""

    def __init__(
        self,
        home: Home,
        contents: Contents,
        choose: Callable[[Contents], Iterable[Destination]],
        left_out: Callable[[str, str], None],
        warn: Callable[[str], None],
    ) -> None:
        """`choose` picks from the store's contents, which are read again when they have changed.

        `left_out` is called with the name of a destination whose part of the queue cannot be read, and the reason;
        `warn` is called if the store cannot be read, or the database cannot be reached.
        """
        self._home = home
        self._choose = choose
        self._left_out = left_out
        self._warn = warn
        self._stamp: object = None
        self._is_readable = self._is_reachable = True
        self._present = self._seen = {found.id for found in contents.destinations}
        chosen = home.joined(choose(contents), to_read=True)
        self._followed = {found.id: _Followed(found, False) for found in chosen}
        self._broken: set[str] = set()

    @property
    def destinations(self) -> list[Destination]:
        """The destinations that are followed."""
        return [one.destination for one in self._followed.values()]

    def past(self) -> Iterator[Named]:
        """All attempts that are still recorded, up to now. `new` continues from there."""
        return self._merged(past=True)

    def new(self) -> Iterator[Named]:
        """Attempts made since the last call; all attempts for a destination added since. Read it to its end."""
        self._look()
        return self._merged(past=False)

    def _merged(self, *, past: bool) -> Iterator[Named]:
        streams = [self._attempts(one, past=past) for one in self._followed.values()]
        return merge(*streams, key=lambda named: named[1].at)

    def _attempts(self, one: _Followed, *, past: bool) -> Iterator[Named]:
        found = one.destination.id
        try:
            one.view = one.view or self._home.queue.view(found)
            is_news = past or one.has_begun
            attempts = one.view.new_attempts() if one.has_begun else one.view.attempts()
            one.has_begun = True
            for attempt in attempts if is_news else ():
                yield one.destination, attempt
            self._broken.discard(found)
            self._is_reachable = True
        except Gone:
            # If it is still in the store, nothing has been sent to it yet, or it is about to be removed.
            one.view, one.has_begun = None, True
            if found not in self._present:
                self._followed.pop(found)
        except (Unreachable, InDoubt) as error:
            # The view goes on behind what it returned last.
            self._is_away(error)
        except Broken as error:
            if found not in self._broken:
                self._broken.add(found)
                self._left_out(one.destination.name, str(error))
        finally:
            if one.view is not None:
                one.view.close()

    def _is_away(self, error: ArkError) -> None:
        if self._is_reachable:
            self._is_reachable = False
            self._warn(f"{error}; `log` goes on when it can be reached")

    def _look(self) -> None:
        """Reads the store if it has changed. If it cannot be read (while it is edited), nothing changes."""
        stamp = self._home.store.stamp()
        if stamp is None or stamp == self._stamp:
            return
        try:
            contents = self._home.store.read()
        except Unreachable as error:
            self._is_away(error)
            return
        except Unreadable as error:
            if self._is_readable:
                self._is_readable = False
                self._warn(f"{error}; until then `log` follows the destinations that it knows")
            return
        self._stamp, self._is_readable = stamp, True
        present = {found.id: found for found in contents.destinations}
        for found in self._choose(contents):
            self._followed.setdefault(found.id, _Followed(found, found.id not in self._seen))
        for one in self._followed.values():
            one.destination = present.get(one.destination.id, one.destination)
        self._present = set(present)
        self._seen = self._seen | self._present
