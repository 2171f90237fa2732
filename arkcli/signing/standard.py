"""Standard Webhooks (standardwebhooks.com): headers that sign a delivery's id and an attempt's time with the body.

Pure. Times are seconds since 1970, UTC, and are passed in.
"""

from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from arkcli.signing import Secret

if TYPE_CHECKING:
    from hmac import HMAC

ID_HEADER: Final = "webhook-id"
TIMESTAMP_HEADER: Final = "webhook-timestamp"
SIGNATURE_HEADER: Final = "webhook-signature"
#: How far a receiver's clock may be from a request's timestamp, in seconds.
TOLERANCE: Final = 300
#: The shortest and longest key that the specification allows, in bytes.
SHORTEST: Final = 24
_LONGEST: Final = 64
_PREFIX: Final = b"whsec_"


def key_of(secret: Secret) -> Secret:
    """The secret whose bytes are the key: the one that `whsec_` and base64 mean, any other one itself."""
    if secret.reveal().startswith(_PREFIX):
        bare = secret.reveal().removeprefix(_PREFIX).rstrip(b"=")
        # ValueError: it is not base64, or empty.
        with suppress(ValueError):
            return Secret(a2b_base64(bare + b"=" * (-len(bare) % 4), strict_mode=True))
    return secret


def serialized(secret: Secret) -> Secret:
    """The secret as libraries take it: `whsec_` and the base64 of the key.

    Of a key longer than 64 bytes it is the base64 of its SHA-256, which HMAC takes for the same key (RFC 2104).
    """
    import hashlib

    key = key_of(secret).reveal()
    return Secret(_PREFIX + b2a_base64(key if len(key) <= _LONGEST else hashlib.sha256(key).digest(), newline=False))


def is_short(secret: Secret) -> bool:
    """Whether the key is shorter than the specification allows, so that a library may refuse it."""
    return len(key_of(secret).reveal()) < SHORTEST


class Former(NamedTuple):
    """A secret that was replaced, and until when requests are signed with it, too."""

    secret: Secret
    until: int


class StandardWebhooks(NamedTuple):
    """The scheme. Until their time is over, `formers` sign as well: their signatures follow the current one."""

    formers: tuple[Former, ...] = ()

    @property
    def name(self) -> str:
        """The scheme's name."""
        return "standard-webhooks"

    @property
    def headers(self) -> tuple[str, ...]:
        """The names of the headers it sets, in order."""
        return ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER

    def signer(self, secret: Secret) -> Callable[[str, int, bytes], tuple[str, ...]]:
        """Makes a function that signs with this secret."""
        keyed = _keyed(secret)
        formers = [(_keyed(former.secret), former.until) for former in self.formers]

        def sign(delivery_id: str, at: int, body: bytes) -> tuple[str, ...]:
            head = _head(delivery_id, str(at))
            macs = [keyed.copy(), *(former.copy() for former, until in formers if at < until)]
            for mac in macs:
                mac.update(head)
                mac.update(body)
            return (
                delivery_id,
                str(at),
                " ".join([f"v1,{b2a_base64(mac.digest(), newline=False).decode()}" for mac in macs]),
            )

        return sign


class Webhook(NamedTuple):
    """The headers as received; None for one that is missing. Only a request with a signature has them.

    `other_id` is the id in another header, which is the one that was signed if something changed this one.
    """

    id: str | None
    timestamp: str | None
    signature: str
    other_id: str | None = None

    @classmethod
    def of(cls, header: Callable[[str], str | None], other: str = "svix-id") -> "Webhook | None":
        """The headers of a request; None if it has no such signature. `header` returns the value of a header.

        `other` names a header that may have the id, too.
        """
        signature = header(SIGNATURE_HEADER)
        return None if signature is None else cls(header(ID_HEADER), header(TIMESTAMP_HEADER), signature, header(other))

    @property
    def lines(self) -> str:
        """The header lines."""
        found = zip((ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER, "svix-id"), self, strict=True)
        return "\n".join(f"{name}: {value}" for name, value in found if value is not None)

    @property
    def sent_at(self) -> int | None:
        """The time of the attempt; None if the timestamp is missing or not a number."""
        text = self.timestamp or ""
        return int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else None

    @property
    def digests(self) -> list[bytes]:
        """What its signatures claim; those of other versions than `v1` are left out."""
        found = []
        for version, _, text in (one.partition(",") for one in self.signature.split()):
            with suppress(ValueError):
                found += [a2b_base64(text, strict_mode=True)] if version == "v1" else []
        return found


class Check:
    """Checks one request whose body is read elsewhere, in pieces."""

    def __init__(self, webhook: Webhook, secrets: Sequence[Secret]) -> None:
        self._claimed = webhook.digests
        self._macs = [_keyed(secret) for secret in secrets]
        for mac in self._macs:
            mac.update(_head(webhook.id or "", webhook.timestamp or ""))

    def reading(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Passes the pieces on."""
        for piece in pieces:
            for mac in self._macs:
                mac.update(piece)
            yield piece

    def fits(self) -> bool:
        """Whether any signature fits with any secret, compared in constant time. Ask once everything is read."""
        from hmac import compare_digest

        made = [mac.digest() for mac in self._macs]
        # Compares all of them, so that the time does not reveal which secret matched.
        matches = [compare_digest(one, claimed) for one in made for claimed in self._claimed]
        return any(matches)


def signed(delivery_id: str, timestamp: str, body: bytes) -> bytes:
    """The bytes that are signed."""
    return _head(delivery_id, timestamp) + body


def _head(delivery_id: str, timestamp: str) -> bytes:
    return f"{delivery_id}.{timestamp}.".encode("utf-8", "replace")


def _keyed(secret: Secret) -> "HMAC":
    import hmac

    return hmac.new(key_of(secret).reveal(), digestmod="sha256")
