"""A PostgreSQL server for benchmarks, with its data on the disk of a directory, and homes whose queue is in it.

ARK_BENCH_POSTGRES=URL names another server; its role must be able to create databases.
"""

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from bench.home import Home
from bench.peers import Absent
from tests import postgres

_NUMBERS: Final = itertools.count()


@contextlib.contextmanager
def server(directory: Path) -> Iterator[str]:
    """The URL of a server that runs during a block. Raises Absent."""
    given = os.environ.get("ARK_BENCH_POSTGRES")
    if given:
        yield given
        return
    home = directory / "server"
    home.mkdir()
    # The server runs as another user if this is root.
    directory.chmod(0o755)
    try:
        made = postgres.Server("shared_buffers = '256MB'", "max_wal_size = '4GB'", home=home)
    except postgres.Absent as why:
        raise Absent(f"no PostgreSQL: {why}") from None
    try:
        yield made.url
    finally:
        made.remove()


class SharedHome(Home):
    """A home whose queue and store are in a database of its own."""

    def __init__(self, directory: Path, server: str) -> None:
        """Makes the database on the server with this URL."""
        super().__init__(directory)
        self.database = f"ark_bench_{os.getpid()}_{next(_NUMBERS)}"
        postgres.query(server, f"create database {self.database}")
        self.url = postgres.of_database(server, self.database)
        self.variables["ARK_QUEUE"] = self.url

    def query(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of a statement."""
        return postgres.query(self.url, statement, *values)

    def save(self) -> None:
        """Nothing to do: `rewind` makes everything due that was ever accepted."""

    def rewind(self) -> None:
        """Forgets all attempts: the same events are due again."""
        self.query(
            "truncate ark.attempt, ark.pending, ark.worker; "
            "update ark.share set cursor = joined, epoch = epoch + 1, until = null, holder = null"
        )

    def dead_rows(self) -> int:
        """How many dead rows the tables have that a delivery writes, but for the one of its destination."""
        ((found,),) = self.query(
            "select sum(n_dead_tup)::int from pg_stat_user_tables where relname in ('event', 'attempt', 'pending')"
        )
        return int(found)

    def pages(self) -> int:
        """How many pages of ark's tables and their indexes have been read by connections that have ended."""
        ((found,),) = self.query(
            "select sum(heap_blks_read + heap_blks_hit + coalesce(idx_blks_read + idx_blks_hit, 0))::bigint "
            "from pg_statio_user_tables where schemaname = 'ark'"
        )
        return int(found)


@contextlib.contextmanager
def shared_home(directory: Path, server: str) -> Iterator[SharedHome]:
    """A home in a database of its own on a server, which exists during a block."""
    home = SharedHome(directory, server)
    try:
        yield home
    finally:
        postgres.query(server, f"drop database if exists {home.database} with (force)")
