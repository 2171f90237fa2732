"""Following attempts while destinations are added and removed, and while the store is edited."""

from collections.abc import Callable, Iterable, Iterator

import pytest

from arkcli.actions.following import Following
from arkcli.model import Destination
from arkcli.store.store import Contents
from tests.cli.test_parts import place_of
from tests.world import PAYLOAD, TestReceiver, World

Receive = Callable[..., TestReceiver]


class Follower:
    """Follows the destinations with these names, or all, and keeps the warnings."""

    def __init__(self, world: World, *names: str) -> None:
        self.names = names
        self.home = world.session().home
        self.left_out: list[str] = []
        self.warned: list[str] = []
        contents = self.home.store.read()
        self.following = Following(
            self.home, contents, self.choose, lambda name, _: self.left_out.append(name), self.warned.append
        )

    def choose(self, contents: Contents) -> Iterable[Destination]:
        return [found for found in contents.destinations if not self.names or found.name in self.names]

    def past(self) -> list[tuple[str, str]]:
        return [(destination.name, attempt.event_id) for destination, attempt in self.following.past()]

    def new(self) -> list[tuple[str, str]]:
        return [(destination.name, attempt.event_id) for destination, attempt in self.following.new()]


@pytest.fixture
def shown(world: World, receive: Receive) -> Iterator[World]:
    """Two destinations that accept everything."""
    for name in ("a", "b"):
        world.add(receive(200), name)
    send(world, "first")
    yield world


def send(world: World, event_id: str) -> None:
    world.ark("send", "signal.promoted", "--id", event_id, stdin=PAYLOAD)
    world.clock.advance(1)


def test_what_was_comes_first_and_each_new_attempt_once_in_order_of_time(shown: World) -> None:
    send(shown, "second")
    follower = Follower(shown)
    assert follower.past() == [("a", "first"), ("b", "first"), ("a", "second"), ("b", "second")]
    assert follower.new() == []
    send(shown, "third")
    send(shown, "fourth")
    assert follower.new() == [("a", "third"), ("b", "third"), ("a", "fourth"), ("b", "fourth")]
    assert follower.new() == []


def test_it_goes_on_when_one_is_removed(shown: World) -> None:
    follower = Follower(shown)
    follower.past()
    send(shown, "second")
    shown.ark("dest", "remove", "b", "--yes")
    assert follower.new() == [("a", "second")]
    send(shown, "third")
    assert follower.new() == [("a", "third")]
    assert [found.name for found in follower.following.destinations] == ["a"]
    assert follower.left_out == follower.warned == []


def test_one_that_is_added_is_told_of_from_its_first_attempt(shown: World, receive: Receive) -> None:
    follower = Follower(shown)
    follower.past()
    shown.add(receive(200), "c")
    send(shown, "second")
    assert follower.new() == [("a", "second"), ("b", "second"), ("c", "second")]
    send(shown, "third")
    assert follower.new() == [("a", "third"), ("b", "third"), ("c", "third")]


def test_a_paused_one_is_told_of(shown: World) -> None:
    follower = Follower(shown)
    follower.past()
    send(shown, "second")
    shown.ark("dest", "pause", "b")
    assert follower.new() == [("a", "second"), ("b", "second")]


def test_names_are_looked_up_again(shown: World, receive: Receive) -> None:
    follower = Follower(shown, "b")
    assert follower.past() == [("b", "first")]
    shown.ark("dest", "remove", "b", "--yes")
    send(shown, "second")
    assert follower.new() == []
    shown.add(receive(200), "b")
    send(shown, "third")
    assert follower.new() == [("b", "third")]


def test_one_that_gets_another_name_is_followed_under_it_and_one_that_gets_the_name_from_then_on(shown: World) -> None:
    follower = Follower(shown, "b")
    follower.past()
    shown.ark("dest", "set", "b", "--name", "c")
    shown.ark("dest", "set", "a", "--name", "b")
    send(shown, "second")
    # Attempts from before it had the name are not new.
    assert follower.new() == [("c", "second")]
    send(shown, "third")
    assert sorted(follower.new()) == [("b", "third"), ("c", "third")]


@pytest.mark.parametrize("edited", ["", "version = 1\n[[destinations]]\nid = ", None], ids=["empty", "half", "away"])
def test_while_the_store_is_edited_what_is_known_is_followed(shown: World, edited: str | None) -> None:
    follower = Follower(shown)
    follower.past()
    follower.new()
    before = shown.store_file.read_text()
    send(shown, "second")
    if edited is None:
        shown.store_file.unlink()
    else:
        shown.store_file.write_text(edited)
    assert follower.new() == [("a", "second"), ("b", "second")]
    assert follower.new() == []
    assert len(follower.warned) == (0 if edited is None else 1)
    shown.store_file.write_text(before)
    shown.store_file.chmod(0o600)
    send(shown, "third")
    assert follower.new() == [("a", "third"), ("b", "third")]
    shown.store_file.write_text("nonsense")
    assert follower.new() == []
    assert len(follower.warned) == (1 if edited is None else 2)


@pytest.mark.parametrize("instead", ["nothing", "a-directory"])
def test_a_broken_one_is_named_once_and_told_of_again_when_it_can_be_read(shown: World, instead: str) -> None:
    follower = Follower(shown)
    follower.past()
    (journal,) = (place_of(shown, "b") / "journal").glob("*.jsonl")
    part = journal if instead == "a-directory" else journal.parent
    kept = part.with_name("kept")
    for times in (1, 2):
        part.rename(kept)
        if instead == "a-directory":
            journal.mkdir()
        for _ in range(3):
            assert follower.new() == []
        assert follower.left_out == ["b"] * times
        if instead == "a-directory":
            journal.rmdir()
        kept.rename(part)
        send(shown, f"number-{times}")
        assert follower.new() == [("a", f"number-{times}"), ("b", f"number-{times}")]


def test_one_that_could_not_be_read_at_the_beginning_is_told_of_from_when_it_can(shown: World) -> None:
    place = place_of(shown, "b")
    journal = place / "journal"
    journal.rename(place / "kept")
    journal.write_bytes(b"")
    follower = Follower(shown)
    assert follower.past() == [("a", "first")]
    journal.unlink()
    (place / "kept").rename(journal)
    assert follower.new() == []
    send(shown, "second")
    assert follower.new() == [("a", "second"), ("b", "second")]
    assert follower.left_out == ["b"]
