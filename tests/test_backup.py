"""The backup in docs/operating.md: journals first, then the event log, loses no accepted event."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.postgres import database, programs
from tests.world import PAYLOAD, TestReceiver, World, in_turn


def test_a_copy_made_amid_deliveries_loses_nothing(
    world: World, receive: Callable[..., TestReceiver], tmp_path: Path
) -> None:
    found = receive(in_turn(200, 503, 200))
    world.add(found, "crm")
    for event_id in ("delivered", "retrying"):
        world.ark("send", "signal.promoted", "--id", event_id, stdin=PAYLOAD)
    copy = World(tmp_path / "copy")
    shutil.copytree(world.home / "config", copy.home / "config")
    shutil.copytree(world.queue_directory / "destinations", copy.queue_directory / "destinations")
    # Deliveries continue between the two halves of the copy.
    world.ark("send", "signal.promoted", "--id", "meanwhile", stdin=PAYLOAD)
    world.clock.advance(60)
    assert world.ark("drain").status == 0
    shutil.copytree(world.queue_directory / "events", copy.queue_directory / "events")
    shutil.copy(world.queue_directory / "VERSION", copy.queue_directory)

    del found.requests[:]
    copy.clock.advance(60)
    assert copy.ark("queue", "check").status == 0
    assert copy.ark("drain").status == 0
    assert {request.delivery.partition(".")[0] for request in found.requests} == {"retrying", "meanwhile"}
    assert copy.ark("queue", "list", "--json").json == {"deliveries": []}


def test_a_dump_of_a_moved_queue_and_its_key_are_a_backup(
    world: World, receive: Callable[..., TestReceiver], empty_database: str, tmp_path: Path
) -> None:
    found = receive(in_turn(200, 503, 200))
    world.add(found, "crm")
    for event_id in ("delivered", "retrying"):
        world.ark("send", "signal.promoted", "--id", event_id, stdin=PAYLOAD)
    assert world.ark("queue", "move", empty_database, "--yes").status == 0
    pg_dump, psql = programs("pg_dump", "psql")
    dump = subprocess.run([pg_dump, "--schema=ark", empty_database], capture_output=True, check=True, text=True).stdout
    assert found.url not in dump
    with database() as elsewhere:
        subprocess.run([psql, "-q", elsewhere], input=dump, capture_output=True, check=True, text=True)
        copy = World(tmp_path / "copy", database=elsewhere, clock=world.clock)
        assert copy.ark("drain").status == 78
        (copy.home / "config").mkdir(parents=True)
        shutil.copy(world.home / "config" / "queue.key", copy.home / "config")
        world.clock.advance(60)
        assert copy.ark("drain", "--json").json["delivered"] == 1
        assert [request.attempt for request in found.requests] == [1, 1, 2]
        assert copy.ark("queue", "check").status == 0
