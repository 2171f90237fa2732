"""Commands on several destinations, when one's part of the queue is broken or one is removed at that moment."""

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import pytest
from prometheus_client.parser import text_string_to_metric_families

from arkcli.cli.session import Session
from arkcli.model import Destination
from arkcli.queue.local.queue import LocalQueue
from tests.world import PAYLOAD, Result, World, receiver

#: Each command, and a function that finds in its output the destinations that it covers, or their number.
COMMANDS: Final[dict[str, Callable[[Any], object]]] = {
    "queue": lambda said: {one["name"] for one in said["destinations"]},
    "queue list": lambda said: {one["destination"] for one in said["deliveries"]},
    "queue show late": lambda said: {one["destination"] for one in said["deliveries"]},
    "queue retry --all-dead": lambda said: said["retried"],
    "queue drop --all-dead --yes": lambda said: said["dropped"],
    "queue drop late --yes": lambda said: said["dropped"],
    "replay late": lambda said: said["replayed"] + 1,
    "drain --dry-run --at 2099-01-01T00:00:00Z": lambda said: {one["destination"] for one in said["deliveries"]},
    "dest list": lambda said: {one["name"] for one in said["destinations"] if one["waiting"] is not None},
    "log": lambda said: {one["destination"] for one in said if "broken" not in one},
    "log --stats": lambda said: {one["name"] for one in said["destinations"]},
}


def break_by_a_directory(place: Path) -> None:
    (journal,) = (place / "journal").glob("*.jsonl")
    journal.unlink()
    journal.mkdir()


def break_by_a_link(place: Path) -> None:
    place.rename(place.with_name("elsewhere"))
    place.symlink_to("elsewhere")


def break_by_a_file(place: Path) -> None:
    shutil.rmtree(place / "journal")
    (place / "journal").write_bytes(b"")


