"""`ark send` and `ark ping`: what they accept, where they send it, and their exit statuses."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.world import PAYLOAD, SIGNAL, TestReceiver, World, answer

Receive = Callable[..., TestReceiver]


def test_without_a_destination_nothing_is_accepted(world: World) -> None:
    result = world.ark("send", "signal.promoted", "--sample")
    assert result.status == 2
    assert "ark dest add" in result.err
    assert not world.home.exists()


@pytest.mark.parametrize("way", ["file", "standard input", "dash"])
def test_the_payload_comes_from_a_file_or_standard_input(
    world: World, receive: Receive, way: str, tmp_path: Path
) -> None:
    server = receive(200)
    world.add(server, "d")
    file = tmp_path / "payload.json"
    file.write_bytes(json.dumps(SIGNAL, indent=4).encode())
    arguments = {"file": [str(file)], "standard input": [], "dash": ["-"]}[way]
    result = world.ark("send", "signal.promoted", *arguments, stdin=file.read_bytes())
    assert result.status == 0
    body = json.loads(server.requests[0].body)
    assert body["event"] == "signal.promoted"
    assert body["batchId"].startswith("batch_")
    assert body["timestamp"].endswith("Z")
    assert {key: body[key] for key in SIGNAL} == SIGNAL


def test_the_json_of_a_send(world: World, receive: Receive) -> None:
    world.add(receive(200), "good")
    world.add(receive(lambda _: answer(503, b"busy")), "bad")
    result = world.ark("send", "signal.promoted", "--json", stdin=PAYLOAD)
    assert result.status == 75
    assert result.err == ""
    assert result.json["event"].keys() == {"id", "type", "at", "bytes"}
    keys = {"destination", "outcome", "attempt", "status", "error", "duration_ms", "next_attempt_at"}
    assert all(found.keys() == keys for found in result.json["deliveries"])
    good, bad = result.json["deliveries"]
    assert (good["destination"], good["outcome"], good["attempt"], good["status"]) == ("good", "delivered", 1, 200)
    assert good["next_attempt_at"] is None
    assert (bad["outcome"], bad["status"]) == ("retrying", 503)
    assert bad["next_attempt_at"] > result.json["event"]["at"]


def test_the_text_of_a_send_is_tab_separated_when_piped(world: World, receive: Receive) -> None:
    world.add(receive(200), "good")
    result = world.ark("send", "signal.promoted", stdin=PAYLOAD)
    assert result.out.startswith("good\tdelivered\t200\t")
    assert result.err.startswith("accepted evt_")


def test_quiet_says_nothing_when_all_goes_well(world: World, receive: Receive) -> None:
    world.add(receive(200), "good")
    assert world.ark("send", "signal.promoted", "-q", stdin=PAYLOAD) == (0, "", "")


def test_to_sends_to_these_alone(world: World, receive: Receive) -> None:
    servers = {name: receive(200) for name in ("a", "b", "c")}
    for name, server in servers.items():
        world.add(server, name)
    result = world.ark("send", "signal.promoted", "--to", "a", "--to", "c", "--json", stdin=PAYLOAD)
    assert [found["destination"] for found in result.json["deliveries"]] == ["a", "c"]
    world.ark("drain")
    assert {name: len(server.requests) for name, server in servers.items()} == {"a": 1, "b": 0, "c": 1}
    assert world.ark("send", "signal.promoted", "--to", "x", stdin=PAYLOAD).status == 2


def test_queue_accepts_and_leaves_delivering_to_drain(world: World, receive: Receive) -> None:
    server = receive(200)
    world.add(server, "d")
    result = world.ark("send", "signal.promoted", "--queue", "--json", stdin=PAYLOAD)
    assert (result.status, result.json["deliveries"][0]["outcome"]) == (0, "waiting")
    assert server.connections == 0
    assert world.ark("drain", "--json").json["delivered"] == 1


@pytest.mark.parametrize("event", ["signal.promoted", "signal.play_matched", "social.lead_promoted"])
def test_a_sample_of_every_event_can_be_sent(world: World, receive: Receive, event: str) -> None:
    server = receive(200)
    world.add(server, "d")
    assert world.ark("send", event, "--sample").status == 0
    assert json.loads(server.requests[0].body)["event"] == event


def test_the_same_id_and_body_again_is_a_no_op_that_says_so(world: World, receive: Receive) -> None:
    server = receive(200)
    world.add(server, "d")
    first = world.ark("send", "signal.promoted", "--id", "order-17", "--json", stdin=PAYLOAD)
    world.clock.advance(60)
    again = world.ark("send", "signal.promoted", "--id", "order-17", stdin=PAYLOAD)
    as_json = world.ark("send", "signal.promoted", "--id", "order-17", "--json", stdin=PAYLOAD)
    assert first.json["event"]["id"] == "order-17"
    assert (again.status, as_json.status) == (0, 0)
    assert "nothing was sent again" in again.out
    assert as_json.json["event"] == first.json["event"]
    assert len(server.requests) == 1
    assert len(world.event_lines) == 1


def test_the_same_id_with_another_body_or_event_is_refused(world: World, receive: Receive) -> None:
    server = receive(200)
    world.add(server, "d")
    world.ark("send", "signal.promoted", "--id", "order-17", stdin=PAYLOAD)
    other = json.dumps({**SIGNAL, "extra": 1}).encode()
    plays = json.dumps({**SIGNAL, "plays": [{"name": "x"}]}).encode()
    assert world.ark("send", "signal.promoted", "--id", "order-17", stdin=other).status == 2
    assert world.ark("send", "signal.play_matched", "--id", "order-17", stdin=plays).status == 2
    assert len(world.event_lines) == 1


@pytest.mark.parametrize("event_id", ["", "a b", "-a", "ä", "x" * 129, 'a"b', "a\nb"])
def test_an_id_that_could_not_stand_in_a_header_is_bad_input(world: World, receive: Receive, event_id: str) -> None:
    world.add(receive(200), "d")
    assert world.ark("send", "signal.promoted", f"--id={event_id}", stdin=PAYLOAD).status == 2
    assert world.event_lines == []


@pytest.mark.parametrize(
    ("event", "payload", "why"),
    [
        ("signal.promoted", b"{}", "$.signal: required"),
        ("signal.promoted", b"", "$: this is not JSON: it is empty"),
        ("signal.promoted", b"[1]", "$: expected a JSON object"),
        ("signal.promoted", b'{"event":"ping"}', '$.event: expected "signal.promoted"'),
        ("signal.play_matched", PAYLOAD, "$.plays: required"),
        ("signal.promotet", PAYLOAD, "Did you mean 'signal.promoted'?"),
    ],
)
def test_bad_input_is_named_and_nothing_is_accepted(
    world: World, receive: Receive, event: str, payload: bytes, why: str
) -> None:
    server = receive(200)
    world.add(server, "d")
    result = world.ark("send", event, stdin=payload)
    assert result.status == 2
    assert why in result.err
    assert world.event_lines == []
    assert server.connections == 0


def test_no_validate_takes_any_object_whose_event_does_not_contradict(world: World, receive: Receive) -> None:
    server = receive(200)
    world.add(server, "d")
    assert world.ark("send", "signal.promoted", "--no-validate", stdin=b'{"signal": 3}').status == 0
    assert json.loads(server.requests[0].body)["signal"] == 3
    assert world.ark("send", "signal.promoted", "--no-validate", stdin=b'{"event": "ping"}').status == 2


def test_a_file_that_cannot_be_read_is_bad_input(world: World, receive: Receive, tmp_path: Path) -> None:
    world.add(receive(200), "d")
    result = world.ark("send", "signal.promoted", str(tmp_path / "nowhere.json"))
    assert result.status == 2
    assert "nowhere.json" in result.err


def test_a_large_body_is_warned_about_and_a_huge_one_refused(world: World, receive: Receive) -> None:
    world.add(receive(200), "d")
    large = json.dumps({**SIGNAL, "notes": "x" * 30_000}).encode()
    huge = json.dumps({**SIGNAL, "notes": "x" * 1_100_000}).encode()
    assert "warning" in world.ark("send", "signal.promoted", stdin=large).err
    result = world.ark("send", "signal.promoted", stdin=huge)
    assert result.status == 2
    assert len(world.event_lines) == 1


def test_a_destination_held_by_another_process_is_left_to_it(world: World, receive: Receive) -> None:
    server = receive(200)
    world.add(server, "d")
    with world.held("d"):
        result = world.ark("send", "signal.promoted", "--json", stdin=PAYLOAD)
        assert (result.status, result.json["deliveries"][0]["outcome"]) == (75, "waiting")
        said = world.ark("send", "signal.promoted", stdin=PAYLOAD)
        assert f"d is left to process {os.getpid()} (drain)" in said.err
        drained = world.ark("drain", "--json")
        assert (drained.json["attempted"], drained.json["skipped"]) == (0, 1)
        assert drained.json["held"] == [{"name": "d", "process": os.getpid(), "purpose": "drain"}]
        assert f"d was left to process {os.getpid()} (drain)" in world.ark("drain").err
    assert world.ark("drain", "--json").json["delivered"] == 2


def test_ping_is_one_attempt_to_each_and_never_queued(world: World, receive: Receive) -> None:
    good, bad = receive(200), receive(500)
    world.add(good, "good")
    world.add(bad, "bad")
    result = world.ark("ping", "--json")
    assert result.status == 1
    outcomes = {found["destination"]: (found["outcome"], found["status"]) for found in result.json["deliveries"]}
    assert outcomes == {"good": ("delivered", 200), "bad": ("failed", 500)}
    assert world.ark("ping", "good").status == 0
    assert world.ark("send", "ping", "--to", "good").status == 0
    assert world.ark("send", "ping", "--to", "bad", "--json").json["deliveries"][0]["status"] == 500
    assert world.ark("send", "ping").status == 1
    world.clock.advance(86400)
    assert world.ark("drain", "--json").json["attempted"] == 0
    assert world.event_lines == []


def test_a_rotated_secret_signs_what_is_already_waiting(world: World, receive: Receive) -> None:
    server = receive(200)
    world.add(server, "d")
    world.ark("send", "signal.promoted", "--queue", stdin=PAYLOAD)
    secret = world.ark("secret", "rotate", "--reveal", "--json").json["secret"]
    world.ark("drain")
    (request,) = server.requests
    arguments = ("verify", "--secret", secret, "--signature", request.signature)
    assert world.ark(*arguments, stdin=request.body).status == 0


def test_no_secret_and_no_signature_is_ever_in_the_queue(world: World, receive: Receive) -> None:
    server = receive(500)
    world.add(server, "d")
    world.ark("send", "signal.promoted", stdin=PAYLOAD)
    secret = world.ark("secret", "show", "--reveal", "--json").json["secret"]
    kept = b"".join(path.read_bytes() for path in world.queue_directory.rglob("*") if path.is_file())
    assert server.requests[0].body in kept
    assert secret.encode() not in kept
    assert server.requests[0].signature.encode() not in kept


@pytest.mark.parametrize("event", ["signal.promoted", "signal.play_matched", "social.lead_promoted"])
@pytest.mark.parametrize("options", [(), ("--set", "account.employees=7")])
def test_a_sample_of_the_same_id_is_not_sent_again_however_late(
    world: World, receive: Receive, event: str, options: tuple[str, ...]
) -> None:
    server = receive()
    world.add(server, "crm")
    assert world.ark("send", event, "--sample", "--id", "one", *options).status == 0
    world.clock.advance(12.345)
    again = world.ark("send", event, "--sample", "--id", "one", *options, "--json")
    assert (again.status, again.json["repeated"], len(server.requests)) == (0, True, 1)
    assert world.ark("send", event, "--sample", "--id", "one", "--set", "account.employees=8").status == 2


def test_an_error_in_a_file_names_the_file_and_the_line(world: World, receive: Receive, tmp_path: Path) -> None:
    world.add(receive(200), "d")
    broken = tmp_path / "broken.json"
    broken.write_bytes(b'{"signal": {"id": "s",\n "signal_name" "n"}}\n')
    result = world.ark("send", "signal.promoted", str(broken))
    assert result.status == 2
    assert f"{broken}: $: this is not JSON: expected ':' (line 2, column 16)" in result.err
    assert f"{broken}" not in world.ark("send", "signal.promoted", "-", stdin=broken.read_bytes()).err
