"""Signature schemes: the headers that prove to a receiver who sent a request. A scheme is one object with a name."""

from collections.abc import Callable
from typing import Final, Protocol

from arkcli.signing import SIGNATURE_HEADER, Secret

#: Makes the values of a scheme's headers for one attempt, in order, from the delivery's id, the time of the attempt
#: (seconds since 1970, UTC) and the body's exact bytes.
Sign = Callable[[str, int, bytes], tuple[str, ...]]


class Scheme(Protocol):
    """A way to sign requests."""

    @property
    def name(self) -> str:
        """The scheme's name."""

    @property
    def headers(self) -> tuple[str, ...]:
        """The names of the headers it sets, in order."""

    def signer(self, secret: Secret) -> Sign:
        """Makes a function that signs with this secret; work that depends only on the secret is done once."""


class _Body:
    """HMAC-SHA256 of the body only, in hex (contract, "Requests")."""

    name: Final = "signalark"
    headers: Final = (SIGNATURE_HEADER,)

    def signer(self, secret: Secret) -> Sign:
        import hmac

        keyed = hmac.new(secret.reveal(), digestmod="sha256")

        def sign(_id: str, _at: int, body: bytes) -> tuple[str, ...]:
            mac = keyed.copy()
            mac.update(body)
            return (mac.hexdigest(),)

        return sign


class Ready:
    """Header lines that are ready and depend on no secret: for requests that a receiver should refuse."""

    name: Final = "ready"

    def __init__(self, *lines: tuple[str, str]) -> None:
        """Takes a name and a value for each line; without any, requests have no signature."""
        self.headers = tuple(name for name, _ in lines)
        self._values = tuple(value for _, value in lines)

    def signer(self, _secret: Secret) -> Sign:
        """Makes a function that returns these values, whatever it signs."""
        return lambda _id, _at, _body: self._values


#: The documented scheme.
BODY: Final[Scheme] = _Body()
#: All there are. Nobody else may set their headers.
SCHEMES: Final[tuple[Scheme, ...]] = (BODY,)
