"""What a request is: method, headers and body of one attempt (contract, "Requests"). Pure: it sends nothing."""

import base64
from typing import Final, NamedTuple

from arkcli import __version__
from arkcli.headers import ATTEMPT_HEADER, DELIVERY_HEADER, EVENT_HEADER
from arkcli.model import Delivery, Destination
from arkcli.signing import Secret
from arkcli.signing.scheme import BODY, Headers, Scheme

METHOD: Final = "POST"


class Request(NamedTuple):
    """One attempt as it is sent. `headers` are those that `ark` sets, in order: not `Host`, not the length."""

    headers: Headers
    body: bytes


def fixed_headers(destination: Destination) -> Headers:
    """The headers that every request to a destination has, in order."""
    own = tuple((name, value.reveal().decode()) for name, value in destination.headers.items())
    fixed = (("Content-Type", "application/json"), ("User-Agent", f"ark/{__version__}"), *own)
    if destination.userinfo is None:
        return fixed
    # RFC 7617; the charset is UTF-8.
    return (*fixed, ("Authorization", f"Basic {base64.b64encode(destination.userinfo.reveal()).decode()}"))


def attempt_headers(delivery: Delivery, delivery_id: str) -> Headers:
    """The headers that tell a receiver which attempt this is (contract, "What tells a repetition")."""
    return (
        (EVENT_HEADER, delivery.event.name),
        (DELIVERY_HEADER, delivery_id),
        (ATTEMPT_HEADER, str(delivery.attempt)),
    )


def delivery_id(delivery: Delivery, destination: Destination) -> str:
    """One value for an event and a destination, the same on every attempt (contract, "What tells a repetition")."""
    return f"{delivery.event.id}.{destination.id}"


class Requests:
    """Makes the requests for one destination: what is the same for all of them is made once."""

    def __init__(self, destination: Destination, secret: Secret, scheme: Scheme = BODY) -> None:
        """`secret` signs them as `scheme` says."""
        self._destination = destination
        self._sign = scheme.signer(secret)
        #: The headers that every request has, in order.
        self.fixed = fixed_headers(destination)

    def varying(self, delivery: Delivery, at: int) -> Headers:
        """The headers of one attempt at a time (seconds since 1970, UTC), beside the fixed ones."""
        found = delivery_id(delivery, self._destination)
        return self._sign(found, at, delivery.event.body) + attempt_headers(delivery, found)

    def request(self, delivery: Delivery, at: int) -> Request:
        """One attempt at a time (seconds since 1970, UTC)."""
        return Request(self.fixed + self.varying(delivery, at), delivery.event.body)
