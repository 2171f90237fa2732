"""Answers and attempts as all commands show them: as table cells and lines."""

from typing import TYPE_CHECKING, Final

from arkcli.actions.printed import when
from arkcli.actions.wording import from_now, said_cell, short_answer

#: How many lines of a receiver's answer are shown below an attempt.
_SAID_LINES: Final = 4

if TYPE_CHECKING:
    from arkcli.model import Answer, Attempt
    from arkcli.output.screen import Screen
    from arkcli.queue.outage import Outage


def made_secret_note(place: str, whose: str = "your receivers", shows: str = "secret show") -> str:
    """A note that a signing secret was made, the shared one by default, and where it is."""
    return f"made a signing secret for {whose}; it is in {place}, and `ark {shows} --reveal` prints it"


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
    following = from_now(due_at, now) if drawn and due_at is not None else when(due_at)
    return answer_cell(made, drawn=drawn) if made else otherwise, took_cell(made), following


def took_cell(made: "Answer | Attempt | None") -> str | None:
    """An attempt's duration as a table cell."""
    return f"{made.duration_ms} ms" if made else None


def said_lines(screen: "Screen", text: str, indent: int) -> list[str]:
    """The beginning of what a receiver answered: at most four lines that fit a terminal below an indentation."""
    return screen.wrapped(text, screen.width - indent, _SAID_LINES) if text else []
