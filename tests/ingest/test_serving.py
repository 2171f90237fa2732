"""When the process that delivers is started again, and what may be asked at once."""

import asyncio
import threading

import pytest

from arkcli.httpd.messages import Reply, Request
from arkcli.ingest.commits import Commits
from arkcli.ingest.door import Door, Inside, Making, alone
from arkcli.ingest.serving import Serving, pause_after
from arkcli.system.child import Child


@pytest.mark.parametrize(
    ("ran", "before", "pause"),
    [(0.1, 0, 1), (0.1, 1, 2), (0.1, 2, 4), (59, 32, 60), (0.1, 60, 60), (60, 60, 1), (3600, 0, 1)],
)
def test_a_process_that_fails_again_and_again_is_started_less_and_less_often(
    ran: float, before: float, pause: float
) -> None:
    assert pause_after(ran, before) == pause


class NeverStarts(Child):
    tried = 0

    def start(self) -> None:
        self.tried += 1
        raise BlockingIOError(11, "Resource temporarily unavailable")


def test_a_process_that_cannot_be_started_is_reported_and_tried_again() -> None:
    told: list[str] = []
    child = NeverStarts([], {})

    def warn(text: str) -> None:
        told.append(text)
        if len(told) == 2:
            service.stop()

    service = Serving(child, lambda *_: [], warn)
    service.run(lambda _: [], lambda: None)
    why = "the process that delivers cannot be started (Resource temporarily unavailable); it is started again in"
    assert told == [f"{why} 1 s", f"{why} 2 s"]
    assert child.tried == 2


def test_metrics_are_read_one_at_a_time_even_if_clients_leave() -> None:
    begun, go_on = threading.Semaphore(0), threading.Semaphore(0)
    under_way: list[int] = []

    def read() -> bytes:
        assert under_way == []
        under_way.append(1)
        begun.release()
        assert go_on.acquire(timeout=20)
        under_way.pop()
        return b"ark_up 1"

    async def run() -> Reply:
        making = Making(lambda *_: pytest.fail(), lambda *_: None)
        commits = Commits(lambda *_: [])
        door = Door(making, commits, Inside(alone(list), alone(read)))
        asked = Request("GET", "/metrics", (), b"")
        gone = asyncio.create_task(door.take(asked))
        assert await asyncio.to_thread(begun.acquire, timeout=20)
        gone.cancel()
        second = asyncio.create_task(door.take(asked))
        for _ in range(10):
            await asyncio.sleep(0)
        go_on.release(2)
        found = await second
        await commits.close()
        return found

    found = asyncio.run(run())
    assert (found.status, found.body) == (200, b"ark_up 1")
