"""Two hosts that share a queue: two homes with nothing in common but ARK_QUEUE and the key."""

import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from arkcli.actions.following import Following
from arkcli.actions.roster import Roster
from tests.postgres import network, query
from tests.started import until
from tests.test_processes import finish, start
from tests.world import PAYLOAD, FakeClock, TestReceiver, World

Receive = Callable[..., TestReceiver]


@pytest.fixture
def hosts(empty_database: str, tmp_path: Path) -> tuple[World, World]:
    clock = FakeClock()
    first, second = (World(tmp_path / name, database=empty_database, clock=clock) for name in ("first", "second"))
    made = first.ark("dest", "list")
    assert (made.status, made.err.count("queue.key, the key of the destinations and secrets in postgresql://")) == (
        0,
        1,
    )
    key = second.home / "config" / "queue.key"
    key.parent.mkdir(parents=True)
    shutil.copy(first.home / "config" / "queue.key", key)
    return first, second


def test_a_destination_that_one_adds_the_other_sends_to(hosts: tuple[World, World], receive: Receive) -> None:
    (first, second), crm = hosts, receive()
    first.add(crm, "crm")
    sent = second.ark("send", "signal.promoted", "--json", stdin=PAYLOAD).json
    assert [found["outcome"] for found in sent["deliveries"]] == ["delivered"]
    assert crm.requests[0].signature
    assert first.ark("queue", "show", sent["event"]["id"], "--json").json["deliveries"][0]["state"] == "delivered"
    assert first.shared_secrets() == second.shared_secrets() != []
    assert second.ark("dest", "remove", "crm", "--yes").status == 0
    assert first.ark("dest", "list", "--json").json["destinations"] == []


def test_what_one_accepts_the_other_delivers_and_retries(hosts: tuple[World, World], receive: Receive) -> None:
    (first, second), crm = hosts, receive(503)
    first.add(crm, "crm")
    assert first.ark("send", "signal.promoted", "--id", "a", stdin=PAYLOAD).status == 75
    first.clock.advance(30)
    assert second.ark("drain", "--json").json["retrying"] == 1
    first.clock.advance(300)
    assert first.ark("drain", "--json").json["retrying"] == 1
    assert [request.attempt for request in crm.requests] == [1, 2, 3]
    assert second.ark("send", "signal.promoted", "--id", "a", "--json", stdin=PAYLOAD).json["repeated"]


def test_a_run_learns_of_a_pause_on_another_host_within_half_a_second(
    hosts: tuple[World, World], receive: Receive
) -> None:
    first, second = hosts
    first.add(receive(), "crm")
    home = second.session().home
    warnings: list[str] = []
    roster = Roster(home, lambda contents: contents.destinations, warnings.append)
    assert [endpoint.destination.name for endpoint in roster.read()] == ["crm"]
    first.ark("dest", "pause", "crm")
    first.clock.advance(0.1)
    home.queue.look([], 0)
    # A change is read one look after it was seen.
    assert [roster.read() for _ in range(2)][-1] == []
    assert warnings == ["all destinations have been removed or paused: there is none to deliver to"]
    home.close()


def test_a_drain_that_runs_takes_in_what_another_host_changes_within_a_second(
    hosts: tuple[World, World], receive: Receive
) -> None:
    (first, second), crm, lake = hosts, receive(), receive()

    first.add(crm, "crm")
    drain = start(second, "drain", "--watch")
    try:
        first.ark("send", "signal.promoted", "--sample", "--queue")
        until(lambda: len(crm.requests) == 1)
        first.add(lake, "lake")
        first.ark("dest", "pause", "crm")
        time.sleep(0.6)
        first.ark("send", "signal.promoted", "--sample", "--queue")
        until(lambda: len(lake.requests) == 1)
        assert len(crm.requests) == 1
    finally:
        drain.send_signal(signal.SIGTERM)
        status, _, err = finish(drain)
    assert (status, "Traceback" in err) == (0, False)


