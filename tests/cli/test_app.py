"""The root command: help, unknown commands and options, and errors in JSON from every source."""

import os
import re
import subprocess
import sys

import pytest

from arkcli import __version__
from arkcli.cli.app import COMMANDS
from tests.world import World


def test_version(world: World) -> None:
    command = [sys.executable, "-m", "arkcli", "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == f"ark {__version__}\n"


@pytest.mark.parametrize("words", [("dest",), ("secret",), ("config",)])
def test_a_group_alone_shows_its_help(world: World, words: tuple[str, ...]) -> None:
    result = world.ark(*words)
    assert (result.status, result.err) == (0, "")
    assert result.out == world.ark(*words, "--help").out
    assert "Commands:" in result.out


def test_ark_alone_shows_a_first_day_and_imports_nothing_to_draw_with(world: World) -> None:
    result = world.ark()
    assert (result.status, result.err) == (0, "")
    shown = re.findall(r"^  ark (\w+)", result.out, re.MULTILINE)
    assert len(shown) == 5
    assert set(shown) <= COMMANDS.keys()
    code = "import sys; from arkcli.__main__ import main\ntry: main()\nfinally: print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == result.out
    assert {"rich", "msgspec", "pycurl"}.isdisjoint(done.stderr.split())


@pytest.mark.parametrize(
    "words",
    [("nonsense",), ("send",), ("send", "signal.promoted", "--nonsense"), ("dest", "nonsense"), ("drain", "extra")],
)
def test_a_wrong_command_line_is_one_clear_line_or_one_json_object(world: World, words: tuple[str, ...]) -> None:
    text = world.ark(*words)
    assert (text.status, text.out) == (2, "")
    assert text.err.startswith("error: ")
    assert text.err.count("\n") == 1
    as_json = world.ark(*words, "--json")
    assert (as_json.status, as_json.err) == (2, "")
    assert as_json.json["error"]["code"] == "usage"


@pytest.mark.parametrize(
    ("words", "meant", "help_of"),
    [
        (("drian",), "drain", "ark"),
        (("dest", "lst"), "list", "ark dest"),
        (("dest", "add", "https://a.example/", "--alow-local"), "--allow-local", "ark dest add"),
        (("queue", "list", "--evnet", "ping"), "--event", "ark queue list"),
        (("send", "signal.promted"), "signal.promoted", None),
        (("ping", "cmr"), "crm", None),
        (("dest", "show", "crn"), "crm", None),
    ],
)
def test_what_was_perhaps_meant_is_suggested(
    world: World, words: tuple[str, ...], meant: str, help_of: str | None
) -> None:
    world.ark("dest", "add", "https://crm.example/", "--name", "crm", "--no-ping")
    result = world.ark(*words)
    assert (result.status, result.out) == (2, "")
    assert f". Did you mean {meant!r}?" in result.err
    assert help_of is None or f"`{help_of} --help`" in result.err


@pytest.mark.parametrize("words", [("--json", "dest", "list"), ("dest", "--json", "list"), ("queue", "--json", "list")])
def test_what_every_command_takes_may_stand_before_its_name(world: World, words: tuple[str, ...]) -> None:
    result = world.ark(*words)
    assert (result.status, len(result.json)) == (0, 1)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("version = 1\nnonsense = 2\n", "nonsense"),
        ("version = 1\n[[destinations]]\nid = 'dst_1'\n", "destinations[0]"),
        ("version = 'x'\n", "version"),
        ("version = 99\n", "newer"),
        ("not toml", "line 1"),
    ],
)
def test_a_store_that_cannot_be_read_is_named_and_left_untouched(world: World, text: str, place: str) -> None:
    world.store_file.parent.mkdir(parents=True)
    world.store_file.touch(0o600)
    world.store_file.write_text(text)
    for command in (("dest", "list"), ("drain",), ("send", "signal.promoted", "--sample"), ("secret", "rotate")):
        result = world.ark(*command, "--json")
        assert result.status == 78
        assert result.json["error"]["code"] == "unreadable"
        assert place in result.json["error"]["message"]
    assert world.store_file.read_text() == text


@pytest.mark.parametrize("args", [("completion", "bash"), ("--version",), ()])
def test_a_reader_that_has_gone_away_is_no_traceback(args: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "arkcli", *args]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_demo_tells_the_whole_story(world: World) -> None:
    told = world.ark("demo", "--json")
    assert told.status == 0
    assert told.json["answers"] == [503, 200]
    assert told.json["signatures_valid"] is True
    assert told.json["same_bytes"] is True
    assert not world.home.exists()
    assert "retries after 1, 2, 3 and 4 s" in world.ark("demo").out
