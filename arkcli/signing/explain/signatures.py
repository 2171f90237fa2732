"""Common mistakes with the text of a signature."""

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from arkcli.signing import SIGNATURE_HEADER
from arkcli.signing.explain.rules import Looks, Rule, Rules, Try, undone

RULES: Final = Rules()
LOOKS: Final = Looks()

_NAME: Final = SIGNATURE_HEADER.lower().encode()
#: A header line. `sha256:` and `v1:` are prefixes, not header names.
_HEADER: Final = re.compile(rb"\s*(?!(?i:sha|hmac|v)[\w-]*\d\s*:)([A-Za-z][A-Za-z0-9-]*)\s*:\s*(.*)", re.DOTALL)
#: A prefix. Other fields may precede it, with a value that is shorter than a digest, such as a time.
_PREFIX: Final = re.compile(rb"(?:\w+=[^=,;\s]{1,19}[,;]\s*)*(?:0x|[A-Za-z][\w.()-]{0,29}[=:, ]\s*)(.+)", re.DOTALL)
#: The sizes of the digests that are tried, in bytes: SHA-1 to SHA-512.
_SIZES: Final = frozenset((20, 28, 32, 48, 64))
_HEX: Final = re.compile(rb"[0-9a-fA-F]+")


class ClaimedDigest(NamedTuple):
    """A digest that a signature's text may mean, and the rules that were undone to read it."""

    digest: bytes
    why: tuple[Rule, ...]


@RULES.rule(
    "another-header",
    f"this line is another header: the value is right, but it belongs in {SIGNATURE_HEADER}",
)
def _of_another_header(text: bytes) -> Iterator[bytes]:
    match = _HEADER.fullmatch(text)
    if match and match[1].lower() != _NAME:
        yield match[2]


@RULES.rule(
    "signature-quotes",
    "the signature has quotes or brackets around it: compare it without them",
)
def _unquoted(text: bytes) -> Iterator[bytes]:
    inner = text.strip().removeprefix(b"b").strip(b"\"'`<>[](){}")
    if inner != text.strip():
        yield inner


@RULES.rule(
    "signature-prefix",
    "the signature has something in front of it: one `sha256=` is accepted; remove anything else",
)
def _without_prefix(text: bytes) -> Iterator[bytes]:
    if match := _PREFIX.fullmatch(text.strip().removeprefix(b"sha256=")):
        yield match[1]


@RULES.rule(
    "signature-one-of-several",
    "the text has several signatures, and one of them matches: compare each of them",
)
def _one_of_several(text: bytes) -> Iterator[bytes]:
    yield from [part for part in re.split(rb"[,;=\s]+", text) if len(part) >= min(_SIZES)][:8]


@RULES.rule(
    "signature-white-space",
    "the signature contains white space or a line break: it was wrapped when it was copied or written",
)
def _joined(text: bytes) -> Iterator[bytes]:
    if len(text.split()) > 1:
        yield b"".join(text.split())


_BASE64: Final = Rule(
    "signature-base64",
    f"the signature is written in base64: {SIGNATURE_HEADER} is lowercase hex, 64 digits",
)
_BASE64_OF_HEX: Final = Rule(
    "signature-base64",
    f"the signature is the base64 of its own hex digits, encoded twice: {SIGNATURE_HEADER} is the hex alone",
)
_DOUBLE_HEX: Final = Rule(
    "signature-hex-twice",
    f"the signature is the hex of its own hex digits, encoded twice: {SIGNATURE_HEADER} is the hex alone",
)


def claims(signature: str) -> list[ClaimedDigest]:
    """All digests that the text may mean, the plainest reading first."""
    given = Try(_value(signature.encode("utf-8", "replace")))
    once = list(undone(RULES, [given]))
    found: dict[bytes, ClaimedDigest] = {}
    for reading in (given, *once, *undone(RULES, once)):
        for digest, how in _digests(re.sub(rb"^(?i:sha256=)", b"", _value(reading.value))):
            if len(digest) in _SIZES:
                found.setdefault(digest, ClaimedDigest(digest, (*reading.why, *how)))
    return list(found.values())


def _value(text: bytes) -> bytes:
    """The value if the text is a line of the signature's own header, else the whole text."""
    match = _HEADER.fullmatch(text)
    return (match[2] if match and match[1].lower() == _NAME else text).strip()


def _digests(text: bytes) -> Iterator[tuple[bytes, tuple[Rule, ...]]]:
    if len(text) > 400:
        return
    if _HEX.fullmatch(text) and len(text) % 2 == 0:
        digest = binascii.unhexlify(text)
        yield digest, ()
        if _HEX.fullmatch(digest) and len(digest) % 2 == 0:
            yield binascii.unhexlify(digest), (_DOUBLE_HEX,)
    bare = text.translate(bytes.maketrans(b"-_", b"+/")).rstrip(b"=")
    try:
        decoded = base64.b64decode(bare + b"=" * (-len(bare) % 4), validate=True)
    except binascii.Error:
        return
    yield decoded, (_BASE64,)
    if _HEX.fullmatch(decoded) and len(decoded) % 2 == 0:
        yield binascii.unhexlify(decoded), (_BASE64_OF_HEX,)


@LOOKS.look(
    "signature-missing",
    f"there is no signature: the request had no {SIGNATURE_HEADER}, a proxy removed it, or the variable is empty",
)
def _missing(text: bytes) -> bool:
    match = _HEADER.fullmatch(text)
    return not (match[2] if match else text).strip()


@LOOKS.look(
    "another-header",
    f"this line is another header: give the value of {SIGNATURE_HEADER}",
)
def _another(text: bytes) -> bool:
    match = _HEADER.fullmatch(text)
    return match is not None and match[1].lower() != _NAME


@LOOKS.look(
    "signature-of-sha1-length",
    "the signature is as long as a SHA-1, 40 hex digits: an HMAC-SHA256 has 64",
)
def _as_long_as_sha1(text: bytes) -> bool:
    return len(_hex_digits(text)) == 40


@LOOKS.look(
    "signature-cut-off",
    "the signature has fewer than 64 hex digits: it was cut off, perhaps by copying or by a database column that is "
    "too short",
)
def _cut_off(text: bytes) -> bool:
    return 8 <= len(_hex_digits(text)) < 64


def _hex_digits(text: bytes) -> bytes:
    value = re.split(rb"[=:\s]+", text.strip())[-1]
    return value if _HEX.fullmatch(value) else b""
