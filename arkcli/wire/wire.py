"""Many POSTs at once through libcurl's multi interface. docs/internals.md, section 10.

Requests are signed when they are sent, so no signature is ever stored.
"""

import itertools
from collections.abc import Callable, Iterable
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from arkcli.model import Answer, Delivery, Destination
from arkcli.signing import Secret
from arkcli.signing.scheme import BODY, Scheme
from arkcli.system.clock import Clock
from arkcli.wire import shortage
from arkcli.wire.answers import DEADLINE
from arkcli.wire.handles import Handles, Stock
from arkcli.wire.lookup import Found, Lookups
from arkcli.wire.request import Requests
from arkcli.wire.sockets import Sockets
from arkcli.wire.trust import CaFiles

if TYPE_CHECKING:
    import pycurl

    from arkcli.wire.identity import Identities, Identity
    from arkcli.wire.transfer import Transfer

AnyToken = TypeVar("AnyToken")

#: The time between two looks at the connections counts as at most this many seconds. The loop looks ten times a second,
#: so a longer time means that the process was stalled.
_LONGEST_STEP: Final = 0.5
#: The age up to which a connection is used again, in seconds. A changed name is therefore followed within two minutes
#: (one of them for the cached look-up), and ark seldom uses an idle connection that a firewall has dropped. Opening
#: connections again once a minute costs almost nothing.
_LIFETIME: Final = 60
#: CURLE_OPERATION_TIMEDOUT.
_TIMED_OUT: Final = 28
_numbers: Final = itertools.count()
#: The settings that a connection depends on.
_way: Final = attrgetter("url", "allow_local", "ca_file", "client_cert", "client_key", "proxy")


class Endpoint:
    """A destination prepared for sending: its secret, its requests, and idle libcurl handles."""

    def __init__(
        self, destination: Destination, secret: Secret, before: "Endpoint | None" = None, scheme: Scheme = BODY
    ) -> None:
        """`before` is the endpoint that this one replaces: if both connect alike, its connections are kept."""
        self.destination = destination
        self.secret = secret
        self.scheme = scheme
        if before and _way(before.destination) != _way(destination):
            before = None
        self.idle: Handles = before.idle if before else Handles()
        #: The spelling of its CA file's path, and when that was last checked (seconds since 1970).
        self.ca_file: str = before.ca_file if before else ""
        #: The same for what an https proxy is trusted by.
        self.proxy_ca_file: str = before.proxy_ca_file if before else ""
        self.looked_at = -1
        #: Its client certificate at that time.
        self.identity: Identity | None = before.identity if before else None
        self.alias: str = before.alias if before else _alias()

    @cached_property
    def requests(self) -> Requests:
        """Its requests. Made for the first attempt, since most destinations of most runs have nothing due."""
        return Requests(self.destination, self.secret, self.scheme)


def _alias() -> str:
    # Nobody can own a name in this domain (RFC 2606).
    return f"{next(_numbers)}.invalid"


#: An attempt under way: its transfer, the list that takes the transfer back, its token, and its start (`Wire._time`).
_UnderWay = tuple["Transfer", list["Transfer"], AnyToken, float]


