"""A queue is given in words that every engine understands, and a queue that takes them is the same: nothing accepted is
lost, and nothing that is done with is done again.
"""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arkcli import times
from arkcli.errors import Busy, Held, NotAccepted, UsageError
from arkcli.model import Answer, Attempt, Draft, Event, Outcome, RetrySchedule, State
from arkcli.queue.engine import Pending, Record, Replay, Selection
from arkcli.queue.local.queue import LocalQueue
from arkcli.system import files
from tests.queue.local.machine import MEMORY
from tests.world import START

A: Final = "dst_a"
B: Final = "dst_b"
C: Final = "dst_c"
OK: Final = Answer(200, None, 3, "thanks")
BAD: Final = Answer(503, "HTTP 503", 4, "no\nnot now")
#: Longer than every delay below.
LATER: Final = 1_000_000
SCHEDULES: Final = [
    RetrySchedule((1_000, 2_000)),
    RetrySchedule((1_000, 2_000, 4_000, 8_000)),
    RetrySchedule(tuple(1_000 << number for number in range(8))),
]
SHORT: Final = SCHEDULES[1]
FIXTURE: Final = Path(__file__).parents[2] / "fixtures" / "home-0.1.0" / "state" / "queue"

Opened = Callable[..., LocalQueue]


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        yield Path(name)


@pytest.fixture
def opened(path: Path) -> Iterator[Opened]:
    found: list[LocalQueue] = []

    def open_queue(name: str = "source", schedule: RetrySchedule = SHORT, size: int = 700) -> LocalQueue:
        found.append(LocalQueue(path / name, schedule, size))
        return found[-1]

    yield open_queue
    for queue in found:
        queue.close()


def draft(name: str, at: int = START, to: tuple[str, ...] | None = None, body: bytes | None = None) -> Draft:
    return Draft(name, "ping", times.to_text(at), body or b'{"of":"%b"}' % name.encode(), to)


def attempt_all(queue: LocalQueue, to: str, now: int, answer: Answer, most: int = 999) -> list[tuple[str, int, bytes]]:
    """Attempts what is due; what is called ok… is always delivered."""
    queue.look([], now)
    with queue.held(to, "drain") as claim:
        taken = list(claim.take(now, most))
        results = [(found, OK if found.event.id.startswith("ok") else answer) for found in taken]
        queue.record([(claim, results)], now)
    return [(found.event.id, found.attempt, found.event.body) for found in taken]


def of(*ids: str, to: tuple[str, ...] = (A,), dead: bool = False) -> Selection:
    return Selection(destination_ids=to, event_ids=frozenset(ids), dead=dead)


def replay(*ids: str, to: tuple[str, ...] = (A,)) -> Replay:
    return Replay(destination_ids=to, everybody=False, event_ids=frozenset(ids))


def story(queue: LocalQueue, schedule: RetrySchedule) -> int:
    """Every kind of delivery there is; returns what time it is then."""
    queue.join([A])
    now, rounds = START, schedule.attempts
    queue.accept([draft(name) for name in ("die", "die-drop", "die-revive", "ok-1", "ok-again")])
    for left in range(rounds, 0, -1):
        queue.accept([draft(f"fail-{left}", now, body=b"line\nline %d" % left)])
        if left == 1:
            queue.accept([draft("fail-drop", now), draft("fail-now", now)])
        if left == 2:
            queue.join([B])
            queue.accept([draft("ok-2", now, (B, A)), draft("fail-b", now, (B,))])
        for name in (A, B)[: 1 + (left <= 2)]:
            attempt_all(queue, name, now, BAD)
        now += LATER
    now -= LATER - 500
    queue.drop(of("die-drop", "fail-drop"), now)
    # More events than the destination reads at once.
    queue.accept([draft(f"wait-{number}", now) for number in range(3)])
    queue.accept([draft("wait-b", now, (B,)), draft("wait-drop", now), draft("wait-a", now, (A,), b"\x00\n\xff")])
    queue.drop(of("wait-drop"), now)
    for name in ("ok-first", "fail-first"):
        (event,) = queue.accept([draft(name, now)])
        for claim, delivery in queue.claim_first(event, [A], 1):
            queue.record([(claim, [(delivery, OK if name == "ok-first" else BAD)])], now)
            claim.release()
    assert queue.retry(of("die-revive", "fail-now"), now) == 2
    assert queue.replay(replay("ok-again"), now) == 1
    return now


