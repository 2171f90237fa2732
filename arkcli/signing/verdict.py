"""What is said about a signature, and why: by `ark listen` and by `ark verify`."""

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from arkcli import signing
from arkcli.signing import Secret
from arkcli.system.clock import Clock


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
#: A larger body takes too long to be looked into while others wait, in bytes.
_LOOKED_INTO: Final = 16 * 1024
#: After an explanation there is none for so many seconds, and for so many times as long as it took: a flood of bad
#: requests must not keep the good ones waiting.
_RESTS: Final = 1.0
_RESTS_TIMES: Final = 20


def judge(secrets: Sequence[Secret], body: bytes | Iterable[bytes], signature: str | None) -> Verdict:
    """The verdict on a body and the value of its signature header, under any of the secrets.

    A body in pieces is read once, and not at all where the signature cannot be one.
    """
    if signature is None:
        return Verdict(Signature.MISSING, f"there is no {signing.SIGNATURE_HEADER} header")
    if signing.verify(secrets, body, signature):
        return VALID
    if not signature.strip():
        return Verdict(Signature.MALFORMED, "the signature is empty")
    if signing.normalized(signature) is None:
        return Verdict(Signature.MALFORMED, "the signature is not 64 hex digits, so it is not an HMAC-SHA256 in hex")
    secret = "this secret" if len(secrets) == 1 else f"any of the {len(secrets)} secrets"
    return Verdict(Signature.MISMATCH, f"the signature does not match these bytes with {secret}")


class Explainer:
    """Says what probably happened to a request whose signature does not fit, now and then."""

    def __init__(self, secrets: Callable[[], Sequence[Secret]], clock: Clock) -> None:
        self._secrets = secrets
        self._clock = clock
        self._rests_until = 0.0

    def explain(self, verdict: Verdict, body: bytes, signature: str | None) -> str | None:
        """What happened, in words; None where nothing did, nothing is known, or it is too soon to look again."""
        now = self._clock.monotonic()
        wrong = verdict.signature in (Signature.MISMATCH, Signature.MALFORMED)
        if not wrong or signature is None or len(body) > _LOOKED_INTO or now < self._rests_until:
            return None
        from arkcli.signing.explain.search import explain

        found = explain(body, signature, self._secrets())
        after = self._clock.monotonic()
        self._rests_until = after + max(_RESTS, (after - now) * _RESTS_TIMES)
        return found.text if found else None
