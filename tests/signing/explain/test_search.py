"""Explanations of a mismatch: a row for every rule, two causes at once, and what an explanation never contains."""

import base64
import hashlib
import hmac
import json
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arkcli.contract import samples
from arkcli.contract.events import EVENTS, MAX_BODY, Account, Engagement, Signal
from arkcli.signing import Secret, sign
from arkcli.signing.explain import bodies, keys, signatures, spellings
from arkcli.signing.explain.search import LARGEST, NOTHING_FITS, Explanation, explain
from tests.world import START

KEY = b"whsec_Zm9vYmFyYmF6"
#: With characters beyond ASCII, slashes, a fraction, and keys in an order that no library would choose.
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


#: With characters that exist in one charset but not in another.
TEXT = '{"event":"ping","text":"Zoë € 日本 🚀"}'

#: Characters that each platform writes differently in JSON. Here ␡ is U+007F, and ␤ is U+2028.
WRITTEN = "</a> \"&'+=`␡é␤🚀\x1f\n"
#: The platform, and how it writes them according to its documentation or source.
ESCAPED = {
    "JavaScript": r"""</a> \"&'+=`␡é␤🚀\u001f\n""",
    "Python": r"""</a> \"&'+=`\u007f\u00e9\u2028\ud83d\ude80\u001f\n""",
    "PHP": r"""<\/a> \"&'+=`␡\u00e9\u2028\ud83d\ude80\u001f\n""",
    "PHP with JSON_UNESCAPED_UNICODE": r"""<\/a> \"&'+=`␡é\u2028🚀\u001f\n""",
    "Swift": r"""<\/a> \"&'+=`␡é␤🚀\u001f\n""",
    "Go and Rails": r"""\u003c/a\u003e \"\u0026'+=`␡é\u2028🚀\u001f\n""",
    "Go without SetEscapeHTML": r"""</a> \"&'+=`␡é\u2028🚀\u001f\n""",
    "System.Text.Json (.NET)": r"\u003C/a\u003E \u0022\u0026\u0027\u002B=\u0060\u007F\u00E9\u2028\uD83D\uDE80\u001F\n",
    ".NET's UnsafeRelaxedJsonEscaping": r"""</a> \"&'+=`\u007Fé\u2028\uD83D\uDE80\u001F\n""",
    "Symfony and Laravel (PHP)": r"""\u003C\/a\u003E \u0022\u0026\u0027+=`␡\u00e9\u2028\ud83d\ude80\u001f\n""",
    "Gson (Java)": r"""\u003c/a\u003e \"\u0026\u0027+\u003d`␡é\u2028🚀\u001f\n""",
    "Jackson (Java)": r"""</a> \"&'+=`␡é␤🚀\u001F\n""",
    "Jackson (Java) with ESCAPE_NON_ASCII": r"""</a> \"&'+=`␡\u00E9\u2028\uD83D\uDE80\u001F\n""",
}

#: cause, the signed body, the body after the mistake.
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
    ("latin-1", TEXT.encode().decode("latin-1").encode(), TEXT.encode()),
    ("hashed-as-ascii", TEXT.encode("ascii", "replace"), TEXT.encode()),
    ("hashed-as-ascii", TEXT.replace("🚀", "??").encode("ascii", "replace"), TEXT.encode()),
    ("hashed-as-latin-1", TEXT.encode("latin-1", "replace"), TEXT.encode()),
    ("hashed-as-latin-1", TEXT.replace("🚀", "??").encode("latin-1", "replace"), TEXT.encode()),
    ("hashed-as-latin-1", TEXT.encode("cp1252", "replace"), TEXT.encode()),
    ("hashed-as-latin-1", TEXT.encode("utf-16-le")[::2], TEXT.encode()),
    *(("hashed-as-utf-16", BODY.decode().encode(codec), BODY) for codec in ("utf-16", "utf-16-le", "utf-16-be")),
    ("hashed-as-utf-16", b'{"a":1}'.decode().encode("utf-16-le"), b'{"a":1}'),
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

#: cause, the key that signed, the secret as given.
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

#: Header lines as each sender writes them (signed with KEY), and what is signed (%b is BODY).
SCHEMES = {
    "stripe": ("t=1700000000,v1={hex}", b"1700000000.%b"),
    "paddle": ("Paddle-Signature: ts=1700000000;h1={hex}", b"1700000000:%b"),
    "slack": ("X-Slack-Signature: v0={hex}\nX-Slack-Request-Timestamp: 1700000000", b"v0:1700000000:%b"),
    "standard-webhooks": (
        "webhook-id: msg_1\nwebhook-timestamp: 1700000000\nwebhook-signature: v1,{base64} v1,{other}",
        b"msg_1.1700000000.%b",
    ),
    "github": ("X-Hub-Signature-256: sha256={hex}", b"%b"),
    "twitch": (
        "Twitch-Eventsub-Message-Id: e-1\nTwitch-Eventsub-Message-Timestamp: 2026-01-01T00:00:00.5Z\n"
        "Twitch-Eventsub-Message-Signature: sha256={hex}",
        b"e-12026-01-01T00:00:00.5Z%b",
    ),
    "shopify": ("X-Shopify-Hmac-Sha256: {base64}", b"%b"),
}