def deliveries(queue: LocalQueue, to: str) -> list[Any]:
    with closing(queue.view(to)) as view:
        return [
            (
                *(found.event.id, found.event.body, found.state, found.attempt),
                *(found.next_attempt_at, found.last_status, found.last_error),
            )
            for found in view.deliveries()
        ]


def told(queue: LocalQueue, names: Iterable[str] = (A, B)) -> dict[str, Any]:
    """What a queue reports about its destinations and its events."""
    queue.look([], START)
    ids = list(dict.fromkeys(event.id for event in queue.events()))
    originals = {found: queue.find(found) for found in ids}
    said: dict[str, Any] = {
        name: (event.at, event.name, event.body, event.to) for name, event in originals.items() if event
    }
    for name in names:
        with closing(queue.view(name)) as view:
            history = {found: view.history(found) for found in ids}
            said[name] = (view.standing(), deliveries(queue, name), list(view.attempts()), history)
    return said


def moved(queue: LocalQueue, target: LocalQueue) -> list[Record]:
    records = list(queue.dump())
    target.restore(iter(records))
    return records


def drained(queue: LocalQueue, now: int, names: Iterable[str] = (A, B)) -> list[Any]:
    """All attempts until nothing is left, time by time."""
    found = []
    for _ in range(20):
        found.append([(name, sorted(attempt_all(queue, name, now, BAD))) for name in names])
        now += LATER
    assert found[-1] == [(name, []) for name in names]
    return found


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda found: len(found.delays))
@pytest.mark.parametrize("sizes", [(1, 1 << 26), (700, 300), (1 << 26, 1)])
def test_a_moved_queue_is_the_same(opened: Opened, schedule: RetrySchedule, sizes: tuple[int, int]) -> None:
    queue, target = opened("source", schedule, sizes[0]), opened("target", schedule, sizes[1])
    now = story(queue, schedule)
    states = {(found[2], found[3]) for found in deliveries(queue, A)}
    expected = {(State.RETRYING, number) for number in range(1, schedule.attempts)}
    assert states == expected | {(State.WAITING, 0), (State.DEAD, schedule.attempts)}
    records = moved(queue, target)
    assert told(target) == told(queue)
    assert list(target.dump()) == records
    assert target.check().damaged == []
    assert drained(target, now) == drained(queue, now)
    revived = [found.retry(of(to=(A, B), dead=True), now) for found in (queue, target)]
    assert revived[0] == revived[1] > 0
    assert drained(target, now) == drained(queue, now)


def test_the_words_are_those_of_every_engine(opened: Opened) -> None:
    queue = opened()
    story(queue, SHORT)
    records = list(queue.dump())
    assert {type(record.event) for record in records if record.event} == {Event}
    events = [record.event for record in records if record.event]
    assert len({event.id for event in events}) == len(events)
    kinds = [record.event is None for record in records]
    assert kinds == sorted(kinds)
    by_id = {event.id: event for event in events}
    pendings = [record.pending for record in records if record.pending]
    assert {type(pending) for pending in pendings} == {Pending}
    assert all(pending.event == by_id[pending.event.id] for pending in pendings)
    again = {pending.event.id for pending in pendings if pending.state is State.WAITING}
    assert again == {"die-revive", "fail-now", "ok-again"}
    places = [record for record in records if record.passed is not None]
    assert [(place.destination_id, len(place.ahead)) for place in places] == [(A, 3), (B, 0)]
    assert [record.dropped for record in records if record.dropped] == ["fail-drop", "die-drop", "wait-drop"]