class Wire(Generic[AnyToken]):
    """Any number of POSTs at once, each with a deadline of 10 s. One thread; all work happens in `wait`.

    `Wire` enforces the deadline itself. After a stall of the process (SIGSTOP, a slow disk, a suspended laptop) libcurl
    would report a timeout before reading an answer that has arrived. Here, at most half a second counts between two
    looks at the connections, and an answer that can be read at the next look is in time: a stall fails no delivery.
    """

    def __init__(self, ca_file: str, clock: Clock, connections: int = 256, lifetime: int = _LIFETIME) -> None:
        """`ca_file` holds the CA certificates to trust for destinations without their own. At most `connections` are
        kept open (0: none), for at most `lifetime` seconds.
        """
        self._ca_file = ca_file
        self._ca_files = CaFiles()
        self._lifetime = lifetime
        self._clock = clock
        self._connections = connections
        self._stock = Stock(max(connections, 1))
        self._sockets = Sockets()
        self._lookups = Lookups(clock.monotonic)
        self._seen = clock.monotonic()
        self._lost = 0.0
        #: All attempts under way, oldest first.
        self._under_way: dict[pycurl.Curl, _UnderWay[AnyToken]] = {}
        #: The transfers among them that wait for a name look-up, oldest first.
        self._nameless: list[Transfer] = []

    @cached_property
    def _multi(self) -> "pycurl.CurlMulti":
        # Made for the first attempt: a drain that finds nothing due does not wait until libcurl is loaded.
        import pycurl

        multi = pycurl.CurlMulti()
        multi.setopt(pycurl.M_MAXCONNECTS, max(self._connections, 1))
        return multi

    @cached_property
    def _identities(self) -> "Identities":
        from arkcli.wire.identity import Identities

        return Identities(self._clock.monotonic)

    @property
    def in_flight(self) -> int:
        """The number of attempts under way."""
        return len(self._under_way)

    def oldest(self) -> tuple[AnyToken, float] | None:
        """The token of the attempt that has been under way for longest, and for how many seconds."""
        first = next(iter(self._under_way.values()), None)
        return None if first is None else (first[2], self._age(first))

    def ends_within(self) -> float:
        """Within how many seconds every attempt under way ends."""
        newest = next(reversed(self._under_way.values()), None)
        return 0.0 if newest is None else DEADLINE - self._age(newest)

    def _age(self, attempt: _UnderWay[AnyToken]) -> float:
        # Not `_time`, which changes something: a signal handler may ask at any moment.
        return self._clock.monotonic() - self._lost - attempt[3]

    def _time(self) -> float:
        """A clock, in seconds, that stops while the process is stalled."""
        now = self._clock.monotonic()
        if now - self._seen > _LONGEST_STEP:
            self._lost += now - self._seen - _LONGEST_STEP
        self._seen = now
        return now - self._lost

    def start(self, endpoint: Endpoint, attempts: Iterable[tuple[Delivery, AnyToken]]) -> None:
        """Starts attempts at one endpoint; `wait` will return each token with its answer."""
        at, began, lines = self._clock.now() // 1000, self._time(), endpoint.requests.lines
        if at != endpoint.looked_at:
            self._look(endpoint, at)
        idle, under_way, add_handle = endpoint.idle, self._under_way, self._multi.add_handle
        for delivery, token in attempts:
            transfer = idle.pop() if idle else self._transfer(endpoint)
            transfer.prepare(lines(delivery, at), delivery.event.body)
            curl = transfer.curl
            under_way[curl] = transfer, idle, token, began
            if transfer.name is None or self._has_name(transfer, transfer.name):
                add_handle(curl)

    def _look(self, endpoint: Endpoint, at: int) -> None:
        """Checks, once a second, whether the CA certificates or the client certificate have changed. If so, existing
        connections are not used again, not even those that are busy now.
        """
        endpoint.looked_at = at
        ca_file = self._ca_files.spelling(endpoint.destination.ca_file or self._ca_file)
        proxy_ca_file = self._ca_files.spelling(self._ca_file) if endpoint.destination.proxy is not None else ""
        if ca_file != endpoint.ca_file or proxy_ca_file != endpoint.proxy_ca_file:
            endpoint.ca_file, endpoint.proxy_ca_file = ca_file, proxy_ca_file
            endpoint.idle = Handles()
        if endpoint.destination.client_cert is not None:
            identity = self._identities.of(endpoint.destination)
            if identity != endpoint.identity:
                endpoint.identity = identity
                endpoint.alias, endpoint.idle = _alias(), Handles()
        endpoint.idle.used_at = at

    def _has_name(self, transfer: "Transfer", name: str) -> bool:
        """Whether the addresses of a transfer's host are known. If not, a look-up is under way."""
        if not self._nameless:
            # Discard look-ups that ended after their attempts: they must not decide this one.
            self._lookups.finished()
        addresses = self._lookups.addresses(name)
        if addresses is None:
            self._nameless.append(transfer)
            return False
        transfer.found(addresses)
        return True

    def _transfer(self, endpoint: Endpoint) -> "Transfer":
        import pycurl

        from arkcli.wire.transfer import Transfer

        self._stock.add(endpoint.idle)
        found = endpoint.destination, endpoint.ca_file, endpoint.alias, self._sockets
        transfer = Transfer(*found, endpoint.identity, endpoint.proxy_ca_file, self._clock.now)
        transfer.curl.setopt(pycurl.MAXLIFETIME_CONN, self._lifetime)
        if self._connections <= 0:
            transfer.curl.setopt(pycurl.FORBID_REUSE, 1)
        return transfer

    def wait(self, seconds: float) -> list[tuple[AnyToken, Answer]]:
        """The answers that have arrived. If there are none, waits for at most `seconds`, or until a signal."""
        done = self._go_on()
        if done or not self._under_way:
            return done
        left = next(iter(self._under_way.values()))[3] + DEADLINE - (self._seen - self._lost)
        seconds = max(min(seconds, left), 0.0)
        timeout = self._multi.timeout()
        if timeout >= 0:
            seconds = min(seconds, timeout / 1000)
        if self._nameless:
            self._lookups.wait(seconds, *self._multi.fdset())
        elif seconds > 0:
            try:
                if self._multi.select(seconds) < 0:
                    self._clock.sleep(min(seconds, 0.01))
            except InterruptedError:
                return []
        return self._go_on()

    def _go_on(self) -> list[tuple[AnyToken, Answer]]:
        """Reads and writes what it can without waiting; returns the attempts that have ended or timed out."""
        done = self._take_names() if self._nameless else []
        self._multi.perform()
        now = self._time()
        self._collect(done, now)
        # Deadlines last, since every answer that has arrived is read now. The oldest attempt comes first.
        while self._under_way and now - next(iter(self._under_way.values()))[3] >= DEADLINE:
            done.append(self._end(next(iter(self._under_way.values())), now, _TIMED_OUT))
        return done

    def _end(
        self, attempt: _UnderWay[AnyToken], now: float, code: int, message: str = "", found: Found | None = None
    ) -> tuple[AnyToken, Answer]:
        """Ends an attempt that libcurl has not finished, or has finished with an error. `found`: its name's look-up."""
        transfer, idle, token, began = attempt
        duration = int((now - began) * 1000)
        del self._under_way[transfer.curl]
        idle.append(transfer)
        if transfer in self._nameless:
            self._nameless.remove(transfer)
            return token, _without_name(transfer.named, found, duration)
        answer = transfer.answer(duration, code, message)
        self._multi.remove_handle(transfer.curl)
        if answer.status is None and transfer.name is not None:
            self._lookups.doubt(transfer.name, transfer.addresses)
        return token, answer

    def _take_names(self) -> list[tuple[AnyToken, Answer]]:
        """Starts the transfers whose name has been looked up; fails those whose name has no address."""
        done: list[tuple[AnyToken, Answer]] = []
        by_name = {found.name: found for found in self._lookups.finished()}
        for transfer in list(self._nameless):
            found = by_name.get(transfer.name or "")
            if found is None:
                continue
            if not found.addresses:
                done.append(self._end(self._under_way[transfer.curl], self._time(), 0, found=found))
                continue
            self._nameless.remove(transfer)
            transfer.found(found.addresses)
            self._multi.add_handle(transfer.curl)
        return done

    def _collect(self, done: list[tuple[AnyToken, Answer]], now: float) -> None:
        """Adds the transfers that libcurl has finished to `done`."""
        under_way, remove_handle = self._under_way, self._multi.remove_handle
        while True:
            remaining, succeeded, failed = self._multi.info_read()
            for curl in succeeded:
                transfer, idle, token, began = under_way[curl]
                if transfer.is_large and transfer.came_early():
                    self._repeat_or_end(under_way[curl], now, 0, "", done)
                    continue
                del under_way[curl]
                done.append((token, transfer.answer(int((now - began) * 1000))))
                remove_handle(curl)
                idle.append(transfer)
            for curl, code, message in failed:
                self._repeat_or_end(under_way[curl], now, code, message, done)
            if not remaining:
                return

    def _repeat_or_end(
        self, attempt: _UnderWay[AnyToken], now: float, code: int, message: str, done: list[tuple[AnyToken, Answer]]
    ) -> None:
        """Repeats a request on a new connection if `is_to_be_repeated`; otherwise ends its attempt."""
        transfer = attempt[0]
        if transfer.is_to_be_repeated(code):
            self._multi.remove_handle(transfer.curl)
            transfer.again()
            self._multi.add_handle(transfer.curl)
            return
        done.append(self._end(attempt, now, code, message))

    def abandon(self, which: Callable[[AnyToken], bool] = lambda _: True) -> None:
        """Drops attempts under way, and closes their connections; their results stay unknown."""
        for curl, (transfer, _, token, _) in list(self._under_way.items()):
            if not which(token):
                continue
            if transfer in self._nameless:
                self._nameless.remove(transfer)
            else:
                self._multi.remove_handle(curl)
            del self._under_way[curl]

    def close(self) -> None:
        """Closes all connections."""
        self.abandon()
        if "_multi" in vars(self):
            self._multi.close()
        self._lookups.close()


def _without_name(named: str, found: Found | None, duration: int) -> Answer:
    """The answer if a name has no address, or was not resolved in time (`found` is None)."""
    if found is None:
        return Answer(None, f"{named} was not resolved within {DEADLINE:.0f} s", duration, timed_out=True)
    error = shortage.words(found.lacking) if found.lacking else f"{named} cannot be resolved"
    return Answer(None, error, duration, unreached=not found.lacking, lacking=found.lacking)
