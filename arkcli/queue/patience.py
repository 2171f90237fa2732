"""Waiting for a destination that another process has claimed."""

from collections.abc import Callable
from typing import Final, TypeVar

from arkcli.errors import Busy, Held
from arkcli.system.clock import Clock

#: How long a `send` may hold a destination, in seconds: one attempt and recording its outcome.
SEND_HOLDS_FOR: Final = 15.0
Answered = TypeVar("Answered")


def patiently(clock: Clock, act: Callable[[], Answered], busy: Callable[[Held], str]) -> Answered:
    """Calls `act` again while it raises Held, until the other process has finished its attempt.

    Raises Busy, with the message from `busy`, after SEND_HOLDS_FOR seconds.
    """
    until = clock.monotonic() + SEND_HOLDS_FOR
    while True:
        try:
            return act()
        except Held as held:
            if clock.monotonic() > until:
                raise Busy(busy(held)) from None
            clock.sleep(0.05)
