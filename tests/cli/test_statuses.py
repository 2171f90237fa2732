"""The exit statuses of commands that deliver."""

import pytest

from arkcli.cli import statuses
from arkcli.delivery.drain import Drained, Left
from arkcli.delivery.due import Tally
from arkcli.delivery.sent import Sending, Sent
from arkcli.errors import ExitCode
from arkcli.model import Event, State
from arkcli.queue.engine import Holder
from arkcli.queue.outage import Outage

EVENT = Event("evt_1", "signal.promoted", "2026-01-01T00:00:00.000Z", b"{}")
DELIVERED, RETRYING, DEAD, WAITING = (
    Sent(name, state)
    for name, state in (
        ("a", State.DELIVERED),
        ("b", State.RETRYING),
        ("c", State.DEAD),
        ("d", State.WAITING),
    )
)
BROKEN = Sent("e", State.WAITING, error="its journal is damaged", is_broken=True)
NOTHING = Drained(held=[], duration_s=0.1, destinations=[])


def drained(**fields: object) -> Drained:
    return Drained(**{"held": [], "duration_s": 0.1, "destinations": [Tally("a", attempted=1, delivered=1)], **fields})  # type: ignore[arg-type]


HELD = drained(held=[Left("b", Holder(7, "drain"))])
HELD_BACK = drained(held_back={"b": Outage(since=0, until=1, probes=1, error="connection refused")})
LEFT_OUT = drained(left_out=["b"])
BROKEN_PLACE = drained(broken={"b": "its journal is damaged"})
TO_RETRY = drained(destinations=[Tally("b", attempted=1, retrying=1)])
DIED = drained(destinations=[Tally("b", attempted=1, dead=1)])


@pytest.mark.parametrize(
    ("deliveries", "queued", "status"),
    [
        ([], False, ExitCode.DONE),
        ([DELIVERED], False, ExitCode.DONE),
        ([DELIVERED, RETRYING], False, ExitCode.RETRYING),
        ([DELIVERED, WAITING], False, ExitCode.RETRYING),
        ([DELIVERED, RETRYING, DEAD], False, ExitCode.FAILED),
        ([WAITING], True, ExitCode.DONE),
        ([DELIVERED, BROKEN], False, ExitCode.RETRYING),
        ([WAITING, BROKEN], True, ExitCode.RETRYING),
    ],
)
def test_a_send_is_done_when_every_destination_has_the_event(
    deliveries: list[Sent], queued: bool, status: ExitCode
) -> None:
    assert statuses.of_sending(Sending(EVENT, deliveries), set(), queued=queued, interrupted=False) is status


@pytest.mark.parametrize(
    ("states", "left_out", "interrupted", "status"),
    [
        (set(), False, False, ExitCode.DONE),
        ({State.DELIVERED, State.DROPPED}, False, False, ExitCode.DONE),
        ({State.DELIVERED, State.RETRYING}, False, False, ExitCode.RETRYING),
        ({State.WAITING}, False, False, ExitCode.RETRYING),
        ({State.RETRYING, State.DEAD}, False, False, ExitCode.FAILED),
        ({State.WAITING}, True, False, ExitCode.FAILED),
        ({State.DEAD}, True, True, ExitCode.INTERRUPTED),
    ],
)
def test_what_was_sent_again_at_once_is_done_when_all_of_it_is_delivered(
    states: set[State], left_out: bool, interrupted: bool, status: ExitCode
) -> None:
    assert statuses.of_again(states, left_out=left_out, interrupted=interrupted) is status


def test_a_paused_destination_keeps_no_send_from_being_done() -> None:
    sending = Sending(EVENT, [DELIVERED, WAITING])

    assert statuses.of_sending(sending, {WAITING.destination}, queued=False, interrupted=False) is ExitCode.DONE


@pytest.mark.parametrize("deliveries", [[DELIVERED], [DEAD], [RETRYING]])
def test_an_interrupted_send_says_so_whatever_came_of_it(deliveries: list[Sent]) -> None:
    sending = Sending(EVENT, deliveries)

    assert statuses.of_sending(sending, set(), queued=False, interrupted=True) is ExitCode.INTERRUPTED


@pytest.mark.parametrize(
    ("found", "refused", "status"),
    [
        (None, 0, ExitCode.DONE),
        (None, 1, ExitCode.USAGE),
        (NOTHING, 0, ExitCode.DONE),
        (drained(), 0, ExitCode.DONE),
        (drained(), 2, ExitCode.USAGE),
        (TO_RETRY, 0, ExitCode.RETRYING),
        (HELD, 0, ExitCode.RETRYING),
        (HELD_BACK, 0, ExitCode.RETRYING),
        (BROKEN_PLACE, 0, ExitCode.RETRYING),
        (LEFT_OUT, 0, ExitCode.RETRYING),
        (DIED, 0, ExitCode.FAILED),
        (DIED, 1, ExitCode.USAGE),
    ],
)
def test_a_stream_tells_of_bad_lines_before_what_came_of_the_good_ones(
    found: Drained | None, refused: int, status: ExitCode
) -> None:
    assert statuses.of_stream(found, refused, interrupted=False) is status
    assert statuses.of_stream(found, refused, interrupted=True) is ExitCode.INTERRUPTED


@pytest.mark.parametrize(
    ("found", "lost", "left", "status"),
    [
        (NOTHING, False, False, ExitCode.DONE),
        (TO_RETRY, False, False, ExitCode.DONE),
        (TO_RETRY, False, True, ExitCode.RETRYING),
        (HELD, False, False, ExitCode.DONE),
        (HELD_BACK, False, False, ExitCode.DONE),
        (DIED, False, True, ExitCode.FAILED),
        (LEFT_OUT, False, False, ExitCode.FAILED),
        (BROKEN_PLACE, False, False, ExitCode.FAILED),
        (NOTHING, True, False, ExitCode.FAILED),
    ],
)
def test_a_drain_fails_where_a_delivery_died_or_a_destination_cannot_be_delivered_to(
    found: Drained, lost: bool, left: bool, status: ExitCode
) -> None:
    assert statuses.of_drain(found, lost=lost, left=left, interrupted=False) is status
    assert statuses.of_drain(found, lost=lost, left=left, interrupted=True) is ExitCode.INTERRUPTED
