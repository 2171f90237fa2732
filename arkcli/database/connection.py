"""The connection to a PostgreSQL server, and transactions on it.

Nothing here lasts longer than a transaction: no session settings, no cursors, and no prepared statements if the address
says so. So a pooler such as pgbouncer may give each transaction another connection.
"""

import logging
import math
import os
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

import psycopg
from psycopg.conninfo import make_conninfo

from arkcli.errors import InDoubt, Refused, Unreachable
from arkcli.system.clock import SystemClock
from arkcli.text import clean

if TYPE_CHECKING:
    from psycopg.abc import PQGen

    from arkcli.database.address import Address

# It would write to standard error what is raised as an error, too.
logging.getLogger("psycopg").setLevel(logging.CRITICAL)

#: For how many seconds a call waits for the server in all; the server ends a statement after four fifths of that.
PATIENCE: Final = 10.0
#: The shortest and the longest pause after a connection could not be opened, in seconds; it doubles.
_PAUSES: Final = (0.1, 5.0)
#: The shortest time that a call may take, and the longest for a new connection, in seconds.
_AT_LEAST: Final = 1.0
_CONNECT: Final = (2, 5)
#: Notices a server that is gone: within 11 s on an idle connection, 10 s after data was sent.
_PARAMETERS: Final = {
    "keepalives": "1",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
_BEGIN: Final = "begin isolation level read committed"
_SET: Final = """
select set_config('synchronous_commit', %s, true), set_config('statement_timeout', %s, true),
 set_config('idle_in_transaction_session_timeout', %s, true),
 set_config('plan_cache_mode', 'force_generic_plan', true), set_config('jit', 'off', true)
"""
#: What the server says when it could not do what was asked now, but might later: SQLSTATEs, or their classes. They are
#: lost connections, no resources, operator intervention, a standby that cannot write, and conflicts.
_TRANSIENT: Final = ("08", "53", "57", "58", "25006", "25P03", "40001", "40P01", "55P03")
#: What it says of an index or a table that it cannot read.
_DAMAGE: Final = "XX"
#: The schema or a table is missing; a permission is.
MISSING: Final = ("3F000", "42P01", "42703")
FORBIDDEN: Final = "42501"
#: A row with the same key is there already.
TWICE: Final = "23505"
#: A prepared statement exists already, or does not: the pooler gave the transaction another server connection.
_MIXED_UP: Final = ("42P05", "26000")

#: Runs statements in a transaction, and has the rows of the last one.
Cursor = psycopg.Cursor[tuple[Any, ...]]
Result = TypeVar("Result")


class Database:
    """A connection that is opened when first needed, and again after it was lost or the process has forked.

    Not for several threads at once. A call never waits longer than about 10 s for an open connection, or for a new one.
    For a while after no connection could be opened, calls do not try again: they raise the same error at once.
    """

    def __init__(
        self, address: "Address", purpose: str = "ark", monotonic: Callable[[], float] = SystemClock.monotonic
    ) -> None:
        """The server's list of connections shows the `purpose`."""
        self.address = address
        self.purpose = purpose
        self._monotonic = monotonic
        self._connection: _Connection | None = None
        self._pid = 0
        self._deadline = 0.0
        #: Until when not to try again (`monotonic`), the pause before that, and why.
        self._again_at = -math.inf
        self._pause = 0.0
        self._why = ""
        #: Returns by when calls should end (`monotonic`): what holds leases must not wait past their end.
        self.ends_by: Callable[[], float] = lambda: math.inf
        #: How often a connection was opened. What was known about uncommitted or unsynced rows is void after that.
        self.opened = 0

    @contextmanager
    def transaction(
        self, *, durable: bool = True, pipelined: bool = True, single: bool = False, patience: float = PATIENCE
    ) -> Iterator[Cursor]:
        """Runs a block in one transaction (READ COMMITTED), and commits it.

        With `pipelined`, statements are sent together: read their results in the block, which takes a round trip, or
        after it. COPY cannot be pipelined. Without `durable` the commit does not wait for the disk: a crash of the
        server may undo the last second. `patience` is how many seconds it may take.

        With `single`, the block's only statement is the transaction, which takes a quarter of the work. The server's
        settings apply: the server does not end it, so what waited too long here may still be carried out there later.

        Raises Unreachable if nothing was committed, InDoubt if the connection was lost while committing, and Refused
        if the server refuses a statement for good.
        """
        self._limit(patience)
        connection = self._open()
        patience = self._limit(patience)
        is_ending = False
        try:
            if single:
                is_ending = True
                yield connection.cursor(binary=True)
            elif pipelined:
                with connection.pipeline():
                    yield self._begun(connection, durable=durable, patience=patience)
                    is_ending = True
                    connection.execute("commit")
            else:
                yield self._begun(connection, durable=durable, patience=patience)
                is_ending = True
                connection.execute("commit")
            self._pause = 0.0
        except BaseException as error:
            self._undo(connection)
            if isinstance(error, psycopg.Error):
                raise self._told(error, is_in_doubt=is_ending and self._connection is None) from error
            raise

    def _begun(self, connection: "_Connection", *, durable: bool, patience: float) -> Cursor:
        connection.execute(_BEGIN)
        timeout = str(round(patience * 800))
        connection.execute(_SET, ("on" if durable else "off", timeout, timeout))
        return connection.cursor(binary=True)

    def _undo(self, connection: "_Connection") -> None:
        """Rolls back; forgets the connection if that is impossible."""
        if not connection.closed and self._monotonic() < self._deadline:
            with suppress(psycopg.Error):
                connection.execute("rollback", prepare=False)
                return
        self.close()

    def _limit(self, patience: float) -> float:
        """Sets the deadline of a call that begins now; returns how many seconds that leaves."""
        now = self._monotonic()
        patience = min(patience, max(self.ends_by() - now, _AT_LEAST))
        self._deadline = now + patience
        return patience

    def _open(self) -> "_Connection":
        if self._connection is not None and self._pid != os.getpid():
            # It is the parent's. psycopg does not end it when it is collected here.
            self._connection = None
        if self._connection is not None and self._connection.has_ended():
            self.close()
        if self._connection is None:
            if self._monotonic() < self._again_at:
                raise Unreachable(self._why)
            if -_AT_LEAST < self.ends_by() - self._monotonic() < _CONNECT[0]:
                # libpq waits that long at least. The loop first has to end the attempts whose lease is about to end.
                where = f"cannot reach the database {self.address.masked}"
                raise Unreachable(self._why or f"{where}: the connection was lost a moment ago; try again")
            try:
                self._connection = self._connect()
            except Unreachable as error:
                self._pause = min(max(2 * self._pause, _PAUSES[0]), _PAUSES[1])
                self._again_at, self._why = self._monotonic() + self._pause, str(error)
                raise
            self._pid = os.getpid()
            self.opened += 1
        return self._connection

    def _connect(self) -> "_Connection":
        parameters = {**_PARAMETERS, **self.address.parameters}
        parameters["application_name"] = f"{self.purpose} {here()}"
        shortest, longest = _CONNECT
        left = int(self._deadline - self._monotonic())
        parameters["connect_timeout"] = str(min(max(left, shortest), longest))
        try:
            opened = _Connection.connect(
                make_conninfo("", **parameters), autocommit=True, prepare_threshold=5 if self.address.prepare else None
            )
        except psycopg.Error as error:
            raise Unreachable(f"cannot reach the database {self.address.masked}: {self._words(error)}") from error
        opened.owner = self
        return opened

    def bounded(self, steps: "PQGen[Result]") -> "PQGen[Result]":
        """Ends a wait for the server that takes too long, as when its machine has stopped."""
        try:
            wanted = next(steps)
            while True:
                ready = yield wanted
                if not ready and self._monotonic() > self._deadline:
                    if self._connection is not None:
                        self._connection.close()
                    raise psycopg.OperationalError("the server does not answer")
                wanted = steps.send(ready)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]

    def _told(self, error: psycopg.Error, *, is_in_doubt: bool) -> Unreachable | InDoubt | Refused | BaseException:
        words, state = self._words(error), error.sqlstate or ""
        where = f"the database {self.address.masked}"
        if state in _MIXED_UP:
            hint = "add prepare=off to the parameters of its URL, as in postgresql://USER@HOST/DATABASE?prepare=off"
            return Refused(f"{where} is behind a pooler that does not keep prepared statements; {hint}", state)
        if is_in_doubt:
            return InDoubt(f"the connection to {where} was lost while it committed: {words}")
        if self._connection is None or state.startswith(_TRANSIENT):
            return Unreachable(f"{where} did not do what was asked, and changed nothing: {words}")
        if state in (*MISSING, FORBIDDEN, TWICE) or state.startswith(_DAMAGE):
            return Refused(f"{where} cannot be used: {words}", state)
        return error

    def _words(self, error: psycopg.Error) -> str:
        """What the server or libpq said, as the end of a sentence, without a password."""
        said = error.diag.message_primary or next(filter(None, map(str.strip, str(error).splitlines())), "")
        secret = self.address.parameters.get("password")
        if secret:
            said = said.replace(secret, "***")
        return clean(said).removeprefix("connection failed: ").rstrip(".") or type(error).__name__

    def close(self) -> None:
        """Closes the connection, if it is open. It can be used again."""
        connection, self._connection = self._connection, None
        if connection is not None and self._pid == os.getpid():
            connection.close()


def here() -> str:
    """Names this process for others: `host:pid`."""
    return f"{socket.gethostname()}:{os.getpid()}"


class _Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that waits no longer than its owner allows."""

    owner: Database | None = None

    def has_ended(self) -> bool:
        """Whether it is closed, perhaps by the server while it was idle: then there is something to read."""
        polled = select.poll()
        try:
            polled.register(self.pgconn.socket, select.POLLIN)
            while polled.poll(0):
                self.pgconn.consume_input()
        except psycopg.Error:
            return True
        return self.closed

    def wait(self, gen: "PQGen[Result]", *args: Any, **options: Any) -> Result:
        return super().wait(gen if self.owner is None else self.owner.bounded(gen), *args, **options)
