"""Bodies: what is required, what is rejected and with which message, and that nothing else changes."""

import copy
import json
import re
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arkcli.contract.bodies import (
    DEEPEST,
    TOO_DEEP,
    Filling,
    check_depth,
    check_raw_body,
    event_of,
    make_body,
    refill,
)
from arkcli.contract.events import EVENTS, LARGE_BODY, MAX_BODY, PURPOSES
from arkcli.errors import PayloadError

FILLING = Filling(timestamp="2026-11-23T11:28:48.123Z", batch_id="batch_0001")
LATER = Filling(timestamp="2026-12-24T18:00:00.000Z", batch_id="batch_0002")
PROMOTED, MATCHED, LEAD = "signal.promoted", "signal.play_matched", "social.lead_promoted"

SIGNAL: dict[str, Any] = {"signal": {"id": "sig_1", "signal_name": "Series B", "source": "funding"}}
#: The smallest valid payload of each event (contract, "Required per event").
LEAST: dict[str, dict[str, Any]] = {
    "ping": {},
    PROMOTED: SIGNAL,
    MATCHED: SIGNAL | {"plays": [{"name": "Funding Event Alert"}]},
    LEAD: {"engagement": {"platform": "linkedin", "engagement_type": "comment"}},
}


def having(part: str) -> list[str]:
    """The events with such a part."""
    return [event for event, kind in EVENTS.items() if part in kind.__struct_fields__]


SOURCES = "funding, job_posting, linkedin, news, review_site, tech_install, twitter, web_visit, other"
TEXT, FILLED_TEXT, OBJECT = "a string", "a non-empty string", "an object"
SCORE, UTC = "an integer from 0 to 100", "an ISO 8601 time in UTC, ending in Z"
ISO, DOMAIN = "an ISO 8601 time", "a bare domain: no scheme, no path, no trailing slash"
PLAYS = "a list of at least one play"

REQUIRED = [
    (PROMOTED, "$.signal", OBJECT),
    (PROMOTED, "$.signal.id", FILLED_TEXT),
    (PROMOTED, "$.signal.signal_name", FILLED_TEXT),
    (PROMOTED, "$.signal.source", f"one of {SOURCES}"),
    (MATCHED, "$.signal", OBJECT),
    (MATCHED, "$.signal.id", FILLED_TEXT),
    (MATCHED, "$.signal.signal_name", FILLED_TEXT),
    (MATCHED, "$.signal.source", f"one of {SOURCES}"),
    (MATCHED, "$.plays", PLAYS),
    (MATCHED, "$.plays[0].name", FILLED_TEXT),
    (LEAD, "$.engagement", OBJECT),
    (LEAD, "$.engagement.platform", FILLED_TEXT),
    (LEAD, "$.engagement.engagement_type", FILLED_TEXT),
]

OPTIONAL_TEXTS = [
    *((PROMOTED, f"$.signal.{key}") for key in ("source_url", "detected_at", "description", "why_now")),
    *((MATCHED, f"$.account.{key}") for key in ("id", "name", "domain")),
    *(
        (LEAD, f"$.engagement.{key}")
        for key in (
            *("engager_name", "engager_title", "engager_company", "engager_profile_url", "company_domain"),
            *("engagement_content", "post_content", "post_url", "engagement_date"),
        )
    ),
]
SCORES = [(PROMOTED, "$.signal.icp_score"), (MATCHED, "$.signal.icp_score"), (LEAD, "$.engagement.warmth_score")]

