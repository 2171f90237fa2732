"""Every cell of the table, or a sample of them: `--all-faults` plays all.

A cell is `part/fault/command`. A part that no row of the table describes is an error, too.
"""

import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from tests.faults.cell import Cell, Stage
from tests.faults.known import reason_for
from tests.faults.runner import Runner
from tests.faults.story import Receivers, tell
from tests.faults.table import COMMANDS, FAULTS, PARTS, CannotBeTried

SAMPLE = 60
BASELINE = [("config", "nothing", command) for command in COMMANDS]
CELLS = [
    (part, fault, command)
    for part, (_, kind) in PARTS.items()
    for fault, (_, kinds) in FAULTS.items()
    if kind in kinds
    for command in COMMANDS
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "cell" not in metafunc.fixturenames:
        return
    chosen = CELLS
    if not metafunc.config.getoption("--all-faults"):
        unknown = [cell for cell in CELLS if reason_for(*cell) is None]
        chosen = random.Random(os.environ["ARK_FAULTS_SEED"]).sample(unknown, SAMPLE)
    rows = [pytest.param(cell, id="/".join(cell), marks=_marks(cell)) for cell in [*BASELINE, *chosen]]
    metafunc.parametrize("cell", rows)


def _marks(cell: tuple[str, str, str]) -> list[pytest.MarkDecorator]:
    reason = reason_for(*cell)
    return [] if reason is None else [pytest.mark.xfail(reason=reason, strict=False)]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="ark-faults-"))
        stack.callback(shutil.rmtree, directory)
        directory.chmod(0o755)
        receivers = Receivers(stack)
        runner = Runner()
        stack.callback(runner.close)
        yield Stage(runner, receivers, tell(runner, receivers, directory), directory, count())


def test_cell(stage: Stage, cell: tuple[str, str, str], request: pytest.FixtureRequest) -> None:
    played = Cell(stage, *cell)
    try:
        played.play()
    except CannotBeTried as error:
        pytest.skip(str(error))
    if played.problems:
        again = f"pytest --all-faults '{request.node.nodeid}'"
        pytest.fail("\n".join([*played.problems, "", *played.told, "", f"again: {again}"]), pytrace=False)


def test_every_file_of_a_home_has_its_row_in_the_table(stage: Stage) -> None:
    story = stage.story
    for home in (moment.home for moment in (story.old, story.now, story.new)):
        known = {path for part in PARTS.values() for path in home.glob(part.pattern.replace("{id}", "dst_*"))}
        known |= set(home.glob("state/queue/destinations/dst_*"))
        assert set(home.rglob("*")) == known
        assert all(any(home.glob(part.pattern.format(id=story.ids["clara"]))) for part in PARTS.values())
