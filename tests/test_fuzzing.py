"""A short run of each fuzzing target, if atheris is installed: `pip install '.[fuzz]'`."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(find_spec("atheris") is None, reason="atheris is not installed")

ROOT = Path(__file__).parent.parent
TARGETS = ("payload", "queue_line", "store", "setting", "signature", "explanation", "answers")


@pytest.mark.parametrize("target", TARGETS)
def test_the_fuzzer_finds_nothing_in_so_short_a_time(target: str, tmp_path: Path) -> None:
    seconds = os.environ.get("ARK_FUZZ_SECONDS", "2")
    command = [sys.executable, "-m", "tests.fuzzing", target, f"-max_total_time={seconds}", "-timeout=10"]
    found = subprocess.run(
        [*command, f"-artifact_prefix={tmp_path}/", "-max_len=4096"], cwd=ROOT, capture_output=True, check=False
    )
    assert found.returncode == 0, found.stderr[-4_000:].decode("utf-8", "replace")
    assert b"DONE" in found.stderr or b"Done" in found.stderr