WRONG = [
    *((event, path, spelling, TEXT) for event, path in OPTIONAL_TEXTS for spelling in ("5", "true", "[]", "{}")),
    *(
        (event, path, spelling, SCORE)
        for event, path in SCORES
        for spelling in ('"87"', "101", "-1", "87.5", "1e3", "1e-1", "1e400", "true", "[]", "1" * 70)
    ),
    (PROMOTED, "$.signal.source", '"rss"', f"one of {SOURCES}"),
    (PROMOTED, "$.signal.source", '"Funding"', f"one of {SOURCES}"),
    (PROMOTED, "$.signal.id", '""', FILLED_TEXT),
    (PROMOTED, "$.signal.signal_name", '""', FILLED_TEXT),
    (LEAD, "$.engagement.platform", '""', FILLED_TEXT),
    (PROMOTED, "$.account", '"Northwind"', OBJECT),
    (PROMOTED, "$.plays", "{}", "a list of objects"),
    (PROMOTED, "$.plays[0]", "1", OBJECT),
    (PROMOTED, "$.plays[0].name", "null", FILLED_TEXT),
    (MATCHED, "$.plays", "[]", PLAYS),
    (MATCHED, "$.plays[0]", '"Funding Event Alert"', OBJECT),
    (PROMOTED, "$.batchId", "null", FILLED_TEXT),
    (PROMOTED, "$.batchId", '""', FILLED_TEXT),
    *((event, "$.timestamp", spelling, UTC) for event in LEAST for spelling in ("null", "1795000000", '""', '"now"')),
    (PROMOTED, "$.timestamp", '"2026-11-23"', UTC),
    (PROMOTED, "$.timestamp", '"2026-11-23T11:28:48"', UTC),
    (PROMOTED, "$.timestamp", '"2026-11-23T11:28:48+00:00"', UTC),
    (PROMOTED, "$.timestamp", '"2026-11-23 11:28:48Z"', UTC),
    (PROMOTED, "$.timestamp", '"2026-02-30T11:28:48Z"', UTC),
    (PROMOTED, "$.timestamp", '"2026-11-23T11:28:48ZZ"', UTC),
    (PROMOTED, "$.signal.detected_at", '"yesterday"', ISO),
    (PROMOTED, "$.signal.detected_at", '""', ISO),
    *((event, "$.signal.detected_at", '"2026-02-30"', ISO) for event in having("signal")),
    (PROMOTED, "$.signal.detected_at", '"2026-11-23T25:00:00Z"', ISO),
    (PROMOTED, "$.signal.detected_at", '"2026-11-23_11:28:48Z"', ISO),
    (PROMOTED, "$.signal.detected_at", '"23.11.2026"', ISO),
    *(
        (event, "$.account.domain", f'"{domain}"', DOMAIN)
        for event in having("account")
        for domain in (
            *("https://northwind.example", "northwind.example/", "northwind.example/about", "north wind.example"),
            "//northwind.example",
        )
    ),
]

VALID = [
    *((event, "$.signal.source", f'"{source}"') for event in (PROMOTED, MATCHED) for source in SOURCES.split(", ")),
    *((event, path, "null") for event, path in OPTIONAL_TEXTS + SCORES),
    *((event, path, '"2026-11-23"') for event, path in OPTIONAL_TEXTS),
    *((event, path, spelling) for event, path in SCORES for spelling in ("0", "1", "87", "100")),
    *((event, "$.account", spelling) for event in (PROMOTED, MATCHED, LEAD) for spelling in ("null", "{}")),
    *((PROMOTED, "$.plays", spelling) for spelling in ("null", "[]", '[{"name":"A"},{"name":"B","window_days":7}]')),
    (MATCHED, "$.plays", '[{"name":"A"},{"name":"B","window_days":null}]'),
    *(
        (event, "$.account.domain", f'"{domain}"')
        for event in (PROMOTED, LEAD)
        for domain in ("a.example", "bücher.de")
    ),
    *(
        (PROMOTED, "$.signal.detected_at", f'"{text}"')
        for text in (
            *("2026-11-23T11:28:48Z", "2026-11-23T11:28:48.123456Z", "2026-11-23T12:28:48+01:00"),
            *("2026-11-23T11:28", "20261123T112848Z", "2026-11-23"),
        )
    ),
    *((event, "$.timestamp", '"2026-11-23T11:28:48Z"') for event in LEAST),
    *((event, "$.timestamp", '"2026-11-23T11:28:48.123456Z"') for event in LEAST),
    *((event, "$.batchId", '"batch_of_mine"') for event in (PROMOTED, MATCHED, LEAD)),
    *(
        (LEAD, "$.engagement.platform", f'"{name}"')
        for name in ("linkedin", "twitter", "hackernews", "reddit", "other")
    ),
    *(
        (LEAD, "$.engagement.engagement_type", f'"{name}"')
        for name in ("like", "comment", "repost", "mention", "other")
    ),
]

#: Where unknown fields are allowed.
UNKNOWN_PLACES = [
    *((event, "$.firmographics") for event in LEAST),
    *((PROMOTED, path) for path in ("$.signal.headcount", "$.account.industry", "$.plays[0].window_days")),
    *((LEAD, path) for path in ("$.engagement.followers", "$.account.industry")),
]
#: Values whose spelling a JSON library would change.
SPELLINGS = [
    *("1.50", "1e400", "-1E-400", "-0", "-0.0", "0.10e+01", "12345678901234567890.10", "1" * 5000),
    *(
        r'"\u00e9"',
        r'"\/"',
        r'"\u0041"',
        r'"\ud83d\ude00"',
        r'"\u0000"',
        r'"\""',
        r'"\\"',
        '"é"',
        '"  two  spaces\x7f"',
    ),
    *("null", "true", "[]", "{}", '{"b":1,"a":2}', '{"a":1,"a":2}', '[[],{"":""}]'),
]


def steps(path: str) -> list[str | int]:
    return [int(step) if step.isdigit() else step for step in path[2:].replace("[", ".").replace("]", "").split(".")]


