"""Makes an event from a payload, accepts it into the queue, and delivers it at once."""

import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from arkcli import times
from arkcli.actions.home import Home
from arkcli.contract.bodies import Filling, check_raw_body, event_of, make_body, refill
from arkcli.delivery.sent import Sending, Sent
from arkcli.errors import Interrupted, PayloadError, UsageError
from arkcli.model import Answer, Destination, Draft, Event, State
from arkcli.store.store import Contents
from arkcli.system import descriptors
from arkcli.system.process import Process

if TYPE_CHECKING:
    from arkcli.contract.assignments import Assignment, Path
    from arkcli.delivery.watching import LookAtSend
    from arkcli.wire.wire import Endpoint


Tell = Callable[[Event], object]
#: In place of an event's name: each payload names its own.
EACH: Final = "-"


class Order(msgspec.Struct, kw_only=True):
    """What to send: an event's name, its payload (None: the sample) and its destinations (None: all).

    The name EACH means that every payload names its event. `source` is the file or event that the payload is from,
    which errors name. `settings` are put into the payload first; then the idempotency key is `event_id`, or the value
    at `id_from` in the payload. `raw` sends the payload byte for byte.
    """

    event: str
    payload: bytes | None = None
    source: str | None = None
    to: list[Destination] | None = None
    event_id: str | None = None
    id_from: "Path | None" = None
    validate: bool = True
    settings: "Sequence[Assignment]" = ()
    raw: bool = False


class Repeated(Exception):
    """An event with this id and body has been accepted before."""

    def __init__(self, event: Event) -> None:
        super().__init__(event.id)
        self.event = event


def draft(home: Home, order: Order) -> Draft:
    """The event as it will be accepted. Raises PayloadError, and UsageError if the id is not usable."""
    if order.event_id is not None:
        from arkcli.contract.keys import KEY, KEY_RULE

        if not KEY.fullmatch(order.event_id):
            raise UsageError(f"an id has {KEY_RULE}; choose another one")
    (digits,) = home.new_digits(1)
    now = home.clock.now()
    try:
        return make_draft(order, payload_of(order, now), times.to_text(now), digits)
    except PayloadError as error:
        raise PayloadError(f"{order.source}: {error}" if order.source else str(error)) from error


def make_draft(order: Order, payload: bytes, at: str, digits: str) -> Draft:
    """The event for a payload accepted at a time (ISO 8601). `digits` make its ids unique. Raises PayloadError."""
    payload = _shaped(order, payload)
    name = _name(order, payload)
    body = _body(order, name, payload, Filling(timestamp=at, batch_id=f"batch_{digits}"))
    key = order.event_id
    if order.id_from is not None:
        from arkcli.contract.keys import key_at

        key = key_at(payload, order.id_from)
    to = None if order.to is None else tuple(destination.id for destination in order.to)
    return Draft(id=key or f"evt_{digits}", name=name, at=at, body=body, to=to)


def doubts(order: Order, payload: bytes) -> list[str]:
    """A warning for each setting whose path is probably misspelled, given a payload. What is invalid raises none."""
    from arkcli.contract import assignments, spelling

    found: list[str | None] = []
    with contextlib.suppress(PayloadError):
        name = _name(order, _shaped(order, payload))
        for number, assignment in enumerate(order.settings):
            before = assignments.put(payload, order.settings[:number])
            found.append(spelling.doubt(name, before, assignment))
    return [said for said in found if said is not None]


def _name(order: Order, shaped: bytes) -> str:
    return event_of(shaped) if order.event == EACH else order.event


def _body(order: Order, name: str, payload: bytes, filling: Filling) -> bytes:
    if order.raw:
        check_raw_body(name, payload, validate=order.validate)
        return payload
    return make_body(name, payload, filling, validate=order.validate)


def _shaped(order: Order, payload: bytes) -> bytes:
    if not order.settings:
        return payload
    from arkcli.contract import assignments

    return assignments.put(payload, order.settings)


def payload_of(order: Order, at: int) -> bytes:
    """An order's payload before its settings; if it is a sample, dated with a time (milliseconds, UTC)."""
    if order.payload is not None:
        return order.payload
    from arkcli.contract import samples

    return samples.sample(order.event, at)


def send(
    home: Home,
    order: Order,
    contents: Contents,
    process: Process,
    tell: Tell = repr,
    *,
    now: bool,
    look: "LookAtSend | None" = None,
) -> Sending:
    """Accepts an event durably and, with `now`, delivers it at once to every destination that is not paused.

    Calls `tell` between the two, and `look` while attempts are under way. Raises PayloadError, NotAccepted, UsageError
    (another body has the id) and Repeated.
    """
    drafted = draft(home, order)
    home.joined(contents.destinations)
    receivers = contents.destinations if order.to is None else order.to
    active = [destination for destination in receivers if not destination.paused] if now else []
    # Report that no secret is available, or too little memory to load libcurl, before anything is accepted.
    endpoints, unusable = home.endpoints(active, contents)
    if active:
        import arkcli.wire.transfer  # noqa: F401
    process.accepted = f"{drafted.id} may have been accepted; `ark queue show {drafted.id}` shows whether"
    try:
        (event,) = home.queue.accept([drafted], unique=order.event_id is not None)
    finally:
        process.accepted = None
    if event.body is not drafted.body:
        check_same(order, payload_of(order, times.from_text(event.at)), event)
        raise Repeated(event)
    process.accepted = f"{event.id} is accepted and queued; `ark queue show {event.id}` shows its deliveries"
    tell(event)
    if not active:
        return Sending(event, _in_order(receivers, []))
    from arkcli.delivery.places import Limits

    free = descriptors.free()
    limits = Limits().within(free)
    # Do not claim more destinations than can be in flight while none has answered; leave the rest to other processes.
    capacity = min(limits.claims(free), limits.silent)
    with home.sender(process.stopping, limits, limits.connections(free)) as sender:
        sending = sender.send(home.queue, endpoints, event, capacity, look)
    if contents.alerts.are_on:
        from arkcli.actions.alerts import tell_of

        tell_of(home, contents, sending.deliveries, process.stopping)
    left_out = [Sent(name, State.WAITING, error=why, is_broken=True) for name, why in unusable.items()]
    return Sending(sending.event, _in_order(receivers, [*sending.deliveries, *left_out]), sending.trouble)


def send_once(
    home: Home, order: Order, endpoint: "Endpoint", stopping: Callable[[], bool], look: "LookAtSend | None" = None
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


def check_same(order: Order, payload: bytes, accepted: Event) -> None:
    """Raises UsageError if the event that was accepted under a payload's idempotency key was made from another one."""
    payload = _shaped(order, payload)
    name = _name(order, payload)
    body = payload if order.raw else refill(name, payload, accepted.body)
    if (accepted.name, accepted.body) != (name, body):
        choose = "" if order.event_id is None else "; choose another id"
        raise UsageError(f"the id {accepted.id!r} belongs to another event, accepted at {accepted.at}{choose}")
