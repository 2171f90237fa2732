"""`ark sign` and `ark verify`: the exact bytes of standard input or a file."""

import base64
import hashlib
import hmac
import subprocess
import sys
from pathlib import Path

import pytest

from arkcli.signing import sign
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
        ("0" * 64, "does not match these bytes"),
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


def test_verify_explains_a_mismatch_when_it_is_asked_to(world: World) -> None:
    args = ("verify", "--secret", "k", "--signature", RIGHT)
    told = world.ark(*args, "--explain", stdin=BODY + b"\n")
    assert (told.status, told.out) == (1, "")
    first, second = told.err.splitlines()
    assert first == "invalid: the signature does not match these bytes with this secret"
    assert second.startswith("The body ends in a newline that was not signed")
    as_json = world.ark(*args, "--explain", "--json", stdin=BODY + b"\n")
    assert as_json.status == 1
    assert as_json.json["cause"] == "newline-added"
    assert as_json.json["explanation"] == second
    plain = world.ark(*args, "--json", stdin=BODY + b"\n")
    assert (plain.json["explanation"], plain.json["cause"]) == (None, None)


def test_verify_explains_nothing_where_nothing_is_wrong(world: World) -> None:
    result = world.ark("verify", "--secret", "k", "--signature", RIGHT, "--explain", "--json", stdin=BODY)
    assert (result.status, result.json["explanation"]) == (0, None)


def test_verify_says_so_when_nothing_fits_and_what_to_check_next(world: World) -> None:
    result = world.ark("verify", "--secret", "k", "--signature", "0" * 64, "--explain", stdin=BODY)
    assert result.status == 1
    assert "None of the usual causes matches. Check next:" in result.err
    as_json = world.ark("verify", "--secret", "k", "--signature", "0" * 64, "--explain", "--json", stdin=BODY)
    assert as_json.json["cause"] is None
    assert as_json.json["explanation"] in result.err


def test_verify_explains_a_signature_that_cannot_be_one_too(world: World) -> None:
    coded = base64.b64encode(bytes.fromhex(RIGHT)).decode()
    result = world.ark("verify", "--secret", "k", "--signature", coded, "--explain", "--json", stdin=BODY)
    assert result.json["cause"] == "signature-base64"


def test_verify_knows_the_secrets_that_stand_elsewhere_by_their_place(world: World) -> None:
    world.ark("secret", "set", stdin=b"stored")
    world.variables["OWN"] = "own"
    world.ark("dest", "add", "https://crm.example/", "--name", "crm", "--no-ping", "--own-secret")
    own = world.store_file.read_text()
    secret = own.split("[[destinations]]")[1].split('secret = "')[1].split('"')[0]
    world.variables["ARK_SECRET"] = "variable"
    for key, where in (
        ("stored", "the shared secret"),
        ("variable", "the secret in ARK_SECRET"),
        (secret, "the secret of crm"),
    ):
        args = ("verify", "--secret", "other", "--signature", sign(key, BODY), "--explain")
        assert f"a different secret from the one given: {where}\n" in world.ark(*args, stdin=BODY).err
    world.store_file.write_text("not toml")
    assert world.ark(*args, "--json", stdin=BODY).json["cause"] is None


def test_explain_holds_no_more_of_a_body_than_it_can_look_into(world: World) -> None:
    large = b"x" * (3 * 1024 * 1024)
    args = ("verify", "--secret", "k", "--explain", "--signature")
    assert world.ark(*args, sign("k", large), stdin=large).status == 0
    refused = world.ark(*args, sign("l", large), stdin=large)
    assert refused.status == 1
    assert "more than 1,048,576 bytes" in refused.err
    malformed = world.ark(*args, "nonsense", "--json", stdin=large)
    assert malformed.json["cause"] == "body-too-large"


def test_verifying_needs_no_memory_for_the_body_however_many_secrets_there_are(tmp_path: Path) -> None:
    code = """
import resource, sys
from arkcli.cli.app import run
from arkcli.cli.session import Session
status = run(sys.argv[1:], Session.of_this_process())
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
sys.exit(status)
"""

    def peak(size: int) -> int:
        file = tmp_path / "body"
        with file.open("wb") as made:
            made.truncate(size)
        args = ("verify", "--secret", "a", "--secret", "b", "--signature", "0" * 64, str(file))
        done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        return int(done.stderr.splitlines()[-1])

    assert peak(128 * 1024 * 1024) - peak(2 * 1024 * 1024) < 16 * 1024
