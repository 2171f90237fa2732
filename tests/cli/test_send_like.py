"""`ark send --like`: an event that was sent, as the start of another. And `--set` with a path that is misspelled."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.world import PAYLOAD, TestReceiver, World

Receive = Callable[..., TestReceiver]
SEND = ("send", "signal.promoted")


@pytest.fixture
def server(world: World, receive: Receive) -> TestReceiver:
    made = receive(200)
    world.add(made, "crm")
    return made


def bodies(server: TestReceiver) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in server.requests]


@pytest.mark.parametrize("given", ["evt_the_first", "the_f", "evt_the", "last"])
def test_the_body_of_an_event_is_sent_again_as_another_event(world: World, server: TestReceiver, given: str) -> None:
    assert world.ark(*SEND, "--id", "evt_the_first", stdin=PAYLOAD[:-1] + b',"x":1.10}').status == 0
    world.clock.advance(60)
    result = world.ark(*SEND, "--like", given, "--set", "signal.icp_score=12", "--json")
    assert result.status == 0
    first, second = bodies(server)
    assert b'"x":1.10' in server.requests[1].body
    assert second["signal"].pop("icp_score") == 12
    assert first["signal"].pop("icp_score") == 87
    assert first.pop("timestamp") != second["timestamp"] == result.json["event"]["at"]
    assert first.pop("batchId") != second["batchId"]
    assert result.json["event"]["id"] != "evt_the_first"
    assert first == {key: value for key, value in second.items() if key not in ("timestamp", "batchId")}


def test_a_timestamp_and_a_batch_that_are_set_stay(world: World, server: TestReceiver) -> None:
    world.ark(*SEND, stdin=PAYLOAD)
    time = "2026-01-02T03:04:05Z"
    assert world.ark(*SEND, "--like", "last", "--set", f"timestamp={time}", "--set", "batchId=b").status == 0
    assert (bodies(server)[1]["timestamp"], bodies(server)[1]["batchId"]) == (time, "b")


def test_it_goes_to_the_destinations_of_the_new_event_and_can_be_looked_at_first(
    world: World, server: TestReceiver, receive: Receive
) -> None:
    other = receive(200)
    world.add(other, "other")
    world.ark(*SEND, "--to", "crm", stdin=PAYLOAD)
    assert "POST " in world.ark(*SEND, "--like", "last", "--dry-run").out
    assert "curl" in world.ark(*SEND, "--like", "last", "--curl").out
    assert (len(server.requests), other.requests) == (1, [])
    assert world.ark(*SEND, "--like", "last", "--to", "other").status == 0
    assert (len(server.requests), len(other.requests)) == (1, 1)


def test_with_an_id_the_same_once_more_is_a_repetition(world: World, server: TestReceiver) -> None:
    world.ark(*SEND, "--id", "evt_a", stdin=PAYLOAD)
    again = (*SEND, "--like", "evt_a", "--id", "mine", "--json")
    assert "repeated" not in world.ark(*again).json
    world.clock.advance(1)
    assert world.ark(*again).json["repeated"] is True
    assert world.ark(*again, "--set", "signal.icp_score=1").status == 2


def test_an_event_that_was_sent_unchecked_is_checked_now(world: World, server: TestReceiver) -> None:
    world.ark(*SEND, "--id", "evt_a", "--no-validate", stdin=b'{"signal":{"id":5}}')
    refused = world.ark(*SEND, "--like", "evt_a")
    assert (refused.status, refused.out) == (2, "")
    assert refused.err.startswith("error: evt_a: $.signal.id: expected a non-empty string, got 5")
    assert world.ark(*SEND, "--like", "evt_a", "--no-validate").status == 0


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("send", "signal.play_matched", "--like", "last"), "is a signal.promoted event: `ark send signal.promoted --"),
        ((*SEND, "--like", "evt_nowhere"), "no event in the queue has the id 'evt_nowhere', or one that begins so"),
        ((*SEND, "payload.json", "--like", "last"), "--like and FILE do not go together: --like sends the body of"),
        ((*SEND, "--sample", "--like", "last"), "--like and --sample do not go together: --like sends the body of"),
        ((*SEND, "--raw", "--like", "last"), "`ark replay` sends the same bytes"),
        ((*SEND, "--ndjson", "--like", "last"), "--ndjson and --like do not go together: a line is a payload"),
        (("send", "-", "--like", "last"), "with - as EVENT each line names its own event, so it needs --ndjson"),
        (("send", "ping", "--like", "last"), "a ping takes no --like"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_words(
    world: World, server: TestReceiver, words: tuple[str, ...], why: str
) -> None:
    world.ark(*SEND, "--queue", stdin=PAYLOAD)
    result = world.ark(*words, stdin=PAYLOAD)
    assert (result.status, result.out) == (2, "")
    assert why in result.err
    assert len(world.event_lines) == 1


def test_in_an_empty_queue_there_is_nothing_to_begin_with(world: World, server: TestReceiver) -> None:
    result = world.ark(*SEND, "--like", "last")
    assert (result.status, result.err) == (2, "error: the queue has no event yet; send one with `ark send`\n")


def test_ids_complete(world: World, server: TestReceiver) -> None:
    world.ark(*SEND, "--id", "evt_a", stdin=PAYLOAD)
    session = world.session()
    session.variables = {**world.variables, "_ARK_COMPLETE": "=ev"}
    from arkcli.cli.app import run

    run([*SEND, "--like"], session)
    assert session.stdout.getvalue().startswith("evt_a\tsignal.promoted ")  # type: ignore[attr-defined]


WARNING = "warning: `signal.icp_scor` is not in the payload; did you mean `signal.icp_score`?\n"


@pytest.mark.parametrize(
    ("words", "stdin"),
    [
        (SEND, PAYLOAD),
        ((*SEND, "--quiet"), PAYLOAD),
        ((*SEND, "--sample"), b""),
        ((*SEND, "--like", "evt_a"), b""),
        ((*SEND, "--dry-run"), PAYLOAD),
        ((*SEND, "--ndjson"), PAYLOAD + b"\n" + PAYLOAD),
        ((*SEND, "--ndjson", "--strict"), PAYLOAD + b"\n" + PAYLOAD),
        (("send", "-", "--ndjson", "--set", "event=signal.promoted"), PAYLOAD + b"\n" + PAYLOAD),
    ],
)
def test_a_misspelled_setting_is_warned_of_once_and_made(
    world: World, server: TestReceiver, words: tuple[str, ...], stdin: bytes
) -> None:
    world.ark(*SEND, "--id", "evt_a", "--queue", stdin=PAYLOAD)
    result = world.ark(*words, "--set", "signal.icp_scor=3", "--set", "signal.icp_scor=5", stdin=stdin)
    assert (result.status, result.err.count(WARNING), result.err.count("warning")) == (0, 1, 1)
    # The stored event is delivered, too, perhaps last.
    made = [body["signal"].get("icp_scor") for body in bodies(server)]
    assert '"icp_scor":5' in result.out or 5 in made


def test_a_new_setting_far_from_all_others_is_no_reason_for_a_warning(world: World, server: TestReceiver) -> None:
    result = world.ark(*SEND, "--set", "signal.priority=1", "--set", "owner.nmae=x", stdin=PAYLOAD)
    assert (result.status, "warning" in result.err) == (0, False)
