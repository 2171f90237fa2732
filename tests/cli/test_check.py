"""`ark check`: what it prints, what it asks, and its exit status. tests/actions/test_check.py has what it finds."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from arkcli.signing import sign
from tests.world import Behaviour, Certificates, Request, TestReceiver, World, answer, receiver, verifying

Receive = Callable[[Behaviour | int], TestReceiver]
SECRET = "s3cret"


@pytest.fixture
def right(receive: Receive) -> TestReceiver:
    return receive(verifying(lambda: [SECRET]))


@pytest.fixture
def wrong(receive: Receive) -> TestReceiver:
    """Refuses with 500 and a reason, and compares only the beginning of a signature."""

    def behave(request: Request) -> bytes:
        given = request.headers.get("x-signalark-signature", "-")
        if sign(SECRET, request.body).startswith(given):
            return answer(204)
        return answer(500, b'{"error": "signature\n\x1b[31m mismatch"}')

    return receive(behave)


@pytest.fixture(autouse=True)
def _secret(world: World) -> None:
    world.variables["ARK_SECRET"] = SECRET


def test_a_receiver_that_does_right_passes_every_check(world: World, right: TestReceiver) -> None:
    result = world.ark("check", right.url, "--allow-local")
    assert (result.status, result.err) == (0, "")
    *rows, last = result.out.splitlines()
    assert last == "12 of 12 passed"
    assert rows[0] == "valid-event\tpass\t204\t2xx\ta valid event"
    assert rows[-1] == "spaces-removed\tpass\t401\t4xx\tJSON re-encoded: spaces removed"
    assert world.ark("check", right.url, "--allow-local", "--quiet") == (0, "", "")


def test_what_falls_short_is_told_with_what_the_receiver_said_and_what_to_do(world: World, receive: Receive) -> None:
    server = receive(lambda _: answer(401, b"who\n\x1b[31m are you?"))
    result = world.ark("check", server.url, "--allow-local")
    assert (result.status, result.err) == (1, "")
    first, second, *_, last = result.out.splitlines()
    assert last == "6 of 12 passed"
    assert first.startswith(
        "valid-event\tfail\t401\t2xx\ta valid event\tIt said: who [31m are you? Give the receiver the"
    )
    assert second.endswith("\tThe same as for valid-event: do that first.")
    quiet = world.ark("check", server.url, "--allow-local", "--quiet")
    assert quiet.status == 1
    assert len(quiet.out.splitlines()) == 7
    assert quiet.out.startswith("valid-event\tfail\t401\t2xx\ta valid event\tIt said: who")


def test_the_document_has_an_object_for_each_check_and_an_error_only_where_nothing_came(
    world: World, receive: Receive
) -> None:
    good = verifying(lambda: [SECRET])
    server = receive(lambda request: None if len(request.body) > 100_000 else good(request))
    result = world.ark("check", server.url, "--allow-local", "--json")
    assert (result.status, result.err) == (1, "")
    checks = {found["name"]: found for found in result.json["checks"]}
    assert checks["valid-event"] == {
        "name": "valid-event", "sent": "a valid event", "wanted": "2xx", "status": 204, "passed": True, "advice": None,
        "excerpt": "",
    }  # fmt: skip
    large = checks["large"]
    assert (large["status"], large["passed"]) == (None, False)
    assert large["error"] == "the connection was closed without an answer"
    assert large["advice"].startswith("Raise the limit for bodies")
    assert [found["passed"] for found in checks.values()].count(False) == 1


@pytest.mark.parametrize("columns", [50, 80, 120])
def test_on_a_terminal_no_line_is_wider_and_no_word_is_broken(world: World, wrong: TestReceiver, columns: int) -> None:
    said = world.on_a_terminal("check", wrong.url, "--allow-local", columns=columns, NO_COLOR="1")
    heading, *lines, last = said.splitlines()
    assert heading.split() == ["check", "result", "answer", "wanted", *["sent"] * (columns > 50)]
    assert max(map(len, said.splitlines())) <= columns
    assert last == "6 of 12 passed"
    below = lines[lines.index(next(line for line in lines if line.startswith("cut-signature"))) + 1 :]
    words = " ".join(line.strip() for line in below if line.startswith("  "))
    assert "Compare the whole signature, its length included, with a constant-time function: this receiver" in words
    assert said.count("It said: ") == 1


def test_a_terminal_gets_each_row_in_colour_as_it_comes(world: World, wrong: TestReceiver) -> None:
    said = world.on_a_terminal("check", wrong.url, "--allow-local", columns=80, TERM="xterm")
    assert "\x1b[32mpass  \x1b[0m" in said
    assert "\x1b[1;31mfail  \x1b[0m" in said
    assert "\x1b[31m mismatch" not in said


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("http://127.0.0.1:9/",), "--allow-local permits http"),
        (("127.0.0.1:9",), "write it as https://host/path"),
        (("https://a.example/", "--event", "signal.promotd"), "'signal.promoted'"),
        (("https://a.example/", "--header", "Host: b"), "Host is set by ark"),
        (("https://a.example/", "--ca-file", "/no/such/file"), "is not a file"),
        (("https://a.example/", "--secret-file", "/no/such/file"), "cannot be read"),
        (("https://a.example/",), "its receiver will process test events. Send them? Confirm with --yes"),
        (("https://a.example/", "--allow-local"), "Confirm with --yes"),
        (("https://192.0.2.1/",), "Confirm with --yes"),
    ],
)
def test_bad_input_is_refused_before_anything_is_sent(world: World, args: tuple[str, ...], said: str) -> None:
    result = world.ark("check", *args)
    assert (result.status, result.out) == (2, "")
    assert said in result.err


def test_without_a_secret_it_says_where_one_may_come_from(world: World, right: TestReceiver) -> None:
    del world.variables["ARK_SECRET"]
    result = world.ark("check", right.url, "--allow-local")
    assert result.status == 2
    assert "there is no signing secret" in result.err
    assert right.requests == []


@pytest.mark.parametrize("source", ["option", "variable", "store"])
def test_the_secret_comes_from_a_file_a_variable_or_the_store(
    world: World, right: TestReceiver, source: str, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text(SECRET)
    world.ark("secret", "set", stdin=b"another" if source == "variable" else SECRET.encode())
    world.variables["ARK_SECRET"] = "another" if source == "option" else SECRET
    if source == "store":
        del world.variables["ARK_SECRET"]
    option = ["--secret-file", str(tmp_path / "secret")] if source == "option" else []
    assert world.ark("check", right.url, "--allow-local", *option).status == 0


@pytest.mark.parametrize("event", ["ping", "signal.play_matched", "social.lead_promoted"])
def test_any_event_can_be_sent(world: World, right: TestReceiver, event: str) -> None:
    assert world.ark("check", right.url, "--allow-local", "--event", event).status == 0
    assert {request.headers["x-signalark-event"] for request in right.requests} == {event}


def test_on_a_terminal_it_asks_before_it_sends_to_an_address_that_is_not_local(world: World) -> None:
    asked = world.answered(b"n\n", "check", "https://a.example/", "--json")
    assert asked.status == 130
    assert "nothing was sent" in asked.out


def test_the_exit_status_is_the_verdict_also_if_nobody_reads_the_rows(world: World, receive: Receive) -> None:
    good = verifying(lambda: [SECRET])
    server = receive(lambda request: answer(200) if "x-signalark-signature" not in request.headers else good(request))
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "arkcli", "check", server.url, "--allow-local"]
    done = subprocess.run(command, env={**os.environ, **world.variables}, stdout=writing, check=False)
    os.close(writing)
    assert done.returncode == 1
    assert len(server.requests) == 12


def test_with_yes_it_does_not_ask(world: World) -> None:
    result = world.ark("check", "https://192.0.2.1/", "--yes")
    assert result.status == 1
    assert "192.0.2.1 is for documentation" in result.err


def test_certificates_of_an_own_authority_are_trusted_when_they_are_given(world: World, tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    with receiver(verifying(lambda: [SECRET]), certificates.wrapping("localhost")) as server:
        args = ("check", server.url.replace("127.0.0.1", "localhost"), "--allow-local")
        refused = world.ark(*args)
        assert refused.status == 1
        assert "--ca-file" in refused.err
        assert world.ark(*args, "--ca-file", certificates.ca_file).status == 0


def test_a_receiver_that_cannot_be_reached_is_one_error(world: World, right: TestReceiver) -> None:
    url = right.url
    right.close()
    result = world.ark("check", url, "--allow-local", "--json")
    assert (result.status, result.err) == (1, "")
    assert result.json["error"]["code"] == "delivery_failed"
    private = world.ark("check", url.replace("http:", "https:"))
    assert private.status == 1
    assert "--allow-local permits it" in private.err
