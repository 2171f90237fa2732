"""Lines: what is written is what is read, and a line that is not what was written is never taken for one that is."""

import json
import zlib
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arkcli import times
from arkcli.contract.bodies import Filling, make_body
from arkcli.contract.events import EVENTS
from arkcli.errors import PayloadError
from arkcli.model import DOCUMENTED, Attempt, Outcome, State
from arkcli.queue.local import lines
from arkcli.queue.local.lines import AttemptLine, Damaged, DeadLine, DropLine, Snapshot
from arkcli.queue.local.stored import Instead, StoredEvent
from tests.world import START

AT = times.to_text(START)
BODY = b'{"event":"signal.promoted","timestamp":"2026-11-18T00:00:00.000Z","signal":{"icp_score":1.0}}'
EVENT = StoredEvent("evt_1", "signal.promoted", AT, BODY, None, 4096, 0)
ADDRESSED = StoredEvent("evt_1", "signal.promoted", AT, BODY, ("dst_1", "dst_2"), 4096, 0)
AGAIN = StoredEvent("evt_1", "signal.promoted", AT, BODY, ("dst_1",), 4096, 0, {"dst_1": (3, 812, 240)})
RAW_BODY = b' {\n "event":\t"signal.promoted", "raw": [1.10] }\r\n'
RAW = StoredEvent("evt_1", "signal.promoted", AT, RAW_BODY, None, 4096, 0)
LETTER = DeadLine(4096, 2201, "evt_1", AT, "signal.promoted", times.to_text(START + 1), BODY, 500, "HTTP 500")
RAW_LETTER = DeadLine(4096, 2201, "evt_1", AT, "signal.promoted", times.to_text(START + 1), RAW_BODY)
FIRST = AttemptLine(
    pos=4096, len=2201, id="evt_1", event="signal.promoted", attempt=1, at=AT, outcome=Outcome.DELIVERED, ms=3
)
RETRY = AttemptLine(
    pos=4096,
    len=2201,
    id="evt_1",
    event="signal.promoted",
    attempt=2,
    at=AT,
    outcome=Outcome.FAILED,
    ms=34,
    status=500,
    error="HTTP 500",
    excerpt="<h1>sorry</h1>",
    after=(812, 240),
)
DROP = DropLine(pos=4096, len=2201, id="evt_1", event="signal.promoted", action="drop", attempt=2, at=AT, after=(9, 8))
SNAPSHOT = Snapshot(
    journal=9120,
    first=(88210, [(90411, 92600, 1)]),
    lanes=[(9120, []), (9120, [(9200, 9300, 2)]), (9120, []), (9120, [])],
    retrying=[0, 3, 0, 0],
    dead=1,
    last=RETRY,
    gone=[4096],
)


def read_event(line: bytes) -> object:
    return lines.decode_event(line, 4096)


KINDS: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
    "event": (lines.encode_event(EVENT, 17, 2), read_event),
    "addressed event": (lines.encode_event(ADDRESSED, 17, 2), read_event),
    "event sent again": (lines.encode_event(AGAIN, 17, 2), read_event),
    "event with a newline in its body": (lines.encode_event(RAW, 17, 2), read_event),
    "counts of an event": (lines.encode_event(EVENT, 17, 2), lines.event_counts),
    "dead letter": (lines.encode_dead(LETTER), lines.decode_dead),
    "dead letter with a newline in its body": (lines.encode_dead(RAW_LETTER), lines.decode_dead),
    "first attempt": (lines.encode(FIRST), lines.decode_journal),
    "retry": (lines.encode(RETRY), lines.decode_journal),
    "drop": (lines.encode(DROP), lines.decode_journal),
    "snapshot": (lines.encode_snapshot(SNAPSHOT), lines.decode_journal),
}

every_kind = pytest.mark.parametrize(("line", "read"), KINDS.values(), ids=KINDS)


def token(text: str) -> bytes:
    return json.dumps(text, ensure_ascii=False).encode()


def array(items: list[bytes]) -> bytes:
    return b"[%b]" % b",".join(items)


def an_object(fields: dict[str, bytes]) -> bytes:
    return b"{%b}" % b",".join(token(key) + b":" + value for key, value in fields.items())


#: Spellings that a JSON library would not give back as they were.
SPELLINGS = (b"1.0", b"-0", b"1e400", b"1E+2", b"0.10", b"123456789012345678901234567890", b'"\\u00e9\\/"', b"null")
texts = st.text(max_size=8)
leaves = st.sampled_from(SPELLINGS) | texts.map(token)
fields = st.dictionaries(texts, leaves | st.lists(leaves, max_size=3).map(array), max_size=3)
bodies = st.dictionaries(texts, leaves | fields.map(an_object), max_size=4).map(an_object)
ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}", fullmatch=True)