def payload_with(event: str, path: str, spelling: str) -> bytes:
    """The smallest payload of an event, with a value in this spelling at a path."""
    payload = copy.deepcopy(LEAST[event])
    place: Any = payload
    *before, last = steps(path)
    for step in before:
        if isinstance(place, dict):
            place = place.setdefault(step, [{"name": "Play"}] if step == "plays" else {})
        else:
            place = place[step]
    if isinstance(last, int):
        payload["plays"] = ["the value"]
    else:
        place[last] = "the value"
    return json.dumps(payload).replace('"the value"', spelling).encode()


def payload_without(event: str, path: str) -> bytes:
    payload = copy.deepcopy(LEAST[event])
    place: Any = payload
    *before, last = steps(path)
    for step in before:
        place = place[step]
    del place[last]
    return json.dumps(payload).encode()


def refused(event: str, payload: bytes, *, validate: bool = True) -> str:
    with pytest.raises(PayloadError) as raised:
        make_body(event, payload, FILLING, validate=validate)
    return str(raised.value)


def test_the_events_are_those_of_the_contract() -> None:
    assert list(EVENTS) == list(PURPOSES) == list(LEAST)


@pytest.mark.parametrize(("event", "payload"), LEAST.items())
def test_the_least_payload_of_an_event_is_enough(event: str, payload: dict[str, Any]) -> None:
    body = json.loads(make_body(event, json.dumps(payload).encode(), FILLING))
    batch = {} if event == "ping" else {"batchId": "batch_0001"}
    assert body == {"event": event, "timestamp": "2026-11-23T11:28:48.123Z", **batch, **payload}


@pytest.mark.parametrize(("event", "path", "expected"), REQUIRED)
def test_a_required_field_that_is_missing_is_named(event: str, path: str, expected: str) -> None:
    assert refused(event, payload_without(event, path)) == f"{path}: required but missing: expected {expected}"


@pytest.mark.parametrize(("event", "path", "expected"), REQUIRED)
def test_a_required_field_of_a_wrong_type_is_named(event: str, path: str, expected: str) -> None:
    for spelling in ("null", "5"):
        assert refused(event, payload_with(event, path, spelling)) == f"{path}: expected {expected}, got {spelling}"


@pytest.mark.parametrize(("event", "path", "spelling", "expected"), WRONG)
def test_a_value_that_breaks_the_contract_is_named(event: str, path: str, spelling: str, expected: str) -> None:
    assert refused(event, payload_with(event, path, spelling)) == f"{path}: expected {expected}, got {spelling}"


def test_an_error_is_told_in_the_words_of_the_contract() -> None:
    said = refused(PROMOTED, payload_with(PROMOTED, "$.signal.icp_score", '"87"'))
    assert said == '$.signal.icp_score: expected an integer from 0 to 100, got "87"'


def test_an_error_shows_only_the_start_of_a_long_value() -> None:
    said = refused(PROMOTED, payload_with(PROMOTED, "$.signal.icp_score", json.dumps("x" * 5000)))
    assert said.startswith('$.signal.icp_score: expected an integer from 0 to 100, got "xxx')
    assert len(said) < 150


def test_an_error_names_the_place_in_a_list() -> None:
    payload = b'{"signal":{"id":"s","signal_name":"n","source":"news"},"plays":[{"name":"A"},{"name":"B"},{"name":5}]}'
    assert refused(MATCHED, payload) == "$.plays[2].name: expected a non-empty string, got 5"


@pytest.mark.parametrize(("event", "path", "spelling"), VALID)
def test_what_the_contract_names_is_valid_and_kept(event: str, path: str, spelling: str) -> None:
    body = make_body(event, payload_with(event, path, spelling), FILLING)
    assert f'"{steps(path)[-1]}":{spelling}'.encode() in body


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_an_unknown_field_passes_untouched_byte_for_byte_wherever_it_stands(spelling: str) -> None:
    for event, path in UNKNOWN_PLACES:
        body = make_body(event, payload_with(event, path, spelling), FILLING)
        assert f'"{steps(path)[-1]}":{spelling}'.encode() in body


@pytest.mark.parametrize("spelling", [r'"so happy \ud83d"', r'"\ud83d and more"', r'"\ude00"'])
def test_half_a_surrogate_pair_is_refused_in_words(spelling: str) -> None:
    # JavaScript may cut a string inside a surrogate pair, and writes the remaining half as an escape.
    with pytest.raises(PayloadError, match="half of a surrogate pair"):
        make_body(PROMOTED, payload_with(PROMOTED, "$.post_content", spelling), FILLING)


