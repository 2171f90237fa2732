"""Real processes that see the same troubles: the user's command runs once for each."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests import postgres
from tests.actions.test_alerts import Told, memo, set_up
from tests.started import until
from tests.test_processes import accept, finish, start
from tests.world import TestReceiver, World, answer


@pytest.fixture(params=["local", "postgres"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with postgres.database() if request.param == "postgres" else nullcontext() as url:
        # Real processes have the real time.
        made = World(tmp_path / "home", database=url)
        made.clock.milliseconds = time.time_ns() // 1_000_000
        yield made


def kinds(told: Told) -> Counter[tuple[str, str]]:
    return Counter((fact["destination"], fact["kind"]) for fact in told.facts)


def test_three_drains_tell_each_trouble_once_even_if_one_of_them_is_killed(
    world: World, receive: Callable[..., TestReceiver], tmp_path: Path
) -> None:
    told, server = Told(tmp_path / "told", 'echo $PPID >>"$1/by"'), receive(503)
    names = ("crm", "lake", "mill")
    for name in names:
        world.ark("dest", "add", f"{server.url}/{name}", "--name", name, "--allow-local", "--no-ping")
    set_up(world, told.setting, "after=100ms")
    (event,) = accept(world, 1)
    drains = [start(world, "drain", "--watch") for _ in range(3)]
    until(lambda: len(told.facts) >= 3)
    expected = Counter((name, "failing") for name in names)
    by = int((tmp_path / "told" / "by").read_text().split()[0])
    # It has noted what it told by its next look, and the others look, too.
    until(lambda: b'"facts"' not in (memo(world) or b""))
    assert kinds(told) == expected
    os.kill(by, signal.SIGKILL)
    assert finish(start(world, "drain"))[0] == 0
    assert kinds(told) == expected
    server.behave = lambda _: answer(200)
    world.ark("queue", "retry", event)
    until(lambda: len(told.facts) >= 6)
    for drain in drains:
        drain.send_signal(signal.SIGTERM)
    ended = [finish(drain) for drain in drains]
    assert sorted(status for status, _, _ in ended) == [-signal.SIGKILL, 0, 0]
    assert kinds(told) == expected + Counter((name, "recovered") for name in names)


@pytest.mark.parametrize("world", ["local"], indirect=True)
def test_a_command_that_hangs_keeps_no_delivery_waiting(
    world: World, receive: Callable[..., TestReceiver], tmp_path: Path
) -> None:
    told, server, other = Told(tmp_path / "told", "exec sleep 3"), receive(503), receive(200)
    world.add(server, "crm")
    set_up(world, told.setting, "after=1ms")
    accept(world, 1)
    drain = start(world, "drain", "--watch")
    until(lambda: told.facts)
    world.add(other, "lake")
    accept(world, 1)
    began = time.monotonic()
    until(lambda: other.requests)
    assert time.monotonic() - began < 2
    drain.send_signal(signal.SIGTERM)
    assert "the alert command for crm still runs" in finish(drain)[2]
