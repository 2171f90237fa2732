"""Checks whether a place fits the event log. docs/internals.md, "Parts of different ages"."""

from arkcli.errors import Broken
from arkcli.queue.local.eventlog import EventLog
from arkcli.queue.local.journal import Journal


def check_fit(journal: Journal, log: EventLog) -> None:
    """Checks that the log contains the events that a journal's state refers to, at constant cost. Raises Broken.

    Damaged or missing lines are accepted; other events in their place, or a log that ends earlier, are not.
    """
    state, place = journal.state, journal.directory
    last = (0, 0, "") if state.last is None else (state.last.pos, state.last.len, state.last.id)
    position, length, event_id = state.newest or last
    reach, why = max(state.first.end, position + length), ""
    # Usually the log is only behind because it was looked at first.
    if reach > log.end and reach > log.look() and reach > log.reach:
        why = f"it has events up to position {reach:,}, but the log ends at {log.reach:,}"
    elif position + length <= log.end and log.has_another(position, length, event_id):
        why = f"it has {event_id} at position {position:,}, but another event is there"
    if not why:
        return
    said = f"{place / 'journal'} does not fit the event log: {why}. One of them is an older or newer copy"
    raise Broken(place.name, f"{said}. Its events wait; run `ark queue check --repair` to deliver them")
