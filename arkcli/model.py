"""The words: what the rest of the code talks about. Times are milliseconds since 1970, UTC."""

from enum import StrEnum
from typing import Final

import msgspec

from arkcli.signing import Concealed, Secret

#: A delivery has this many attempts at most (contract, "Delivery and retries").
MAX_ATTEMPTS: Final = 5
#: The attempt that a dead delivery would be waiting for, were there one more.
DEAD: Final = MAX_ATTEMPTS + 1


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


_IS_DELIVERED: Final = State.DELIVERED


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


#: What an event may take the place of at a destination: the attempt that would have been next there (2 to 5; 6 for a
#: dead delivery), and position and length of the journal line, or of the dead event's line, that it stands on.
Instead = tuple[int, int, int]


class Event(msgspec.Struct, frozen=True, gc=False):
    """An accepted event. `position` and `length` say where its line stands in the event log (bytes).

    `to` are the ids of the destinations it is for, None for all. `instead` says for some of them which delivery it
    takes the place of: that is how a delivery is retried now, and a dead one revived. It is None for an event that is
    sent for the first time, and empty for one that is sent again beside nothing that waits.
    """

    position: int
    length: int
    id: str
    name: str
    at: str
    body: bytes
    to: tuple[str, ...] | None = None
    instead: dict[str, Instead] | None = None


class Draft(msgspec.Struct, frozen=True, gc=False):
    """An event on its way into the log. `at` is ISO 8601 text; the rest is as in `Event`."""

    id: str
    name: str
    at: str
    body: bytes
    to: tuple[str, ...] | None = None
    instead: dict[str, Instead] | None = None


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """One attempt that is due: an event for a destination.

    `after` is the position and length of the journal line that this attempt is the retry of; None for the first.
    `instead` is what a first attempt takes the place of.
    """

    event: Event
    attempt: int
    after: tuple[int, int] | None = None
    instead: Instead | None = None


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What came of one POST. `error` says in words why there is no status, or why the status does not count."""

    status: int | None
    error: str | None
    duration_ms: int
    excerpt: str = ""
    timed_out: bool = False

    @property
    def outcome(self) -> Outcome:
        """Delivered means 2xx, and nothing else does (contract, "Delivery and retries")."""
        return _DELIVERED if self.error is None and 200 <= (self.status or 0) <= 299 else _FAILED


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

    @property
    def state(self) -> State:
        """Where this attempt leaves its delivery."""
        return state_after(self.attempt, self.outcome)


def state_after(attempt: int, outcome: Outcome) -> State:
    """Where an attempt leaves its delivery: after the fifth failure it is dead (contract)."""
    if outcome is _DELIVERED:
        return _IS_DELIVERED
    return State.RETRYING if attempt < MAX_ATTEMPTS else State.DEAD
