"""What counts against a destination's rate: a column of its share, changed under the share's lock."""

from contextlib import suppress
from copy import copy
from typing import Final

import msgspec

from arkcli.errors import InDoubt, Unreachable
from arkcli.queue.outage import ASKED, Outage
from arkcli.queue.pace import Pace, Terms, Turn, Turns
from arkcli.queue.postgres.access import Access
from arkcli.queue.postgres.stored import ms, outage_of

_READ: Final = f"select pace, outage, {ms('now()')} from ark.share where destination = %s for no key update"
_WRITE: Final = "update ark.share set pace = %s where destination = %s"
#: A crash of the server may undo commits of its last second, unless they are durable: too long for a longer period.
_SHORT: Final = 1_000
#: When to ask again after the database could not be reached, in milliseconds.
_PAUSE: Final = 100


class Pacing:
    """The attempts of one claim of a destination that has a rate, or a maximum of attempts in flight."""

    def __init__(self, access: Access, destination: int, claim: str) -> None:
        """`claim` names the claim among those of all processes."""
        self._access = access
        self._destination = destination
        self._turns = Turns(claim=claim)
        self._terms: Terms | None = None

    def admit(self, terms: Terms, most: int, now: int) -> tuple[Turn, Outage | None]:
        """See `engine.Claim.admit`; also returns the receiver's outage, as it is now."""
        self._terms, before = terms, copy(self._turns)
        try:
            return self._admit(terms, most, now)
        except (Unreachable, InDoubt):
            self._turns = before
            return Turn(0, now + _PAUSE), None

    def _admit(self, terms: Terms, most: int, now: int) -> tuple[Turn, Outage | None]:
        # Asked before the database is: an attempt never seems to have ended earlier than it did.
        at = self._monotonic()
        with self._access.transaction(durable=terms.period > _SHORT) as cursor:
            cursor.execute(_READ, (self._destination,))
            text, outage_text, there = cursor.fetchone() or (None, None, now)
            outage = outage_of(outage_text, there - now)
            if outage is not None and outage.reason == ASKED and outage.until > now:
                return Turn(0, outage.until), outage
            pace = Pace() if text is None else msgspec.json.decode(text, type=Pace)
            has_ended = bool(self._turns.ends)
            turn = self._turns.admit(pace, terms, most, there, there - at)
            if turn.count or has_ended:
                cursor.execute(_WRITE, (msgspec.json.encode(pace).decode(), self._destination))
        if not turn.count:
            return turn if turn.at is None else Turn(0, turn.at - there + now), outage
        return turn, outage

    def _monotonic(self) -> int:
        return round(self._access.clock.monotonic() * 1000)

    def ended(self, count: int) -> None:
        """Notes that attempts have ended."""
        if self._terms is not None:
            self._turns.ended(count, self._monotonic())

    def give_back(self, count: int) -> None:
        """Says that attempts that `admit` let begin were not made."""
        self._turns.give_back(count)

    def close(self) -> None:
        """Tells the others what has ended. If the database cannot be reached, it counts for longer."""
        if self._terms is None:
            return
        at = self._monotonic()
        with suppress(Unreachable, InDoubt), self._access.transaction() as cursor:
            cursor.execute(_READ, (self._destination,))
            text, _, there = cursor.fetchone() or (None, None, 0)
            pace = Pace() if text is None else msgspec.json.decode(text, type=Pace)
            self._turns.tell(pace, self._terms.period, there, there - at)
            cursor.execute(_WRITE, (msgspec.json.encode(pace).decode(), self._destination))
