"""Unfinished deliveries in groups, and reasons in a word or two."""

from collections.abc import Iterator

import pytest

from arkcli.actions.grouping import By, grouped, short_reason
from arkcli.model import Destination, Event, State
from arkcli.queue.engine import Pending


@pytest.mark.parametrize(
    ("status", "error", "short"),
    [
        (500, "answered 500, not a 2xx", "500"),
        (301, "answered 301, not a 2xx; ark does not follow redirects", "301"),
        (200, None, "200"),
        (None, None, None),
        (None, "no answer within 10 s", "timeout"),
        (None, "the TLS handshake was not done within 10 s", "timeout"),
        (None, "no connection: connection refused", "no connection: refused"),
        (None, "no connection: network is unreachable", "no connection: network is unreachable"),
        (None, "the name cannot be resolved", "name not found"),
        (
            None,
            "the certificate does not verify: it has expired; or this machine's clock is wrong",
            "certificate: expired",
        ),
        (
            None,
            "the certificate does not verify: its issuer is not trusted, or the receiver",
            "certificate: issuer is not trusted",
        ),
        (None, "the TLS handshake failed: the server there does not speak TLS", "TLS handshake failed"),
        (None, "the connection was closed without an answer", "connection closed"),
        (None, "the connection broke before the answer was complete", "connection closed"),
        (None, "the server answered before the request had been sent", "answered too early"),
        (None, "10.0.0.1 is a private address; --allow-local permits it", "10.0.0.1 is a private address"),
        (None, "", ""),
        (None, ": odd", ": odd"),
    ],
)
def test_a_reason_is_told_in_a_word_or_two(status: int | None, error: str | None, short: str | None) -> None:
    assert short_reason(status, error) == short


def pending(*found: tuple[str, str, str, str | None]) -> Iterator[tuple[Destination, Pending]]:
    """Deliveries: the destination's name, the event's id and name, and why the last attempt failed."""
    for name, event_id, event, error in found:
        destination = Destination(id=f"dst_{name}", name=name, url="", added_at="")
        yield destination, Pending(Event(event_id, event, "", b""), State.DEAD, 5, None, None, error)


SOME = (
    ("a", "evt_1", "ping", None),
    ("a", "evt_2", "ping", "no answer within 10 s"),
    ("b", "evt_2", "ping", "no answer within 10 s"),
    ("b", "evt_3", "signal.promoted", "no connection: connection refused"),
    ("c", "evt_4", "signal.promoted", "no answer within 10 s"),
    ("c", "evt_5", "signal.promoted", "no answer within 10 s"),
    ("c", "evt_6", "signal.promoted", "no answer within 10 s"),
)


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        (By.DESTINATION, [("c", 3, "evt_4", ["c"]), ("a", 2, "evt_1", ["a"]), ("b", 2, "evt_2", ["b"])]),
        (
            By.ERROR,
            [
                ("timeout", 5, "evt_2", ["a", "b", "c"]),
                (None, 1, "evt_1", ["a"]),
                ("no connection: refused", 1, "evt_3", ["b"]),
            ],
        ),
        (By.EVENT, [("signal.promoted", 4, "evt_3", ["b", "c"]), ("ping", 3, "evt_1", ["a", "b"])]),
    ],
)
def test_the_largest_group_comes_first_with_an_example_and_the_destinations(
    by: By, groups: list[tuple[str | None, int, str, list[str]]]
) -> None:
    found = grouped(pending(*SOME), by)
    assert [(key, group.count, group.example, group.names) for key, group in found] == groups
    assert all(group.destinations == len(group.names) for _, group in found)


def test_of_very_many_destinations_the_first_hundred_are_named_and_all_are_counted() -> None:
    ((_, group),) = grouped(pending(*((f"d{number}", "evt_1", "ping", None) for number in range(1_000))), By.EVENT)
    assert (group.count, group.destinations, len(group.names), group.names[-1]) == (1_000, 1_000, 100, "d99")
