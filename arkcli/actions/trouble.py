"""Which destinations are in trouble, and what all of them add up to. Pure functions."""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from arkcli.actions.reading import Place
from arkcli.queue.pace import terms_of

#: A delivery that has been due for longer (milliseconds) is overdue: cron runs `ark drain` every minute.
_OVERDUE: Final = 120_000


class Sums(NamedTuple):
    """What all destinations add up to. `failing` are those in trouble; `longest`: for how long one is overdue (ms)."""

    destinations: int
    failing: int
    unreadable: int
    paused: int
    overdue: int
    longest: int
    waiting: int
    retrying: int
    dead: int


def overdue(place: Place, now: int) -> int:
    """For how long (milliseconds) a destination's next delivery is overdue; 0 if it is not, or has to wait.

    The deliveries of a paused destination, or of one that is held back, wait however long they have been due. Those of
    one with a rate wait their turn as long as attempts are made.
    """
    held = place.standing
    if held is None or held.next_due_at is None or held.outage is not None or place.destination.paused:
        return 0
    due_at, limits = held.next_due_at, terms_of(place.destination)
    if limits is not None and held.last is not None:
        due_at = max(due_at, held.last.at + limits.period)
    return lateness(due_at, now)


def lateness(due_at: int, now: int) -> int:
    """For how long (milliseconds) a delivery that is due at a time is overdue; 0 if it is not."""
    late = now - due_at
    return late if late > _OVERDUE else 0


def is_in_trouble(place: Place, now: int) -> bool:
    """Whether deliveries are dead, retrying or overdue, or cannot be read."""
    held = place.standing
    return held is None or bool(held.dead or any(held.retrying) or held.outage or overdue(place, now))


def failing(places: Iterable[Place], now: int) -> list[Place]:
    """The destinations in trouble, the worst first."""
    return [place for place in worst_first(places, now) if is_in_trouble(place, now)]


def status_of(place: Place, now: int) -> str:
    """How a destination does, in a word: unreadable, paused, unreachable, failing, late, waiting or ok."""
    held = place.standing
    if held is None:
        return "unreadable"
    words = {
        "paused": place.destination.paused,
        "unreachable": held.outage is not None,
        "failing": bool(held.dead or any(held.retrying)),
        "late": bool(overdue(place, now)),
        "waiting": bool(held.waiting),
    }
    return next((word for word, holds in words.items() if holds), "ok")


def worst_first(places: Iterable[Place], now: int) -> list[Place]:
    """The destinations that cannot be read, then those with most dead, most retrying, longest overdue, most waiting."""

    def badness(place: Place) -> tuple[int, ...]:
        held = place.standing
        if held is None:
            return (-1,)
        return 0, -held.dead, -sum(held.retrying), -bool(held.outage), -overdue(place, now), -held.waiting

    return sorted(places, key=badness)


def sums(places: Sequence[Place], now: int) -> Sums:
    """What these destinations add up to."""
    standings = [place.standing for place in places if place.standing is not None]
    late = [overdue(place, now) for place in places]
    return Sums(
        destinations=len(places),
        failing=sum(is_in_trouble(place, now) for place in places),
        unreadable=len(places) - len(standings),
        paused=sum(place.destination.paused for place in places),
        overdue=sum(map(bool, late)),
        longest=max(late, default=0),
        waiting=sum(held.waiting for held in standings),
        retrying=sum(sum(held.retrying) for held in standings),
        dead=sum(held.dead for held in standings),
    )