def test_only_white_space_between_tokens_is_removed() -> None:
    payload = b'\r\n{ "signal" :\t{ "id" : "s  1" , "signal_name":"a , b : [ c ]","source":"news", "x":[ 1 , 2 ] } }\n '
    assert make_body(PROMOTED, payload, FILLING) == (
        b'{"event":"signal.promoted","timestamp":"2026-11-23T11:28:48.123Z","batchId":"batch_0001",'
        b'"signal":{"id":"s  1","signal_name":"a , b : [ c ]","source":"news","x":[1,2]}}'
    )


@pytest.mark.parametrize(
    ("given_envelope", "put_in_front"),
    [
        ("", '"event":"signal.promoted","timestamp":"2026-11-23T11:28:48.123Z","batchId":"batch_0001",'),
        ('"event":"signal.promoted",', '"timestamp":"2026-11-23T11:28:48.123Z","batchId":"batch_0001",'),
        ('"timestamp":"2025-01-01T00:00:00Z",', '"event":"signal.promoted","batchId":"batch_0001",'),
        ('"batchId":"mine",', '"event":"signal.promoted","timestamp":"2026-11-23T11:28:48.123Z",'),
        ('"batchId":"mine","timestamp":"2025-01-01T00:00:00Z","event":"signal.promoted",', ""),
        (r'"\u0065vent":"signal\u002epromoted",', '"timestamp":"2026-11-23T11:28:48.123Z","batchId":"batch_0001",'),
    ],
)
def test_the_envelope_is_filled_in_where_it_is_absent_and_kept_where_it_is_present(
    given_envelope: str, put_in_front: str
) -> None:
    rest = '"signal":{"id":"s","signal_name":"n","source":"news"}}'
    payload = f"{{{given_envelope}{rest}".encode()
    assert make_body(PROMOTED, payload, FILLING) == f"{{{put_in_front}{given_envelope}{rest}".encode()


@pytest.mark.parametrize("spelling", ['"ping"', '"Signal.promoted"', '""', "null", "5", '["signal.promoted"]', "1e400"])
def test_an_event_that_contradicts_is_refused_validated_or_not(spelling: str) -> None:
    for validate in (True, False):
        said = refused(PROMOTED, payload_with(PROMOTED, "$.event", spelling), validate=validate)
        assert said == f'$.event: expected "signal.promoted" as on the command line, got {spelling}'


@pytest.mark.parametrize(
    "twice",
    [
        '"event":"ping","event":"signal.promoted"',
        '"event":null,"event":"signal.promoted"',
        '"\\u0065vent":"ping","event":"signal.promoted"',
        '"ev\\u0065nt":"ping","x":{"event":"signal.promoted"},"event":"signal.promoted"',
        '"event":{"event":"signal.promoted"},"\\u0065\\u0076\\u0065\\u006E\\u0074":"signal.promoted"',
    ],
)
def test_an_event_that_contradicts_itself_is_refused(twice: str) -> None:
    payload = f'{{{twice},"signal":{{"id":"s","signal_name":"n","source":"news"}}}}'.encode()
    for validate in (True, False):
        assert refused(PROMOTED, payload, validate=validate).startswith("$.event: `event` appears more than once")


@pytest.mark.parametrize(
    "text",
    [
        '"event":"signal.promoted","event":"signal.promoted"',
        '"event":"signal.promoted","x":{"event":"ping"},"y":"event","z":["event"]',
        '"event":"signal.promoted","x":"\\u0065",' + '"big":' + "9" * 5_000,
    ],
)
def test_an_event_that_stands_elsewhere_or_agrees_passes_byte_for_byte(text: str) -> None:
    rest = '"timestamp":"2026-11-23T11:28:48.123Z","batchId":"b","signal":{"id":"s","signal_name":"n","source":"news"}'
    payload = f"{{{text},{rest}}}".encode()
    assert make_body(PROMOTED, payload, FILLING) == payload


def test_a_ping_holds_nothing_but_its_event_and_its_time() -> None:
    # As from the command line: an equal string, but not the same object.
    body = make_body(b"ping".decode(), b"{}", FILLING)
    assert body == b'{"event":"ping","timestamp":"2026-11-23T11:28:48.123Z"}'


def test_without_validation_any_object_passes() -> None:
    body = make_body(PROMOTED, b'{"timestamp":5,"batchId":null,"signal":[]}', FILLING, validate=False)
    assert body == b'{"event":"signal.promoted","timestamp":5,"batchId":null,"signal":[]}'


