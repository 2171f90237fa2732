"""The destinations of a long run, with their current settings rather than those at its start."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from arkcli import times
from arkcli.actions.home import Home
from arkcli.errors import InDoubt, Unreachable, Unreadable, UsageError
from arkcli.model import Destination
from arkcli.signing.secrets import SecretFiles
from arkcli.store.store import Contents
from arkcli.system.followed import Followed
from arkcli.text import left_out
from arkcli.url import parse_url

if TYPE_CHECKING:
    from arkcli.wire.wire import Endpoint


class Roster:
    """The destinations to deliver to: chosen and not paused, with their current settings.

    While the settings cannot be read (an editor empties a file before it writes it), the previous ones apply.
    """

    def __init__(
        self,
        home: Home,
        choose: Callable[[Contents], Sequence[Destination]],
        warn: Callable[[str], None],
    ) -> None:
        """`choose` picks destinations from the store; `warn` is called for destinations that cannot be delivered to
        and for files that can no longer be read. Raises Unreadable, and what `choose` raises.
        """
        self._home = home
        self._choose = choose
        self._warn = warn
        monotonic = home.clock.monotonic
        self._store = Followed(home.store.stamp, self._read_store, monotonic, warn, patient=True)
        self._files = SecretFiles(monotonic, warn)
        self._changes = 0
        self._endpoints: dict[str, Endpoint] = {}
        self._listed: list[Endpoint] = []
        self._unusable: dict[str, str] = {}
        self._take_in()

    def read(self) -> "list[Endpoint]":
        """The current endpoints: the same list as before if nothing has changed, so do not change it.

        An endpoint stays the same object until its settings or secret change.
        """
        before, self._changes = self._changes, self._files.look()
        if self._store.look() or self._changes != before:
            self._take_in()
        return self._listed

    @property
    def chosen(self) -> list[Destination]:
        """Destinations that are chosen and not paused, including those that are left out."""
        return self._store.value[1]

    @property
    def contents(self) -> Contents:
        """The store as of the last look."""
        return self._store.value[0]

    @property
    def left_out(self) -> list[str]:
        """Names of destinations left out because they have no usable secret or URL, sorted."""
        return sorted(self._unusable.values())

    def tidy(self) -> None:
        """Removes from the queue what is not needed any more and is older than [queue] keep."""
        # `read` warns about this. Until the store can be read, it is unknown what is still needed.
        with suppress(Unreadable, Unreachable, InDoubt):
            self._tidy(self._home.store.read_again())

    def _tidy(self, contents: Contents) -> None:
        if not contents.destinations:
            # The store may have been lost. Keep everything for the destinations that a restored store will name.
            return
        keep = round(times.parse_duration(contents.queue.keep) * 1000)
        everybody = [found.id for found in self._home.joined(contents.destinations)]
        self._home.queue.tidy(everybody, self._home.clock.now() - keep)

    def _read_store(self) -> tuple[Contents, list[Destination]]:
        contents = self._home.store.read_again()
        return contents, self._home.joined(found for found in self._choose(contents) if not found.paused)

    def _take_in(self) -> None:
        contents, chosen = self._store.value
        before, known_unusable = self._endpoints, self._unusable
        self._endpoints, self._unusable = {}, {}
        fresh: dict[str, str] = {}
        for found in chosen:
            known = before.get(found.id)
            try:
                if known is None or known.destination != found:
                    parse_url(found.url, allow_local=found.allow_local)
                self._endpoints[found.id] = self._home.endpoint(found, contents, known, self._files.read)
            except UsageError as error:
                # A destination without a usable secret or URL must not hold up the others. Its events wait.
                self._unusable[found.id] = found.name
                if found.id not in known_unusable:
                    fresh[found.name] = str(error)
        for said in left_out(fresh):
            self._warn(said)
        self._listed = list(self._endpoints.values())
        self._files.forget_others()
        if (before or known_unusable) and not chosen:
            self._warn("all destinations have been removed or paused: there is none to deliver to")