def test_what_was_moved_survives_being_opened_anew_and_the_loss_of_checkpoints(opened: Opened, path: Path) -> None:
    queue = opened()
    now = story(queue, SHORT)
    moved(queue, opened("target"))
    before = told(queue)
    assert told(opened("target", SHORT, 1 << 26)) == before
    for place in (path / "target" / "destinations").iterdir():
        (place / "checkpoint.json").unlink(missing_ok=True)
        assert place.stat().st_mode & 0o777 == 0o700
        assert {found.stat().st_mode & 0o777 for found in place.rglob("*") if found.is_file()} == {0o600}
    assert told(opened("target")) == before
    assert drained(opened("target"), now) == drained(queue, now)


def spoil(file: Path, line: int) -> None:
    found = file.read_bytes().splitlines(keepends=True)
    middle = len(found[line]) // 2
    found[line] = found[line][:middle] + bytes([found[line][middle] ^ 1]) + found[line][middle + 1 :]
    file.write_bytes(b"".join(found))


def test_without_the_snapshot_that_counts_all_that_is_pending_is_pending_still(opened: Opened, path: Path) -> None:
    queue, target = opened(), opened("target")
    now = story(queue, SHORT)
    attempt_all(queue, A, now, BAD)
    moved(queue, target)
    for name in (A, B):
        spoil(max((path / "target" / "destinations" / name / "journal").iterdir()), 0)
        assert deliveries(opened("target"), name) == deliveries(queue, name)
        counted = [opened(of_which).standing(name) for of_which in ("source", "target")]
        assert counted[0].dead == counted[1].dead
        assert counted[0].retrying == counted[1].retrying


def test_a_damaged_retry_is_made_again_from_its_last_attempt_on(opened: Opened, path: Path) -> None:
    queue, target = opened(), opened("target")
    now = story(queue, SHORT)
    moved(queue, target)
    expected = {found[0] for found in deliveries(queue, A)}
    segment = min((path / "target" / "destinations" / A / "journal").iterdir())
    lines = segment.read_bytes().splitlines()
    (hit,) = (number for number, line in enumerate(lines) if b'"id":"fail-4"' in line and b'"attempt":4' in line)
    spoil(segment, hit)
    copy = opened("target")
    assert {found[0] for found in deliveries(copy, A)} == expected
    made = [found[:2] for found in attempt_all(copy, A, now + LATER, BAD) if found[0].startswith("fail-")]
    assert ("fail-4", 4) in made
    assert ("fail-3", 4) in made


# --- what is there only in part


def test_what_retention_left_only_as_a_dead_letter_is_not_lost(opened: Opened) -> None:
    queue, target = opened("source", SHORT, 1), opened("target")
    queue.join([A, B])
    queue.accept([draft("die", START, body=b"a\nb")])
    now = START
    for number in range(6):
        queue.accept([draft(f"ok-{number}")])
        attempt_all(queue, A, now, BAD)
        attempt_all(queue, B, now, OK)
        now += LATER
    queue.tidy([A, B], now)
    assert queue.find("die") is None
    queue.accept([draft("wait", now)])
    records = moved(queue, target)
    assert records[0].event == Event("die", "ping", times.to_text(START), b"a\nb", (A,))
    assert list(target.dump()) == records
    assert deliveries(target, A) == deliveries(queue, A)
    assert target.standings([A, B]) == queue.standings([A, B])
    assert attempt_all(target, B, now, OK) == [("wait", 1, b'{"of":"wait"}')]
    assert target.retry(of("die"), now) == 1
    assert sorted(attempt_all(target, A, now, OK))[0] == ("die", 1, b"a\nb")
    assert target.standing(A).dead == 0


