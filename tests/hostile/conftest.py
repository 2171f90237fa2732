"""Starts what takes a whole deadline of 10 s first, so that the other tests run in the meantime."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
#: Its own network and mount namespaces, and root in them.
APART = ("unshare", "--map-root-user", "--net", "--mount")


@pytest.fixture(scope="session")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator["subprocess.Popen[str] | None"]:
    """Runs tests/hostile/network.py; None if it cannot have its own network namespace."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        yield None
        return
    if subprocess.run([*APART, "ip", "link", "set", "lo", "up"], capture_output=True, check=False).returncode:
        yield None
        return
    with subprocess.Popen(
        [*APART, sys.executable, "-m", "tests.hostile.network", str(tmp_path_factory.mktemp("apart"))],
        cwd=ROOT,
        env=dict(os.environ),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()
