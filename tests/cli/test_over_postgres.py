"""The commands over a queue in PostgreSQL: their documents have the same keys as over files."""

from collections.abc import Iterator

import pytest

from tests import postgres
from tests.cli.test_contract import FAILURES, SUCCESSES, Row, Stage, check_keys, name_of, parsed, staged
from tests.world import World

#: Commands that touch neither the queue nor the store.
ELSEWHERE = {"events", "events sample", "events schema", "sign", "verify", "demo", "completion"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    directory = tmp_path_factory.mktemp("built")
    with postgres.database() as url, staged(World(directory / "home", database=url)) as found:
        yield found


@pytest.fixture
def stage(built: Stage) -> Iterator[Stage]:
    with postgres.copied(built.world.variables["ARK_QUEUE"]) as url:
        world = World(built.world.home, database=url, clock=built.world.clock)
        yield Stage(world, built.stands)


@pytest.mark.parametrize("row", [row for row in SUCCESSES if row.command not in ELSEWHERE], ids=name_of)
def test_a_success_has_the_documented_keys(stage: Stage, row: Row) -> None:
    result = stage.run(row, "--json")
    assert (result.status, result.err) == (0, "")
    check_keys(row.command, parsed(row, result.out))


@pytest.mark.parametrize(
    "row", [row for row in FAILURES if row.command not in ELSEWHERE and row.code != "usage"], ids=name_of
)
def test_a_failure_has_the_same_status_and_document(stage: Stage, row: Row) -> None:
    result = stage.run(row, "--json")
    assert (result.status, result.err) == (row.status, "")
    (document,) = parsed(row, result.out)
    if row.code is not None:
        assert document["error"]["code"] == row.code


def test_the_sources_of_settings_fit_a_terminal(stage: Stage) -> None:
    shown = stage.world.on_a_terminal("config", "show", columns=160, NO_COLOR="1")
    (secret,) = (line.split(None, 2) for line in map(str.strip, shown.splitlines()) if line.startswith("secret"))
    assert secret == ["secret", "***", "the database"]


def test_every_command_says_that_the_database_cannot_be_reached_and_ends_with_1(stage: Stage) -> None:
    stage.world.variables["ARK_QUEUE"] = "postgresql://ark:hunter2@127.0.0.1:1/ark"
    # It has a home of its own.
    assert stage.world.ark("demo").status == 0
    for row in SUCCESSES:
        if row.command in ELSEWHERE | {"config path", "doctor"}:
            continue
        result = stage.run(row, "--json")
        assert (row.words, result.status) == (row.words, 1)
        error = result.json["error"]
        assert error["code"] == ("not_accepted" if row.command == "send" else "unreachable")
        assert "cannot reach the database postgresql://ark:***@127.0.0.1:1/ark" in error["message"]
        assert error["message"].endswith(": nothing was accepted") == (row.command == "send")
        assert "hunter2" not in result.out
