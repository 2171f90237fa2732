"""Many senders at once with the queue in PostgreSQL, against the queue in files: accepting, and one slow receiver."""

import multiprocessing
import statistics
import time
from collections.abc import Callable
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from typing import Final, NamedTuple

from arkcli.actions import send
from arkcli.actions.send import Order
from bench import measure
from bench.home import EVENT, Home, draft, payload, workplace
from bench.measure import Contestant, Goal, Options, Result
from bench.servers import slow
from bench.shared import server, shared_home

_SENDERS: Final = 16
#: Events of each sender: of the quick benchmark, and with --full.
_ACCEPTED: Final = (25, 250)
_SENT: Final = (15, 25)
_FEW: Final = 8
#: How long the receiver takes, in seconds.
_SLOW: Final = 0.2
_RATE: Final = (Goal(at_least=400, of_value=True),)
_LONGEST: Final = (Goal(at_most=100, of_value=True),)
_DELIVERED: Final = (Goal(at_least=0.95 * _FEW / _SLOW, of_value=True),)

Step = Callable[[Home, int], list[tuple[float, float]]]


class _Many(NamedTuple):
    """What many processes did at once: steps per second, and milliseconds of a step."""

    rate: float
    median: float
    longest: float


def results(options: Options) -> list[Result]:
    """Events per second over all processes, and how long one takes."""
    accepted, sent = _ACCEPTED[options.full], _SENT[options.full]
    with (
        workplace() as directory,
        slow(_SLOW) as receiver,
        server(directory) as database,
        shared_home(directory / "shared", database) as shared,
    ):
        homes = {"files": Home(directory / "files"), "shared": shared}
        for home in homes.values():
            home.add("slow", f"{receiver}/hook")
        found = measure.alternate(
            options.rounds,
            [
                contestant
                for name, home in homes.items()
                for contestant in (
                    _contestant(f"accept, {name}", home, _accept, _SENDERS, accepted),
                    _contestant(f"send, {name}", home, _send, _FEW, sent),
                )
            ],
        )
    peer, what = "in files", f"accept one by one, {_SENDERS} processes, PostgreSQL"
    rows = [Result(what, "events/s", found["accept, shared"], peer, found["accept, files"], goals=_RATE)]
    for name, goals in (("p50", ()), ("p99", _LONGEST)):
        mine, theirs = found[f"accept, shared, {name}"], found[f"accept, files, {name}"]
        rows.append(Result(f"{what}, {name}", "ms", mine, peer, theirs, goals=goals))
    what = f"ark send to one receiver of {_SLOW * 1000:.0f} ms, {_FEW} processes, PostgreSQL"
    rows.append(Result(what, "events/s", found["send, shared"], peer, found["send, files"], goals=_DELIVERED))
    mine, theirs = found["send, shared, p99"], found["send, files, p99"]
    return [*rows, Result(f"{what}, p99", "ms", mine, peer, theirs)]


def _contestant(name: str, home: Home, step: Step, processes: int, count: int) -> Contestant:
    def contestant() -> dict[str, float]:
        many = _together(home, step, processes, count)
        return {name: many.rate, f"{name}, p50": many.median, f"{name}, p99": many.longest}

    return contestant


def _together(home: Home, step: Step, processes: int, count: int) -> _Many:
    """Runs a step in this many processes, which begin together."""
    context = multiprocessing.get_context("spawn")
    barrier, told = context.Barrier(processes), context.Queue()
    running = [context.Process(target=_run, args=(home, step, count, barrier, told)) for _ in range(processes)]
    for process in running:
        process.start()
    moments = [moment for _ in running for moment in told.get(timeout=measure.LONGEST)]
    for process in running:
        process.join()
    took = sorted(end - begin for begin, end in moments)
    seconds = max(end for _, end in moments) - min(begin for begin, _ in moments)
    return _Many(len(moments) / seconds, statistics.median(took) * 1000, took[int(len(took) * 0.99)] * 1000)


def _run(home: Home, step: Step, count: int, barrier: Barrier, told: "Queue[list[tuple[float, float]]]") -> None:
    # The first one loads modules and connects.
    step(home, 1)
    barrier.wait(measure.LONGEST)
    told.put(step(home, count))


def _accept(home: Home, count: int) -> list[tuple[float, float]]:
    """Accepts events one by one; returns when each began and ended."""
    moments = []
    with home.session() as session:
        drafts = [draft(session, payload(session, number)) for number in range(count)]
        session.home.store.read()
        for one in drafts:
            began = time.monotonic()
            session.home.queue.accept([one])
            moments.append((began, time.monotonic()))
    return moments


def _send(home: Home, count: int) -> list[tuple[float, float]]:
    """Accepts and delivers events one by one, as `ark send` does."""
    moments = []
    with home.session() as session:
        contents = session.home.store.read()
        for number in range(count):
            order = Order(event=EVENT, payload=payload(session, number))
            began = time.monotonic()
            send.send(session.home, order, contents, session.process, now=True)
            moments.append((began, time.monotonic()))
    return moments


if __name__ == "__main__":
    measure.main(results)
