"""Alerts as a user sets them up: what the command gets, when it runs, and what happens if it cannot."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from arkcli.actions import alerts
from arkcli.actions.alerts import NAME
from arkcli.actions.notice import owner_of
from arkcli.signing import Secret
from arkcli.store.store import Contents
from arkcli.system.child import Program
from tests import postgres
from tests.world import PAYLOAD, TestReceiver, World, answer

Receive = Callable[..., TestReceiver]


class Told:
    """A command that writes down what it was given, with which arguments and in which environment."""

    def __init__(self, directory: Path, then: str = "") -> None:
        directory.mkdir(exist_ok=True)
        self.path = directory / "tell me"
        self._facts, self._environment = directory / "facts", directory / "environment"
        self.path.write_text(
            f'#!/bin/sh\necho "$*" >>"$1/arguments"; env >"$1/environment"; cat >>"$1/facts"\n{then}\n'
        )
        self.path.chmod(0o755)
        self.setting = f"'{self.path}' {directory} ';' '$(id)'"

    @property
    def facts(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._facts.read_text().splitlines()] if self._facts.exists() else []

    @property
    def kinds(self) -> list[str]:
        return [fact["kind"] for fact in self.facts]

    @property
    def environment(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self._environment.read_text().splitlines())


@contextmanager
def changed(world: World) -> Iterator[Contents]:
    """Changes the settings, as a user does in the file."""
    with closing(world.session().home) as home, home.store.change() as contents:
        yield contents


def set_up(world: World, command: str, *settings: str) -> None:
    """Sets the command up."""
    with changed(world) as contents:
        contents.alerts.command = command or None
        for setting in settings:
            name, _, value = setting.partition("=")
            setattr(contents.alerts, {"after": "failing_for"}.get(name, name), value)
    world.variables["PATH"] = os.environ["PATH"]


@pytest.fixture(params=["local", "postgres"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with postgres.database() if request.param == "postgres" else nullcontext() as url:
        yield World(tmp_path / "home", database=url)


def memo(world: World) -> bytes | None:
    with closing(world.session().home) as home:
        return home.queue.read_memo(NAME)


def test_each_trouble_is_told_once_whichever_run_sees_it(world: World, receive: Receive, tmp_path: Path) -> None:
    told, crm = Told(tmp_path / "told"), receive(503)
    world.add(crm, "crm")
    world.add(receive(200), "lake")
    set_up(world, told.setting)
    world.ark("send", "signal.promoted", stdin=PAYLOAD)
    for seconds in (30, 300):
        world.clock.advance(seconds)
        world.ark("drain")
    assert told.kinds == []
    # Between two attempts.
    world.clock.advance(1500)
    assert world.ark("drain", "--json").json["attempted"] == 0
    for _ in range(2):
        world.ark("drain")
    assert told.kinds == ["failing"]
    for seconds in (300, 7200):
        world.clock.advance(seconds)
        world.ark("drain")
    assert told.kinds == ["failing", "dead"]
    crm.behave = lambda _: answer(200)
    world.ark("queue", "retry", "--all-dead", "--now")
    world.ark("send", "signal.promoted", stdin=PAYLOAD)
    assert told.kinds == ["failing", "dead", "recovered"]
    assert {fact["destination"] for fact in told.facts} == {"crm"}
    assert memo(world) is None


def test_a_send_tells_what_it_sees(world: World, receive: Receive, tmp_path: Path) -> None:
    told, crm = Told(tmp_path / "told"), receive(503)
    world.add(crm, "crm")
    set_up(world, told.setting, "after=1m")
    world.ark("send", "signal.promoted", stdin=PAYLOAD)
    world.clock.advance(61)
    world.ark("send", "signal.promoted", stdin=PAYLOAD)
    assert told.kinds == ["failing"]
    crm.behave = lambda _: answer(200)
    world.ark("send", "signal.promoted", stdin=PAYLOAD)
    assert told.kinds == ["failing", "recovered"]


def test_the_command_gets_the_facts_and_no_secret_of_ark_s(world: World, receive: Receive, tmp_path: Path) -> None:
    told = Told(tmp_path / "told")
    world.add(receive(503), "crm")
    set_up(world, told.setting, "after=1m")
    world.variables |= {"ARK_SECRET": "s3cret", "MY_SECRET": "s3cret", "MINE": "kept"}
    with changed(world) as contents:
        contents.workspace.secret = Secret("env:MY_SECRET")
    world.ark("send", "signal.promoted", stdin=PAYLOAD)
    world.clock.advance(61)
    world.ark("drain")
    (facts,) = told.facts
    assert facts.pop("message").startswith("crm has failed since 2026-11-18T11:06:40")
    assert facts.pop("destination_id").startswith("dst_")
    assert facts == {
        "kind": "failing",
        "destination": "crm",
        "at": "2026-11-18T11:07:41.000Z",
        "failing_since": "2026-11-18T11:06:40.000Z",
        "status": 503,
        "error": "answered 503, not a 2xx",
        "waiting": 0,
        "retrying": 1,
        "dead": 0,
    }
    assert (told.path.parent / "arguments").read_text() == f"{told.path.parent} ; $(id)\n"
    assert told.environment["MINE"] == "kept"
    assert not {"ARK_SECRET", "ARK_QUEUE", "MY_SECRET"} & told.environment.keys()


def test_a_destination_that_fails_for_too_long_is_paused_and_says_why(
    world: World, receive: Receive, tmp_path: Path
) -> None:
    told, crm = Told(tmp_path / "told"), receive(503)
    world.add(crm, "crm")
    set_up(world, told.setting, "after=1m", "auto_pause_after=5m")
    world.ark("send", "signal.promoted", stdin=PAYLOAD)
    for seconds in (30, 300):
        world.clock.advance(seconds)
        done = world.ark("drain")
    assert sorted(told.kinds) == ["failing", "paused"]
    assert "crm is paused: it had failed since 2026-11-18T11:06:40.000Z" in done.err
    shown = world.ark("dest", "show", "crm", "--json").json["destination"]
    assert (shown["paused"], shown["pause_note"][:19]) == (True, "it had failed since")
    assert "paused because\tit had failed since" in world.ark("dest", "show", "crm").out
    resumed = world.ark("dest", "resume", "crm", "--json").json["destination"]
    assert (resumed["paused"], resumed["pause_note"]) == (False, None)
    world.clock.advance(9_000)
    world.ark("drain")
    assert not world.ark("dest", "show", "crm", "--json").json["destination"]["paused"]
    crm.behave = lambda _: answer(200)
    world.clock.advance(9_000)
    world.ark("drain")
    assert told.kinds[2:] == ["recovered"]


def test_pausing_needs_no_command(world: World, receive: Receive) -> None:
    world.add(receive(503), "crm")
    set_up(world, "", "auto_pause_after=1s")
    world.ark("send", "signal.promoted", stdin=PAYLOAD)
    world.clock.advance(30)
    world.ark("drain")
    assert world.ark("dest", "show", "crm", "--json").json["destination"]["paused"]


@pytest.mark.parametrize(
    ("command", "reason"),
    [("/no/such/program", "cannot be run: No such file or directory"), ("sh -c 'exit 3'", "ended with 3")],
)
def test_a_command_that_fails_is_told_of_and_runs_again(
    tmp_path: Path, receive: Receive, command: str, reason: str
) -> None:
    world = World(tmp_path / "home")
    world.add(receive(503), "crm")
    set_up(world, command, "after=1m")
    world.ark("send", "signal.promoted", stdin=PAYLOAD)
    world.clock.advance(61)
    assert f"warning: the alert command for crm {reason}" in world.ark("drain").err
    assert reason not in world.ark("drain").err
    found = {check["name"]: check for check in world.ark("doctor", "--json").json["checks"]}["alerts"]
    if command == "/no/such/program":
        assert (found["status"], found["message"]) == ("fail", f"{command} is not an executable file")
    else:
        assert found["status"] == "warn"
        assert "failed the last time (2026-11-18T11:07:41.000Z): it ended with 3" in found["message"]
    world.clock.advance(60)
    assert reason in world.ark("drain").err
    told = Told(tmp_path / "told")
    set_up(world, told.setting)
    world.clock.advance(60)
    world.ark("drain")
    assert told.kinds == ["failing"]
    found = {check["name"]: check for check in world.ark("doctor", "--json").json["checks"]}["alerts"]
    assert (found["status"], found["message"]) == ("pass", f"{told.path} is told when a destination has failed for 1m")


def test_a_command_that_hangs_holds_up_nobody_for_long_and_runs_again(
    tmp_path: Path, receive: Receive, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, world = Told(tmp_path / "told", "exec sleep 2"), World(tmp_path / "home")
    world.add(receive(503), "crm")
    set_up(world, told.setting, "after=1m")
    world.ark("send", "signal.promoted", stdin=PAYLOAD)
    world.clock.advance(61)
    monkeypatch.setattr(alerts, "_PATIENCE", 0.3)
    said = world.ark("drain")
    assert "the alert command for crm still runs; ark does not wait for it any longer" in said.err
    world.clock.advance(90)
    Told(tmp_path / "told")
    world.ark("drain")
    assert told.kinds == ["failing", "failing"]


@pytest.mark.skipif(bool(os.geteuid()), reason="only root can become another user")
def test_root_runs_the_command_of_another_user_as_that_user(tmp_path: Path) -> None:
    store = tmp_path / "destinations.toml"
    os.chown(tmp_path, 65534, 65534)
    # The settings may be in a database, beside whose key there is no file.
    assert owner_of(store) == (65534, 65534)
    store.touch()
    assert owner_of(store) is None
    os.chown(store, 65534, 65534)
    asked = Program(["/bin/sh", "-c", "test $(id -u) = 65534"], {"PATH": os.environ["PATH"]}, b"", owner_of(store))
    assert asked.wait(5) == 0


def test_a_command_that_ends_without_reading_is_no_error(tmp_path: Path) -> None:
    assert Program(["/bin/sh", "-c", "exit 0"], {}, b"x" * 4096).wait(5) == 0


def test_a_command_is_killed_with_what_it_started(tmp_path: Path) -> None:
    program = Program(["/bin/sh", "-c", f"sleep 9 & echo $! >{tmp_path}/id; wait"], {"PATH": os.environ["PATH"]}, b"")
    while not (tmp_path / "id").exists() or not (tmp_path / "id").read_text():
        assert program.wait(0.01) is None
    program.kill()
    child = int((tmp_path / "id").read_text())
    for _ in range(500):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            break
        # Until init has reaped it.
        if Path(f"/proc/{child}/stat").exists() and " Z " in Path(f"/proc/{child}/stat").read_text():
            break
        time.sleep(0.02)
    else:
        pytest.fail("it still runs")


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("command = ''", "alerts.command: give a program and its arguments, or remove the line"),
        ("command = 'sh \"-c'", "alerts.command: No closing quotation: it is split into words as a shell does it"),
        ("after = '5'", "alerts.after: '5' is not a duration"),
        ("auto_pause_after = 'soon'", "alerts.auto_pause_after: 'soon' is not a duration"),
        ("when = '5m'", "alerts: Object contains unknown field"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_place(tmp_path: Path, setting: str, problem: str) -> None:
    world = World(tmp_path / "home")
    world.store_file.parent.mkdir(parents=True, mode=0o700)
    world.store_file.write_text(f"version = 1\n[alerts]\n{setting}\n")
    world.store_file.chmod(0o600)
    done = world.ark("dest", "list")
    assert done.status == 78
    assert problem in done.err


def test_the_settings_show_the_program_and_not_its_arguments(tmp_path: Path) -> None:
    world = World(tmp_path / "home")
    set_up(world, "/etc/ark/chat https://hooks.example.com/t0ken")
    shown = world.ark("config", "show")
    assert f"alerts.command\t/etc/ark/chat …\t{world.store_file}\n" in shown.out
    assert "alerts.after\t30m\tdefault\n" in shown.out
    assert "t0ken" not in shown.out + world.ark("doctor").out


def test_without_a_command_nothing_is_kept_and_doctor_says_nothing(world: World, receive: Receive) -> None:
    world.add(receive(503), "crm")
    world.ark("send", "signal.promoted", stdin=PAYLOAD)
    world.clock.advance(3000)
    world.ark("drain")
    assert memo(world) is None
    assert "alerts" not in {check["name"] for check in world.ark("doctor", "--json").json["checks"]}