#: Standard Webhooks with all its headers is not another sender's: tests/signing/explain/test_webhooks.py.
OTHERS = [name for name in SCHEMES if name != "standard-webhooks"]


def signed_as(name: str, key: bytes = KEY, body: bytes = BODY) -> str:
    form, signs = SCHEMES[name]
    digest = hmac.digest(key, signs.replace(b"%b", body), "sha256")
    return form.format(
        hex=digest.hex(), base64=base64.b64encode(digest).decode(), other=base64.b64encode(bytes(32)).decode()
    )


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
    ("signature-prefix", f"t=1700000000,v1={RIGHT}"),
    ("signature-prefix", f"keyId=a; algorithm=hmac-sha256; signature={RIGHT}"),
    ("signature-one-of-several", f"t=1700000000,v1={'0' * 64},v1={RIGHT}"),
    ("signature-prefix", f"sha256:{RIGHT}"),
    ("signature-prefix", f"sha256=sha256={RIGHT}"),
    ("signature-prefix", f"hmac-sha256 {RIGHT}"),
    ("signature-prefix", f"0x{RIGHT}"),
    ("signature-prefix", f"X-SignalArk-Signature: SHA-256={RIGHT}"),
    ("signature-one-of-several", f"{'0' * 64},{RIGHT}"),
    ("signature-one-of-several", f"{'0' * 64}; {RIGHT}"),
    ("signature-white-space", f"{RIGHT[:40]}\n {RIGHT[40:]}"),
    ("another-header", f"X-Hub-Signature-256: {RIGHT}"),
    ("another-header", f"x-signature: sha256={RIGHT}"),
    *((f"signed-as-{name}", signed_as(name)) for name in OTHERS),
    ("signed-as-stripe", f"Stripe-Signature: t=1700000000,v1={'0' * 64},{signed_as('stripe')[13:]},v0={'1' * 64}"),
    ("signature-prefix", f"v0={RIGHT}"),
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

