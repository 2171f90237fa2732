"""Which events are for which destination, by the index of the log, compared with a plain reading of the log."""

import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from arkcli import times
from arkcli.model import Draft
from arkcli.queue.local.addressed import id_sum
from arkcli.queue.local.deadletters import DeadLetters
from arkcli.queue.local.eventlog import EventLog
from arkcli.queue.local.journal import Journal
from arkcli.queue.local.lanes import Arrivals, UnderWay
from arkcli.queue.local.notes import MARK
from arkcli.queue.local.segments import BLOCK_SIZE
from arkcli.queue.local.state import joined
from arkcli.queue.local.stored import Instead, StoredDraft, StoredEvent
from tests.queue.local.machine import MEMORY, listened
from tests.world import START

NAMES: Final = ("dst_a", "dst_b", "dst_c")
NOBODY: Final = "dst_nobody"


def draft(
    number: int,
    to: tuple[str, ...] | None = None,
    instead: dict[str, Instead] | None = None,
    size: int = 0,
    now: int = START,
) -> Draft:
    body, at = b'{"n":%d,"fill":"%b"}' % (number, b"x" * size), times.to_text(now)
    if instead is None:
        return Draft(f"evt_{number}", "ping", at, body, to)
    return StoredDraft(f"evt_{number}", "ping", at, body, to, instead)


# --- the plain reading


def is_for(event: StoredEvent, name: str) -> bool:
    return event.to is None or name in event.to


def check_counts(log: EventLog, events: list[StoredEvent], begin: int, end: int) -> None:
    """`events` are all there are."""
    within = [event for event in events if begin <= event.position < end]
    for name in (*NAMES, NOBODY):
        assert log.addressed.count(name, begin, end) == sum(is_for(event, name) for event in within)
        own = [(event.position, event.length) for event in within if event.to is not None and name in event.to]
        assert [row[1:3] for row in log.addressed.index.rows(name, begin, end)] == own


def check_replacing(log: EventLog, events: list[StoredEvent], begin: int) -> None:
    for name in (*NAMES, NOBODY):
        assert list(log.addressed.replacing(name, begin, log.end)) == [
            (event.position, event.instead[name], id_sum(event.id))
            for event in events
            if event.position >= begin and event.instead and event.to and name in event.to and name in event.instead
        ]


def check_quiet(log: EventLog, events: list[StoredEvent], begin: int) -> None:
    until = log.addressed.without_broadcast(begin, log.end)
    following = next((event.position for event in events if event.position >= begin and event.to is None), log.end)
    assert begin <= until <= following
    assert until >= following - BLOCK_SIZE


def check_ids(log: EventLog, events: list[StoredEvent]) -> None:
    for event_id in {event.id for event in events}:
        found = [event for event in events if event.id == event_id]
        assert list(log.find_all(event_id)) == found
        assert log.find(event_id) == found[0]
    ids = sorted({event.id for event in events})
    for beginning in ("", "evt_", "evt_1", "evt_12", "nothing"):
        wanted = [found for found in ids if found.startswith(beginning)][:2]
        assert [event.id for event in log.find_prefix(beginning)] == wanted
    assert log.find("evt_") is None


def check_all(log: EventLog, events: list[StoredEvent], begin: int, end: int) -> None:
    check_counts(log, events, begin, end)
    check_counts(log, events, begin, log.end)
    check_replacing(log, events, begin)
    check_quiet(log, events, begin)
    first_lines = [event for event in events if event.instead is None]
    assert log.totals == (len(first_lines), log.end - log.start)


@contextmanager
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        (Path(name) / "events").mkdir()
        yield Path(name)


def arriving(log: EventLog, name: str, places: Path) -> list[StoredEvent]:
    """What a destination that joined at the beginning would attempt first, by its lane."""
    place = places / name
    shutil.rmtree(place, ignore_errors=True)
    Journal.create(place, joined(0, 4))
    journal = Journal(place, 4)
    journal.load()
    arrivals = Arrivals(log, journal, UnderWay(6), DeadLetters(place / "dead.jsonl"))
    found = list(arrivals.each())
    journal.close()
    return found


