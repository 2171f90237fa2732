"""The event log: accepted means on disk, all or none, and the bytes accepted are the bytes handed out."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arkcli import times
from arkcli.contract.bodies import Filling, make_body
from arkcli.errors import NotAccepted
from arkcli.model import Draft
from arkcli.queue.local import lines
from arkcli.queue.local.eventlog import EventLog, Gap
from arkcli.queue.local.stored import StoredEvent
from tests.queue.local.machine import MEMORY, filled, in_processes, listened, small_disk
from tests.world import START

AT: Final = times.to_text(START)


@contextmanager
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        # Its mark is beside it.
        made = Path(name) / "events"
        made.mkdir()
        yield made


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with directory() as path:
        yield path


@contextmanager
def log_in(path: Path, segment_size: int = 1 << 26) -> Iterator[EventLog]:
    log = EventLog(path, segment_size)
    try:
        yield log
    finally:
        log.close()


def draft(number: int, to: tuple[str, ...] | None = None, size: int = 0) -> Draft:
    return Draft(f"evt_{number}", "signal.promoted", AT, b'{"number":%d,"fill":"%b"}' % (number, b"x" * size), to)


def drafts(*numbers: int) -> list[Draft]:
    return [draft(number) for number in numbers]


def read_all(log: EventLog, position: int = 0) -> list[StoredEvent | Gap]:
    found: list[StoredEvent | Gap] = []
    while True:
        block, position = log.block(position)
        if not block:
            return found
        found += block


def ids(log: EventLog) -> list[str]:
    return [event.id for event in read_all(log) if isinstance(event, StoredEvent)]


def content(path: Path) -> bytes:
    """The whole log as one piece, whatever segments it is kept in."""
    return b"".join(name.read_bytes() for name in sorted(path.glob("*.jsonl")))


def documents(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content(path).splitlines()]


def test_an_empty_log_has_no_events(tmp_path: Path) -> None:
    with log_in(tmp_path) as log:
        assert (log.start, log.end, log.look(), log.totals) == (0, 0, 0, (0, 0))
        assert log.block(0) == ([], 0)
        assert log.addressed.count("dst_1", 0, log.end) == 0
        assert log.find("evt_1") is None


bodies = st.dictionaries(
    st.text(max_size=9), st.text(max_size=9) | st.floats(allow_nan=False, allow_infinity=False) | st.none(), max_size=3
).map(lambda fields: json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode())
to = st.none() | st.lists(st.sampled_from(["dst_1", "dst_2", "dst_3"]), unique=True).map(tuple)
batches = st.lists(st.lists(st.tuples(bodies, to), max_size=5), max_size=6)
sizes = st.sampled_from([1, 150, 300, 1000, 1 << 26])


@settings(deadline=None, max_examples=100)
@given(batches, sizes)
def test_what_is_accepted_is_handed_out_as_it_was_accepted(
    found: list[list[tuple[bytes, tuple[str, ...] | None]]], size: int
) -> None:
    accepted: list[StoredEvent] = []
    with directory() as path:
        with log_in(path, size) as log:
            for batch in found:
                wanted = [
                    Draft(f"evt_{len(accepted) + number}", "ping", AT, body, addressed)
                    for number, (body, addressed) in enumerate(batch)
                ]
                got = log.accept(wanted)
                assert [Draft(event.id, event.name, event.at, event.body, event.to) for event in got] == wanted
                accepted += got
            assert read_all(log) == accepted
        with log_in(path, size) as reader:
            assert read_all(reader) == accepted
            assert [reader.event_at(event.position, event.length) for event in accepted] == accepted
            assert [reader.find(event.id) for event in accepted] == accepted
            assert reader.totals == (len(accepted), len(content(path)))
        position = 0
        for event in accepted:
            assert event.position == position
            position += event.length
        assert position == len(content(path))


@settings(deadline=None, max_examples=100)
@given(batches, sizes)
def test_every_line_says_how_many_stand_before_it_and_how_many_of_those_are_addressed(
    found: list[list[tuple[bytes, tuple[str, ...] | None]]], size: int
) -> None:
    with directory() as path:
        for batch in found:
            with log_in(path, size) as log:
                log.accept([Draft("evt_1", "ping", AT, body, addressed) for body, addressed in batch])
        addressed_before = 0
        for number, document in enumerate(documents(path)):
            assert (document["seq"], document["addressed"]) == (number, addressed_before)
            addressed_before += "to" in document


@settings(deadline=None, max_examples=100)
@given(batches, sizes)
def test_counting_by_subtraction_and_by_the_index_is_counting_one_by_one(
    found: list[list[tuple[bytes, tuple[str, ...] | None]]], size: int
) -> None:
    with directory() as path, log_in(path, size) as log:
        events = [
            event
            for batch in found
            for event in log.accept([Draft("evt_1", "ping", AT, body, addressed) for body, addressed in batch])
        ]
        for position in [*(event.position for event in events), log.end, log.end + 1]:
            behind = [event for event in events if event.position >= position]
            for name in ("dst_1", "dst_2", "dst_other"):
                assert log.addressed.count(name, position, log.end) == sum(
                    event.to is None or name in event.to for event in behind
                )


def test_counting_a_hundred_thousand_waiting_events_reads_two_lines(tmp_path: Path) -> None:
    with log_in(tmp_path) as log:
        log.accept([draft(number) for number in range(100_000)])
    with log_in(tmp_path) as log, listened() as calls:
        assert log.addressed.count("dst_1", 0, log.end) == 100_000
    # Two a line, and one for the end of the log.
    assert calls.count("pread") <= 5


def test_many_events_share_one_sync(tmp_path: Path) -> None:
    with log_in(tmp_path) as log:
        log.accept(drafts(0))
        with listened() as calls:
            log.accept([draft(number) for number in range(1, 1001)])
    assert calls.count("sync") == 1
    assert calls.index("pwrite") < calls.index("sync")


def test_a_new_segment_has_its_name_on_disk_before_anything_is_accepted_into_it(tmp_path: Path) -> None:
    with log_in(tmp_path) as log, listened() as calls:
        log.accept(drafts(0))
    assert calls.index("sync_directory") < calls.index("pwrite") < calls.index("sync")


def test_a_segment_that_a_crash_left_empty_has_its_name_on_disk_too_before_anything_is_accepted(tmp_path: Path) -> None:
    # The process that made it was killed before it could sync the directory.
    (tmp_path / f"{0:020d}.jsonl").touch()
    with log_in(tmp_path) as log, listened() as calls:
        log.accept(drafts(0))
    assert "sync_directory" in calls


def test_a_new_segment_begins_where_the_last_one_is_full(tmp_path: Path) -> None:
    with log_in(tmp_path, 300) as log:
        events = [log.accept([draft(number)])[0] for number in range(12)]
    starts = [int(name.stem) for name in sorted(tmp_path.glob("*.jsonl"))]
    assert len(starts) > 3
    expected = [0]
    for event in events:
        if event.position - expected[-1] >= 300:
            expected.append(event.position)
    assert starts == expected


def test_a_reader_sees_what_others_have_accepted_when_it_looks_and_not_before(tmp_path: Path) -> None:
    with log_in(tmp_path, 300) as writer, log_in(tmp_path, 300) as reader:
        for number in range(8):
            (event,) = writer.accept(drafts(number))
            assert reader.end == event.position
            assert reader.block(event.position) == ([], event.position)
            assert reader.look() == reader.end == event.position + event.length
            assert reader.block(event.position) == ([event], reader.end)


def test_a_reader_syncs_what_it_finds_before_it_hands_it_out(tmp_path: Path) -> None:
    with log_in(tmp_path) as writer, log_in(tmp_path) as reader:
        writer.accept(drafts(1))
        with listened() as calls:
            reader.look()
        assert "sync" in calls
        with listened() as calls:
            reader.look()
        assert "sync" not in calls


WHOLE: Final = lines.encode_event(StoredEvent("evt_8", "ping", AT, b'{"torn":1}'), 2, 0)[:-1]
TORN: Final = [WHOLE[:length] for length in (1, 7, 8, 20, 60, len(WHOLE) - 1)]
NOT_WHOLE: Final = [*TORN, b"\0" * 500, WHOLE[:30] + b"\0" * 90, b"x" * 300_000]


@pytest.mark.parametrize("tail", [*NOT_WHOLE, WHOLE, WHOLE + b"\0"], ids=lambda tail: f"{len(tail)}-{tail[:3]!r}")
@pytest.mark.parametrize("size", [100, 1 << 26], ids=["segment-each", "one-segment"])
def test_a_reader_stops_before_a_torn_last_line_and_leaves_it_alone(tmp_path: Path, tail: bytes, size: int) -> None:
    with log_in(tmp_path, size) as log:
        accepted = log.accept(drafts(0)) + log.accept(drafts(1))
    tear(tmp_path, tail)
    before = content(tmp_path)

    with log_in(tmp_path, size) as reader:
        assert read_all(reader) == accepted
        assert reader.look() == accepted[1].position + accepted[1].length
        assert reader.addressed.count("dst_1", 0, reader.end) == 2
    assert content(tmp_path) == before


def tear(path: Path, tail: bytes) -> None:
    with max(path.glob("*.jsonl")).open("ab") as file:
        file.write(tail)


@pytest.mark.parametrize("tail", TORN, ids=lambda tail: f"{len(tail)}-{tail[:3]!r}")
@pytest.mark.parametrize("size", [100, 1 << 26], ids=["segment-each", "one-segment"])
def test_a_torn_last_line_is_cut_before_the_next_is_written(tmp_path: Path, tail: bytes, size: int) -> None:
    with log_in(tmp_path, size) as log:
        accepted = log.accept(drafts(0)) + log.accept(drafts(1))
        tear(tmp_path, tail)
        accepted += log.accept(drafts(2))
        assert read_all(log) == accepted
    with log_in(tmp_path, size) as reader:
        assert read_all(reader) == accepted
    assert [document["seq"] for document in documents(tmp_path)] == [0, 1, 2]


@pytest.mark.parametrize("size", [100, 1 << 26], ids=["segment-each", "one-segment"])
def test_a_last_line_that_lacks_only_its_newline_is_given_it_back(tmp_path: Path, size: int) -> None:
    with log_in(tmp_path, size) as log:
        accepted = log.accept(drafts(0)) + log.accept(drafts(1))
        last = max(tmp_path.glob("*.jsonl"))
        last.write_bytes(last.read_bytes()[:-1])
        accepted += log.accept(drafts(2))
        assert read_all(log) == accepted
    with log_in(tmp_path, size) as reader:
        assert read_all(reader) == accepted


def test_a_damaged_byte_costs_its_own_line_and_none_of_its_neighbours(tmp_path: Path) -> None:
    with log_in(tmp_path) as log:
        before, hit, behind = log.accept(drafts(0, 1, 2))
    (file,) = tmp_path.glob("*.jsonl")
    whole = file.read_bytes()
    for place in range(hit.position, hit.position + hit.length - 1):
        for flipped in (whole[place] ^ 0x01, whole[place] ^ 0x80, 0, ord("\n")):
            spoiled = bytearray(whole)
            spoiled[place] = flipped
            file.write_bytes(spoiled)
            with log_in(tmp_path) as reader:
                found = read_all(reader)
                assert [event for event in found if isinstance(event, StoredEvent)] == [before, behind]
                gaps = [gap for gap in found if isinstance(gap, Gap)]
                assert gaps[0].position == hit.position
                assert sum(gap.length for gap in gaps) == hit.length
                assert reader.event_at(hit.position, hit.length) is None
                assert reader.find(hit.id) is None
                assert reader.find(behind.id) == behind


def test_a_damaged_newline_costs_its_own_line_and_none_of_its_neighbours(tmp_path: Path) -> None:
    with log_in(tmp_path) as log:
        before, hit, behind = log.accept(drafts(0, 1, 2))
    (file,) = tmp_path.glob("*.jsonl")
    spoiled = bytearray(file.read_bytes())
    spoiled[hit.position + hit.length - 1] ^= 0x01
    file.write_bytes(spoiled)
    with log_in(tmp_path) as reader:
        events = [event for event in read_all(reader) if isinstance(event, StoredEvent)]
    assert before in events
    assert behind in events


@pytest.mark.parametrize(
    "spoil",
    [b"x", b"\0", b" ", b"\0\0", b"\0" * 40, b"\0" * 200],
    ids=["one", "one-zero", "a-blank", "two-zeros", "forty-zeros", "two-hundred-zeros"],
)
def test_a_position_that_was_handed_out_never_means_another_event(tmp_path: Path, spoil: bytes) -> None:
    # The end of the log is damaged. Its lines were acknowledged, and may have been delivered and written into journals.
    with log_in(tmp_path) as log:
        handed_out = log.accept(drafts(0, 1))
    (file,) = tmp_path.glob("*.jsonl")
    file.write_bytes(file.read_bytes()[: -len(spoil)] + spoil)
    with log_in(tmp_path) as log:
        (following,) = log.accept(drafts(2))
        assert following.position >= handed_out[1].position + handed_out[1].length
    with log_in(tmp_path) as log:
        assert read_all(log)[-1] == following


@pytest.mark.parametrize("hit", [[2], [1, 2], [0, 2], [0, 1, 2]], ids=str)
def test_lines_that_lost_their_newlines_are_not_taken_for_one_that_was_never_acknowledged(
    tmp_path: Path, hit: list[int]
) -> None:
    with log_in(tmp_path) as log:
        accepted = log.accept(drafts(0, 1, 2))
    (file,) = tmp_path.glob("*.jsonl")
    spoiled = bytearray(file.read_bytes())
    for number in hit:
        spoiled[accepted[number].position + accepted[number].length - 1] ^= 1
    file.write_bytes(spoiled)
    with log_in(tmp_path) as log:
        accepted += log.accept(drafts(3))
    with log_in(tmp_path) as log:
        assert [event for event in read_all(log) if isinstance(event, StoredEvent)] == accepted


def test_damaged_lines_at_the_end_are_still_counted_as_lines(tmp_path: Path) -> None:
    with log_in(tmp_path) as log:
        _, hit, hit_too = log.accept(drafts(0, 1, 2))
    (file,) = tmp_path.glob("*.jsonl")
    spoiled = bytearray(file.read_bytes())
    spoiled[hit.position + 30] ^= 1
    spoiled[hit_too.position + 30] ^= 1
    file.write_bytes(spoiled)
    with log_in(tmp_path) as log:
        log.accept(drafts(3))
        assert json.loads(content(tmp_path).splitlines()[-1])["seq"] == 3
        assert log.totals[0] == 4


@pytest.mark.parametrize("wiped", [(0, 0), (0, 1), (-1, 0), (-1, 1), (0, 60), (-60, 0)])
def test_a_wiped_line_costs_its_own_event_and_what_else_is_wiped_and_no_more(
    tmp_path: Path, wiped: tuple[int, int]
) -> None:
    with log_in(tmp_path) as log:
        events = log.accept(drafts(0, 1, 2, 3, 4))
    (file,) = tmp_path.glob("*.jsonl")
    spoiled = bytearray(file.read_bytes())
    first, last = events[2].position + wiped[0], events[3].position + wiped[1]
    spoiled[first:last] = b"\0" * (last - first)
    file.write_bytes(spoiled)
    whole = [event for event in events if event.position + event.length <= first or event.position >= last]
    with log_in(tmp_path) as reader:
        found = read_all(reader)
        assert [event for event in found if isinstance(event, StoredEvent)] == whole
        assert [one for one in found if isinstance(one, Gap)]


@pytest.mark.parametrize("hit", [0, 1])
def test_a_damaged_newline_does_not_make_the_following_lines_count_wrong(tmp_path: Path, hit: int) -> None:
    with log_in(tmp_path) as log:
        events = log.accept(drafts(0, 1, 2))
    (file,) = tmp_path.glob("*.jsonl")
    spoiled = bytearray(file.read_bytes())
    spoiled[events[hit].position + events[hit].length - 1] ^= 1
    file.write_bytes(spoiled)
    with log_in(tmp_path) as log:
        log.accept(drafts(3))
        assert log.addressed.count("dst_1", 0, log.end) == 4
        assert log.totals[0] == 4


def test_events_whose_segment_is_gone_are_passed(tmp_path: Path) -> None:
    with log_in(tmp_path, 200) as log:
        events = [log.accept(drafts(number))[0] for number in range(9)]
    oldest, *_ = sorted(tmp_path.glob("*.jsonl"))
    oldest.unlink()
    with log_in(tmp_path, 200) as reader:
        assert reader.start > 0
        left = [event for event in events if event.position >= reader.start]
        assert 0 < len(left) < 9
        assert read_all(reader) == left
        assert reader.event_at(events[0].position, events[0].length) is None
        assert reader.addressed.count("dst_1", 0, reader.end) == len(left)
        assert reader.totals == (len(left), reader.end - reader.start)


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_a_reader_passes_over_what_another_process_removes_meanwhile(tmp_path: Path, warm: bool) -> None:
    with log_in(tmp_path, 1) as log:
        events = [log.accept(drafts(number))[0] for number in range(9)]
        with log_in(tmp_path, 1) as reader:
            if warm:
                assert read_all(reader) == events
            log.remove_before(events[6].position)
            left = events[6:]
            assert [event for event in reader.events() if event.position >= left[0].position] == left
            assert reader.find("evt_7") == events[7]
            assert reader.event_at(events[7].position, events[7].length) == events[7]
            assert reader.event_at(events[2].position, events[2].length) in (None, events[2])
            assert reader.addressed.count("dst_1", left[0].position, reader.end) == 3
            assert [one for one in read_all(reader) if isinstance(one, StoredEvent)][-3:] == left


def test_an_event_is_none_where_the_whole_log_is_gone(tmp_path: Path) -> None:
    with log_in(tmp_path) as log:
        (event,) = log.accept(drafts(0))
    (file,) = tmp_path.glob("*.jsonl")
    file.unlink()
    with log_in(tmp_path) as reader:
        assert reader.event_at(event.position, event.length) is None


@pytest.mark.parametrize("offset", [-1, 1, 50])
def test_there_is_no_event_where_no_line_begins(tmp_path: Path, offset: int) -> None:
    with log_in(tmp_path) as log:
        _, event = log.accept(drafts(0, 1))
        assert log.event_at(event.position + offset, event.length) is None
        assert log.event_at(event.position, event.length + offset) is None


# --- ids of the user's own


def look_alike(event_id: str, at: str = AT) -> bytes:
    return b'{"inner":{"id":"%b","at":"%b","event":"ping"}}' % (event_id.encode(), at.encode())


@pytest.mark.parametrize("size", [1, 1 << 26], ids=["segment-each", "one-segment"])
def test_an_id_that_is_in_the_log_is_not_written_again_and_its_event_is_given_back(tmp_path: Path, size: int) -> None:
    with log_in(tmp_path, size) as log:
        first, other = log.accept([draft(1)], unique=True) + log.accept([draft(2)], unique=True)
        before = content(tmp_path)
        assert log.accept([draft(1, size=9)], unique=True) == [first]
        assert log.accept([draft(2), draft(1)], unique=True) == [other, first]
        assert content(tmp_path) == before
        (third,) = log.accept([draft(3)], unique=True)
        assert log.accept([draft(2), draft(3)], unique=True) == [other, third]
        assert [document["seq"] for document in documents(tmp_path)] == [0, 1, 2]


def test_known_and_new_ids_in_one_batch_come_back_in_order(tmp_path: Path) -> None:
    with log_in(tmp_path) as log:
        known = log.accept(drafts(1, 2))
        got = log.accept(drafts(3, 2, 4, 1), unique=True)
        assert [event.id for event in got] == ["evt_3", "evt_2", "evt_4", "evt_1"]
        assert [got[1], got[3]] == [known[1], known[0]]
        assert read_all(log) == [*known, got[0], got[2]]


@pytest.mark.parametrize(
    "spoil",
    [
        bytes,
        lambda table: table[:-3],
        lambda table: table[: table.rfind(b"\n", 0, -1) + 1],
        lambda table: table[:-3] + b"?  ",
    ],
    ids=["whole", "cut", "a row short", "damaged"],
)
def test_a_large_batch_finds_the_known_ids_among_the_new_ones_by_the_tables(
    tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    with log_in(tmp_path) as log:
        for first in range(0, 1_000, 100):
            log.accept(drafts(*range(first, first + 100)), unique=True)
    tables = list(tmp_path.glob("**/index/ids-*"))
    assert tables
    for table in tables:
        table.write_bytes(spoil(table.read_bytes()))
    with log_in(tmp_path) as log:
        got = log.accept(drafts(*range(1_100, -1, -1)), unique=True)
        assert [event.id for event in got] == [f"evt_{number}" for number in range(1_100, -1, -1)]
        assert len(ids(log)) == len(set(ids(log))) == 1_101


def test_an_id_that_comes_twice_in_one_batch_is_written_once(tmp_path: Path) -> None:
    with log_in(tmp_path) as log:
        once, again = log.accept(drafts(1, 1), unique=True)
        assert once == again
        assert ids(log) == ["evt_1"]


def test_without_unique_an_id_may_come_again(tmp_path: Path) -> None:
    with log_in(tmp_path) as log:
        first, second = log.accept(drafts(1, 1))
        assert first.position < second.position
        assert log.find("evt_1") == first


@pytest.mark.parametrize(
    "misleading",
    [
        Draft("evt_0", "ping", AT, look_alike("evt_1")),
        Draft("evt_11", "ping", AT, b"{}"),
        Draft("vt_1", "ping", AT, b"{}"),
        Draft("evt_0", "evt_1", AT, b"{}"),
        Draft("evt_0", "ping", AT, b"{}", ("evt_1",)),
        Draft("evt_0", "ping", AT, b'{"text":"\\"id\\":\\"evt_1\\",\\"at\\":\\""}'),
    ],
    ids=["in-a-body", "longer", "shorter", "a-name", "a-destination", "in-a-text"],
)
def test_an_id_that_stands_anywhere_else_is_not_taken_for_the_events(tmp_path: Path, misleading: Draft) -> None:
    with log_in(tmp_path) as log:
        log.accept([misleading])
        assert log.find("evt_1") is None
        (event,) = log.accept(drafts(1), unique=True)
        assert event.body == draft(1).body
        assert log.find("evt_1") == event


def test_an_id_whose_line_is_damaged_may_be_accepted_again(tmp_path: Path) -> None:
    with log_in(tmp_path) as log:
        hit, _ = log.accept(drafts(1, 2))
    (file,) = tmp_path.glob("*.jsonl")
    spoiled = bytearray(file.read_bytes())
    spoiled[hit.length - 5] ^= 1
    file.write_bytes(spoiled)
    with log_in(tmp_path) as log:
        (event,) = log.accept(drafts(1), unique=True)
        assert event.position > hit.position
        assert log.find("evt_1") == event


def test_an_id_is_not_called_accepted_before_its_line_is_on_disk(tmp_path: Path) -> None:
    with log_in(tmp_path) as log, log_in(tmp_path) as other:
        log.accept(drafts(0))
        other.look()
        # As another process leaves it that is killed between writing and syncing.
        tear(tmp_path, lines.encode_event(StoredEvent("evt_1", "ping", AT, b"{}"), 1, 0))
        with listened() as calls:
            (event,) = other.accept(drafts(1), unique=True)
        assert event.body == b"{}"
        assert "sync" in calls


def test_a_torn_line_does_not_make_an_id_known(tmp_path: Path) -> None:
    with log_in(tmp_path) as log:
        log.accept(drafts(0))
        tear(tmp_path, lines.encode_event(StoredEvent("evt_1", "ping", AT, b"{}"), 1, 0)[:-2])
        (event,) = log.accept(drafts(1), unique=True)
        assert event.body == draft(1).body
        assert ids(log) == ["evt_0", "evt_1"]


# --- several processes


@pytest.mark.parametrize("before", [0, 1, 40, 48, 56, 100])
def test_an_id_is_found_wherever_it_stands_in_a_large_segment(tmp_path: Path, before: int) -> None:
    window = 8 * 1024 * 1024
    with log_in(tmp_path) as log:
        # The last one's line begins this number of bytes before the end of what is searched at once.
        *_, last = log.accept([draft(number, size=1_000_000) for number in range(8)])
        end = last.position + last.length
        (padding,) = log.accept([draft(8)])
        size = window - before - end - padding.length
        log.accept([draft(9, size=size - padding.length)])
        (event,) = log.accept([draft(10)])
        assert event.position == window - before
        assert log.find("evt_10") == event
        assert log.find("evt_11") is None


def accept_many(path: Path, name: str, count: int) -> None:
    with log_in(path, 2000) as log:
        for number in range(count):
            log.accept([Draft(f"evt_{name}_{number}", "ping", AT, b'{"n":%d}' % number)])


def test_processes_that_accept_at_once_lose_nothing_and_count_right(tmp_path: Path) -> None:
    assert in_processes(accept_many, *((tmp_path, name, 60) for name in "abcd")) == [0] * 4
    with log_in(tmp_path, 2000) as log:
        found = ids(log)
    for name in "abcd":
        assert [one for one in found if one.startswith(f"evt_{name}")] == [f"evt_{name}_{n}" for n in range(60)]
    assert [document["seq"] for document in documents(tmp_path)] == list(range(240))


def accept_the_same(path: Path, said: Path) -> None:
    with log_in(path) as log:
        (event,) = log.accept(drafts(7), unique=True)
        said.write_text(str(event.position))


def test_processes_that_accept_one_id_at_once_write_it_once(tmp_path: Path) -> None:
    said = [tmp_path / f"said-{number}" for number in range(4)]
    with log_in(tmp_path) as log:
        log.accept(drafts(1))
        assert in_processes(accept_the_same, *((tmp_path, name) for name in said)) == [0] * 4
        log.look()
        assert ids(log) == ["evt_1", "evt_7"]
        assert len({name.read_text() for name in said}) == 1


# --- what a crash leaves


def die_at_call(step: int) -> None:
    """Kills this process as it makes its so-many-th system call that concerns files, counted from here."""
    left = step

    def listen(_frame: FrameType, event: str, function: object) -> None:
        nonlocal left
        if event == "c_call" and getattr(function, "__module__", "") in {"posix", "fcntl"}:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(listen)


def accept_and_die(path: Path, step: int, said: Path) -> None:
    log = EventLog(path, 400)
    die_at_call(step)
    log.accept(drafts(10, 11, 12))
    sys.setprofile(None)
    said.touch()


@pytest.mark.parametrize("before", [0, 3, 4], ids=["first-segment", "same-segment", "next-segment"])
@pytest.mark.parametrize("tail", [b"", TORN[4]], ids=["clean", "torn"])
def test_wherever_accepting_is_killed_nothing_is_lost_and_no_position_changes_its_meaning(
    before: int, tail: bytes
) -> None:
    killed = 0
    for step in range(1, 200):
        with directory() as path:
            with log_in(path, 400) as log:
                old = [log.accept(drafts(number))[0] for number in range(before)]
            if before:
                tear(path, tail)
            said = path / "said"
            (code,) = in_processes(accept_and_die, (path, step, said))
            with log_in(path, 400) as reader:
                visible = read_all(reader)
                names = ids(reader)
                assert visible[:before] == old
                assert names[before:] == ["evt_10", "evt_11", "evt_12"][: len(names) - before]
                assert not said.exists() or len(names) == before + 3
                (following,) = reader.accept(drafts(20))
                assert read_all(reader) == [*visible, following]
                assert [document["seq"] for document in documents(path)] == list(range(len(visible) + 1))
        if code == 0:
            break
        assert code == -signal.SIGKILL
        killed += 1
    assert killed > 8
    assert code == 0


def accept_until_killed(path: Path, size: int) -> None:
    log = EventLog(path)
    # The kernel itself kills whoever writes past this limit: in the middle of a line, with the rest not written.
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    log.accept(drafts(10, 11, 12))


def test_wherever_in_a_line_writing_is_killed_the_whole_lines_stay_and_the_torn_one_goes() -> None:
    with directory() as path:
        with log_in(path) as log:
            old = log.accept(drafts(0))
            new = log.accept(drafts(10, 11, 12))
        bounds = [event.position + event.length for event in new]
    for size in range(new[0].position, bounds[-1], 29):
        with directory() as path:
            with log_in(path) as log:
                assert log.accept(drafts(0)) == old
            assert in_processes(accept_until_killed, (path, size)) == [-signal.SIGXFSZ]
            assert len(content(path)) == size
            whole = [event for event in new if event.position + event.length <= size]
            with log_in(path) as reader:
                assert read_all(reader) == old + whole
                following = reader.accept(drafts(20))
                assert read_all(reader) == old + whole + following


# --- a disk that is full, a disk that fails


@pytest.mark.parametrize("leaving", [0, 4096, 12288, 40960])
@pytest.mark.parametrize("size", [1 << 26, 1000], ids=["same-segment", "next-segment"])
def test_on_a_full_disk_nothing_is_accepted_and_the_log_is_as_it_was(tmp_path: Path, leaving: int, size: int) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, "size=256k"), log_in(disk, size) as log:
        old = log.accept([draft(number, size=500) for number in range(4)])
        before = content(disk)
        with filled(disk, leaving):
            for _ in range(2):
                with pytest.raises(NotAccepted, match="the disk is full: nothing was accepted"):
                    log.accept([draft(number, size=4000) for number in range(10, 30)])
                assert content(disk) == before
                assert log.look() == len(before)
                assert read_all(log) == old
        accepted = log.accept([draft(number, size=4000) for number in range(10, 30)])
        with log_in(disk, size) as reader:
            assert read_all(reader) == old + accepted
        assert [document["seq"] for document in documents(disk)] == list(range(24))


def test_on_a_full_disk_a_smaller_event_may_still_be_accepted(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, "size=256k"), log_in(disk) as log:
        old = log.accept(drafts(0))
        with filled(disk, 4096):
            with pytest.raises(NotAccepted):
                log.accept([draft(1, size=50_000)])
            following = log.accept(drafts(2))
            assert read_all(log) == old + following


def test_where_not_even_a_new_segment_can_be_made_nothing_is_accepted(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    # The root, the lock, the spare file, two segments: the third cannot be made.
    with small_disk(disk, "size=256k,nr_inodes=5"), log_in(disk, 300) as log:
        (disk / "spare").touch()
        old = [log.accept(drafts(number))[0] for number in range(6)]
        assert len(list(disk.glob("*.jsonl"))) == 2
        with pytest.raises(NotAccepted, match="the disk is full"):
            while True:
                old += log.accept(drafts(len(old)))
        before = content(disk)
        assert read_all(log) == old
        (disk / "spare").unlink()
        following = log.accept(drafts(len(old)))
        assert read_all(log) == old + following
        assert content(disk).startswith(before)


FAIL_TO_SYNC: Final = """
import sys
from pathlib import Path
from arkcli.errors import NotAccepted
from arkcli.model import Draft
from arkcli.queue.local.eventlog import EventLog
log = EventLog(Path(sys.argv[1]))
drafts = [Draft("evt_1", "ping", "2026-11-18T00:00:00.000Z", b"{}")]
try:
    log.accept(drafts)
