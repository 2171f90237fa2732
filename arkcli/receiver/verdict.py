"""What a receiver says about a signature, and why."""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from arkcli import signing
from arkcli.signing import Secret


class Signature(StrEnum):
    """How a request's signature was found to be."""

    VALID = "valid"
    MISSING = "missing"
    MALFORMED = "malformed"
    MISMATCH = "mismatch"
    UNCHECKED = "unchecked"


class Verdict(NamedTuple):
    """Whether a request is from who it says, and why not."""

    signature: Signature
    reason: str | None = None

    @property
    def valid(self) -> bool:
        """Whether to believe it."""
        return self.signature is Signature.VALID


VALID = Verdict(Signature.VALID)


def judge(secrets: Sequence[Secret], body: bytes, signature: str | None) -> Verdict:
    """The verdict on a body and the value of its signature header, under any of the secrets.

    This is the one place that gives reasons: whatever explains a mismatch better belongs here.
    """
    if signature is None:
        return Verdict(Signature.MISSING, f"there is no {signing.SIGNATURE_HEADER} header")
    if signing.verify(secrets, body, signature):
        return VALID
    if signing.normalized(signature) is None:
        return Verdict(Signature.MALFORMED, "the signature is not 64 hex digits, so it is no HMAC-SHA256 in hex")
    secret = "this secret" if len(secrets) == 1 else f"any of {len(secrets)} secrets"
    return Verdict(Signature.MISMATCH, f"the signature does not belong to these bytes under {secret}")