def index_of(path: Path) -> list[Path]:
    return sorted((path / "events" / "index").glob("*"))


instead = st.tuples(st.integers(2, 6), st.integers(0, 10**9), st.integers(1, 4000))
targets = st.sets(st.sampled_from(NAMES), max_size=3).map(lambda found: tuple(sorted(found)))


class TheIndex(RuleBasedStateMachine):
    """Two processes append and ask; whatever is done to the index, they are told what a plain reading tells."""

    def __init__(self) -> None:
        super().__init__()
        self.path = Path(tempfile.mkdtemp(dir=MEMORY))
        (self.path / "events").mkdir()
        self.events: list[StoredEvent] = []
        self.logs: list[EventLog] = []
        self.older: dict[str, bytes] = {}
        self.number = 0
        self.now = START
        self.size = 0

    @initialize(size=st.sampled_from([1, 300, 1500, 1 << 26]))
    def open(self, size: int) -> None:
        self.size = size
        self.logs = [EventLog(self.path / "events", size) for _ in range(2)]

    @rule(
        process=st.integers(0, 1), many=st.integers(1, 5), to=st.none() | targets, again=st.booleans(), data=st.data()
    )
    def accept(self, process: int, many: int, to: tuple[str, ...] | None, again: bool, data: st.DataObject) -> None:
        drafts = []
        for _ in range(many):
            self.number += 1
            keys = {name: data.draw(instead) for name in to or () if data.draw(st.booleans())} if again and to else None
            number = data.draw(st.integers(1, self.number)) if keys is not None else self.number
            # No two lines are the same, as in any real log.
            self.now += 1
            drafts.append(draft(number, to, keys, now=self.now))
        self.events += self.logs[process].accept(drafts)

    @rule(process=st.integers(0, 1), number=st.integers(1, 40))
    def accept_by_id(self, process: int, number: int) -> None:
        known = next((event for event in self.events if event.id == f"evt_{number}"), None)
        self.now += 1
        (event,) = self.logs[process].accept([draft(number, now=self.now)], unique=True)
        if known is None:
            self.number = max(self.number, number)
            self.events.append(event)
        else:
            assert event == known

    @rule(process=st.integers(0, 1))
    def reopen(self, process: int) -> None:
        self.logs[process].close()
        self.logs[process] = EventLog(self.path / "events", self.size)

    @rule(process=st.integers(0, 1), data=st.data())
    def old_segments_are_removed(self, process: int, data: st.DataObject) -> None:
        if self.events:
            self.logs[process].remove_before(data.draw(st.sampled_from(self.events)).position)
            self.events = [event for event in self.events if event.position >= self.logs[process].start]

    @rule(
        data=st.data(), what=st.sampled_from(["gone", "cut", "flipped", "wiped", "older", "swapped", "junk", "copied"])
    )
    def the_index_is(self, what: str, data: st.DataObject) -> None:
        found = index_of(self.path)
        if not found:
            return
        one, other = data.draw(st.sampled_from(found)), data.draw(st.sampled_from(found))
        content = bytearray(one.read_bytes())
        place = data.draw(st.integers(0, max(len(content) - 1, 0)))
        if what == "gone":
            one.unlink()
        elif what == "cut":
            one.write_bytes(content[:place])
        elif what == "flipped" and content:
            content[place] ^= 1 << data.draw(st.integers(0, 7))
            one.write_bytes(content)
        elif what == "wiped":
            one.write_bytes(content[:place] + b"\0" * (len(content) - place))
        elif what == "swapped":
            one.write_bytes(other.read_bytes())
        elif what == "junk":
            one.with_name("junk").write_bytes(content)
        elif what == "copied":
            self.older[one.name] = bytes(content)
        elif self.older:
            name = data.draw(st.sampled_from(sorted(self.older)))
            one.with_name(name).write_bytes(self.older[name])

    @rule()
    def the_whole_index_is_gone(self) -> None:
        shutil.rmtree(self.path / "events" / "index", ignore_errors=True)

    @rule(data=st.data())
    def the_log_is_that_of_an_older_copy(self, data: st.DataObject) -> None:
        """The log ends earlier, and the next events take the positions of other lines."""
        newest = [event for event in self.events if event.position >= self.logs[0].start]
        if not newest:
            return
        kept = data.draw(st.sampled_from(newest))
        end = kept.position + kept.length
        for segment in sorted((self.path / "events").glob("*.jsonl")):
            start = int(segment.stem)
            if start >= end:
                segment.unlink()
            else:
                os.truncate(segment, min(segment.stat().st_size, end - start))
        # With the mark that goes with it: else the positions would not be given again.
        (self.path / MARK).unlink(missing_ok=True)
        self.events = [event for event in self.events if event.position < end]
        self.reopen(0)
        self.reopen(1)

    @rule(process=st.integers(0, 1), data=st.data())
    def everything_is_as_a_plain_reading_tells(self, process: int, data: st.DataObject) -> None:
        log = self.logs[process]
        log.look()
        places = [*(event.position for event in self.events), log.end]
        begin, end = sorted((data.draw(st.sampled_from(places)), data.draw(st.sampled_from(places))))
        check_all(log, self.events, max(begin, log.start), end)
        check_ids(log, self.events)

    @rule(process=st.integers(0, 1), name=st.sampled_from([*NAMES, NOBODY]))
    def everything_that_is_for_a_destination_arrives(self, process: int, name: str) -> None:
        log = self.logs[process]
        log.look()
        assert arriving(log, name, self.path / "places") == [event for event in self.events if is_for(event, name)]

    @invariant()
    def there_are_never_many_tables(self) -> None:
        assert len(index_of(self.path)) <= 2 * 100 + 2

    def teardown(self) -> None:
        for log in self.logs:
            log.close()
        shutil.rmtree(self.path)


