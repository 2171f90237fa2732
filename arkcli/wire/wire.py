"""Many POSTs at once through libcurl's multi interface. docs/internals.md, section 10.

It signs at the moment of sending, so that no signature is ever kept.
"""

import itertools
from typing import Final, Generic, TypeVar

import pycurl

from arkcli.model import Answer, Delivery, Destination
from arkcli.signing import Secret
from arkcli.times import Clock
from arkcli.wire.lookup import Lookups
from arkcli.wire.request import Requests
from arkcli.wire.sockets import Sockets
from arkcli.wire.transfer import DEADLINE_MS, NO_NAME, Transfer

Token = TypeVar("Token")

_MAX_CONNECTIONS: Final = 256
_numbers: Final = itertools.count()


class Endpoint:
    """A destination made ready for sending: its secret, its requests, and connections' handles to use again."""

    def __init__(self, destination: Destination, secret: Secret) -> None:
        self.destination = destination
        self.secret = secret
        self.requests = Requests(destination, secret)
        self.idle: list[Transfer] = []
        # RFC 2606: nobody can own a name in this domain.
        self.alias = f"{next(_numbers)}.invalid"
        self._fixed = "".join(f"{name}: {value}\r\n" for name, value in self.requests.fixed)

    def head(self, delivery: Delivery, at: int) -> str:
        """The lines of the headers of one attempt at a time (seconds since 1970, UTC), as they are sent.

        libcurl takes them as one header, and sends it as it is: that is faster than a list of them.
        """
        return self._fixed + "\r\n".join([f"{name}: {value}" for name, value in self.requests.varying(delivery, at)])


class Wire(Generic[Token]):
    """Any number of POSTs at once, each with a deadline of 10 s. One thread; nothing happens outside `wait`."""

    def __init__(self, ca_file: str, clock: Clock) -> None:
        """`ca_file` names the CA certificates to trust where a destination names none of its own."""
        self._ca_file = ca_file
        self._clock = clock
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, _MAX_CONNECTIONS)
        self._sockets = Sockets()
        self._lookups = Lookups(clock.monotonic)
        self._under_way: dict[pycurl.Curl, tuple[Transfer, Endpoint, Token]] = {}
        #: What waits for a name, oldest first.
        self._nameless: list[tuple[Transfer, Endpoint, Token]] = []

    @property
    def in_flight(self) -> int:
        """How many attempts are under way."""
        return len(self._under_way) + len(self._nameless)

    def start(self, endpoint: Endpoint, delivery: Delivery, token: Token) -> None:
        """Begins an attempt; `wait` will return the token with what came of it."""
        transfer = endpoint.idle.pop() if endpoint.idle else self._transfer(endpoint)
        transfer.prepare(endpoint.head(delivery, self._clock.now() // 1000), delivery.event.body)
        if transfer.name is not None:
            if not self._nameless:
                # What ended after its attempt had been given up says nothing of this one.
                self._lookups.finished()
            addresses = self._lookups.addresses(transfer.name)
            if addresses is None:
                transfer.began = self._clock.monotonic()
                self._nameless.append((transfer, endpoint, token))
                return
            transfer.found(addresses)
        self._dial(transfer, endpoint, token)

    def _transfer(self, endpoint: Endpoint) -> Transfer:
        return Transfer(endpoint.destination, self._ca_file, endpoint.alias, self._sockets)

    def _dial(self, transfer: Transfer, endpoint: Endpoint, token: Token) -> None:
        self._under_way[transfer.curl] = transfer, endpoint, token
        self._multi.add_handle(transfer.curl)

    def wait(self, seconds: float) -> list[tuple[Token, Answer]]:
        """What has come back; when nothing has, waits for it up to so many seconds, or until a signal."""
        done = self._take_names()
        self._multi.perform()
        done += self._collect()
        if done or not self.in_flight:
            return done
        timeout = self._multi.timeout()
        if timeout >= 0:
            seconds = min(seconds, timeout / 1000)
        if self._nameless:
            self._lookups.wait(max(seconds, 0), *self._multi.fdset())
            done = self._take_names()
        elif seconds > 0:
            try:
                if self._multi.select(seconds) < 0:
                    self._clock.sleep(min(seconds, 0.01))
            except InterruptedError:
                return []
        self._multi.perform()
        return done + self._collect()

    def _take_names(self) -> list[tuple[Token, Answer]]:
        """Dials what has a name's address now; what has waited for it until the deadline has failed."""
        if not self._nameless:
            return []
        done: list[tuple[Token, Answer]] = []
        found = dict(self._lookups.finished())
        now = self._clock.monotonic()
        waiting, self._nameless = self._nameless, []
        for transfer, endpoint, token in waiting:
            took = int((now - transfer.began) * 1000)
            addresses = found.get(transfer.name or "")
            if addresses:
                transfer.named(addresses, took)
                self._dial(transfer, endpoint, token)
            elif addresses is None and took < DEADLINE_MS:
                self._nameless.append((transfer, endpoint, token))
            else:
                late = addresses is None
                error = f"the name was not looked up within {DEADLINE_MS // 1000} s" if late else NO_NAME
                done.append((token, Answer(None, error, took, timed_out=late)))
                endpoint.idle.append(transfer)
        return done

    def _collect(self) -> list[tuple[Token, Answer]]:
        done: list[tuple[Token, Answer]] = []
        while True:
            remaining, succeeded, failed = self._multi.info_read()
            for curl in succeeded:
                under_way = transfer, endpoint, token = self._under_way.pop(curl)
                self._multi.remove_handle(curl)
                if transfer.is_large and transfer.came_early():
                    done += self._too_early(under_way)
                else:
                    done.append((token, transfer.answer()))
                    endpoint.idle.append(transfer)
            for curl, code, message in failed:
                under_way = transfer, endpoint, token = self._under_way.pop(curl)
                self._multi.remove_handle(curl)
                if transfer.came_early():
                    done += self._too_early(under_way, code, message)
                else:
                    done.append((token, transfer.answer(code, message)))
                    endpoint.idle.append(transfer)
            if not remaining:
                return done

    def _too_early(
        self, under_way: tuple[Transfer, Endpoint, Token], code: int = 0, message: str = ""
    ) -> list[tuple[Token, Answer]]:
        """Sends a request on a new connection where something came too early on a kept one; else it has failed."""
        transfer, endpoint, token = under_way
        if transfer.is_kept and transfer.again():
            self._dial(*under_way)
            return []
        endpoint.idle.append(transfer)
        return [(token, transfer.answer(code, message, early=True))]

    def abandon(self) -> None:
        """Drops every attempt under way; nothing will be known of them."""
        for curl in self._under_way:
            self._multi.remove_handle(curl)
        self._under_way.clear()
        self._nameless.clear()

    def close(self) -> None:
        """Closes all connections."""
        self.abandon()
        self._multi.close()
        self._lookups.close()
