"""What happened, as `import arkcli` returns it: frozen values whose attributes are the JSON keys of docs/json.md.

Times are ISO 8601 strings, UTC; None means unknown or absent.
"""

from collections.abc import Iterable, Mapping

import msgspec

from arkcli import model, times
from arkcli.actions import reading
from arkcli.delivery import drain, sent
from arkcli.queue import engine, outage


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
    return Event(id=found.id, type=found.name, at=found.at, bytes=len(found.body))


def sent_of(sending: sent.Sending) -> Sent:
    """What a send did."""
    deliveries = tuple(map(_delivery, sending.deliveries))
    return Sent(event=event_of(sending.event), deliveries=deliveries, trouble=sending.trouble)


def _delivery(found: sent.Sent) -> Delivery:
    made = found.attempt
    return Delivery(
        destination=found.destination,
        outcome=found.state,
        attempt=made.attempt if made else 0,
        status=made.status if made else None,
        error=made.error if made else found.error,
        duration_ms=made.duration_ms if made else None,
        next_attempt_at=_when(found.next_attempt_at),
        excerpt=made.excerpt if made else None,
    )


def drained_of(found: drain.Drained) -> Drained:
    """What a drain did."""
    return Drained(
        attempted=found.total("attempted"),
        delivered=found.total("delivered"),
        retrying=found.total("retrying"),
        dead=found.total("dead"),
        skipped=len(found.held),
        left_out=tuple(found.left_out),
        held_back=tuple(_outage(name, held) for name, held in found.held_back.items()),
        broken=_broken(found.broken),
        duration_s=found.duration_s,
        destinations=tuple(
            Tally(name=one.name, attempted=one.attempted, delivered=one.delivered, retrying=one.retrying, dead=one.dead)
            for one in found.destinations
        ),
    )


def queue_of(found: reading.Overview, totals: engine.Totals) -> Queue:
    """What waits."""
    return Queue(
        destinations=tuple(_place(known.name, standing) for known, standing in found.readable),
        events=totals.events,
        bytes=totals.size,
        broken=_broken(found.broken),
    )


def _place(name: str, standing: engine.Standing) -> Place:
    return Place(
        name=name,
        waiting=standing.waiting,
        retrying=sum(standing.retrying),
        retry_lanes=standing.retrying,
        dead=standing.dead,
        next_due_at=_when(standing.next_due_at),
        oldest_at=_when(standing.oldest_at),
        held_back=_outage(name, standing.outage) if standing.outage else None,
    )


def story_of(found: reading.Story) -> Story:
    """One event's story."""
    event = found.event
    return Story(
        event=StoredEvent(**msgspec.structs.asdict(event_of(event)), body=event.body.decode()),
        deliveries=tuple(
            Told(
                destination=one.destination.name,
                state=one.state,
                next_attempt_at=_when(one.next_attempt_at),
                attempts=_attempts(one.attempts),
            )
            for one in found.deliveries
        ),
        broken=_broken(found.broken),
    )


def _attempts(made: Iterable[model.Attempt]) -> tuple[Attempt, ...]:
    return tuple(
        Attempt(
            attempt=one.attempt,
            at=times.to_text(one.at),
            outcome=one.outcome,
            status=one.status,
            error=one.error,
            duration_ms=one.duration_ms,
            excerpt=one.excerpt,
        )
        for one in made
    )


def _outage(name: str, found: outage.Outage) -> Outage:
    since, until = times.to_text(found.since), times.to_text(found.until)
    return Outage(name=name, since=since, until=until, error=found.error, reason=found.reason)


def _broken(reasons: Mapping[str, str]) -> tuple[Broken, ...]:
    return tuple(Broken(name=name, reason=reason) for name, reason in reasons.items())


def _when(at: int | None) -> str | None:
    return None if at is None else times.to_text(at)
