"""The state of a destination: a fold of its journal. Pure; recording and recovering use the same function."""

from arkcli.model import Outcome
from arkcli.queue.local.lines import AttemptLine, DropLine, Snapshot
from arkcli.queue.local.progress import Progress

#: Bound once: looking the member up per line would cost 10 % of the fold.
_FAILED = Outcome.FAILED


class DestinationState:
    """A destination's state as of journal position `journal`.

    `newest` is the furthest event in the log that the destination has seen: position, length and id. `first` is its
    progress through the event log. `lanes[k]` is its progress through the journal's lines "attempt k+1 failed", and
    `retrying[k]` how many of those still wait. `newly_dead` are the journal lines since the snapshot that made a
    delivery dead, by the event's position; `gone` the dead deliveries that were revived or dropped since the dead
    letters were last rewritten.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.journal = snapshot.journal
        self.first = Progress(*snapshot.first)
        self.lanes = [Progress(*lane) for lane in snapshot.lanes]
        self.retrying = list(snapshot.retrying)
        self.dead = snapshot.dead
        self.last = snapshot.last
        self.newest = snapshot.newest
        self.newly_dead: dict[int, AttemptLine] = {}
        self.gone = set(snapshot.gone)
        #: One more than the last attempt: stands for the next attempt of a dead delivery.
        self.beyond = len(self.lanes) + 2
        # Journal lines that do not count: damaged lines, repetitions, and lines that depend on them.
        self._void = Progress()

    def apply(self, line: AttemptLine | DropLine | Snapshot | None, start: int, end: int) -> None:
        """Applies the journal line from `start` to `end`; None for a damaged one."""
        self.journal = end
        if isinstance(line, AttemptLine):
            fresh = self._finish(line)
            if fresh:
                self.last = line
                if self.newest is None or line.pos >= self.newest[0]:
                    self.newest = line.pos, line.len, line.id
                if line.instead is not None:
                    self._end(*line.instead)
            if line.outcome is _FAILED:
                self._failed(line, start, end, fresh=fresh)
        elif isinstance(line, DropLine):
            if line.attempt == self.beyond:
                self._end(line.attempt, line.pos, line.len)
            else:
                self._finish(line)
        elif line is None:
            # The attempt that this line recorded will be made again, so lines that depend on it must not count.
            self._ignore(start, end)

    def _ignore(self, start: int, end: int) -> None:
        self._void.finish(start, end)
        for lane, waiting in zip(self.lanes, self.retrying, strict=True):
            if waiting:
                lane.finish(start, end, 0)
            else:
                lane.skip_to(end)

    def _finish(self, line: AttemptLine | DropLine) -> bool:
        if line.attempt == 1:
            return self.first.finish(line.pos, line.pos + line.len)
        return line.after is not None and self._end(line.attempt, *line.after)

    def _end(self, attempt: int, start: int, length: int) -> bool:
        """Ends the wait for an attempt after the first; False if it had already ended."""
        if attempt == self.beyond:
            fresh = start not in self.gone
            if fresh:
                self.gone.add(start)
                self.newly_dead.pop(start, None)
                # A dead delivery whose line is damaged was not counted.
                self.dead = max(self.dead - 1, 0)
            return fresh
        lane = attempt - 2
        if not self.retrying[lane] or not self.lanes[lane].finish(start, start + length):
            return False
        self.retrying[lane] -= 1
        return True

    def _failed(self, line: AttemptLine, start: int, end: int, *, fresh: bool) -> None:
        lane = line.attempt - 1
        is_last = lane == len(self.lanes)
        if not fresh:
            # This line must not schedule a retry: another line has, or will.
            self._ignore(start, end)
            if is_last and line.after is not None and self._void.passed(line.after[0]) is not None:
                # The delivery died only by way of a line that does not count. A mere repetition changes nothing.
                self.gone.add(line.pos)
        elif is_last:
            self.dead += 1
            self.gone.discard(line.pos)
            self.newly_dead[line.pos] = line
        else:
            if not self.retrying[lane]:
                self.lanes[lane].skip_to(start)
            self.retrying[lane] += 1

    def awaits_retry(self, line: AttemptLine, start: int) -> bool:
        """Whether the journal line at `start` is a failure whose retry is still to be made."""
        lane = line.attempt - 1
        return line.outcome is _FAILED and lane < len(self.lanes) and self.lanes[lane].passed(start) is None

    def snapshot(self) -> Snapshot:
        """A snapshot that restores this state."""
        for lane, waiting in zip(self.lanes, self.retrying, strict=True):
            if not waiting:
                lane.skip_to(self.journal)
        return Snapshot(
            journal=self.journal,
            first=(self.first.cursor, self.first.ranges),
            lanes=[(lane.cursor, lane.ranges) for lane in self.lanes],
            retrying=list(self.retrying),
            dead=self.dead,
            last=self.last,
            newest=self.newest,
            gone=sorted(self.gone),
        )


def joined(position: int, retries: int) -> Snapshot:
    """The state of a destination that joins when the event log ends at a position, with a lane for each retry."""
    return Snapshot(
        journal=0, first=(position, []), lanes=[(0, []) for _ in range(retries)], retrying=[0] * retries, dead=0
    )
