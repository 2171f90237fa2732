"""Signature schemes: the headers that prove to a receiver who sent a request. A scheme is one object with a name."""

from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from arkcli.signing import SIGNATURE_HEADER, Secret
from arkcli.signing.standard import StandardWebhooks

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


class Joined(NamedTuple):
    """Several schemes, each with its own headers."""

    schemes: tuple[Scheme, ...]

    @property
    def name(self) -> str:
        """The names of the schemes."""
        return "+".join(scheme.name for scheme in self.schemes)

    @property
    def headers(self) -> tuple[str, ...]:
        """The headers of all schemes, in order."""
        return tuple(name for scheme in self.schemes for name in scheme.headers)

    def signer(self, secret: Secret) -> Sign:
        """Makes a function that signs by each scheme."""
        signers = [scheme.signer(secret) for scheme in self.schemes]
        return lambda delivery_id, at, body: tuple(value for sign in signers for value in sign(delivery_id, at, body))


#: The documented scheme.
BODY: Final[Scheme] = _Body()
#: The one that a destination may have beside it.
STANDARD: Final[Scheme] = StandardWebhooks()
#: Both, while no former secret signs.
BOTH: Final[Scheme] = Joined((BODY, STANDARD))
#: All there are. Nobody else may set their headers.
SCHEMES: Final[tuple[Scheme, ...]] = (BODY, STANDARD)
