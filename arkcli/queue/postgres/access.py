"""One process's access to the tables, and what it knows of the database's clock and log."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from arkcli.database import schema
from arkcli.database.connection import PATIENCE, Cursor, Database
from arkcli.errors import InDoubt, Unreachable
from arkcli.system.clock import Clock

#: How long an operator waits for what reads or changes a whole table, in seconds.
LONG: Final = 120.0
Values = Sequence[object] | Mapping[str, object]


class Access:
    """The tables, made or brought up to date when first used."""

    def __init__(self, database: Database, clock: Clock, *, is_moving: bool = False) -> None:
        """`clock` tells how much time has passed; what the time is, the database says. `is_moving`: for a move."""
        self.database = database
        self.clock = clock
        #: The last event known to be in the log; 0 if there is none.
        self.last = 0
        self.is_moving = is_moving
        self._is_prepared = False
        self._seen = (0, 0.0)

    @contextmanager
    def transaction(
        self, *, durable: bool = False, pipelined: bool = True, single: bool = False, patience: float = PATIENCE
    ) -> Iterator[Cursor]:
        """See `Database.transaction`. Raises Unreadable, too."""
        if not self._is_prepared:
            schema.prepare(self.database, is_moving=self.is_moving)
            self._is_prepared = True
        with self.database.transaction(
            durable=durable, pipelined=pipelined, single=single, patience=patience
        ) as cursor:
            yield cursor

    def rows(
        self, statement: str, values: Values = (), *, single: bool = False, patience: float = PATIENCE
    ) -> list[tuple[Any, ...]]:
        """The rows of one statement that only reads, or that may be repeated. Raises Unreachable and Unreadable."""
        try:
            with self.transaction(single=single, patience=patience) as cursor:
                cursor.execute(statement, values)
        except InDoubt as error:
            raise Unreachable(str(error)) from error
        return cursor.fetchall()

    def row(self, statement: str, values: Values = (), *, patience: float = PATIENCE) -> tuple[Any, ...] | None:
        """The first row; see `rows`."""
        return next(iter(self.rows(statement, values, patience=patience)), None)

    def run(self, statement: str, values: Values = (), *, durable: bool = False) -> None:
        """Runs a statement that returns no rows, and commits it."""
        with self.transaction(durable=durable) as cursor:
            cursor.execute(statement, values)

    def saw(self, now: int, at: float | None = None) -> None:
        """Notes the database's time (milliseconds, UTC), which was read just now, or after `at` (`monotonic`)."""
        self._seen = now, self.clock.monotonic() if at is None else at

    @property
    def ahead(self) -> int:
        """By how many milliseconds the database's clock is ahead of this host's. Call `saw` first."""
        return round(self.now()) - self.clock.now()

    def now(self) -> float:
        """About the database's time, in milliseconds. Only to decide whether to ask: what is due, the database says."""
        now, at = self._seen
        return now + (self.clock.monotonic() - at) * 1000
