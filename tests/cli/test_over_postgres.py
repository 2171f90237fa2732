"""The commands over a queue in PostgreSQL: their documents have the same keys as over files."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from arkcli.signing import sign
from tests import postgres
from tests.cli.test_contract import (
    FAILURES,
    SUCCESSES,
    Row,
    Stage,
    documented,
    keys,
    name_of,
    parsed,
    shortened,
)
from tests.world import PAYLOAD, World, receiver, verifying

#: Commands that touch neither the queue nor the store.
ELSEWHERE = {"events", "events sample", "events schema", "sign", "verify", "demo", "completion"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with ExitStack() as stack:
        url = stack.enter_context(postgres.database())
        world = World(tmp_path_factory.mktemp("built") / "home", database=url)
        crm, lake, other, refusing, right = (
            stack.enter_context(receiver(how)) for how in (200, 503, 200, 500, verifying(world.shared_secrets))
        )
        world.add(crm, "crm")
        world.add(lake, "lake")
        world.ark("send", "signal.promoted", "--id", "dead", stdin=PAYLOAD)
        for seconds in (30, 300, 1800, 7200):
            world.clock.advance(seconds)
            world.ark("drain")
        world.ark("send", "signal.promoted", "--id", "retrying", stdin=PAYLOAD)
        urls = {"OTHER": other.url, "REFUSING": refusing.url, "RIGHT": right.url}
        yield Stage(world, {**urls, "VALID": sign("s3cret", b"x")})


@pytest.fixture
def stage(built: Stage) -> Iterator[Stage]:
    with postgres.copied(built.world.variables["ARK_QUEUE"]) as url:
        world = World(built.world.home, database=url, clock=built.world.clock)
        yield Stage(world, built.stands)


@pytest.mark.parametrize("row", [row for row in SUCCESSES if row.command not in ELSEWHERE], ids=name_of)
def test_a_success_has_the_documented_keys(stage: Stage, row: Row) -> None:
    result = stage.run(row, "--json")
    assert (result.status, result.err) == (0, "")
    found = {key for document in parsed(row, result.out) for key in keys(document)}
    promised = documented()[row.command] - {"set_aside", "repeated"}
    assert found == {key if key in found else shortened(key, found) for key in promised}


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
