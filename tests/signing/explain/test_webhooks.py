"""Explanations of what is wrong with the headers of Standard Webhooks."""

import base64
import hmac

import pytest

from arkcli.signing import Secret
from arkcli.signing.explain.search import NOTHING_FITS, Explanation, explain
from arkcli.signing.scheme import STANDARD
from arkcli.signing.standard import serialized

PLAIN = b"arksec_" + b"0123456789abcdef" * 4
FORM = serialized(Secret(PLAIN)).reveal()
#: A secret that is shorter than 64 bytes, so that its form has the secret itself in base64.
SHORT = b"a secret of thirty-two bytes, ok"
ID, AT = "evt_1.dst_1", "1700000000"
BODY = b'{"event":"ping","a":[1,2]}'


def lines(digest: bytes, delivery_id: str = ID, at: str = AT) -> str:
    other = base64.b64encode(bytes(32)).decode()
    signature = f"v1,{other} v1,{base64.b64encode(digest).decode()}"
    return f"webhook-id: {delivery_id}\nwebhook-timestamp: {at}\nwebhook-signature: {signature}"


def mac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def signed(key: bytes, body: bytes = BODY, delivery_id: str = ID, at: str = AT) -> bytes:
    return mac(key, f"{delivery_id}.{at}.".encode() + body)


def explained(text: str, body: bytes = BODY, *secrets: bytes, **others: Secret) -> Explanation | None:
    return explain(body, text, [Secret(secret) for secret in secrets or (PLAIN,)], others)


@pytest.mark.parametrize(
    ("cause", "text", "body", "secret"),
    [
        ("webhook-timestamp", lines(signed(PLAIN)), BODY, PLAIN),
        ("webhook-timestamp", lines(signed(PLAIN)), BODY, FORM),
        ("webhook-timestamp", lines(signed(PLAIN)) + "\nHost: a.example", BODY, PLAIN),
        ("whsec-as-key", lines(signed(FORM)), BODY, PLAIN),
        ("whsec-as-key", lines(signed(FORM)), BODY, FORM),
        ("whsec-as-key", lines(signed(serialized(Secret(SHORT)).reveal())), BODY, SHORT),
        ("whsec-not-decoded", lines(signed(FORM.removeprefix(b"whsec_"))), BODY, FORM),
        # What the public library in Python makes of a secret that is not in the form.
        ("secret-decoded", lines(signed(base64.b64decode(PLAIN + b"=="))), BODY, PLAIN),
        ("webhook-id", lines(signed(PLAIN, delivery_id="evt_1")), BODY, PLAIN),
        ("webhook-id", lines(signed(PLAIN), "changed") + f"\nsvix-id: {ID}", BODY, PLAIN),
        ("webhook-timestamp-unit", lines(signed(PLAIN, at=AT + "000")), BODY, PLAIN),
        ("webhook-timestamp-unit", lines(signed(PLAIN), at=AT + "123"), BODY, PLAIN),
        ("webhook-signs-body", lines(mac(PLAIN, BODY)), BODY, PLAIN),
        ("webhook-signs-no-id", lines(mac(PLAIN, f"{AT}.".encode() + BODY)), BODY, PLAIN),
        ("newline-added", lines(signed(PLAIN)), BODY + b"\n", PLAIN),
        ("json-reserialised", lines(signed(PLAIN)), b'{"event": "ping", "a": [1, 2]}', FORM),
        ("secret-white-space", lines(signed(PLAIN)), BODY, PLAIN + b" "),
        ("whsec-as-key+newline-added", lines(signed(FORM)), BODY + b"\n", PLAIN),
        ("webhook-signs-body+newline-added", lines(mac(PLAIN, BODY)), BODY + b"\n", PLAIN),
    ],
)
def test_what_is_wrong_is_named(cause: str, text: str, body: bytes, secret: bytes) -> None:
    found = explained(text, body, secret)
    assert found is not None
    assert sorted(found.cause.split("+")) == sorted(cause.split("+"))
    claimed = base64.b64encode(signed(PLAIN)).decode()
    for hidden in (PLAIN.decode(), FORM.decode(), SHORT.decode(), claimed):
        assert hidden not in found.text


def test_a_right_signature_with_a_wrong_time_may_be_a_replay_or_a_clock() -> None:
    found = explained(lines(signed(PLAIN)))
    assert found is not None
    assert "an old request again (a replay), or the clock" in found.text


def test_the_id_that_was_signed_is_named() -> None:
    found = explained(lines(signed(PLAIN), "changed") + f"\nsvix-id: {ID}")
    assert found is not None
    assert f"another webhook-id was signed, {ID}" in found.text.replace("Another", "another")


def test_another_secret_is_named_by_its_place_in_either_form() -> None:
    for secret in (PLAIN, FORM):
        found = explained(lines(signed(PLAIN)), BODY, b"new", **{"the shared secret before": Secret(secret)})
        assert found == Explanation(
            "another-secret", "It was signed with a different secret from the one given: the shared secret before"
        )


def test_when_nothing_fits_nothing_is_claimed() -> None:
    assert explained(lines(bytes(32)), b"any bytes") is None
    assert "None of the usual causes" in NOTHING_FITS


def test_what_the_scheme_signs_is_one_thing_here_and_where_it_is_sent() -> None:
    values = STANDARD.signer(Secret(PLAIN))(ID, int(AT), BODY)
    assert values[-1] == "v1," + base64.b64encode(signed(PLAIN)).decode()
