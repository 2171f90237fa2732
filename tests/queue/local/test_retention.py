"""What nobody needs any more goes, and what somebody needs stays, however old it is."""

from contextlib import closing
from pathlib import Path

from arkcli import model, times
from arkcli.model import Answer, Draft
from arkcli.queue.local.queue import LocalQueue
from tests.world import START

A, B = "dst_a", "dst_b"
DAY = 86_400_000
KEEP = 7 * DAY
OK, BAD = Answer(200, None, 1), Answer(500, "answered 500", 1)


def accept(queue: LocalQueue, now: int, *numbers: int) -> None:
    body = b'{"text":"%b"}' % (b"x" * 200)
    queue.accept([Draft(f"evt_{number}", "ping", times.to_text(now), body) for number in numbers])


def deliver(queue: LocalQueue, destination: str, now: int, answer: Answer = OK) -> list[str]:
    """Attempts once what is due, and returns the ids of the events."""
    claim = queue.claim(destination, "test")
    assert claim is not None
    taken = claim.take(now, 1_000)
    claim.record([(found, answer) for found in taken], now)
    claim.release()
    return [found.event.id for found in taken]


def bytes_on_disk(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def test_a_year_of_events_keeps_a_bounded_directory(tmp_path: Path) -> None:
    sizes = []
    with closing(LocalQueue(tmp_path, model.DOCUMENTED, segment_size=3_000)) as queue:
        queue.join([A, B])
        for day in range(365):
            now = START + day * DAY
            accept(queue, now, *range(10 * day, 10 * day + 10))
            assert len(deliver(queue, A, now)) == len(deliver(queue, B, now)) == 10
            queue.tidy([A, B], now - KEEP)
            sizes.append(bytes_on_disk(tmp_path))
    assert max(sizes[30:]) <= max(sizes[:30]) + 3_000


def test_what_is_younger_than_the_retention_can_still_be_found(tmp_path: Path) -> None:
    with closing(LocalQueue(tmp_path, model.DOCUMENTED, segment_size=1)) as queue:
        queue.join([A])
        for day in range(10):
            accept(queue, START + day * DAY, day)
            deliver(queue, A, START + day * DAY)
        queue.tidy([A], START + 9 * DAY - KEEP)
        kept = [event.id for event in queue.events()]
        assert kept[-8:] == [f"evt_{day}" for day in range(2, 10)]
        assert "evt_0" not in kept
        assert queue.totals[0] == len(kept)


def test_a_destination_that_has_not_passed_an_event_holds_it(tmp_path: Path) -> None:
    with closing(LocalQueue(tmp_path, model.DOCUMENTED, segment_size=1)) as queue:
        queue.join([A, B])
        for number in range(5):
            accept(queue, START, number)
        deliver(queue, A, START)
        queue.tidy([A, B], START + 365 * DAY)
        assert deliver(queue, B, START + 365 * DAY) == [f"evt_{number}" for number in range(5)]


def test_an_event_whose_retry_waits_is_held(tmp_path: Path) -> None:
    with closing(LocalQueue(tmp_path, model.DOCUMENTED, segment_size=1)) as queue:
        queue.join([A])
        accept(queue, START, 0)
        deliver(queue, A, START, BAD)
        for number in range(1, 5):
            accept(queue, START, number)
            deliver(queue, A, START)
        queue.tidy([A], START + 365 * DAY)
        assert deliver(queue, A, START + 365 * DAY) == ["evt_0"]


def test_a_dead_letter_outlives_its_event(tmp_path: Path) -> None:
    with closing(LocalQueue(tmp_path, model.DOCUMENTED, segment_size=1)) as queue:
        queue.join([A])
        accept(queue, START, 0)
        now = START
        for _ in range(5):
            deliver(queue, A, now, BAD)
            now += 3 * 3_600_000
        accept(queue, now, 1, 2)
        deliver(queue, A, now)
        accept(queue, now, 3)
        deliver(queue, A, now)
        queue.tidy([A], now + 365 * DAY)
        assert queue.find("evt_0") is None
        with closing(queue.view(A)) as view:
            (dead,) = view.deliveries()
        assert (dead.event.id, dead.event.body[:9]) == ("evt_0", b'{"text":"')


def test_a_destination_that_is_removed_meanwhile_keeps_nobody_from_tidying(tmp_path: Path) -> None:
    queue = LocalQueue(tmp_path / "queue", model.DOCUMENTED, segment_size=1)
    with closing(queue):
        queue.join(["dst_stays"])
        for number in range(3):
            queue.accept([Draft(f"evt_{number}", "ping", times.to_text(START), b"{}")])
        claim = queue.claim("dst_stays", "test")
        assert claim is not None
        while deliveries := claim.take(START, 1):
            claim.record([(deliveries[0], Answer(200, None, 1))], START)
        claim.release()
        queue.tidy(["dst_gone", "dst_stays"], START + 1)
        assert queue.find("evt_0") is None


def test_what_was_sent_out_of_turn_and_removed_is_not_taken_off_what_waits(tmp_path: Path) -> None:
    with closing(LocalQueue(tmp_path / "queue", model.DOCUMENTED, segment_size=1)) as queue:
        queue.join(["dst_a"])
        queue.accept([Draft("evt_0", "ping", times.to_text(START), b"{}", ())])
        (sent,) = queue.accept([Draft("evt_1", "ping", times.to_text(START), b"{}")])
        claim = queue.claim("dst_a", "send")
        assert claim is not None
        first = claim.first_attempt(sent)
        assert first is not None
        claim.record([(first, OK)], START)
        claim.release()
        queue.accept([Draft("evt_2", "ping", times.to_text(START), b"{}")])
        queue.tidy(["dst_a"], START + 1)
        assert queue.find("evt_1") is None
        assert queue.standing("dst_a").waiting == 1
