"""Name look-ups with the system's resolver. For a name server that misbehaves, see hostile/test_names.py."""

import os
import threading
from collections.abc import Iterator

import pytest

from arkcli.wire.lookup import Found, Lookups
from tests.world import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def lookups(clock: FakeClock) -> Iterator[Lookups]:
    made = Lookups(clock.monotonic)
    yield made
    made.close()


def ended(lookups: Lookups) -> list[Found]:
    """Waits for the next look-ups to end, and returns them."""
    for _ in range(100):
        lookups.wait(0.1, [], [], [])
        if done := lookups.finished():
            return done
    pytest.fail("no look-up ended within 10 s")


def test_a_name_is_looked_up_meanwhile_and_known_then(lookups: Lookups) -> None:
    assert lookups.addresses("localhost") is None
    ((name, found, lacking),) = ended(lookups)
    assert (name, lacking) == ("localhost", None)
    assert "127.0.0.1" in found or "::1" in found
    assert len(set(found)) == len(found)
    assert lookups.addresses("localhost") == found


def test_what_was_found_is_good_for_a_minute(lookups: Lookups, clock: FakeClock) -> None:
    lookups.addresses("localhost")
    ended(lookups)
    clock.advance(59)
    assert lookups.addresses("localhost") is not None
    clock.advance(2)
    assert lookups.addresses("localhost") is None
    assert ended(lookups)[0].addresses


def test_what_was_found_is_looked_up_again_when_nothing_answered_there_but_once_a_second(
    lookups: Lookups, clock: FakeClock
) -> None:
    lookups.addresses("localhost")
    found = ended(lookups)[0].addresses
    for _ in range(3):
        lookups.doubt("localhost", found)
        assert lookups.addresses("localhost") is found
    clock.advance(1)
    assert lookups.addresses("localhost") is None
    ((_, again, _),) = ended(lookups)
    assert again == found
    assert again is not found, "so that whoever has the old one can tell"
    # An attempt that began before this look-up says nothing about its addresses.
    lookups.doubt("localhost", found)
    clock.advance(58)
    assert lookups.addresses("localhost") is again
    lookups.doubt("localhost", again)
    assert lookups.addresses("localhost") is None


def test_a_name_that_does_not_exist_has_no_addresses_and_is_looked_up_again(lookups: Lookups) -> None:
    for _ in range(2):
        assert lookups.addresses("no-such-name.invalid") is None
        assert ended(lookups) == [Found("no-such-name.invalid", ())]


def test_a_name_is_looked_up_once_however_many_ask(lookups: Lookups) -> None:
    assert [lookups.addresses("localhost") for _ in range(100)] == [None] * 100
    assert len(ended(lookups)) == 1
    lookups.wait(0, [], [], [])
    assert lookups.finished() == []


def test_waiting_ends_with_the_time_or_with_what_else_is_waited_for(lookups: Lookups) -> None:
    lookups.wait(0.01, [], [], [])
    reading, writing = os.pipe()
    os.write(writing, b"!")
    lookups.wait(60, [reading], [], [])
    lookups.wait(60, [], [writing], [])
    os.close(reading)
    os.close(writing)


def test_closing_leaves_a_look_up_to_itself(clock: FakeClock) -> None:
    before = set(threading.enumerate())
    lookups = Lookups(clock.monotonic)
    lookups.addresses("localhost")
    lookups.close()
    for thread in set(threading.enumerate()) - before:
        # An exception in the thread would fail the test.
        thread.join(10)
        assert not thread.is_alive()


@pytest.mark.parametrize("name", ["a" * 64 + ".example", "a..example", "x" * 300])
def test_a_name_that_cannot_exist_is_no_accident(lookups: Lookups, name: str) -> None:
    lookups.addresses(name)
    assert ended(lookups) == [Found(name, ())]
