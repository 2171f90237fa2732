"""Common mistakes with the headers of Standard Webhooks: the secret's form, the id, the time, what is signed."""

import base64
import binascii
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final, NamedTuple

from arkcli.signing import Secret, standard
from arkcli.signing.explain.keys import Digest, sha256
from arkcli.signing.explain.rules import Rules
from arkcli.signing.explain.signatures import ClaimedDigest
from arkcli.signing.standard import SIGNATURE_HEADER, Webhook

RULES: Final = Rules()

#: The cause if the signature is right, and nothing else has to be explained.
RIGHT: Final = "webhook-timestamp"
_FORM: Final = "`ark secret show --standard-webhooks --reveal` prints the form that libraries take"
_AGREED: Final = f"{SIGNATURE_HEADER} is the HMAC-SHA256 of `id.timestamp.body`, in base64"


@RULES.rule(
    "whsec-as-key",
    "the characters of `whsec_…` were used as the key: remove `whsec_`, decode the rest from base64, and use those"
    " bytes",
)
def _serialized(key: bytes) -> Iterator[bytes]:
    form = standard.serialized(Secret(key)).reveal()
    yield from (form, form.rstrip(b"="))


@RULES.rule(
    "whsec-not-decoded",
    "the characters after `whsec_` were used as the key: they are base64, so decode them and use those bytes",
)
def _not_decoded(key: bytes) -> Iterator[bytes]:
    yield from (form.removeprefix(b"whsec_") for form in _serialized(key))


@RULES.rule(
    "secret-decoded",
    f"the secret was decoded from base64, and it is not base64: give the library the secret as `whsec_…`; {_FORM}",
)
def _decoded(key: bytes) -> Iterator[bytes]:
    # Libraries leave out the characters that are not base64.
    for text in (key, key.removeprefix(b"whsec_")):
        with suppress(binascii.Error):
            yield base64.b64decode(text + b"==")


class Reading(NamedTuple):
    """What the signatures claim, and the digests to try: the right one first."""

    claims: list[ClaimedDigest]
    digests: list[Digest]


def read(text: str) -> Reading | None:
    """Reads header lines; None if the id, the time or the signature of Standard Webhooks is not among them."""
    pairs = (line.partition(":") for line in text.split("\n"))
    lines = {name.strip().lower(): value.strip() for name, _, value in pairs}
    webhook = Webhook.of(lines.get)
    if webhook is None or not webhook.id or not webhook.timestamp or not webhook.digests:
        return None
    return Reading([ClaimedDigest(digest, ()) for digest in webhook.digests], list(_digests(webhook)))


def _digests(webhook: Webhook) -> Iterator[Digest]:
    delivery_id, timestamp = webhook.id or "", webhook.timestamp or ""
    yield Digest(
        RIGHT,
        "the signature is right, so only the time is wrong: somebody sent an old request again (a replay), or the clock"
        " of this machine or of the sender is off: compare `date -u` on both",
        _signing(delivery_id, timestamp),
    )
    for other in (webhook.other_id, delivery_id.partition(".")[0]):
        if other is not None and other != delivery_id:
            said = f"another webhook-id was signed, {other}: something changed the header after it was signed"
            yield Digest("webhook-id", said, _signing(other, timestamp))
    for other, unit in ((f"{timestamp}000", "milliseconds"), (timestamp[:-3], "seconds")):
        said = f"the time was signed in {unit}, and webhook-timestamp is not: sign the header's own characters"
        yield Digest("webhook-timestamp-unit", said, _signing(delivery_id, other))
    yield Digest("webhook-signs-body", f"the body alone was signed: {_AGREED}", sha256)
    yield Digest(
        "webhook-signs-no-id",
        f"the id was not signed: {_AGREED}",
        lambda key, body: sha256(key, f"{timestamp}.".encode() + body),
    )


def _signing(delivery_id: str, timestamp: str) -> Callable[[bytes, bytes], bytes]:
    return lambda key, body: sha256(key, standard.signed(delivery_id, timestamp, body))
