"""The units in contrib/systemd: systemd accepts them, they confine ark well, and ark works under their limits."""

import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from arkcli.cli.app import run
from arkcli.cli.session import Session
from tests.as_user import USER, as_user, give, needs_root, open_home
from tests.confined import confine, permitted, settings
from tests.world import TestReceiver

ROOT = Path(__file__).parent.parent
SYSTEM = ROOT / "contrib" / "systemd"
USERS = SYSTEM / "user"
SERVICE = SYSTEM / "ark-drain.service"
SERVE = SYSTEM / "ark-serve.service"

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def analyzed(*args: str, runtime: Path) -> subprocess.CompletedProcess[str]:
    # For a user's units, systemd-analyze wants a directory as a session has one.
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(runtime)}
    return subprocess.run(["systemd-analyze", *args], capture_output=True, text=True, check=False, env=environment)


@needs_systemd
@pytest.mark.parametrize(("options", "directory"), [([], SYSTEM), (["--user"], USERS)], ids=["system", "user"])
def test_systemd_takes_the_units(tmp_path: Path, options: list[str], directory: Path) -> None:
    for unit in directory.glob("*.*"):
        # systemd-analyze checks that the program exists.
        text = unit.read_text().replace("/usr/local/bin/ark", f"{Path(sys.executable).parent}/ark")
        (tmp_path / unit.name).write_text(text)
    units = map(str, sorted(tmp_path.iterdir()))
    done = analyzed("verify", "--man=no", *options, *units, runtime=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
@pytest.mark.parametrize("service", [SERVICE, SERVE], ids=lambda path: path.name)
def test_systemd_rates_the_exposure_of_the_service_below_3(tmp_path: Path, service: Path) -> None:
    done = analyzed("security", "--offline=true", str(service), runtime=tmp_path)
    if "offline" in done.stderr:
        pytest.skip("this systemd-analyze reads no units from files")
    (rated,) = re.findall(r"exposure level for [a-z-]+.service: ([\d.]+)", done.stdout)
    assert float(rated) < 3


def test_both_timers_are_of_a_service_with_the_same_command() -> None:
    for directory in (SYSTEM, USERS):
        assert {unit.name for unit in directory.glob("ark-drain.*")} == {"ark-drain.service", "ark-drain.timer"}
        (command,) = settings(directory / "ark-drain.service")["ExecStart"]
        assert command.endswith("ark drain --for 55s --quiet")


@needs_root
@needs_systemd
def test_ark_works_with_only_the_system_calls_that_the_units_permit(receive: Callable[..., TestReceiver]) -> None:
    allowed, url = permitted(SERVICE), receive(200).url
    assert permitted(USERS / "ark-drain.service") == permitted(SERVE) == allowed

    def story(home: Path) -> list[tuple[int, str]]:
        def ark(*args: str) -> tuple[int, str]:
            out, err = io.StringIO(), io.StringIO()
            variables = {"ARK_CONFIG_DIR": f"{home}/config", "ARK_STATE_DIR": f"{home}/state"}
            return run(args, Session(variables, io.BytesIO(b""), out, err)), out.getvalue() + err.getvalue()

        return [
            ark("dest", "add", url, "--name", "crm", "--allow-local"),
            ark("dest", "pause", "crm"),
            ark("dest", "resume", "crm"),
            ark("send", "signal.promoted", "--sample", "--queue"),
            ark("drain"),
            ark("doctor"),
            ark("queue", "check", "--repair"),
        ]

    with open_home() as home, open_home() as another:
        # Imports everything: the other user may not be able to read this Python.
        usual = story(another)
        give(home)
        confined = as_user(USER, lambda: (refused(), story(home)) if confine(allowed) else None)
    if confined is None:
        pytest.skip("no seccomp filter can be set here")
    assert [status for status, _ in usual] == [0] * 7
    assert confined[0]
    assert [(status, text) for status, text in confined[1] if status] == []


def refused() -> bool:
    """Whether the filter is in force: no unit permits this call, which otherwise succeeds for everybody."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0))
    except PermissionError:
        return True
    return False
