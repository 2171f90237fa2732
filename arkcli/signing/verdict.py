"""Verdicts on signatures, with reasons, for `ark listen` and `ark verify`."""

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from arkcli import signing
from arkcli.signing import Secret
from arkcli.system.clock import Clock


class Signature(StrEnum):
    """The result of checking a request's signature."""

    VALID = "valid"
    MISSING = "missing"
    MALFORMED = "malformed"
    MISMATCH = "mismatch"
    UNCHECKED = "unchecked"


class Verdict(NamedTuple):
    """Whether a request's signature is valid, and why not."""

    signature: Signature
    reason: str | None = None

    @property
    def valid(self) -> bool:
        """Whether the signature is valid."""
        return self.signature is Signature.VALID


VALID = Verdict(Signature.VALID)
#: Larger bodies (in bytes) are not examined: that would take too long while other requests wait.
_LOOKED_INTO: Final = 16 * 1024
#: How long to explain nothing after an explanation: this many seconds, and this many times as long as it took. A flood
#: of bad requests must not delay the good ones.
_RESTS: Final = 1.0
_RESTS_TIMES: Final = 20


def judge(secrets: Sequence[Secret], body: bytes | Iterable[bytes], signature: str | None) -> Verdict:
    """The verdict on a body and the value of its signature header: any of the secrets may match.

    A body in pieces is read once, or not at all if the signature is malformed.
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
    """Explains invalid signatures, but not so often that other requests have to wait."""

    def __init__(self, secrets: Callable[[], Sequence[Secret]], clock: Clock) -> None:
        self._secrets = secrets
        self._clock = clock
        self._rests_until = 0.0

    def explain(self, verdict: Verdict, body: bytes, signature: str | None) -> str | None:
        """The probable cause, in words. None if the signature is valid or missing, no known cause fits, the body is too
        large, or it is too soon after the last explanation.
        """
        now = self._clock.monotonic()
        wrong = verdict.signature in (Signature.MISMATCH, Signature.MALFORMED)
        if not wrong or signature is None or len(body) > _LOOKED_INTO or now < self._rests_until:
            return None
        from arkcli.signing.explain.search import explain

        found = explain(body, signature, self._secrets())
        after = self._clock.monotonic()
        self._rests_until = after + max(_RESTS, (after - now) * _RESTS_TIMES)
        return found.text if found else None
