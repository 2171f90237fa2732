"""The manual page is current, and `man` accepts it without a warning."""

import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest

MAN = Path(__file__).parent.parent / "docs" / "man"


def test_the_manual_is_what_the_commands_say_of_themselves() -> None:
    manual = runpy.run_path(str(MAN / "generate.py"))["manual"]
    assert (MAN / "ark.1").read_text("utf-8") == manual(), "run: python docs/man/generate.py"


@pytest.mark.parametrize("command", [["man", "--warnings", "-l"], ["mandoc", "-T", "utf8"]])
def test_it_can_be_read(command: list[str]) -> None:
    if shutil.which(command[0]) is None or (command[0] == "man" and shutil.which("groff") is None):
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run([*command, str(MAN / "ark.1")], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    # man prints bold letters by overstriking.
    text = re.sub(".\x08", "", done.stdout)
    for word in ("ark dest add", "--per-destination", "EXIT STATUS", "ARK_STATE_DIR"):
        assert word in text


def test_mandoc_which_is_the_man_of_macos_and_alpine_has_nothing_against_it() -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed")
    done = subprocess.run(["mandoc", "-T", "lint", str(MAN / "ark.1")], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


@pytest.mark.parametrize("name", ["queue", "events"])
def test_a_command_that_does_something_alone_has_a_part_beside_those_of_its_commands(name: str) -> None:
    text = (MAN / "ark.1").read_text("utf-8")
    _, part = text.split(f".SS \\fBark {name} [OPTIONS]\\fR\n")
    part = part.split(".SS ")[0]
    assert f".EX\nark {name}\n.EE" in part
    assert (r"\-\-prometheus FILE" in part) == (name == "queue")


def test_what_may_be_chosen_from_is_told_without_the_parsers_own_notation() -> None:
    text = (MAN / "ark.1").read_text("utf-8")
    assert "bash, zsh, fish or powershell" in text
    assert ":<" not in text
