"""The explanation of a mismatch: a row for every rule, two causes at once, and what is never said."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arkcli import contract, samples
from arkcli.explain import bodies, keys, signatures, spellings
from arkcli.explain.search import LARGEST, NOTHING_FITS, Explanation, explain
from arkcli.signing import Secret, sign
from tests.world import START

KEY = b"whsec_Zm9vYmFyYmF6"
#: With characters beyond ASCII, slashes, a fraction and no key order a machine would choose.
BODY = '{"event":"ping","z":{"b":1.50,"a":[87,-3e2]},"text":"Zoë <a/b> & 日本","flag":null,"none":{}}'.encode()
PRETTY = json.dumps(json.loads(BODY), indent=2).encode()
TREE = json.loads(BODY)


def compact(tree: Any, **options: Any) -> bytes:
    return json.dumps(tree, separators=(",", ":"), **options).encode()


def explained(body: bytes, signature: str, *secrets: bytes, **others: Secret) -> Explanation | None:
    return explain(body, signature, [Secret(secret) for secret in secrets or (KEY,)], others)


def cause(body: bytes, signature: str, *secrets: bytes) -> str | None:
    found = explained(body, signature, *secrets)
    return found and found.cause


#: cause, the body that was signed, the body that came out of it.
CHANGED_BODIES = [
    ("newline-added", BODY, BODY + b"\n"),
    ("newline-added", BODY, BODY + b"\r\n"),
    ("newline-added", BODY, BODY + b"\n\n\n"),
    ("newline-added", BODY + b"\n", BODY + b"\n\n"),
    ("newline-lost", BODY + b"\n", BODY),
    ("newline-lost", BODY + b"\r\n", BODY),
    ("crlf-line-ends", PRETTY, PRETTY.replace(b"\n", b"\r\n")),
    ("crlf-line-ends", BODY + b"\n", BODY + b"\r\n"),
    ("lf-line-ends", BODY + b"\r\n", BODY + b"\n"),
    ("crlf-line-ends", b'{"a":\n1}', b'{"a":\r1}'),
    ("lf-line-ends", PRETTY.replace(b"\n", b"\r\n"), PRETTY),
    ("byte-order-mark-added", BODY, b"\xef\xbb\xbf" + BODY),
    ("byte-order-mark-lost", b"\xef\xbb\xbf" + BODY, BODY),
    ("white-space-around", BODY, b"  \n" + BODY + b"\t"),
    ("white-space-around", BODY + b" ", BODY),
    ("body-empty-when-signed", b"", BODY),
    ("something-behind", BODY, BODY + BODY),
    ("something-behind", BODY, BODY + b"\x00\x00\x00"),
    ("something-behind", b"no json", b"no json\x00"),
    ("http-head-in-front", BODY, b"POST /hook HTTP/1.1\r\nHost: a\r\n\r\n" + BODY),
    ("http-head-in-front", BODY, b"content-type: application/json\n\n" + BODY),
    ("chunk-sizes-inside", BODY, b"5\r\n" + BODY[:5] + b"\r\n%x\r\n" % len(BODY[5:]) + BODY[5:] + b"\r\n0\r\n\r\n"),
    ("url-encoded", BODY, quote(BODY).encode()),
    ("url-encoded", BODY, urlencode({"payload": BODY}).encode()),
    ("url-encoded", BODY, urlencode({BODY: ""}).encode()),
    ("body-base64", BODY, base64.b64encode(BODY)),
    ("body-base64", BODY, base64.encodebytes(BODY)),
    ("json-in-a-string", BODY, json.dumps(BODY.decode()).encode()),
    ("node-buffer", BODY, json.dumps({"type": "Buffer", "data": list(BODY)}).encode()),
    ("python-repr", BODY, repr(BODY).encode()),
    ("python-repr", compact({"a": [1, None, True]}), str({"a": [1, None, True]}).encode()),
    ("utf-16", BODY, BODY.decode().encode("utf-16")),
    ("utf-16", BODY, BODY.decode().encode("utf-16-be")),
    ("encoded-twice", BODY, BODY.decode("latin-1").encode()),
    ("encoded-twice", '{"a":"€"}'.encode(), '{"a":"€"}'.encode().decode("cp1252").encode()),
    ("latin-1", '{"a":"Zoë"}'.encode(), '{"a":"Zoë"}'.encode("latin-1")),
    ("latin-1", '{"a":"€"}'.encode(), '{"a":"€"}'.encode("cp1252")),
    *(
        ("json-reserialised", signed, body)
        for signed, body in (
            (compact(TREE), json.dumps(TREE).encode()),
            (compact(TREE, ensure_ascii=False), json.dumps(TREE).encode()),
            (compact(TREE, ensure_ascii=False), json.dumps(TREE, indent=2, ensure_ascii=False).encode() + b"\n"),
            (compact(TREE), json.dumps(TREE, indent=4).encode()),
            (compact(TREE), json.dumps(TREE, indent="\t").encode()),
            (compact(TREE, sort_keys=True), compact(TREE)),
            (json.dumps(TREE).encode(), compact(TREE, ensure_ascii=False)),
            (json.dumps(TREE, indent=2).encode(), compact(TREE)),
            (json.dumps(TREE, indent=4, ensure_ascii=False).encode(), compact(TREE)),
            (json.dumps(TREE, sort_keys=True).encode(), compact(TREE)),
            (compact(TREE, ensure_ascii=False), compact(TREE)),
            (compact(TREE), compact(TREE, ensure_ascii=False)),
            (compact(TREE).replace(b"/", b"\\/"), compact(TREE)),
            (compact(TREE), compact(TREE).replace(b"/", b"\\/")),
            (compact(TREE, ensure_ascii=False).replace(b"/", b"\\/"), json.dumps(TREE).encode()),
            (
                compact(TREE, ensure_ascii=False),
                compact(TREE, ensure_ascii=False).replace(b"<", rb"\u003c").replace(b">", rb"\u003e"),
            ),
            (
                compact(TREE, ensure_ascii=False)
                .replace(b"<", rb"\u003c")
                .replace(b">", rb"\u003e")
                .replace(b"&", rb"\u0026"),
                compact(TREE, ensure_ascii=False),
            ),
            (
                b'{"event":"e","signal":{"id":"s","signal_name":"n"},"x":1}',
                b'{"event":"e","signal":{"signal_name":"n","id":"s"},"x":1}',
            ),
        )
    ),
    ("json-numbers", b'{"a":87,"b":"87.0"}', b'{"a":87.0,"b":"87.0"}'),
    ("json-numbers", b'{"a":87.0,"b":1}', b'{"a":87,"b":1}'),
    ("json-numbers", b'{"a":1.50,"b":1.5}', b'{"a":1.5,"b":1.5}'),
    ("json-numbers", b'{"a":-200.0}', b'{"a":-2e2}'),
]

#: cause, the key that signed, the secret as it was given.
CHANGED_KEYS = [
    ("secret-white-space", KEY, KEY + b"\n"),
    ("secret-white-space", KEY, b" " + KEY + b"\r\n"),
    ("secret-newline", KEY + b"\n", KEY),
    ("secret-newline", KEY + b"\r\n", KEY),
    ("secret-quotes", KEY, b'"' + KEY + b'"'),
    ("secret-quotes", KEY, b"'" + KEY + b"'\n"),
    ("secret-quotes", b'"' + KEY + b'"', KEY),
    ("secret-assignment", KEY, b"ARK_SECRET=" + KEY),
    ("secret-assignment", KEY, b'export ARK_SECRET="' + KEY + b'"\n'),
    ("secret-base64", b"\x00\xfe\xff", b"AP7/"),
    ("secret-base64", b"\x00\xfe\xff", b"AP7_"),
    ("secret-base64", b"foobarbaz", KEY),
    ("secret-base64", base64.b64encode(b"plain text"), b"plain text"),
    ("secret-hex", b"\x00\xff\x10", b"00ff10"),
    ("secret-hex", b"00ff10", b"\x00\xff\x10"),
    ("secret-prefix", b"Zm9vYmFyYmF6", KEY),
    ("secret-prefix", KEY, b"Zm9vYmFyYmF6"),
    ("secret-case", KEY.upper(), KEY),
    ("secret-url-encoded", b"a+b/c=", b"a%2Bb%2Fc%3D"),
    ("secret-encoding", KEY, b"\xef\xbb\xbf" + KEY),
    ("secret-encoding", KEY.decode().encode("utf-16-le"), KEY),
    ("secret-encoding", "schlüssel".encode("latin-1"), "schlüssel".encode()),
    ("secret-encoding", "schlüssel".encode(), "schlüssel".encode("latin-1")),
]

RIGHT = sign(KEY, BODY)
DIGEST = bytes.fromhex(RIGHT)

#: cause, the signature's text.
CHANGED_SIGNATURES = [
    ("signature-base64", base64.b64encode(DIGEST).decode()),
    ("signature-base64", base64.urlsafe_b64encode(DIGEST).decode().rstrip("=")),
    ("signature-base64", "sha256=" + base64.b64encode(DIGEST).decode()),
    ("signature-base64", "X-SignalArk-Signature: " + base64.b64encode(DIGEST).decode()),
    ("signature-base64", base64.b64encode(RIGHT.encode()).decode()),
    ("signature-hex-twice", RIGHT.encode().hex()),
    ("signature-quotes", f'"{RIGHT}"'),
    ("signature-quotes", f"b'{RIGHT}'"),
    ("signature-quotes", f"<{RIGHT}>"),
    ("signature-prefix", f"v1={RIGHT}"),
    ("signature-prefix", f"sha256:{RIGHT}"),
    ("signature-prefix", f"sha256=sha256={RIGHT}"),
    ("signature-prefix", f"hmac-sha256 {RIGHT}"),
    ("signature-prefix", f"0x{RIGHT}"),
    ("signature-prefix", f"X-SignalArk-Signature: SHA-256={RIGHT}"),
    ("signature-one-of-several", f"{'0' * 64},{RIGHT}"),
    ("signature-one-of-several", f"{'0' * 64}; {RIGHT}"),
    ("signature-white-space", f"{RIGHT[:40]}\n {RIGHT[40:]}"),
    ("another-header", f"X-Hub-Signature-256: {RIGHT}"),
    ("another-header", f"x-hub-signature-256: sha256={RIGHT}"),
    ("hmac-sha1", hmac.new(KEY, BODY, "sha1").hexdigest()),
    ("hmac-sha512", hmac.new(KEY, BODY, "sha512").hexdigest()),
    ("hmac-sha384", hmac.new(KEY, BODY, "sha384").hexdigest()),
    ("hmac-sha224", hmac.new(KEY, BODY, "sha224").hexdigest()),
    ("signature-prefix+hmac-sha1", f"sha1={hmac.new(KEY, BODY, 'sha1').hexdigest()}"),
    ("plain-sha256", hashlib.sha256(BODY).hexdigest()),
    ("plain-sha1", hashlib.sha1(BODY).hexdigest()),
    ("plain-sha512", hashlib.sha512(BODY).hexdigest()),
    ("key-and-message-swapped", hmac.new(BODY, KEY, "sha256").hexdigest()),
    ("joined-not-hmac", hashlib.sha256(KEY + BODY).hexdigest()),
    ("joined-not-hmac", hashlib.sha256(BODY + KEY).hexdigest()),
    ("hashed-first", sign(KEY, hashlib.sha256(BODY).digest())),
    ("hashed-first", sign(KEY, hashlib.sha256(BODY).hexdigest().encode())),
]

#: cause, body, signature, secret: what nothing can undo, but anybody can see.
SEEN = [
    ("signature-missing", BODY, "", KEY),
    ("signature-missing", BODY, "X-SignalArk-Signature:  ", KEY),
    ("another-header", BODY, "X-SignalArk-Delivery: dlv_0123", KEY),
    ("signature-of-sha1-length", BODY, "0" * 40, KEY),
    ("signature-cut-off", BODY, "0" * 63, KEY),
    ("signature-cut-off", BODY, f"X-SignalArk-Signature: sha256={RIGHT[:20]}", KEY),
    ("secret-masked", BODY, RIGHT, b"***"),
    ("secret-unexpanded", BODY, RIGHT, b"$ARK_SECRET"),
    ("secret-unexpanded", BODY, RIGHT, b"${ARK_SECRET}"),
    ("secret-unexpanded", BODY, RIGHT, b"%ARK_SECRET%"),
    ("secret-unexpanded", BODY, RIGHT, b"env:ARK_SECRET"),
    ("body-empty", b"", RIGHT, KEY),
    ("body-cut-off", BODY[:-1], RIGHT, KEY),
    ("body-cut-off", BODY[:60], RIGHT, KEY),
    ("body-cut-off", b'{"a":"}', RIGHT, KEY),
    ("body-not-text", '{"a":"Zo\ufffd"}'.encode(), RIGHT, KEY),
    ("body-not-written-out", b"[object Object]", RIGHT, KEY),
    ("json-keys-sorted", b'{"a":1,"b":{"c":1,"d":2},"e":3}', RIGHT, KEY),
    ("json-laid-out", json.dumps({"z": 1, "a": 2}).encode(), RIGHT, KEY),
]


@pytest.mark.parametrize(("expected", "signed", "body"), CHANGED_BODIES)
def test_what_happened_to_a_body_is_named(expected: str, signed: bytes, body: bytes) -> None:
    assert cause(body, sign(KEY, signed)) == expected


@pytest.mark.parametrize(("expected", "key", "secret"), CHANGED_KEYS)
def test_what_happened_to_a_secret_is_named(expected: str, key: bytes, secret: bytes) -> None:
    assert cause(BODY, sign(key, BODY), secret) == expected


@pytest.mark.parametrize(("expected", "signature"), CHANGED_SIGNATURES)
def test_what_happened_to_a_signature_is_named(expected: str, signature: str) -> None:
    assert cause(BODY, signature) == expected


@pytest.mark.parametrize(("expected", "body", "signature", "secret"), SEEN)
def test_what_cannot_be_undone_is_named_by_its_looks(expected: str, body: bytes, signature: str, secret: bytes) -> None:
    assert cause(body, signature, secret) == expected


def test_every_rule_has_a_row() -> None:
    tables = (CHANGED_BODIES, CHANGED_KEYS, CHANGED_SIGNATURES, SEEN)
    named = {name for table in tables for row in table for name in str(row[0]).split("+")}
    rules = (*bodies.RULES, *keys.RULES, *signatures.RULES, *keys.DIGESTS)
    looks = (*bodies.LOOKS, *keys.LOOKS, *signatures.LOOKS)
    assert {rule.cause for rule in rules} | {look.cause for look in looks} <= named


@pytest.mark.parametrize(
    ("expected", "body", "signature", "secrets"),
    [
        ("crlf-line-ends+another-secret", PRETTY.replace(b"\n", b"\r\n"), sign(KEY, PRETTY), (b"new", KEY)),
        ("newline-added+signature-prefix", BODY + b"\n", f"v1={RIGHT}", (KEY,)),
        ("newline-added+signature-base64", BODY + b"\n", "sha256=" + base64.b64encode(DIGEST).decode(), (KEY,)),
        ("newline-added+secret-white-space", BODY + b"\n", RIGHT, (KEY + b"\n",)),
        ("newline-added+hmac-sha1", BODY + b"\n", hmac.new(KEY, BODY, "sha1").hexdigest(), (KEY,)),
        ("secret-white-space+hmac-sha512", BODY, hmac.new(KEY, BODY, "sha512").hexdigest(), (KEY + b"\n",)),
        (
            "byte-order-mark-added+crlf-line-ends",
            b"\xef\xbb\xbf" + PRETTY.replace(b"\n", b"\r\n"),
            sign(KEY, PRETTY),
            (),
        ),
        ("json-reserialised+json-numbers", b'{"a": 87, "b": 1.5}', sign(KEY, b'{"a":87.0,"b":1.5}'), (KEY,)),
        ("signature-quotes+signature-prefix", BODY, f'"v1={RIGHT}"', (KEY,)),
    ],
)
def test_two_causes_at_once_are_both_named(
    expected: str, body: bytes, signature: str, secrets: tuple[bytes, ...]
) -> None:
    found = explained(body, signature, *secrets)
    assert found is not None
    assert sorted(found.cause.split("+")) == sorted(expected.split("+"))
    assert len(found.text.splitlines()) == 2


def test_another_of_the_secrets_is_named_by_its_number_and_one_from_elsewhere_by_its_place() -> None:
    second = explained(BODY + b"\n", RIGHT, b"new", KEY)
    assert second is not None
    assert "secret number 2 of those given" in second.text
    stored = explain(BODY, RIGHT, [Secret("new")], {"the store's": Secret(KEY)})
    assert stored == Explanation(
        "another-secret", "It was signed with another secret than the one given: with the store's"
    )


def test_a_body_that_was_written_anew_is_told_how_it_differs() -> None:
    found = explained(json.dumps(TREE).encode(), sign(KEY, compact(TREE, ensure_ascii=False)))
    assert found is not None
    assert found.text.endswith(
        "It is spaced (as Python's json.dumps writes) here and was compact (as JSON.stringify writes) when it was"
        r" signed; it has \u escapes here only"
    )


def test_when_nothing_fits_nothing_is_claimed() -> None:
    assert explained(BODY, "0" * 64) is None
    assert explained(b"any bytes", sign(KEY, b"other bytes")) is None
    assert "Nothing that usually goes wrong fits" in NOTHING_FITS


def test_what_may_well_be_innocent_is_told_besides_what_to_check() -> None:
    found = explained(PRETTY, sign(b"quite another", PRETTY))
    assert found is not None
    checks, seen = found.text.split("\n")
    assert (found.cause, checks) == ("json-laid-out", f"{NOTHING_FITS}.")
    assert "if that sent it" in seen


@pytest.mark.parametrize(
    "make", [lambda size: b"\xff" * size, lambda size: b'{"a":[' + b'"/",' * (size // 4 - 3) + b"1]}"]
)
def test_a_body_of_the_largest_size_is_looked_into_and_no_larger_one(make: Callable[[int], bytes]) -> None:
    assert LARGEST == contract.MAX_BODY
    largest = make(LARGEST)
    assert len(largest) <= LARGEST
    assert cause(largest, sign(KEY, largest + b"\n")) == "newline-lost"
    assert cause(largest, sign(KEY, largest + b"\n"), b"new", KEY) == "newline-lost+another-secret"
    assert cause(b"\xff" * (LARGEST + 1), "0" * 64) == "body-too-large"


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"a":' * 50_000 + b"1" + b"}" * 50_000, b"'" * 9999, b"b'" + b"(" * 9999]
)
def test_a_body_that_is_nested_too_deeply_is_no_trouble(body: bytes) -> None:
    assert cause(body, "0" * 64) in (None, "body-cut-off")


@settings(max_examples=60)
@given(
    body=st.binary(max_size=60)
    | st.text(max_size=60).map(str.encode)
    | st.sampled_from([BODY, PRETTY, repr(BODY).encode()]),
    signature=st.text(max_size=80) | st.sampled_from([row[1] for row in CHANGED_SIGNATURES]),
    secrets=st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=2),
)
def test_whatever_is_given_there_is_an_explanation_or_none(body: bytes, signature: str, secrets: list[bytes]) -> None:
    found = explained(body, signature, *secrets)
    assert found is None or (found.cause and found.text)


@pytest.mark.parametrize("place", range(len(CHANGED_BODIES) + len(CHANGED_KEYS)))
def test_an_explanation_holds_neither_the_secret_nor_the_signature(place: int) -> None:
    rows = [
        *((body, sign(KEY, signed), KEY) for _, signed, body in CHANGED_BODIES),
        *((BODY, sign(key, BODY), secret) for _, key, secret in CHANGED_KEYS),
    ]
    body, signature, secret = rows[place]
    found = explained(body, signature, secret)
    assert found is not None
    for hidden in (signature, sign(secret, body), secret.decode("latin-1").strip(), KEY.decode()):
        assert hidden not in found.text


def test_the_documented_order_of_fields_is_that_of_the_types() -> None:
    kinds = (contract.Signal, contract.Account, contract.Engagement, *contract.EVENTS.values())
    for kind in kinds:
        places = [spellings.ORDER.index(field) for field in kind.__struct_fields__]
        assert places == sorted(places)


@pytest.mark.parametrize("event", contract.EVENTS)
def test_a_body_that_was_sent_is_found_again_after_every_way_of_writing_it_anew(event: str) -> None:
    signed = samples.sample(event, START)
    tree = json.loads(signed)
    for body in (json.dumps(tree), json.dumps(tree, indent=2) + "\n", json.dumps(tree, indent=4)):
        assert cause(body.encode(), sign(KEY, signed)) == "json-reserialised" if tree else True
