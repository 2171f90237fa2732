"""What a run tells a person who watches it. Nothing is asked for, and nothing is counted, unless somebody does."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from arkcli.model import State
from arkcli.queue.engine import Result


class Awaited(NamedTuple):
    """How far one event is: the number of destinations, and the names of those without a result, the slowest first.

    `seconds`: how long the oldest attempt has been under way, None if none is; and how long an attempt may take.
    """

    total: int
    names: Sequence[str]
    seconds: float | None
    deadline: float


class Underway(NamedTuple):
    """What a drain has done so far. `slowest` is the destination of the oldest attempt under way, and its seconds."""

    attempted: int
    delivered: int
    retrying: int
    dead: int
    slowest: tuple[str, float] | None
    #: Whether nothing is due.
    is_idle: bool


#: Is called about ten times a second while attempts are made, with a function that takes stock.
LookAtSend = Callable[[Callable[[], Awaited]], None]


class Onlooker(Protocol):
    """Watches a drain."""

    def look(self, take_stock: Callable[[], Underway]) -> None:
        """Called about ten times a second."""

    def recorded(self, name: str, results: Sequence[Result], states: Sequence[State | None], now: int) -> None:
        """Called when outcomes at a destination have been recorded (`now`: milliseconds, UTC)."""
