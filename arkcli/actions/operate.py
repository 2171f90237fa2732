"""Operations on deliveries: retry now, drop, replay, and attempting what was retried or replayed at once."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from arkcli import times
from arkcli.actions.home import Home
from arkcli.errors import Held
from arkcli.model import Attempt, Destination, State
from arkcli.queue.engine import Replay, Selection
from arkcli.queue.patience import SEND_HOLDS_FOR, patiently

if TYPE_CHECKING:
    from arkcli.actions.reading import Reading
    from arkcli.delivery.drain import Drained

#: How often to look for the outcomes of another process, in seconds.
_LOOK_EVERY: Final = 0.1


def retry(home: Home, selection: Selection, *, dry: bool) -> int:
    """Makes retrying deliveries due now and revives dead ones; returns how many. Raises NotAccepted."""
    return home.queue.retry(selection, home.clock.now(), dry=dry)


def drop(home: Home, destinations: Sequence[Destination], selection: Selection, *, dry: bool) -> int:
    """Discards waiting, retrying or dead deliveries; returns how many. Raises Busy while another process delivers."""
    dropped = 0
    for destination in destinations:
        part = Selection(destination_ids=(destination.id,), event_ids=selection.event_ids, dead=selection.dead)

        def of_one(part: Selection = part) -> int:
            return home.queue.drop(part, home.clock.now(), dry=dry)

        def busy(held: Held, name: str = destination.name) -> str:
            return f"{held.holder} is delivering to {name}; pause it with `ark dest pause {name}`, drop, and resume it"

        dropped += patiently(home.clock, of_one, busy)
    return dropped


def replay(home: Home, chosen: Replay, *, dry: bool) -> int:
    """Queues past events again, delivered or not; returns how many events. Raises UsageError and NotAccepted."""
    return home.queue.replay(chosen, home.clock.now(), dry=dry)


def unfinished(reading: "Reading", selection: Selection, states: Iterable[State] = State) -> dict[str, list[str]]:
    """The selected deliveries in one of these states: the ids of their events, by destination id."""
    wanted, chosen = frozenset(states), dict[str, list[str]]()
    for destination, found in reading.deliveries(selection):
        if found.state in wanted:
            chosen.setdefault(destination.id, []).append(found.event.id)
    return chosen


def replayed(home: Home, chosen: Replay) -> frozenset[str]:
    """The ids of the events that a replay is about."""
    if chosen.event_ids:
        return chosen.event_ids
    begin, end, queue = chosen.since or 0, chosen.until, home.queue

    def is_chosen(at: int, name: str) -> bool:
        return begin <= at and (end is None or at <= end) and chosen.event in (None, name)

    found = {event.id: event.at for event in queue.events() if is_chosen(times.from_text(event.at), event.name)}
    # An event that was sent again is in the log more than once; only the time of the first counts.
    return frozenset(one for one, at in found.items() if (first := queue.find(one)) is not None and first.at == at)


class Tried(msgspec.Struct, frozen=True):
    """A delivery after a try to make it at once. `attempt` is None if no attempt was made; then it waits.

    `next_attempt_at` is in milliseconds, UTC.
    """

    event_id: str
    destination: Destination
    state: State
    attempt: Attempt | None = None
    next_attempt_at: int | None = None


class Attempted(msgspec.Struct, frozen=True):
    """The deliveries that were chosen, in order, and the run that attempted them."""

    deliveries: Sequence[Tried]
    run: "Drained"


def attempt(
    home: Home,
    destinations: Iterable[Destination],
    chosen: Mapping[str, Sequence[str]],
    warn: Callable[[str], None],
    stopping: Callable[[], bool],
) -> Attempted:
    """Attempts waiting deliveries at once, and no others. A paused destination's go on waiting.

    If another process holds a destination, that process delivers, and this one waits for the outcomes, as `send` does.
    `chosen` has the ids of the events, by destination. Raises UsageError, Unreadable and NotRecorded.
    """
    from arkcli.actions import drain
    from arkcli.delivery.chosen import Chosen
    from arkcli.delivery.drain import Plan

    concerned = [found for found in destinations if chosen.get(found.id)]
    queue = Chosen(home.queue, {found.id: chosen[found.id] for found in concerned if not found.paused})
    job, clock = drain.Job(drain.only(concerned), Plan()), home.clock
    until = clock.monotonic() + SEND_HOLDS_FOR
    run = drain.drain(home, job, warn, stopping, queue=queue)
    while run.held and (left := queue.left(clock.now())) and clock.monotonic() < until and not stopping():
        if all(queue.holder(found) for found in left):
            clock.sleep(_LOOK_EVERY)
        else:
            run = drain.drain(home, job, warn, stopping, queue=queue)
    now = clock.now()

    def tried(found: Destination, event_id: str) -> Tried:
        state, made = queue.ended.get((found.id, event_id), (State.WAITING, None))
        is_left = state is State.RETRYING and made is not None
        following = home.schedule.next_attempt_at(made.attempt, made.at, now) if made and is_left else None
        return Tried(event_id, found, state, made, following)

    return Attempted([tried(found, event_id) for found in concerned for event_id in chosen[found.id]], run)