UNREADABLE = [
    (b"", "$: this is not JSON: it is empty; give a JSON object"),
    (b" \r\n\t", "$: this is not JSON: it is empty; give a JSON object"),
    (b"\xef\xbb\xbf{}", "$: this is not JSON: it begins with a byte-order mark; save it as UTF-8 without one"),
    (b'{"a":"\xff"}', "$: byte 6 is not UTF-8; save the payload as UTF-8 and try again"),
    (b'{"a":"\xed\xa0\x80"}', "$: byte 6 is not UTF-8; save the payload as UTF-8 and try again"),
    ('{"a":1}'.encode("utf-16"), "$: byte 0 is not UTF-8; save the payload as UTF-8 and try again"),
    (b"[]", "$: expected a JSON object"),
    (b"null", "$: expected a JSON object"),
    (b'"{}"', "$: expected a JSON object"),
    (b"17", "$: expected a JSON object"),
    (b'{"a":NaN}', "$: this is not JSON"),
    (b'{"a":Infinity}', "$: this is not JSON"),
    (b'{"a":-Infinity}', "$: this is not JSON"),
    (b"{}x", "$: this is not JSON"),
    (b"{}{}", "$: this is not JSON"),
    (b"{}\x00", "$: this is not JSON"),
    (b'{"a":1', "$: this is not JSON"),
    (b'{"a":1,}', "$: this is not JSON"),
    (b"{'a':1}", "$: this is not JSON"),
    (b'{"a":01}', "$: this is not JSON"),
    (b'{"a":.5}', "$: this is not JSON"),
    (b'{"a":"\n"}', "$: this is not JSON"),
    (b'{"a":"\\x41"}', "$: this is not JSON"),
    (b'{"a":1 /* one */}', "$: this is not JSON"),
    (b"\x0c{}", "$: this is not JSON"),
    (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, TOO_DEEP),
    (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", TOO_DEEP),
    (
        b'{"event":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        TOO_DEEP,
    ),
]


@pytest.mark.parametrize(("payload", "said"), UNREADABLE, ids=[ascii(payload[:20]) for payload, _ in UNREADABLE])
def test_what_is_not_a_json_object_in_utf_8_is_refused(payload: bytes, said: str) -> None:
    for event in LEAST:
        assert refused(event, payload).startswith(said)
        assert refused(event, payload, validate=False).startswith(said)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'{"x":', b"}"),
        (b'{"timestamp":', b"}"),
        (b'{"signal":', b"}"),
        (b'{"signal":{"id":"s","signal_name":"n","source":"rss","x":', b"}}"),
        (b'{"account":5,"signal":{"id":', b"}}"),
    ],
)
def test_however_deep_a_payload_is_nested_there_is_a_body_or_a_payload_error(before: bytes, after: bytes) -> None:
    for depth in range(DEEPEST - 5, DEEPEST + 5):
        for event in LEAST:
            make_or_refuse(event, before + b"[" * depth + b"]" * depth + after)


def test_a_body_may_have_one_mebibyte_and_not_a_byte_more() -> None:
    assert MAX_BODY == 1024 * 1024
    frame = len(make_body(PROMOTED, b'{"x":""}', FILLING, validate=False))
    fits = b'{"x":"%b"}' % (b"a" * (MAX_BODY - frame))
    assert len(make_body(PROMOTED, fits, FILLING, validate=False)) == MAX_BODY
    said = refused(PROMOTED, fits.replace(b'a"', b'aa"'), validate=False)
    assert said == "$: 1,048,577 bytes; the maximum for a body is 1,048,576"


def test_a_body_of_more_than_20_kib_is_called_large() -> None:
    assert LARGE_BODY == 20_480


def test_white_space_that_is_removed_does_not_count_as_size() -> None:
    payload = b" " * MAX_BODY + payload_with(PROMOTED, "$.x", "1")
    assert len(make_body(PROMOTED, payload, FILLING)) < 200


def make_or_refuse(event: str, payload: bytes) -> None:
    for validate in (True, False):
        try:
            body = make_body(event, payload, FILLING, validate=validate)
        except PayloadError:
            continue
        assert body.startswith(b"{")
        assert body.endswith(b"}")


@settings(deadline=None)
@given(event=st.sampled_from(list(LEAST)), payload=st.binary())
def test_arbitrary_bytes_make_a_body_or_a_payload_error(event: str, payload: bytes) -> None:
    make_or_refuse(event, payload)


@settings(max_examples=300, deadline=None)
@given(
    event=st.sampled_from(list(LEAST)),
    at=st.integers(0, 200),
    cut=st.integers(0, 20),
    put=st.binary(max_size=6) | st.sampled_from([b"null", b"[", b"{", b'"', b"}", b"\\u", b",", b":", b"-", b"1e9999"]),
)
def test_a_damaged_payload_makes_a_body_or_a_payload_error(event: str, at: int, cut: int, put: bytes) -> None:
    whole = json.dumps({**LEAST[MATCHED], **LEAST[LEAD], "account": {"domain": "a.example"}}).encode()
    make_or_refuse(event, whole[:at] + put + whole[at + cut :])


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
known_keys = st.sampled_from(["timestamp", "batchId", "signal", "account", "plays", "engagement"])
payloads = st.dictionaries(known_keys | st.text().filter(lambda key: key != "event"), values, max_size=6)


