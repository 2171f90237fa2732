"""Why a delivery failed, on a screen: `queue show`, `log -v`, `dest show` and `send`; and an event to copy."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from arkcli.signing import sign
from tests.world import PAYLOAD, TestReceiver, World, answer

Receive = Callable[..., TestReceiver]
REASON = "lead table is locked, try later"


def failing(world: World, receive: Receive, body: bytes, name: str = "crm") -> TestReceiver:
    server = receive(lambda _: answer(500, body))
    world.add(server, name)
    return server


@pytest.mark.parametrize("columns", [50, 80, 120])
def test_the_reason_that_an_application_gives_is_on_every_screen_that_shows_the_failure(
    world: World, receive: Receive, columns: int
) -> None:
    failing(world, receive, json.dumps({"error": REASON}).encode())
    sent = world.ark("send", "signal.promoted", stdin=PAYLOAD)
    assert REASON in sent.out
    for command in (("queue", "show", "last"), ("log", "-v"), ("dest", "show", "crm")):
        shown = world.on_a_terminal(*command, columns=columns, NO_COLOR="1")
        assert f'{{"error": "{REASON}"}}' in " ".join(shown.split())
        assert max(len(line.rstrip()) for line in shown.splitlines()) <= columns


def test_each_attempt_has_its_time_and_answer_and_then_comes_what_is_next(world: World, receive: Receive) -> None:
    server = failing(world, receive, b"busy")
    world.ark("send", "signal.promoted", "--id", "one", stdin=PAYLOAD)
    world.clock.advance(45)
    server.behave = lambda _: answer(503, b"still busy")
    world.ark("drain")
    world.clock.advance(12)

    def shown() -> list[str]:
        lines = world.on_a_terminal("queue", "show", "one", columns=80, NO_COLOR="1").splitlines()
        return [
            " ".join(line.split()) for line in lines[lines.index("crm  retrying") if "crm  retrying" in lines else 0 :]
        ]

    first, said, second, said_then, following = shown()[1:]
    assert first.startswith("attempt 1 11-18 11:06:40 57 s ago ")
    assert (first.endswith(" ms 500"), said) == (True, "busy")
    assert second.startswith("attempt 2 11-18 11:07:25 12 s ago ")
    assert (second.endswith(" ms 503"), said_then) == (True, "still busy")
    assert following == "next attempt in 5 min"
    (delivery,) = world.ark("queue", "show", "one", "--json").json["deliveries"]
    assert delivery["next_attempt_at"] == "2026-11-18T11:12:25.000Z"

    world.clock.advance(400)
    assert shown()[-1] == "the next attempt is due; `ark drain` makes it"
    for delay in (0, 1800, 7200):
        world.clock.advance(delay)
        world.ark("drain")
    assert shown()[-1] == "dead: `ark queue retry one --to crm` tries again"
    world.ark("queue", "retry", "one")
    assert shown()[-1] == "the next attempt is due; `ark drain` makes it"
    world.ark("dest", "pause", "crm")
    assert shown()[-1] == "crm is paused: the next attempt comes after `ark dest resume crm`"


def test_an_answer_that_was_given_before_is_not_repeated(world: World, receive: Receive) -> None:
    failing(world, receive, b"the database is away")
    world.ark("send", "signal.promoted", stdin=PAYLOAD)
    world.clock.advance(30)
    world.ark("drain")
    shown = world.on_a_terminal("queue", "show", "last", columns=80, NO_COLOR="1")
    assert (shown.count("the database is away"), shown.count("      the same answer\n")) == (1, 1)


@pytest.mark.parametrize("columns", [40, 50, 80])
def test_an_answer_takes_four_lines_at_most_and_drives_no_terminal(
    world: World, receive: Receive, columns: int
) -> None:
    failing(world, receive, b"\x1b[2J\x07<html>\r\n" + b"word " * 100 + b"x" * 300 + "\u202e界".encode() * 100)
    world.ark("send", "signal.promoted", stdin=PAYLOAD)
    for command in (("queue", "show", "last"), ("log", "-v")):
        shown = world.on_a_terminal(*command, columns=columns, NO_COLOR="1")
        below = shown[shown.index("[2J") :].splitlines()[:5]
        assert sum("word" in line for line in below) == 4
        assert below[3].endswith(" …")
        assert not any(character in shown for character in "\x1b\x07\u202e")


def test_what_only_waits_and_what_was_delivered_say_so_in_colour(world: World, receive: Receive) -> None:
    world.add(receive(200), "good")
    world.ark("send", "signal.promoted", "--queue", "--id", "one", stdin=PAYLOAD)
    assert "waiting for its first attempt" in world.on_a_terminal("queue", "show", "one", columns=80)
    world.ark("drain")
    shown = world.on_a_terminal("queue", "show", "one", columns=80, NO_COLOR="", TERM="xterm")
    assert "\x1b[1mgood\x1b[0m  \x1b[32mdelivered\x1b[0m\n" in shown
    assert "\x1b[32m  200\x1b[0m\n" in shown


def test_of_many_destinations_those_that_took_the_event_at_once_share_a_line(world: World, receive: Receive) -> None:
    server = receive(200)
    for number in range(12):
        world.ark("dest", "add", f"{server.url}/{number}", "--name", f"d{number}", "--allow-local", "--no-ping")
    failing(world, receive, b"no")
    world.ark("send", "signal.promoted", stdin=PAYLOAD)
    shown = world.on_a_terminal("queue", "show", "last", columns=80, NO_COLOR="1")
    assert "crm  retrying\n" in shown
    assert "delivered at the first attempt to 12 destinations; --to NAME shows one\n" in shown
    assert "d7" not in shown
    assert "d7  delivered\n" in world.on_a_terminal("queue", "show", "last", "--to", "d7", columns=80, NO_COLOR="1")


def test_a_long_body_is_indented_and_cut_and_it_says_so(world: World, receive: Receive) -> None:
    world.add(receive(200), "d")
    payload = json.dumps({"signal": json.loads(PAYLOAD)["signal"], "more": list(range(40)), "x": "y" * 200}).encode()
    world.ark("send", "signal.promoted", "--id", "long", stdin=payload)
    shown = world.on_a_terminal("queue", "show", "long", columns=80, NO_COLOR="1").splitlines()
    body = [line for line in shown if line.startswith("  ") and "attempt" not in line]
    assert body[1] == '    "event": "signal.promoted",'
    assert len(body) == 21
    assert body[-1].endswith(" more lines; `ark queue show long --body` prints it as it was sent")


def test_the_body_alone_is_printed_byte_for_byte_whatever_the_encoding(world: World, receive: Receive) -> None:
    server = receive(200)
    world.add(server, "d")
    body = '{"event": "signal.promoted",\r\n "signal": "é 界 \u202e"}  '.encode()
    world.ark("send", "signal.promoted", "--id", "one", "--raw", "--no-validate", stdin=body)
    assert server.requests[0].body == body
    variables = {**os.environ, **world.variables, "PYTHONIOENCODING": "ascii"}
    for more in ([], ["--quiet"]):
        command = [sys.executable, "-m", "arkcli", "queue", "show", "one", "--body", *more]
        found = subprocess.run(command, env=variables, capture_output=True, check=True)
        assert (found.stdout, found.stderr) == (body, b"")
    refused = world.on_a_terminal("queue", "show", "one", "--body", columns=200)
    assert "`ark queue show one --body > payload.json`" in refused
    assert "\u202e" not in refused


def test_the_headers_alone_are_those_that_were_sent(world: World, receive: Receive) -> None:
    server = failing(world, receive, b"")
    world.add(receive(200), "other", "--header", "X-Token: t0p")
    world.ark("send", "signal.promoted", stdin=PAYLOAD)
    world.clock.advance(30)
    world.ark("drain")
    found = world.ark("queue", "show", "last", "--headers", "--to", "crm")
    sent = server.requests[-1].headers
    named = [line.partition(": ")[::2] for line in found.out.splitlines()]
    assert {name.lower(): value for name, value in named}.items() <= sent.items()
    assert dict(named)["X-SignalArk-Attempt"] == "2"

    both = world.ark("queue", "show", "last", "--headers").out
    assert both.count("\n\n") == 1
    assert "X-Token: ***" in both
    shown = world.on_a_terminal("queue", "show", "last", "--headers", columns=200, NO_COLOR="1")
    assert [block.splitlines()[0] for block in shown.split("\n\n")] == ["crm", "other"]


def test_the_command_that_sends_it_again_has_its_own_headers_and_bytes(world: World, receive: Receive) -> None:
    server = failing(world, receive, b"")
    world.ark("send", "signal.promoted", "--id", "one", stdin=PAYLOAD)
    script = world.ark("queue", "show", "one", "--curl").out
    server.behave = lambda _: answer(200)
    secret = world.ark("secret", "show", "--reveal", "--json").json["secret"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(["/bin/sh"], input=script.encode(), env={"PATH": path, "ARK_SECRET": secret}, check=True)
    server.settle()
    first, again = server.requests
    assert (again.body, again.delivery, again.signature) == (first.body, first.delivery, sign(secret, first.body))
    assert secret not in script


def test_only_one_thing_is_printed_alone(world: World, receive: Receive) -> None:
    world.add(receive(200), "d")
    world.add(receive(200), "e")
    world.ark("send", "signal.promoted", "--to", "d", stdin=PAYLOAD)
    refused = world.ark("queue", "show", "last", "--body", "--curl")
    assert (refused.status, "--body, --headers and --curl do not go together" in refused.err) == (2, True)
    nowhere = world.ark("queue", "show", "last", "--curl", "--to", "e")
    assert (nowhere.status, "was sent to none of these destinations" in nowhere.err) == (2, True)


@pytest.mark.parametrize(
    ("options", "promised"),
    [
        (["--body"], {"event"}),
        (["--headers"], {"event", "requests"}),
        (["--curl"], {"event", "commands"}),
    ],
)
def test_each_of_them_is_a_document_in_json(
    world: World, receive: Receive, options: list[str], promised: set[str]
) -> None:
    world.add(receive(200), "d")
    world.ark("send", "signal.promoted", stdin=PAYLOAD)
    assert world.ark("queue", "show", "last", *options, "--json").json.keys() == promised


def test_piped_the_log_has_the_answer_in_a_last_column(world: World, receive: Receive) -> None:
    failing(world, receive, b"line 1\nline\t2")
    world.add(receive(200), "good")
    world.ark("send", "signal.promoted", stdin=PAYLOAD)
    plain, verbose = (world.ark("log", *more).out.splitlines() for more in ([], ["-v"]))
    assert [line.rpartition("\t")[0] for line in verbose] == plain
    assert sorted(line.rpartition("\t")[2] for line in verbose) == ["", "line 1 line 2"]


def test_a_failure_without_an_answer_is_told_in_short_and_below_it_whole(world: World) -> None:
    world.ark("dest", "add", "http://127.0.0.1:9/", "--allow-local", "--no-ping", "--name", "d")
    world.ark("send", "signal.promoted", stdin=PAYLOAD)
    for columns in (80, 200):
        text = world.on_a_terminal("log", "-v", columns=columns, NO_COLOR="1")
        assert "  no connection: refused  " in text
        assert "\n  no connection: connection refused\n" in text


def test_a_destination_that_fails_shows_since_when_and_what_comes_next(world: World, receive: Receive) -> None:
    server = receive(200)
    world.add(server, "crm")
    world.ark("send", "signal.promoted", stdin=PAYLOAD)
    world.clock.advance(60)
    server.behave = lambda _: answer(500, b"away")
    world.ark("send", "signal.promoted", stdin=PAYLOAD)
    world.clock.advance(30)
    world.ark("drain")
    world.clock.advance(15)
    shown = dict(line.split("  ", 1) for line in world.on_a_terminal("dest", "show", "crm", columns=80).splitlines())
    told = {label: " ".join(value.split()) for label, value in shown.items()}
    assert told["last"].startswith("failed 500, 15 s ago (evt_")
    assert told["answer"] == "away"
    assert told["failing since"] == "11-18 11:07:40 UTC, 45 s ago"
    assert told["next attempt"] == "11-18 11:13:10 UTC, in 5 min"
    piped = dict(line.split("\t") for line in world.ark("dest", "show", "crm").out.splitlines())
    assert piped["last"].startswith("failed 500 2026-11-18T")
    assert (piped["answer"], piped["failing since"]) == ("away", "2026-11-18T11:07:40.000Z")
