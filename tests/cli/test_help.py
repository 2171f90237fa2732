"""Help: every command has one, it fits any width, and its examples work."""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from arkcli.cli.app import COMMANDS, app
from arkcli.cli.command import Group, purpose_of
from arkcli.cli.help import Page, page_of
from arkcli.signing import sign
from tests.test_docs import RECEIVED, surroundings
from tests.world import PAYLOAD, TestReceiver, World, verifying


def pages() -> Iterator[tuple[Page, Any]]:
    """Every command, including groups and the root."""
    yield from _pages(typer.main.get_command(app), "ark", None)


def _pages(command: Any, name: str, parent: Any) -> Iterator[tuple[Page, Any]]:
    context = command.make_context(name, [], parent=parent, resilient_parsing=True)
    yield page_of(context), command
    if isinstance(command, Group):
        for inner in command.list_commands(context):
            yield from _pages(command.get_command(context, inner), inner, context)


PAGES = {page.path: (page, command) for page, command in pages()}


@pytest.mark.parametrize("path", PAGES)
def test_every_command_says_what_it_and_each_of_its_options_is_for(path: str) -> None:
    page, command = PAGES[path]
    assert page.paragraphs
    assert page.paragraphs[0].endswith(".") or isinstance(command, Group)
    nameless = [row.names for _, rows in page.sections for row in rows if not row.purpose]
    assert nameless == []


@pytest.mark.parametrize("path", [path for path, (_, command) in PAGES.items() if not isinstance(command, Group)])
def test_every_command_has_an_example_and_takes_json_quiet_and_help(path: str) -> None:
    page, _ = PAGES[path]
    assert page.examples
    output = dict(page.sections)["Output"]
    assert {"--json", "-q, --quiet", "-h, --help"} <= {row.names for row in output}


def test_what_a_command_is_for_stands_in_one_line_in_the_table_too() -> None:
    assert {name: purpose_of(PAGES[f"ark {name}"][1]) for name in COMMANDS} == COMMANDS


@pytest.mark.parametrize("width", [20, 40, 80, 200])
@pytest.mark.parametrize("path", PAGES)
def test_nothing_is_cut_at_any_width(world: World, path: str, width: int) -> None:
    page, _ = PAGES[path]
    world.variables["COLUMNS"] = str(width)
    result = world.ark(*path.split()[1:], "--help")
    assert (result.status, result.err) == (0, "")
    assert max(map(len, result.out.splitlines())) <= width
    shown = re.sub(r"\s+", "", result.out)
    said = [*page.paragraphs, *page.examples, *(word for _, rows in page.sections for row in rows for word in row)]
    for text in said:
        assert re.sub(r"\s+", "", text) in shown


EXAMPLES = [example for page, _ in PAGES.values() for example in page.examples]


@pytest.mark.parametrize("example", [example for example in EXAMPLES if not example.startswith("ark queue move")])
def test_every_example_works(world: World, receive: Callable[..., TestReceiver], tmp_path: Path, example: str) -> None:
    receiver = receive(200)
    if "dest add" not in example:
        world.add(receiver, "crm")
        world.ark("send", "signal.promoted", "--sample", "--queue", "--id", "evt_1")
    (tmp_path / "payload.json").write_bytes(PAYLOAD)
    (tmp_path / "body.json").write_bytes(PAYLOAD)
    (tmp_path / "received.http").write_bytes(RECEIVED)
    (tmp_path / "secret.txt").write_text("s3cret\n")
    (tmp_path / ".local/share/bash-completion/completions").mkdir(parents=True)
    # Parts of an example that the reader has to fill in.
    for stands, means in {
        "https://hooks.example.com/signalark": f"{receiver.url} --allow-local",
        "evt_…": "evt_1",
        "55s": "0.1s",
        "http://127.0.0.1:3000/webhook": receive(verifying(world.shared_secrets)).url,
        "ark listen": "ark listen --port 0 --timeout 0.1s",
        # Stopped by SIGTERM, it ends with 0.
        "ark serve": "timeout --preserve-status 1 ark serve",
        "ark ui": "timeout --preserve-status 2 ark ui --no-open",
        "/run/ark/": "./",
        "--port 8764": "--port 0",
        "3a7f…": sign("s3cret", PAYLOAD),
    }.items():
        example = example.replace(stands, means)
    done = subprocess.run(
        ["bash", "-euc", example], cwd=tmp_path, env=surroundings(world, tmp_path), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


def test_the_examples_of_queue_move_work_one_after_the_other(world: World, empty_database: str) -> None:
    there, back = [example for example in EXAMPLES if example.startswith("ark queue move")]
    for example in (there.replace("postgresql://ark@db.example.com/ark", empty_database), back):
        result = world.ark(*shlex.split(example)[1:], "--yes")
        assert result.status == 0, result.err


@pytest.mark.parametrize(
    ("options", "variables", "colored"),
    [
        ((), {}, False),
        (("--color", "always"), {}, True),
        (("--color=always",), {"NO_COLOR": "1"}, True),
        ((), {"FORCE_COLOR": "1"}, True),
        ((), {"CLICOLOR_FORCE": "1"}, True),
        ((), {"CLICOLOR_FORCE": "0"}, False),
        ((), {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        (("--color", "never"), {"FORCE_COLOR": "1"}, False),
        (("--color", "auto"), {}, False),
    ],
)
@pytest.mark.parametrize("words", [("drain", "--help"), ("dest", "show", "no process"), ("queue", "list")])
def test_colours_are_used_when_they_are_asked_for(
    world: World, options: tuple[str, ...], variables: dict[str, str], colored: bool, words: tuple[str, ...]
) -> None:
    world.ark("dest", "add", "https://crm.example/", "--name", "crm", "--no-ping")
    world.ark("send", "signal.promoted", "--sample", "--queue")
    world.variables |= variables
    result = world.ark(*options, *words)
    assert ("\x1b[" in result.out + result.err) is colored


def test_json_has_no_colours(world: World) -> None:
    result = world.ark("--color", "always", "queue", "--json")
    assert (result.status, "\x1b" in result.out) == (0, False)


def test_help_is_the_same_where_python_leaves_docstrings_out() -> None:
    code = "from tests.cli.test_help import PAGES; print([page for page, _ in PAGES.values()])"
    said = subprocess.run([sys.executable, "-OO", "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == f"{[page for page, _ in PAGES.values()]}\n"


def test_help_costs_nothing_to_draw_with() -> None:
    code = "import sys; from arkcli.__main__ import main\ntry: main()\nfinally: print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    assert {"rich", "pycurl", "msgspec"}.isdisjoint(done.stderr.split())
