"""Standard Webhooks: what is signed with which key, and the verdict on what came."""

import base64
import hashlib
import hmac

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from arkcli.signing import Secret, sign
from arkcli.signing.scheme import BODY, STANDARD, Joined
from arkcli.signing.standard import Former, StandardWebhooks, Webhook, is_short, serialized
from arkcli.signing.verdict import VALID, Signature, Verdict, claimed, judge

#: The example in the tests of the public libraries.
WHSEC, ID, AT = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330
PAYLOAD, FITS = b'{"test": 2432232314}', "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def signed(secret: str | bytes, at: int = AT, body: bytes = PAYLOAD, *formers: Former) -> Webhook:
    return Webhook(*StandardWebhooks(formers).signer(Secret(secret))(ID, at, body))


def test_the_libraries_own_example_is_signed_as_it_says() -> None:
    assert signed(WHSEC)[:3] == (ID, str(AT), FITS)


@pytest.mark.parametrize(
    ("secret", "key"),
    [
        (b"x" * 24, b"x" * 24),
        (b"x" * 64, b"x" * 64),
        (b"x" * 65, hashlib.sha256(b"x" * 65).digest()),
        (b"arksec_" + b"0" * 64, hashlib.sha256(b"arksec_" + b"0" * 64).digest()),
        (b"whsec_" + base64.b64encode(b"\xff" * 32), b"\xff" * 32),
        (b"whsec_" + base64.b64encode(b"\xff" * 32).rstrip(b"="), b"\xff" * 32),
        (b"whsec_not base64", b"whsec_not base64"),
        (b"whsec_", b"whsec_"),
        (b"whsec_A", b"whsec_A"),
    ],
)
def test_libraries_take_the_secret_as_the_base64_of_its_key(secret: bytes, key: bytes) -> None:
    assert serialized(Secret(secret)) == Secret(b"whsec_" + base64.b64encode(key))
    assert serialized(serialized(Secret(secret))) == serialized(Secret(secret))
    assert signed(secret).digests == [hmac.digest(key, f"{ID}.{AT}.".encode() + PAYLOAD, "sha256")]


@pytest.mark.parametrize(("secret", "short"), [(b"x" * 23, True), (b"x" * 24, False), (b"whsec_Zm9vYmFyYmF6", True)])
def test_a_key_is_short_if_the_specification_says_so(secret: bytes, short: bool) -> None:
    assert is_short(Secret(secret)) is short


def test_a_former_secret_signs_second_until_its_time_is_over() -> None:
    former = Former(Secret("old"), AT + 60)
    during, after = (signed("new", at, PAYLOAD, former) for at in (AT + 59, AT + 60))
    assert during.signature == f"{signed('new', AT + 59).signature} {signed('old', AT + 59).signature}"
    assert after == signed("new", AT + 60)


def test_schemes_that_differ_in_a_former_secret_or_its_time_are_not_equal() -> None:
    made = [Joined((BODY, StandardWebhooks(formers))) for formers in ((), (Former(Secret("a"), 1),))]
    assert made[0] == Joined((BODY, STANDARD)) != made[1]
    assert made[1] != Joined((BODY, StandardWebhooks((Former(Secret("a"), 2),))))
    assert "a'" not in repr(made[1])


def verdict(webhook: Webhook | None, *secrets: str | bytes, signature: str | None = None, late: int = 0) -> Verdict:
    return judge([Secret(secret) for secret in secrets or (WHSEC,)], PAYLOAD, signature, webhook, (AT + late) * 1000)


RIGHT = signed(WHSEC)


