"""The manual page is current, and `man` has nothing to say against it."""

import runpy
import shutil
import subprocess
from pathlib import Path

import pytest

MAN = Path(__file__).parent.parent / "docs" / "man"


def test_the_manual_is_what_the_commands_say_of_themselves() -> None:
    manual = runpy.run_path(str(MAN / "generate.py"))["manual"]
    assert (MAN / "ark.1").read_text("utf-8") == manual(), "run: python docs/man/generate.py"


@pytest.mark.parametrize("command", [["man", "--warnings", "-l"], ["mandoc", "-T", "lint", "-W", "warning"]])
def test_it_can_be_read(command: list[str]) -> None:
    if shutil.which(command[0]) is None or shutil.which("groff") is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run([*command, str(MAN / "ark.1")], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    for word in ("ark dest add", "--per-destination", "EXIT STATUS", "ARK_STATE_DIR"):
        assert word in done.stdout
