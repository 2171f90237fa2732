"""The lines that a person at a terminal sees while a command works. tests/test_terminal.py shows them on a terminal."""

import pytest

from arkcli.cli import watching
from arkcli.delivery.due import Tally
from arkcli.delivery.watching import Awaited, Underway
from arkcli.model import Answer, Attempt, Delivery, Destination, Event, Outcome
from tests.world import World

AWAITED = Awaited(7, ["globex-eu-west", "crm", "lake", "billing"], 4.9, 10.0)
BUSY = Underway(attempted=1_234, delivered=1_200, retrying=30, dead=4, slowest=("globex-eu-west", 4.2), is_idle=False)


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (79, "3 of 7 answered; waiting for globex-eu-west, crm, lake and 1 more, 4 s of 10"),
        (66, "3 of 7 answered; waiting for globex-eu-west and 3 more, 4 s of 10"),
        (64, "3 of 7 answered; waiting for globex-eu-west and 3 more, 4 s"),
        (40, "3 of 7 answered, 4 s of 10"),
    ],
)
def test_a_send_names_those_that_are_awaited_as_far_as_there_is_room(width: int, line: str) -> None:
    assert watching.awaited_line(AWAITED, width) == line


@pytest.mark.parametrize(
    ("names", "seconds", "line"),
    [
        ([], 3.0, "2 of 2 answered"),
        (["a", "b"], 0.4, "0 of 2 answered; waiting for a and b, 0 s of 10"),
        # Another process delivers.
        (["a"], None, "1 of 2 answered; waiting for a"),
    ],
)
def test_a_send_says_only_what_it_knows(names: list[str], seconds: float | None, line: str) -> None:
    assert watching.awaited_line(Awaited(2, names, seconds, 10.0), 79) == line


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (119, "1,234 of 20,000 done  812/s  1,200 delivered  30 to retry  4 dead  slowest: globex-eu-west, 4 s"),
        (79, "1,234 of 20,000 done  812/s  1,200 delivered  30 to retry  4 dead"),
        (49, "1,234 of 20,000 done  812/s  1,200 delivered"),
    ],
)
def test_a_drain_says_how_far_it_is_as_far_as_there_is_room(width: int, line: str) -> None:
    assert watching.drain_line(BUSY, 20_000, 811.6, width) == line


@pytest.mark.parametrize(
    ("found", "due", "rate", "line"),
    [
        (Underway(0, 0, 0, 0, None, is_idle=False), 5, None, "0 of 5 done"),
        (Underway(3, 3, 0, 0, ("crm", 0.9), is_idle=False), None, 1.0, "3 done  1/s  3 delivered"),
        # More has fallen due in the meantime.
        (Underway(7, 7, 0, 0, None, is_idle=False), 5, 1.0, "7 of 7 done  1/s  7 delivered"),
    ],
)
def test_a_drain_leaves_out_what_is_not_known_and_what_is_nothing(
    found: Underway, due: int | None, rate: float | None, line: str
) -> None:
    assert watching.drain_line(found, due, rate, 79) == line


@pytest.mark.parametrize(
    ("seconds", "line"),
    [
        (None, "nothing due"),
        (23.2, "nothing due; the next in 23 s"),
        (4.2, "nothing due; the next in 4 s"),
        (300.0, "nothing due; the next in 5 min"),
        (-1.0, "waiting for another process, or for a receiver that is down"),
    ],
)
def test_an_idle_drain_says_when_the_next_delivery_is_due(seconds: float | None, line: str) -> None:
    assert watching.idle_line(seconds) == line


@pytest.mark.parametrize(
    ("read", "size", "width", "line"),
    [
        (37, 100, 79, "[=======             ] 37 %  81,000/s  17 s left  810,000 events accepted"),
        (37, 100, 49, "37 %  81,000/s  17 s left"),
        (100, 100, 79, "[====================] 100 %  81,000/s  0 s left  810,000 events accepted"),
        # The file has grown.
        (200, 100, 79, "[====================] 100 %  81,000/s  0 s left  810,000 events accepted"),
        (0, 100, 79, "[                    ] 0 %  81,000/s  810,000 events accepted"),
        (37, None, 79, "810,000 events accepted  81,000/s"),
        (0, 0, 79, "810,000 events accepted  81,000/s"),
    ],
)
def test_a_stream_has_percent_rate_and_time_left_where_its_size_is_known(
    read: int, size: int | None, width: int, line: str
) -> None:
    assert watching.stream_line(read, size, 810_000, "events accepted", 10.0, width) == line


