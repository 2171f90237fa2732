"""What is a trouble, when it is told, and when it ends: a table of what happens, minute by minute."""

from collections.abc import Mapping
from typing import Final, NamedTuple

import pytest

from arkcli.delivery.ledger import LEASE, Fact, Kind, Ledger, Rule, Seen, see
from arkcli.model import Attempt, Outcome, State
from arkcli.queue.engine import Standing
from arkcli.queue.outage import Outage
from tests.world import START

MINUTE: Final = 60_000
RULE: Final = Rule(tells=True, failing_for=30 * MINUTE, pause_after=None, lifetime=155 * MINUTE)
PAUSING: Final = Rule(tells=True, failing_for=30 * MINUTE, pause_after=60 * MINUTE, lifetime=155 * MINUTE)
SILENT: Final = Rule(tells=False, failing_for=30 * MINUTE, pause_after=60 * MINUTE, lifetime=155 * MINUTE)
OK, BAD, DEAD, NOTHING = [State.DELIVERED], [State.RETRYING], [State.DEAD], list[State]()


class Step(NamedTuple):
    """What a process sees at a minute, and what it tells then. `dead`: how many dead letters there are by then."""

    minute: int
    states: list[State]
    tells: str = ""
    dead: int = 0
    undone: bool = True


def standing(
    last: Outcome | None,
    dead: int = 0,
    *,
    undone: bool = True,
    next_due_at: int | None = None,
    outage: Outage | None = None,
) -> Standing:
    attempt = None if last is None else Attempt("evt_1", "ping", 1, START, last, 503, None, 3, "")
    return Standing(int(undone), (0, 0, 0, 0), dead, next_due_at, None, attempt, outage)


TABLE: Final[dict[str, tuple[Rule, list[Step]]]] = {
    "one that works is none": (RULE, [Step(0, OK), Step(60, OK)]),
    "one that fails is told once, when the time is reached, and once when it works": (
        RULE,
        [Step(0, BAD), Step(29, BAD), Step(30, BAD, "failing"), Step(90, BAD), Step(91, OK, "recovered"), Step(92, OK)],
    ),
    "the time may be reached between two attempts": (RULE, [Step(0, BAD), Step(30, NOTHING, "failing")]),
    "a short one is not told": (RULE, [Step(0, BAD), Step(29, OK), Step(30, NOTHING), Step(99, NOTHING)]),
    "a success starts the time again": (
        RULE,
        [Step(0, BAD), Step(29, OK), Step(31, BAD), Step(60, BAD), Step(61, BAD, "failing")],
    ),
    "the next trouble is told, too": (
        RULE,
        [Step(0, BAD), Step(30, BAD, "failing"), Step(31, OK, "recovered"), Step(40, BAD), Step(70, BAD, "failing")],
    ),
    "where nothing is left to deliver, nobody needs to know": (
        RULE,
        [Step(0, BAD), Step(30, NOTHING, undone=False), Step(60, BAD, "failing")],
    ),
    "many dead letters are told once": (
        RULE,
        [Step(0, BAD), Step(30, BAD, "failing"), Step(155, DEAD * 3, "dead", 3), Step(156, DEAD, "", 4)],
    ),
    "after it has worked again, dead letters are another trouble": (
        RULE,
        [
            *(Step(0, BAD), Step(30, BAD, "failing"), Step(155, DEAD, "dead", 1), Step(156, OK, "recovered", 1)),
            *(Step(200, BAD, "", 1), Step(355, DEAD, "failing dead", 2)),
        ],
    ),
    "one bad event among good ones is told until its letter is dealt with": (
        RULE,
        [
            *(Step(0, OK), Step(1, DEAD, "dead", 1), Step(2, OK, "", 1), Step(3, DEAD, "", 2)),
            *(Step(4, OK), Step(5, DEAD, "dead", 1)),
        ],
    ),
    "once the dead letters were dropped, the next one is told": (
        RULE,
        [Step(0, DEAD, "dead", 1), Step(1, DEAD, "", 2), Step(2, DEAD, "dead", 1)],
    ),
    "a delivery that died with its destination is followed by the recovery": (
        Rule(tells=True, failing_for=999 * MINUTE, pause_after=None, lifetime=155 * MINUTE),
        [Step(0, BAD), Step(155, DEAD, "dead", 1), Step(156, OK, "recovered", 1)],
    ),
    "it is paused once": (
        PAUSING,
        [Step(0, BAD), Step(30, BAD, "failing"), Step(60, BAD, "paused"), Step(61, BAD)],
    ),
    "it is not paused because nothing was sent for long": (PAUSING, [Step(0, BAD), Step(90, NOTHING, "failing")]),
    "it is paused although nobody is told": (
        SILENT,
        [Step(0, BAD), Step(30, BAD), Step(60, BAD, "paused"), Step(155, DEAD, "", 1), Step(156, OK, "", 1)],
    ),
}


