"""Signatures: the published vectors, what a verifier accepts and rejects, and that a secret is never shown."""

import re
import shutil
import subprocess
import traceback
from collections.abc import Callable, Iterator
from importlib import resources
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from arkcli.signing import SIGNATURE_HEADER, Secret, normalized, sign, verify

SECRET = "hunter2-signing"
BODY = b'{"event":"ping"}'
SIGNATURE = sign(SECRET, BODY)

#: RFC 4231, section 4: number, key, data, HMAC-SHA-256. Its fifth result is cut to 128 bits.
RFC_4231 = [
    (1, b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
    (
        2,
        b"Jefe",
        b"what do ya want for nothing?",
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    ),
    (3, b"\xaa" * 20, b"\xdd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
    (4, bytes(range(1, 26)), b"\xcd" * 50, "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
    (5, b"\x0c" * 20, b"Test With Truncation", "a3b6167473100ee06e0c796c2955552b"),
    (
        6,
        b"\xaa" * 131,
        b"Test Using Larger Than Block-Size Key - Hash Key First",
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
    ),
    (
        7,
        b"\xaa" * 131,
        b"This is a test using a larger than block-size key and a larger than block-size data. "
        b"The key needs to be hashed before being used by the HMAC algorithm.",
        "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
    ),
]

#: What a verifier accepts (contract, "Requests"), written independently of the code.
WELL_FORMED = re.compile(
    r"[ \t\r\n]*(?:X-SignalArk-Signature[ \t]*:[ \t]*)?(?:sha256=)?([0-9a-f]{64})[ \t\r\n]*", re.ASCII | re.IGNORECASE
)


@pytest.mark.parametrize(("key", "data", "expected"), [row[1:] for row in RFC_4231], ids=[row[0] for row in RFC_4231])
def test_a_signature_is_the_hmac_sha_256_of_rfc_4231(key: bytes, data: bytes, expected: str) -> None:
    assert sign(key, data)[: len(expected)] == expected


@settings(max_examples=10, deadline=None)
@given(key=st.from_regex(r"[A-Za-z0-9_]{1,80}", fullmatch=True), body=st.binary(max_size=5000))
def test_a_signature_is_what_openssl_makes_of_the_same_bytes(key: str, body: bytes) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    said = subprocess.run([openssl, "dgst", "-sha256", "-hmac", key], input=body, capture_output=True, check=True)
    assert said.stdout.decode().split("= ")[1].strip() == sign(key, body)


@settings(deadline=None)
@given(key=st.binary(min_size=1), body=st.binary())
def test_a_signature_is_64_lowercase_hex_digits_and_nothing_around_them(key: bytes, body: bytes) -> None:
    assert re.fullmatch("[0-9a-f]{64}", sign(key, body))


@settings(deadline=None)
@given(st.lists(st.binary()))
def test_a_body_in_pieces_has_the_signature_of_the_whole(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    assert sign(SECRET, iter(pieces)) == sign(SECRET, whole)
    assert verify(SECRET, iter(pieces), sign(SECRET, whole))
    assert verify(["another", SECRET], iter(pieces), sign(SECRET, whole))


@pytest.mark.parametrize("form", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("secrets", [SECRET, [SECRET], ["another", SECRET]], ids=["one", "list of one", "several"])
def test_a_body_verifies_in_every_form_that_can_be_signed(form: Callable[[bytes], Any], secrets: str) -> None:
    assert sign(SECRET, form(BODY)) == SIGNATURE
    assert verify(secrets, form(BODY), SIGNATURE)


def test_a_secret_as_text_is_its_utf_8_bytes() -> None:
    assert sign("schlüssel-€", BODY) == sign("schlüssel-€".encode(), BODY) == sign(Secret("schlüssel-€"), BODY)


@pytest.mark.parametrize(
    "given_signature",
    [
        SIGNATURE,
        SIGNATURE.upper(),
        f"sha256={SIGNATURE}",
        f"SHA256={SIGNATURE.upper()}",
        f"  {SIGNATURE}\r\n",
        f"\tsha256={SIGNATURE} ",
        f"{SIGNATURE_HEADER}: {SIGNATURE}",
        f"{SIGNATURE_HEADER.lower()}:{SIGNATURE}",
        f"{SIGNATURE_HEADER.upper()}:\tsha256={SIGNATURE.upper()}\r\n",
    ],
)
def test_a_verifier_takes_any_case_the_prefix_the_whole_header_line_and_white_space_around(
    given_signature: str,
) -> None:
    assert verify(SECRET, BODY, given_signature)
    assert verify(SECRET, BODY, given_signature.encode())
    assert normalized(given_signature) == SIGNATURE


@pytest.mark.parametrize(
    "given_signature",
    [
        "",
        " ",
        ":",
        "sha256=",
        SIGNATURE[:-1],
        SIGNATURE + "0",
        SIGNATURE[:-1] + "g",
        SIGNATURE[:32] + " " + SIGNATURE[32:],
        f"sha256=sha256={SIGNATURE}",
        f"sha256= {SIGNATURE}",
        f"sha1={SIGNATURE}",
        f"0x{SIGNATURE}",
        f'"{SIGNATURE}"',
        f"{SIGNATURE},{SIGNATURE}",
        f"X-Hub-Signature: {SIGNATURE}",
        f"{SIGNATURE_HEADER}: {SIGNATURE_HEADER}: {SIGNATURE}",
        f"{SIGNATURE_HEADER}:",
        f"{SIGNATURE}\x00",
        f"{SIGNATURE}\x0b",
        f"{SIGNATURE}\xa0",
    ],
)
def test_a_verifier_refuses_what_is_not_a_signature(given_signature: str) -> None:
    assert not verify(SECRET, BODY, given_signature)
    assert not verify(SECRET, BODY, given_signature.encode())
    assert normalized(given_signature) is None


@pytest.mark.parametrize(
    "given_signature",
    [
        f"\N{LATIN SMALL LETTER LONG S}ha256={SIGNATURE}",
        f"X-SignalAr\N{KELVIN SIGN}-Signature: {SIGNATURE}",
        f"X-\N{LATIN SMALL LETTER LONG S}ignalArk-Signature: {SIGNATURE}",
        f"\N{NO-BREAK SPACE}{SIGNATURE_HEADER}: {SIGNATURE}",
        f"{SIGNATURE_HEADER}\N{NEXT LINE}: {SIGNATURE}",
        f"\N{INFORMATION SEPARATOR ONE}{SIGNATURE_HEADER}: {SIGNATURE}",
        "".join(chr(ord(digit) + 0xFEE0) for digit in SIGNATURE),
        SIGNATURE.translate({ord(digit): 0x0660 + int(digit) for digit in "0123456789"}),
    ],
    ids=[
        "long s in the prefix",
        "kelvin sign in the header",
        "long s in the header",
        "no-break space",
        "next line",
        "unit separator",
        "fullwidth digits",
        "arabic digits",
    ],
)
def test_a_verifier_is_not_fooled_by_characters_that_only_look_like_ascii(given_signature: str) -> None:
    assert not verify(SECRET, BODY, given_signature)
    assert normalized(given_signature) is None


@settings(deadline=None)
@given(st.text() | st.binary())
def test_a_verifier_refuses_any_text_and_any_bytes_without_raising(given_signature: str | bytes) -> None:
    assert verify(SECRET, BODY, given_signature) is False


PIECES = [
    *(SIGNATURE, SIGNATURE.upper(), SIGNATURE[:32], SIGNATURE[32:], SIGNATURE[:-1], SIGNATURE[-1:]),
    *(SIGNATURE_HEADER, SIGNATURE_HEADER.lower(), "X-SignalAr\N{KELVIN SIGN}-Signature", "sha256=", "SHA256="),
    *(":", " ", "\t", "\r", "\n", "\x0b", "\x1f", "\x85", "\xa0", "0"),
]


@settings(deadline=None, max_examples=500)
@given(st.lists(st.sampled_from(PIECES), max_size=8).map("".join))
@example(f"{SIGNATURE_HEADER}: {SIGNATURE}")
@example(f"{SIGNATURE_HEADER}\n: {SIGNATURE}")
@example(f"{SIGNATURE_HEADER} :{SIGNATURE}")
def test_a_verifier_takes_exactly_what_the_contract_names(given_signature: str) -> None:
    match = WELL_FORMED.fullmatch(given_signature)
    assert verify(SECRET, BODY, given_signature) is (match is not None and match[1].lower() == SIGNATURE)


@settings(deadline=None)
@given(st.binary(), st.integers(0, 255))
def test_a_signature_does_not_verify_for_a_body_that_differs_in_one_byte(body: bytes, added: int) -> None:
    assert not verify(SECRET, body + bytes([added]), sign(SECRET, body))


@pytest.mark.parametrize("position", range(3))
def test_any_of_several_secrets_may_be_the_one_that_signed(position: int) -> None:
    secrets: list[Secret | str | bytes] = ["old", b"older", Secret("oldest")]
    secrets[position] = Secret(SECRET)
    assert verify(secrets, BODY, SIGNATURE)
    assert verify(iter(secrets), iter([BODY]), SIGNATURE)


def test_a_signature_does_not_verify_under_other_secrets_or_under_none() -> None:
    assert not verify(["old", "older"], BODY, SIGNATURE)
    assert not verify([], BODY, SIGNATURE)


@pytest.mark.parametrize(
    "use",
    [
        lambda: Secret(""),
        lambda: Secret(b""),
        lambda: sign("", BODY),
        lambda: sign(b"", BODY),
        lambda: verify("", BODY, SIGNATURE),
        lambda: verify(["", SECRET], BODY, SIGNATURE),
        lambda: verify([SECRET, b""], BODY, SIGNATURE),
        lambda: verify("", BODY, "no signature"),
        lambda: verify(["", SECRET], iter([BODY]), ""),
    ],
)
def test_an_empty_secret_is_an_error_and_never_a_key(use: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="a signing secret cannot be empty"):
        use()


@pytest.mark.parametrize(
    "shown",
    [
        str(Secret(SECRET)),
        repr(Secret(SECRET)),
        format(Secret(SECRET)),
        f"{Secret(SECRET)}",
        f"{Secret(SECRET)!r}",
        "%s" % Secret(SECRET),  # noqa: UP031 - one way in which a log prints it
    ],
)
def test_a_secret_prints_as_asterisks(shown: str) -> None:
    assert shown == "***"


def test_a_body_in_pieces_is_never_put_together() -> None:
    held: list[int] = []

    class Piece(bytes):
        def __del__(self) -> None:
            held.remove(id(self))

    def pieces() -> Iterator[bytes]:
        for _ in range(50):
            piece = Piece(b"x" * 100)
            held.append(id(piece))
            assert len(held) <= 2
            yield piece

    assert verify(["a", "b", SECRET], pieces(), sign(SECRET, b"x" * 5000))


def test_the_library_is_typed_for_others() -> None:
    assert resources.files("arkcli").joinpath("py.typed").is_file()


def test_a_secret_prints_as_asterisks_inside_of_other_things() -> None:
    secret = Secret(SECRET)
    assert SECRET not in f"{[secret]} { ({'key': secret}) } {ValueError(secret)!r}"


def test_a_secret_is_not_in_a_traceback_not_even_in_one_that_prints_variables() -> None:
    secret = Secret(SECRET)

    def breaking() -> Iterator[bytes]:
        yield BODY
        raise OSError("the pipe broke")

    with pytest.raises(OSError, match="the pipe broke") as raised:
        sign(secret, breaking())
    told = traceback.TracebackException.from_exception(raised.value, capture_locals=True)
    shown = "".join(told.format())
    assert "secret = ***" in shown
    assert SECRET not in shown


def test_secrets_are_equal_when_their_bytes_are() -> None:
    assert Secret("ä") == Secret("ä".encode())
    assert hash(Secret("ä")) == hash(Secret("ä".encode()))
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"


def test_revealing_a_secret_gives_its_bytes() -> None:
    assert Secret("ä").reveal() == b"\xc3\xa4"