def is_damaged(read: Callable[[bytes], object], line: bytes) -> bool:
    try:
        read(line)
    except Damaged:
        return True
    return False


@every_kind
def test_a_line_is_one_json_object_and_a_newline(line: bytes, read: Callable[[bytes], object]) -> None:
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    assert isinstance(json.loads(line), dict)


@every_kind
def test_a_line_begins_with_the_checksum_of_everything_behind_it(line: bytes, read: Callable[[bytes], object]) -> None:
    assert line.startswith(b'{"crc":"%08x",' % zlib.crc32(line[len('{"crc":"1a2b3c4d",') : -1]))


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("event", ["crc", "seq", "addressed", "id", "at", "event", "body"]),
        ("addressed event", ["crc", "seq", "addressed", "id", "at", "event", "to", "body"]),
        ("event sent again", ["crc", "seq", "addressed", "id", "at", "event", "to", "instead", "body"]),
        ("event with a newline in its body", ["crc", "seq", "addressed", "id", "at", "event", "raw"]),
        ("dead letter with a newline in its body", ["crc", "pos", "len", "id", "at", "event", "died_at", "raw"]),
        ("dead letter", ["crc", "pos", "len", "id", "at", "event", "died_at", "status", "error", "body"]),
        ("snapshot", ["crc", "snapshot"]),
    ],
)
def test_the_keys_stand_in_the_documented_order(kind: str, keys: list[str]) -> None:
    assert list(json.loads(KINDS[kind][0])) == keys


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("first attempt", "crc pos len id event attempt at outcome ms"),
        ("retry", "crc pos len id event attempt after at outcome status error ms excerpt"),
        ("drop", "crc pos len id event attempt after at action"),
    ],
)
def test_a_journal_line_has_the_documented_keys_and_leaves_out_what_is_empty(kind: str, keys: str) -> None:
    assert set(json.loads(KINDS[kind][0])) == set(keys.split())


def test_a_snapshot_has_the_documented_keys() -> None:
    document: dict[str, Any] = json.loads(KINDS["snapshot"][0])["snapshot"]
    assert document["journal"] == 9120
    assert document["first"] == [88210, [[90411, 92600, 1]]]
    assert document["lanes"][1] == [9120, [[9200, 9300, 2]]]
    assert document["retrying"] == [0, 3, 0, 0]
    assert document["dead"] == 1
    assert document["last"]["id"] == "evt_1"
    assert document["gone"] == [4096]


@settings(deadline=None)
@given(
    ids,
    st.sampled_from(sorted(EVENTS)),
    bodies,
    st.none() | st.lists(ids).map(tuple),
    st.none() | st.dictionaries(ids, st.tuples(st.integers(2, 6), st.integers(0, 2**60), st.integers(0, 2**30))),
    st.integers(0, 2**60),
)
def test_an_event_is_read_as_it_was_written_and_its_body_byte_for_byte(
    event_id: str,
    name: str,
    body: bytes,
    to: tuple[str, ...] | None,
    instead: dict[str, Instead] | None,
    position: int,
) -> None:
    line = lines.encode_event(StoredEvent(event_id, name, AT, body, to, 0, 0, instead), 5, 2)
    expected = StoredEvent(event_id, name, AT, body, to, position, len(line), instead)

    assert line.endswith(b',"body":%b}\n' % body)
    assert lines.decode_event(line[:-1], position) == expected


@settings(deadline=None)
@given(ids, st.sampled_from(sorted(EVENTS)), bodies, st.none() | st.integers(100, 599), st.none() | texts)
def test_a_dead_letter_is_read_as_it_was_written_and_its_body_byte_for_byte(
    event_id: str, name: str, body: bytes, status: int | None, error: str | None
) -> None:
    letter = DeadLine(812, 240, event_id, AT, name, AT, body, status, error)
    line = lines.encode_dead(letter)
    assert line.count(b"\n") == 1
    assert lines.decode_dead(line[:-1]) == letter
    assert lines.decode_dead(line[:-1]).to_event() == StoredEvent(event_id, name, AT, body, None, 812, 240)