@pytest.mark.parametrize("rule, steps", TABLE.values(), ids=TABLE.keys())
def test_a_trouble(rule: Rule, steps: list[Step]) -> None:
    data: bytes | None = None
    last: Outcome | None = None
    for step in steps:
        now = START + step.minute * MINUTE
        seen: dict[str, Seen] = {}
        # Every step may be another process.
        ledger = Ledger.of(data)
        see(seen, "dst_a", step.states, now)
        if step.states:
            last = Outcome.DELIVERED if State.DELIVERED in step.states else Outcome.FAILED
        asked = ledger.to_ask(seen, now, rule, ())
        ledger.settle(seen, dict.fromkeys(asked, standing(last, step.dead, undone=step.undone)), now, rule)
        told = []
        while facts := ledger.take(now, 9):
            told += [fact.kind for fact in facts]
            for fact in facts:
                ledger.told(fact, now, None)
        assert (step.minute, sorted(told)) == (step.minute, sorted(step.tells.split()))
        data = ledger.document()


def test_nothing_is_kept_of_what_is_over() -> None:
    ledger = Ledger()
    for minute, states in ((0, BAD), (30, BAD), (31, OK)):
        settle(ledger, states, minute)
    for fact in (Kind.FAILING, Kind.RECOVERED):
        (taken,) = ledger.take(START, 9)
        assert taken.kind is fact
        ledger.told(taken, START, None)
    assert ledger.document() is None


def settle(ledger: Ledger, states: list[State], minute: int, *, rule: Rule = RULE) -> None:
    """One process has seen this of `dst_a`, and so it is."""
    now, seen = START + minute * MINUTE, dict[str, Seen]()
    see(seen, "dst_a", states, now)
    found = standing(Outcome.DELIVERED if states == OK else Outcome.FAILED)
    ledger.settle(seen, {"dst_a": found}, now, rule)


def test_a_process_that_did_not_see_the_recovery_tells_of_no_failure() -> None:
    ledger = Ledger()
    settle(ledger, BAD, 0)
    standings: Mapping[str, Standing] = {"dst_a": standing(Outcome.DELIVERED)}
    ledger.settle({}, standings, START + 30 * MINUTE, RULE)
    assert ledger.facts == []


def test_a_process_that_saw_an_older_success_does_not_end_a_trouble() -> None:
    ledger = Ledger()
    settle(ledger, BAD, 0)
    settle(ledger, BAD, 30)
    ledger.settle({"dst_a": Seen(has_delivered=True)}, {"dst_a": standing(Outcome.FAILED)}, START + 31 * MINUTE, RULE)
    assert [fact.kind for fact in ledger.facts] == [Kind.FAILING]


def test_a_success_between_two_looks_starts_the_time_again_unless_the_trouble_is_told() -> None:
    for told in (False, True):
        ledger = Ledger()
        settle(ledger, BAD, 0)
        ledger.troubles["dst_a"].owed = told
        now = START + 29 * MINUTE
        ledger.settle({"dst_a": Seen(failing_since=now, failed_at=now, has_delivered=True)}, {}, now, RULE)
        assert ledger.troubles["dst_a"].since == (START if told else now)


def test_while_an_attempt_is_due_its_outcome_decides() -> None:
    now, due = START + 90 * MINUTE, standing(Outcome.FAILED, next_due_at=START)
    for outage, seen, told in (
        (None, {}, []),
        (None, {"dst_a": Seen(failing_since=now, failed_at=now)}, [Kind.FAILING]),
        (Outage(since=START, until=now, probes=1, error="refused"), {}, [Kind.FAILING]),
    ):
        ledger = Ledger()
        settle(ledger, BAD, 0)
        ledger.settle(seen, {"dst_a": due._replace(outage=outage)}, now, RULE)
        assert [fact.kind for fact in ledger.facts] == told


