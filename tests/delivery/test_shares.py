"""Which destinations a drain claims: its equal share, what nobody else holds, and turns when there is no room."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arkcli.delivery.places import Limits
from arkcli.delivery.shares import Shares

NAMES = [f"d{number}" for number in range(12)]


def claim(shares: Shares, now: float, names: list[str] | None = None) -> list[str]:
    """Claims all that it may, and returns these destinations."""
    ids, most = shares.to_claim(now)
    chosen = [found for found in ids if names is None or found in names][:most]
    shares.tried(ids, chosen, now)
    return chosen


@pytest.mark.parametrize(
    ("due", "drains", "capacity", "held"),
    [
        (4, 1, 64, 4),
        (4, 2, 64, 2),
        (5, 2, 64, 3),
        (4, 3, 64, 2),
        (1, 4, 64, 1),
        (4, 1, 4, 4),
        (12, 1, 5, 3),
        (12, 2, 5, 3),
        (12, 3, 5, 4),
        (0, 2, 64, 0),
    ],
)
def test_a_drain_holds_its_equal_part_and_no_more_than_it_can(due: int, drains: int, capacity: int, held: int) -> None:
    shares = Shares(capacity)
    shares.look(NAMES[:due], drains)
    assert len(claim(shares, 0.0)) == held


@pytest.mark.parametrize(("capacity", "silent"), [(1, 1), (2, 1), (3, 2), (4, 3), (5, 3), (8, 6), (11, 8)])
def test_three_quarters_of_the_room_are_for_those_that_have_not_answered(capacity: int, silent: int) -> None:
    shares = Shares(capacity)
    shares.look(NAMES, 1)
    assert shares.to_claim(0.0) == (NAMES[:silent], capacity)
    shares.look(NAMES, 1, set(NAMES[8:]))
    assert shares.to_claim(0.0) == (NAMES[:silent] + NAMES[8:], capacity), "those that answer need not wait for them"


def test_a_drain_that_has_its_part_claims_no_more() -> None:
    shares = Shares(64)
    shares.look(NAMES[:8], 2)
    assert claim(shares, 0.0) == NAMES[:4]
    assert shares.to_claim(9.0) == ([], 0)
    shares.look(NAMES[4:8], 4)
    assert shares.to_claim(9.1) == ([], 0)


def test_those_that_were_never_tried_come_first_and_then_those_whose_turn_is_longest_ago() -> None:
    shares = Shares(64)
    shares.look(NAMES[:4], 1)
    shares.tried(["d1"], [], 0.3)
    shares.tried(["d0"], [], 0.6)
    shares.look(NAMES[:4], 1)
    assert shares.waiting == ["d2", "d3", "d1", "d0"]


def test_what_is_above_its_part_is_given_back_when_another_drain_comes() -> None:
    shares = Shares(64)
    shares.look(NAMES[:4], 1)
    claim(shares, 0.0)
    assert shares.to_release(0.1, NAMES) == []
    shares.look([], 2)
    assert len(shares.to_release(0.2, NAMES)) == 2


def test_those_that_have_nothing_under_way_are_given_back_first() -> None:
    shares = Shares(64)
    shares.look(NAMES[:4], 1)
    claim(shares, 0.0)
    shares.look([], 2)
    assert set(shares.to_release(0.2, {"d0", "d3"})) == {"d1", "d2"}


def test_one_that_somebody_else_has_is_left_alone_for_a_while() -> None:
    shares = Shares(64)
    shares.look(NAMES[:2], 1)
    assert claim(shares, 0.0, ["d1"]) == ["d1"]
    shares.look(["d0"], 1)
    assert shares.to_claim(0.1)[0] == []
    assert shares.to_claim(0.2)[0] == ["d0"]


def test_one_that_is_left_alone_hides_none_of_the_others() -> None:
    shares = Shares(64)
    shares.look(NAMES[:3], 1)
    shares.tried(["d0"], [], 1.0)
    assert shares.to_claim(1.1)[0] == ["d1", "d2"]
    assert shares.to_claim(1.15)[0] == ["d0", "d1", "d2"]


def test_what_nobody_had_in_two_looks_is_taken_above_the_part_and_kept_for_a_while() -> None:
    shares = Shares(64)
    shares.look(NAMES[:2], 2)
    assert claim(shares, 0.0) == ["d0"]
    assert shares.to_ask() == ["d1"]
    assert not shares.free("d1", 0.1, is_free=True)
    assert not shares.free("d1", 0.1, is_free=False), "somebody had it in between"
    assert not shares.free("d1", 0.1, is_free=True)
    assert shares.free("d1", 0.1, is_free=True)
    shares.tried(["d1"], {"d1"}, 0.2, above=True)
    shares.look([], 2)
    assert shares.to_release(0.3, ["d0"]) == ["d0"], "its own part it gives back, should somebody come for it"
    shares.released("d0", 0.3)
    shares.look([], 2)
    assert shares.to_release(0.4, []) == []


def test_what_was_taken_above_the_part_is_kept_for_five_seconds() -> None:
    shares = Shares(64)
    shares.look(NAMES[:4], 4)
    assert claim(shares, 0.0) == ["d0"]
    shares.tried(["d1", "d2", "d3"], {"d1", "d2", "d3"}, 0.2, above=True)
    shares.look([], 4)
    assert shares.to_release(5.1, NAMES) == ["d0"]
    assert len(shares.to_release(5.2, NAMES)) == 2


def test_the_looks_in_which_nobody_had_one_count_only_while_something_is_due_for_it() -> None:
    shares = Shares(64)
    shares.look(NAMES[:2], 2)
    assert claim(shares, 0.0) == ["d0"]
    assert not shares.free("d1", 0.1, is_free=True)
    shares.look([], 2)
    shares.look(["d1"], 2)
    assert not shares.free("d1", 0.2, is_free=True)
    assert shares.free("d1", 0.3, is_free=True)
    assert shares.free("d1", 0.4, is_free=True), "and from then on, until somebody has it"


@pytest.mark.parametrize(
    ("drains", "capacity", "asked"), [(40, 64, 16), (10, 64, 16), (10, 10, 6), (10, 5, 1), (10, 4, 0)]
)
def test_a_few_are_asked_about_at_a_look_and_no_more_than_there_is_room_for(
    drains: int, capacity: int, asked: int
) -> None:
    names = [f"d{number}" for number in range(40)]
    shares = Shares(capacity)
    shares.look(names, drains)
    assert shares.to_ask() == [], "it has not got its own part yet"
    held = len(claim(shares, 0.0))
    assert shares.to_ask() == names[held : held + asked]
    if asked:
        shares.tried([names[held]], {names[held]}, 0.1, above=True)
        assert shares.to_ask()[: asked - 1] == names[held + 1 : held + asked], "then about the next ones"


#: Destinations held, with no room for more; those that wait; those to release. One letter each: s is silent, a has
#: answered; upper case: its turn is not over.
TURNS = [
    ("ssss", "s", "s"),
    ("sssa", "ss", "ss"),
    ("sssa", "ssssssss", "sss"),
    ("sssa", "a", "s"),
    ("sssa", "aaaaaaaa", "asss"),
    ("aaaa", "a", "a"),
    ("aaaa", "aa", "aa"),
    ("aaaa", "ss", "aa"),
    ("aaaa", "ssssssss", "aaa"),
    ("aaas", "sssa", "aas"),
    ("sssaa", "sss", "sss"),
    ("aaaaaaaa", "asss", "aaaa"),
    ("aaSS", "ss", "a"),
    ("aaSS", "sa", "aa"),
    ("aSSS", "ss", ""),
    ("aSSS", "sa", "a"),
    ("SSSS", "ss", ""),
    ("AAaa", "aaa", "aa"),
    ("SSSSSSSa", "s", ""),
    ("SSSSSSSa", "sa", "a"),
]


@pytest.mark.parametrize(("held", "waiting", "going"), TURNS)
def test_where_there_is_no_room_as_many_go_as_others_wait_for_their_places(held: str, waiting: str, going: str) -> None:
    holding = [f"{kind}{number}" for number, kind in enumerate(held)]
    others = [f"{kind}-{number}" for number, kind in enumerate(waiting)]
    answering = {found for found in holding + others if found[0] in "aA"}
    shares = Shares(len(held))
    shares.look(holding, 1)
    for found in holding:
        shares.tried([found], {found}, 0.5 if found[0].isupper() else 0.0)
    shares.look(others, 1, answering)
    assert "".join(sorted(found[0] for found in shares.to_release(1.0, []))) == going


def test_nobody_goes_whose_turn_is_over_where_the_drains_have_room_for_all() -> None:
    shares = Shares(2)
    shares.look(NAMES[:4], 2)
    assert claim(shares, 0.0) == ["d0", "d1"]
    shares.look(NAMES[2:4], 2)
    assert shares.to_release(9.0, []) == []


def test_where_there_is_no_room_those_that_wait_get_their_turn() -> None:
    shares = Shares(4)
    shares.look(NAMES[:8], 1)
    assert claim(shares, 0.0) == ["d0", "d1", "d2"], "a quarter is for those that have answered"
    shares.look(NAMES[:8], 1)
    assert shares.to_release(0.5, []) == [], "a turn is a second"
    over = shares.to_release(1.0, [])
    assert sorted(over) == ["d0", "d1", "d2"]
    for found in over:
        shares.released(found, 1.0)
    shares.look(NAMES[:8], 1)
    assert claim(shares, 1.0) == ["d3", "d4", "d5"]


def test_one_that_answers_is_not_let_go_for_those_that_hang() -> None:
    """Eight may be held, at most six of them silent; twenty hang, and one answers."""
    shares = Shares(8)
    names = [f"hanging-{number}" for number in range(20)]
    held: set[str] = {"good"}
    shares.look(["good"], 1)
    shares.tried(["good"], {"good"}, 0.0)
    for step in range(1, 300):
        now = step * 0.1
        shares.look([found for found in names if found not in held], 1, {"good"})
        # Three have attempts in flight and cannot be released; the others only wait for a place.
        for found in shares.to_release(now, {"good", *sorted(held)[:3]}):
            assert found != "good"
            held.discard(found)
            shares.released(found, now)
        ids, most = shares.to_claim(now)
        shares.tried(ids[:most], set(ids[:most]), now)
        held |= set(ids[:most])
        assert len(held) <= 7


def test_those_that_answer_take_turns_too() -> None:
    shares = Shares(2)
    shares.look(NAMES[:4], 1, set(NAMES))
    assert claim(shares, 0.0) == ["d0", "d1"]
    shares.look(NAMES[:4], 1, set(NAMES))
    assert sorted(shares.to_release(1.0, [])) == ["d0", "d1"]


def test_what_was_told_to_go_is_not_counted_again() -> None:
    shares = Shares(64)
    shares.look(NAMES[:10], 1)
    claim(shares, 0.0)
    shares.look([], 2)
    hanging = set(NAMES[:5])
    told = shares.to_release(0.1, set(NAMES))
    assert len(told) == 5
    shares.look([], 2)
    assert shares.to_release(0.2, hanging) == []


def test_each_that_waits_is_asked_about_in_its_turn() -> None:
    """However many others are held by a process that does not release them."""
    names = [f"d{number}" for number in range(60)]
    shares = Shares(64)
    shares.look(names, 60)
    claim(shares, 0.0, ["d0"])
    taken: set[str] = set()
    for step in range(1, 60):
        shares.look([found for found in names[1:] if found not in taken], 60)
        for found in shares.to_ask():
            if shares.free(found, step * 0.1, is_free=int(found[1:]) >= 40):
                taken.add(found)
    assert taken == set(names[40:])


def test_nobody_makes_room_while_nobody_waits() -> None:
    shares = Shares(2)
    shares.look(NAMES[:2], 1)
    claim(shares, 0.0)
    shares.look([], 1)
    assert shares.to_release(99.0, []) == []


@given(st.integers(1, 5), st.integers(1, 12), st.integers(1, 12))
def test_drains_that_all_look_hold_all_that_they_can_and_each_destination_has_its_turn(
    count: int, due: int, capacity: int
) -> None:
    """As in real drains, the first to look claims first, and a claim excludes the others."""
    drains = [Shares(capacity) for _ in range(count)]
    held: dict[str, int] = {}
    seen: set[str] = set()
    for step in range(150):
        now = step * 0.1
        for number, shares in enumerate(drains):
            mine = {found for found, owner in held.items() if owner == number}
            shares.look([found for found in NAMES[:due] if found not in mine], count)
            for found in shares.to_release(now, mine):
                shares.released(found, now)
                del held[found]
            ids, most = shares.to_claim(now)
            got = [found for found in ids if found not in held][:most]
            shares.tried(ids if len(got) < most else ids[: ids.index(got[-1]) + 1] if got else [], got, now)
            held |= dict.fromkeys(got, number)
            seen |= set(got)
    assert seen == set(NAMES[:due])
    if capacity >= -(-due // count):
        assert len(held) == due


@given(st.integers(0, 5_000), st.integers(1, 900), st.integers(1, 900))
def test_attempts_connections_and_claims_fit_into_the_descriptors_there_are(
    descriptors: int, total: int, per_destination: int
) -> None:
    limits = Limits(total, per_destination).within(descriptors)
    assert 1 <= limits.per_destination <= limits.total <= total
    claims, connections = limits.claims(descriptors), limits.connections(descriptors)
    assert 1 <= claims <= 2 * limits.total
    assert connections == 0 or limits.total <= connections <= max(256, limits.total)
    if descriptors > 40:
        assert limits.total + connections + 4 * claims <= descriptors