@settings(deadline=None)
@given(
    ids,
    st.integers(1, 5),
    st.sampled_from(Outcome),
    st.none() | st.integers(100, 599),
    st.none() | texts,
    texts,
    st.none() | st.tuples(st.integers(0, 2**60), st.integers(0, 2**30)),
    st.none() | st.tuples(st.integers(2, 6), st.integers(0, 2**60), st.integers(0, 2**30)),
)
def test_an_attempt_is_read_as_it_was_written_whatever_the_receiver_said(
    event_id: str,
    attempt: int,
    outcome: Outcome,
    status: int | None,
    error: str | None,
    excerpt: str,
    after: tuple[int, int] | None,
    instead: Instead | None,
) -> None:
    entry = AttemptLine(
        pos=1,
        len=2,
        id=event_id,
        event="ping",
        attempt=attempt,
        at=AT,
        outcome=outcome,
        ms=3,
        status=status,
        error=error,
        excerpt=excerpt,
        after=after,
        instead=instead,
    )
    line = lines.encode(entry)
    assert line.count(b"\n") == 1
    assert lines.decode_journal(line[:-1]) == entry


@pytest.mark.parametrize("entry", [DROP, DropLine(1, 2, "evt_1", "ping", "damaged", 1, AT)])
def test_a_drop_is_read_as_it_was_written(entry: DropLine) -> None:
    assert lines.decode_journal(lines.encode(entry)[:-1]) == entry


@pytest.mark.parametrize("last", [None, RETRY])
def test_a_snapshot_is_read_as_it_was_written(last: AttemptLine | None) -> None:
    snapshot = Snapshot(7, (8, [(9, 10, 1)]), [(1, []), (2, [(3, 4, 0)]), (0, []), (0, [])], [0, 1, 0, 0], 2, last)
    assert lines.decode_journal(lines.encode_snapshot(snapshot)[:-1]) == snapshot


@pytest.mark.parametrize(
    "trick", ['","action":"drop', ',"action":"', '"snapshot"', '{"crc":"00000000","snapshot":{}}', '"outcome":"failed"']
)
def test_what_a_receiver_said_is_never_taken_for_a_line_of_another_kind(trick: str) -> None:
    entry = AttemptLine(1, 2, "evt_1", "ping", 1, AT, Outcome.DELIVERED, 3, 200, trick, trick)
    assert lines.decode_journal(lines.encode(entry)[:-1]) == entry


@every_kind
def test_a_single_flipped_bit_anywhere_is_noticed(line: bytes, read: Callable[[bytes], object]) -> None:
    read(line[:-1])
    for place in range(len(line) - 1):
        for bit in range(8):
            flipped = bytearray(line[:-1])
            flipped[place] ^= 1 << bit
            assert is_damaged(read, bytes(flipped)), (place, bit)


@every_kind
def test_a_line_cut_short_anywhere_is_noticed(line: bytes, read: Callable[[bytes], object]) -> None:
    for length in range(len(line) - 1):
        assert is_damaged(read, line[:length]), length


@every_kind
@pytest.mark.parametrize(
    "spoil",
    [
        lambda line: b"",
        lambda line: b"\0" * len(line),
        lambda line: line + b"\0",
        lambda line: line + b" ",
        lambda line: line + b"\r",
        lambda line: b" " + line,
        lambda line: line + line,
        lambda line: b"\xef\xbb\xbf" + line,
        lambda line: line.replace(b'{"crc":"', b'{"crc": "', 1),
        lambda line: line[:8] + line[8:16].swapcase() + line[16:] if line[8:16].swapcase() != line[8:16] else b"{}",
        lambda line: b"{%b" % line[18:],
    ],
    ids=[
        "empty",
        "zeros",
        "nul-behind",
        "blank-behind",
        "return-behind",
        "blank-before",
        "twice",
        "byte-order-mark",
        "pretty-printed",
        "upper-case",
        "unsealed",
    ],
)
def test_what_is_not_exactly_a_line_is_damaged(
    line: bytes, read: Callable[[bytes], object], spoil: Callable[[bytes], bytes]
) -> None:
    with pytest.raises(Damaged):
        read(spoil(line[:-1]))


@pytest.mark.parametrize(
    "fields",
    [b"}", b'"seq":"1"}', b'"snapshot":{}}', b'"snapshot":[]}', b'"pos":1,"action":"drop"}', b"]", b"\xff}", b'"a":']
    + [b'"seq":%b,"addressed":0,"id":"e","at":"","event":"ping","body":{}}' % seq for seq in (b"", b'"1"', b"1.5")],
)
def test_a_seal_that_fits_does_not_make_nonsense_a_line(fields: bytes) -> None:
    line = lines.seal(fields)[:-1]
    for read in (read_event, lines.event_counts, lines.decode_dead, lines.decode_journal):
        with pytest.raises(Damaged):
            read(line)