@pytest.mark.parametrize(
    ("webhook", "late", "expected", "reason"),
    [
        (RIGHT, 0, Signature.VALID, None),
        (RIGHT, 300, Signature.VALID, None),
        (RIGHT, -300, Signature.VALID, None),
        (RIGHT, 301, Signature.STALE, "webhook-timestamp is 5 min behind the clock here, 2021-02-25T15:07:11.000Z"),
        (RIGHT, -301, Signature.STALE, "webhook-timestamp is 5 min ahead of the clock here"),
        (RIGHT._replace(signature=f"v1a,xyz {FITS} v1,"), 0, Signature.VALID, None),
        (RIGHT._replace(id="msg_other"), 0, Signature.MISMATCH, "does not match this id, timestamp and body"),
        (RIGHT._replace(timestamp=str(AT + 1)), 0, Signature.MISMATCH, "does not match"),
        (RIGHT._replace(signature=FITS.replace("v1,", "v2,")), 0, Signature.MALFORMED, "no signature of the form v1,"),
        (RIGHT._replace(signature="v1,not base64"), 0, Signature.MALFORMED, "no signature of the form v1,"),
        (RIGHT._replace(signature="v1,é"), 0, Signature.MALFORMED, "no signature of the form v1,"),
        (RIGHT._replace(signature=""), 0, Signature.MALFORMED, "no signature of the form v1,"),
        (RIGHT._replace(id=None), 0, Signature.MALFORMED, "a webhook-signature header, but no webhook-id"),
        (RIGHT._replace(timestamp=None), 0, Signature.MALFORMED, "but no webhook-timestamp"),
        (RIGHT._replace(timestamp="soon"), 0, Signature.MALFORMED, "webhook-timestamp is not a whole number"),
        (RIGHT._replace(timestamp="٣"), 0, Signature.MALFORMED, "webhook-timestamp is not a whole number"),
        (RIGHT._replace(timestamp="9" * 400), 0, Signature.MALFORMED, "webhook-timestamp is not a whole number"),
    ],
)
def test_the_verdict_on_its_headers(webhook: Webhook, late: int, expected: Signature, reason: str | None) -> None:
    alone = verdict(webhook, late=late)
    assert (alone.signature, alone.webhook, alone.valid) == (Signature.MISSING, expected, reason is None)
    assert (reason or "") in (alone.reason or "")
    # What is wrong here is not made right by the documented header, which a replay has as well.
    beside = verdict(webhook, signature=sign(WHSEC, PAYLOAD), late=late)
    assert (beside.signature, beside.webhook, beside.valid) == (Signature.VALID, expected, reason is None)
    assert reason is None or beside.reason == f"{alone.reason}; X-SignalArk-Signature is valid"


def test_the_documented_header_must_be_right_beside_it() -> None:
    found = verdict(RIGHT, signature="0" * 64)
    assert (found.signature, found.webhook, found.valid) == (Signature.MISMATCH, Signature.VALID, False)
    assert found.reason is not None
    assert found.reason.startswith("X-SignalArk-Signature: the signature does not match")
    assert found.reason.endswith("; webhook-signature is valid")
    both = verdict(RIGHT._replace(id="x"), signature="0" * 64).reason or ""
    assert both.count("not match") == 2


def test_any_signature_may_match_any_secret() -> None:
    during = signed("new", AT, PAYLOAD, Former(Secret("old"), AT + 1))
    for secrets in (("new",), ("old",), ("neither", "old")):
        assert verdict(during, *secrets).valid
    assert "any of the 2 secrets" in (verdict(during, "neither", "nor").reason or "")


def test_a_secret_as_libraries_take_it_checks_the_documented_header_too() -> None:
    secret = "arksec_" + "0" * 64
    form = serialized(Secret(secret)).reveal()
    assert judge([Secret(form)], PAYLOAD, sign(secret, PAYLOAD)) is VALID
    assert judge([Secret(WHSEC)], PAYLOAD, sign(WHSEC, PAYLOAD)) is VALID


@settings(deadline=None)
@example(cut=0, sizes=[0, 0])
@given(cut=st.integers(0, 20), sizes=st.lists(st.integers(0, 20), max_size=5))
def test_a_body_in_pieces_is_read_once_for_both_headers(cut: int, sizes: list[int]) -> None:
    places = sorted((cut, *sizes))
    for signature in (sign(WHSEC, PAYLOAD), None, "nonsense"):
        pieces = iter([PAYLOAD[a:b] for a, b in zip((0, *places), (*places, None), strict=True)])
        found = judge([Secret(WHSEC)], pieces, signature, RIGHT, AT * 1000)
        assert found.webhook is Signature.VALID
        assert list(pieces) == []


def test_what_is_explained_is_the_header_that_is_wrong() -> None:
    documented = sign(WHSEC, PAYLOAD)
    assert claimed(verdict(RIGHT, signature=documented), documented, RIGHT) is None
    assert claimed(verdict(RIGHT, signature="0" * 64), "0" * 64, RIGHT) == "0" * 64
    assert claimed(verdict(RIGHT, signature=documented, late=999), documented, RIGHT) == RIGHT.lines
    assert RIGHT.lines == f"webhook-id: {ID}\nwebhook-timestamp: {AT}\nwebhook-signature: {FITS}"


@given(st.text(max_size=40), st.text(max_size=20), st.text(max_size=60))
def test_no_headers_make_it_fail(delivery_id: str, timestamp: str, signature: str) -> None:
    assert not verdict(Webhook(delivery_id, timestamp, signature)).valid