def test_what_retention_left_only_as_a_line_that_sends_it_again_is_not_lost(opened: Opened) -> None:
    queue, target = opened(), opened("target")
    queue.join([A, B, C])
    queue.accept([draft(f"ok-{number}") for number in range(20)])
    for name in (A, B, C):
        attempt_all(queue, name, START, OK)
    queue.replay(replay("ok-1", to=(A, C)), START + 1)
    queue.replay(replay("ok-2"), START + 1)
    attempt_all(queue, C, START + 2, OK)
    queue.tidy([A, B, C], START + LATER)
    (first, *_, last) = (event.id for event in queue.events())
    assert (first, last) != ("ok-0", "ok-19")
    queue.accept([draft("wait", START + 3)])
    records = moved(queue, target)
    assert list(target.dump()) == records
    for name in (A, B, C):
        assert deliveries(target, name) == sorted(deliveries(queue, name), key=lambda found: found[0] != "wait")
    (again,) = [record.event for record in records if record.event and record.event.id == "ok-1"]
    assert again.to == (A, C)
    assert [found[0] for found in attempt_all(target, A, START + 4, OK)] == ["wait", "ok-1", "ok-2"]
    assert [found[0] for found in attempt_all(target, B, START + 4, OK)] == ["wait"]
    assert [found[0] for found in attempt_all(target, C, START + 4, OK)] == ["wait"]


def test_an_attempt_that_is_only_the_last_one_is_shown_still(opened: Opened) -> None:
    queue, target = opened("source", SHORT, 1), opened("target")
    queue.join([A])
    queue.accept([draft("ok-1")])
    attempt_all(queue, A, START, OK)
    journal = queue._claims._journals[A]
    with queue.held(A, "expire"):
        journal._begin_segment()
        journal._segments.remove_before(journal._segments.starts[-1])
    queue = opened("source", SHORT, 1)
    with closing(queue.view(A)) as view:
        assert list(view.attempts()) == []
    moved(queue, target)
    assert target.standing(A) == queue.standing(A)


def test_damaged_lines_are_left_out_and_the_rest_survives(opened: Opened, path: Path) -> None:
    queue, target = opened("source", SHORT, 1 << 26), opened("target")
    queue.join([A])
    queue.accept([draft(f"{name}-{number}") for name in ("fail", "ok") for number in range(4)])
    attempt_all(queue, A, START, BAD)
    queue.accept([draft(f"wait-{number}", START + 1) for number in range(4)])
    events = min((path / "source" / "events").glob("*.jsonl"))
    for line in (1, 5, 9):
        spoil(events, line)
    spoil(min((path / "source" / "destinations" / A / "journal").iterdir()), 1)
    queue = opened("source", SHORT, 1 << 26)
    records = moved(queue, target)
    # Its event cannot be read, so nobody can retry it.
    (given_up,) = [record for record in target.dump() if record not in records]
    assert given_up.dropped == "fail-1"
    assert target.check().damaged == []
    left = {"fail-0", "fail-2", "fail-3", "wait-0", "wait-2", "wait-3"}
    assert {found[0] for found in deliveries(target, A)} == left
    assert sorted(deliveries(target, A)) == sorted(deliveries(queue, A))
    assert {event.id for event in target.events()} == left | {"ok-0", "ok-2", "ok-3"}
    # The attempt whose line is damaged is made again.
    assert attempt_all(target, A, START + 1, OK)[0] == ("fail-0", 1, b'{"of":"fail-0"}')


