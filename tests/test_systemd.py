"""systemd accepts the units in docs/operating.md."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNITS = Path(__file__).parent.parent / "docs" / "systemd"


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    for unit in UNITS.iterdir():
        # systemd-analyze checks that the program exists.
        text = unit.read_text().replace("/usr/local/bin/ark", f"{Path(sys.executable).parent}/ark")
        (tmp_path / unit.name).write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", *map(str, sorted(tmp_path.iterdir()))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_timer_is_of_the_service() -> None:
    assert sorted(unit.name for unit in UNITS.iterdir()) == ["ark-drain.service", "ark-drain.timer"]
    assert "ark drain --for 55s --quiet" in (UNITS / "ark-drain.service").read_text()
