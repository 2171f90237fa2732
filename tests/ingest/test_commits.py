"""What comes while a batch is being made durable becomes the next batch."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from arkcli.errors import NotAccepted
from arkcli.ingest.commits import Commits
from arkcli.model import Draft, Event


def draft(number: int, size: int = 2) -> Draft:
    return Draft(f"evt_{number}", "signal.promoted", "2026-01-01T00:00:00.000Z", b"x" * size)


class Disk:
    """Accepts batches, one at a time, each when it is told to."""

    def __init__(self) -> None:
        self.batches: list[tuple[list[str], bool]] = []
        self.begun = threading.Semaphore(0)
        self.goes_on = threading.Semaphore(0)
        self.error: Exception | None = None

    def accept(self, drafts: Sequence[Draft], unique: bool) -> list[Event]:
        self.batches.append(([one.id for one in drafts], unique))
        self.begun.release()
        assert self.goes_on.acquire(timeout=10)
        if self.error is not None:
            raise self.error
        return [Event(one.id, one.name, one.at, one.body) for one in drafts]

    async def has_begun(self) -> None:
        assert await asyncio.to_thread(self.begun.acquire, timeout=10)


def test_what_comes_meanwhile_is_one_batch_and_everybody_gets_their_own_events() -> None:
    disk = Disk()

    async def run() -> list[list[str]]:
        commits = Commits(disk.accept)
        first = asyncio.create_task(commits.accepted([draft(0)], unique=False))
        await disk.has_begun()
        others = [asyncio.create_task(commits.accepted([draft(n), draft(-n)], unique=False)) for n in (1, 2, 3)]
        await asyncio.sleep(0)
        disk.goes_on.release()
        await disk.has_begun()
        assert first.done() or await first
        disk.goes_on.release()
        found = [[event.id for event in await task] for task in (first, *others)]
        await commits.close()
        return found

    assert asyncio.run(run()) == [["evt_0"], ["evt_1", "evt_-1"], ["evt_2", "evt_-2"], ["evt_3", "evt_-3"]]
    assert [ids for ids, _ in disk.batches] == [["evt_0"], ["evt_1", "evt_-1", "evt_2", "evt_-2", "evt_3", "evt_-3"]]


def test_nothing_is_answered_before_the_events_are_durable() -> None:
    disk = Disk()

    async def run() -> None:
        commits = Commits(disk.accept)
        task = asyncio.create_task(commits.accepted([draft(0)], unique=False))
        await disk.has_begun()
        for _ in range(10):
            await asyncio.sleep(0)
        assert not task.done()
        disk.goes_on.release()
        await task
        await commits.close()

    asyncio.run(run())


def test_ids_of_clients_are_looked_up_and_new_ones_are_not() -> None:
    disk = Disk()

    async def run() -> None:
        commits = Commits(disk.accept)
        disk.goes_on.release()
        await commits.accepted([draft(0)], unique=False)
        disk.goes_on.release()
        await commits.accepted([draft(1)], unique=True)
        await commits.close()

    asyncio.run(run())
    assert disk.batches == [(["evt_0"], False), (["evt_1"], True)]


def test_a_large_batch_waits_for_the_next_sync() -> None:
    disk = Disk()

    async def run() -> None:
        commits = Commits(disk.accept)
        tasks = [asyncio.create_task(commits.accepted([draft(0)], unique=False))]
        await disk.has_begun()
        tasks += [asyncio.create_task(commits.accepted([draft(n, 1 << 20)], unique=False)) for n in range(1, 6)]
        await asyncio.sleep(0)
        for _ in range(4):
            disk.goes_on.release()
        await asyncio.gather(*tasks)
        await commits.close()

    asyncio.run(run())
    assert [len(ids) for ids, _ in disk.batches] == [1, 2, 2, 1]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (NotAccepted("the disk is full", "nothing was accepted"), "the disk is full: nothing was accepted"),
        (
            OSError(5, "Input/output error"),
            "the event log cannot be written .Input/output error.: nothing was accepted",
        ),
    ],
)
def test_everybody_in_a_batch_learns_why_it_was_not_accepted_and_the_next_one_is_tried(
    error: Exception, said: str
) -> None:
    disk = Disk()

    async def run() -> None:
        commits = Commits(disk.accept)
        disk.error = error
        tasks = [asyncio.create_task(commits.accepted([draft(n)], unique=False)) for n in range(3)]
        for _ in tasks:
            disk.goes_on.release()
        for task in tasks:
            with pytest.raises(NotAccepted, match=said):
                await task
        disk.error = None
        disk.goes_on.release()
        assert len(await commits.accepted([draft(9)], unique=False)) == 1
        await commits.close()

    asyncio.run(run())


def test_closing_accepts_what_was_submitted_and_a_client_that_has_gone_disturbs_nobody() -> None:
    disk = Disk()

    async def run() -> None:
        commits = Commits(disk.accept)
        gone = asyncio.create_task(commits.accepted([draft(0)], unique=False))
        await disk.has_begun()
        other = asyncio.create_task(commits.accepted([draft(1)], unique=False))
        await asyncio.sleep(0)
        gone.cancel()
        disk.goes_on.release(2)
        await commits.close()
        assert [event.id for event in await other] == ["evt_1"]

    asyncio.run(run())
    assert [ids for ids, _ in disk.batches] == [["evt_0"], ["evt_1"]]