def test_a_queue_of_the_first_version_is_moved(opened: Opened, path: Path) -> None:
    shutil.copytree(FIXTURE, path / "source")
    for found in (path / "source", *(path / "source").rglob("*")):
        found.chmod(0o700 if found.is_dir() else 0o600)
    schedule = RetrySchedule((30_000, 300_000, 1_800_000, 7_200_000))
    queue, target = opened("source", schedule), opened("target", schedule)
    names = sorted(found.name for found in (path / "source" / "destinations").iterdir())
    records = moved(queue, target)
    assert list(target.dump()) == records
    assert target.check().damaged == []
    for name in names:
        assert sorted(deliveries(target, name), key=str) == sorted(deliveries(queue, name), key=str)
        with closing(queue.view(name)) as old, closing(target.view(name)) as new:
            assert list(new.attempts()) == list(old.attempts())
            # A line of the old log that is damaged counts as waiting there until somebody has come to it.
            assert new.standing()[1:3] == old.standing()[1:3]
            assert new.standing()[0] == sum(found[2] is State.WAITING for found in deliveries(queue, name))


# --- who else is there


def test_whoever_delivers_is_not_disturbed(opened: Opened) -> None:
    queue, other = opened(), opened()
    story(queue, SHORT)
    with other.held(B, "drain"):
        records = queue.dump()
        with pytest.raises(Held):
            next(records)
        assert queue.holder(A) is None
    records = queue.dump()
    next(records)
    assert other.claim(A, "drain") is None
    holder = other.holder(B)
    assert holder is not None
    assert holder.purpose == "dump"
    assert isinstance(records, Iterator)
    records.close()  # type: ignore[attr-defined]
    assert (other.holder(A), other.holder(B)) == (None, None)
    assert list(queue.dump()) == list(other.dump())
    assert (other.holder(A), other.holder(B)) == (None, None)


def test_what_is_accepted_meanwhile_is_left_out(opened: Opened) -> None:
    queue, other = opened(), opened()
    story(queue, SHORT)
    expected = list(queue.dump())
    records = queue.dump()
    first = next(records)
    other.accept([draft("late")])
    other.replay(replay("ok-1"), START + LATER)
    assert [first, *records] == expected


def test_a_second_try_after_half_of_one_says_so(opened: Opened, path: Path) -> None:
    queue, target = opened(), opened("target")
    story(queue, SHORT)
    records = list(queue.dump())

    def broken() -> Iterator[Record]:
        yield from records[:-1]
        raise NotAccepted("the disk is full", "nothing was accepted")

    with pytest.raises(NotAccepted, match=r"the disk is full: .*filled only in part"):
        target.restore(broken())
    assert list((path / "target" / "destinations").iterdir()) == []
    with pytest.raises(UsageError, match="interrupted try, remove that directory"):
        target.restore(records)
    shutil.rmtree(path / "target")
    opened("target").restore(records)


