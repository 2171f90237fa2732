"""A database whose time is that of a clock that tests move by hand."""

from typing import Any, Self

from arkcli import times
from arkcli.actions.home import Home
from arkcli.actions.shared import Given, Shared
from arkcli.database.connection import Database
from arkcli.system.clock import Clock


class TimedDatabase(Database):
    """A connection on which `now()` is the time of a clock."""

    timing: Clock

    def _connect(self) -> Any:
        import psycopg

        connection, clock = super()._connect(), self.timing

        class Cursor(psycopg.Cursor[tuple[Any, ...]]):
            def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
                at = f"timestamptz '{times.to_text(clock.now())}'"
                return super().execute(str(query).replace("now()", at), params, **options)

        connection.cursor_factory = Cursor
        return connection


class TimedShared(Shared):
    """A shared queue and store with such connections."""

    timing: Clock

    @classmethod
    def of(cls, home: Home, given: Given) -> Self:
        made = cls(given, home.variables, home.directory, home.purpose)
        made.timing = home.clock
        return made

    def connect(self) -> Database:
        database = TimedDatabase(self.address, monotonic=self.timing.monotonic)
        database.timing = self.timing
        return database
