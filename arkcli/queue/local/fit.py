"""Whether a queue's parts belong together, and what sets it right. docs/internals.md, "Parts of different ages"."""

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec

from arkcli.errors import Broken
from arkcli.queue.local.check import DamagedLine, locked
from arkcli.queue.local.eventlog import EventLog
from arkcli.queue.local.journal import Journal
from arkcli.queue.local.lines import Snapshot
from arkcli.queue.local.members import Members, loss
from arkcli.queue.local.state import joined
from arkcli.system import files


def check_fit(journal: Journal, log: EventLog) -> None:
    """Sees that the log holds what a journal's state tells of; its cost grows with neither. Raises Broken.

    What is damaged or missing in the log is no contradiction: only other events in its place are, or an earlier end.
    """
    state, place = journal.state, journal.directory
    last = (0, 0, "") if state.last is None else (state.last.pos, state.last.len, state.last.id)
    position, length, event_id = state.newest or last
    reach, why = max(state.first.end, position + length), ""
    # Mostly it is the log that was looked at first.
    if reach > log.end and reach > log.reach and reach > log.look():
        why = f"it has events up to position {reach:,}, but the log ends at {log.reach:,}"
    elif position + length <= log.end and log.has_another(position, length, event_id):
        why = f"it has {event_id} at position {position:,}, but another event is there"
    if not why:
        return
    said = f"{place / 'journal'} does not fit the event log: {why}. One of them is an older or newer copy"
    raise Broken(place.name, f"{said}. Its events wait; run `ark queue check --repair` to deliver them")


class Misfits(NamedTuple):
    """One reading of all places of a queue."""

    members: Members
    log: EventLog

    def all(self) -> Iterator[DamagedLine]:
        """Whatever does not belong together."""
        yield from self.losses()
        for place in sorted(self.members.places.glob("[!.]*")):
            try:
                with closing(self.members.journal_at(place)) as journal:
                    self.log.look()
                    journal.load()
                    check_fit(journal, self.log)
            except Broken as broken:
                path, cure = place / "checkpoint.json", partial(self._refit, place)
                replaced = files.read(path).removesuffix(b"\n") if path.is_file() else b""
                yield DamagedLine(path if replaced else place / "journal", 1, 0, replaced, str(broken), cure)
            except OSError:
                # It has just been removed by another command, or it is named for that.
                pass

    def losses(self) -> Iterator[DamagedLine]:
        """The places that are gone or were, where this has not been noted. Reads one file."""
        roll = self.members.read()
        for found in {**dict.fromkeys(roll.lost), **roll.begins}:
            # One that only begins is made again from the roll.
            is_gone = roll.begins.get(found, 0) is None and self.members.is_missing(found)
            if is_gone or found in roll.lost:
                # One that is gone will join as a new one.
                noted = partial(self.members.forget, found, left=is_gone)
                yield DamagedLine(self.members.path, 1, 0, b"", f"{found}: {loss(found)}", noted)

    def _refit(self, place: Path) -> None:
        """Begins the journal's next segment with a state that fits the log. Raises Busy and OSError."""
        with locked(place, place), closing(self.members.journal_at(place)) as journal:
            files.make_directory(place / "journal")
            journal.restart(self._fitting(journal))

    def _fitting(self, journal: Journal) -> Snapshot:
        """The state that a journal tells of, but what was accepted after the last attempt is due.

        Where it tells nothing, all is due that was not done at its last checkpoint; without one, all that there is.
        """
        end = self.log.look()
        try:
            snapshot = journal.load().snapshot()
        except Broken:
            saved = journal.checkpoint()
            return joined(self.log.start if saved is None else min(saved.first[0], end), self.members.retries)
        at = "" if snapshot.last is None else snapshot.last.at
        fresh = next((event.position for event in self.log.events() if event.at >= at), end)
        cursor, ranges = snapshot.first
        first = min(cursor, fresh), [found for found in ranges if found[1] <= fresh]
        return msgspec.structs.replace(snapshot, first=first, newest=(fresh, 0, ""))
