"""Accepting: 100,000 events of 2 KB made, validated and durable, against writing the same bytes with as many syncs."""

import os
import time
from pathlib import Path
from typing import Final

from bench import measure
from bench.home import BATCH, Home, draft, payload, workplace
from bench.measure import Contestant, Goal, Options, Result

COUNT: Final = 100_000
_GOALS: Final = (Goal(at_least=80_000, of_value=True),)


def results(options: Options) -> list[Result]:
    """Events a second, by calling the package's functions: reading and splitting the input is not in it."""
    with workplace() as directory:
        block = _one_batch()
        found = measure.alternate(
            options.rounds,
            [
                _write("write", directory / "written", block),
                _accept,
                _write("again", directory / "written", block),
            ],
        )
    what = f"accept {COUNT:,} events, {BATCH:,} a sync"
    peer = "write + fdatasync"
    return [Result(what, "events/s", found["accept"], peer, found["write"], found["again"], _GOALS)]


def _accept() -> dict[str, float]:
    with workplace() as directory, Home(directory).environment() as environment:
        payloads = [payload(environment, number) for number in range(BATCH)]
        started = time.perf_counter()
        for _ in range(COUNT // BATCH):
            environment.queue.accept([draft(environment, found) for found in payloads])
        return {"accept": COUNT / (time.perf_counter() - started)}


def _write(name: str, path: Path, block: bytes) -> Contestant:
    def contestant() -> dict[str, float]:
        path.unlink(missing_ok=True)
        started = time.perf_counter()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
        for _ in range(COUNT // BATCH):
            os.write(descriptor, block)
            os.fdatasync(descriptor)
        os.close(descriptor)
        return {name: COUNT / (time.perf_counter() - started)}

    return contestant


def _one_batch() -> bytes:
    """The bytes that the event log has after one batch."""
    with workplace() as directory:
        home = Home(directory)
        home.accept(BATCH)
        return b"".join(path.read_bytes() for path in home.event_log)


if __name__ == "__main__":
    measure.main(results)