@pytest.mark.parametrize(
    ("excerpt", "next_in", "line"),
    [
        ("no space", 300_000, "03:06:40 crm: answered 500, not a 2xx: no space; attempt 2, the next in 5 min; evt_1"),
        ("", None, "03:06:40 crm: answered 500, not a 2xx; dead after 2; evt_1"),
        ("x" * 200, None, f"03:06:40 crm: answered 500, not a 2xx: {'x' * 95}…; dead after 2; evt_1"),
    ],
)
def test_a_failure_is_told_with_the_beginning_of_the_answer_and_the_next_attempt(
    excerpt: str, next_in: int | None, line: str
) -> None:
    made = Delivery(Event("evt_1", "signal.promoted", "2024-10-04T03:06:40.000Z", b"{}"), 2)
    found = Answer(500, "answered 500, not a 2xx", 3, excerpt)
    at = 20_000 * 86_400_000 + 11_200_000
    following = None if next_in is None else at + next_in
    assert watching.failure_line(at, "crm", made, found, following) == line


def test_each_of_a_few_deaths_is_named_and_the_others_are_counted() -> None:
    made = Attempt("evt_1", "ping", 5, 0, Outcome.FAILED, 500, "answered 500, not a 2xx", 3, "no\nspace")
    tally = Tally("crm", attempted=9, dead=4, deaths=[made])
    assert list(watching.death_warnings([Tally("lake", attempted=3, delivered=3), tally])) == [
        "crm: evt_1 is dead after 5 attempts: answered 500, not a 2xx: no space; "
        "`ark queue show evt_1` shows the attempts, `ark queue retry evt_1` tries again",
        "crm: 3 more died; `ark queue list --state dead --to crm` lists them",
    ]


def test_a_hint_is_given_once_for_each_cause_and_names_the_destination_if_there_is_one(world: World) -> None:
    def destination(name: str) -> Destination:
        return Destination(id=name, name=name, url=f"https://{name}.example/", added_at="")

    errors = {"a": "answered 500, not a 2xx", "b": "answered 401, not a 2xx", "c": "answered 500, not a 2xx"}
    found = watching.hints(world.session(), ((destination(name), error) for name, error in errors.items()))
    assert [said.partition(",")[0] for said in found] == [
        "a and c: The receiver's application failed; see its log",
        "b: The receiver needs the signing secret",
    ]
    assert "`ark dest show b --reveal` prints" in found[1]


@pytest.mark.parametrize(
    ("lines", "printed", "held"),
    [
        ([0.0], [0.0], []),
        ([0.0, 0.1, 0.2], [0.0, 0.1], [(1.0, 1)]),
        ([0.0, 0.1, 0.2, 0.3, 0.9], [0.0, 0.1], [(1.0, 3)]),
        # A second begins with its first line.
        ([0.8, 1.1, 1.7, 1.9], [0.8, 1.1, 1.9], [(1.8, 1)]),
        ([0.0, 0.1, 0.2, 1.0, 1.5], [0.0, 0.1, 1.0, 1.5], [(1.0, 1)]),
        ([0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 2.0, 3.0], []),
    ],
)
def test_of_many_lines_a_second_a_few_are_printed_and_the_others_counted(
    lines: list[float], printed: list[float], held: list[tuple[float, int]]
) -> None:
    throttle, admitted, counted = watching.Throttle(2), [], []
    for tenth in range(40):
        now = tenth / 10
        if found := throttle.held(now):
            counted.append((now, found))
        admitted += [at for at in lines if round(at * 10) == tenth and throttle.admits(now)]
    assert (admitted, counted, throttle.held()) == (printed, held, 0)


def test_lines_that_were_not_printed_are_counted_at_the_end_though_the_second_is_not_over() -> None:
    throttle = watching.Throttle(1)
    assert [throttle.admits(0.0), throttle.admits(0.0), throttle.admits(0.0)] == [True, False, False]
    assert (throttle.held(0.5), throttle.held(), throttle.held()) == (0, 2, 0)
