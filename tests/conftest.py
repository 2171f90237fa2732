"""Fixtures for all tests."""

import os
import random
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import Phase, settings

from arkcli.system import descriptors
from tests import postgres
from tests.faults.table import CELLS
from tests.world import Behaviour, Certificates, TestReceiver, World
from tests.world import receiver as open_receiver

# The gate must judge the change, not chance, so its examples are the same each time. Elsewhere they are random.
settings.register_profile("gate", deadline=None, derandomize=True)
settings.register_profile("here", deadline=None)
# A failing test is enough to detect a mutant: do not shrink the counterexample (.ci/mutants).
settings.register_profile("mutants", deadline=None, derandomize=True, phases=(Phase.explicit, Phase.generate))
settings.load_profile("gate" if os.environ.get("CI") else "here")


# Otherwise each worker compiles all tests, and each `ark` that they start compiles all of `ark`: a minute's work.
if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
    sys.dont_write_bytecode = False
# Signals ignored at a process's start may stay ignored: the tests may run under nohup, or behind a script's `&`.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
# Some tests open more sockets than the 256 that macOS allows at first.
descriptors.raise_limit()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all-faults", action="store_true", help="Cause every fault there is, not a sample of them.")
    parser.addoption("--keep-screens", action="store_true", help="Write tests/cli/screens/ again, from what is shown.")
    # Worker processes inherit this, so that all of them draw the same sample.
    os.environ.setdefault("FAULTS_SEED", "0" if os.environ.get("CI") else str(random.randrange(10**6)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    ended = (terminalreporter.stats.get(how, ()) for how in ("passed", "failed", "xfailed", "xpassed"))
    ids = {report.nodeid for reports in ended for report in reports}
    played = sum("tests/faults/" in found and "[" in found and "/nothing/" not in found for found in ids)
    if played:
        seed = os.environ["FAULTS_SEED"]
        terminalreporter.write_line(f"faults: {played:,} of {len(CELLS):,} cells, chosen by FAULTS_SEED={seed}")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "home")


@pytest.fixture
def receive() -> Iterator[Callable[..., TestReceiver]]:
    """Opens receivers that are closed when the test ends."""
    with ExitStack() as stack:

        def opened(behave: Behaviour | int = 200) -> TestReceiver:
            return stack.enter_context(open_receiver(behave))

        yield opened


@pytest.fixture
def crm(world: World) -> Iterator[TestReceiver]:
    """A receiver that is the destination `crm`."""
    with open_receiver() as found:
        world.add(found, "crm")
        yield found


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


@pytest.fixture
def empty_database() -> Iterator[str]:
    """The URL of a database for this test alone, without a schema of ark's."""
    with postgres.database() as url:
        yield url
