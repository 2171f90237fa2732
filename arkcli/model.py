"""Domain types. Times are milliseconds since 1970, UTC; `added_at` and an event's `at` are ISO 8601 strings, UTC."""

from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from arkcli.signing import Concealed, Secret


class Outcome(StrEnum):
    """How an attempt ended."""

    DELIVERED = "delivered"
    FAILED = "failed"


#: Bound once: enum member access is slow on the hot path.
_DELIVERED: Final = Outcome.DELIVERED
_FAILED: Final = Outcome.FAILED


class State(StrEnum):
    """The state of a delivery."""

    WAITING = "waiting"
    RETRYING = "retrying"
    DELIVERED = "delivered"
    DEAD = "dead"
    DROPPED = "dropped"


class Destination(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A URL that receives every event. Fields are named as in destinations.toml.

    `userinfo` is the user name and password from before the @ in the URL. `proxy` is a URL, `none`, `env:NAME` or
    `file:PATH`; an endpoint has the URL of the proxy in force. `previous` is the secret that signed before
    `secret_changed_at` (ISO 8601, UTC), kept for the overlap of Standard Webhooks. `earlier` are those before it whose
    overlap had not ended then: the time at which it was replaced, a space, the secret. `rate` is how many attempts it
    may get in any second, minute or hour, such as `10/s`; pings do not count. `pause_note` says why ark paused it.
    """

    id: str
    name: str
    url: str
    added_at: str
    paused: bool = False
    pause_note: str | None = None
    allow_local: bool = False
    description: str | None = None
    ca_file: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    proxy: Secret | None = None
    secret: Secret | None = None
    standard_webhooks: bool = False
    rate: str | None = None
    max_in_flight: int | None = None
    previous: Secret | None = None
    secret_changed_at: str | None = None
    earlier: list[Secret] = []
    userinfo: Concealed | None = None
    headers: dict[str, Concealed] = {}


class Draft(msgspec.Struct, frozen=True, gc=False):
    """An event to be added to the queue. `at`: when it was accepted, ISO 8601, UTC. `to`: the ids of its destinations,
    None for all.
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

    An engine returns its own subclass, which also identifies the delivery; only the engine reads those fields.
    """

    event: Event
    attempt: int


#: A gateway's statuses when the server behind it is unreachable, and the milliseconds within which it answers then.
_GATEWAY: Final = frozenset((502, 503, 504))
_AT_ONCE: Final = 1_000


class Answer(msgspec.Struct, frozen=True, gc=False):
    """The result of one POST. `error` says why there is no status, or why the status does not count.

    `unreached`: no connection could be made, or it ended before any part of an answer came. `lacking`: what this
    machine had too little of, such as file descriptors; then no attempt was made. `retry_after`: for how many
    milliseconds a 429 or 503 asked to leave the receiver alone.
    """

    status: int | None
    error: str | None
    duration_ms: int
    excerpt: str = ""
    timed_out: bool = False
    unreached: bool = False
    lacking: str | None = None
    retry_after: int | None = None

    @property
    def outcome(self) -> Outcome:
        """Delivered means 2xx; everything else failed (contract, "Delivery and retries")."""
        return _DELIVERED if self.error is None and 200 <= (self.status or 0) <= 299 else _FAILED

    @property
    def is_unreachable(self) -> bool:
        """Whether the receiver was unreachable: `unreached`, or a gateway in front of it said so within 1 s."""
        return self.unreached or (self.status in _GATEWAY and self.duration_ms < _AT_ONCE)


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """An attempt that was made. `at` is when its outcome was recorded."""

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
    """The attempt for a delivery and its answer, recorded at `at` (milliseconds, UTC)."""
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


#: A time at most this many milliseconds ahead of the clock does not mean that the clock was set back: another process
#: may have read its clock a moment later. If the clock was set back by less, a retry is late by as much.
AHEAD: Final = 5_000


class RetrySchedule(NamedTuple):
    """When a failed delivery is retried: the delays, in milliseconds, between an attempt's outcome and the next attempt
    (contract, "Delivery and retries").
    """

    delays: tuple[int, ...]

    @property
    def attempts(self) -> int:
        """The number of attempts, including the first."""
        return len(self.delays) + 1

    def next_attempt_at(self, attempt: int, failed_at: int, now: int | None = None) -> int | None:
        """When the attempt after this one is due (milliseconds, UTC); None if this was the last.

        A failure dated more than AHEAD later than `now` means that the clock was set back: the retry is due now, not in
        the far future.
        """
        if attempt >= self.attempts:
            return None
        return now if now is not None and failed_at > now + AHEAD else failed_at + self.delays[attempt - 1]

    def is_due(self, attempt: int, failed_at: int, now: int) -> bool:
        """Whether the attempt after this one may be made now."""
        due_at = self.next_attempt_at(attempt, failed_at, now)
        return due_at is not None and now >= due_at

    def state_after(self, attempt: int, outcome: Outcome) -> State:
        """The delivery's state after an attempt: dead after the last failure."""
        if outcome is _DELIVERED:
            return State.DELIVERED
        return State.RETRYING if attempt < self.attempts else State.DEAD


#: 30 seconds, 5 minutes, 30 minutes, 2 hours: five attempts in all. Documented; never changes.
DOCUMENTED: Final = RetrySchedule((30_000, 300_000, 1_800_000, 7_200_000))
