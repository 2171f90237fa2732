"""An answer, an attempt and a delivery as every command shows them: in JSON, and in the cells of a table; and the
destinations that a command had to leave out.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from arkcli import times
from arkcli.errors import ExitCode

if TYPE_CHECKING:
    from arkcli.delivery.send import Report
    from arkcli.model import Answer, Attempt
    from arkcli.output import Output, Table
    from arkcli.queue.engine import Outage


def outage_json(found: "Outage | None") -> dict[str, Any] | None:
    """A receiver's outage in JSON."""
    if found is None:
        return None
    return {"since": when(found.since), "until": when(found.until), "error": found.error}


def outage_note(name: str, found: "Outage") -> str:
    """A receiver's outage in words."""
    return f"{name} is held back: unreachable since {times.to_text(found.since)} ({found.error})"


def answer_json(found: "Answer | Attempt") -> dict[str, Any]:
    """What came of a POST, in JSON."""
    return {
        "outcome": found.outcome,
        "status": found.status,
        "error": found.error,
        "duration_ms": found.duration_ms,
    }


def attempt_json(made: "Attempt") -> dict[str, Any]:
    """An attempt that was made, in JSON; of which event is left to say."""
    return {"attempt": made.attempt, "at": times.to_text(made.at), **answer_json(made), "excerpt": made.excerpt}


def delivery_json(
    destination: str, attempt: int, found: "Answer | Report", next_attempt_at: int | None = None
) -> dict[str, Any]:
    """What became of an event at a destination, in JSON."""
    return {
        "destination": destination,
        "outcome": found.outcome,
        "attempt": attempt,
        "status": found.status,
        "error": found.error,
        "duration_ms": found.duration_ms,
        "next_attempt_at": when(next_attempt_at),
    }


def answer_cell(found: "Answer | Attempt | Report") -> str | int | None:
    """The answer in a table: why it does not count, else its status."""
    return found.error or found.status


def took_cell(found: "Answer | Attempt | Report") -> str | None:
    """How long it took, in a table."""
    return None if found.duration_ms is None else f"{found.duration_ms} ms"


def when(at: int | None) -> str | None:
    """A time (milliseconds, UTC) in ISO 8601; None for none."""
    return None if at is None else times.to_text(at)


def broken_json(broken: Mapping[str, str]) -> dict[str, Any]:
    """What a document has besides where parts of the queue cannot be used; given by destination, with the reason."""
    found = [{"name": name, "reason": reason} for name, reason in broken.items()]
    return {"broken": found} if found else {}


def tell(output: "Output", broken: Mapping[str, str], document: Mapping[str, Any], *text: "str | Table") -> None:
    """Prints what a command found, as `Output.result` does, and names what it had to leave out."""
    output.result({**document, **broken_json(broken)}, *text)
    name_broken(output, broken)


def name_broken(output: "Output", broken: Mapping[str, str]) -> None:
    """Names them on standard error, at a command's end: where there are some, the exit status says so, too."""
    for name, reason in broken.items():
        output.warn(f"{name} is left out: {reason}")
    if broken:
        raise typer.Exit(ExitCode.FAILED)
