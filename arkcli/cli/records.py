"""Answers, attempts and deliveries as all commands show them: as JSON and as table cells."""

from typing import TYPE_CHECKING, Any, Final

from arkcli import times
from arkcli.actions.wording import due, said_cell, short_answer

#: How many lines of a receiver's answer are shown below an attempt.
_SAID_LINES: Final = 4

if TYPE_CHECKING:
    from arkcli.model import Answer, Attempt, Event, Outcome, State
    from arkcli.output.screen import Screen
    from arkcli.queue.outage import Outage


def made_secret_note(place: str) -> str:
    """A note that the shared signing secret was made, and where it is."""
    return f"made a signing secret for your receivers; it is in {place}, and `ark secret show --reveal` prints it"


def event_json(event: "Event") -> dict[str, Any]:
    """An accepted event as JSON, without its body."""
    return {"id": event.id, "type": event.name, "at": event.at, "bytes": len(event.body)}


def outage_json(found: "Outage | None") -> dict[str, Any] | None:
    """A receiver's outage as JSON."""
    if found is None:
        return None
    return {"since": when(found.since), "until": when(found.until), "error": found.error, "reason": found.reason}


def outage_note(name: str, found: "Outage") -> str:
    """A receiver's outage as a note."""
    return f"{name} is held back: {found.in_words()}"


def answer_json(found: "Answer | Attempt") -> dict[str, Any]:
    """The outcome of a POST as JSON."""
    return {
        "outcome": found.outcome,
        "status": found.status,
        "error": found.error,
        "duration_ms": found.duration_ms,
    }


def attempt_json(made: "Attempt") -> dict[str, Any]:
    """An attempt as JSON, without its event."""
    return {"attempt": made.attempt, "at": times.to_text(made.at), **answer_json(made), "excerpt": made.excerpt}


def delivery_json(
    destination: str,
    outcome: "Outcome | State",
    attempt: int,
    made: "Answer | Attempt | None",
    next_attempt_at: int | None = None,
    error: str | None = None,
) -> dict[str, Any]:
    """The state of an event's delivery to a destination, as JSON. `error` says why no attempt was made."""
    return {
        "destination": destination,
        "outcome": outcome,
        "attempt": attempt,
        "status": made and made.status,
        "error": made.error if made else error,
        "duration_ms": made and made.duration_ms,
        "next_attempt_at": when(next_attempt_at),
    }


def answer_cell(made: "Answer | Attempt", *, drawn: bool = False) -> str | int | None:
    """The answer in a table: its status; or why it does not count, and the beginning of what the receiver said.

    `drawn`: on a terminal, where a status speaks for itself.
    """
    if made.error is None:
        return made.status
    reason, shown = short_answer(made) if drawn else made.error, said_cell(made)
    return f"{reason}: {shown}" if shown else reason


def attempt_cells(
    made: "Answer | Attempt | None", otherwise: str | None, due_at: int | None, now: int, *, drawn: bool
) -> tuple[object, ...]:
    """The answer, how long it took, and when the next attempt comes; `otherwise` says why there was no attempt."""
    following = due(due_at, now) if drawn and due_at is not None else when(due_at)
    return answer_cell(made, drawn=drawn) if made else otherwise, took_cell(made), following


def took_cell(made: "Answer | Attempt | None") -> str | None:
    """An attempt's duration as a table cell."""
    return f"{made.duration_ms} ms" if made else None


def when(at: int | None) -> str | None:
    """A time (milliseconds, UTC) as ISO 8601; None stays None."""
    return None if at is None else times.to_text(at)


def said_lines(screen: "Screen", text: str, indent: int) -> list[str]:
    """The beginning of what a receiver answered: at most four lines that fit a terminal below an indentation."""
    return screen.wrapped(text, screen.width - indent, _SAID_LINES) if text else []
