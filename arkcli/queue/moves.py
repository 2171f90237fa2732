"""Moving a queue from one engine to another: what both of them keep about it, and the rules for that.

A queue that is filled is `moving`, one that has been moved away is `moved`; nobody can use either. The source is marked
`moved` before the target becomes `ready`, so that never both can be used.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Literal, NamedTuple, Protocol

from arkcli.errors import Filling, Moved, UsageError
from arkcli.queue.engine import Record, Standing

State = Literal["ready", "moving", "moved"]


class Mark(NamedTuple):
    """What a queue says about its last move: its id, and the other place, as text for the user.

    In the target the id is followed by `:` and how often the move was begun.
    """

    state: State = "ready"
    move: str = ""
    place: str = ""


class Moves(Protocol):
    """The side of one engine in a move."""

    @property
    def mark(self) -> Mark:
        """The mark; that of a queue that does not exist is ready."""

    def still(self) -> AbstractContextManager[None]:
        """Keeps others from accepting and delivering during a block. Raises Held. `Queue.dump` works in the block."""

    def note(self, mark: Mark, known: Mark | None = None) -> bool:
        """Marks the queue durably. In a database `moved` ends the stillness, which is not needed any more.

        With `known`, only if the mark still is that one; returns whether it was.
        """

    def begin(self, asked: Mark) -> Mark:
        """Empties a target and marks it `moving`; returns the mark, `ready` if `asked` has been filled in before.

        `asked` is the mark of the source. Raises UsageError. The queue can be opened after that.
        """

    def finish(self, begun: Mark) -> None:
        """Makes a target ready, unless another move has begun. Raises Busy, Unreachable and InDoubt."""

    def has_content(self) -> bool:
        """Whether there is anything beside the mark."""

    def clear(self) -> None:
        """Removes everything but the mark."""

    def close(self) -> None:
        """Closes what is open."""


def begun(found: Mark, holds: str, asked: Mark, name: str) -> Mark:
    """The new mark of a target, or the one that it has if this move has ended. Raises UsageError.

    `found` is its mark, `holds` what it has, as text (empty: nothing), and `asked` the mark of the source.
    """
    own, _, times = found.move.rpartition(":")
    is_own = own == asked.move
    if found.state == "ready":
        if is_own and asked.state == "moved":
            return found
        if holds:
            raise UsageError(f"{name} already has {holds}; a queue can only be moved to an empty one")
    elif found.state == "moving" and not is_own:
        raise UsageError(
            f"{name} is being filled by a move from {found.place}, which may have been interrupted. Run it again there"
        )
    return Mark("moving", f"{asked.move}:{int(times) + 1 if is_own else 1}", asked.place)


def check(found: Mark, name: str) -> None:
    """Raises Moved or Filling if a queue with this mark cannot be used."""
    if found.state == "moved":
        raise Moved(name, found.place)
    if found.state == "moving":
        raise Filling(name, found.place)


class Counts:
    """Counts the records of a dump on the way."""

    def __init__(self) -> None:
        self.events = self.attempts = 0
        self.ids: list[str] = []

    def through(self, records: Iterator[Record]) -> Iterator[Record]:
        """The records."""
        for record in records:
            self.events += record.event is not None
            self.attempts += record.attempt is not None
            if record.passed is not None and record.destination_id is not None:
                self.ids.append(record.destination_id)
            yield record


def differences(before: Mapping[str, Standing], after: Mapping[str, Standing]) -> list[str]:
    """The destinations whose counts are not the same, each as text with both counts."""
    return [
        f"{found}: {_said(before.get(found))}, and {_said(after.get(found))} in the copy"
        for found in sorted(before.keys() | after.keys())
        if _said(before.get(found)) != _said(after.get(found))
    ]


def _said(standing: Standing | None) -> str:
    if standing is None:
        return "nothing"
    return f"{standing.waiting:,} waiting, {'+'.join(map(str, standing.retrying))} retrying and {standing.dead:,} dead"
