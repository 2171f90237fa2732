"""`ark events`: the event types, sample payloads and schemas."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from arkcli.contract.events import EVENTS, PURPOSES
from tests.world import TestReceiver, World


def test_the_events_are_listed_with_what_each_is_sent_for(world: World) -> None:
    told = world.ark("events")
    assert told.status == 0
    assert told.out.splitlines() == [f"{event}\t{purpose}" for event, purpose in PURPOSES.items()]
    listed = world.ark("events", "--json").json["events"]
    assert listed == [{"event": event, "sent_when": purpose} for event, purpose in PURPOSES.items()]


@pytest.mark.parametrize("event", [event for event in EVENTS if event != "ping"])
def test_a_sample_is_sent_as_it_stands(
    world: World, receive: Callable[..., TestReceiver], tmp_path: Path, event: str
) -> None:
    receiver = receive(200)
    world.add(receiver, "crm")
    file = tmp_path / "sample.json"
    file.write_text(world.ark("events", "sample", event).out)
    assert world.ark("send", event, str(file)).status == 0
    assert json.loads(receiver.requests[0].body) == json.loads(file.read_text())


@pytest.mark.parametrize("event", EVENTS)
def test_a_sample_is_one_payload_for_people_and_for_programs(world: World, event: str) -> None:
    shown = world.ark("events", "sample", event)
    assert (shown.status, shown.err) == (0, "")
    assert shown.out.endswith("}\n")
    assert shown.out.startswith(f'{{\n  "event": "{event}",\n  "timestamp": "')
    as_json = world.ark("events", "sample", event, "--json")
    assert as_json.out.count("\n") == 1
    assert as_json.json.keys() == json.loads(shown.out).keys()


@pytest.mark.parametrize("event", EVENTS)
def test_a_schema_judges_the_sample(world: World, event: str) -> None:
    schema = world.ark("events", "schema", event)
    assert schema.status == 0
    assert world.ark("events", "schema", event, "--json").json == json.loads(schema.out)
    Draft202012Validator(json.loads(schema.out)).validate(world.ark("events", "sample", event, "--json").json)


@pytest.mark.parametrize("command", ["sample", "schema"])
def test_an_unknown_event_is_bad_input_and_the_near_one_is_suggested(world: World, command: str) -> None:
    result = world.ark("events", command, "signal.promotd")
    assert (result.status, result.out) == (2, "")
    assert "Did you mean 'signal.promoted'?" in result.err