@pytest.mark.parametrize(
    ("event", "seq", "addressed", "following"),
    [
        (EVENT, 0, 0, (1, 0)),
        (EVENT, 17, 2, (18, 2)),
        (ADDRESSED, 0, 0, (1, 1)),
        (ADDRESSED, 17, 2, (18, 3)),
        (AGAIN, 17, 2, (18, 3)),
    ],
)
def test_a_line_tells_the_counts_of_the_line_behind_it(
    event: StoredEvent, seq: int, addressed: int, following: tuple[int, int]
) -> None:
    assert lines.event_counts(lines.encode_event(event, seq, addressed)[:-1]) == following


@pytest.mark.parametrize(
    ("attempt", "outcome", "state"),
    [(attempt, Outcome.DELIVERED, State.DELIVERED) for attempt in range(1, 6)]
    + [(attempt, Outcome.FAILED, State.RETRYING) for attempt in range(1, 5)]
    + [(5, Outcome.FAILED, State.DEAD)],
)
def test_a_failed_fifth_attempt_makes_dead_and_no_other_does(attempt: int, outcome: Outcome, state: State) -> None:
    line = AttemptLine(1, 2, "evt_1", "ping", attempt, AT, outcome, 3)
    assert DOCUMENTED.state_after(line.attempt, line.outcome) is state


def test_a_journal_line_tells_the_attempt_in_the_words_of_the_model() -> None:
    assert RETRY.to_attempt() == Attempt(
        "evt_1", "signal.promoted", 2, START, Outcome.FAILED, 500, "HTTP 500", 34, "<h1>sorry</h1>"
    )


def deeper(frames: int, call: Callable[[], StoredEvent]) -> StoredEvent:
    """Calls with more frames on the stack: accepting and draining happen at different depths."""
    return call() if frames == 0 else deeper(frames - 1, call)


@pytest.mark.parametrize("nested", [1, 100, 400, 800, 900])
def test_whatever_body_is_accepted_is_read_back_however_deeply_it_is_nested(nested: int) -> None:
    payload = b'{"signal":{"id":"s","signal_name":"n","source":"news"},"x":%b}' % (b"[" * nested + b"]" * nested)
    try:
        body = make_body("signal.promoted", payload, Filling(timestamp=AT, batch_id="batch_1"))
    except PayloadError:
        assert nested > 500, "this is not too deep to be refused"
        return
    line = lines.encode_event(StoredEvent("evt_1", "signal.promoted", AT, body), 0, 0)

    assert deeper(150, lambda: lines.decode_event(line[:-1], 0)).body == body


@settings(deadline=None)
@given(bodies)
def test_whatever_body_the_contract_makes_is_read_back_byte_for_byte(payload: bytes) -> None:
    try:
        body = make_body("ping", payload, Filling(timestamp=AT, batch_id="batch_1"), validate=False)
    except PayloadError:
        # Two keys of one name, and the like; what is refused is not written.
        return
    line = lines.encode_event(StoredEvent("evt_1", "ping", AT, body), 0, 0)
    assert lines.decode_event(line[:-1], 0).body == body


white = st.text(" \t\r\n", max_size=4).map(str.encode)


@given(white, bodies, white)
def test_a_body_is_read_as_it_was_written_whatever_white_space_is_in_it(
    before: bytes, body: bytes, after: bytes
) -> None:
    body = before + body.replace(b",", b",\n" + after) + after
    event = StoredEvent("evt_1", "ping", AT, body, None, 7, 0)
    line = lines.encode_event(event, 1, 0)
    assert line.count(b"\n") == 1
    assert lines.decode_event(line[:-1], 7) == msgspec.structs.replace(event, length=len(line))
    letter = DeadLine(7, 8, "evt_1", AT, "ping", AT, body)
    assert lines.decode_dead(lines.encode_dead(letter)[:-1]) == letter


@pytest.mark.parametrize("text", [b"", b"e30", b"e30=\n", b"e3 0=", b"e30=x", b"===="])
def test_a_raw_body_that_is_not_base64_is_damage(text: bytes) -> None:
    line = lines.seal(b'"seq":1,"addressed":0,"id":"evt_1","at":"x","event":"ping","raw":"%b"}' % text)
    assert is_damaged(read_event, line[:-1]) is (text != b"")


def test_a_body_without_a_newline_stands_verbatim_however_it_is_spaced() -> None:
    body = b' {"event" :\t"ping"}\r'
    assert lines.encode_event(msgspec.structs.replace(EVENT, body=body), 1, 0).endswith(b',"body":' + body + b"}\n")
