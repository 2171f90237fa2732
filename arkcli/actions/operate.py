"""Operations on deliveries: retry now, drop, replay."""

from collections.abc import Sequence

from arkcli.actions.home import Home
from arkcli.errors import Held
from arkcli.model import Destination
from arkcli.queue.engine import Replay, Selection
from arkcli.queue.patience import patiently


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