#: cause, body, signature, secret: mistakes that can be seen but not undone.
SEEN = [
    *((f"looks-like-{name}", BODY, signed_as(name), b"another") for name in OTHERS),
    ("looks-like-slack", BODY, signed_as("slack").split("\n")[0], KEY),
    ("looks-like-standard-webhooks", BODY, signed_as("standard-webhooks").split("signature: ")[1], KEY),
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
    assert {name.lower().replace(" ", "-") for name, _, _ in keys.SCHEMES} == SCHEMES.keys()
    assert spellings.STRINGS.keys() == ESCAPED.keys()


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
        ("newline-added+signed-as-stripe", BODY + b"\n", signed_as("stripe"), (KEY,)),
        ("another-secret+signed-as-slack", BODY, signed_as("slack"), (b"new", KEY)),
        ("hashed-as-ascii+newline-added", TEXT.encode() + b"\n", sign(KEY, TEXT.encode("ascii", "replace")), (KEY,)),
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
    stored = explain(BODY, RIGHT, [Secret("new")], {"the shared secret": Secret(KEY)})
    assert stored == Explanation(
        "another-secret", "It was signed with a different secret from the one given: the shared secret"
    )


def test_a_body_that_was_written_anew_is_told_how_it_differs() -> None:
    found = explained(json.dumps(TREE).encode(), sign(KEY, compact(TREE, ensure_ascii=False)))
    assert found is not None
    assert found.text.endswith(
        "It is spaced (as Python's json.dumps writes) here and was compact (as JSON.stringify writes) when signed; "
        "the signed body has its strings as JavaScript writes them"
    )


@pytest.mark.parametrize("name", ESCAPED)
def test_a_body_whose_strings_a_platform_escaped_in_its_way_is_told_by_whom(name: str) -> None:
    written, escaped = (text.replace("␡", "\x7f").replace("␤", "\u2028") for text in (WRITTEN, ESCAPED[name]))
    assert json.loads(f'"{escaped}"') == written
    signed = f'{{"z":"{escaped}","a":1}}'.encode()
    found = explained(
        json.dumps({"z": written, "a": 1}, indent=4, ensure_ascii=name == "JavaScript").encode(), sign(KEY, signed)
    )
    assert found is not None
    assert found.cause == "json-reserialised"
    assert found.text.endswith(f"; the signed body has its strings as {name} writes them")


def test_what_a_scheme_signs_is_told_and_what_is_missing_to_check_it() -> None:
    fits, lacks = explained(BODY, signed_as("slack")), explained(BODY, signed_as("slack").split("\n")[0])
    wrong = explained(BODY, signed_as("slack"), b"another")
    assert fits is not None and lacks is not None and wrong is not None
    assert "format of Slack, an HMAC-SHA256 of `v0:time:body`, and matches as such" in fits.text
    assert "also give the header lines of the time" in lacks.text
    assert "but does not match as such" in wrong.text


def test_when_nothing_fits_nothing_is_claimed() -> None:
    assert explained(BODY, "0" * 64) is None
    assert explained(b"any bytes", sign(KEY, b"other bytes")) is None
    assert "None of the usual causes matches" in NOTHING_FITS


def test_what_may_well_be_innocent_is_told_besides_what_to_check() -> None:
    found = explained(PRETTY, sign(b"quite another", PRETTY))
    assert found is not None
    checks, seen = found.text.split("\n")
    assert (found.cause, checks) == ("json-laid-out", f"{NOTHING_FITS}.")
    assert "otherwise it was parsed" in seen


@pytest.mark.parametrize(
    "make", [lambda size: b"\xff" * size, lambda size: b'{"a":[' + b'"/",' * (size // 4 - 3) + b"1]}"]
)
def test_a_body_of_the_largest_size_is_looked_into_and_no_larger_one(make: Callable[[int], bytes]) -> None:
    assert LARGEST == MAX_BODY
    largest = make(LARGEST)
    assert len(largest) <= LARGEST
    assert cause(largest, sign(KEY, largest + b"\n")) == "newline-lost"
    assert cause(largest, sign(KEY, largest + b"\n"), b"new", KEY) == "newline-lost+another-secret"
    assert cause(b"\xff" * (LARGEST + 1), "0" * 64) == "body-too-large"


@pytest.mark.parametrize(
    ("text", "count"),
    [("".join(map(chr, range(0x20, 0x5000))), 1), ("ké<&/\u2028'🚀", 4_000)],
)
def test_the_work_does_not_depend_on_which_characters_a_body_has(text: str, count: int) -> None:
    """The work is counted, not timed."""
    body = compact({f"{text}{number}": number for number in range(count)}, ensure_ascii=False)
    calls, before = 0, sys.getprofile()

    def counted(_: object, what: str, __: object) -> None:
        nonlocal calls
        calls += what in ("call", "c_call")

    sys.setprofile(counted)
    try:
        explain(body, "0" * 64, [Secret(KEY)])
    finally:
        sys.setprofile(before)
    assert calls < 12 * len(body)


@pytest.mark.parametrize("text", ["]" * 200, '\\"[' * 200, "[" * 200])
def test_brackets_in_a_string_are_no_nesting(text: str) -> None:
    body = compact({"a": 5, "text": f"x{text}"})
    assert cause(json.dumps(json.loads(body), indent=2).encode(), sign(KEY, body)) == "json-reserialised"


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


@pytest.mark.parametrize("place", range(len(CHANGED_BODIES) + len(CHANGED_KEYS) + 3 * len(OTHERS)))
def test_an_explanation_holds_neither_the_secret_nor_the_signature(place: int) -> None:
    rows = [
        *((body, sign(KEY, signed), KEY) for _, signed, body in CHANGED_BODIES),
        *((BODY, sign(key, BODY), secret) for _, key, secret in CHANGED_KEYS),
        *((BODY, signed_as(name, key), KEY) for name in OTHERS for key in (KEY, b"another", b"foobarbaz")),
    ]
    body, signature, secret = rows[place]
    found = explained(body, signature, secret)
    assert found is not None
    for hidden in (signature, sign(secret, body), secret.decode("latin-1").strip(), KEY.decode()):
        assert hidden not in found.text


def test_the_documented_order_of_fields_is_that_of_the_types() -> None:
    kinds = (Signal, Account, Engagement, *EVENTS.values())
    for kind in kinds:
        places = [spellings.ORDER.index(field) for field in kind.__struct_fields__]
        assert places == sorted(places)


@pytest.mark.parametrize("event", EVENTS)
def test_a_body_that_was_sent_is_found_again_after_every_way_of_writing_it_anew(event: str) -> None:
    signed = samples.sample(event, START)
    tree = json.loads(signed)
    for body in (json.dumps(tree), json.dumps(tree, indent=2) + "\n", json.dumps(tree, indent=4)):
        assert cause(body.encode(), sign(KEY, signed)) == "json-reserialised" if tree else True