def filled(event: str, payload: dict[str, Any]) -> dict[str, Any]:
    """The payload after the missing fields of the envelope."""
    envelope = {"event": event, "timestamp": FILLING.timestamp, "batchId": FILLING.batch_id}
    if event == "ping":
        del envelope["batchId"]
    return {key: value for key, value in envelope.items() if key not in payload} | payload


@settings(deadline=None)
@given(event=st.sampled_from(list(LEAST)), payload=payloads, ascii_only=st.booleans())
def test_a_body_is_the_payload_with_the_envelope_and_no_byte_is_written_anew(
    event: str, payload: dict[str, Any], ascii_only: bool
) -> None:
    loose = json.dumps(payload, ensure_ascii=ascii_only, indent=3).encode()
    tight = json.dumps(filled(event, payload), ensure_ascii=ascii_only, separators=(",", ":")).encode()
    body = make_body(event, loose, FILLING, validate=False)
    assert body == tight
    assert list(json.loads(body).items()) == list(filled(event, payload).items())


@settings(deadline=None)
@given(event=st.sampled_from(list(LEAST)), payload=payloads)
def test_making_a_body_of_a_body_changes_nothing(event: str, payload: dict[str, Any]) -> None:
    body = make_body(event, json.dumps(payload).encode(), FILLING, validate=False)
    assert make_body(event, body, LATER, validate=False) == body


@settings(deadline=None)
@given(event=st.sampled_from(list(LEAST)), payload=payloads)
def test_refilling_a_payload_gives_the_body_that_was_sent_whenever_that_was(
    event: str, payload: dict[str, Any]
) -> None:
    spelled = json.dumps(payload).encode()
    sent = make_body(event, spelled, FILLING, validate=False)
    assert refill(event, spelled, sent) == sent


@pytest.mark.parametrize(
    "other",
    [
        payload_with(PROMOTED, "$.signal.id", '"sig_2"'),
        payload_with(PROMOTED, "$.signal.icp_score", "1"),
        payload_with(PROMOTED, "$.batchId", '"batch_of_mine"'),
        payload_with(PROMOTED, "$.timestamp", '"2025-01-01T00:00:00Z"'),
    ],
)
def test_refilling_another_payload_gives_another_body(other: bytes) -> None:
    sent = make_body(PROMOTED, json.dumps(SIGNAL).encode(), FILLING)
    assert refill(PROMOTED, other, sent) != sent


def test_refilling_refuses_what_making_a_body_refuses() -> None:
    sent = make_body(PROMOTED, json.dumps(SIGNAL).encode(), FILLING)
    with pytest.raises(PayloadError, match=r"^\$\.event: expected"):
        refill(PROMOTED, b'{"event":"ping"}', sent)


def read_plainly(event: str, payload: bytes) -> bytes | str:
    """The body or the error, without the shortcut that decodes a valid payload only once."""
    try:
        body = make_body(event, payload, FILLING, validate=False)
        check_raw_body(event, body)
    except PayloadError as error:
        return str(error)
    return body


def read_quickly(event: str, payload: bytes) -> bytes | str:
    try:
        return make_body(event, payload, FILLING)
    except PayloadError as error:
        return str(error)


#: Valid, invalid and doubtful pieces; each can appear anywhere in the envelope and below.
SCRAPS = st.sampled_from(
    [
        *(
            '"signal.promoted"',
            '"signal.\\u0070romoted"',
            '"ping"',
            "null",
            "5",
            '""',
            '"x"',
            "[]",
            "{}",
            "1e400",
            "[1",
        ),
        *('"2026-11-23T11:28:48Z"', '"2026-11-23"', '"2026-11-23T11:28:48+01:00"', '"0001-01-01T00:00+23:59"'),
        *(
            '{"domain":"a.example"}',
            '{"domain":"https://a"}',
            '{"domain":"a\\u000a"}',
            '[{"name":"A"}]',
            '[{"name":5}]',
        ),
        *('{"id":"s","signal_name":"n","source":"news","detected_at":"2026-11-23"}', '{"id":"s","signal_name":"n"}'),
        *('{"id":"s","signal_name":"n","source":"news","detected_at":"soon"}', '"\\ud800"', '"é"', "01"),
        '{"id":"s","signal_name":"n","source":"news","icp_score":101}',
        '{"platform":"linkedin","engagement_type":"like"}',
    ]
)
FIELDS = st.sampled_from(["event", "timestamp", "batchId", "signal", "account", "plays", "engagement", "other"])


