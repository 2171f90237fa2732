"""`ark send --ndjson` as a process that reads from a real pipe."""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from tests.intake import needs_forks
from tests.world import SIGNAL, Request, TestReceiver, World, hang

Receive = Callable[..., TestReceiver]
ROOT = Path(__file__).parent.parent.parent
#: The memory limit (KiB); all events together would exceed it.
LIMIT = 64 * 1024
SIZE = 2048
#: A process's peak includes that of the process it was forked from, so a small process starts it.
MEASURE = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(status)
"""


ARK = (sys.executable, "-m", "arkcli", "send", "signal.promoted", "--ndjson")


class Stream:
    """A running `ark send --ndjson`."""

    def __init__(self, world: World, *options: str) -> None:
        self.process = subprocess.Popen(
            [*ARK, "--json", *options],
            cwd=ROOT,
            env={**os.environ, **world.variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin: IO[bytes] = self.process.stdin
        self.stdout: IO[bytes] = self.process.stdout

    def write(self, *lines: bytes) -> None:
        self.stdin.write(b"".join(line + b"\n" for line in lines))
        self.stdin.flush()

    def receipt(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.stdout.readline())
        return found

    def end(self) -> tuple[int, list[dict[str, Any]]]:
        # Not with `communicate`, which would miss what `receipt` has already buffered.
        self.stdin.close()
        rest = [json.loads(line) for line in self.stdout]
        return self.process.wait(60), rest


@pytest.fixture
def opened(world: World, crm: TestReceiver) -> Iterator[Callable[..., Stream]]:
    streams: list[Stream] = []

    def start(*options: str) -> Stream:
        streams.append(Stream(world, *options))
        return streams[-1]

    yield start
    for stream in streams:
        with stream.process:
            stream.process.kill()


def payload(number: int, size: int = 0) -> bytes:
    text = json.dumps({**SIGNAL, "number": number, "fill": ""})
    return f'{text[:-2]}{"x" * (size - len(text))}"}}'.encode()


def numbers(world: World) -> list[int]:
    return [json.loads(line)["body"]["number"] for line in world.event_lines]


def test_a_slow_producers_line_does_not_wait_for_others(world: World, opened: Callable[..., Stream]) -> None:
    stream = opened("--queue")
    for number in range(1, 6):
        stream.write(payload(number))
        receipt = stream.receipt()
        assert receipt["line"] == number
        assert world.event_lines[number - 1].count(receipt["event_id"].encode()) == 1
    stream.write(b"{")
    assert stream.receipt()["error"].startswith("$: this is not JSON")
    assert stream.end() == (2, [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_told_to_stop_it_stops_reading_and_says_exactly_what_was_accepted(
    world: World, opened: Callable[..., Stream], crm: TestReceiver, number: signal.Signals
) -> None:
    stream = opened()
    stream.write(payload(1), b"bad", payload(3))
    for _ in range(3):
        stream.receipt()
    stream.process.send_signal(number)
    # The pipe is still open, so the process does not end because of it.
    assert stream.process.wait(60) == 130
    _, (said,) = stream.end()
    assert said["error"] == {
        "code": "interrupted",
        "message": "interrupted: accepted 2 events, from the good lines up to line 3, and nothing from line 4 on",
    }
    assert numbers(world) == [1, 3]
    assert crm.connections == 0


def test_told_to_stop_before_the_first_line_it_accepted_nothing(opened: Callable[..., Stream]) -> None:
    stream = opened("--strict")
    stream.write(payload(1))
    # Once it reads, its signal handler is installed, too.
    while not _is_empty(stream.stdin.fileno()):
        time.sleep(0.01)
    stream.process.send_signal(signal.SIGINT)
    assert stream.process.wait(60) == 130
    _, (said,) = stream.end()
    assert "nothing was accepted" in said["error"]["message"]


def _is_empty(pipe: int) -> bool:
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4), sys.byteorder) == 0


def test_killed_at_any_moment_every_line_with_a_receipt_is_on_disk(world: World, opened: Callable[..., Stream]) -> None:
    stream = opened("--queue")
    stream.write(*(payload(number, SIZE) for number in range(1, 30)))
    first = stream.receipt()
    stream.process.kill()
    receipts = [first, *stream.end()[1]]
    ids = [json.loads(line)["id"] for line in world.event_lines]
    assert [receipt["event_id"] for receipt in receipts] == ids[: len(receipts)]
    again = opened("--queue")
    again.write(payload(30))
    assert again.end()[0] == 0
    assert numbers(world)[-1] == 30


@needs_forks
def test_killed_where_it_writes_it_stops_and_says_what_is_certain(world: World, opened: Callable[..., Stream]) -> None:
    stream = opened("--queue")
    block = b"\n".join(payload(number, SIZE) for number in range(1_200))
    receipts: list[dict[str, Any]] = []
    reader = threading.Thread(target=lambda: receipts.extend(map(json.loads, stream.stdout)))
    reader.start()
    while not (writers := _children(stream.process.pid)):
        stream.write(block)
    os.kill(writers[0], signal.SIGKILL)
    with contextlib.suppress(BrokenPipeError):
        for _ in range(5):
            stream.write(block)
        stream.stdin.close()
    assert stream.process.wait(60) == 1
    reader.join()
    *receipts, said = receipts
    assert said["error"]["message"].startswith(
        f"the process that writes events was killed by signal 9: accepted {len(receipts):,} events"
    )
    # The last line may be incomplete.
    ids = [json.loads(line)["id"] for line in world.event_lines[: len(receipts)]]
    assert [receipt["event_id"] for receipt in receipts] == ids


@pytest.mark.parametrize("descriptors", range(5, 16))
def test_short_of_descriptors_it_claims_no_more_than_it_wrote(
    world: World, crm: TestReceiver, descriptors: int
) -> None:
    limited = ["sh", "-c", f'ulimit -n {descriptors} && exec "$@"', "sh", *ARK, "--queue", "--no-validate", "--json"]
    variables = {**os.environ, **world.variables}
    lines = b'{"a":1}\n' * 5_000
    done = subprocess.run(limited, cwd=ROOT, env=variables, input=lines, capture_output=True, check=False)
    receipts = [json.loads(line) for line in done.stdout.splitlines()]
    ids = [receipt["event_id"] for receipt in receipts if "event_id" in receipt]
    assert [json.loads(line)["id"] for line in world.event_lines] == ids
    assert b"Traceback" not in done.stderr
    assert (done.returncode == 0) is (len(ids) == 5_000)


@needs_forks
def test_killed_while_the_log_is_locked_its_streams_end_all_the_same(
    world: World, opened: Callable[..., Stream]
) -> None:
    stream = opened("--queue")
    block = b"\n".join(payload(number, SIZE) for number in range(1_200))
    reader = threading.Thread(target=stream.stdout.read)
    reader.start()
    while not _children(stream.process.pid):
        stream.write(block)
    with (world.queue_directory / "events" / "lock").open() as lock:
        # From now on, writers have to wait.
        fcntl.flock(lock, fcntl.LOCK_EX)
        stream.process.kill()
        stream.process.wait()
        reader.join(20)
        assert not reader.is_alive()
        with pytest.raises(BrokenPipeError):
            os.write(stream.stdin.fileno(), b"{}\n")


def _children(process: int) -> list[int]:
    return [int(found) for found in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def test_streams_at_once_share_one_log(world: World, opened: Callable[..., Stream]) -> None:
    streams = [opened("--queue") for _ in range(3)]
    for number in range(1, 100):
        for stream in streams:
            stream.write(payload(number))
    ends = [stream.end() for stream in streams]
    assert [status for status, _ in ends] == [0, 0, 0]
    for _, receipts in ends:
        assert [receipt["line"] for receipt in receipts] == list(range(1, 100))
    ids = {receipt["event_id"] for _, receipts in ends for receipt in receipts}
    assert ids == {json.loads(line)["id"] for line in world.event_lines}
    assert len(ids) == len(world.event_lines) == 297


def test_a_reader_of_the_receipts_that_goes_away_loses_no_event(world: World, opened: Callable[..., Stream]) -> None:
    stream = opened("--queue")
    stream.write(payload(1))
    stream.receipt()
    stream.stdout.close()
    stream.write(payload(2), b"bad", payload(4))
    stream.stdin.close()
    assert stream.process.wait(60) == 2
    assert numbers(world) == [1, 2, 4]
    assert stream.process.stderr is not None
    said = stream.process.stderr.read().decode()
    assert "warning: the reader of the receipts has gone; ark goes on accepting lines\n" in said
    assert "warning: line 3: $: this is not JSON" in said
    assert (
        "warning: standard output cannot be written (Broken pipe): accepted 3 events, from the good lines up to "
        "line 4, and nothing from line 5 on\n"
    ) in said


def test_what_goes_wrong_behind_what_was_accepted_says_both(world: World, opened: Callable[..., Stream]) -> None:
    stream = opened()
    stream.write(payload(1))
    stream.receipt()
    world.store_file.write_text("[")
    status, (said,) = stream.end()
    assert (status, said["error"]["code"]) == (75, "unfinished")
    assert said["error"]["message"].startswith("accepted 1 event, from the good lines up to line 1")
    assert str(world.store_file) in said["error"]["message"]


def test_told_twice_to_stop_it_names_the_last_line_that_is_accepted(
    world: World, opened: Callable[..., Stream], crm: TestReceiver
) -> None:
    asked = threading.Event()

    def held(request: Request) -> bytes:
        asked.set()
        return hang(request)

    crm.behave = held
    stream = opened()
    stream.write(payload(1), payload(2))
    stream.stdin.close()
    assert asked.wait(20)
    # Different signals: two pending signals of the same kind are merged (signal(7)).
    for number in (signal.SIGINT, signal.SIGTERM):
        stream.process.send_signal(number)
    assert stream.process.wait(20) == 130
    assert stream.process.stderr is not None
    assert "interrupted: accepted 2 events, from the good lines up to line 2" in stream.process.stderr.read().decode()


def test_many_events_are_accepted_in_order_in_memory_that_does_not_grow(
    world: World, crm: TestReceiver, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    count = 1_000_000 if request.config.getoption("--all-faults") else 50_000
    with (tmp_path / "receipts").open("wb") as receipts:
        process = subprocess.Popen(
            [sys.executable, "-c", MEASURE, *ARK, "-", "--queue", "--json"],
            cwd=ROOT,
            env={**os.environ, **world.variables},
            stdin=subprocess.PIPE,
            stdout=receipts,
            stderr=subprocess.PIPE,
        )
        assert process.stdin is not None
        for number in range(1, count + 1):
            process.stdin.write(payload(number, SIZE) + b"\n")
        _, err = process.communicate(timeout=1200)
    assert process.returncode == 0
    assert int(err.split()[-1]) < LIMIT
    queue = world.session().home.queue
    with (tmp_path / "receipts").open() as told:
        for number, (line, event) in enumerate(zip(told, queue.events(), strict=True), 1):
            assert json.loads(line) == {"line": number, "event_id": event.id}
            assert b'"number":%d,' % number in event.body
    assert number == count
    queue.close()


@pytest.mark.parametrize("after", [1, 1_500])
def test_killed_anywhere_and_repeated_from_the_first_line_every_key_is_there_once(
    world: World, opened: Callable[..., Stream], after: int
) -> None:
    lines = [payload(number, 300) for number in range(3_000)]
    stream = opened("--queue", "--id-from", "number")
    writer = threading.Thread(target=_write_all, args=(stream, lines))
    writer.start()
    receipts = [stream.receipt() for _ in range(after)]
    stream.process.kill()
    writer.join()
    again = opened("--queue", "--id-from", "number")
    writer = threading.Thread(target=_write_all, args=(again, lines))
    writer.start()
    repeated = [json.loads(line) for line in again.stdout]
    writer.join()
    assert again.process.wait(60) == 0
    assert [receipt["event_id"] for receipt in repeated] == [str(number) for number in range(3_000)]
    assert all(receipt.get("repeated") for receipt in repeated[: len(receipts)])
    assert sorted(numbers(world)) == list(range(3_000))


def _write_all(stream: Stream, lines: list[bytes]) -> None:
    with contextlib.suppress(BrokenPipeError):
        stream.write(*lines)
        stream.stdin.close()
