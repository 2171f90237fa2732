"""`ark queue move`: the queue and the store from files to a database, and back."""

import errno
import json
import os
import random
import shutil
import signal
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from arkcli import times
from arkcli.errors import Moved
from arkcli.model import Draft
from arkcli.queue.local import moving as local_moving
from arkcli.queue.local.queue import LocalQueue
from arkcli.queue.postgres.moving import DatabaseMoves
from arkcli.queue.postgres.queue import PostgresQueue
from arkcli.store.shelf import FileShelf
from arkcli.store.store import Store
from arkcli.system import files
from tests.ingest.test_serve import serving
from tests.postgres import query
from tests.queue.local.faults import failing_at, hooked
from tests.started import until
from tests.test_processes import finish, start
from tests.world import PAYLOAD, TestReceiver, World, receiver

Receive = Callable[..., TestReceiver]
#: Commands that show what is in the queue and the store, in every form.
SHOWN = (
    ("queue",),
    ("queue", "list"),
    ("queue", "list", "--state", "dead"),
    ("queue", "list", "--by", "error"),
    ("log",),
    ("log", "-v"),
    ("log", "--stats"),
    ("dest", "list"),
    ("dest", "show", "crm"),
    ("secret", "show"),
    *(("queue", "show", found) for found in ("retrying", "dead", "revived", "dropped", "replayed")),
)

#: Where the store is; the size of the log; and when an event was accepted that is sent again: in files the log has a
#: second line for it.
DIFFERS = {"source", "bytes", "accepted_at", "oldest_at"}


def shown(world: World, commands: Sequence[Sequence[str]] = SHOWN) -> dict[str, tuple[list[object], int]]:
    """What the commands show."""
    found: dict[str, tuple[list[object], int]] = {}
    for words in commands:
        result = world.ark(*words, "--json")
        found[" ".join(words)] = [_same(json.loads(line)) for line in result.out.splitlines()], result.status
    return found


def changed(world: World, before: dict[str, tuple[list[object], int]]) -> dict[str, object]:
    """What the commands show otherwise than before."""
    found = shown(world, [words.split() for words in before])
    return {words: result for words, result in found.items() if result != before[words]}


def _same(document: object) -> object:
    if isinstance(document, dict):
        return {key: _same(value) for key, value in document.items() if key not in DIFFERS}
    if isinstance(document, list):
        # What is sent again has another place among what waits.
        return sorted((_same(one) for one in document), key=str)
    return document


def build(world: World, receive: Receive) -> None:
    """A home in which deliveries have every state."""
    crm, lake, other = receive(200), receive(503), receive(200)
    world.add(crm, "crm", "--header", "Authorization: Bearer tok_hidden")
    world.add(lake, "lake", "--own-secret")

    def send(name: str, *options: str) -> None:
        world.ark("send", "signal.promoted", "--id", name, *options, stdin=PAYLOAD)

    for name in ("dead", "revived", "dropped", "delivered"):
        send(name)
    for _ in range(12):
        world.clock.advance(7200)
        world.ark("drain")
    world.ark("queue", "drop", "dropped", "--to", "lake")
    world.clock.advance(1)
    send("retrying")
    send("replayed", "--to", "crm")
    world.ark("replay", "replayed", "--to", "crm", "--queue")
    world.add(other, "other")
    world.ark("dest", "pause", "other")
    send("to", "--to", "other", "--queue")
    send("waiting", "--queue")
    # Last: in files, what is sent again is behind everything else after a move.
    world.ark("queue", "retry", "revived", "--to", "lake")


def test_every_command_shows_the_same_before_and_after_a_move_and_back_again(
    world: World, receive: Receive, empty_database: str
) -> None:
    build(world, receive)
    before, document = shown(world), world.store_file.read_bytes()
    assert {words: result for words, result in before.items() if result[1]} == {}

    moved = world.ark("queue", "move", empty_database, "--yes", "--json")
    counts = {"events": 8, "attempts": len(before["log"][0]), "deliveries": 9}
    assert (moved.status, moved.json) == (0, {"moved": counts})
    assert changed(world, before) == {}
    assert world.store_file.read_text().startswith("version = 1\n\n[queue]\nurl = ")
    assert sorted(path.name for path in world.queue_directory.iterdir()) == ["VERSION", "lock", "move.json"]

    back = world.ark("queue", "move", "local", "--yes", "--json")
    assert back.json == moved.json
    assert changed(world, before) == {}
    assert world.store_file.read_bytes() == document
    assert query(empty_database, "select state, (select count(*) from ark.event) from ark.meta") == [("moved", 0)]


