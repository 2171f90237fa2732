"""The engine over PostgreSQL, with a clock that each call sets to its `now`."""

import atexit
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import cache
from typing import Any, Final

import psycopg

from arkcli import times
from arkcli.database import schema
from arkcli.database.address import Address, address_of
from arkcli.database.connection import Database
from arkcli.model import Event, RetrySchedule
from arkcli.queue.engine import Claim, Recorded, Replay, Result, Selection, Standing
from arkcli.queue.postgres.claim import Claim as Lease
from arkcli.queue.postgres.queue import PostgresQueue
from arkcli.queue.postgres.view import View
from arkcli.system.clock import SystemClock
from tests import postgres
from tests.world import START

#: A test needs two at most, the second one to restore to.
_DATABASES: Final = 3
_TABLES: Final = ("worker", "event", "share", "pending", "attempt", "memo")


class Moment:
    """A clock that stands still until it is set, also backwards. `at`: milliseconds, UTC."""

    def __init__(self) -> None:
        self._at = START
        self._seconds = START / 1000

    @property
    def at(self) -> int:
        return self._at

    @at.setter
    def at(self, at: int) -> None:
        self._seconds += max(at - self._at, 0) / 1000
        self._at = at

    def now(self) -> int:
        return self._at

    def monotonic(self) -> float:
        return self._seconds

    def sleep(self, seconds: float) -> None:
        self.at += round(seconds * 1000)


class Stopwatch:
    """Counts time that passes only when somebody sleeps or a test says so. `now` is the machine's."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def now(self) -> int:
        return SystemClock().now()

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


def place(url: str) -> Address:
    """The address of a test's database."""
    return address_of(url, {})


class TimedDatabase(Database):
    """A database whose time is that of a Moment."""

    def __init__(self, address: Address, moment: Moment) -> None:
        super().__init__(address, "test")
        self.moment = moment

    def _connect(self) -> Any:
        connection, moment = super()._connect(), self.moment

        class Cursor(psycopg.Cursor[tuple[Any, ...]]):
            def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
                at = f"timestamptz '{times.to_text(moment.at)}'"
                return super().execute(str(query).replace("now()", at), params, **options)

        connection.cursor_factory = Cursor
        return connection


class TimedQueue(PostgresQueue):
    """A queue whose calls set the time of its database."""

    def __init__(self, database: TimedDatabase, schedule: RetrySchedule) -> None:
        super().__init__(database, schedule, database.moment)
        self.moment = database.moment

    def look(self, ids: Sequence[str], now: int) -> list[str]:
        self.moment.at = now
        return super().look(ids, now)

    def claim_due(self, ids: Iterable[str], most: int, purpose: str, now: int) -> list[Lease]:
        self.moment.at = now
        return [self._timed(claim) for claim in super().claim_due(ids, most, purpose, now)]

    def claim_first(self, event: Event, ids: Iterable[str], most: int) -> Any:
        return [(self._timed(claim), delivery) for claim, delivery in super().claim_first(event, ids, most)]

    def _timed(self, claim: Any) -> Any:
        take, admit = claim.take, claim.admit

        def timed(now: int, most: int) -> Any:
            self.moment.at = now
            return take(now, most)

        def timed_admit(terms: Any, most: int, now: int) -> Any:
            self.moment.at = now
            return admit(terms, most, now)

        claim.take, claim.admit = timed, timed_admit
        return claim

    def record(self, results: Sequence[tuple[Claim, Sequence[Result]]], now: int) -> list[Recorded]:
        self.moment.at = now
        return super().record(results, now)

    def retry(self, selection: Selection, now: int, *, dry: bool = False) -> int:
        self.moment.at = now
        return super().retry(selection, now, dry=dry)

    def drop(self, selection: Selection, now: int, *, dry: bool = False) -> int:
        self.moment.at = now
        return super().drop(selection, now, dry=dry)

    def replay(self, chosen: Replay, now: int, *, dry: bool = False) -> int:
        self.moment.at = now
        return super().replay(chosen, now, dry=dry)

    def standings(self, ids: Iterable[str], now: int | None = None) -> Mapping[str, Standing]:
        self.moment.at = now or self.moment.at
        return super().standings(ids, now)

    def view(self, destination_id: str) -> View:
        view, moment = super().view(destination_id), self.moment
        standing, deliveries = view.standing, view.deliveries

        def timed_standing(now: int | None = None) -> Standing:
            moment.at = now or moment.at
            return standing(now)

        def timed_deliveries(chosen: Selection | None = None, now: int | None = None) -> Any:
            moment.at = now or moment.at
            return deliveries(chosen, now)

        view.standing, view.deliveries = timed_standing, timed_deliveries  # type: ignore[method-assign]
        return view


@cache
def _databases() -> list[str]:
    stack = ExitStack()
    urls = [stack.enter_context(postgres.database(prepare)) for _ in range(_DATABASES)]

    def leave() -> None:
        with suppress(psycopg.Error):
            stack.close()

    atexit.register(leave)
    return urls


def prepare(url: str) -> None:
    """Makes ark's tables in a database."""
    database = Database(place(url))
    schema.prepare(database)
    database.close()


_turns: Final = itertools.count()


def emptied() -> str:
    """The URL of a database with ark's tables, which are empty. It is for the test that runs now."""
    urls = _databases()
    url = urls[next(_turns) % len(urls)]
    statements = "; ".join(f"delete from ark.{table}" for table in _TABLES)
    postgres.query(url, f"{statements}; update ark.meta set state = 'ready', floor = 1")
    return url


def opener() -> Callable[[RetrySchedule], PostgresQueue]:
    """Opens an empty queue again, as another process would."""
    url, moment = emptied(), Moment()
    return lambda schedule: TimedQueue(TimedDatabase(place(url), moment), schedule)