TestTheIndex = TheIndex.TestCase
TestTheIndex.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


# --- damage of the log


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("when", ["before", "after"])
def test_whatever_of_the_log_is_damaged_what_can_be_read_arrives(seed: int, when: str) -> None:
    chance = random.Random(seed)
    with directory() as path:
        size = chance.choice([1, 700, 1 << 26])
        with closing(EventLog(path / "events", size)) as log:
            to = [None, ("dst_a",), ("dst_b",), ("dst_a", "dst_b")]
            events = log.accept([draft(number, chance.choice(to)) for number in range(60)])
            if when == "after":
                check_all(log, events, 0, log.end)
                check_ids(log, events)
        for segment in sorted((path / "events").glob("*.jsonl")):
            content = bytearray(segment.read_bytes())
            for _ in range(chance.randrange(4)):
                # A newline is worth hitting more often than by chance.
                ends = [place for place, byte in enumerate(content[:-1]) if byte == ord("\n")]
                content[chance.choice([*ends, chance.randrange(len(content) - 1)])] ^= 1 << chance.randrange(8)
            segment.write_bytes(content)
        with closing(EventLog(path / "events", size)) as log:
            readable = list(log.events())
            for name in (*NAMES, NOBODY):
                wanted = [event for event in readable if is_for(event, name)]
                assert arriving(log, name, path / "places") == wanted
                # Damaged lines count until a destination has passed them, as far as their destination is known.
                assert len(wanted) <= log.addressed.count(name, 0, log.end) <= len(events)
            assert all(event in log.find_all(event.id) for event in readable)


def test_where_a_line_cannot_be_read_nothing_is_skipped() -> None:
    # Two lines have become one; both can still be read.
    with directory() as path:
        with closing(EventLog(path / "events")) as log:
            first, *_ = log.accept([draft(1), draft(2), *(draft(number, ("dst_b",)) for number in range(3, 9))])
        (segment,) = (path / "events").glob("*.jsonl")
        content = bytearray(segment.read_bytes())
        content[first.length - 1] ^= 1
        segment.write_bytes(content)
        with closing(EventLog(path / "events")) as log:
            assert log.addressed.without_broadcast(0, log.end) == 0
            assert [event.id for event in arriving(log, "dst_a", path / "places")] == ["evt_1", "evt_2"]
            assert log.addressed.count("dst_a", 0, log.end) == 2