@settings(max_examples=400)
@given(st.sampled_from(sorted(LEAST)), st.lists(st.tuples(FIELDS, SCRAPS), max_size=6), st.booleans(), st.booleans())
def test_a_good_payload_is_read_once_and_a_bad_one_explained_and_both_are_as_if_read_step_by_step(
    event: str, scraps: list[tuple[str, str]], least: bool, spaced: bool
) -> None:
    comma, colon = (" ,\n", " : ") if spaced else (",", ":")
    required = [(key, json.dumps(value)) for key, value in LEAST[event].items()] if least else []
    members = comma.join(f'"{key}"{colon}{value}' for key, value in [*required, *scraps])
    payload = f"{{{members}}}".encode()
    assert read_quickly(event, payload) == read_plainly(event, payload)


@pytest.mark.parametrize("body", [b' {"event":"ping",\n"timestamp" : "2026-11-23T11:28:48Z"}\r\n', b'{"event":"ping"}'])
def test_a_raw_body_is_checked_as_it_stands(body: bytes) -> None:
    check_raw_body("ping", body, validate=False)
    if b"timestamp" in body:
        check_raw_body("ping", body)
    else:
        with pytest.raises(PayloadError, match=r"^\$\.timestamp: required"):
            check_raw_body("ping", body)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"{}", '$.event: required but missing: expected "ping"'),
        (b'{"event":"pong"}', '$.event: expected "ping" as on the command line'),
        (b'\xef\xbb\xbf{"event":"ping"}', "$: this is not JSON: it begins with a byte-order mark"),
        (b"[]", "$: expected a JSON object"),
        (b'{"event":"ping","x":"%b"}' % (b"x" * MAX_BODY), "$: 1,048,"),
    ],
)
def test_a_raw_body_that_cannot_be_sent_is_refused_even_when_it_is_not_validated(body: bytes, why: str) -> None:
    with pytest.raises(PayloadError) as raised:
        check_raw_body("ping", body, validate=False)
    assert str(raised.value).startswith(why)