def test_two_drains_that_stand_by_and_deliver_both_stay_registered(
    hosts: tuple[World, World], receive: Receive
) -> None:
    first, _ = hosts
    first.add(receive(), "crm")
    queue, other = (world.session().home for world in hosts)
    ids = [found.id for found in queue.store.read().destinations]
    queue.joined(queue.store.read().destinations)
    first.ark("send", "signal.promoted", "--sample", "--queue")
    assert queue.queue.drains() == 1
    assert other.queue.drains() == 2
    (claim,) = queue.queue.claim_due(ids, 1, "drain", 0)
    for _ in range(10):
        first.clock.advance(3)
        assert queue.queue.look(ids, 0) == other.queue.look(ids, 0) == ids
        assert other.queue.claim_due(ids, 1, "drain", 0) == []
        assert (queue.queue.drains(), other.queue.drains()) == (2, 2)
    claim.release()
    queue.close()
    other.close()


def test_a_host_without_the_key_is_told_where_to_get_it_by_every_command(hosts: tuple[World, World]) -> None:
    _, second = hosts
    (second.home / "config" / "queue.key").unlink()
    for command in (
        "dest list",
        "send signal.promoted --sample",
        "drain",
        "queue",
        "log",
        "secret show",
        "config show",
    ):
        refused = second.ark(*command.split())
        assert (command, refused.status) == (command, 78)
        assert "queue.key is missing: copy queue.key from" in refused.err
    checks = {check["name"]: check for check in second.ark("doctor", "--json").json["checks"]}
    assert checks["store"]["status"] == "fail"
    assert checks["database"]["status"] == "pass"


def test_where_the_database_is_and_the_key_is_said_without_a_password(hosts: tuple[World, World]) -> None:
    first, _ = hosts
    url = first.variables["ARK_QUEUE"]
    first.variables["ARK_QUEUE"] = url.replace("postgres@", "postgres:hunter2@")
    settings = {one["name"]: one for one in first.ark("config", "show", "--json").json["settings"]}
    assert settings["queue.url"]["value"].startswith("postgresql://postgres:***@/ark_test_")
    assert settings["queue.url"]["source"] == "environment ARK_QUEUE"
    assert settings["queue.key"]["value"] == str(first.home / "config" / "queue.key")
    assert settings["secret"]["source"] in ("default", settings["queue.url"]["value"])
    assert first.ark("config", "path", "--json").json["queue"] == settings["queue.url"]["value"]


def test_the_file_may_name_the_database_and_then_has_nothing_else(hosts: tuple[World, World]) -> None:
    first, _ = hosts
    url = first.variables.pop("ARK_QUEUE")
    first.store_file.write_text(f'version = 1\n[queue]\nurl = "{url}"\n')
    first.store_file.chmod(0o600)
    settings = {one["name"]: one for one in first.ark("config", "show", "--json").json["settings"]}
    assert settings["queue.url"]["source"] == str(first.store_file)
    first.store_file.write_text(f'version = 1\n[queue]\nurl = "{url}"\n[workspace]\nsecret = "s3cret"\n')
    refused = first.ark("dest", "list")
    assert (refused.status, "the others in this file would not be used" in refused.err) == (78, True)
    assert not (first.home / "state").exists()


@pytest.mark.parametrize(
    ("url", "said"),
    [("redis://db/0", "ark keeps no queue at redis://"), ("postgresql://ark:hunter2%@db/ark", "cannot be read")],
)
def test_another_database_is_wrong_usage(world: World, url: str, said: str) -> None:
    world.variables["ARK_QUEUE"] = url
    for command in ("dest list", "send signal.promoted --sample", "queue", "config path", "queue upgrade"):
        refused = world.ark(*command.split())
        assert (refused.status, said in refused.err, "hunter2" in refused.err) == (2, True, False)
    assert world.ark("doctor").status == 1
    assert not world.home.exists()


