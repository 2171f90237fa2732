"""Times and answers in a few words and in cells of tables, as every face shows them. Pure functions."""

from typing import TYPE_CHECKING, Final

from arkcli import times
from arkcli.actions.printed import when

if TYPE_CHECKING:
    from arkcli.model import Answer, Attempt
    from arkcli.queue.outage import Outage

#: How much of a receiver's answer a cell shows, in characters.
_SAID: Final = 200


def from_now(at: int, now: int) -> str:
    """A time as its distance from now: `in 23 s`, `5 min ago`, `just now`."""
    if 0 <= now - at < 1000:
        return "just now"
    said = times.describe_duration(abs(at - now) / 1000)
    return f"in {said}" if at > now else f"{said} ago"


def due(at: int, now: int) -> str:
    """When the next attempt is due: `in 23 s`, `now`, or once that is overdue, `5 min ago`."""
    # Imported here because most runs say of nothing when it is due.
    from arkcli.actions.trouble import lateness

    return from_now(at, now) if at > now or lateness(at, now) else "now"


def short_time(at: int) -> str:
    """A time (UTC) without its year and milliseconds: `11-26 12:50:03`."""
    return times.to_text(at)[5:19].replace("T", " ")


def short_answer(made: "Answer | Attempt") -> str:
    """The answer in a few words: its status, or why there was none."""
    return (made.error or str(made.status)).replace(f"answered {made.status}, not a 2xx", str(made.status), 1)


def said_cell(made: "Answer | Attempt") -> str:
    """The beginning of what a receiver answered with a failure, on one line; empty if it said nothing."""
    said = "" if made.error is None else " ".join(made.excerpt.split())
    return said if len(said) <= _SAID else f"{said[:_SAID]}…"


def outage_note(name: str, found: "Outage") -> str:
    """A receiver's outage as a note."""
    return f"{name} is held back: {found.in_words()}"


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