def test_a_bad_value_under_a_key_that_stands_there_twice_is_explained() -> None:
    with pytest.raises(PayloadError) as raised:
        make_body(PROMOTED, b'{"signal":{"id":5},"signal":null}', FILLING)
    assert str(raised.value) == (
        "$.signal.id: expected a non-empty string, got a key that appears twice with different values"
    )


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
def test_a_payload_may_be_nested_500_levels_deep_and_not_one_more(opening: bytes) -> None:
    levels = opening.count(b"[") + opening.count(b"{")
    closing = opening.replace(b'"a":', b"")[::-1].translate(bytes.maketrans(b"[{", b"]}"))
    # The object around it adds one level.
    for deep, is_taken in ((499 // levels * levels, True), (-(-500 // levels) * levels, False)):
        inner = opening * (deep // levels) + b'"]}"' + closing * (deep // levels)
        payload = payload_with(PROMOTED, "$.x", inner.decode())
        if is_taken:
            assert inner in make_body(PROMOTED, payload, FILLING)
        else:
            assert refused(PROMOTED, payload).startswith("$: nested more than 500 levels deep")
            assert refused(PROMOTED, payload, validate=False).startswith("$: nested more than 500 levels deep")
            with pytest.raises(PayloadError, match="500 levels deep"):
                check_raw_body(PROMOTED, payload)


def test_brackets_in_strings_and_side_by_side_are_no_nesting() -> None:
    wide = json.dumps(["[" * 1000, '\\"{' * 1000, [[]] * 1000, {"a": {}}])
    make_body(PROMOTED, payload_with(PROMOTED, "$.x", wide), FILLING)


def test_what_stands_before_hides_no_nesting() -> None:
    deep = "[" + "[]," * 1000 + "[" * 499 + "]" * 500
    assert refused(PROMOTED, payload_with(PROMOTED, "$.x", deep)) == TOO_DEEP
    assert make_body(PROMOTED, payload_with(PROMOTED, "$.x", deep.replace("[" * 499 + "]", "[" * 498)), FILLING)


def test_where_little_of_the_stack_is_left_there_is_a_body_or_a_payload_error() -> None:
    """As in an application that imports this: the JSON decoder may share its stack, and then stops earlier."""

    def further_down(frames: int) -> None:
        if frames:
            further_down(frames - 1)
        else:
            make_or_refuse(PROMOTED, b'{"x":' + b"[" * 450 + b"]" * 450 + b"}")

    further_down(sys.getrecursionlimit() - 300)


@given(
    st.recursive(
        st.text('[]{}"\\\x01ÿn,:', max_size=8) | st.integers(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('[]{}"\\', max_size=4), inner, max_size=4),
        max_leaves=12,
    ),
    st.booleans(),
)
def test_the_levels_are_counted_right_whatever_stands_between_them(value: Any, is_ascii: bool) -> None:
    def levels(value: Any) -> int:
        inner = list(value.values() if isinstance(value, dict) else value) if isinstance(value, list | dict) else None
        return 0 if inner is None else 1 + max(map(levels, inner), default=0)

    text = json.dumps(value, ensure_ascii=is_ascii).encode()
    left = DEEPEST - levels(value)
    shallow = b'{"y":%b,"x":%b,"z":%b}' % (text, b"[" * (left - 1) + text + b"]" * (left - 1), text)
    check_depth(shallow)
    with pytest.raises(PayloadError, match="500 levels deep"):
        check_depth(b"[%b]" % shallow)


@pytest.mark.parametrize("levels", [DEEPEST + 1, 700, 1_000])
def test_more_levels_are_too_many_however_many_more(levels: int) -> None:
    check_depth(b"[" * DEEPEST + b"]" * DEEPEST)
    with pytest.raises(PayloadError, match="500 levels deep"):
        check_depth(b"[" * levels + b"]" * levels)


def test_brackets_side_by_side_are_not_looked_at_one_by_one() -> None:
    payload = json.dumps({"x": [{"a": ["]"]}] * 1000}).encode()
    calls, before = [], sys.getprofile()
    sys.setprofile(lambda frame, what, _: calls.append(frame.f_code.co_name) if what == "call" else None)
    try:
        check_depth(payload)
    finally:
        sys.setprofile(before)
    assert calls == ["check_depth"]


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (rb'{"p":"C:\\udbeef","b":tru}', "invalid character (byte 23)"),
        (rb'{"b":tru,"p":"\\ud800"}', "invalid character (byte 6)"),
        (rb'{"b":tru,"p":"\ud800"}', "invalid character (byte 6)"),
        (rb'{"p":"\\\ud800"}', r"the escape \ud800 at byte 8 is half of a surrogate pair"),
        (rb'{"p":"\ud83d\ude00 \ude00"}', r"the escape \ude00 at byte 19 is half of a surrogate pair"),
        (rb'{"p":"\ud83d\ud83d\ude00"}', r"the escape \ud83d at byte 6 is half of a surrogate pair"),
        (rb'{"p":"\\ud800', "Input data was truncated"),
        (rb'{"b":"\x41","p":"\ud800"}', "invalid escaped character (byte 7)"),
    ],
)
def test_broken_json_is_told_by_its_own_reason(payload: bytes, said: str) -> None:
    assert said in refused(PROMOTED, payload)


@pytest.mark.parametrize("spelling", ["87.0", "8.7e1", "0.0", "-0.0", "1E2"])
@pytest.mark.parametrize(("event", "path"), SCORES)
def test_a_whole_number_is_an_integer_however_it_is_spelled_and_is_sent_so(
    event: str, path: str, spelling: str
) -> None:
    assert spelling.encode() in make_body(event, payload_with(event, path, spelling), FILLING)


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (b'{"signal": {"id": "s",\n "signal_name" "n"}}', "expected ':' (line 2, column 16)"),
        (b'{\n\n  "a": 1,,\n}', "(line 3, column 10)"),
        (b'{"a" 1}', "expected ':' (byte 5)"),
        (b'{"a" 1}\n', "expected ':' (byte 5)"),
        (b"{}\n{}\n", "it holds several documents; send them with --ndjson, one per line"),
        (b"{}\n{}x", "it holds several documents"),
        (b"{} [1]", "it holds several documents"),
        (b"{}\n}", "trailing characters (line 2, column 1)"),
    ],
)
def test_what_is_no_json_is_told_with_line_and_column(payload: bytes, says: str) -> None:
    assert says in refused("signal.promoted", payload)


def test_a_payload_may_name_its_own_event() -> None:
    assert event_of(b'{"signal":{"event":"x"},"event":"signal.promoted"}') == PROMOTED


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (b"{}", "$.event: required but missing: expected one of signal.promoted, signal.play_matched, social.lead_pro"),
        (b'{"event":"signal.gone"}', "$.event: expected one of signal.promoted, signal.play_matched, social.lead_pro"),
        (b'{"event":5}', ", got 5"),
        (b'{"event":"ping"}', "$.event: a ping is never queued; send it with `ark ping`"),
        (b"[]", "$: expected a JSON object"),
        (b"{", "$: this is not JSON"),
    ],
)
def test_a_payload_that_names_no_event_that_can_be_queued_is_refused(payload: bytes, says: str) -> None:
    with pytest.raises(PayloadError, match=re.escape(says)):
        event_of(payload)
