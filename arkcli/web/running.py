"""Runs a page: opens its sockets, serves it, and stops."""

import socket
from collections.abc import Callable, Sequence
from threading import Thread
from typing import TYPE_CHECKING, Final

from arkcli.actions.homes import Homes
from arkcli.errors import Interrupted
from arkcli.httpd.connection import Callbacks, ServerLimits
from arkcli.httpd.run import Run
from arkcli.httpd.server import Entrance, reaches_others, serving, url_of
from arkcli.web.console import Console
from arkcli.web.door import Door, Keys, new_keys
from arkcli.web.inspector import Inspector
from arkcli.web.orders import Orders
from arkcli.web.site import Site

if TYPE_CHECKING:
    from arkcli.actions.home import Home

#: A form may have a body of 1 MiB in it, with three bytes for each of its bytes. As much memory as other servers here.
_LIMITS: Final = ServerLimits(body=4 * 1024 * 1024, connections=32)
#: How long answers under way may take after a stop, in seconds.
_GRACE: Final = 11.0
_LINKS: Final = {"": "Destinations", "failing": "What fails", "dead": "Dead letters", "events": "Events"}


class Page:
    """A site that can be reached: its sockets, its keys, and its address."""

    def __init__(
        self,
        site: Site,
        listeners: Sequence[socket.socket],
        randomness: Callable[[int], bytes],
        warn: Callable[[str], None],
        homes: Homes | None = None,
        host: str = "localhost",
    ) -> None:
        """`host` is a name by which it was asked to listen. `warn` gets a message when a page cannot be made."""
        self._keys: Keys = new_keys(randomness)
        self._randomness = randomness
        hosts = {"localhost", host.lower(), *(["*"] if reaches_others(listeners) else [])}
        self._door = Door(site, self._keys, frozenset(hosts), warn)
        self._homes = homes
        self.entrance = Entrance(listeners, self._door.take, _LIMITS)

    @property
    def address(self) -> str:
        """The address to open: with the token."""
        return self._with(self._keys.token)

    def address_once(self) -> str:
        """An address that opens the page once: others may read it in the list of processes."""
        token = self._randomness(24).hex()
        self._door.allow_once(token)
        return self._with(token)

    def close(self) -> None:
        """Begins nothing new, and lets attempts in flight end."""
        self._door.close()
        if self._homes is not None:
            self._homes.stop()

    def _with(self, token: str) -> str:
        # 0.0.0.0 and :: can be listened on but not connected to.
        url = url_of(self.entrance.listeners[0]).replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
        return f"{url}/?token={token}"


def console_page(
    open_home: "Callable[[], Home]", listeners: Sequence[socket.socket], warn: Callable[[str], None], host: str
) -> Page:
    """The page of `ark ui`. `open_home` opens a home for a thread."""
    homes = Homes(open_home, lambda: Interrupted("ark is stopping"))
    console = Console(homes)
    with homes.lent() as (home, _):
        clock, randomness = home.clock, home.randomness
    site = Site("ark", _LINKS, [*console.routes(), *Orders(console, warn).routes()], clock.now)
    Thread(target=console.warm, daemon=True).start()
    return Page(site, listeners, randomness, warn, homes, host)


def inspector_page(
    inspector: Inspector,
    listeners: Sequence[socket.socket],
    home: "Home",
    warn: Callable[[str], None],
) -> Page:
    """The page of `ark listen --ui`."""
    site = Site("ark listen", {}, inspector.routes(), home.clock.now, inspector.news, lambda: inspector.newest)
    return Page(site, listeners, home.randomness, warn)


class Running:
    """Serves a page until it is stopped."""

    def __init__(self, page: Page, warn: Callable[[str], None]) -> None:
        self._page = page
        self._warn = warn
        self._run = Run()
        self.stop = self._run.stop

    def run(self) -> None:
        """Serves; then answers what is under way."""
        self._run.until_end(self._serve)

    async def _serve(self) -> None:
        callbacks = Callbacks(self._page.entrance.take, lambda _: None, lambda error: self._warn(repr(error)))
        async with serving(self._page.entrance.listeners, callbacks, _LIMITS) as connections:
            await self._run.stopped()
        self._page.close()
        await connections.end(_GRACE)