def test_only_what_can_matter_is_asked_for() -> None:
    ledger, now = Ledger(), START + 30 * MINUTE
    for found in range(1_000):
        ledger.settle({f"dst_{found}": Seen(failing_since=START, failed_at=START)}, {}, START, RULE)
    assert ledger.to_ask({}, now - 1, RULE, ()) == []
    first = ledger.to_ask({}, now, RULE, ())
    assert len(first) == 200
    assert set(ledger.to_ask({}, now, RULE, first)) & set(first) == set()


def test_resuming_starts_the_time_again_and_the_recovery_is_still_told() -> None:
    ledger = Ledger()
    for minute in (0, 30, 60):
        settle(ledger, BAD, minute, rule=PAUSING)
    ledger.resume("dst_a")
    assert [fact.kind for fact in ledger.facts] == [Kind.FAILING]
    settle(ledger, BAD, 6000, rule=PAUSING)
    settle(ledger, BAD, 6029, rule=PAUSING)
    assert [fact.kind for fact in ledger.facts] == [Kind.FAILING]
    settle(ledger, OK, 6030, rule=PAUSING)
    assert [fact.kind for fact in ledger.facts] == [Kind.FAILING, Kind.RECOVERED]


def test_a_clock_that_was_set_back_does_not_keep_a_trouble_for_long() -> None:
    ledger = Ledger()
    settle(ledger, BAD, 9_000_000)
    settle(ledger, BAD, 0)
    settle(ledger, BAD, 30)
    assert [fact.kind for fact in ledger.facts] == [Kind.FAILING]


def facts(*kinds: Kind) -> Ledger:
    return Ledger(facts=[Fact("dst_a", kind, START + at, None) for at, kind in enumerate(kinds)])


def test_what_a_process_tells_no_other_one_tells_until_it_must_have_died() -> None:
    ledger = facts(Kind.FAILING)
    assert len(ledger.take(START, 9)) == 1
    assert ledger.take(START + LEASE - 1, 9) == []
    assert len(ledger.take(START + LEASE, 9)) == 1


def test_a_process_that_read_its_clock_before_the_one_that_took_a_fact_does_not_take_it_too() -> None:
    ledger = facts(Kind.FAILING)
    assert len(ledger.take(START + 5, 9)) == 1
    assert ledger.take(START, 9) == []


def test_a_lease_from_a_wrong_clock_does_not_count() -> None:
    ledger = facts(Kind.FAILING)
    ledger.take(START + 10 * LEASE, 9)
    assert len(ledger.take(START, 9)) == 1


def test_no_more_is_taken_than_there_is_room_for_and_each_destination_s_in_order() -> None:
    ledger = facts(Kind.FAILING, Kind.RECOVERED)
    ledger.facts.append(Fact("dst_b", Kind.DEAD, START, None))
    assert [fact.kind for fact in ledger.take(START, 1)] == [Kind.FAILING]
    assert [fact.kind for fact in ledger.take(START, 9)] == [Kind.DEAD]


def test_a_command_that_fails_is_tried_three_times_a_minute_apart() -> None:
    ledger = facts(Kind.FAILING)
    for tries, minute in enumerate((0, 1, 2), 1):
        (fact,) = ledger.take(START + minute * MINUTE, 9)
        ledger.told(fact, START + minute * MINUTE, "ended with 1")
        assert ledger.take(START + minute * MINUTE + MINUTE - 1, 9) == []
        assert (fact.tries, len(ledger.facts)) == (tries, int(tries < 3))
    assert ledger.failure is not None
    assert ledger.failure.reason == "ended with 1"


def test_what_nobody_could_tell_for_a_day_is_not_told_any_more() -> None:
    ledger = facts(Kind.FAILING)
    assert ledger.take(START + 24 * 60 * MINUTE, 9) == []
    assert ledger.document() is None


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"facts": 1}'])
def test_a_ledger_that_cannot_be_read_is_begun_again(data: bytes) -> None:
    assert Ledger.of(data).document() is None


def test_what_another_process_has_is_not_seen() -> None:
    seen: dict[str, Seen] = {}
    see(seen, "dst_a", [None, None], START)
    assert seen == {}