def test_a_disk_that_fills_up_is_told_of(opened: Opened, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue, target = opened(), opened("target")
    story(queue, SHORT)

    def full(source: Path, to: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "rename", full)
    with pytest.raises(NotAccepted, match="No space left on device"):
        target.restore(queue.dump())
    assert list((path / "target" / "destinations").iterdir()) == []
    assert queue.holder(A) is None


def test_what_a_killed_one_left_is_removed(opened: Opened, path: Path) -> None:
    target = opened("target")
    files.make_directory(path / "target" / "destinations" / ".joining-dst_x" / "journal")
    target.restore([Record(destination_id=A, passed=0)])
    assert [found.name for found in (path / "target" / "destinations").iterdir()] == [A]


def test_whoever_sends_meanwhile_is_noticed(opened: Opened) -> None:
    target, other = opened("target"), opened("target")

    def disturbed() -> Iterator[Record]:
        yield Record(event=Event("wait", "ping", times.to_text(START), b"{}"))
        other.accept([draft("late")])

    with pytest.raises(Busy, match="another process sent events"):
        target.restore(disturbed())


# --- what other engines may give


def event_of(name: str, to: tuple[str, ...] | None = None) -> Event:
    return Event(name, "ping", times.to_text(START), b'{"of":"%b"}' % name.encode(), to)


def retrying(event: Event, attempt: int, failed_at: int, schedule: RetrySchedule = SHORT) -> Record:
    due_at = schedule.next_attempt_at(attempt, failed_at)
    pending = Pending(event, State.RETRYING, attempt, due_at, 503, "HTTP 503")
    return Record(destination_id=A, pending=pending, failed_at=failed_at)


def failed(name: str, attempt: int, at: int) -> Record:
    return Record(destination_id=A, attempt=Attempt(name, "ping", attempt, at, Outcome.FAILED, 503, "HTTP 503", 1, ""))


def test_a_retry_whose_attempts_are_not_told_any_more_stands_where_it_falls_due(opened: Opened) -> None:
    target = opened("target")
    events = [event_of(f"fail-{number}") for number in range(4)]
    target.restore(
        [
            *(Record(event=event) for event in events),
            Record(destination_id=A, passed=4),
            *(retrying(event, 2, START + number) for number, event in enumerate(events)),
            failed("gone", 1, START + 1),
            failed("fail-2", 2, START + 2),
        ]
    )
    found = [(name, attempt, due_at) for name, _, _, attempt, due_at, _, _ in deliveries(target, A)]
    assert found == [(f"fail-{number}", 2, START + 2_000 + number) for number in range(4)]
    with closing(target.view(A)) as view:
        made = [(attempt.event_id, attempt.at) for attempt in view.attempts()]
        assert view.history("gone")[0] is State.DROPPED
    expected = [("fail-0", 0), ("gone", 1), ("fail-1", 1), ("fail-2", 2), ("fail-3", 3)]
    assert sorted(made) == sorted((name, START + at) for name, at in expected)
    assert [at for _, at in made] == sorted(at for _, at in made)
    assert len(attempt_all(target, A, START + 2_001, BAD)) == 2
    assert [found[1] for found in attempt_all(target, A, START + LATER, OK)] == [3, 3, 4, 4]


def test_a_pending_delivery_whose_event_was_not_given_is_kept(opened: Opened) -> None:
    target = opened("target")
    dead = Pending(event_of("die"), State.DEAD, 5, None, 500, "HTTP 500")
    waiting = Pending(event_of("again"), State.WAITING, 0, START + 9, None, None)
    target.restore(
        [
            Record(event=event_of("ok-1")),
            Record(destination_id=A, passed=0),
            retrying(event_of("fail-1"), 1, START),
            Record(destination_id=A, pending=waiting),
            Record(destination_id=A, pending=dead, failed_at=START + 5),
            # It waits in its turn, so this says nothing new.
            Record(destination_id=A, pending=Pending(event_of("ok-1"), State.WAITING, 0, START, None, None)),
            Record(destination_id=B, passed=0),
        ]
    )
    states = [(name, state, due_at) for name, _, state, _, due_at, _, _ in deliveries(target, A)]
    assert states == [
        ("fail-1", State.RETRYING, START + 1_000),
        ("ok-1", State.WAITING, START),
        ("again", State.WAITING, START + 9),
        ("die", State.DEAD, None),
    ]
    assert [found[0] for found in deliveries(target, B)] == ["ok-1"]
    assert target.check().damaged == []


@pytest.mark.parametrize(
    "records",
    [
        [Record(destination_id=A, passed=0), Record(event=event_of("late"))],
        [failed("fail-1", 1, START)],
        [
            Record(event=event_of("fail-1")),
            Record(destination_id=A, passed=1),
            retrying(event_of("fail-1"), 5, START, SCHEDULES[2]),
        ],
    ],
    ids=["an event behind a place", "an attempt before one", "another schedule"],
)
def test_what_cannot_be_is_refused(opened: Opened, path: Path, records: list[Record]) -> None:
    with pytest.raises(UsageError):
        opened("target").restore(records)
    assert list((path / "target" / "destinations").iterdir()) == []


def test_many_events_are_taken_in_batches(opened: Opened) -> None:
    queue, target = opened("source", SHORT, 1 << 16), opened("target", SHORT, 1 << 16)
    queue.join([A])
    queue.accept([draft(f"{'ok' if number % 3 else 'fail'}-{number}") for number in range(2_500)])
    attempt_all(queue, A, START, BAD, 2_400)
    queue.retry(of(*(f"fail-{number}" for number in range(0, 1_500, 3))), START + 1)
    records = moved(queue, target)
    assert list(target.dump()) == records
    assert told(target, [A])[A][1:] == told(queue, [A])[A][1:]
    assert drained(target, START + 1, [A]) == drained(queue, START + 1, [A])


# --- whatever the order

ids = st.lists(st.integers(0, 9), max_size=3)
moments = st.sampled_from([0, 1, 999, 1_000, 4_000, 20_000])
places = st.sampled_from([(A,), (B,), (A, B)])
steps = st.one_of(
    st.tuples(st.just("accept"), st.none() | places),
    st.tuples(st.just("accept"), st.none()),
    st.tuples(st.just("drain"), places, st.sampled_from([OK, BAD, BAD]), st.integers(1, 4)),
    st.tuples(st.just("drain"), places, st.sampled_from([OK, BAD, BAD]), st.integers(1, 4)),
    st.tuples(st.just("retry"), places, ids),
    st.tuples(st.just("drop"), places, ids),
    st.tuples(st.just("replay"), places, ids),
    st.tuples(st.just("wait"), moments),
    st.tuples(st.just("tidy")),
)


@contextmanager
def two_queues(size: int, other: int) -> Iterator[tuple[LocalQueue, LocalQueue]]:
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        queue, target = LocalQueue(Path(name) / "a", SHORT, size), LocalQueue(Path(name) / "b", SHORT, other)
        with closing(queue), closing(target):
            yield queue, target


def play(queue: LocalQueue, told: list[tuple[Any, ...]]) -> int:
    now, count = START, 0
    for what, *how in told:
        queue.look([], now)
        if what == "accept":
            queue.accept([draft(f"evt-{count}", now, how[0])])
            count += 1
        elif what == "drain":
            for name in how[0]:
                attempt_all(queue, name, now, *how[1:])
        elif what == "wait":
            now += how[0]
        elif what == "tidy":
            queue.tidy([A, B], now + LATER)
        elif what == "replay":
            known = {event.id for event in queue.events()} & {f"evt-{number}" for number in how[1]}
            if known:
                queue.replay(replay(*known, to=how[0]), now)
        else:
            change = queue.retry if what == "retry" else queue.drop
            change(of(*(f"evt-{number}" for number in how[1]), to=how[0]), now)
    return now


@given(st.lists(steps, max_size=40), st.sampled_from([1, 400, 1 << 20]), st.sampled_from([1, 400, 1 << 20]))
@settings(max_examples=150, deadline=None)
def test_whatever_happened_a_moved_queue_owes_the_same(told: list[tuple[Any, ...]], size: int, other: int) -> None:
    with two_queues(size, other) as (queue, target):
        queue.join([A, B])
        now = play(queue, told)
        records = moved(queue, target)
        assert list(target.dump()) == records
        assert target.check().damaged == []
        for name in (A, B):
            assert sorted(deliveries(target, name), key=str) == sorted(deliveries(queue, name), key=str)
            assert target.standing(name)[:3] == queue.standing(name)[:3]
            assert target.standing(name).last == queue.standing(name).last
            with closing(queue.view(name)) as old, closing(target.view(name)) as new:
                made = list(old.attempts())
                assert not made or list(new.attempts()) == made
                for event in target.events():
                    if event.id not in {found[0] for found in deliveries(queue, name)}:
                        assert new.history(event.id) == old.history(event.id)
        owed = {(name, found[0]) for name in (A, B) for found in deliveries(queue, name)}
        made_again = {
            (name, found[0]) for turn in drained(target, now + LATER) for name, all_ in turn for found in all_
        }
        dead = {(name, found[0]) for name in (A, B) for found in deliveries(queue, name) if found[2] is State.DEAD}
        assert made_again == owed - dead
