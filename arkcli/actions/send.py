"""Makes an event from a payload, accepts it into the queue, and delivers it at once."""

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from arkcli import times
from arkcli.actions.home import Home
from arkcli.contract import assignments, samples
from arkcli.contract.assignments import Assignment
from arkcli.contract.bodies import Filling, check_raw_body, make_body, refill
from arkcli.delivery.places import Limits
from arkcli.delivery.send import Sending, Sent
from arkcli.delivery.watching import LookAtSend
from arkcli.errors import Interrupted, PayloadError, UsageError
from arkcli.model import Answer, Destination, Draft, Event, State
from arkcli.store.store import Contents
from arkcli.system import files
from arkcli.system.process import Process

if TYPE_CHECKING:
    from arkcli.wire.wire import Endpoint


#: What an idempotency key looks like.
_EVENT_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
Tell = Callable[[Event], object]


class Order(msgspec.Struct, kw_only=True):
    """What to send: an event's name, its payload (None: the sample) and its destinations (None: all).

    `source` is the file that the payload is from, which errors name. `settings` are put into the payload first. `raw`
    sends the payload byte for byte.
    """

    event: str
    payload: bytes | None = None
    source: str | None = None
    to: list[Destination] | None = None
    event_id: str | None = None
    validate: bool = True
    settings: Sequence[Assignment] = ()
    raw: bool = False


class Repeated(Exception):
    """An event with this id and body has been accepted before."""

    def __init__(self, event: Event) -> None:
        super().__init__(event.id)
        self.event = event


def draft(home: Home, order: Order) -> Draft:
    """The event as it will be accepted. Raises PayloadError, and UsageError if the id is not usable."""
    if order.event_id is not None and not _EVENT_ID.fullmatch(order.event_id):
        raise UsageError("an id has up to 128 letters, digits, '.', '_', ':' or '-', and begins with a letter or digit")
    (digits,) = home.new_digits(1)
    now = home.clock.now()
    try:
        return make_draft(order, _payload(order, now), times.to_text(now), digits)
    except PayloadError as error:
        raise PayloadError(f"{order.source}: {error}" if order.source else str(error)) from error


def make_draft(order: Order, payload: bytes, at: str, digits: str) -> Draft:
    """The event for a payload accepted at a time (ISO 8601). `digits` make its ids unique. Raises PayloadError."""
    return Draft(
        id=order.event_id or f"evt_{digits}",
        name=order.event,
        at=at,
        body=_body(order, payload, Filling(timestamp=at, batch_id=f"batch_{digits}")),
        to=None if order.to is None else tuple(destination.id for destination in order.to),
    )


def _body(order: Order, payload: bytes, filling: Filling) -> bytes:
    if order.raw:
        check_raw_body(order.event, payload, validate=order.validate)
        return payload
    return make_body(order.event, _shaped(order, payload), filling, validate=order.validate)


def _shaped(order: Order, payload: bytes) -> bytes:
    return assignments.put(payload, order.settings) if order.settings else payload


def _payload(order: Order, at: int) -> bytes:
    """An order's payload; if it is a sample, dated with the time of acceptance (milliseconds, UTC)."""
    return samples.sample(order.event, at) if order.payload is None else order.payload


def send(
    home: Home,
    order: Order,
    contents: Contents,
    process: Process,
    tell: Tell = repr,
    *,
    now: bool,
    look: LookAtSend | None = None,
) -> Sending:
    """Accepts an event durably and, with `now`, delivers it at once to every destination that is not paused.

    Calls `tell` between the two, and `look` while attempts are under way. Raises PayloadError, NotAccepted, UsageError
    (another body has the id) and Repeated.
    """
    drafted = draft(home, order)
    home.joined(contents.destinations)
    receivers = contents.destinations if order.to is None else order.to
    active = [destination for destination in receivers if not destination.paused] if now else []
    # Report an unavailable secret before anything is accepted.
    endpoints = home.endpoints(active, contents) if active else []
    process.accepted = f"{drafted.id} may have been accepted; `ark queue show {drafted.id}` shows whether"
    try:
        (event,) = home.queue.accept([drafted], unique=order.event_id is not None)
    finally:
        process.accepted = None
    if event.body is not drafted.body:
        check_same(event, order)
        raise Repeated(event)
    process.accepted = f"{event.id} is accepted and queued; `ark queue show {event.id}` shows its deliveries"
    tell(event)
    if not active:
        return Sending(event, _in_order(receivers, []))
    descriptors = files.free_descriptors()
    limits = Limits().within(descriptors)
    # Do not claim more destinations than can be in flight while none has answered; leave the rest to other processes.
    capacity = min(limits.claims(descriptors), limits.silent)
    with home.sender(process.stopping, limits, limits.connections(descriptors)) as sender:
        sending = sender.send(home.queue, endpoints, event, capacity, look)
    return Sending(sending.event, _in_order(receivers, sending.deliveries), sending.trouble)


def send_once(
    home: Home, order: Order, endpoint: "Endpoint", stopping: Callable[[], bool], look: LookAtSend | None = None
) -> tuple[Event, Answer]:
    """Makes one attempt at one endpoint. Nothing is stored or retried. Raises PayloadError and Interrupted."""
    event = unsaved(home, order)
    with home.sender(stopping) as sender:
        for _, answer in sender.ping([endpoint], event, look):
            return event, answer
    raise Interrupted("interrupted before the attempt: nothing was sent")


def unsaved(home: Home, order: Order) -> Event:
    """The event as it would be accepted, without saving it. Raises PayloadError."""
    drafted = draft(home, order)
    return Event(drafted.id, drafted.name, drafted.at, drafted.body, drafted.to)


def _in_order(receivers: Sequence[Destination], deliveries: Sequence[Sent]) -> list[Sent]:
    known = {sent.destination: sent for sent in deliveries}
    return [known.get(found.name) or Sent(found.name, State.WAITING) for found in receivers]


def check_same(accepted: Event, order: Order) -> None:
    """Raises UsageError if an accepted event is not what an order with its id makes."""
    payload = _shaped(order, _payload(order, times.from_text(accepted.at)))
    body = payload if order.raw else refill(order.event, payload, accepted.body)
    if (accepted.name, accepted.body) != (order.event, body):
        raise UsageError(
            f"the id {accepted.id!r} belongs to another event, accepted at {accepted.at}; choose another --id"
        )
