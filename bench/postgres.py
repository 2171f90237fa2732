"""The queue in PostgreSQL against the queue in files: delivering, recording without HTTP, and accepting a stream."""

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from arkcli.model import Answer
from bench import measure
from bench.accept import stream
from bench.contestants import drain
from bench.home import EVENT, Home, workplace
from bench.measure import Contestant, Goal, Options, Result
from bench.servers import nginx
from bench.shared import SharedHome, server, shared_home

_DESTINATIONS: Final = 4
#: Events: of the quick benchmark, and with --full.
_COUNTS: Final = (2_500, 10_000)
#: Lines of a stream; start-up counts, too.
_LINES: Final = 100_000
_DRAIN: Final = (Goal(at_least=0.5),)
_RECORD: Final = (Goal(at_least=25_000, of_value=True),)
_DEAD: Final = (Goal(at_most=0, of_value=True),)
_ACCEPT: Final = (Goal(at_least=30_000, of_value=True),)
_OK: Final = Answer(200, None, 12)
#: As many as are in flight at one destination of several.
_TAKEN: Final = 16


def results(options: Options) -> list[Result]:
    """Deliveries and events per second."""
    count, lines = _COUNTS[options.full], _LINES
    with (
        workplace() as directory,
        nginx(directory / "nginx") as receiver,
        server(directory) as database,
        shared_home(directory / "shared", database) as shared,
    ):
        files = Home(directory / "files")
        ids = {home: _prepare(home, receiver.url, count) for home in (files, shared)}
        streamed = stream(directory / "stream.ndjson", lines)
        due = count * _DESTINATIONS
        found = measure.alternate(
            options.rounds,
            [
                drain("files", files, due),
                drain("shared", shared, due),
                _record("record, files", files, ids[files], due),
                _record("record, shared", shared, ids[shared], due),
                _accept("accept, files", lambda path: contextlib.nullcontext(Home(path)), streamed, lines),
                _accept("accept, shared", lambda path: shared_home(path, database), streamed, lines),
                drain("again", files, due),
            ],
        )
    peer = "in files"
    return [
        Result(
            f"ark drain, {due:,} due, PostgreSQL", "deliveries/s", found["shared"], peer, found["files"],
            found["again"], _DRAIN,
        ),
        Result(
            "record without HTTP, PostgreSQL", "deliveries/s", found["record, shared"], peer, found["record, files"],
            goals=_RECORD,
        ),
        Result("dead rows that this leaves", "rows", found["record, shared, dead"], goals=_DEAD),
        Result(
            f"ark send --ndjson, {lines:,} lines, PostgreSQL", "events/s", found["accept, shared"], peer,
            found["accept, files"], goals=_ACCEPT,
        ),
    ]  # fmt: skip


def _prepare(home: Home, url: str, count: int) -> list[str]:
    added = [home.add(f"nginx-{number}", f"{url}/{number}") for number in range(_DESTINATIONS)]
    home.accept(count)
    home.save()
    return added


def _record(name: str, home: Home, ids: Sequence[str], count: int) -> Contestant:
    """Takes everything that is due, and records that it was delivered."""

    def contestant() -> dict[str, float]:
        home.rewind()
        with home.session() as session:
            queue, now = session.home.queue, session.home.clock.now()
            claims = queue.claim_due(ids, len(ids), "bench", now)
            made, started = 0, time.perf_counter()
            while parts := [
                (claim, [(delivery, _OK) for delivery in taken])
                for claim in claims
                if (taken := claim.take(now, _TAKEN))
            ]:
                queue.record(parts, now)
                made += sum(len(results) for _, results in parts)
            seconds = time.perf_counter() - started
            for claim in claims:
                claim.release()
        if made != count:
            raise RuntimeError(f"{count} were due, and {made} were recorded")
        dead = {f"{name}, dead": float(home.dead_rows())} if isinstance(home, SharedHome) else {}
        return {name: made / seconds, **dead}

    return contestant


def _accept(
    name: str, make: Callable[[Path], contextlib.AbstractContextManager[Home]], path: Path, count: int
) -> Contestant:
    """Accepts a stream in a home that `make` makes in a directory."""

    def contestant() -> dict[str, float]:
        with workplace() as directory, make(directory) as home:
            home.add("crm", "http://127.0.0.1:9/")
            command = [measure.ARK, "send", EVENT, "--ndjson", "--queue", "--json"]
            finished = measure.run(command, home.variables, stdin=path)
        if finished.output.count(b'"event_id"') != count:
            raise RuntimeError(f"{count} were sent, and there are {finished.output.count(b'event_id')} receipts")
        return {name: count / finished.seconds}

    return contestant


if __name__ == "__main__":
    measure.main(results)
