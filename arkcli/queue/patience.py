"""Waiting for a destination that another process has claimed."""

from collections.abc import Callable
from typing import Final, TypeVar

from arkcli.errors import Busy, Held
from arkcli.system.clock import Clock

#: How long a `send` may hold a destination: one attempt, and time to write it down. Seconds.
SEND_HOLDS_FOR: Final = 15.0
Answered = TypeVar("Answered")


def patiently(clock: Clock, act: Callable[[], Answered], busy: Callable[[Held], str]) -> Answered:
    """Does what raises Held while another process delivers, as soon as that one is done with its attempt.

    Raises Busy, with the words that `busy` gives, when it is not done by then.
    """
    until = clock.monotonic() + SEND_HOLDS_FOR
    while True:
        try:
            return act()
        except Held as held:
            if clock.monotonic() > until:
                raise Busy(busy(held)) from None
            clock.sleep(0.05)
