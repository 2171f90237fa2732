"""What is due at one claimed destination: the source of a drain, within what the destination allows."""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

import msgspec

from arkcli.errors import Broken
from arkcli.model import Answer, Attempt, Delivery, State, attempt_of
from arkcli.queue.engine import Claim, Result
from arkcli.queue.pace import Terms

_IS_DELIVERED: Final = State.DELIVERED
#: How many dead deliveries of a destination a run remembers by themselves.
_NAMED: Final = 3
#: How long a destination is held while it waits for its turn, in milliseconds.
_HELD_FOR: Final = 1_000


class Tally(msgspec.Struct):
    """What a run did for one destination. `deaths` are the last attempts of the first few deliveries that died."""

    name: str
    attempted: int = 0
    delivered: int = 0
    retrying: int = 0
    dead: int = 0
    deaths: list[Attempt] = []

    def add(self, states: Sequence[State | None], results: Sequence[Result], now: int) -> bool:
        """Counts the states of deliveries after their attempts; None for a delivery that another process has.

        Returns whether all were delivered.
        """
        delivered = states.count(_IS_DELIVERED)
        self.attempted += len(states)
        self.delivered += delivered
        if delivered < len(states):
            self.attempted -= states.count(None)
            self.retrying += states.count(State.RETRYING)
            if dead := states.count(State.DEAD):
                self.dead += dead
                died = (result for state, result in zip(states, results, strict=True) if state is State.DEAD)
                self.deaths += [attempt_of(*result, now) for result in islice(died, _NAMED - len(self.deaths))]
        return delivered == len(states)


def begin(
    claim: Claim, terms: Terms, most: int, now: int, take: Callable[[int], Sequence[Delivery]]
) -> tuple[Sequence[Delivery], int | None]:
    """Takes as many deliveries as may begin now; if none may, also returns when to ask again (see `Turn`)."""
    turn = claim.admit(terms, most, now)
    taken: Sequence[Delivery] = ()
    try:
        taken = take(turn.count) if turn.count else ()
    finally:
        if len(taken) < turn.count:
            claim.give_back(turn.count - len(taken))
    return taken, turn.at


class Due:
    """The source of a claimed destination: everything that is due."""

    def __init__(
        self,
        claim: Claim,
        finish: Callable[["Due"], None],
        broke: Callable[[str, str], None],
        terms: Terms | None = None,
    ) -> None:
        """`finish` is called once, at the end; `broke` with the destination and why its part cannot be used. `terms`:
        how many attempts the destination allows.
        """
        self.claim = claim
        self._terms = terms
        #: How the last attempt failed.
        self.error: str | None = None
        #: When the next attempt may begin, if that is not soon, and if not at all yet (milliseconds, UTC).
        self.later: int | None = None
        self.turn_at: int | None = None
        self._finish = finish
        self._broke = broke

    def limit(self, terms: Terms | None) -> None:
        """Sets how many attempts the destination allows from now on."""
        self._terms, self.later, self.turn_at = terms, None, None

    def take(self, now: int, most: int) -> Sequence[Delivery]:
        """The next deliveries that are due and may begin; see `loop.Source`."""
        try:
            return self.claim.take(now, most) if self._terms is None else self._take(self._terms, now, most)
        except Broken as broken:
            self._broke(broken.destination_id, str(broken))
            return ()

    def _take(self, terms: Terms, now: int, most: int) -> Sequence[Delivery]:
        self.later = self.turn_at = None
        taken, at = begin(self.claim, terms, most, now, lambda count: self.claim.take(now, count))
        if at is not None and not taken and self.claim.is_due(now):
            if at - now > _HELD_FOR:
                self.later = at
            else:
                self.turn_at = at
        return taken

    def has_lapsed(self) -> bool:
        """See `loop.Source`."""
        return self.claim.has_lapsed

    def not_made(self, answer: Answer) -> None:
        """Nothing to do: the delivery is due again once the claim has been released."""

    def finish(self) -> None:
        """Releases the destination."""
        self._finish(self)
