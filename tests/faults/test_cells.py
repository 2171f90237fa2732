"""Runs a sample of the table's cells, or all of them with `--all-faults`. A cell is `part/fault/command`."""

import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.cell import Cell
from tests.faults.known import reason_for
from tests.faults.runner import Runner
from tests.faults.story import CONCERNED, Story
from tests.faults.table import CELLS, COMMANDS, PARTS

SAMPLE = 70
FAULTLESS = [("config", "nothing", command) for command in COMMANDS]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "cell" in metafunc.fixturenames:
        reasons = {cell: reason_for(*cell) for cell in [*FAULTLESS, *CELLS]}
        if not metafunc.config.getoption("--all-faults"):
            unknown = [cell for cell in CELLS if reasons[cell] is None]
            chosen = random.Random(os.environ["FAULTS_SEED"]).sample(unknown, SAMPLE)
            reasons = dict.fromkeys([*FAULTLESS, *chosen])
        marks = {cell: [pytest.mark.xfail(reason=reason)] if reason else [] for cell, reason in reasons.items()}
        metafunc.parametrize("cell", [pytest.param(cell, id="/".join(cell), marks=marks[cell]) for cell in reasons])


@pytest.fixture(scope="module")
def story() -> Iterator[Story]:
    with ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="ark-faults-"))
        directory.chmod(0o755)
        stack.callback(shutil.rmtree, directory)
        runner = Runner()
        stack.callback(runner.close)
        yield Story(runner, directory, stack)


def test_all_goes_on_or_what_broke_is_named(
    story: Story, cell: tuple[str, str, str], request: pytest.FixtureRequest
) -> None:
    cannot = {"full": not story.runner.mounts, "foreign": story.runner.user is None}
    cannot["read-only"] = cannot["foreign"] and os.geteuid() == 0
    if cannot.get(cell[1]):
        pytest.skip("that takes root, who may mount, and a user that can run this Python")
    played = Cell(story, *cell)
    played.play()
    if played.problems:
        again = f"again: pytest --all-faults '{request.node.nodeid}'"
        pytest.fail("\n".join([*played.problems, "", *played.told, "", again]), pytrace=False)


def test_every_file_of_a_home_has_a_row_in_the_table_and_every_row_a_file(story: Story) -> None:
    for home in (story.old.home, story.now.home, story.new.home):
        found = {path for pattern, _ in PARTS.values() for path in home.glob(pattern.format(id="dst_*"))}
        assert set(home.rglob("*")) == found
    for name, (pattern, _) in PARTS.items():
        assert [*story.now.home.glob(pattern.format(id=story.ids[CONCERNED]))], name
