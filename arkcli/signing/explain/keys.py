"""Common mistakes with a secret and its use."""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from arkcli.signing import SIGNATURE_HEADER
from arkcli.signing.explain.rules import Look, Looks, Rules

RULES: Final = Rules()
LOOKS: Final = Looks()

_ASSIGNED: Final = re.compile(rb"\s*(?:export\s+)?[A-Za-z_][A-Za-z0-9_.]*\s*[=:]\s*(.+)", re.DOTALL)
_UNEXPANDED: Final = re.compile(rb"\$\{?[A-Za-z_]\w*\}?|%[A-Za-z_]\w*%|\{\{.*\}\}|(?:env|file):.+")


@RULES.rule(
    "secret-white-space",
    "the secret has white space or a newline at its beginning or end here, and had none when the body was signed: "
    "strip it after reading it from a file or a variable",
)
def _stripped(secret: bytes) -> Iterator[bytes]:
    if secret.strip() != secret:
        yield secret.strip()


@RULES.rule(
    "secret-newline",
    "the secret ended in a newline when the body was signed, and does not here: `echo` adds one; set the secret there "
    "with `printf %s`",
)
def _with_newline(secret: bytes) -> Iterator[bytes]:
    yield from (secret + b"\n", secret + b"\r\n")


@RULES.rule(
    "secret-quotes",
    "the secret has quotes around it on one side only: Docker's --env-file and some .env readers keep them; the "
    "quotes are not part of the secret",
)
def _unquoted(secret: bytes) -> Iterator[bytes]:
    inner = secret.strip()
    if len(inner) > 2 and inner[:1] == inner[-1:] and inner[:1] in b"\"'`":
        yield inner[1:-1]
    yield from (b'"' + secret + b'"', b"'" + secret + b"'")


@RULES.rule(
    "secret-assignment",
    "the secret was given as NAME=VALUE: only the part after the = is the secret",
)
def _assigned(secret: bytes) -> Iterator[bytes]:
    if match := _ASSIGNED.fullmatch(secret):
        value = match[1].strip()
        yield from (value, value.strip(b"\"'"))


@RULES.rule(
    "secret-base64",
    "one side decodes the secret from base64 and the other does not: use its characters, as shown, as the key",
)
def _base64(secret: bytes) -> Iterator[bytes]:
    yield from (base64.b64encode(secret), base64.urlsafe_b64encode(secret).rstrip(b"="))
    bare = secret.removeprefix(b"whsec_")
    for alphabet in (b"+/", b"-_"):
        with suppress(binascii.Error):
            yield base64.b64decode(bare + b"=" * (-len(bare) % 4), altchars=alphabet, validate=True)


@RULES.rule(
    "secret-hex",
    "one side decodes the secret from hex and the other does not: use its characters, as shown, as the key",
)
def _hex(secret: bytes) -> Iterator[bytes]:
    yield from (secret.hex().encode(), secret.hex().upper().encode())
    with suppress(binascii.Error):
        yield binascii.unhexlify(secret)


@RULES.rule(
    "secret-prefix",
    "the secret's prefix up to the first _ was left out on one side: use the whole secret as the key",
)
def _without_prefix(secret: bytes) -> Iterator[bytes]:
    _, underscore, rest = secret.partition(b"_")
    if underscore:
        yield rest
    yield b"whsec_" + secret


@RULES.rule("secret-case", "the secret is in upper case on one side and in lower case on the other: use it unchanged")
def _other_case(secret: bytes) -> Iterator[bytes]:
    yield from (secret.lower(), secret.upper())


@RULES.rule(
    "secret-url-encoded",
    "the secret is URL-encoded on one side: use its own characters as the key, not their %-escapes",
)
def _url_decoded(secret: bytes) -> Iterator[bytes]:
    if b"%" in secret:
        yield unquote_to_bytes(secret)


@RULES.rule(
    "secret-encoding",
    "the secret's characters were turned into bytes in another encoding, or with a byte-order mark: its UTF-8 bytes"
    " are the key",
)
def _other_encoding(secret: bytes) -> Iterator[bytes]:
    yield secret.removeprefix(b"\xef\xbb\xbf")
    try:
        text = secret.decode()
    except UnicodeDecodeError:
        yield secret.decode("latin-1").encode()
        return
    yield from (text.encode("utf-16-le"), text.encode("utf-16-be"), text.encode("utf-16"))
    yield b"\xef\xbb\xbf" + secret
    if not text.isascii():
        yield text.encode("latin-1", "replace")


@LOOKS.look(
    "secret-masked",
    "the secret given is asterisks, which hide a real secret: `ark secret show --reveal` shows it",
)
def _masked(secret: bytes) -> bool:
    return not secret.strip(b"*\xe2\x80\xa2 ")


