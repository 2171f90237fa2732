"""Chosen deliveries, and no others: what a drain sees of the queue that is to attempt just these."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from typing import cast

from arkcli.errors import Broken, Gone
from arkcli.model import Attempt, Delivery, Event, State, attempt_of
from arkcli.queue.engine import Claim, Queue, Recorded, Result, Selection, View
from arkcli.queue.outage import Outage


class Chosen:
    """A queue in which only chosen deliveries are due. Other processes may drain the rest, and these, meanwhile."""

    def __init__(self, queue: Queue, chosen: Mapping[str, Iterable[str]]) -> None:
        """`chosen` has the ids of the events whose deliveries to attempt, by destination, in the order to do so."""
        self._queue = queue
        # Documented in `engine.Queue`. How what came late ended is read from the history, like what others attempted.
        self.drains, self.holder, self.late = queue.drains, queue.holder, queue.late
        self._left = {found: dict.fromkeys(ids) for found, ids in chosen.items()}
        self._broken: dict[str, str] = {}
        #: By destination and event: the state of a delivery that was attempted, here or by another process, and how.
        self.ended: dict[tuple[str, str], tuple[State, Attempt | None]] = {}

    def look(self, ids: Sequence[str], now: int) -> list[str]:
        """The destinations that have chosen deliveries left."""
        self._queue.look((), now)
        return [found for found in ids if self._left.get(found)]

    def left(self, now: int) -> list[str]:
        """The destinations that have chosen deliveries left, after a look at what other processes have attempted."""
        self._queue.look((), now)
        return [found for found in self._left if self._next(found, now) is not None]

    @property
    def broken(self) -> Mapping[str, str]:
        """See `engine.Queue.broken`."""
        return {**self._queue.broken, **self._broken}

    def claim_due(self, ids: Iterable[str], most: int, purpose: str, now: int) -> list[Claim]:  # noqa: ARG002 - a first attempt has its own purpose
        """Claims up to `most` destinations that have chosen deliveries left, in this order."""
        claims: list[Claim] = []
        for found in ids:
            if len(claims) >= most:
                break
            event = self._next(found, now)
            if event is not None:
                firsts = self._queue.claim_first(event, [found], 1)
                claims += [_Claim(claim, own, self._left[found]) for claim, own in firsts]
        return claims

    def _next(self, destination_id: str, now: int) -> Event | None:
        """The event of the next chosen delivery that still waits. Notes what others have made of those before it."""
        left = self._left.get(destination_id, {})
        try:
            with closing(self._queue.view(destination_id)) as view:
                for event_id in list(left):
                    event = _waiting(view, event_id, now)
                    if event is not None:
                        return event
                    state, attempts = view.history(event_id)
                    if state is not None:
                        self.ended[destination_id, event_id] = state, (attempts[-1] if attempts else None)
                    del left[event_id]
        except Gone:
            left.clear()
        except Broken as error:
            self._broken[destination_id] = str(error)
        return None

    def record(self, results: Sequence[tuple[Claim, Sequence[Result]]], now: int) -> Sequence[Recorded]:
        """See `engine.Queue.record`."""
        recorded = self._queue.record([(cast("_Claim", claim).claim, part) for claim, part in results], now)
        for (claim, part), told in zip(results, recorded, strict=True):
            for (delivery, answer), state in zip(part, told.states, strict=True):
                if state is not None:
                    self.ended[claim.destination_id, delivery.event.id] = state, attempt_of(delivery, answer, now)
                    self._left[claim.destination_id].pop(delivery.event.id, None)
        return recorded


def _waiting(view: View, event_id: str, now: int) -> Event | None:
    pending = view.deliveries(Selection(destination_ids=(), event_ids=frozenset((event_id,))), now)
    return next((found.event for found in pending if found.state is State.WAITING), None)


class _Claim:
    """The claim of a destination for one chosen delivery, and for those that follow it directly in the queue."""

    def __init__(self, claim: Claim, own: Delivery, left: Mapping[str, None]) -> None:
        self.claim = claim
        self.destination_id = claim.destination_id
        # Documented in `engine.Claim`.
        self.note, self.admit, self.give_back = claim.note, claim.admit, claim.give_back
        self.next_due_at, self.release = claim.next_due_at, claim.release
        self._own: Delivery | None = own
        self._left = left
        #: The ids of the chosen events whose attempts have begun.
        self._begun = {own.event.id}
        self._met_others = False

    @property
    def outage(self) -> Outage | None:
        return self.claim.outage

    @property
    def has_lapsed(self) -> bool:
        return self.claim.has_lapsed

    def take(self, now: int, most: int) -> Sequence[Delivery]:  # noqa: ARG002 - what waits is due
        if self._own is not None:
            own, self._own = self._own, None
            return (own,)
        return () if self._met_others else self.take_behind(most)

    def take_behind(self, most: int) -> Sequence[Delivery]:
        behind = self.claim.take_behind(most)
        chosen = [delivery for delivery in behind if delivery.event.id in self._left]
        # The others are due again, for whoever drains them, once this claim has been released.
        self._met_others = len(chosen) < len(behind)
        self._begun.update(delivery.event.id for delivery in chosen)
        return chosen

    def is_due(self, now: int) -> bool:  # noqa: ARG002 - what waits is due
        return self._own is not None or not (self._met_others or self._left.keys() <= self._begun)
