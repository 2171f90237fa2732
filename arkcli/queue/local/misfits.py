"""Finds the parts of a queue that do not belong together, and repairs them. docs/internals.md, section 8."""

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec

from arkcli.errors import Broken
from arkcli.queue.local.check import DamagedLine, locked
from arkcli.queue.local.eventlog import EventLog
from arkcli.queue.local.fit import check_fit
from arkcli.queue.local.journal import Journal
from arkcli.queue.local.lines import Snapshot
from arkcli.queue.local.members import Members, loss
from arkcli.queue.local.state import joined
from arkcli.system import files


class Misfits(NamedTuple):
    """One check of all places of a queue."""

    members: Members
    log: EventLog

    def all(self) -> Iterator[DamagedLine]:
        """All parts that do not belong together."""
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
                # Another command has just removed the place, or the check of its files reports it.
                pass

    def losses(self) -> Iterator[DamagedLine]:
        """The places that were lost, unless a repair has noted that. Reads one file."""
        roll = self.members.read()
        for found in {**dict.fromkeys(roll.lost), **roll.begins}:
            # A place that has only begun is made again from the roll.
            is_gone = roll.begins.get(found, 0) is None and self.members.is_missing(found)
            if is_gone or found in roll.lost:
                # A lost destination will join as a new one.
                noted = partial(self.members.forget, found, left=is_gone)
                yield DamagedLine(self.members.path, 1, 0, b"", f"{found}: {loss(found)}", noted)

    def _refit(self, place: Path) -> None:
        """Begins a new journal segment with a state that fits the log. Raises Busy and OSError."""
        with locked(place, place), closing(self.members.journal_at(place)) as journal:
            files.make_directory(place / "journal")
            journal.restart(self._fitting(journal))

    def _fitting(self, journal: Journal) -> Snapshot:
        """The journal's state, with all events accepted after its last attempt due.

        If the journal has no state, all events not finished at its last checkpoint are due; without one, all events.
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