except NotAccepted as error:
    print(error)
print(log.look() == int(sys.argv[2]))
(event,) = log.accept(drafts)
print(event.position == int(sys.argv[2]))
"""


def test_when_the_disk_fails_to_sync_nothing_is_accepted_and_the_log_is_as_it_was(tmp_path: Path) -> None:
    strace = shutil.which("strace")
    inject = ["-f", "-o", os.devnull, "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=2"]
    with log_in(tmp_path) as log:
        (old,) = log.accept(drafts(0))
    # The first sync is that of the first look, the second that of accepting.
    command = [sys.executable, "-c", FAIL_TO_SYNC, str(tmp_path), str(old.length)]
    if strace is None or subprocess.run([strace, *inject, "true"], capture_output=True, check=False).returncode:
        pytest.skip("making a disk fail needs strace")
    ran = subprocess.run([strace, *inject, *command], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == [
        "the event log cannot be written (Input/output error): nothing was accepted",
        "True",
        "True",
    ]
    with log_in(tmp_path) as log:
        assert ids(log) == ["evt_0", "evt_1"]


def test_whatever_body_the_contract_lets_through_is_handed_out(tmp_path: Path) -> None:
    filling = Filling(timestamp=AT, batch_id="batch_1")
    payload = b'{"signal":{"id":"s","signal_name":"n","source":"news"},"text":"%b"}' % (b"\xf0\x9f\x9a\x80" * 262_100)
    body = make_body("signal.promoted", payload, filling)
    assert len(body) > 1024 * 1024 - 300
    with log_in(tmp_path) as log:
        accepted = log.accept([Draft(f"evt_{number}", "signal.promoted", AT, body) for number in range(3)])
    with log_in(tmp_path) as reader:
        assert read_all(reader) == accepted
