"""What an operator does to deliveries: retry now, drop, replay.

Retrying now, reviving and replaying work the same way: a new line in the event log, with the same id and body, replaces
the pending delivery. docs/internals.md, section 2, says why that cannot fork a delivery.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import chain
from typing import Final, TypeVar

from arkcli import times
from arkcli.errors import UsageError
from arkcli.model import Draft, Event, State
from arkcli.queue.engine import Replay, Selection
from arkcli.queue.local.claims import Claims
from arkcli.queue.local.eventlog import EventLog
from arkcli.queue.local.lines import DropLine
from arkcli.queue.local.stored import Instead, StoredDraft, StoredEvent, StoredPending
from arkcli.queue.local.view import View

#: The most lines, and about the most body bytes, written at once.
_BATCH: Final = 1_000
_BATCH_SIZE: Final = 4 * 1024 * 1024
Item = TypeVar("Item")
#: Makes events durable. Raises NotAccepted.
Accepting = Callable[[Sequence[Draft]], Sequence[Event]]


def retry(claims: Claims, accept: Accepting, selection: Selection, now: int, *, dry: bool) -> int:
    """Makes retrying deliveries due now and revives dead ones; returns how many. Raises NotAccepted."""
    at = times.to_text(now)

    def again() -> Iterator[StoredDraft]:
        for destination_id in selection.destination_ids:
            with claims.noted(destination_id):
                for found in _pending(claims, destination_id, selection):
                    if found.state is not State.WAITING:
                        event, key = found.event, {destination_id: found.key}
                        yield StoredDraft(event.id, event.name, at, event.body, (destination_id,), key)

    return _accept(accept, again(), dry=dry)


def drop(claims: Claims, selection: Selection, now: int, *, dry: bool) -> int:
    """Discards waiting, retrying or dead deliveries; returns how many. Raises Held."""
    dropped = 0
    for destination_id in selection.destination_ids:
        with claims.noted(destination_id):
            if dry:
                dropped += sum(1 for _ in _pending(claims, destination_id, selection))
                continue
            with claims.held(destination_id, "drop") as claim:
                chosen = _pending(claims, destination_id, selection)
                at, beyond = times.to_text(now), claim.beyond
                lines = (tuple(_drop_lines(found, destination_id, at, beyond)) for found in chosen)
                for batch in _batches(lines, len):
                    claim.drop(list(chain.from_iterable(batch)))
                    dropped += len(batch)
    return dropped


def _pending(claims: Claims, destination_id: str, selection: Selection) -> Iterator[StoredPending]:
    with closing(claims.view(destination_id)) as view:
        yield from view.deliveries(selection)


def _drop_lines(found: StoredPending, destination_id: str, at: str, beyond: int) -> Iterator[DropLine]:
    event = found.event
    instead = event.instead.get(destination_id) if event.instead and found.state is State.WAITING else None
    for attempt, start, length in filter(None, (found.key, instead)):
        if attempt in (1, beyond):
            yield DropLine(start, length, event.id, event.name, "drop", attempt, at)
        else:
            after = (start, length)
            yield DropLine(event.position, event.length, event.id, event.name, "drop", attempt, at, after)


def replay(claims: Claims, log: EventLog, accept: Accepting, chosen: Replay, now: int, *, dry: bool) -> int:
    """Sends events of the log again; returns how many events. Raises UsageError and NotAccepted."""
    at, end = times.to_text(now), log.look()
    with ExitStack() as stack:
        among = Selection(destination_ids=(), event_ids=chosen.event_ids) if chosen.event_ids else None
        targets = {}
        for found in chosen.destination_ids:
            with claims.noted(found):
                targets[found] = _Target(stack.enter_context(closing(claims.view(found))), among)
        drafts = (
            StoredDraft(
                event.id, event.name, at, event.body, tuple(places), {to: key for to, key in places.items() if key}
            )
            for event in _chosen(log, chosen, end)
            if (places := _places(claims, event, targets, chosen))
        )
        return _accept(accept, drafts, dry=dry)


def _chosen(log: EventLog, chosen: Replay, end: int) -> Iterator[StoredEvent]:
    if not chosen.event_ids:
        # Events accepted from now on, including by this replay, are not old.
        yield from (event for event in log.events() if event.position < end and _holds(chosen, event))
        return
    for event_id in sorted(chosen.event_ids):
        event = log.find(event_id)
        if event is None:
            raise UsageError(
                f"there is no event {event_id!r} in the queue, or not any more; `ark log` shows past attempts"
            )
        if _holds(chosen, event):
            yield event


def _holds(chosen: Replay, event: StoredEvent) -> bool:
    """Whether an event is chosen. The line that sends an event again is not: its original is."""
    if event.instead is not None or chosen.event not in (None, event.name):
        return False
    if chosen.event_ids:
        return event.id in chosen.event_ids
    at = times.from_text(event.at)
    return (chosen.since is None or at >= chosen.since) and (chosen.until is None or at <= chosen.until)


class _Target:
    """What is pending at a destination, by event id: deliveries that a replayed event must replace, or leave alone."""

    def __init__(self, view: View, among: Selection | None) -> None:
        self.view = view
        self.keys: dict[str, Instead] = {}
        self.waiting: set[str] = set()
        for found in view.deliveries(among):
            if found.state is not State.WAITING:
                self.keys[found.event.id] = found.key
            elif found.event.instead is not None:
                self.waiting.add(found.event.id)
        view.close()

    def is_waiting(self, event: Event) -> bool:
        """Whether the event will be sent anyway. Closes its files: there may be a thousand destinations."""
        waits = event.id in self.waiting or self.view.is_waiting(event)
        self.view.close()
        return waits


def _places(claims: Claims, event: Event, targets: dict[str, _Target], chosen: Replay) -> dict[str, Instead | None]:
    """The destinations to send an event to again, and the delivery that it replaces at each."""
    found: dict[str, Instead | None] = {}
    for to, target in targets.items():
        if chosen.everybody and event.to is not None and to not in event.to:
            continue
        with claims.noted(to):
            if target.is_waiting(event):
                continue
            key = target.keys.get(event.id)
            if key is not None or not chosen.failed:
                found[to] = key
    return found


def _accept(accept: Accepting, drafts: Iterable[StoredDraft], *, dry: bool) -> int:
    if dry:
        return sum(1 for _ in drafts)
    return sum(len(accept(batch)) for batch in _batches(drafts, lambda draft: len(draft.body)))


def _batches(items: Iterable[Item], size: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Splits items into lists, limited in length and in the sum of the items' sizes."""
    batch: list[Item] = []
    total = 0
    for item in items:
        batch.append(item)
        total += size(item)
        if len(batch) >= _BATCH or total >= _BATCH_SIZE:
            yield batch
            batch, total = [], 0
    if batch:
        yield batch