@LOOKS.look(
    "secret-unexpanded",
    "the secret given looks like the name of a variable or a file, not like its value: check that the variable is set "
    "and that the shell expanded it (single quotes prevent that)",
)
def _unexpanded(secret: bytes) -> bool:
    return _UNEXPANDED.fullmatch(secret.strip()) is not None


class Digest(NamedTuple):
    """A way to make a signature from a key and a body, usually a wrong one."""

    cause: str
    says: str
    make: Callable[[bytes, bytes], bytes]


def sha256(key: bytes, body: bytes) -> bytes:
    """The correct digest: HMAC-SHA256 (contract, "Requests")."""
    return hmac.digest(key, body, "sha256")


_AGREED: Final = f"{SIGNATURE_HEADER} is HMAC-SHA256 with the secret as the key and the raw body as the message"


def _hmac_with(name: str) -> Digest:
    said = f"the signature is an HMAC with {name.upper()}: {_AGREED}"
    return Digest(f"hmac-{name}", said, lambda key, body: hmac.digest(key, body, name))


def _plain(name: str) -> Digest:
    said = f"the signature is the plain {name.upper()} of the body, which needs no secret: {_AGREED}"
    return Digest(f"plain-{name}", said, lambda _, body: hashlib.new(name, body).digest())


DIGESTS: Final = (
    *map(_hmac_with, ("sha1", "sha512", "sha384", "sha224")),
    *map(_plain, ("sha256", "sha1", "sha512")),
    Digest(
        "key-and-message-swapped",
        f"the body was used as the key and the secret as the message: {_AGREED}",
        lambda key, body: hmac.digest(body, key, "sha256"),
    ),
    Digest(
        "joined-not-hmac",
        f"the signature is the plain SHA-256 of the secret and the body joined: {_AGREED}",
        lambda key, body: hashlib.sha256(key + body).digest(),
    ),
    Digest(
        "joined-not-hmac",
        f"the signature is the plain SHA-256 of the body and the secret joined: {_AGREED}",
        lambda key, body: hashlib.sha256(body + key).digest(),
    ),
    Digest(
        "hashed-first",
        f"the body was hashed first, and the hash (in hex) was signed: {_AGREED}",
        lambda key, body: sha256(key, hashlib.sha256(body).hexdigest().encode()),
    ),
    Digest(
        "hashed-first",
        f"the body was hashed first, and the hash was signed: {_AGREED}",
        lambda key, body: sha256(key, hashlib.sha256(body).digest()),
    ),
)


_HEX: Final = r"[0-9a-f]{64}\b"
_BASE64: Final = r"[a-z0-9+/]{43}="
#: Other senders' schemes: the name, the header's format, and what its HMAC-SHA256 covers.
SCHEMES: Final = (
    ("Stripe", rf"\bt=\d+,\s*v\d={_HEX}", "time.body"),
    ("Paddle", rf"\bts=\d+;h1={_HEX}", "time:body"),
    ("Slack", rf"\bv0={_HEX}", "v0:time:body"),
    ("Standard Webhooks", rf"\bv1,{_BASE64}", "id.time.body"),
    ("GitHub", rf"\bx-hub-signature-256:\s*sha256={_HEX}", "body"),
    ("Twitch", rf"\btwitch-eventsub-message-signature:\s*sha256={_HEX}", "idtimebody"),
    ("Shopify", rf"\bx-shopify-hmac-sha256:\s*{_BASE64}", "body"),
)
#: Where headers contain values that are signed together with the body.
_PARTS: Final = {"time": r"(?:\bts?=|\btimestamp:\s*)([^\s,;]+)", "id": r"\b(?:webhook|svix|message)-id:\s*([^\s,;]+)"}


def schemes(headers: str) -> tuple[list[Digest], list[Look]]:
    """Recognises another sender's scheme in headers (a value, or lines): how it signs, and what to tell the user if
    that does not match.
    """
    name, signs = next(((name, signs) for name, form, signs in SCHEMES if re.search(form, headers, re.I)), ("", ""))
    if not name:
        return [], []
    parts = {part: re.search(where, headers, re.I) for part, where in _PARTS.items() if part in signs}
    held = {part: match[1].encode("utf-8", "replace") for part, match in parts.items() if match}

    def make(key: bytes, body: bytes) -> bytes:
        pieces = re.split("(time|id|body)", signs)
        return sha256(key, b"".join({**held, "body": body}.get(piece, piece.encode()) for piece in pieces))

    missing = " and ".join(part for part in parts if part not in held)
    lacks = f"; also give the header lines of the {missing} to check it" if missing else ", but does not match as such"
    kind = f"the signature is in the format of {name}, an HMAC-SHA256 of `{signs}`"
    ours = f"{SIGNATURE_HEADER} is that of the body alone, in hex"
    cause = name.lower().replace(" ", "-")
    fits = Digest(f"signed-as-{cause}", f"{kind}, and matches as such. {ours}", make)
    return [fits] if not missing else [], [Look(f"looks-like-{cause}", f"{kind}{lacks}. {ours}", bool)]
