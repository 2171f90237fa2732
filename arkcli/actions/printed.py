"""What happened, as the dictionaries that `--json` prints. docs/json.md explains the keys.

Times are ISO 8601 strings, UTC; None means unknown or absent.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from arkcli import times

if TYPE_CHECKING:
    from arkcli.actions.reading import Story
    from arkcli.delivery.drain import Drained
    from arkcli.delivery.sent import Sent
    from arkcli.model import Answer, Attempt, Destination, Event, Outcome, State
    from arkcli.queue.engine import Standing, Totals
    from arkcli.queue.outage import Outage

#: What a drain counts, for each destination and in all.
_COUNTED = ("attempted", "delivered", "retrying", "dead")


def when(at: int | None) -> str | None:
    """A time (milliseconds, UTC) as ISO 8601; None stays None."""
    return None if at is None else times.to_text(at)


def event_json(event: "Event", **more: str) -> dict[str, Any]:
    """An accepted event without its body."""
    return {"id": event.id, "type": event.name, "at": event.at, "bytes": len(event.body), **more}


def whole_event_json(event: "Event") -> dict[str, Any]:
    """An accepted event with its body."""
    return event_json(event, body=event.body.decode())


def outage_json(found: "Outage") -> dict[str, Any]:
    """A receiver's outage."""
    return {"since": when(found.since), "until": when(found.until), "error": found.error, "reason": found.reason}


def answer_json(found: "Answer | Attempt") -> dict[str, Any]:
    """The outcome of a POST."""
    return {
        "outcome": found.outcome,
        "status": found.status,
        "error": found.error,
        "duration_ms": found.duration_ms,
    }


def attempt_json(made: "Attempt") -> dict[str, Any]:
    """An attempt without its event."""
    return {"attempt": made.attempt, "at": times.to_text(made.at), **answer_json(made), "excerpt": made.excerpt}


def delivery_json(
    destination: str,
    outcome: "Outcome | State",
    attempt: int,
    made: "Answer | Attempt | None",
    next_attempt_at: int | None = None,
    error: str | None = None,
) -> dict[str, Any]:
    """The state of an event's delivery to a destination. `error` says why no attempt was made."""
    return {
        "destination": destination,
        "outcome": outcome,
        "attempt": attempt,
        "status": made and made.status,
        "error": made.error if made else error,
        "duration_ms": made and made.duration_ms,
        "next_attempt_at": when(next_attempt_at),
    }


def sent_json(sent: "Sent") -> dict[str, Any]:
    """What became of an event at a destination."""
    made = sent.attempt
    number = made.attempt if made else 0
    return delivery_json(sent.destination, sent.state, number, made, sent.next_attempt_at, sent.error)


def drained_json(drained: "Drained") -> dict[str, Any]:
    """What a drain did."""
    return {
        **{what: drained.total(what) for what in _COUNTED},
        "skipped": len(drained.held),
        "left_out": drained.left_out,
        "held": [{"name": held.name, "process": held.by.process, "purpose": held.by.purpose} for held in drained.held],
        "held_back": [{"name": name, **outage_json(found)} for name, found in drained.held_back.items()],
        "broken": broken_json(drained.broken),
        "duration_s": drained.duration_s,
        "destinations": [
            {"name": found.name, **{what: getattr(found, what) for what in _COUNTED}} for found in drained.destinations
        ],
    }


def queue_json(found: "Iterable[tuple[Destination, Standing]]", totals: "Totals") -> dict[str, Any]:
    """What waits for destinations, and the size of the event log."""
    places = [
        {
            "name": destination.name,
            "waiting": held.waiting,
            "retrying": sum(held.retrying),
            "retry_lanes": list(held.retrying),
            "dead": held.dead,
            "next_due_at": when(held.next_due_at),
            "oldest_at": when(held.oldest_at),
            "held_back": None if held.outage is None else outage_json(held.outage),
        }
        for destination, held in found
    ]
    return {"destinations": places, "events": totals.events, "bytes": totals.size}


def story_json(story: "Story") -> dict[str, Any]:
    """One event, and its deliveries with every attempt."""
    deliveries = [
        {
            "destination": one.destination.name,
            "state": one.state,
            "next_attempt_at": when(one.next_attempt_at),
            "attempts": [attempt_json(made) for made in one.attempts],
        }
        for one in story.deliveries
    ]
    return {"event": whole_event_json(story.event), "deliveries": deliveries}


def broken_json(broken: Mapping[str, str]) -> list[dict[str, str]]:
    """Destinations whose part of the queue cannot be used, from the reason by name."""
    return [{"name": name, "reason": reason} for name, reason in broken.items()]


def pings_json(answers: "Sequence[tuple[Destination, Answer]]") -> list[dict[str, Any]]:
    """The answers to pings."""
    return [{"destination": found.name, **answer_json(answer)} for found, answer in answers]
