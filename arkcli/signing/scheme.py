"""Signature schemes: which headers show a receiver that a request is from us. A scheme is one object with a name."""

import hmac
from collections.abc import Callable
from typing import Final, Protocol

from arkcli.signing import SIGNATURE_HEADER, Secret

#: Makes the values of a scheme's headers for one attempt, in their order, from the delivery's id, the time of the
#: attempt (seconds since 1970, UTC) and the body's exact bytes.
Sign = Callable[[str, int, bytes], tuple[str, ...]]


class Scheme(Protocol):
    """A way to sign requests."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def headers(self) -> tuple[str, ...]:
        """The names of the headers that it sets, in order."""

    def signer(self, secret: Secret) -> Sign:
        """Signs under a secret; what depends on the secret alone is done once."""


class _Body:
    """HMAC-SHA256 of the body alone, in hex (contract, "Requests")."""

    name: Final = "signalark"
    headers: Final = (SIGNATURE_HEADER,)

    def signer(self, secret: Secret) -> Sign:
        keyed = hmac.new(secret.reveal(), digestmod="sha256")

        def sign(_id: str, _at: int, body: bytes) -> tuple[str, ...]:
            mac = keyed.copy()
            mac.update(body)
            return (mac.hexdigest(),)

        return sign


#: The documented scheme.
BODY: Final[Scheme] = _Body()
