"""Accepting 100,000 events of 2 KB (made, validated, durable), against writing the same bytes with as many syncs.

Measured twice: as a whole process that reads standard input, and by calling the package's functions.
"""

import os
import time
from pathlib import Path
from typing import Final

from arkcli.system import files
from bench import measure
from bench.home import BATCH, EVENT, Home, draft, payload, workplace
from bench.measure import Contestant, Goal, Options, Result

COUNT: Final = 100_000
_GOALS: Final = (Goal(at_least=100_000, of_value=True),)
#: For the in-process run a tenth of the events is enough.
_FLAT: Final = (Goal(at_most=1.2),)


def results(options: Options) -> list[Result]:
    """Events per second, and peak memory against that of a tenth of the events; with --full also for a million."""
    counts = [COUNT // 10, COUNT, *([10 * COUNT] if options.full else [])]
    with workplace() as directory:
        block = _one_batch()
        streams = {count: stream(directory / f"{count}.ndjson", count) for count in counts}
        found = measure.alternate(
            options.rounds,
            [
                _write("write", directory / "written", block),
                _accept,
                *(_send(count, path) for count, path in streams.items()),
                _write("again", directory / "written", block),
            ],
        )
    peer, peers = "write + fdatasync", (found["write"], found["again"])
    called = Result(f"accept {COUNT:,} events, {BATCH:,} a sync", "events/s", found["accept"], peer, *peers)
    rates = [
        Result(f"ark send --ndjson, {count:,} lines", "events/s", found[f"{count}"], peer, *peers, _GOALS)
        for count in counts[1:]
    ]
    few, few_memory = f"{counts[0]:,} lines", found[f"{counts[0]}, MiB"]
    memory = [
        Result(f"the same, {count:,} lines, peak memory", "MiB", found[f"{count}, MiB"], few, few_memory, goals=_FLAT)
        for count in counts[1:]
    ]
    return [called, *rates, *memory]


def stream(path: Path, count: int) -> Path:
    """A file with `count` payloads, one per line."""
    with workplace() as directory, Home(directory).session() as session, path.open("wb") as file:
        lines = b"".join(payload(session, number) + b"\n" for number in range(BATCH))
        for _ in range(count // BATCH):
            file.write(lines)
    return path


def _send(count: int, stream: Path) -> Contestant:
    def contestant() -> dict[str, float]:
        with workplace() as directory:
            home = Home(directory)
            home.add("crm", "http://127.0.0.1:9/")
            command = [measure.ARK, "send", EVENT, "--ndjson", "--queue", "--json"]
            finished = measure.run(command, home.variables, stdin=stream)
            if finished.output.count(b'"event_id"') != count:
                raise RuntimeError(f"{count} were sent, and there are {finished.output.count(b'event_id')} receipts")
            return {f"{count}": count / finished.seconds, f"{count}, MiB": finished.mebibytes}

    return contestant


def _accept() -> dict[str, float]:
    with workplace() as directory, Home(directory).session() as session:
        payloads = [payload(session, number) for number in range(BATCH)]
        started = time.perf_counter()
        for _ in range(COUNT // BATCH):
            session.home.queue.accept([draft(session, found) for found in payloads])
        return {"accept": COUNT / (time.perf_counter() - started)}


def _write(name: str, path: Path, block: bytes) -> Contestant:
    def contestant() -> dict[str, float]:
        path.unlink(missing_ok=True)
        started = time.perf_counter()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
        for _ in range(COUNT // BATCH):
            os.write(descriptor, block)
            files.sync(descriptor)
        os.close(descriptor)
        return {name: COUNT / (time.perf_counter() - started)}

    return contestant


def _one_batch() -> bytes:
    """The contents of the event log after one batch."""
    with workplace() as directory:
        home = Home(directory)
        home.accept(BATCH)
        return b"".join(path.read_bytes() for path in home.event_log)


if __name__ == "__main__":
    measure.main(results)
