"""Every cell of the table, or a sample of them: `--all-faults` plays all. A cell is `part/fault/command`."""

import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.cell import Cell, Stage
from tests.faults.known import reason_for
from tests.faults.runner import Runner
from tests.faults.story import CONCERNED, Receivers, tell
from tests.faults.table import COMMANDS, FAULTS, PARTS

SAMPLE = 60
FAULTLESS = [("config", "nothing", command) for command in COMMANDS]
CELLS = [
    (name, fault, command)
    for name, part in PARTS.items()
    for fault in FAULTS
    if part.kind in FAULTS[fault].kinds.split()
    for command in COMMANDS
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "cell" in metafunc.fixturenames:
        chosen = CELLS
        if not metafunc.config.getoption("--all-faults"):
            unknown = [cell for cell in CELLS if reason_for(*cell) is None]
            chosen = random.Random(os.environ["ARK_FAULTS_SEED"]).sample(unknown, SAMPLE)
        rows = [pytest.param(cell, id="/".join(cell), marks=marks(cell)) for cell in [*FAULTLESS, *chosen]]
        metafunc.parametrize("cell", rows)


def marks(cell: tuple[str, str, str]) -> list[pytest.MarkDecorator]:
    reason = reason_for(*cell)
    return [] if reason is None else [pytest.mark.xfail(reason=reason, strict=False)]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="ark-faults-"))
        directory.chmod(0o755)
        stack.callback(shutil.rmtree, directory)
        receivers, runner = Receivers(stack), Runner()
        stack.callback(runner.close)
        yield Stage(runner, receivers, tell(runner, receivers, directory), directory)


def test_all_goes_on_or_what_broke_is_named(
    stage: Stage, cell: tuple[str, str, str], request: pytest.FixtureRequest
) -> None:
    part, fault, command = cell
    if stage.runner.user is None and (fault == "foreign" or (fault == "read-only" and os.geteuid() == 0)):
        pytest.skip("that takes root, and a user that can run this Python")
    played = Cell(stage, part, fault, command)
    played.play()
    if played.problems:
        again = f"again: pytest --all-faults '{request.node.nodeid}'"
        pytest.fail("\n".join([*played.problems, "", *played.told, "", again]), pytrace=False)


def test_every_file_of_a_home_has_a_row_in_the_table_and_every_row_a_file(stage: Stage) -> None:
    for home in (stage.story.old.home, stage.story.now.home, stage.story.new.home):
        assert set(home.rglob("*")) == {
            path for part in PARTS.values() for path in home.glob(part.pattern.format(id="dst_*"))
        }
    for name, part in PARTS.items():
        assert [*stage.story.now.home.glob(part.pattern.format(id=stage.story.ids[CONCERNED]))], name