#: The functions that make the steps of a move, in both directions. Before and after each call the power can fail.
STEPS: tuple[tuple[Any, str], ...] = (
    (local_moving.LocalMoves, "begin"),
    (local_moving.LocalMoves, "finish"),
    (DatabaseMoves, "note"),
    (DatabaseMoves, "begin"),
    (DatabaseMoves, "finish"),
    (DatabaseMoves, "clear"),
    (LocalQueue, "restore"),
    (PostgresQueue, "restore"),
    (Store, "put"),
    (FileShelf, "replace"),
    (files, "replace"),
    (files, "remove_tree"),
)


def killed_at(number: int, world: World, *words: str) -> tuple[str, int]:
    """Runs `ark` in another process, which is killed at the step with a number.

    Returns that step, and 0. If there is no such step, returns "" and the number of steps.
    """
    reading, writing = os.pipe()
    process = os.fork()
    if not process:
        made: list[str] = []

        def step(name: str) -> None:
            made.append(name)
            if len(made) == number:
                os.write(writing, name.encode())
                os.kill(os.getpid(), signal.SIGKILL)

        def stepping(of: Any, name: str) -> None:
            known = getattr(of, name)

            def stepped(*args: Any, **options: Any) -> Any:
                step(f"before {of.__name__}.{name}")
                result = known(*args, **options)
                step(f"after {of.__name__}.{name}")
                return result

            setattr(of, name, stepped)

        for of, name in STEPS:
            stepping(of, name)
        status = world.ark(*words).status
        os.write(writing, str(len(made)).encode())
        os._exit(int(status))
    os.close(writing)
    _, status = os.waitpid(process, 0)
    with os.fdopen(reading) as file:
        said = file.read()
    assert said
    assert not said.isdecimal() or status == 0
    return ("", int(said)) if said.isdecimal() else (said, 0)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A home with something of everything, which is copied."""
    with ExitStack() as stack:
        world = World(tmp_path_factory.mktemp("kept") / "home")
        build(world, lambda status=200: stack.enter_context(receiver(status)))
        yield world


@pytest.mark.parametrize("way", ["there", "back"])
def test_a_move_that_is_killed_at_any_step_is_finished_by_running_it_again(
    kept: World, empty_database: str, tmp_path: Path, way: str, request: pytest.FixtureRequest
) -> None:
    there, back = ("queue", "move", empty_database, "--yes"), ("queue", "move", "local", "--yes")
    words = there if way == "there" else back
    before = shown(kept, (("queue", "list"), ("log",), ("dest", "list")))

    def killed(number: int) -> int:
        query(empty_database, "drop schema if exists ark cascade")
        world = kept.moved_to(tmp_path / str(number))
        shutil.copytree(kept.home, world.home)
        if way == "back":
            assert world.ark(*there).status == 0
        step, count = killed_at(number, world, *words)
        # Other processes go on meanwhile. What they accept must be there in the end.
        sent = world.ark("send", "signal.promoted", "--id", "meanwhile", "--queue", "--to", "other", stdin=PAYLOAD)
        # By then the claims of the killed process have ended.
        world.clock.advance(21)
        again = world.ark(*words, "--json")
        assert again.status == 0 or "files of this host already" in again.out, (step, again)
        found = world.ark("queue", "show", "meanwhile")
        assert (found.status, "meanwhile" in found.out) == ((0, True) if sent.status == 0 else (2, False)), step
        if sent.status == 0:
            world.ark("queue", "drop", "meanwhile", "--to", "other")
        else:
            assert "move" in sent.err, step
            assert changed(world, before) == {}, step
        return count

    count = killed(10_000)
    assert count > 20
    every = request.config.getoption("--all-faults")
    for number in range(1, count + 1) if every else random.Random(count).sample(range(1, count + 1), 2):
        killed(number)


def spoil(path: Path, number: int) -> None:
    """Changes a byte of a line."""
    found = path.read_bytes().splitlines(keepends=True)
    found[number] = found[number][:-9] + b"x" + found[number][-8:]
    path.write_bytes(b"".join(found))


def place_of_lake(world: World) -> Path:
    return next((world.queue_directory / "destinations").glob("*/dead.jsonl")).parent


#: A file with a damaged line, its number, and how many deliveries are lost with it.
DAMAGE: dict[str, tuple[Callable[[World], Path], int, int]] = {
    "an event that waits": (lambda world: min((world.queue_directory / "events").glob("*.jsonl")), 7, 3),
    "an event that is retried": (lambda world: min((world.queue_directory / "events").glob("*.jsonl")), 4, 1),
    "a dead letter": (lambda world: place_of_lake(world) / "dead.jsonl", 0, 1),
    "an attempt": (lambda world: min((place_of_lake(world) / "journal").glob("*.jsonl")), 1, 0),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_repaired_before_a_move_and_what_is_lost_is_said(
    kept: World, empty_database: str, tmp_path: Path, what: str
) -> None:
    world = kept.moved_to(tmp_path / "home")
    shutil.copytree(kept.home, world.home)
    file, number, lost = DAMAGE[what]
    path, move = file(world), ("queue", "move", empty_database, "--yes")
    spoil(path, number)
    before = world.ark("queue").out
    refused = world.ark(*move)
    assert (refused.status, f"has 1 problem, the first in {path}: the checksum does not fit" in refused.err) == (
        78,
        True,
    )
    assert "Nothing was moved; run `ark queue check --repair`, and try again" in refused.err
    assert world.ark("queue").out == before
    assert world.ark("queue", "check", "--repair").status == 0
    moved = world.ark(*move)
    assert moved.status == 0, moved
    assert ("could not be moved" in moved.err) is (lost > 0)
    assert not lost or f"{lost} deliver{'y' if lost == 1 else 'ies'} could not be moved" in moved.err
    # The copies of damaged lines outlive the queue that is removed.
    assert {one.name for one in world.queue_directory.iterdir()} == {"VERSION", "lock", "move.json", "damaged"}


def test_where_a_line_of_a_journal_is_missing_the_move_says_what_to_do(
    kept: World, empty_database: str, tmp_path: Path
) -> None:
    world = kept.moved_to(tmp_path / "home")
    shutil.copytree(kept.home, world.home)
    journal = min((place_of_lake(world) / "journal").glob("*.jsonl"))
    found = journal.read_bytes().splitlines(keepends=True)
    (missing,) = (line for line in found if b'"id":"dead"' in line and b'"attempt":2,' in line)
    journal.write_bytes(b"".join(line for line in found if line != missing))
    refused = world.ark("queue", "move", empty_database)
    assert (refused.status, "Discard it with `ark queue drop`" in refused.err) == (78, True), refused
    listed = Counter(one["event_id"] for one in world.ark("queue", "list", "--to", "lake", "--json").json["deliveries"])
    ((twice, _),) = [(found, count) for found, count in listed.items() if count > 1]
    assert world.ark("queue", "drop", twice, "--to", "lake", "--yes").status == 0
    assert world.ark("queue", "move", empty_database).status == 0


def test_another_host_begins_to_use_the_queue_with_a_copy_of_the_key_and_two_queues_are_not_merged(
    world: World, receive: Receive, empty_database: str, tmp_path: Path
) -> None:
    world.add(receive(), "crm")
    move = ("queue", "move", empty_database)
    key = tmp_path / "copied.key"
    made = world.ark(*move)
    assert (made.status, "still in" in made.err, "other hosts need the same url and a copy of the key" in made.err) == (
        0,
        True,
        True,
    )
    shutil.copy(world.home / "config" / "queue.key", key)
    second, third = (World(tmp_path / name, clock=world.clock) for name in ("second", "third"))
    assert second.ark(*move).status == 78
    joined = second.ark(*move, "--key", str(key))
    assert (joined.status, "this host now uses" in joined.out, "no destination" in joined.err) == (0, True, False)
    again = second.ark(*move, "--json")
    assert (again.status, again.json) == (0, {"moved": {"events": 0, "attempts": 0, "deliveries": 0}})
    assert [one["name"] for one in second.ark("dest", "list", "--json").json["destinations"]] == ["crm"]
    third.add(receive(), "lake")
    refused = third.ark(*move, "--key", str(key))
    assert (refused.status, "already has destinations" in refused.err) == (2, True)
    assert [one["name"] for one in third.ark("dest", "list", "--json").json["destinations"]] == ["lake"]
    # The queue is moved away by one host, and the others learn where it is.
    assert second.ark("queue", "move", "local").status == 0
    for words in (("queue",), ("send", "signal.promoted", "--sample"), ("dest", "list"), ("drain",)):
        gone = world.ark(*words)
        assert (gone.status, f"has been moved to files on {socket.gethostname()}" in gone.err) == (78, True)


def test_a_queue_of_which_a_destination_is_claimed_is_not_moved(
    world: World, receive: Receive, empty_database: str
) -> None:
    world.add(receive(), "crm")
    with world.held("crm", "drain"):
        refused = world.ark("queue", "move", empty_database)
    said = f"error: process {os.getpid()} (drain) is delivering to crm, so nothing was moved. Stop it and try again"
    assert (refused.status, said in refused.err) == (1, True)
    assert world.ark("send", "signal.promoted", stdin=PAYLOAD).status == 0
    assert world.ark("queue", "move", empty_database, "--json").json["moved"]["events"] == 1


def test_a_process_that_has_the_old_queue_open_neither_accepts_nor_delivers_nor_looks(
    world: World, receive: Receive, empty_database: str
) -> None:
    world.add(receive(), "crm")
    session = world.session().home
    (crm,) = session.joined(session.store.read().destinations)
    assert world.ark("queue", "move", empty_database).status == 0
    draft = Draft("evt_late", "signal.promoted", times.to_text(world.clock.now()), PAYLOAD)
    for use in (
        lambda: session.queue.accept([draft]),
        lambda: session.queue.claim_due([crm.id], 1, "drain", 0),
        lambda: session.queue.look([crm.id], 0),
    ):
        with pytest.raises(Moved, match="has been moved to postgresql://"):
            use()
    session.close()
    # Back again: whoever has the database open learns it, too.
    other = world.session().home
    other.joined(other.store.read().destinations)
    assert world.ark("queue", "move", "local").status == 0
    for use in (lambda: other.queue.accept([draft]), lambda: other.queue.look([crm.id], 0)):
        with pytest.raises(Moved, match="has been moved to files"):
            use()
    assert other.queue.claim_due([crm.id], 1, "drain", 0) == []
    other.close()


def test_without_the_file_that_names_the_database_every_command_says_where_the_queue_is(
    world: World, receive: Receive, empty_database: str
) -> None:
    crm = receive()
    world.add(crm, "crm")
    assert world.ark("queue", "move", empty_database).status == 0
    world.store_file.unlink()
    for words in (
        ("send", "signal.promoted", "--sample"),
        ("ping",),
        ("dest", "list"),
        ("dest", "show", "crm"),
        ("dest", "add", crm.url, "--allow-local"),
        ("secret", "rotate"),
        ("replay", "last"),
        ("queue",),
        ("drain",),
        ("log",),
    ):
        gone = world.ark(*words)
        assert (gone.status, gone.out) == (78, "")
        assert f"the queue in {world.queue_directory} has been moved to postgresql://" in gone.err
    assert "has been moved to postgresql://" in world.ark("doctor").out
    assert not world.store_file.exists()


@pytest.mark.parametrize("away", ["to a database", pytest.param("back", marks=pytest.mark.outage)])
def test_a_service_ends_with_the_first_event_after_a_move_and_a_new_one_goes_on(
    world: World, receive: Receive, empty_database: str, away: str
) -> None:
    crm = receive()
    world.add(crm, "crm")
    moves = [("queue", "move", empty_database, "--yes"), ("queue", "move", "local", "--yes")]
    if away == "back":
        assert world.ark(*moves.pop(0)).status == 0
    with serving(world) as served:
        assert served.send().status == 202
        crm.settle()
        until(lambda: world.ark(*moves[0]).status == 0)
        refused = served.send()
        assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
        assert refused.json["error"]["code"] == "moved"
        assert served.process.wait(20) == 78
        assert served.process.stdout is not None
        (last,) = served.process.stdout.read().splitlines()
        assert "has been moved to" in json.loads(last)["error"]["message"]
    # As a supervisor starts it.
    with serving(world) as served:
        assert served.send().status == 202
        until(lambda: len(crm.requests) == 2)


def test_of_two_hosts_that_move_the_queue_back_at_once_one_has_it_and_the_other_learns_where_it_is(
    kept: World, empty_database: str, tmp_path: Path
) -> None:
    one, other = kept.moved_to(tmp_path / "one"), kept.moved_to(tmp_path / "other")
    shutil.copytree(kept.home, one.home)
    before = shown(one, (("queue", "list"), ("log",)))
    assert one.ark("queue", "move", empty_database, "--yes").status == 0
    shutil.copytree(one.home, other.home)
    back = ("queue", "move", "local", "--yes")
    moving = [start(host, *back) for host in (one, other)]
    ended = [finish(process) for process in moving]
    statuses = [int(host.ark("queue").status) for host in (one, other)]
    assert sorted(statuses) == [0, 78], (statuses, ended)
    winner, loser = (one, other) if statuses[0] == 0 else (other, one)
    assert changed(winner, before) == {}
    for words in (("queue",), back):
        gone = loser.ark(*words)
        assert (gone.status, f"has been moved to files on {socket.gethostname()} ({winner.home}" in gone.err) == (
            78,
            True,
        )


@pytest.mark.outage
def test_movers_of_one_host_at_once_move_it_once_and_say_the_same(
    kept: World, empty_database: str, tmp_path: Path
) -> None:
    world = kept.moved_to(tmp_path / "home")
    shutil.copytree(kept.home, world.home)
    before = shown(world, (("queue", "list"), ("log",)))
    for place in (empty_database, "local"):
        moving = [start(world, "queue", "move", place, "--yes", "--json") for _ in range(2)]
        said = {(status, json.dumps(json.loads(out)["moved"])) for status, out, _ in map(finish, moving)}
        assert len(said) == 1, said
        assert changed(world, before) == {}


def test_a_disk_that_is_full_on_the_way_back_leaves_the_queue_usable_once_and_the_error_says_to_run_it_again(
    kept: World, empty_database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    before = shown(kept, (("queue", "list"), ("log",), ("dest", "list")))

    def failed(number: int) -> str:
        query(empty_database, "drop schema if exists ark cascade")
        world = kept.moved_to(tmp_path / str(number))
        shutil.copytree(kept.home, world.home)
        assert world.ark("queue", "move", empty_database, "--yes").status == 0
        with hooked(failing_at(number, errno.ENOSPC)):
            refused = world.ark("queue", "move", "local", "--yes")
        assert not refused.status or "again" in refused.err or "file is unchanged" in refused.err, (number, refused)
        again = world.ark("queue", "move", "local", "--yes")
        assert again.status == 0 or "files of this host already" in again.err, (number, again)
        assert changed(world, before) == {}, number
        return refused.err

    assert "the move may not be complete; run the same command again" in failed(1)
    every = request.config.getoption("--all-faults")
    for number in range(2, 100) if every else random.Random(1).sample(range(2, 80), 1):
        failed(number)


def test_settings_that_name_another_place_are_said(world: World, receive: Receive, empty_database: str) -> None:
    world.add(receive(), "crm")
    world.variables["ARK_QUEUE"] = empty_database
    assert world.ark("queue", "move", empty_database).status == 0
    other = f"{empty_database}&application_name=x"
    refused = world.ark("queue", "move", other)
    assert (refused.status, "environment ARK_QUEUE says that the queue is in" in refused.err) == (2, True)
    world.variables["ARK_QUEUE"] = other
    refused = world.ark("queue", "move", "local")
    assert (refused.status, "remove [queue] url there, or unset ARK_QUEUE" in refused.err) == (2, True)
    world.variables["ARK_QUEUE"] = empty_database
    back = world.ark("queue", "move", "local")
    assert (back.status, "ARK_QUEUE is still set" in back.err) == (0, True)
    assert world.ark("dest", "list").status == 78
    del world.variables["ARK_QUEUE"]
    assert "crm" in world.ark("dest", "list").out


def test_a_move_that_another_host_has_begun_is_not_taken_over(
    world: World, receive: Receive, empty_database: str
) -> None:
    world.add(receive(), "crm")
    assert World(world.home.parent / "other", database=empty_database).ark("queue").status == 0
    shutil.copy(world.home.parent / "other" / "config" / "queue.key", world.home / "config")
    query(empty_database, "update ark.meta set state = 'moving', move = 'mov_1:1', place = 'files on db7 (/x)'")
    refused = world.ark("queue", "move", empty_database)
    assert (refused.status, "is being filled by a move from files on db7 (/x)" in refused.err) == (2, True)
    assert "crm" in world.ark("dest", "list").out
