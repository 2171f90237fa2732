"""Small documents that processes change in turn: a row each, whose lock is the document's."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from arkcli.errors import Busy
from arkcli.queue.memo import Memo
from arkcli.queue.postgres.access import Access

_FIND: Final = "select true from ark.memo where name = %s"
_MAKE: Final = "insert into ark.memo (name) values (%s) on conflict (name) do nothing"
_HOLD: Final = "select data from ark.memo where name = %s for update skip locked"
_STORE: Final = "update ark.memo set data = %s where name = %s"
_READ: Final = "select data from ark.memo where name = %s"


def read(access: Access, name: str) -> bytes | None:
    """A document; None if there is none. Raises Unreachable."""
    row = access.row(_READ, (name,))
    return None if row is None or row[0] is None else bytes(row[0])


@contextmanager
def held(access: Access, name: str) -> Iterator[Memo]:
    """Holds a document during a block, which must not use the queue. Raises Busy, Unreachable and InDoubt."""
    if access.row(_FIND, (name,)) is None:
        # In its own transaction: while the row is not committed, another process would wait for it.
        access.run(_MAKE, (name,))
    with access.transaction(pipelined=False) as cursor:
        cursor.execute(_HOLD, (name,))
        row = cursor.fetchone()
        if row is None:
            raise Busy(f"another process holds {name}")
        before = None if row[0] is None else bytes(row[0])
        memo = Memo(before)
        yield memo
        if memo.data != before:
            cursor.execute(_STORE, (memo.data, name))
