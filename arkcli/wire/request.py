"""Makes the method, headers and body of one attempt (contract, "Requests"). Pure: it sends nothing."""

import base64
from typing import Final

from arkcli.contract.headers import ATTEMPT_HEADER, DELIVERY_HEADER, EVENT_HEADER
from arkcli.model import Delivery, Destination
from arkcli.signing import Secret
from arkcli.signing.scheme import BODY, Scheme
from arkcli.version import __version__

METHOD: Final = "POST"
Headers = tuple[tuple[str, str], ...]
_ATTEMPT: Final = (EVENT_HEADER, DELIVERY_HEADER, ATTEMPT_HEADER)


def fixed_headers(destination: Destination) -> Headers:
    """The headers that all requests to a destination share, in order."""
    own = tuple((name, value.reveal().decode()) for name, value in destination.headers.items())
    fixed = (("Content-Type", "application/json"), ("User-Agent", f"ark/{__version__}"), *own)
    if destination.userinfo is None:
        return fixed
    # RFC 7617; the charset is UTF-8.
    return (*fixed, ("Authorization", f"Basic {base64.b64encode(destination.userinfo.reveal()).decode()}"))


def attempt_headers(delivery: Delivery, destination: Destination) -> Headers:
    """The headers that tell a receiver which attempt this is (contract, "What tells a repetition")."""
    values = delivery.event.name, f"{delivery.event.id}.{destination.id}", str(delivery.attempt)
    return tuple(zip(_ATTEMPT, values, strict=True))


class Requests:
    """Makes the requests for one destination. What they all share is made once."""

    def __init__(self, destination: Destination, secret: Secret, scheme: Scheme = BODY) -> None:
        """`scheme` signs them with `secret`."""
        self._destination_id = destination.id
        self._sign = scheme.signer(secret)
        self._fixed = fixed_headers(destination)
        self._varying = (*scheme.headers, *_ATTEMPT)
        fixed = "".join(f"{name}: {value}\r\n" for name, value in self._fixed).replace("%", "%%")
        self._lines = fixed + "\r\n".join(f"{name}: %s" for name in self._varying)

    def _values(self, delivery: Delivery, at: int) -> tuple[str, ...]:
        """The values of the headers that differ from one attempt to the next."""
        event = delivery.event
        delivery_id = f"{event.id}.{self._destination_id}"
        return (*self._sign(delivery_id, at, event.body), event.name, delivery_id, str(delivery.attempt))

    def headers(self, delivery: Delivery, at: int) -> Headers:
        """The headers that `ark` sets on one attempt at time `at` (seconds since 1970, UTC), in order.

        Without `Host` and `Content-Length`, which libcurl derives from the URL and the body.
        """
        return self._fixed + tuple(zip(self._varying, self._values(delivery, at), strict=True))

    def lines(self, delivery: Delivery, at: int) -> str:
        """The same headers as they are sent: lines joined by CRLF."""
        return self._lines % self._values(delivery, at)
