"""The JSON Schemas: valid by the specification, and in agreement with the checks of `ark send`."""

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from arkcli.contract import samples
from arkcli.contract.bodies import Filling, make_body
from arkcli.contract.events import EVENTS, PURPOSES, Account, Engagement, Play, Signal
from arkcli.contract.schemas import schema
from arkcli.errors import PayloadError
from tests.contract.test_bodies import REQUIRED, SCORES, VALID, WRONG, payload_with, payload_without
from tests.world import START

FILLING = Filling(timestamp="2026-11-23T11:28:48.123Z", batch_id="batch_1")
VALIDATORS = {event: Draft202012Validator(schema(event)) for event in EVENTS}
#: JSON Schema cannot express which days the calendar has.
BEYOND_A_SCHEMA = ('"2026-02-30"', '"2026-02-30T11:28:48Z"')


def taken(event: str, payload: bytes) -> bool:
    try:
        make_body(event, payload, FILLING)
    except PayloadError:
        return False
    return True


def conforms(event: str, payload: bytes) -> bool:
    """Whether the schema accepts the complete body: the payload with its envelope filled in."""
    return bool(VALIDATORS[event].is_valid(json.loads(make_body(event, payload, FILLING, validate=False))))


@pytest.mark.parametrize("event", EVENTS)
def test_a_schema_is_a_schema_of_draft_2020_12(event: str) -> None:
    found = schema(event)
    Draft202012Validator.check_schema(found)
    assert found["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert found["title"] == event
    assert PURPOSES[event] in found["description"]
    assert found["properties"]["event"]["const"] == event
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize("event", EVENTS)
def test_a_schema_demands_the_envelope_and_refers_only_to_what_it_holds(event: str) -> None:
    found = schema(event)
    assert {"event", "timestamp"} <= set(found["required"])
    assert ("batchId" in found["required"]) is (event != "ping")
    text = json.dumps(found)
    assert all(f'"#/$defs/{name}"' in text for name in found["$defs"])
    assert text.count('"$ref"') == text.count('"#/$defs/')


@pytest.mark.parametrize("event", EVENTS)
def test_the_sample_of_an_event_conforms(event: str) -> None:
    body = json.loads(samples.complete(event, START, "batch_1"))
    VALIDATORS[event].validate(body)
    for other in set(EVENTS) - {event}:
        assert not VALIDATORS[other].is_valid(body)


@pytest.mark.parametrize(("event", "path", "spelling"), VALID)
def test_what_is_taken_conforms(event: str, path: str, spelling: str) -> None:
    assert conforms(event, payload_with(event, path, spelling))


@pytest.mark.parametrize(("event", "path", "expected"), REQUIRED)
def test_a_payload_without_what_is_required_is_refused_by_both(event: str, path: str, expected: str) -> None:
    payload = payload_without(event, path)
    assert not taken(event, payload)
    assert not conforms(event, payload)


@pytest.mark.parametrize(
    ("event", "path", "spelling"), [row[:3] for row in WRONG if row[2] not in (*BEYOND_A_SCHEMA, "1e400")]
)
def test_a_broken_payload_is_refused_by_both(event: str, path: str, spelling: str) -> None:
    payload = payload_with(event, path, spelling)
    assert not taken(event, payload)
    assert not conforms(event, payload)


@pytest.mark.parametrize(("event", "path", "spelling"), [row[:3] for row in WRONG if row[2] in BEYOND_A_SCHEMA])
def test_what_a_schema_cannot_say_is_checked_by_ark_alone(event: str, path: str, spelling: str) -> None:
    payload = payload_with(event, path, spelling)
    assert not taken(event, payload)
    assert conforms(event, payload)


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("name", ["ping", "signal", "", None, 5])
def test_another_event_is_refused_by_both(event: str, name: object) -> None:
    body = json.loads(samples.complete(event, START, "batch_1")) | {"event": name}
    assert taken(event, json.dumps(body).encode()) is (name == event)
    assert VALIDATORS[event].is_valid(body) is (name == event)


digits = st.integers(0, 99).map("{:02d}".format)
times = st.tuples(
    st.sampled_from(["2026-11-23", "20261123", "2026-W48", "2026-W48-1", "2026-1123", "26-11-23", "", "2026-13-01"]),
    st.sampled_from(["T", " ", "t", ""]),
    st.sampled_from(["11:28:48", "11:28", "11", "112848", "11:2848", "24:00:00", "11:60", "11:28:48.", ""]),
    st.sampled_from(["", ".1", ".123456", ",5"]),
    st.sampled_from(["Z", "", "+01:00", "-0530", "+01", "z", "+24:00", "ZZ"]),
).map("".join)
scalars = st.none() | st.booleans() | st.integers(-5, 150) | st.sampled_from(["", "x", 0.5, -0.25, "news"]) | times
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner)
)


def objects(kind: type[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with some of a type's fields, valid or not, and with other fields."""
    right = {
        "source": st.sampled_from(["news", "funding", "rss"]),
        "domain": st.sampled_from(["a.example", "https://a.example", "a.example/", "a b", "bücher.de", ""]),
        "signal": st.deferred(lambda: objects(Signal)),
        "engagement": st.deferred(lambda: objects(Engagement)),
        "account": st.deferred(lambda: objects(Account)),
        "plays": st.lists(st.deferred(lambda: objects(Play)), max_size=2),
        "timestamp": st.just("2026-11-23T11:28:48Z") | times,
        "detected_at": times,
        "icp_score": st.integers(-1, 101),
    }
    fields = {name: st.one_of(*[right.get(name, st.just("text"))] * 6, anything) for name in kind.__struct_fields__}
    return st.fixed_dictionaries({}, optional=fields | {"other": anything})


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """The sample of an event with some fields replaced."""
    event = draw(st.sampled_from(list(EVENTS)))
    body = json.loads(samples.complete(event, START, "batch_1"))
    for name, value in draw(objects(EVENTS[event])).items():
        if isinstance(value, dict) and isinstance(body.get(name), dict) and draw(st.booleans()):
            body[name] |= value
        else:
            body[name] = value
    for name in draw(st.sets(st.sampled_from(list(body)), max_size=1)) - {"timestamp", "batchId", "event"}:
        del body[name]
    return event, body


@settings(max_examples=100)
@given(bodies())
def test_a_schema_and_the_checks_of_ark_send_are_of_one_mind(drawn: tuple[str, dict[str, Any]]) -> None:
    event, body = drawn
    assert taken(event, json.dumps(body).encode()) is VALIDATORS[event].is_valid(body)


@pytest.mark.parametrize(("event", "path"), SCORES)
def test_a_score_is_an_integer_in_the_schema_and_87_0_is_one_for_both(event: str, path: str) -> None:
    for spelling, is_taken in (("87", True), ("87.0", True), ("8.7e1", True), ("87.5", False), ("100.1", False)):
        payload = payload_with(event, path, spelling)
        assert taken(event, payload) is conforms(event, payload) is is_taken
    (options,) = re.findall(rf'"{path.rpartition(".")[2]}": \{{.*?"anyOf": (\[.*?\])', json.dumps(schema(event)))
    assert [option["type"] for option in json.loads(options)] == ["integer", "null"]
