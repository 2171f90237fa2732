"""Connections that break at any moment, and whether many of them leak resources."""

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from arkcli.model import Answer, Delivery, Outcome
from arkcli.system.clock import SystemClock
from arkcli.wire.wire import Wire
from tests.hostile.rows import FAST, GOOD, HEAD, redirects
from tests.hostile.servers import Handler, Hostile, Talk, answers, hostile
from tests.wire.test_wire import EVENT, endpoint, post

ROOT = Path(__file__).parent.parent.parent
REFUSAL = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
END_OF_HEADERS = GOOD.index(b"\r\n\r\n") + 4


def url(server: Hostile) -> str:
    return f"http://127.0.0.1:{server.port}/"


def cut(ending: Callable[[Talk], None]) -> Handler:
    """Sends as much of a valid answer as the path says, and then ends the connection."""

    def handle(talk: Talk) -> None:
        request = talk.read()
        assert request is not None
        talk.say(GOOD[: int(request.line.split()[1].removeprefix("/"))])
        ending(talk)

    return handle


@pytest.mark.parametrize("ending", [Talk.reset, Talk.close])
def test_an_answer_that_breaks_off_counts_from_the_end_of_its_headers_on(ending: Callable[[Talk], None]) -> None:
    with hostile(cut(ending)) as server:
        broken_off = post(*(endpoint(f"{url(server)}{size}") for size in range(len(GOOD) + 1)))
    for size, found in enumerate(broken_off):
        complete = size >= END_OF_HEADERS
        assert found.outcome is (Outcome.DELIVERED if complete else Outcome.FAILED), (size, found)
        assert found.status == (200 if complete else None)


def in_turn(server: Hostile, count: int) -> list[Answer]:
    """Makes this many attempts, one after the other, over the same wire."""
    wire: Wire[int] = Wire("", SystemClock())
    target = endpoint(url(server))
    done = []
    for number in range(count):
        wire.start(target, [(Delivery(EVENT, 1), number)])
        while wire.in_flight:
            done += [found for _, found in wire.wait(0.5)]
    wire.close()
    return done


def _close(talk: Talk) -> None:
    talk.read()
    talk.say(GOOD)


def _reset(talk: Talk) -> None:
    _close(talk)
    talk.reset()


def _close_on_the_second(talk: Talk) -> None:
    _close(talk)
    talk.read()


def _reset_on_the_second(talk: Talk) -> None:
    _close(talk)
    talk.read()
    talk.reset()


def _close_when_the_second_comes(talk: Talk) -> None:
    _close(talk)
    talk.connection.recv(1)


@pytest.mark.parametrize(
    "handle", [_close, _reset, _close_on_the_second, _reset_on_the_second, _close_when_the_second_comes]
)
def test_a_kept_connection_that_turns_out_dead_is_no_failure(handle: Handler) -> None:
    with hostile(handle) as server:
        found = in_turn(server, 30)
        # At least once: a request read on a dying connection is sent again on a new one.
        assert 30 <= len(server.requests) <= 59
    assert [one.outcome for one in found] == [Outcome.DELIVERED] * 30
    assert max(one.duration_ms for one in found) < 10_000


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        (REFUSAL, GOOD, 500),
        (GOOD, REFUSAL, 200),
        # Servers send this on a connection that has been idle for too long.
        (GOOD, b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", 200),
    ],
)
def test_what_stands_behind_an_answer_is_never_taken_for_the_next_one(first: bytes, second: bytes, status: int) -> None:
    with hostile(answers(first + second)) as server:
        found = in_turn(server, 20)
        assert len(server.requests) == 20
    assert [one.status for one in found] == [status] * 20


def test_a_kept_connection_that_dies_amid_the_next_answer_is_a_failure() -> None:
    def handle(talk: Talk) -> None:
        _close(talk)
        talk.read()
        talk.say(HEAD)

    with hostile(handle) as server:
        found = in_turn(server, 2)
        assert len(server.requests) == 2
    assert [one.outcome for one in found] == [Outcome.DELIVERED, Outcome.FAILED]


def test_a_server_that_never_keeps_its_word_on_a_fresh_connection_is_asked_once() -> None:
    def handle(talk: Talk) -> None:
        talk.read()

    with hostile(handle) as server:
        (found,) = in_turn(server, 1)
        assert len(server.requests) == 1
    assert found.error == "the connection was closed without an answer"


def _resident() -> int:
    pages = Path("/proc/self/statm")
    # Where there is no /proc, only descriptors are counted.
    return int(pages.read_text().split()[1]) * os.sysconf("SC_PAGESIZE") if pages.exists() else 0


def _descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def _settled(before: int) -> int:
    """The number of descriptors after the servers' threads have closed theirs."""
    for _ in range(100):
        if _descriptors() <= before:
            break
        threading.Event().wait(0.05)
    return _descriptors()


def _round() -> None:
    """Attempts every fast row once."""
    with ExitStack() as stack:
        rows = (*FAST, *redirects("http://127.0.0.1:1/"))
        post(*(endpoint(url(stack.enter_context(hostile(row.handle)))) for row in rows))
    # libcurl's handles and their callbacks are in reference cycles; this test is not about when they are freed.
    gc.collect()


def _rounds() -> None:
    """Prints descriptors and memory before and after many rounds."""
    _round()
    before = _descriptors()
    for _ in range(6):
        _round()
    middle = _resident()
    for _ in range(4):
        _round()
    print(before, _settled(before), middle, _resident())


def test_hostile_answers_leave_no_memory_and_no_descriptor_behind() -> None:
    alone = [sys.executable, "-c", "from tests.hostile.test_connections import _rounds; _rounds()"]
    said = subprocess.run(alone, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    before, after, middle, end = map(int, said.split())
    assert after <= before
    assert end - middle < 8 * 2**20
