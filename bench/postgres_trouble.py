"""The queue in PostgreSQL in trouble: many deliveries that wait, vacuum that is held back, and a killed drain."""

import http.server
import os
import signal
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar, Final

import psycopg
from msgspec import structs

from arkcli.contract.headers import ATTEMPT_HEADER, DELIVERY_HEADER
from arkcli.model import Answer, RetrySchedule
from bench import measure
from bench.home import Home, draft, payload, workplace
from bench.measure import ARK, LONGEST, Goal, Options, Result, Samples
from bench.servers import HOST, Nginx, nginx, silent
from bench.shared import SharedHome, server, shared_home

#: Of the quick benchmark, and with --full.
_WAITING: Final = (20_000, 1_000_000)
_HEALTHY: Final = (60, 600)
_HELD_FOR: Final = (10.0, 300.0)
_DESTINATIONS: Final = 10
_LOOKS: Final = 50
_PAGES: Final = (Goal(at_most=4, of_value=True),)
_HEALTHY_P99: Final = (Goal(at_most=100, of_value=True),)
_SLOWER: Final = (Goal(at_most=2, of_value=True),)
_TAKEN_OVER: Final = (Goal(at_most=21, of_value=True),)
#: Deliveries of a turn, and turns per second, while vacuum is held back; one in ten fails once.
_TURN: Final = 100
_TURNS: Final = 10
_ANSWERS: Final = (Answer(200, None, 12), Answer(503, "answered 503, not a 2xx", 12))


def results(options: Options) -> list[Result]:
    """One run of each: they take long, and are compared with their own beginnings."""
    waiting, held = _WAITING[options.full], _HELD_FOR[options.full]
    with workplace() as directory, server(directory) as database, nginx(directory / "nginx") as receiver:
        with shared_home(directory / "looking", database) as home:
            pages = _pages(home, waiting)
        with shared_home(directory / "hung", database) as home:
            healthy = _healthy(home, receiver, waiting, _HEALTHY[options.full])
        files = _healthy(Home(directory / "files"), receiver, waiting, _HEALTHY[options.full])
        with shared_home(directory / "vacuum", database) as home:
            slower = _vacuum(home, held)
        with shared_home(directory / "killed", database) as home:
            seconds = _taken_over(home)
    what = f"a healthy destination beside {waiting:,} for a hung one, PostgreSQL, p99"
    return [
        Result(f"an idle look, {waiting:,} waiting, PostgreSQL", "pages", Samples([pages]), goals=_PAGES),
        Result(what, "ms", Samples([healthy]), "in files", Samples([files]), goals=_HEALTHY_P99),
        Result(f"vacuum held back for {held:.0f} s", "x slower", Samples([slower]), goals=_SLOWER),
        Result("a killed drain's deliveries repeated after", "s", Samples([seconds]), goals=_TAKEN_OVER),
    ]


def _pages(home: SharedHome, waiting: int) -> float:
    """The pages that a look reads for each destination, while this many deliveries wait for a retry."""
    ids = [home.add(f"crm-{number}", f"http://127.0.0.1:9/{number}") for number in range(_DESTINATIONS)]
    home.accept(1)
    home.query(
        "insert into ark.pending (destination, seq, attempt, due_at, failed_at, status, error) "
        "select s.destination, n, 1, now() + interval '1 day', now(), 503, 'answered 503, not a 2xx' "
        "from ark.share s, generate_series(1, %s) n",
        waiting // _DESTINATIONS,
    )
    home.query("vacuum analyze ark.pending")
    before = home.pages()
    with home.session() as session:
        for _ in range(_LOOKS):
            session.home.queue.look(ids, session.home.clock.now())
    return (home.pages() - before) / _LOOKS / _DESTINATIONS


