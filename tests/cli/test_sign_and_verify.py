"""`ark sign` and `ark verify`: the exact bytes of standard input or a file."""

import hashlib
import hmac
from pathlib import Path

import pytest

from tests.world import World

BODY = b'{"a": 1}\r\n\x00\xff'
RIGHT = hmac.new(b"k", BODY, hashlib.sha256).hexdigest()


def test_sign_prints_the_signature_of_the_exact_bytes(world: World, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(BODY)
    assert world.ark("sign", "--secret", "k", stdin=BODY).out == RIGHT + "\n"
    assert world.ark("sign", "--secret", "k", "-", stdin=BODY).out == RIGHT + "\n"
    assert world.ark("sign", "--secret", "k", str(tmp_path / "body")).out == RIGHT + "\n"
    assert world.ark("sign", "--secret", "k", "--json", stdin=BODY).json == {"signature": RIGHT}
    assert world.ark("sign", "--secret", "k", "--quiet", stdin=BODY).out == RIGHT + "\n"


def test_the_secret_comes_from_option_file_environment_or_store(world: World, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("k\n")
    assert world.ark("sign", stdin=BODY).status == 2
    world.ark("secret", "set", stdin=b"k")
    assert world.ark("sign", stdin=BODY).out == RIGHT + "\n"
    world.ark("secret", "set", stdin=b"other")
    world.variables["ARK_SECRET"] = "k"
    assert world.ark("sign", stdin=BODY).out == RIGHT + "\n"
    world.variables["ARK_SECRET"] = "other"
    assert world.ark("sign", "--secret-file", str(file), stdin=BODY).out == RIGHT + "\n"
    assert world.ark("sign", "--secret", "k", stdin=BODY).out == RIGHT + "\n"


@pytest.mark.parametrize(
    "given",
    [RIGHT, RIGHT.upper(), f"sha256={RIGHT}", f"X-SignalArk-Signature: {RIGHT}", f"x-signalark-signature:{RIGHT}\r\n"],
)
def test_verify_says_valid(world: World, given: str) -> None:
    assert world.ark("verify", "--secret", "k", "--signature", given, stdin=BODY) == (0, "valid\n", "")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (RIGHT[:-1], "not 64 hex digits"),
        ("z" * 64, "not 64 hex digits"),
        ("", "is empty"),
        ("0" * 64, "does not belong to these bytes"),
        (f"md5={RIGHT}", "not 64 hex digits"),
    ],
)
def test_verify_says_no_and_why_and_never_the_right_one(world: World, given: str, why: str) -> None:
    result = world.ark("verify", "--secret", "k", f"--signature={given}", stdin=BODY)
    assert (result.status, result.out) == (1, "")
    assert why in result.err
    assert RIGHT not in result.err
    as_json = world.ark("verify", "--secret", "k", f"--signature={given}", "--json", stdin=BODY)
    assert as_json.status == 1
    assert as_json.json["valid"] is False
    assert why in as_json.json["reason"]


def test_any_of_several_secrets_will_do(world: World) -> None:
    assert world.ark("verify", "--secret", "x", "--secret", "k", "--signature", RIGHT, stdin=BODY).status == 0
    assert world.ark("verify", "--secret", "x", "--secret", "y", "--signature", RIGHT, stdin=BODY).status == 1


def test_a_missing_signature_is_bad_input(world: World) -> None:
    assert world.ark("verify", "--secret", "k", stdin=BODY).status == 2


def test_an_empty_secret_is_bad_input(world: World) -> None:
    assert world.ark("sign", "--secret", "", stdin=BODY).status == 2
