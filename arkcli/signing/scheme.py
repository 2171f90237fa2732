"""Signature schemes: the headers that prove to a receiver who sent a request. A scheme is one object with a name."""

import hmac
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
        keyed = hmac.new(secret.reveal(), digestmod="sha256")

        def sign(_id: str, _at: int, body: bytes) -> tuple[str, ...]:
            mac = keyed.copy()
            mac.update(body)
            return (mac.hexdigest(),)

        return sign


class Forged(NamedTuple):
    """A scheme whose headers do not fit the request, for requests that a receiver should refuse.

    They are signed with another secret, for another body, some seconds earlier, or without the end of each signature.
    """

    scheme: Scheme
    secret: Secret | None = None
    body: bytes | None = None
    earlier: int = 0
    cut: int = 0

    @property
    def name(self) -> str:
        """The scheme's name."""
        return self.scheme.name

    @property
    def headers(self) -> tuple[str, ...]:
        """The names of the headers it sets, in order."""
        return self.scheme.headers

    def signer(self, secret: Secret) -> Sign:
        """Makes a function that signs in this wrong way."""
        sign, headers = self.scheme.signer(self.secret or secret), self.headers

        def forge(delivery_id: str, at: int, body: bytes) -> tuple[str, ...]:
            values = sign(delivery_id, at - self.earlier, body if self.body is None else self.body)
            return tuple(
                value[: len(value) - self.cut] if name.lower().endswith("-signature") else value
                for name, value in zip(headers, values, strict=True)
            )

        return forge


class Lowercase(NamedTuple):
    """A scheme with the names of its headers in lower case."""

    scheme: Scheme

    @property
    def name(self) -> str:
        """The scheme's name."""
        return self.scheme.name

    @property
    def headers(self) -> tuple[str, ...]:
        """The names of the headers it sets, in order."""
        return tuple(map(str.lower, self.scheme.headers))

    def signer(self, secret: Secret) -> Sign:
        """Makes a function that signs with this secret."""
        return self.scheme.signer(secret)


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
#: All there are. Nobody else may set their headers.
SCHEMES: Final[tuple[Scheme, ...]] = (BODY, STANDARD)
