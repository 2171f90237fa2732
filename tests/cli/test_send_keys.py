"""`ark send - --ndjson`: several event types in one stream; and `--id-from`: a key in each payload."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.queue.local.faults import count_steps, killed_at
from tests.world import Result, TestReceiver, World

Receive = Callable[..., TestReceiver]
SEND = ("send", "-", "--ndjson", "--queue", "--json")
KEYS = (*SEND, "--id-from", "signal.id")


def promoted(key: str, **more: Any) -> bytes:
    signal = {"id": key, "signal_name": "n", "source": "news", **more}
    return json.dumps({"event": "signal.promoted", "signal": signal}).encode()


def matched(key: str) -> bytes:
    return json.dumps({**json.loads(promoted(key)), "event": "signal.play_matched", "plays": [{"name": "p"}]}).encode()


LEAD = b'{"event":"social.lead_promoted","engagement":{"platform":"x","engagement_type":"like"}}'


def receipts(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.out.splitlines()]


def accepted(world: World) -> list[tuple[str, str]]:
    return [(line["id"], line["event"]) for line in map(json.loads, world.event_lines)]


@pytest.fixture
def server(world: World, receive: Receive) -> TestReceiver:
    made = receive(200)
    world.add(made, "crm")
    return made


def test_each_line_names_its_own_event_and_is_checked_as_that(world: World, server: TestReceiver) -> None:
    lines = [promoted("a"), matched("b"), LEAD, matched("c").replace(b"plays", b"games"), b"{}", b'{"event":"ping"}']
    result = world.ark(*SEND, stdin=b"\n".join(lines))
    assert result.status == 2
    assert [name for _, name in accepted(world)] == ["signal.promoted", "signal.play_matched", "social.lead_promoted"]
    assert [receipt.get("error", "")[:40] for receipt in receipts(result)] == [
        "",
        "",
        "",
        "$.plays: required but missing: expected ",
        "$.event: required but missing: expected ",
        "$.event: a ping is never queued; send it",
    ]
    world.ark("drain")
    arrived = sorted(request.headers["x-signalark-event"] for request in server.requests)
    assert arrived == sorted(name for _, name in accepted(world))


def test_an_event_named_twice_in_a_line_is_refused(world: World, server: TestReceiver) -> None:
    line = promoted("a")[:-1] + b',"event":"signal.play_matched"}'
    (receipt,) = receipts(world.ark(*SEND, "--no-validate", stdin=line))
    assert receipt["error"] == "$.event: `event` appears more than once with different values; keep one"


def test_the_key_of_a_line_is_its_event_id_and_the_same_line_again_is_a_repetition(
    world: World, server: TestReceiver
) -> None:
    assert receipts(world.ark(*KEYS, stdin=promoted("a") + b"\n" + matched("b"))) == [
        {"line": 1, "event_id": "a"},
        {"line": 2, "event_id": "b"},
    ]
    world.clock.advance(60)
    again = world.ark(*KEYS, stdin=promoted("c") + b"\n" + matched("b") + b"\n" + b"  " + promoted("a"))
    assert receipts(again) == [
        {"line": 1, "event_id": "c"},
        {"line": 2, "event_id": "b", "repeated": True},
        {"line": 3, "event_id": "a", "repeated": True},
    ]
    assert again.status == 0
    assert [key for key, _ in accepted(world)] == ["a", "b", "c"]


def test_as_text_a_repetition_has_a_third_column_and_is_counted(world: World, server: TestReceiver) -> None:
    words = ("send", "-", "--ndjson", "--queue", "--id-from", "signal.id")
    result = world.ark(*words, stdin=promoted("a") + b"\n" + promoted("a") + b"\n" + promoted("a", icp_score=1))
    assert result.out.splitlines()[:2] == ["1\ta", "2\ta\trepeated"]
    assert result.err == "accepted 1 event; 1 line repeated events accepted before; 1 line was refused\n"


@pytest.mark.parametrize("apart", [False, True], ids=["one batch", "two runs"])
def test_the_same_key_with_another_body_is_that_lines_error(world: World, server: TestReceiver, apart: bool) -> None:
    lines = [promoted("a"), promoted("a", icp_score=1), matched("a"), promoted("b")]
    if apart:
        world.ark(*KEYS, stdin=lines[0])
    result = world.ark(*KEYS, stdin=b"\n".join(lines))
    assert result.status == 2
    first, *others, last = receipts(result)
    assert (first["event_id"], last["event_id"]) == ("a", "b")
    for receipt in others:
        assert receipt["error"].startswith("the id 'a' belongs to another event, accepted at 2026-11-18T")
        assert "--id" not in receipt["error"]
    assert accepted(world) == [("a", "signal.promoted"), ("b", "signal.promoted")]


def test_a_line_without_a_usable_key_is_refused_and_the_others_are_not(world: World, server: TestReceiver) -> None:
    lines = [promoted("a b"), LEAD, promoted("ok"), promoted("x" * 129)]
    result = world.ark(*KEYS, stdin=b"\n".join(lines))
    assert [receipt.get("event_id") for receipt in receipts(result)] == [None, None, "ok", None]
    assert receipts(result)[0]["error"].endswith('got "a b"')
    assert receipts(result)[1]["error"].startswith("$.signal.id: required but missing: --id-from takes")


def test_the_key_is_taken_from_the_payload_after_its_settings(world: World, server: TestReceiver) -> None:
    result = world.ark(*KEYS, "--set", "signal.id=mine", stdin=promoted("a") + b"\n" + promoted("b"))
    assert receipts(result) == [
        {"line": 1, "event_id": "mine"},
        {"line": 2, "event_id": "mine", "repeated": True},
    ]


def test_a_key_of_a_single_send_counts_too(world: World, server: TestReceiver) -> None:
    world.ark("send", "signal.promoted", "--id", "a", stdin=promoted("a"))
    assert receipts(world.ark(*KEYS, stdin=promoted("a")))[0]["repeated"] is True
    assert world.ark("send", "signal.promoted", "--id", "a", "--json", stdin=promoted("a")).json["repeated"] is True


def test_what_was_repeated_is_not_delivered_twice(world: World, server: TestReceiver) -> None:
    for _ in range(2):
        assert world.ark(*[word for word in KEYS if word != "--queue"], stdin=promoted("a")).status == 0
    assert len(server.requests) == 1


def test_strict_refuses_all_for_a_key_with_two_bodies_wherever_the_other_is(world: World, server: TestReceiver) -> None:
    strict = (*KEYS, "--strict")
    in_stream = world.ark(*strict, stdin=b"\n".join([promoted("a"), promoted("a"), promoted("a", icp_score=1)]))
    said, error = receipts(in_stream)
    assert said == {"line": 3, "error": "the id 'a' belongs to an earlier line, which is another event"}
    assert error["error"]["message"] == "1 line was refused, so with --strict nothing was accepted"
    assert world.event_lines == []
    assert world.ark(*strict, stdin=promoted("a") + b"\n" + promoted("a")).status == 0
    in_queue = world.ark(*strict, stdin=promoted("b") + b"\n" + promoted("a", icp_score=1))
    assert receipts(in_queue)[0]["error"].startswith("the id 'a' belongs to another event, accepted at")
    assert len(world.event_lines) == 1
    assert receipts(world.ark(*strict, stdin=promoted("a")))[0]["repeated"] is True


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("send", "signal.promoted", "--id-from", "signal.id"), "--id-from is for --ndjson alone"),
        ((*SEND, "--id-from", "a..b"), "--id-from: expected a path, as in signal.id or plays[0].id, got 'a..b'"),
        ((*KEYS, "--id", "x"), "--ndjson and --id do not go together"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_words(
    world: World, server: TestReceiver, words: tuple[str, ...], why: str
) -> None:
    result = world.ark(*words, stdin=promoted("a"))
    assert result.status == 2
    assert why in result.err + result.out
    assert world.event_lines == []


def test_killed_at_any_step_the_producer_repeats_its_lines_and_each_is_there_once(
    world: World, server: TestReceiver
) -> None:
    keys = [f"key_{number}" for number in range(5)]
    stream = b"\n".join(map(promoted, keys))
    world.ark(*KEYS, stdin=b"\n".join(map(promoted, ("before_1", "before_2"))))

    def run() -> None:
        assert world.ark(*KEYS, stdin=stream).status == 0

    for number in range(1, count_steps(run) + 1):
        keys = [f"{number}_{key}" for key in range(3)]
        stream = b"\n".join(map(promoted, keys))
        killed_at(number, run, halfway=True)
        again = receipts(world.ark(*KEYS, stdin=stream))
        assert [receipt["event_id"] for receipt in again] == keys
        assert [key for key, _ in accepted(world) if key.startswith(f"{number}_")] == keys
