"""Verdicts on signatures, with reasons, for `ark listen` and `ark verify`."""

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from arkcli import signing, times
from arkcli.signing import Secret, standard
from arkcli.signing.standard import Check, Webhook
from arkcli.system.clock import Clock


class Signature(StrEnum):
    """The result of checking a request's signature."""

    VALID = "valid"
    MISSING = "missing"
    MALFORMED = "malformed"
    MISMATCH = "mismatch"
    STALE = "stale"
    UNCHECKED = "unchecked"


class Verdict(NamedTuple):
    """Whether a request is genuine, and why not.

    `signature` is the result for the documented header; `webhook`, for webhook-signature: None if there was none.
    """

    signature: Signature
    reason: str | None = None
    webhook: Signature | None = None

    @property
    def valid(self) -> bool:
        """Whether each signature that came is valid, and at least one came."""
        if self.webhook is None:
            return self.signature is Signature.VALID
        return self.webhook is Signature.VALID and self.signature in (Signature.VALID, Signature.MISSING)


VALID = Verdict(Signature.VALID)
#: Larger bodies (in bytes) are not examined: that would take too long while other requests wait.
_LOOKED_INTO: Final = 16 * 1024
#: How long to explain nothing after an explanation: this many seconds, and this many times as long as it took. A flood
#: of bad requests must not delay the good ones.
_RESTS: Final = 1.0
_RESTS_TIMES: Final = 20


def judge(
    secrets: Sequence[Secret],
    body: bytes | Iterable[bytes],
    signature: str | None,
    webhook: Webhook | None = None,
    now: int = 0,
) -> Verdict:
    """The verdict on a body and what came with it: the value of the documented header, the headers of Standard
    Webhooks, or both. Any of the secrets may match. `now` is milliseconds since 1970, UTC.

    A body in pieces is read once, or not at all if there is only a malformed signature.
    """
    if webhook is None:
        return _judge_body(secrets, body, signature)
    check = Check(webhook, secrets)
    pieces = check.reading([body] if isinstance(body, bytes) else body)
    ours = _judge_body(secrets, pieces, signature)
    for _ in pieces:
        pass
    theirs, why = _judge_webhook(webhook, check, _any_of(secrets), now)
    if ours.signature is Signature.MISSING:
        return Verdict(Signature.MISSING, why, theirs)
    if ours.valid:
        return Verdict(Signature.VALID, why and f"{why}; {signing.SIGNATURE_HEADER} is valid", theirs)
    said = f"{signing.SIGNATURE_HEADER}: {ours.reason}"
    return Verdict(ours.signature, f"{said}; {why or f'{standard.SIGNATURE_HEADER} is valid'}", theirs)


def _judge_body(secrets: Sequence[Secret], body: bytes | Iterable[bytes], signature: str | None) -> Verdict:
    if signature is None:
        return Verdict(Signature.MISSING, f"there is no {signing.SIGNATURE_HEADER} header")
    # Somebody who has a secret only as `whsec_…` can check the documented header with it, too.
    if signing.verify({*secrets, *map(standard.key_of, secrets)}, body, signature):
        return VALID
    if not signature.strip():
        return Verdict(Signature.MALFORMED, "the signature is empty")
    if signing.normalized(signature) is None:
        return Verdict(Signature.MALFORMED, "the signature is not 64 hex digits, so it is not an HMAC-SHA256 in hex")
    return Verdict(Signature.MISMATCH, f"the signature does not match these bytes with {_any_of(secrets)}")


def _any_of(secrets: Sequence[Secret]) -> str:
    return "this secret" if len(secrets) == 1 else f"any of the {len(secrets)} secrets"


def _judge_webhook(webhook: Webhook, check: Check, secret: str, now: int) -> tuple[Signature, str | None]:
    """The result for the headers of Standard Webhooks, and why they are not valid."""
    for name, value in ((standard.ID_HEADER, webhook.id), (standard.TIMESTAMP_HEADER, webhook.timestamp)):
        if not value:
            return Signature.MALFORMED, f"there is a {standard.SIGNATURE_HEADER} header, but no {name}"
    if webhook.sent_at is None:
        return Signature.MALFORMED, f"{standard.TIMESTAMP_HEADER} is not a whole number of seconds"
    if not webhook.digests:
        return Signature.MALFORMED, f"{standard.SIGNATURE_HEADER} has no signature of the form v1,BASE64"
    if not check.fits():
        said = f"{standard.SIGNATURE_HEADER} does not match this id, timestamp and body with {secret}"
        return Signature.MISMATCH, said
    late = now // 1000 - webhook.sent_at
    if abs(late) > standard.TOLERANCE:
        away = f"{times.describe_duration(abs(late))} {'behind' if late > 0 else 'ahead of'} the clock here"
        said = f"{standard.TIMESTAMP_HEADER} is {away}, {times.to_text(now)}; at most 5 minutes are accepted"
        return Signature.STALE, said
    return Signature.VALID, None


def claimed(verdict: Verdict, signature: str | None, webhook: Webhook | None) -> str | None:
    """What to explain: the documented header's value if that is wrong, otherwise the lines of Standard Webhooks if
    those are; None if nothing that came is wrong.
    """
    if verdict.signature in (Signature.MISMATCH, Signature.MALFORMED):
        return signature
    return webhook.lines if webhook is not None and not verdict.valid else None


class Explainer:
    """Explains invalid signatures, but not so often that other requests have to wait."""

    def __init__(self, secrets: Callable[[], Sequence[Secret]], clock: Clock) -> None:
        self._secrets = secrets
        self._clock = clock
        self._rests_until = 0.0

    def explain(
        self, verdict: Verdict, body: bytes, signature: str | None, webhook: Webhook | None = None
    ) -> str | None:
        """The probable cause, in words. None if the signature is valid or missing, no known cause fits, the body is too
        large, or it is too soon after the last explanation.
        """
        now = self._clock.monotonic()
        signature = claimed(verdict, signature, webhook)
        if signature is None or len(body) > _LOOKED_INTO or now < self._rests_until:
            return None
        from arkcli.signing.explain.search import explain

        found = explain(body, signature, self._secrets())
        after = self._clock.monotonic()
        self._rests_until = after + max(_RESTS, (after - now) * _RESTS_TIMES)
        return found.text if found else None
