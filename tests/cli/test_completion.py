"""Completion: the scripts that are kept are those that are printed, and they work in real shells."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.world import World

KEPT = {"bash": "ark.bash", "zsh": "_ark", "fish": "ark.fish", "powershell": "ark.ps1"}
DIRECTORY = Path(__file__).parent.parent.parent / "completions"


@pytest.mark.parametrize("shell", KEPT)
def test_the_kept_script_is_the_printed_one(world: World, shell: str) -> None:
    assert world.ark("completion", shell).out == (DIRECTORY / KEPT[shell]).read_text()


def test_an_unknown_shell_is_bad_input(world: World) -> None:
    assert world.ark("completion", "tcsh").status == 2


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        *(
            ("ark dr", "drain"),
            ("ark dest sh", "show"),
            ("ark send signal.p", "signal.promoted"),
            ("ark ping cr", "crm"),
        ),
        *(("ark ev", "events"), ("ark events sch", "schema"), ("ark events sample soc", "social.lead_promoted")),
    ],
)
def test_bash_completes(world: World, line: str, expected: str) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    world.ark("dest", "add", "https://crm.example/", "--name", "crm", "--no-ping")
    words = line.split()
    script = f"""
        source {DIRECTORY / "ark.bash"}
        COMP_WORDS=({" ".join(words)}); COMP_CWORD={len(words) - 1}
        _ark_completion ark
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, **world.variables, "PATH": path}
    done = subprocess.run([bash, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert expected in done.stdout.split()
