"""Many destinations in one queue: what they cost together."""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pytest

from arkcli.model import DOCUMENTED, Answer, Draft
from arkcli.queue.local.claims import Idle
from arkcli.queue.local.queue import LocalQueue
from tests.world import START

COUNT: Final = 1_000
IDS: Final = tuple(f"dst_{number:04}" for number in range(COUNT))
FEW: Final = IDS[:100]
DRAFT: Final = Draft("evt_1", "signal.promoted", "2026-11-23T11:28:48.123Z", b"{}")


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Counts the calls of built-in functions, by name."""
    calls: Counter[str] = Counter()

    def note(_frame: FrameType, event: str, function: Any) -> None:
        if event == "c_call":
            calls[function.__name__] += 1

    sys.setprofile(note)
    try:
        yield calls
    finally:
        sys.setprofile(None)


def syncs(calls: Counter[str]) -> int:
    return calls["fsync"] + calls["fdatasync"]


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[LocalQueue]:
    made = LocalQueue(tmp_path / "queue", DOCUMENTED)
    yield made
    made.close()


def test_a_thousand_join_with_as_many_syncs_as_one(queue: LocalQueue) -> None:
    with counted() as calls:
        queue.join(IDS[:1])
    with counted() as many:
        queue.join(IDS)
    assert syncs(many) <= syncs(calls)


@pytest.mark.parametrize("what", ["overview", "drain"])
def test_the_log_is_looked_at_as_often_for_a_hundred_as_for_one(queue: LocalQueue, what: str) -> None:
    queue.join(FEW)
    queue.accept([DRAFT])
    # The first use of a queue reserves space.
    queue.claim_due((), 1, "drain", START)

    def locks(ids: Sequence[str]) -> int:
        with counted() as calls:
            if what == "overview":
                assert {found.waiting for found in queue.standings(ids, START).values()} == {1}
            else:
                claims = queue.claim_due(ids, len(ids), "drain", START)
        if what == "overview":
            return calls["flock"]
        assert len(claims) == len(ids)
        for claim in claims:
            claim.release()
        # Each claim holds a lock of its own.
        return calls["flock"] - len(ids)

    assert locks(FEW) == locks(FEW[:1]) > 0


def test_a_view_leaves_the_files_of_a_hundred_destinations_closed(queue: LocalQueue) -> None:
    queue.join(FEW)
    before = len(list(Path("/dev/fd").iterdir()))
    queue.standings(FEW, START)
    assert len(list(Path("/dev/fd").iterdir())) == before


def test_a_claim_finds_an_event_that_another_process_has_accepted_and_delivered_in_part(
    queue: LocalQueue, tmp_path: Path
) -> None:
    queue.join(IDS[:2])
    other = LocalQueue(tmp_path / "queue", DOCUMENTED)
    (event,) = other.accept([DRAFT])
    ((claim, delivery),) = other.claim_first(event, IDS[:1], 1)
    other.record([(claim, [(delivery, Answer(500, "answered 500", 3))])], START)
    claim.release()
    other.close()
    first, second = queue.standings(IDS[:2], START).values()
    assert (first.waiting, first.retrying[0], second.waiting) == (0, 1, 1)
    (due,) = queue.claim_due(IDS[:2], 2, "drain", START)
    assert due.destination_id == IDS[1]
    due.release()


class Looks(str):
    """An id that counts how often it is looked up."""

    __slots__ = ()
    looked_up = 0

    def __hash__(self) -> int:
        Looks.looked_up += 1
        return super().__hash__()


def noted(end: int, due_at: int | None = None) -> tuple[Idle, tuple[str, ...]]:
    idle, ids = Idle(), tuple(map(Looks, FEW))
    idle.others((), end, START)
    for found in ids:
        idle.note(found, end, due_at)
    return idle, ids


def test_while_nothing_is_due_no_destination_is_looked_up_again() -> None:
    idle, ids = noted(7)
    assert idle.others(ids, 7, START) == []
    Looks.looked_up = 0
    assert idle.others(ids, 7, START + 100) == []
    assert Looks.looked_up == 0


def test_all_are_looked_up_when_the_log_has_grown() -> None:
    idle, ids = noted(7)
    assert idle.others(ids, 7, START) == []
    assert idle.others(ids, 8, START) == list(ids)


def test_those_are_due_whose_time_has_come() -> None:
    idle, ids = noted(7)
    idle.note(ids[3], 7, START + 500)
    assert idle.others(ids, 7, START + 499) == []
    assert idle.others(ids, 7, START + 499) == []
    assert idle.others(ids, 7, START + 500) == [ids[3]]


def test_one_that_was_left_with_work_is_due_at_once() -> None:
    idle, ids = noted(7)
    assert idle.others(ids, 7, START) == []
    idle.note(ids[3], -1, None)
    assert idle.others(ids, 7, START) == [ids[3]]


@pytest.mark.parametrize(("count", "seconds"), [(10, 30), (1_000, 30), (10_000, 300)])
def test_all_are_looked_at_once_in_a_while_which_takes_a_bounded_part_of_the_time(count: int, seconds: int) -> None:
    idle, ids = Idle(), tuple(map(str, range(count)))
    idle.others(ids, 7, START)
    for found in ids:
        idle.note(found, 7, None)
    assert idle.others(ids, 7, START + seconds * 1000 - 1) == []
    assert len(idle.others(ids, 7, START + seconds * 1000)) == count


def test_a_clock_that_was_set_back_makes_all_of_them_due() -> None:
    idle, ids = noted(7)
    assert idle.others(ids, 7, START) == []
    assert idle.others(ids, 7, START - 1) == list(ids)