def _healthy(home: Home, receiver: Nginx, waiting: int, count: int) -> float:
    """The 99th percentile of the milliseconds from an event's acceptance to its receiver's answer."""
    with silent() as nobody:
        hung = home.add("hung", f"{nobody}/hook")
        home.accept(waiting, to=hung)
        well = home.add("well", f"{receiver.url}/logged/hook")
        receiver.forget()
        with _drain(home), home.session() as session:
            time.sleep(3)
            accepted = []
            for number in range(count):
                one = structs.replace(draft(session, payload(session, number)), to=(well,))
                session.home.queue.accept([one])
                accepted.append(time.time())
                time.sleep(0.05)
            _wait(lambda: len(receiver.moments) >= count)
    took = sorted(end - begin for begin, end in zip(accepted, sorted(receiver.moments), strict=True))
    return took[int(len(took) * 0.99)] * 1000


def _vacuum(home: SharedHome, seconds: float) -> float:
    """How much longer a turn takes at the end of this time than at its beginning, at 1,000 deliveries/s."""
    destination = home.add("crm", "http://127.0.0.1:9/hook")
    schedule, took = RetrySchedule((200, 200)), []
    with psycopg.connect(home.url) as holding, home.session(schedule) as session:
        holding.execute("set transaction isolation level repeatable read")
        holding.execute("select count(*) from ark.event")
        queue, now = session.home.queue, session.home.clock.now()
        queue.accept([draft(session, payload(session, 0))])
        (one,) = queue.claim_due([destination], 1, "bench", now)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            drafts = [draft(session, payload(session, number)) for number in range(_TURN)]
            began = time.perf_counter()
            queue.accept(drafts)
            queue.look([destination], now)
            while taken := one.take(now, 64):
                results = [
                    (delivery, _ANSWERS[delivery.attempt == 1 and not number % 10])
                    for number, delivery in enumerate(taken)
                ]
                queue.record([(one, results)], now)
            took.append(time.perf_counter() - began)
            time.sleep(max(1 / _TURNS - took[-1], 0))
        one.release()
    part = max(len(took) // 5, 1)
    return statistics.median(took[-part:]) / statistics.median(took[:part])


class _Receiver(http.server.BaseHTTPRequestHandler):
    """Notes each attempt, and answers after 3 s."""

    protocol_version = "HTTP/1.1"
    attempts: ClassVar[list[tuple[float, str | None, str | None]]] = []

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.attempts.append((time.monotonic(), self.headers[DELIVERY_HEADER], self.headers[ATTEMPT_HEADER]))
        time.sleep(3)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Logs nothing."""


def _taken_over(home: SharedHome) -> float:
    """Seconds from a kill -9 until another drain has begun all that was in flight, with the same attempt numbers."""
    receiver = http.server.ThreadingHTTPServer((HOST, 0), _Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    attempts = _Receiver.attempts
    home.add("crm", f"http://{HOST}:{receiver.server_port}/hook")
    home.accept(2)
    with _drain(home) as first:
        _wait(lambda: len(attempts) >= 2)
        with _drain(home):
            time.sleep(1)
            os.kill(first.pid, signal.SIGKILL)
            killed = time.monotonic()
            _wait(lambda: len(attempts) >= 4)
    receiver.shutdown()
    before, after = ({found[1:] for found in part} for part in (attempts[:2], attempts[2:4]))
    if before != after:
        raise RuntimeError(f"{before} were in flight, and {after} were repeated")
    return attempts[3][0] - killed


@contextmanager
def _drain(home: Home) -> Iterator["subprocess.Popen[bytes]"]:
    """A drain that runs during a block."""
    nothing = subprocess.DEVNULL
    process = subprocess.Popen(
        [ARK, "drain", "--watch"],
        env=measure.environment(home.variables),
        stdin=nothing,
        stdout=nothing,
        stderr=nothing,
    )
    try:
        yield process
    finally:
        # The second one does not wait for attempts in flight.
        for _ in range(2):
            process.terminate()
            time.sleep(0.05)
        process.wait(10)


def _wait(is_done: Callable[[], bool]) -> None:
    until = time.monotonic() + LONGEST
    while not is_done():
        if time.monotonic() > until:
            raise RuntimeError(f"nothing came for {LONGEST:.0f} s")
        time.sleep(0.02)


if __name__ == "__main__":
    measure.main(results)
