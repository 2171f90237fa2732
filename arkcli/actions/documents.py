"""What happened, as `import arkcli` returns it: frozen values whose attributes are the JSON keys of docs/json.md.

Times are ISO 8601 strings, UTC; None means unknown or absent.
"""

import msgspec

from arkcli import model
from arkcli.actions import printed, reading
from arkcli.delivery import drain, sent
from arkcli.queue import engine


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """A frozen value. `msgspec.to_builtins(value)` gives plain dictionaries and lists."""


class Event(Value, frozen=True):
    """An accepted event. `bytes` is the size of its body."""

    id: str
    type: str
    at: str
    bytes: int


class Delivery(Value, frozen=True):
    """An event's delivery to one destination. `outcome` is delivered, retrying, dead or waiting.

    `attempt` is the number of the last attempt, 0 if none was made; `error` says why it failed, or why none was made.
    """

    destination: str
    outcome: str
    attempt: int
    status: int | None
    error: str | None
    duration_ms: int | None
    next_attempt_at: str | None
    excerpt: str | None


class Sent(Value, frozen=True):
    """An accepted event and its deliveries so far. `repeated`: the id was used before, with the same body.

    `trouble` says why not every attempt that was due has been made, if so: something that this machine lacks.
    """

    event: Event
    deliveries: tuple[Delivery, ...]
    repeated: bool = False
    trouble: str | None = None


class Tally(Value, frozen=True):
    """What a drain did for one destination."""

    name: str
    attempted: int
    delivered: int
    retrying: int
    dead: int


class Broken(Value, frozen=True):
    """A destination whose part of the queue cannot be used, and why."""

    name: str
    reason: str


class Outage(Value, frozen=True):
    """A destination that is held back: no attempt before `until`. `reason` is unreachable, asked or rate."""

    name: str
    since: str
    until: str
    error: str
    reason: str


class Drained(Value, frozen=True):
    """What a drain did. `skipped` counts the destinations to which another process was delivering."""

    attempted: int
    delivered: int
    retrying: int
    dead: int
    skipped: int
    left_out: tuple[str, ...]
    held_back: tuple[Outage, ...]
    broken: tuple[Broken, ...]
    duration_s: float
    destinations: tuple[Tally, ...]


class Place(Value, frozen=True):
    """What waits for one destination. `retry_lanes` counts what waits for attempt 2, 3, 4 and 5."""

    name: str
    waiting: int
    retrying: int
    retry_lanes: tuple[int, ...]
    dead: int
    next_due_at: str | None
    oldest_at: str | None
    held_back: Outage | None


class Queue(Value, frozen=True):
    """What waits for every destination, and the size of the event log."""

    destinations: tuple[Place, ...]
    events: int
    bytes: int
    broken: tuple[Broken, ...]


class Attempt(Value, frozen=True):
    """One attempt. `outcome` is delivered or failed; `excerpt` is the beginning of the receiver's answer."""

    attempt: int
    at: str
    outcome: str
    status: int | None
    error: str | None
    duration_ms: int
    excerpt: str


class Told(Value, frozen=True):
    """One event's state at one destination, and its attempts there, oldest first."""

    destination: str
    state: str
    next_attempt_at: str | None
    attempts: tuple[Attempt, ...]


class StoredEvent(Event, frozen=True):
    """An event with its body."""

    body: str


class Story(Value, frozen=True):
    """One event and its delivery to each of its destinations."""

    event: StoredEvent
    deliveries: tuple[Told, ...]
    broken: tuple[Broken, ...]


def event_of(found: model.Event) -> Event:
    """An event without its body."""
    return msgspec.convert(printed.event_json(found), Event)


def sent_of(sending: sent.Sending) -> Sent:
    """What a send did."""
    deliveries = [
        {**printed.sent_json(one), "excerpt": None if one.attempt is None else one.attempt.excerpt}
        for one in sending.deliveries
    ]
    document = {"event": printed.event_json(sending.event), "deliveries": deliveries, "trouble": sending.trouble}
    return msgspec.convert(document, Sent)


def drained_of(found: drain.Drained) -> Drained:
    """What a drain did."""
    return msgspec.convert(printed.drained_json(found), Drained)


def queue_of(found: reading.Overview, totals: engine.Totals) -> Queue:
    """What waits."""
    document = printed.queue_json(found.readable, totals) | {"broken": printed.broken_json(found.broken)}
    for place in document["destinations"]:
        if place["held_back"]:
            place["held_back"]["name"] = place["name"]
    return msgspec.convert(document, Queue)


def story_of(found: reading.Story) -> Story:
    """One event's story."""
    return msgspec.convert(printed.story_json(found) | {"broken": printed.broken_json(found.broken)}, Story)
