"""What usually goes wrong with a secret, and with how it is used."""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from arkcli.explain.rules import Looks, Rules
from arkcli.signing import SIGNATURE_HEADER

RULES: Final = Rules()
LOOKS: Final = Looks()

_ASSIGNED: Final = re.compile(rb"\s*(?:export\s+)?[A-Za-z_][A-Za-z0-9_.]*\s*[=:]\s*(.+)", re.DOTALL)
_UNEXPANDED: Final = re.compile(rb"\$\{?[A-Za-z_]\w*\}?|%[A-Za-z_]\w*%|\{\{.*\}\}|(?:env|file):.+")


@RULES.rule(
    "secret-white-space",
    "the secret has white space or a newline round it here, and had none where the body was signed: strip it after"
    " reading it from a file or a variable",
)
def _stripped(secret: bytes) -> Iterator[bytes]:
    if secret.strip() != secret:
        yield secret.strip()


@RULES.rule(
    "secret-newline",
    "the secret had a newline at its end where the body was signed, and has none here: `echo` put one into the file"
    " or the prompt it was set from; set it there with `printf %s`",
)
def _with_newline(secret: bytes) -> Iterator[bytes]:
    yield from (secret + b"\n", secret + b"\r\n")


@RULES.rule(
    "secret-quotes",
    "the secret has quotes round it on one side and none on the other: Docker's --env-file and some .env readers keep"
    " them; the quotes are no part of the secret",
)
def _unquoted(secret: bytes) -> Iterator[bytes]:
    inner = secret.strip()
    if len(inner) > 2 and inner[:1] == inner[-1:] and inner[:1] in b"\"'`":
        yield inner[1:-1]
    yield from (b'"' + secret + b'"', b"'" + secret + b"'")


@RULES.rule(
    "secret-assignment",
    "the secret was given as a whole line of settings, NAME=VALUE: only what stands behind the = is the secret",
)
def _assigned(secret: bytes) -> Iterator[bytes]:
    if match := _ASSIGNED.fullmatch(secret):
        value = match[1].strip()
        yield from (value, value.strip(b"\"'"))


@RULES.rule(
    "secret-base64",
    "one side decodes the secret from base64 and the other takes its characters: the characters, as they are shown,"
    " are the key",
)
def _base64(secret: bytes) -> Iterator[bytes]:
    yield from (base64.b64encode(secret), base64.urlsafe_b64encode(secret).rstrip(b"="))
    bare = secret.removeprefix(b"whsec_")
    for alphabet in (b"+/", b"-_"):
        try:
            yield base64.b64decode(bare + b"=" * (-len(bare) % 4), altchars=alphabet, validate=True)
        except binascii.Error:
            continue


@RULES.rule(
    "secret-hex",
    "one side decodes the secret from hex and the other takes its characters: the characters, as they are shown, are"
    " the key",
)
def _hex(secret: bytes) -> Iterator[bytes]:
    yield from (secret.hex().encode(), secret.hex().upper().encode())
    try:
        yield binascii.unhexlify(secret)
    except binascii.Error:
        return


@RULES.rule(
    "secret-prefix",
    "the secret's prefix up to the first _ was left out on one side: the whole text is the key",
)
def _without_prefix(secret: bytes) -> Iterator[bytes]:
    _, underscore, rest = secret.partition(b"_")
    if underscore:
        yield rest
    yield b"whsec_" + secret


@RULES.rule("secret-case", "the secret is in upper case on one side and in lower case on the other: take it as it is")
def _other_case(secret: bytes) -> Iterator[bytes]:
    yield from (secret.lower(), secret.upper())


@RULES.rule(
    "secret-url-encoded",
    "the secret is URL-encoded on one side: its own characters are the key, not their %-escapes",
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
    "the secret given is a row of asterisks, which is how a secret is hidden: `ark secret show --reveal` shows it",
)
def _masked(secret: bytes) -> bool:
    return not secret.strip(b"*\xe2\x80\xa2 ")


@LOOKS.look(
    "secret-unexpanded",
    "the secret given looks like the name of a variable or a file, not like its value: did the shell expand it (single"
    " quotes keep $NAME as it stands), is the variable set?",
)
def _unexpanded(secret: bytes) -> bool:
    return _UNEXPANDED.fullmatch(secret.strip()) is not None


class Digest(NamedTuple):
    """A way to make a signature of a key and a body that is not the one that was agreed on."""

    cause: str
    says: str
    make: Callable[[bytes, bytes], bytes]


def sha256(key: bytes, body: bytes) -> bytes:
    """What was agreed on: HMAC-SHA256 (contract, "Requests")."""
    return hmac.digest(key, body, "sha256")


_AGREED: Final = f"{SIGNATURE_HEADER} is HMAC-SHA256 with the secret as the key and the raw body as the message"


def _hmac_with(name: str) -> Digest:
    said = f"the signature is an HMAC with {name.upper()}: {_AGREED}"
    return Digest(f"hmac-{name}", said, lambda key, body: hmac.digest(key, body, name))


def _plain(name: str) -> Digest:
    said = f"the signature is the plain {name.upper()} of the body, which anybody can make: {_AGREED}"
    return Digest(f"plain-{name}", said, lambda _, body: hashlib.new(name, body).digest())


DIGESTS: Final = (
    *map(_hmac_with, ("sha1", "sha512", "sha384", "sha224")),
    *map(_plain, ("sha256", "sha1", "sha512")),
    Digest(
        "key-and-message-swapped",
        f"the body was taken as the key and the secret as the message: {_AGREED}",
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
