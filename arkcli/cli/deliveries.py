"""Lists of unfinished deliveries, one by one or in groups: `ark queue list` and `ark drain --dry-run`."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from arkcli.actions.grouping import By, Group, grouped, short_reason
from arkcli.actions.printed import when
from arkcli.actions.reading import Named, Reading
from arkcli.cli.lists import beginnings, due_cell
from arkcli.cli.printout import Printout, broken_key, left_out, show
from arkcli.errors import ExitCode
from arkcli.model import State
from arkcli.output import Output
from arkcli.output.tables import Table, fitting, needed

_HEADINGS: Final = ("event id", "event", "destination", "state", "attempt", "next attempt", "last answer")
#: The fewest names that a cell shows before it counts the rest, and in how many lines it shows as many as fit.
_NAMES: Final = 3
_LINES: Final = 2


def show_deliveries(output: Output, reading: Reading, found: Iterable[Named], nothing: str, now: int) -> ExitCode:
    """Prints unfinished deliveries as they are read, in constant memory; returns the exit status.

    `nothing` is the note printed if there are none.
    """
    drawn, width = output.on_a_terminal, output.screen.width
    output.items(
        "deliveries",
        found,
        _delivery,
        lambda one: _row(one, now if drawn else None),
        lambda rows: _fitted(rows, width) if drawn else Table(_HEADINGS, rows),
        nothing,
        lambda: broken_key(reading.broken),
    )
    return left_out(output, reading.broken)


def show_groups(output: Output, reading: Reading, found: Iterable[Named], by: By, number: int | None) -> ExitCode:
    """Prints how many unfinished deliveries have the same destination, reason or event; returns the exit status.

    `number` is the most groups to show; None: all.
    """
    groups = grouped(found, by)[:number]
    documents = [{by: key, "count": group.count, "example": group.example} for key, group in groups]
    notes = [] if groups else ["no delivery matches"]
    text = [_grouped(output, groups, by)] if groups else []
    return show(output, Printout({"groups": documents}, text, notes, broken=reading.broken))


def _grouped(output: Output, groups: Sequence[tuple[str | None, Group]], by: By) -> Table:
    headings: tuple[str, ...] = ("count", by, "destinations", "example")
    rows: list[tuple[object, ...]] = [(group.count, key, ",".join(group.names), group.example) for key, group in groups]
    if output.on_a_terminal:
        counts, keys = [f"{group.count:,}" for _, group in groups], [key or "not attempted" for key, _ in groups]
        examples = [group.example for _, group in groups]
        for some in (examples, beginnings(examples)):
            room = output.screen.width - 2 - needed(Table(headings[:3], list(zip(counts, keys, some, strict=True))))
            names = [_named(group, room * _LINES) for _, group in groups]
            if max(map(len, names)) <= room:
                break
        rows = list(zip(counts, keys, names, some, strict=True))
    if by is By.DESTINATION:
        rows = [(count, key, example) for count, key, _, example in rows]
        headings = ("count", by, "example")
    table = Table(headings, rows)
    return fitting(table, output.screen.width, (), ("example",)) if output.on_a_terminal else table


def _named(group: Group, room: int) -> str:
    """As many names of a group's destinations as fit in this many characters, but a few at least."""
    shown: list[str] = []
    for name in group.names:
        more = group.destinations - len(shown) - 1
        said = ", ".join([*shown, name]) + (f", and {more:,} more" if more else "")
        if len(said) > room and len(shown) >= _NAMES:
            break
        shown.append(name)
    more = group.destinations - len(shown)
    return ", ".join(shown) + (f", and {more:,} more" if more else "")


def _delivery(one: Named) -> dict[str, Any]:
    destination, found = one
    return {
        "event_id": found.event.id,
        "event": found.event.name,
        "destination": destination.name,
        "state": found.state,
        "attempt": found.attempt,
        "next_attempt_at": when(found.next_attempt_at),
        "last_status": found.last_status,
        "last_error": found.last_error,
        "accepted_at": found.event.at,
    }


def _row(one: Named, now: int | None) -> tuple[object, ...]:
    """The cells of a delivery; with the time, as a terminal shows them."""
    destination, found = one
    tail: tuple[object, ...] = found.attempt, when(found.next_attempt_at), found.last_error or found.last_status
    if now is not None:
        attempt = None if found.state is State.DEAD else found.attempt
        tail = attempt, due_cell(now, found.next_attempt_at), short_reason(found.last_status, found.last_error)
    return found.event.id, found.event.name, destination.name, found.state, *tail


def _fitted(rows: Sequence[Sequence[object]], width: int) -> Table:
    """A table on a terminal: ids are shortened, and columns left out, only where a row would not fit its line."""
    table = Table(_HEADINGS, rows)
    if needed(table) <= width:
        return table
    ids = beginnings([str(row[0]) for row in rows])
    shortened = Table(_HEADINGS, [(found, *row[1:]) for found, row in zip(ids, rows, strict=True)])
    unused = [heading for at, heading in enumerate(_HEADINGS) if all(row[at] is None for row in rows)]
    return fitting(shortened, width, (*unused, "attempt", "event"), ("next attempt", "state"))
