"""Backoff: when ark probes an unreachable receiver, and how long a drain waits for it."""

import pytest

from arkcli.delivery import backoff
from arkcli.model import AHEAD, Answer, Destination
from arkcli.queue.outage import ASKED, Outage
from tests.world import START


def after(failures: int) -> Outage:
    """The outage after this many failed probes, each made as early as allowed."""
    outage = backoff.held_back(None, "refused", START)
    for _ in range(failures):
        outage = backoff.held_back(outage, "refused", outage.until)
    return outage


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 0.5), (1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (6, 10), (1_000, 10)]
)
def test_the_delay_doubles_from_half_a_second_to_ten(failures: int, seconds: float) -> None:
    before, outage = after(failures - 1) if failures else None, after(failures)
    assert outage.until - (before.until if before else START) == seconds * 1000


def test_it_is_remembered_since_when_nobody_answers_and_how_the_last_probe_failed() -> None:
    outage = backoff.held_back(after(3), "answered 503, not a 2xx", START + 60_000)
    assert (outage.since, outage.probes, outage.error) == (START, 4, "answered 503, not a 2xx")


@pytest.mark.parametrize(("later", "over"), [(0, False), (499, False), (500, True), (10_000, True)])
def test_the_next_probe_is_made_when_the_delay_is_over(later: int, over: bool) -> None:
    assert backoff.is_over(after(0), START + later) is over


def test_a_time_that_a_wrong_clock_gave_holds_nothing_back() -> None:
    assert backoff.is_over(backoff.held_back(None, "refused", START + 86_400_000), START)


@pytest.mark.parametrize(("failures", "young"), [(0, True), (4, True), (5, False), (50, False)])
def test_a_drain_waits_for_a_restart_and_not_for_a_receiver_that_stays_outage(failures: int, young: bool) -> None:
    assert backoff.is_young(after(failures)) is young


@pytest.mark.parametrize(
    ("answer", "away"),
    [
        (Answer(None, "no connection: connection refused", 0, unreached=True), True),
        (Answer(503, "answered 503, not a 2xx", 4), True),
        (Answer(502, "answered 502, not a 2xx", 4), True),
        (Answer(504, "answered 504, not a 2xx", 999), True),
        # Slow, so deliveries cannot lose many attempts to it in a short time.
        (Answer(504, "answered 504, not a 2xx", 5_000), False),
        (Answer(500, "answered 500, not a 2xx", 4), False),
        (Answer(429, "answered 429, not a 2xx", 4), False),
        (Answer(None, "no answer within 10 s", 10_000, timed_out=True), False),
        (Answer(None, "what came back is not HTTP/1.1", 3), False),
        (Answer(200, None, 3), False),
    ],
)
def test_a_receiver_is_away_where_nobody_answers_or_a_gateway_says_so_at_once(answer: Answer, away: bool) -> None:
    assert answer.is_unreachable is away


HOUR = 3_600_000
LIMITED = Destination(id="dst_a", name="a", url="https://a/", added_at="", rate="2/m")


@pytest.mark.parametrize(
    ("until", "later", "over"),
    [
        (HOUR, 0, False),
        (HOUR, HOUR, True),
        (5_000, 4_999, False),
        (5_000, 5_000, True),
        # Another process noted it, by a clock that it read a moment later.
        (HOUR + 2, 0, False),
        (HOUR + AHEAD, 0, False),
        (HOUR + AHEAD + 1, 0, True),
    ],
)
def test_what_a_receiver_asked_for_holds_back_for_an_hour_at_most(until: int, later: int, over: bool) -> None:
    asked = Outage(since=START, until=START + until, probes=0, error="429, Retry-After", reason=ASKED)
    assert backoff.is_over(asked, START + later) is over


@pytest.mark.parametrize(("seconds", "young"), [(9, True), (10, False), (3600, False)])
def test_a_drain_waits_for_a_turn_that_comes_within_ten_seconds(seconds: int, young: bool) -> None:
    assert backoff.is_young(backoff.of_rate(LIMITED, START + seconds * 1_000, START)) is young


def test_an_outage_after_a_pause_that_the_receiver_asked_for_begins_anew() -> None:
    asked = Outage(since=START, until=START + 5_000, probes=0, error="429, Retry-After", reason=ASKED)
    outage = backoff.held_back(asked, "refused", START + 6_000)
    assert (outage.since, outage.probes, outage.reason) == (START + 6_000, 0, "unreachable")
