"""A word of another tool is answered with what it is called here; a word that is near nothing gets no hint."""

import re

import pytest

from arkcli.cli import synonyms
from arkcli.cli.app import COMMANDS
from tests.world import World


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("dest rm x", "`ark dest remove`"),
        ("dest update x", "`ark dest set`"),
        ("dest rename x", "`ark dest set`"),
        ("dest test x", "`ark ping`"),
        ("dest disable x", "`ark dest pause`"),
        ("dest enable x", "`ark dest resume`"),
        ("queue purge", "`ark queue drop`"),
        ("secret get", "`ark secret show --reveal`"),
        ("status", "`ark queue`"),
        ("retry", "`ark queue retry`"),
        ("resend", "`ark replay`"),
        ("trigger", "`ark send`"),
        ("purge", "`ark queue drop`"),
        ("edit", "`ark dest set`"),
        ("enable x", "`ark dest resume`"),
        ("rm x", "`ark dest remove`"),
        ("get evt_1", "`ark queue show`"),
        ("queue edit", "`ark send`"),
        ("send signal.promoted --dest x", "--to NAME"),
        ("send signal.promoted --data f", "FILE, or standard input"),
        ("log --limit 5", "-n N"),
        ("log --failed", "--outcome failed"),
        ("log --tail 5", "-n N"),
        ("listen --limit 5", "--count N"),
        ("queue list --dead", "--state dead"),
        ("queue list --failed", "--state retrying"),
        ("replay --dead", "--failed"),
        ("send signal.promoted --insecure", "--ca-file FILE"),
        ("send --event signal.promoted", "EVENT, before FILE"),
        ("send signal.promoted --template x", "--like EVENT_ID"),
        ("dest remove x --force", "--yes"),
        ("drian", "'drain'"),
        ("dest lst", "'list'"),
        ("queue list --evnet ping", "'--event'"),
        ("log --once", None),
        ("drain --data f", None),
        ("doctor --insecure", None),
        ("nonsense", None),
    ],
)
def test_the_hint_names_what_is_meant(line: str, hint: str | None, world: World) -> None:
    result = world.ark(*line.split())
    found = re.search(r"\. Did you mean (.*)\? `", result.err)

    assert result.status == 2
    assert (found and found[1]) == hint


def test_every_hint_is_a_command_that_there_is(world: World) -> None:
    for group, table in synonyms._COMMANDS.items():
        for word, meant in table.items():
            assert world.ark(*group.split()[1:], word, "--help").status == 2, f"{group} {word} is a command itself"
            assert world.ark(*meant.split()[1:], "--help").status == 0, meant


def test_every_option_named_in_a_hint_is_one_that_some_command_has(world: World) -> None:
    pages = [world.ark(name, "--help").out for name in COMMANDS]
    pages += [world.ark("queue", name, "--help").out for name in ("list", "retry", "drop")]
    pages += [world.ark("dest", name, "--help").out for name in ("add", "set", "remove")]
    for option in synonyms._OPTIONS:
        # At least one: a command that is still to come may have another.
        found = [
            meant
            for meant in synonyms._synonyms(option)
            if any(re.search(rf"(?<![\w-]){re.escape(meant.split()[0].rstrip(','))}\b", page) for page in pages)
        ]
        assert found, option


def test_an_option_for_what_a_command_does_anyway_may_be_left_out(world: World) -> None:
    result = world.ark("drain", "--once")

    assert result.status == 2
    assert "no option '--once'. Leave it out: without --watch the command runs once. `" in result.err


@pytest.mark.parametrize(
    ("habit", "ours"),
    [
        ("help", "--help"),
        ("help send", "send --help"),
        ("help dest add", "dest add --help"),
        ("version", "--version"),
        ("-V", "--version"),
        ("help nonsense", "nonsense --help"),
    ],
)
def test_help_and_version_are_commands_too(habit: str, ours: str, world: World) -> None:
    assert world.ark(*habit.split()) == world.ark(*ours.split())


@pytest.mark.parametrize(
    "line", ["queue", "queue list", "queue retry --all-dead", "log", "log --stats", "drain", "ping", "dest show x"]
)
def test_in_an_empty_home_a_command_says_what_to_do_first(line: str, world: World) -> None:
    told = world.ark(*line.split())
    assert "there is no destination yet; add one with `ark dest add URL`" in told.err
    world.ark("dest", "add", "http://127.0.0.1:9/", "--no-ping", "--name", "x", "--allow-local")
    assert "no destination yet" not in world.ark(*line.split()).err


def test_in_an_empty_home_the_first_secret_says_what_comes_next(world: World) -> None:
    assert "give it to your receivers, then add them with `ark dest add URL`" in world.ark("secret", "rotate").err
    assert "dest add" not in world.ark("secret", "rotate").err
