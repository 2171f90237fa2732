"""The destinations of a run that goes on for long: as they are now, not as they were when it began."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from arkcli import times
from arkcli.environment import Environment
from arkcli.errors import UsageError
from arkcli.model import Destination
from arkcli.store import Contents

if TYPE_CHECKING:
    from arkcli.wire.wire import Endpoint


class Roster:
    """The destinations to deliver to: those that are chosen and not paused, read anew when the store has changed."""

    def __init__(
        self,
        environment: Environment,
        choose: Callable[[Contents], Sequence[Destination]],
        warn: Callable[[str], None],
    ) -> None:
        """`choose` picks destinations from the store; `warn` is told of those that cannot be delivered to."""
        self._environment = environment
        self._choose = choose
        self._warn = warn
        self._stamp: object = None
        self._endpoints: dict[str, Endpoint] = {}
        self._unusable: dict[str, str] = {}

    def read(self) -> "list[Endpoint]":
        """The endpoints as they are now. Raises Unreadable, and UsageError when a chosen destination is not there."""
        stamp = self._environment.store.stamp()
        if stamp != self._stamp or not self._endpoints:
            contents = self._environment.store.read()
            chosen = self._environment.joined(found for found in self._choose(contents) if not found.paused)
            self._endpoints = {
                found.id: endpoint for found in chosen if (endpoint := self._endpoint(found, contents)) is not None
            }
            self._stamp = stamp
        return list(self._endpoints.values())

    @property
    def left_out(self) -> list[str]:
        """The names of those that could not be delivered to, for want of their secret."""
        return sorted(self._unusable.values())

    def tidy(self) -> None:
        """Removes from the queue what nobody needs and what is older than the store says to keep."""
        contents = self._environment.store.read()
        keep = round(times.parse_duration(contents.queue.keep) * 1000)
        everybody = [found.id for found in self._environment.joined(contents.destinations)]
        self._environment.queue.tidy(everybody, self._environment.clock.now() - keep)

    def _endpoint(self, found: Destination, contents: Contents) -> "Endpoint | None":
        try:
            (endpoint,) = self._environment.endpoints([found], contents)
        except UsageError as error:
            # One destination without a usable secret must not hold up the others; its events wait.
            if found.id not in self._unusable:
                self._unusable[found.id] = found.name
                self._warn(f"{found.name} is left out: {error}")
            return None
        self._unusable.pop(found.id, None)
        known = self._endpoints.get(found.id)
        unchanged = known is not None and (known.destination, known.secret) == (endpoint.destination, endpoint.secret)
        return known if unchanged else endpoint
