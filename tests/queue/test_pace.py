"""The rule for rates: at no time do more requests arrive within a period than a destination allows."""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arkcli import times
from arkcli.model import AHEAD, Destination
from arkcli.queue.pace import LASTS, Pace, Terms, Turn, Turns, terms_of
from tests.world import START

TEN = Terms(10, 1_000, None)
#: No attempt takes longer, in microseconds.
LONGEST = 11_000_000


def stored(pace: Pace) -> Pace:
    """What another process reads."""
    return msgspec.json.decode(msgspec.json.encode(pace), type=Pace)


class World:
    """Processes that share one pace; their time is in microseconds, and they know the milliseconds of it."""

    def __init__(self, terms: Terms, processes: int) -> None:
        self.terms = terms
        self.now = START * 1_000
        self.pace = Pace()
        self.turns = [Turns(claim=str(number)) for number in range(processes)]
        #: When the attempts under way began, by process; and when each request arrived.
        self.under_way: list[list[int]] = [[] for _ in range(processes)]
        self.arrived: list[int] = []
        self.most_under_way = 0

    def admit(self, process: int, most: int, made: int, late: int) -> None:
        """Asks for some attempts and makes some of those that may begin, a little later."""
        self.pace = stored(self.pace)
        turn = self.turns[process].admit(self.pace, self.terms, most, self.now // 1_000)
        assert turn.count <= most
        made = min(made, turn.count)
        self.turns[process].give_back(turn.count - made)
        self.wait(late)
        self.under_way[process] += [self.now] * made
        self.most_under_way = max(self.most_under_way, sum(map(len, self.under_way)))

    def end(self, process: int, count: int, when: float) -> None:
        """Attempts end; their requests arrived at some time before."""
        began, self.under_way[process] = self.under_way[process][:count], self.under_way[process][count:]
        self.arrived += [round(at + (self.now - at) * when) for at in began]
        if began:
            self.turns[process].ended(len(began), self.now // 1_000)

    def crash(self, process: int) -> None:
        """A process ends; nobody hears how its attempts ended. Another one takes its place."""
        self.arrived += [self.now] * len(self.under_way[process])
        self.under_way[process] = []
        self.turns[process] = Turns(claim=f"{process} after {self.now}")

    def wait(self, microseconds: int) -> None:
        for process, began in enumerate(self.under_way):
            if began and self.now + microseconds - began[0] > LONGEST:
                self.end(process, len(began), 1.0)
        self.now += microseconds


PROCESS = st.integers(0, 2)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("admit"), PROCESS, st.integers(1, 6), st.integers(0, 6), st.integers(0, 3_000)),
        st.tuples(st.just("end"), PROCESS, st.integers(1, 6), st.floats(0, 1)),
        st.tuples(st.just("crash"), PROCESS),
        st.tuples(st.just("wait"), st.one_of(st.integers(0, 1_200_000), st.sampled_from([999_999, 1_000_000, 8**8]))),
    ),
    max_size=60,
)


@given(st.integers(1, 5), st.one_of(st.none(), st.integers(1, 4)), STEPS)
def test_no_period_ever_sees_more_requests_than_the_rate_allows(
    count: int, in_flight: int | None, steps: list[tuple[str, int]]
) -> None:
    world = World(Terms(count, 1_000, in_flight), 3)
    for what, *how in steps:
        getattr(world, what)(*how)
    for process in range(3):
        world.end(process, 99, 0.0)
    arrived = sorted(world.arrived)
    assert all(last - first >= 1_000_000 for first, last in zip(arrived, arrived[count:], strict=False))
    assert world.most_under_way <= min(count, in_flight or count)


def test_a_rate_is_used_to_the_full_by_a_receiver_that_answers_at_once() -> None:
    pace, turns, now, begun = Pace(), Turns(), START, list[int]()
    while now < START + 60_000:
        turn = turns.admit(pace, TEN, 8, now)
        begun += [now] * turn.count
        turns.ended(turn.count, now)
        now = now if turn.count else turn.at or pytest.fail("it does not say when")
    assert 590 <= len(begun) <= 600
    assert all(later - before <= 1_010 for before, later in pairwise(begun))


