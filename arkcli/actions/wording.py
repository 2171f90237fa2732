"""Times and answers in a few words, as every face shows them. Pure functions."""

from typing import TYPE_CHECKING, Final

from arkcli import times

if TYPE_CHECKING:
    from arkcli.model import Answer, Attempt

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
