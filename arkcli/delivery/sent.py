"""What became of an event that was sent at once. `send` makes these values."""

import msgspec

from arkcli.model import Attempt, Event, State
from arkcli.queue.engine import Holder


class Sent(msgspec.Struct, frozen=True):
    """The state of one event at one destination, and the attempt that was made, if any. Times are milliseconds, UTC.

    `held_by` is the process for which the event waits, since it delivers to this destination. `error` says why no
    attempt was made. `is_broken` is True if the reason is that the destination's part of the queue, its secret or its
    proxy is unusable.
    """

    destination: str
    state: State
    attempt: Attempt | None = None
    next_attempt_at: int | None = None
    held_by: Holder | None = None
    error: str | None = None
    is_broken: bool = False


class Sending(msgspec.Struct, frozen=True):
    """An accepted event and its deliveries so far. `trouble` says why not all due attempts were made, if so."""

    event: Event
    deliveries: list[Sent]
    trouble: str | None = None