@pytest.mark.parametrize("bit", [0, 4])
def test_an_index_in_which_a_bit_flips_tells_nothing_wrong(bit: int) -> None:
    with directory() as path:
        to = [None, ("dst_a",), ("dst_a", "dst_b")]
        with closing(EventLog(path / "events", 1)) as log:
            keys: dict[str, Instead] = {"dst_a": (3, 812, 240)}
            events = log.accept([draft(number, to[number % 3]) for number in range(9)])
            events += log.accept([draft(number, ("dst_a",), keys) for number in range(2)])
            check_all(log, events, 0, log.end)
            check_ids(log, events)
        for table in index_of(path):
            whole = table.read_bytes()
            for place in range(len(whole)):
                spoilt = bytearray(whole)
                spoilt[place] ^= 1 << bit
                table.write_bytes(spoilt)
                with closing(EventLog(path / "events", 1)) as log:
                    check_counts(log, events, 0, log.end)
                    check_replacing(log, events, 0)
                    assert [event.id for event in log.find_prefix("")] == ["evt_0", "evt_1"]
                    assert [log.find(f"evt_{number}") for number in range(9)] == events[:9]


# --- long stretches


@pytest.fixture(scope="module")
def long() -> Iterator[tuple[Path, list[StoredEvent]]]:
    """A log of some megabytes, of stretches of all kinds."""
    chance = random.Random(7)
    with directory() as path, closing(EventLog(path / "events", 1 << 20)) as log:
        events: list[StoredEvent] = []
        for _ in range(40):
            many = chance.choice([1, 1, 1, 20, 200, 900])
            to = chance.choice([None, None, ("dst_a",), ("dst_b",), ("dst_b", "dst_c")])
            first = len(events)
            events += log.accept([draft(first + number, to, size=chance.choice([10, 400])) for number in range(many)])
        yield path, events


@pytest.mark.parametrize("seed", range(6))
def test_long_stretches_are_counted_and_skipped_as_a_plain_reading_does_it(
    long: tuple[Path, list[StoredEvent]], seed: int
) -> None:
    path, events = long
    chance = random.Random(seed)
    with closing(EventLog(path / "events", 1 << 20)) as log:
        for _ in range(20):
            begin, end = sorted(event.position for event in chance.sample(events, 2))
            check_all(log, events, begin, end)
        for name in (*NAMES, NOBODY):
            assert arriving(log, name, path / "places") == [event for event in events if is_for(event, name)]


# --- what it costs


def test_what_is_for_everybody_only_makes_no_index_and_asks_for_none() -> None:
    with directory() as path, closing(EventLog(path / "events")) as log:
        events = log.accept([draft(number, size=200) for number in range(5_000)])
        with listened() as calls:
            assert log.addressed.count("dst_a", 0, log.end) == 5_000
            assert list(log.addressed.replacing("dst_a", 0, log.end)) == []
            assert log.totals[0] == 5_000
        assert len(arriving(log, "dst_a", path / "places")) == len(events)
        assert index_of(path) == []
    assert "scandir" not in calls
    assert "listdir" not in calls
    assert calls.count("pread") <= 16


def test_what_was_found_once_is_not_looked_for_again_by_the_next() -> None:
    with directory() as path:
        with closing(EventLog(path / "events")) as log:
            log.accept([draft(number, ("dst_a",), size=900) for number in range(20_000)])
            log.accept([draft(20_000, ("dst_b",))])
            assert log.addressed.count("dst_b", 0, log.end) == 1
        with closing(EventLog(path / "events")) as log, listened() as calls:
            assert log.addressed.count("dst_b", 0, log.end) == 1
            assert log.addressed.count("dst_a", 0, log.end) == 20_000
            assert arriving(log, "dst_b", path / "places")[0].id == "evt_20000"
        assert calls.count("pread") <= 250
        assert len(index_of(path)) <= 4


def test_an_index_that_cannot_be_written_costs_time_only() -> None:
    with directory() as path:
        (path / "events" / "index").write_bytes(b"")
        with closing(EventLog(path / "events", 1)) as log:
            events = log.accept([draft(number, ("dst_a",)) for number in range(20)])
            check_counts(log, events, 0, log.end)
            check_ids(log, events)