BREAKS: Final = [break_by_a_directory, break_by_a_link, break_by_a_file]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Three destinations, each with one dead and one retrying delivery."""
    world = World(tmp_path_factory.mktemp("first") / "home")
    with receiver(500) as one, receiver(500) as two, receiver(500) as three:
        for name, failing in {"a": one, "b": two, "c": three}.items():
            world.add(failing, name)
        world.ark("send", "signal.promoted", "--id", "early", stdin=PAYLOAD)
        for delay in (30, 300, 1800, 7200):
            world.clock.advance(delay)
            world.ark("drain")
        world.ark("send", "signal.promoted", "--id", "late", stdin=PAYLOAD)
    return world


@pytest.fixture
def broad(first: World, tmp_path: Path) -> World:
    """A copy of it."""
    shutil.copytree(first.home, tmp_path / "home")
    return first.moved_to(tmp_path / "home")


def place_of(world: World, name: str) -> Path:
    found = world.session().home.store.read().find(name)
    assert found is not None
    return world.queue_directory / "destinations" / found.id


def said_by(result: Result, command: str) -> Any:
    return [json.loads(line) for line in result.out.splitlines()] if command == "log" else result.json


@pytest.mark.parametrize("break_it", BREAKS)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_broken_part_is_named_and_all_others_are_shown(
    broad: World, command: str, break_it: Callable[[Path], None]
) -> None:
    break_it(place_of(broad, "b"))
    result = broad.ark(*command.split(), "--json")
    said = said_by(result, command)
    assert result.status == 1
    assert COMMANDS[command](said) in ({"a", "c"}, 2)
    (broken,) = (said[-1] if command == "log" else said)["broken"]
    assert broken["name"] == "b"
    assert str(broad.queue_directory) in broken["reason"]
    assert result.err == f"warning: b is left out: {broken['reason']}\n"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("options", [[], ["--quiet"]], ids=["aloud", "quiet"])
def test_in_text_it_is_named_as_well_and_quiet_does_not_hide_it(broad: World, command: str, options: list[str]) -> None:
    break_by_a_file(place_of(broad, "b"))
    result = broad.ark(*command.split(), *options)
    assert result.status == 1
    assert "warning: b is left out: " in result.err


class Removing(World):
    """A home in which another process removes b after a command has read the list of destinations."""

    def session(self, stdin: bytes = b"") -> Session:
        session = super().session(stdin)
        joined = session.home.joined

        def joined_and_removed(destinations: Iterable[Destination], *, to_read: bool = False) -> list[Destination]:
            found = joined(destinations, to_read=to_read)
            for one in found:
                if one.name == "b" and (self.queue_directory / "destinations" / one.id).exists():
                    LocalQueue(self.queue_directory, self.retries).leave(one.id)
            return found

        session.home.joined = joined_and_removed  # type: ignore[method-assign]
        return session


@pytest.mark.parametrize("command", COMMANDS)
def test_one_that_is_removed_just_then_is_passed_over(broad: World, command: str) -> None:
    removing = Removing(broad.home)
    removing.clock = broad.clock
    result = removing.ark(*command.split(), "--json")
    said = said_by(result, command)
    assert (result.status, result.err) == (0, "")
    others = COMMANDS[command](said)
    # `log --stats` also lists a destination without attempts.
    assert others in ({"a", "c"}, 2) or (command == "log --stats" and others == {"a", "b", "c"})
    assert "broken" not in said


def test_what_is_named_and_not_found_may_be_where_nobody_can_look(broad: World) -> None:
    broad.ark("send", "signal.promoted", "--id", "mine", "--to", "b", stdin=PAYLOAD)
    break_by_a_file(place_of(broad, "b"))
    result = broad.ark("queue", "retry", "mine")
    assert result.status == 2
    assert "no delivery of mine is retrying or dead, so nothing was changed" in result.err
    assert "b could not be read: " in result.err


def test_the_metrics_of_the_others_are_written_and_the_broken_part_has_one_of_its_own(
    broad: World, tmp_path: Path
) -> None:
    break_by_a_file(place_of(broad, "b"))
    file = tmp_path / "ark.prom"
    assert broad.ark("queue", "--quiet", "--prometheus", str(file)).status == 1
    families = {family.name: family.samples for family in text_string_to_metric_families(file.read_text())}
    told = {(one.labels["destination"], one.value) for one in families["ark_broken"]}
    assert told == {("a", 0), ("b", 1), ("c", 0)}
    assert {one.labels["destination"] for one in families["ark_deliveries"]} == {"a", "c"}


def test_a_terminal_shows_the_others(broad: World) -> None:
    break_by_a_file(place_of(broad, "b"))
    shown = broad.on_a_terminal("queue", columns=120, NO_COLOR="1")
    lines = shown.splitlines()
    assert [line.split()[0] for line in lines[:7]] == ["3", "destination", "b", "a", "c", "2", "warning:"]
    assert "3 failing, 1 unreadable;" in lines[0]
    assert set(lines[2].split()) == {"b", "-"}


def test_a_broken_destination_is_listed_and_shown_without_what_waits_for_it(broad: World) -> None:
    break_by_a_file(place_of(broad, "b"))
    listed = broad.ark("dest", "list", "--json")
    unread = next(one for one in listed.json["destinations"] if one["name"] == "b")
    assert {unread[key] for key in ("waiting", "retrying", "dead", "last")} == {None}
    shown = broad.ark("dest", "show", "b", "--json")
    assert (shown.status, shown.json["destination"]) == (1, unread)
    assert broad.ark("dest", "show", "a", "--json").status == 0
    paused = broad.ark("dest", "pause", "b", "--json")
    assert (paused.status, paused.json["destination"]) == (0, unread | {"paused": True})


def test_a_broken_destination_can_be_removed_and_what_stays_is_named(broad: World) -> None:
    place = place_of(broad, "b")
    break_by_a_file(place)
    asked = broad.ark("dest", "remove", "b")
    assert (asked.status, "--yes" in asked.err, str(place) in asked.err) == (2, True, True)
    removed = broad.ark("dest", "remove", "b", "--yes")
    assert (removed.status, "b is removed, but its waiting deliveries stay in the queue" in removed.err) == (1, True)
    assert [one["name"] for one in broad.ark("dest", "list", "--json").json["destinations"]] == ["a", "c"]


def test_a_destination_that_two_remove_at_once_is_removed(broad: World) -> None:
    removing = Removing(broad.home)
    assert removing.ark("dest", "remove", "b", "--yes", "--json").json["dropped"] == 0
