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
        ("help", "`ark --help`"),
        ("version", "`ark --version`"),
        ("send signal.promoted --dest x", "--to NAME"),
        ("send signal.promoted --data f", "FILE, or standard input"),
        ("log --limit 5", "-n N"),
        ("log --failed", "--outcome failed"),
        ("queue list --dead", "--state dead"),
        ("dest remove x --force", "--yes"),
        ("drian", "'drain'"),
        ("dest lst", "'list'"),
        ("queue list --evnet ping", "'--event'"),
        ("drain --once", None),
        ("drain --data f", None),
        ("listen --insecure", None),
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
            if meant not in {"ark --help", "ark --version"}:
                assert world.ark(*meant.split()[1:], "--help").status == 0, meant


def test_every_option_named_in_a_hint_is_one_that_some_command_has(world: World) -> None:
    pages = [world.ark(name, "--help").out for name in COMMANDS]
    pages += [world.ark("queue", name, "--help").out for name in ("list", "retry", "drop")]
    pages += [world.ark("dest", name, "--help").out for name in ("add", "set", "remove")]
    for option, meant in synonyms._OPTIONS.items():
        named = meant.split()[0].rstrip(",")
        assert any(re.search(rf"(?<![\w-]){re.escape(named)}\b", page) for page in pages), (option, meant)
