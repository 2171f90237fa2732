"""Signatures: HMAC-SHA256 of a body's raw bytes, as the contract defines them.

A stable library interface: `from arkcli.signing import sign, verify`. It imports only the standard library, and nothing
else of `ark`.
"""

from collections.abc import Iterable
from typing import Final, NoReturn

__all__ = ["SIGNATURE_HEADER", "Secret", "normalized", "sign", "verify"]

SIGNATURE_HEADER: Final = "X-SignalArk-Signature"
_PREFIX: Final = "sha256="
_HEX_DIGITS: Final = frozenset("0123456789abcdef")


class Concealed:
    """A value that must not be shown. It prints as `***` everywhere; only `reveal` returns its bytes."""

    __slots__ = ("_value",)

    def __init__(self, value: str | bytes) -> None:
        """Takes bytes, or a string, which means its UTF-8 bytes."""
        # Bytes that are not UTF-8 come from the environment as surrogate escapes; this restores them.
        self._value = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else bytes(value)

    def reveal(self) -> bytes:
        """The bytes of the value."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        import hmac

        return isinstance(other, Concealed) and hmac.compare_digest(self._value, other._value)

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a concealed value cannot be pickled")


class Secret(Concealed):
    """A signing secret."""

    __slots__ = ()

    def __init__(self, value: str | bytes) -> None:
        """Takes the secret as a string (its UTF-8 bytes are the key) or as bytes. Raises ValueError if it is empty."""
        super().__init__(value)
        if not self._value:
            raise ValueError("a signing secret cannot be empty")


def sign(secret: Secret | str | bytes, body: bytes | Iterable[bytes]) -> str:
    """The signature of a body's exact bytes: 64 lowercase hex digits (contract, "Requests").

    `body` may be an iterable of pieces, so that a large body need not be in memory. Raises ValueError for an empty
    secret.
    """
    # Imported where it is used, because it loads OpenSSL, which most commands that keep secrets do not need.
    import hmac

    # The key is never in a variable here: a traceback that prints variables would show it.
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
    """Whether `signature` is the body's signature with any of the secrets, compared in constant time.

    `signature` is the header's value or the whole line; upper case and a leading `sha256=` are accepted (contract,
    "Requests"). Returns False if it is malformed or if there are no secrets. `body` may be an iterable of pieces, which
    is read once, however many secrets there are. Always raises ValueError for an empty secret: that is an error in the
    configuration, and must not look like a bad request.
    """
    import hmac

    several = [secrets] if isinstance(secrets, Secret | str | bytes) else secrets
    macs = [hmac.new(_key(secret), digestmod="sha256") for secret in several]
    claimed = normalized(signature)
    if claimed is None:
        return False
    for piece in [body] if isinstance(body, bytes | bytearray | memoryview) else body:
        for mac in macs:
            mac.update(piece)
    # Compares all of them, so that the time does not reveal which secret matched.
    matches = [hmac.compare_digest(mac.hexdigest(), claimed) for mac in macs]
    return any(matches)


def normalized(signature: str | bytes) -> str | None:
    """A signature header's value as 64 lowercase hex digits; None if it cannot be a signature.

    Takes the value or the whole header line, in upper or lower case, with or without `sha256=`.
    """
    if isinstance(signature, bytes):
        signature = signature.decode("latin-1")
    # ASCII only: str.lower() maps some other letters to ASCII letters.
    if not signature.isascii():
        return None
    value = signature.strip(" \t\r\n")
    name, colon, rest = value.partition(":")
    if colon and name.rstrip(" \t").lower() == SIGNATURE_HEADER.lower():
        value = rest.strip(" \t")
    value = value.lower().removeprefix(_PREFIX)
    return value if len(value) == 64 and _HEX_DIGITS.issuperset(value) else None


def _key(secret: Secret | str | bytes) -> bytes:
    return (secret if isinstance(secret, Secret) else Secret(secret)).reveal()
