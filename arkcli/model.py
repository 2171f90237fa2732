"""The words: what the rest of the code talks about. Times are milliseconds since 1970, UTC."""

from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from arkcli.signing import Concealed, Secret


class Outcome(StrEnum):
    """How an attempt ended."""

    DELIVERED = "delivered"
    FAILED = "failed"


#: Asking an enumeration for a member takes Python longer than all else that is done with it here.
_DELIVERED: Final = Outcome.DELIVERED
_FAILED: Final = Outcome.FAILED


class State(StrEnum):
    """Where a delivery stands."""

    WAITING = "waiting"
    RETRYING = "retrying"
    DELIVERED = "delivered"
    DEAD = "dead"
    DROPPED = "dropped"


class Destination(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A URL that receives every event. These are its keys in destinations.toml.

    `userinfo` is what stood before an @ in the URL: a user name and a password.
    """

    id: str
    name: str
    url: str
    added_at: str
    paused: bool = False
    allow_local: bool = False
    description: str | None = None
    ca_file: str | None = None
    secret: Secret | None = None
    userinfo: Concealed | None = None
    headers: dict[str, Concealed] = {}


class Draft(msgspec.Struct, frozen=True, gc=False):
    """An event on its way into the queue. `at` is when it was accepted: ISO 8601, UTC. `to` are the ids of the
    destinations it is for, None for all.
    """

    id: str
    name: str
    at: str
    body: bytes
    to: tuple[str, ...] | None = None


class Event(Draft, frozen=True, gc=False):
    """An accepted event."""


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """One attempt that is due: an event for a destination.

    A queue's engine hands out a subclass of its own, which also says which delivery that is; nobody else looks there.
    """

    event: Event
    attempt: int


#: What a gateway answers when the server behind it is unreachable, and within how many milliseconds.
_GATEWAY: Final = frozenset((502, 503, 504))
_AT_ONCE: Final = 1_000


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What came of one POST. `error` says in words why there is no status, or why the status does not count.

    `unreached` says that no connection could be made, or that it ended before anything of an answer came. `lacking`
    says what this machine had too little of for the attempt, such as file descriptors: then none was made.
    """

    status: int | None
    error: str | None
    duration_ms: int
    excerpt: str = ""
    timed_out: bool = False
    unreached: bool = False
    lacking: str | None = None

    @property
    def outcome(self) -> Outcome:
        """Delivered means 2xx, and nothing else does (contract, "Delivery and retries")."""
        return _DELIVERED if self.error is None and 200 <= (self.status or 0) <= 299 else _FAILED

    @property
    def is_unreachable(self) -> bool:
        """Whether the receiver was unreachable: nobody answered, or a gateway in front of it said so at once."""
        return self.unreached or (self.status in _GATEWAY and self.duration_ms < _AT_ONCE)


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """An attempt that was made, as the journal has it."""

    event_id: str
    event: str
    attempt: int
    at: int
    outcome: Outcome
    status: int | None
    error: str | None
    duration_ms: int
    excerpt: str


def attempt_of(delivery: Delivery, answer: Answer, at: int) -> Attempt:
    """The attempt that a delivery and its answer make, recorded at a time (milliseconds, UTC)."""
    return Attempt(
        event_id=delivery.event.id,
        event=delivery.event.name,
        attempt=delivery.attempt,
        at=at,
        outcome=answer.outcome,
        status=answer.status,
        error=answer.error,
        duration_ms=answer.duration_ms,
        excerpt=answer.excerpt,
    )


class RetrySchedule(NamedTuple):
    """When a failed delivery is tried again: the delays, in milliseconds, between an attempt's outcome and the attempt
    after it (contract, "Delivery and retries").
    """

    delays: tuple[int, ...]

    @property
    def attempts(self) -> int:
        """How many attempts there are in all, the first included."""
        return len(self.delays) + 1

    def next_attempt_at(self, attempt: int, failed_at: int, now: int | None = None) -> int | None:
        """When the attempt after this one is due (milliseconds, UTC); None when this was the last.

        A failure dated after `now` means that the clock was set back: it is due now, so that nothing is stranded.
        """
        if attempt >= self.attempts:
            return None
        return now if now is not None and failed_at > now else failed_at + self.delays[attempt - 1]

    def is_due(self, attempt: int, failed_at: int, now: int) -> bool:
        """Whether the attempt after this one may be made now."""
        due_at = self.next_attempt_at(attempt, failed_at, now)
        return due_at is not None and now >= due_at

    def state_after(self, attempt: int, outcome: Outcome) -> State:
        """Where an attempt leaves its delivery: after the last failure it is dead."""
        if outcome is _DELIVERED:
            return State.DELIVERED
        return State.RETRYING if attempt < self.attempts else State.DEAD


#: 30 seconds, 5 minutes, 30 minutes, 2 hours: five attempts in all. Documented; never changes.
DOCUMENTED: Final = RetrySchedule((30_000, 300_000, 1_800_000, 7_200_000))
