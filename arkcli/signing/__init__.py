"""Signatures: HMAC-SHA256 of a body's raw bytes, as the contract defines them.

A stable surface for use as a library: `from arkcli.signing import sign, verify`. Importing it imports nothing else of
`ark`, and nothing beyond the standard library.
"""

import hmac
from collections.abc import Iterable
from typing import Final, NoReturn

__all__ = ["SIGNATURE_HEADER", "Secret", "normalized", "sign", "verify"]

SIGNATURE_HEADER: Final = "X-SignalArk-Signature"
_PREFIX: Final = "sha256="
_HEX_DIGITS: Final = frozenset("0123456789abcdef")


class Concealed:
    """What must not be seen. It prints as `***` everywhere; `reveal` is the one way to its bytes."""

    __slots__ = ("_value",)

    def __init__(self, value: str | bytes) -> None:
        """Takes text, which stands for its UTF-8 bytes, or bytes."""
        # Bytes that are no UTF-8 come as surrogate escapes from the environment, and go out as themselves.
        self._value = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else bytes(value)

    def reveal(self) -> bytes:
        """Its bytes."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Concealed) and hmac.compare_digest(self._value, other._value)

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a concealed value cannot be pickled")


class Secret(Concealed):
    """A signing secret."""

    __slots__ = ()

    def __init__(self, value: str | bytes) -> None:
        """Takes the secret as text (its UTF-8 bytes are the key) or bytes. Raises ValueError when empty."""
        super().__init__(value)
        if not self._value:
            raise ValueError("a signing secret cannot be empty")


def sign(secret: Secret | str | bytes, body: bytes | Iterable[bytes]) -> str:
    """The signature of a body's exact bytes: lowercase hex, 64 characters (contract, "Requests").

    `body` may come in pieces, so that a large one need not be in memory. Raises ValueError for an empty secret.
    """
    # The key is never a variable here: a traceback that prints variables would show it.
    if isinstance(body, bytes | bytearray | memoryview):
        return hmac.digest(_key(secret), body, "sha256").hex()
    mac = hmac.new(_key(secret), digestmod="sha256")
    for piece in body:
        mac.update(piece)
    return mac.hexdigest()


def verify(
    secrets: Secret | str | bytes | Iterable[Secret | str | bytes],
    body: bytes | Iterable[bytes],
    signature: str | bytes,
) -> bool:
    """Whether `signature` is the body's signature under any of the secrets, compared in constant time.

    `signature` is the header's value or the whole line; upper case and a leading `sha256=` are accepted (contract,
    "Requests"). A malformed one, or no secret at all, is False and raises nothing. `body` may come in pieces, which are
    read once, however many secrets there are. Raises ValueError for an empty secret, whatever else is given: to verify
    against an empty secret is a mistake of configuration that must not look like a bad request.
    """
    several = [secrets] if isinstance(secrets, Secret | str | bytes) else secrets
    macs = [hmac.new(_key(secret), digestmod="sha256") for secret in several]
    claimed = normalized(signature)
    if claimed is None:
        return False
    for piece in [body] if isinstance(body, bytes | bytearray | memoryview) else body:
        for mac in macs:
            mac.update(piece)
    # Every one is compared, so that the time does not tell which secret fitted.
    matches = [hmac.compare_digest(mac.hexdigest(), claimed) for mac in macs]
    return any(matches)


def normalized(signature: str | bytes) -> str | None:
    """A signature header's value as 64 lowercase hex digits, or None when it cannot be one.

    Takes the value alone or the whole header line, in any case, with or without `sha256=`.
    """
    if isinstance(signature, bytes):
        signature = signature.decode("latin-1")
    # Only ASCII may be folded: str.lower() maps some other letters to ASCII ones.
    if not signature.isascii():
        return None
    value = signature.strip(" \t\r\n")
    name, colon, rest = value.partition(":")
    if colon and name.lower() == SIGNATURE_HEADER.lower():
        value = rest.strip(" \t")
    value = value.lower().removeprefix(_PREFIX)
    return value if len(value) == 64 and _HEX_DIGITS.issuperset(value) else None


def _key(secret: Secret | str | bytes) -> bytes:
    return (secret if isinstance(secret, Secret) else Secret(secret)).reveal()