def test_the_doctor_makes_nothing(empty_database: str, tmp_path: Path) -> None:
    world = World(tmp_path / "home", database=empty_database)
    checks = {check["name"]: check for check in world.ark("doctor", "--json").json["checks"]}
    assert (checks["schema"]["status"], checks["schema"]["message"]) == ("warn", "ark's tables do not exist yet")
    assert query(empty_database, "select 1 from pg_namespace where nspname = 'ark'") == []
    assert not world.home.exists()


def test_the_doctor_says_that_local_destinations_are_not_used(hosts: tuple[World, World]) -> None:
    first, _ = hosts
    url = first.variables.pop("ARK_QUEUE")
    assert first.ark("dest", "add", "https://crm.example/", "--no-ping").status == 0
    first.variables["ARK_QUEUE"] = url
    checks = {check["name"]: check for check in first.ark("doctor", "--json").json["checks"]}
    assert "1 destination, which are not used while ARK_QUEUE is set" in checks["unused"]["message"]


def test_an_upgrade_makes_the_tables_or_prints_the_sql_that_does(empty_database: str, tmp_path: Path) -> None:
    world = World(tmp_path / "home", database=empty_database)
    printed = world.ark("queue", "upgrade", "--print")
    assert printed.status == 0
    query(empty_database, printed.out)
    assert world.ark("queue", "upgrade", "--print").out == "-- ark's tables have version 1 already\n"
    assert world.ark("queue", "upgrade", "--json").json["version"] == 1
    assert not world.home.exists()
    assert world.ark("dest", "list").status == 0


def test_a_role_that_may_not_make_tables_gets_the_sql_to_run(empty_database: str, tmp_path: Path) -> None:
    query(empty_database, "drop role if exists ark_guest")
    query(empty_database, "create role ark_guest login")
    world = World(tmp_path / "home", database=empty_database.replace("postgres@", "ark_guest@"))
    refused = world.ark("dest", "list")
    assert refused.status == 78
    assert "which `ark queue upgrade --print` prints; then try again" in refused.err
    printed = world.ark("queue", "upgrade", "--print")
    assert (printed.status, "create table ark.event" in printed.out) == (0, True)
    query(empty_database, "drop role ark_guest")


def test_while_the_database_is_away_a_send_says_that_nothing_was_accepted(
    hosts: tuple[World, World], receive: Receive
) -> None:
    first, _ = hosts
    first.add(receive(), "crm")
    with network(first.variables["ARK_QUEUE"]) as way:
        first.variables["ARK_QUEUE"] = way.url
        assert first.ark("send", "signal.promoted", "--sample").status == 0
        way.close()
        refused = first.ark("send", "signal.promoted", "--sample")
        assert (refused.status, refused.err.rstrip().endswith("nothing was accepted")) == (1, True)
        lines = first.ark("send", "signal.promoted", "--ndjson", "--queue", stdin=PAYLOAD)
        assert (lines.status, lines.err.rstrip().endswith("nothing was accepted")) == (1, True)
        checks = {check["name"]: check for check in first.ark("doctor", "--json").json["checks"]}
        assert checks["database"]["status"] == "fail"
        way.open()
        assert first.ark("queue", "--json").json["events"] == 1


def test_a_log_that_is_followed_goes_on_after_the_database_was_away(
    hosts: tuple[World, World], receive: Receive
) -> None:
    first, second = hosts
    first.add(receive(), "crm")
    with network(first.variables["ARK_QUEUE"]) as way:
        second.variables["ARK_QUEUE"] = way.url
        home = second.session().home
        warnings: list[str] = []
        following = Following(
            home, home.store.read(), lambda contents: contents.destinations, lambda *_: None, warnings.append
        )
        assert list(following.past()) == []
        way.close()
        first.ark("send", "signal.promoted", "--sample", "--id", "one")
        first.clock.advance(1)
        for _ in range(2):
            assert list(following.new()) == []
        assert len(warnings) == 1, warnings
        (warning,) = warnings
        assert warning.startswith("cannot reach the database postgresql://postgres@127.0.0.1:")
        assert warning.endswith("; `log` goes on when it can be reached")
        way.open()
        first.clock.advance(5)
        assert [attempt.event_id for _, attempt in following.new()] == ["one"]
        home.close()
