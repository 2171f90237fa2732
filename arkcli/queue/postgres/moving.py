"""A database's side in a move. ark.meta says whether the queue is ready, is being filled, or has been moved away.

What keeps others out while a queue is moved away is one transaction, so it ends with this process, however that ends.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from arkcli.database.connection import Cursor, Database
from arkcli.database.schema import prepare
from arkcli.errors import Busy, Held
from arkcli.queue import moves
from arkcli.queue.moves import Mark
from arkcli.queue.postgres.dump import claim_all
from arkcli.queue.postgres.leases import Leases
from arkcli.queue.postgres.stored import from_column

#: How long a move may take, in seconds.
_PATIENCE: Final = 7 * 24 * 3600.0
_READ: Final = "select state, move, place from ark.meta"
_NOTE: Final = "update ark.meta set state = %s, move = %s, place = %s"
_NOTE_IF: Final = f"{_NOTE} where state = %s and move = %s and place = %s returning 1"
_HOLDS: Final = "select exists (select from ark.event where seq > 0), exists (select from ark.share)"
_EMPTY: Final = "truncate ark.event, ark.share, ark.pending, ark.attempt, ark.memo"
_CONTENT: Final = "select sealed is not null or exists (select from ark.event) from ark.store"
_CLEAR: Final = (_EMPTY, "update ark.store set version = version + 1, sealed = null")
_READY: Final = "update ark.meta set state = 'ready' where state = 'moving' and move = %s returning 1"
#: Accepting waits for the first, changes of the store for the second, and whatever changes deliveries for the third.
_STILL: Final = (
    "select 1 from ark.meta for update",
    "select 1 from ark.store for update",
    "lock table ark.event, ark.pending, ark.attempt in share mode",
)
_TAKEN: Final = "select id from ark.share where holder is distinct from %s"


class DatabaseMoves:
    """See `moves.Moves`."""

    def __init__(self, database: Database, leases: Leases) -> None:
        """`database` is a connection of its own. `leases` are those of the queue."""
        self._database = database
        self._leases = leases
        self._cursor: Cursor | None = None

    def _row(self, statement: str, values: tuple[Any, ...] = ()) -> tuple[Any, ...] | None:
        prepare(self._database, is_moving=True)
        with self._database.transaction(pipelined=False) as cursor:
            cursor.execute(statement, values)
            return cursor.fetchone()

    @property
    def mark(self) -> Mark:
        """The mark."""
        if self._cursor is None:
            return Mark(*(self._row(_READ) or ()))
        self._cursor.execute(_READ)
        return Mark(*(self._cursor.fetchone() or ()))

    @contextmanager
    def still(self) -> Iterator[None]:
        """Keeps others out during a block, or until the queue is marked as moved."""
        prepare(self._database, is_moving=True)
        try:
            with self._database.transaction(pipelined=False, patience=_PATIENCE) as cursor:
                for statement in _STILL:
                    cursor.execute(statement)
                self._leases.dumping = claim_all(self._leases, "move")
                self._cursor = cursor
                yield
        finally:
            self._cursor = None
            for claim in self._leases.dumping or ():
                claim.release()
            self._leases.dumping = None

    def note(self, mark: Mark, known: Mark | None = None) -> bool:
        """Marks the queue, if its mark is the `known` one. Raises Held if another process has claimed a destination
        while this one slept.
        """
        if (cursor := self._cursor) is None:
            statement, values = (f"{_NOTE} returning 1", mark) if known is None else (_NOTE_IF, (*mark, *known))
            return self._row(statement, values) is not None
        cursor.execute(_TAKEN, (self._leases.me,))
        if mark.state == "moved" and (taken := cursor.fetchone()) is not None:
            raise Held(from_column(taken[0]), "another process")
        cursor.execute(_NOTE, mark)
        if mark.state == "moved":
            cursor.execute("commit")
            self._cursor = None
        return True

    def begin(self, asked: Mark) -> Mark:
        """Empties the tables, unless this move has ended."""
        prepare(self._database, is_moving=True)
        with self._database.transaction(pipelined=False) as cursor:
            cursor.execute(f"{_READ} for update")
            found = Mark(*(cursor.fetchone() or ()))
            cursor.execute(_HOLDS)
            has_events, has_places = cursor.fetchone() or (False, False)
            holds = "events" if has_events else "destinations" if has_places else ""
            mark = moves.begun(found, holds, asked, self._database.address.masked)
            if mark.state == "moving":
                cursor.execute(_EMPTY)
                cursor.execute(_NOTE, mark)
        return mark

    def finish(self, begun: Mark) -> None:
        """Makes the queue ready."""
        if self._row(_READY, (begun.move,)) is None:
            raise Busy(f"another move fills {self._database.address.masked} by now")

    def has_content(self) -> bool:
        """Whether the tables have rows, or a sealed store."""
        return bool((self._row(_CONTENT) or (False,))[0])

    def clear(self) -> None:
        """Empties the tables, and removes the sealed store."""
        with self._database.transaction(pipelined=False) as cursor:
            for statement in _CLEAR:
                cursor.execute(statement)

    def close(self) -> None:
        """Closes the connection."""
        self._database.close()
