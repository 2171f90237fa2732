"""What ark knows, prints and saves of a request."""

import base64
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from arkcli.httpd.messages import Reply, Request
from arkcli.output import to_json
from arkcli.receiver import record
from arkcli.receiver.record import Deliveries, Numbered, Received, event_of
from arkcli.signing import Secret, sign
from arkcli.signing.verdict import VALID, Signature, judge

BODY = b'{"event":"ping"}'
SECRETS = [Secret("one"), Secret("two")]


def received(body: bytes | None, *headers: tuple[bytes, bytes]) -> Received:
    request = Request("POST", "/hook?a=b", headers, body)
    return Received(
        at=1_795_000_000_000, request=request, verdict=VALID, event="ping", delivery="d", attempt=2, before=1
    )


@given(st.binary())
@example(b"\xef\xbb\xbf{}\r\n\x00")
@example(b"\xed\xa0\x80")
def test_a_saved_line_gives_back_the_exact_bytes(body: bytes) -> None:
    line = to_json(record.saved(received(body)))
    assert "\n" not in line
    kept = json.loads(line)
    assert len({"body", "body_base64"} & kept.keys()) == 1
    rebuilt = kept["body"].encode() if "body" in kept else base64.b64decode(kept["body_base64"])
    assert rebuilt == body


def test_a_saved_line_keeps_every_header_as_it_came() -> None:
    headers = [(b"X-Twice", b"1"), (b"x-twice", b"\xe9"), (b"Empty", b"")]
    kept = record.saved(received(BODY, *headers))
    assert [(name.encode("latin-1"), value.encode("latin-1")) for name, value in kept["headers"]] == headers
    assert (kept["method"], kept["target"]) == ("POST", "/hook?a=b")


def test_a_body_that_was_not_taken_is_not_kept() -> None:
    kept = record.saved(received(None))
    assert kept["bytes"] is None
    assert {"body", "body_base64"}.isdisjoint(kept)


def test_a_delivery_is_counted_for_as_long_as_it_is_remembered() -> None:
    deliveries = Deliveries(remembered=2)
    assert [deliveries.count(name) for name in ("a", "a", "b", "a", "c", "a", "b")] == [0, 1, 0, 2, 0, 3, 0]


def test_the_newest_requests_are_remembered_by_number_and_by_size() -> None:
    numbered = Numbered(most=3, most_bytes=1000)
    assert [numbered.add(received(b"x" * size)) for size in (1, 1, 1, 1)] == [1, 2, 3, 4]
    assert [number for number, _ in numbered.items()] == [2, 3, 4]
    # The answer counts, too; one request is always remembered.
    large = received(b"x" * 400)
    large.reply = Reply(500, ((b"Name", b"value"),), b"y" * 590)
    for one, left in ((large, [4, 5]), (received(b"x" * 1001), [6]), (received(b""), [7])):
        numbered.add(one)
        assert [number for number, _ in numbered.items()] == left


def test_the_answer_of_the_application_is_told_without_its_control_characters() -> None:
    one = received(BODY)
    one.reply, one.took = Reply(500, (), b'{"error":\n "no \x1b[2Jaccount"}' + b"x" * 4096), 12
    told = record.document(one)
    assert (told["duration_ms"], len(told["excerpt"])) == (12, 2048)
    assert told["excerpt"].startswith('{"error":  "no  [2Jaccount"}x')


@pytest.mark.parametrize(
    ("body", "header", "event"),
    [
        (b'{"event": "signal.promoted", "signal": {}}', b"ping", "signal.promoted"),
        (b'{"signal": {}}', b"ping", "ping"),
        (b'{"event": 1}', b"ping", "ping"),
        (b"not json", b"ping", "ping"),
        (b"[" * 100_000, b"ping", "ping"),
        (b"", None, None),
        (None, b"ping", "ping"),
    ],
)
def test_an_event_has_the_name_in_its_body_which_is_signed(
    body: bytes | None, header: bytes | None, event: str | None
) -> None:
    headers = [] if header is None else [(b"x-signalark-event", header)]
    assert event_of(Request("POST", "/", headers, body)) == event


@pytest.mark.parametrize("delivery", [None, "", "x" * 10_000])
def test_what_is_no_delivery_id_is_never_a_repetition(delivery: str | None) -> None:
    deliveries = Deliveries()
    assert [deliveries.count(delivery) for _ in range(3)] == [0, 0, 0]


@pytest.mark.parametrize(
    ("signature", "verdict", "why"),
    [
        (sign("one", BODY), Signature.VALID, None),
        (f"sha256={sign('two', BODY).upper()}", Signature.VALID, None),
        (None, Signature.MISSING, "there is no X-SignalArk-Signature header"),
        ("", Signature.MALFORMED, "the signature is empty"),
        ("é" * 64, Signature.MALFORMED, "not 64 hex digits"),
        (sign("three", BODY), Signature.MISMATCH, "does not match these bytes with any of the 2 secrets"),
        (sign("one", BODY + b"\n"), Signature.MISMATCH, "does not match these bytes"),
    ],
)
def test_a_verdict_says_why_and_never_the_right_signature(
    signature: str | None, verdict: Signature, why: str | None
) -> None:
    found = judge(SECRETS, BODY, signature)
    assert (found.signature, found.valid) == (verdict, verdict is Signature.VALID)
    assert (found.reason is None) == (why is None)
    assert (why or "") in (found.reason or "")
    assert not any(sign(secret, BODY) in (found.reason or "") for secret in SECRETS)