def test_it_says_when_the_next_attempt_may_begin_and_then_it_may() -> None:
    pace, turns = Pace(), Turns()
    assert turns.admit(pace, TEN, 99, START) == Turn(10, None)
    # Only an attempt that ends makes room.
    assert turns.admit(pace, TEN, 1, START + 5_000) == Turn(0, None)
    turns.ended(10, START + 5_000)
    turn = turns.admit(pace, TEN, 1, START + 5_001)
    assert turn.at is not None
    assert START + 6_000 < turn.at <= START + 6_010
    assert turns.admit(pace, TEN, 1, turn.at - 1).count == 0
    assert turns.admit(pace, TEN, 99, turn.at).count == 10


def test_what_others_have_under_way_counts_until_they_say_so_or_their_time_is_over() -> None:
    pace, one, two = Pace(), Turns(claim="one"), Turns(claim="two")
    assert one.admit(pace, TEN, 10, START).count == 10
    assert two.admit(pace, TEN, 1, START + 1) == Turn(0, START + 51)
    assert two.admit(pace, TEN, 1, START + LASTS + 999).count == 0
    assert two.admit(pace, TEN, 99, START + LASTS + 1_010).count == 10


def test_a_maximum_in_flight_alone_forgets_what_has_ended() -> None:
    pace, turns, terms = Pace(), Turns(), Terms(None, 0, 2)
    assert turns.admit(pace, terms, 99, START).count == 2
    assert turns.admit(pace, terms, 99, START + 1) == Turn(0, None)
    turns.ended(1, START + 2)
    assert turns.admit(pace, terms, 99, START + 4).count == 1


def test_what_ended_just_after_the_clock_was_read_counts_until_its_period_is_over() -> None:
    pace = Pace(ended={START + 500: 10})
    assert Turns().admit(pace, TEN, 1, START).count == 0
    assert Turns().admit(pace, TEN, 1, START + 1_499).count == 0
    assert Turns().admit(pace, TEN, 1, START + 1_500).count == 1


@pytest.mark.parametrize("ahead", [AHEAD + 2_000, 10**12])
def test_a_time_in_the_future_delays_by_little_more_than_a_period(ahead: int) -> None:
    pace = Pace(open={"gone": (3, START + ahead + LASTS)}, ended={START + ahead: 10})
    assert Turns().admit(pace, TEN, 1, START).count == 0
    assert Turns().admit(pace, TEN, 99, START + AHEAD + 1_010).count == 7
    assert Turns(claim="other").admit(pace, TEN, 99, START + AHEAD + LASTS + 2_020).count == 10


def test_what_counts_takes_little_room_however_high_the_rate() -> None:
    pace, turns, terms = Pace(), Turns(), Terms(100_000, 3_600_000, None)
    for second in range(3_000):
        turns.admit(pace, terms, 8, START + second * 1_000)
        turns.ended(8, START + second * 1_000 + 50)
    assert len(msgspec.json.encode(pace)) < 3_000


@pytest.mark.parametrize(
    ("rate", "in_flight", "terms"),
    [
        (None, None, None),
        ("10/s", None, Terms(10, 1_000, None)),
        ("300/m", 2, Terms(300, 60_000, 2)),
        ("5000/h", None, Terms(5_000, 3_600_000, None)),
        (None, 1, Terms(None, 0, 1)),
    ],
)
def test_a_destination_sets_its_limits(rate: str | None, in_flight: int | None, terms: Terms | None) -> None:
    found = Destination(id="dst_a", name="a", url="https://a/", added_at="", rate=rate, max_in_flight=in_flight)
    assert terms_of(found) == terms


@pytest.mark.parametrize(
    "text", ["", "10", "/s", "0/s", "1.5/s", "10/d", "10/sec", "-1/s", "10 /s", "1000000/s", "٣/s"]
)
def test_what_is_not_a_rate_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a rate; write it as 10/s, 300/m or 5000/h"):
        times.parse_rate(text)
