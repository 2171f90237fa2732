"""`ark verify --request`: a whole request in place of the signature and the body."""

import json
from pathlib import Path

import pytest

from arkcli.signing import sign
from tests.world import World

BODY = b'{"event":"ping","timestamp":"2026-11-23T12:00:00.000Z"}'
RIGHT = sign("k", BODY)
CAME = f"POST / HTTP/1.1\r\nContent-Length: {len(BODY)}\r\nX-SignalArk-Signature: {RIGHT}\r\n\r\n".encode() + BODY
VERIFY = ("verify", "--secret", "k", "--request")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "received.http"
    path.write_bytes(CAME)
    return path


def test_a_request_is_verified_from_a_file_and_from_standard_input(world: World, file: Path) -> None:
    assert world.ark(*VERIFY, str(file)) == (0, "valid\n", "")
    assert world.ark(*VERIFY, "-", stdin=CAME) == (0, "valid\n", "")
    refused = world.ark("verify", "--secret", "other", "--request", str(file))
    assert refused == (1, "", "invalid: the signature does not match these bytes with this secret\n")


def test_what_is_odd_about_the_body_is_said_beside_the_verdict(world: World, file: Path) -> None:
    file.write_bytes(CAME + b"\n")
    said = "1 byte after the body left out, by Content-Length: a newline that an editor or `echo` added"
    assert world.ark(*VERIFY, str(file)) == (0, "valid\n", f"{said}\n")
    assert world.ark(*VERIFY, str(file), "--json").json == {
        "valid": True, "reason": None, "explanation": None, "cause": None, "remarks": [said],
    }  # fmt: skip
    file.write_bytes(CAME[:-1])
    cut = world.ark(*VERIFY, str(file))
    assert (cut.status, cut.out) == (1, "")
    assert "the body has 54 bytes, and Content-Length says 55: the end is missing" in cut.err


@pytest.mark.parametrize(
    ("head", "body", "cause"),
    [
        (f"X-SignalArk-Signature: {RIGHT}", BODY + b"\n", "newline-added"),
        (f"X-SignalArk-Signature: {RIGHT}", json.dumps(json.loads(BODY)).encode(), "json-reserialised"),
        (f"X-Signature: {RIGHT}", BODY, "another-header"),
        ("X-Other: 1", BODY, "signature-missing"),
    ],
)
def test_a_request_that_does_not_verify_is_explained(world: World, head: str, body: bytes, cause: str) -> None:
    told = world.ark(*VERIFY, "-", "--explain", "--json", stdin=f"POST / HTTP/1.1\n{head}\n\n".encode() + body)
    assert (told.status, told.json["cause"]) == (1, cause)


def test_a_request_without_a_signature_is_not_valid_and_says_why(world: World) -> None:
    told = world.ark(*VERIFY, "-", stdin=b"POST / HTTP/1.1\nHost: a\n\n{}")
    assert told == (1, "", "invalid: there is no X-SignalArk-Signature header\n")


def test_one_of_several_requests_is_named_by_its_number_behind_the_file(world: World, file: Path) -> None:
    file.write_bytes(CAME + CAME.replace(RIGHT.encode(), b"0" * 64))
    several = world.ark(*VERIFY, str(file))
    assert (several.status, several.out) == (2, "")
    assert f"{file}: it has 2 signed requests: #1 (POST /, 55 bytes), #2 (POST /, 55 bytes)" in several.err
    assert [world.ark(*VERIFY, f"{file}#{number}").status for number in (1, 2, 3)] == [0, 1, 2]
    assert world.ark(*VERIFY, "-#1", stdin=file.read_bytes()).status == 0


def test_a_file_whose_own_name_ends_in_a_number_is_that_file(world: World, file: Path) -> None:
    named = file.rename(file.with_name("received#7"))
    assert world.ark(*VERIFY, str(named)).status == 0


@pytest.mark.parametrize("others", [("--signature", RIGHT), ("body.json",), ("-s", "0", "-")])
def test_a_request_goes_with_neither_a_signature_nor_a_body(world: World, file: Path, others: tuple[str, ...]) -> None:
    told = world.ark(*VERIFY, str(file), *others)
    assert (told.status, told.out) == (2, "")
    assert "--request FILE has the signature and the body" in told.err


def test_without_a_signature_and_without_a_request_both_are_named(world: World) -> None:
    told = world.ark("verify", "--secret", "k", stdin=BODY)
    assert told.status == 2
    assert "--signature" in told.err
    assert "--request" in told.err


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"nonsense", "received.http: line 1: expected a header"), (None, "received.http cannot be read: ")],
)
def test_an_error_names_the_file_and_the_place(world: World, file: Path, content: bytes | None, said: str) -> None:
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    told = world.ark(*VERIFY, str(file))
    assert (told.status, told.out) == (2, "")
    assert said in told.err
