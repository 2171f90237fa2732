"""When attempts may begin at a destination with a rate, or with a maximum of attempts in flight. Pure.

The rule: an attempt counts from before it begins until one period after it has ended, and at most `count` attempts
count at a time. A request reaches the receiver while its attempt is under way, however slow the network is. So among
any `count` + 1 requests two arrive at least one period apart: no period contains them all.

Every engine keeps a `Pace` beside each destination's progress. Times are milliseconds of the engine's clock. A time
that cannot be right, such as one from a restored copy, counts as now: that can delay attempts, never hasten them.
"""

from typing import Final

import msgspec

from arkcli import times
from arkcli.model import AHEAD, Destination

#: Attempts of a process that said nothing about their end have ended after this: an attempt takes at most 11 s.
LASTS: Final = 20_000
#: When to ask again if only another process can say when the next attempt may begin.
_POLL: Final = 50
#: Ends are rounded up to this part of a period, so that there are few of them.
_PARTS: Final = 100


class Terms(msgspec.Struct, frozen=True):
    """What a destination allows: `count` requests within any `period`, and attempts in flight at once; None: any."""

    count: int | None
    period: int
    in_flight: int | None


class Turn(msgspec.Struct, frozen=True):
    """How many attempts may begin now. If none, `at` says when to ask again; None: when one of the own has ended."""

    count: int
    at: int | None


def terms_of(destination: Destination) -> Terms | None:
    """What a destination allows; None if it sets no limit."""
    if destination.rate is None and destination.max_in_flight is None:
        return None
    count, period = (None, 0) if destination.rate is None else times.parse_rate(destination.rate)
    return Terms(count, period, destination.max_in_flight)


class Pace(msgspec.Struct):
    """What counts at a destination: attempts under way, by claim, with the time when they have ended at the latest; and
    the number of attempts that have ended, by their time.
    """

    open: dict[str, tuple[int, int]] = {}
    ended: dict[int, int] = {}

    def end(self, count: int, at: int, period: int) -> None:
        """Notes attempts that have ended. The time is rounded up: an attempt never counts for too short a time."""
        part = max(period // _PARTS, 1)
        at = (at // part + 1) * part
        self.ended[at] = self.ended.get(at, 0) + count

    def settle(self, period: int, now: int) -> None:
        """Forgets what no longer counts, and corrects times that lie in the future."""
        before, self.ended = self.ended, {}
        latest = now + max(period // _PARTS, 1) + AHEAD
        for at, count in before.items():
            if min(at, latest) + period > now:
                self.ended[min(at, latest)] = self.ended.get(min(at, latest), 0) + count
        for claim, (count, until) in list(self.open.items()):
            if until <= now:
                del self.open[claim]
                if until + period > now:
                    self.end(count, until, period)
            elif until > now + LASTS:
                self.open[claim] = count, now + LASTS

    def room(self, terms: Terms) -> int:
        """How many attempts may begin."""
        under_way = sum(count for count, _ in self.open.values())
        rooms = [terms.in_flight - under_way] if terms.in_flight is not None else []
        rooms += [terms.count - under_way - sum(self.ended.values())] if terms.count is not None else []
        return max(min(rooms), 0)

    def next_at(self, terms: Terms) -> int | None:
        """When an attempt may begin, with what is under way now; None if one of those has to end first."""
        under_way = sum(count for count, _ in self.open.values())
        if terms.count is None or under_way >= min(terms.count, terms.in_flight or under_way + 1):
            return None
        counting, at = under_way + sum(self.ended.values()), None
        for ended, count in sorted(self.ended.items()):
            if counting < terms.count:
                break
            counting, at = counting - count, ended + terms.period
        return at


class Turns(msgspec.Struct):
    """The attempts of one claim that are under way, and the ends that its destination's `Pace` does not know yet."""

    claim: str = ""
    under_way: int = 0
    ends: tuple[tuple[int, int], ...] = ()

    def admit(self, pace: Pace, terms: Terms, most: int, now: int, ahead: int = 0) -> Turn:
        """Lets up to `most` attempts begin, and notes them. `ahead`: by how much the clock of `now` is ahead of that of
        the ends.
        """
        self.tell(pace, terms.period, now, ahead)
        pace.settle(terms.period, now)
        count = min(most, pace.room(terms))
        at = None if count else pace.next_at(terms)
        if not count and at is None and not self.under_way:
            at = now + _POLL
        self.under_way += count
        self.tell(pace, terms.period, now)
        return Turn(count, at)

    def tell(self, pace: Pace, period: int, now: int, ahead: int = 0) -> None:
        """Notes the attempts that have ended, and how many are under way."""
        for at, count in self.ends:
            pace.end(count, at + ahead, period)
        self.ends = ()
        pace.open.pop(self.claim, None)
        if self.under_way:
            pace.open[self.claim] = self.under_way, now + LASTS

    def ended(self, count: int, at: int) -> None:
        """Notes, for the next time that the pace is written, that attempts have ended."""
        self.under_way = max(self.under_way - count, 0)
        self.ends = (*self.ends, (at, count))

    def give_back(self, count: int) -> None:
        """Takes back that attempts would begin."""
        self.under_way = max(self.under_way - count, 0)
