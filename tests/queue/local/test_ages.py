"""Parts of a queue that are of different ages: what is accepted afterwards is delivered or waits, and it is told.

Each row takes a queue with a life behind it and takes a part away, cuts it, or puts a copy of another age in its place.
"""

import base64
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from arkcli import times
from arkcli.model import DOCUMENTED, Draft
from arkcli.queue.local.journal import Journal
from arkcli.queue.local.queue import LocalQueue
from arkcli.queue.local.stored import StoredEvent
from tests.queue.local.machine import listened, small_disk
from tests.world import PAYLOAD, START, TestReceiver, World, answer, receiver

Receive = Callable[..., TestReceiver]
#: What a row does to a queue: its directory, the copy that was made halfway, and the one made at the end.
Harm = Callable[[Path, Path, Path], object]
NEW: Final = ["new-1", "new-2", "new-3"]


class Row(NamedTuple):
    """A part and its age, what brings it about, and whether it is reported.

    `wait` are the destinations whose new events wait for a repair. What is `healed` is reported until the next event.
    """

    name: str
    harm: Harm
    told: bool = True
    wait: str = ""
    healed: bool = False


def a_of(queue: Path) -> Path:
    return min((queue / "destinations").iterdir())


def cut(path: Path, keep: float) -> None:
    os.truncate(path, int(path.stat().st_size * keep))


def back(part: str) -> Harm:
    """The copy of a part from halfway."""

    def harm(queue: Path, halfway: Path, _: Path) -> None:
        put(halfway / part, queue / part)

    return harm


def put(source: Path, target: Path) -> None:
    shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
    shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)


def all_but_a(queue: Path, halfway: Path, end: Path) -> None:
    """Everything from halfway, and one place as it is."""
    a = a_of(queue).name
    put(halfway, queue)
    put(end / "destinations" / a, queue / "destinations" / a)


def journals_of(place: Path) -> Path:
    return min((place / "journal").iterdir())


def log_of(queue: Path) -> Path:
    return min((queue / "events").glob("*.jsonl"))


def overwritten(path: Path, count: int, byte: bytes = b"x") -> None:
    """Puts other bytes in place of the last ones, the newline included."""
    data = path.read_bytes()
    path.write_bytes(data[:-count] + byte * count)


def settled_then_overwritten(queue: Path, _: Path, __: Path) -> None:
    """Puts zeros at the end of a journal up to which a checkpoint has counted."""
    journal = Journal(a_of(queue), len(DOCUMENTED.delays))
    journal.load_to_append()
    journal.save()
    journal.close()
    overwritten(journals_of(a_of(queue)), 40, b"\0")


def without_mark(harm: Harm) -> Harm:
    def both(queue: Path, halfway: Path, end: Path) -> None:
        harm(queue, halfway, end)
        (queue / "accepted").unlink()

    return both


def cut_log(keep: float) -> Harm:
    return lambda queue, _, __: cut(log_of(queue), keep)


def older_log_and_mark(queue: Path, halfway: Path, _: Path) -> None:
    put(halfway / "events", queue / "events")
    put(halfway / "accepted", queue / "accepted")


ROWS: Final = [
    Row("nothing", lambda queue, *_: None, told=False),
    Row("log, cut to nothing", cut_log(0)),
    Row("log, cut amid a line", cut_log(0.45)),
    Row(
        "log, its last byte cut",
        lambda queue, *_: os.truncate(log_of(queue), log_of(queue).stat().st_size - 1),
        told=False,
        healed=True,
    ),
    Row("log, its end overwritten", lambda queue, *_: overwritten(log_of(queue), 20)),
    Row("log, its end overwritten with zeros", lambda queue, *_: overwritten(log_of(queue), 20, b"\0")),
    Row("log, its file removed", lambda queue, *_: log_of(queue).unlink()),
    Row("log, its directory removed", lambda queue, *_: shutil.rmtree(queue / "events")),
    Row("log, an older copy", back("events")),
    Row("log and mark, an older copy", older_log_and_mark, wait="ab"),
    Row("mark, removed", lambda queue, *_: (queue / "accepted").unlink(), told=False),
    Row("mark, an older copy", back("accepted"), told=False),
    Row("mark, cut", lambda queue, *_: cut(queue / "accepted", 0.5), told=False),
    Row("mark, zeros", lambda queue, *_: (queue / "accepted").write_bytes(bytes(80)), told=False),
    Row("mark removed, log cut to nothing", without_mark(cut_log(0))),
    Row("mark removed, an older log", without_mark(back("events"))),
    Row("place, removed", lambda queue, *_: shutil.rmtree(a_of(queue))),
    Row("place, its journal removed", lambda queue, *_: shutil.rmtree(a_of(queue) / "journal")),
    Row("place, its journal emptied", lambda queue, *_: journals_of(a_of(queue)).unlink(), wait="a"),
    Row("place, its journal cut to nothing", lambda queue, *_: cut(journals_of(a_of(queue)), 0), wait="a"),
    Row("place, its journal cut", lambda queue, *_: cut(journals_of(a_of(queue)), 0.6), told=False),
    Row("place, its journal's last line overwritten", lambda queue, *_: overwritten(journals_of(a_of(queue)), 40)),
    Row("place, its journal's last lines overwritten", lambda queue, *_: overwritten(journals_of(a_of(queue)), 700)),
    # A power failure leaves the same where nothing was synced.
    Row("place, zeros at its journal's end", lambda q, *_: overwritten(journals_of(a_of(q)), 400, b"\0"), told=False),
    Row("place, zeros where its checkpoint has counted", settled_then_overwritten),
    Row("place, an older copy", lambda queue, half, _: put(a_of(half), a_of(queue)), told=False),
    Row("place, newer than everything else", all_but_a, wait="a"),
    Row("all places, removed", lambda queue, *_: shutil.rmtree(queue / "destinations")),
    Row("all places, an older copy", back("destinations"), told=False),
    Row("roll, removed", lambda queue, *_: (queue / "joined").unlink(), told=False),
    Row("roll, an older copy", back("joined"), told=False),
    Row("version, removed", lambda queue, *_: (queue / "VERSION").unlink(), told=False),
    Row("everything, an older copy", lambda queue, half, _: put(half, queue), told=False),
    Row("everything, removed", lambda queue, *_: shutil.rmtree(queue), told=False),
]


@pytest.fixture(scope="module")
def first_life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, TestReceiver]]:
    """A queue in which `a` and `b` had six events each, one of which was retried; with a copy from halfway."""
    world = World(tmp_path_factory.mktemp("first") / "home")
    with receiver(lambda told: answer(503 if told.delivery.startswith("old-3.") and told.attempt == 1 else 200)) as one:
        live(world, one)
        yield world, one


@pytest.fixture
def lived(first_life: tuple[World, TestReceiver], tmp_path: Path) -> tuple[World, TestReceiver]:
    """A copy of it, and nothing that its receiver got."""
    first, found = first_life
    shutil.copytree(first.home, tmp_path / "home")
    world = first.moved_to(tmp_path / "home")
    found.requests.clear()
    return world, found


def live(world: World, found: TestReceiver) -> None:
    for name in ("a", "b"):
        assert world.ark("dest", "add", f"{found.url}{name}", "--name", name, "--allow-local", "--no-ping").status == 0
    for number in range(1, 7):
        send(world, f"old-{number}", number)
        if number == 3:
            shutil.copytree(world.queue_directory, world.home / "halfway")
    world.clock.advance(60)
    assert world.ark("drain").status == 0
    # From then on their places are on disk for sure, and tell more than the roll does.
    settle(world)
    shutil.copytree(world.queue_directory, world.home / "end")


def send(world: World, event_id: str, size: int, *options: str) -> int:
    text = f"signal.description={'x' * size}"
    return world.ark("send", "signal.promoted", "--id", event_id, "--set", text, *options, stdin=PAYLOAD).status


def settle(world: World, *, keep: bool = False) -> None:
    """Has a checkpoint written for each destination, as it is once a thousand lines are told."""
    queue = world.session().home.queue
    for place in (world.queue_directory / "destinations").iterdir():
        journal = queue._members.journal_at(place)  # type: ignore[attr-defined]
        journal.load_to_append()
        journal.save()
        journal.close()
        if not keep:
            (place / "checkpoint.json").unlink()
    queue.close()


def arrived(found: TestReceiver, name: str) -> set[str]:
    return {
        request.delivery.partition(".")[0]
        for request in found.requests
        if request.line.startswith(f"POST /hook{name} ")
    }


def failing(world: World) -> list[str]:
    checks = json.loads(world.ark("doctor", "--json").out)["checks"]
    return [check["name"] for check in checks if check["status"] == "fail"]


@pytest.mark.parametrize("first", ["send", "queued", "drain", "check"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_what_is_accepted_later_is_delivered_or_waits_and_what_is_wrong_is_told(
    lived: tuple[World, TestReceiver], row: Row, first: str
) -> None:
    world, found = lived
    row.harm(world.queue_directory, world.home / "halfway", world.home / "end")
    if first == "drain":
        world.ark("drain")
    elif first == "check":
        # What the mark does not show is found with the next event.
        assert (world.ark("queue", "check").status == 78) is (row.told or row.healed) or "mark removed" in row.name
    for number, event_id in enumerate(NEW):
        # Where its first attempt has to wait for a repair, that is told, too.
        assert send(world, event_id, number, *(["--queue"] if first == "queued" else [])) != 1 or row.wait
    stream = world.ark("send", "signal.promoted", "--ndjson", "--queue", "--json", stdin=PAYLOAD.strip() + b"\n")
    everything = {*NEW, json.loads(stream.out.splitlines()[0])["event_id"]}
    world.clock.advance(60)
    world.ark("drain")

    for name in "ab":
        assert everything <= arrived(found, name) or (name in row.wait and not everything & arrived(found, name))
    said = world.ark("queue", "check")
    assert (said.status == 78) is row.told, said
    assert bool({"damage", "places"} & set(failing(world))) is row.told
    if row.told:
        assert world.ark("queue", "check", "--repair").status == 0
        assert world.ark("queue", "check").status == 0
        assert not {"damage", "places"} & set(failing(world))
        world.ark("drain")
    for name in "ab":
        assert everything <= arrived(found, name)
    assert send(world, "last", 9) == 0
    assert "last" in arrived(found, "a") & arrived(found, "b")


# --- what is kept, what is told, and what it costs


def test_a_command_that_finds_a_place_gone_says_so_once_and_by_name(lived: tuple[World, TestReceiver]) -> None:
    world, _ = lived
    gone = a_of(world.queue_directory)
    shutil.rmtree(gone)
    first, second = (world.ark("send", "signal.promoted", "--sample") for _ in range(2))
    assert first.err.startswith("warning: a: its part of the queue was gone")
    assert f"ark replay --to {gone.name} --since" in first.err
    assert "warning" not in second.err
    assert f"ark replay --to {gone.name} --since" in world.ark("queue", "check").out


def test_the_command_that_is_named_sends_what_a_lost_place_had(lived: tuple[World, TestReceiver]) -> None:
    world, found = lived
    gone = a_of(world.queue_directory)
    assert send(world, "waits", 1, "--queue") == 0
    shutil.rmtree(gone)
    assert world.ark("drain").status == 1
    assert (arrived(found, "a"), arrived(found, "b")) == (set(), {"waits"})
    assert world.ark("replay", "--to", gone.name, "--since", "-1h", "--yes").status == 0
    assert world.ark("drain").status == 0
    assert "waits" in arrived(found, "a")


def test_a_copy_that_is_put_back_later_is_gone_on_with(lived: tuple[World, TestReceiver]) -> None:
    world, found = lived
    gone = a_of(world.queue_directory)
    assert send(world, "waits", 1, "--queue") == 0
    gone.rename(world.home / "found again")
    assert send(world, "meanwhile", 2) == 0
    put(world.home / "found again", gone)
    assert world.ark("drain").status == 0
    assert arrived(found, "a") == {"waits", "meanwhile"}
    assert world.ark("queue", "check", "--repair").status == 0
    assert world.ark("queue", "check").status == 0


def test_a_young_place_that_vanishes_begins_again_and_loses_nothing(world: World, receive: Receive) -> None:
    found = receive(200)
    world.add(found, "a")
    for number in range(3):
        send(world, f"evt-{number}", number, *(["--queue"] if number else []))
    shutil.rmtree(a_of(world.queue_directory))
    assert world.ark("drain").status == 0
    assert sorted(request.delivery.partition(".")[0] for request in found.requests) == [
        "evt-0",
        "evt-0",
        "evt-1",
        "evt-2",
    ]
    assert world.ark("queue", "check").status == 0


def test_a_repair_keeps_what_was_to_be_retried_and_what_it_replaces(world: World, receive: Receive) -> None:
    answers = {"old": 503}
    found = receive(lambda told: answer(answers.get(told.delivery.partition(".")[0], 200)))
    world.add(found, "a")
    send(world, "old", 0)
    shutil.copytree(world.queue_directory, world.home / "halfway")
    world.clock.advance(1)
    send(world, "later", 1)
    settle(world, keep=True)
    older_log_and_mark(world.queue_directory, world.home / "halfway", world.home)
    answers.clear()
    world.clock.advance(1)
    send(world, "new", 2, "--queue")
    checkpoint = (a_of(world.queue_directory) / "checkpoint.json").read_bytes()
    said = world.ark("queue", "check", "--repair", "--json").json
    (row,) = map(json.loads, Path(said["set_aside"]).read_bytes().splitlines())
    assert base64.b64decode(row["bytes"]) + b"\n" == checkpoint
    assert not (a_of(world.queue_directory) / "checkpoint.json").exists()
    world.clock.advance(60)
    assert world.ark("drain").status == 0
    assert sorted(told.delivery.partition(".")[0] for told in found.requests) == ["later", "new", "old", "old"]
    assert [told.attempt for told in found.requests if told.delivery.startswith("old.")] == [1, 2]
    assert world.ark("queue", "list", "--json").json == {"deliveries": []}


def test_a_first_join_waits_for_the_disk_as_often_for_a_hundred_as_for_one(tmp_path: Path) -> None:
    waits = []
    for count in (1, 100):
        queue = LocalQueue(tmp_path / str(count), DOCUMENTED)
        with listened() as calls:
            queue.join([f"dst_{number}" for number in range(count)])
        waits.append(sum(call in {"sync", "sync_directory"} for call in calls))
        queue.close()
    assert waits[0] == waits[1] <= 3


@pytest.mark.parametrize("inodes", range(24, 34))
def test_where_no_inode_is_left_for_a_new_destination_nothing_is_accepted(
    tmp_path: Path, receive: Receive, inodes: int
) -> None:
    with small_disk(tmp_path / "disk", f"size=8m,nr_inodes={inodes}"):
        world = World(tmp_path / "disk")
        world.variables["ARK_CONFIG_DIR"] = str(tmp_path / "config")
        found = receive(200)
        said = world.ark("dest", "add", f"{found.url}/0", "--name", "n0", "--allow-local", "--no-ping")
        number = 0
        while said.status == 0:
            number += 1
            said = world.ark(
                "dest", "add", f"{found.url}/{number}", "--name", f"n{number}", "--allow-local", "--no-ping"
            )
        assert said.status == 1
        assert "the disk has no inode left" in said.err
        assert "nothing was accepted" in said.err
        # Those that have their place are not held up by it.
        assert "no inode" not in world.ark("queue").err


# --- the log with bytes missing, read by whoever reads it


def accept(queue: LocalQueue, *numbers: int, to: tuple[str, ...] | None = None) -> list[StoredEvent]:
    at = times.to_text(START)
    return queue.accept([Draft(f"evt_{number}", "ping", at, b'{"n":%d}' % number, to) for number in numbers])


def ids(queue: LocalQueue) -> list[str]:
    return [event.id for event in queue.events()]


@pytest.mark.parametrize("size", [1, 300, 1 << 20])
@pytest.mark.parametrize("keep", [0, 1, 50, 130, 131, 400])
def test_every_reader_passes_over_what_is_missing_and_no_position_is_used_twice(
    tmp_path: Path, size: int, keep: int
) -> None:
    queue = LocalQueue(tmp_path / "queue", DOCUMENTED, size)
    queue.join(["dst_a"])
    old = accept(queue, 1, 2, 3, 4, 5)
    segment = max((tmp_path / "queue" / "events").glob("*.jsonl"))
    os.truncate(segment, min(keep, segment.stat().st_size - 1))
    queue.close()
    queue = LocalQueue(tmp_path / "queue", DOCUMENTED, size)
    left = [event for event in old if event.id in set(ids(queue))]
    (new,) = accept(queue, 6)
    assert new.position >= old[-1].position + old[-1].length
    for _ in range(2):
        assert ids(queue) == [*(event.id for event in left), "evt_6"]
        assert [event.id for event in queue.recent_events(1 << 20)] == ids(queue)
        assert [event.id for event in queue.recent_events(new.length)] == ["evt_6"]
        assert all(queue.find(event.id) == event for event in [*left, new])
        assert queue.find("evt_5") is None or "evt_5" in ids(queue)
        claim = queue.claim("dst_a", "drain")
        assert claim is not None
        assert [found.event.id for found in claim.take(START, 9)] == ids(queue)
        claim.release()
        assert [record.event.id for record in queue.dump() if record.event] == ids(queue)
        assert queue.totals.events >= len(ids(queue))
        queue.close()
        queue = LocalQueue(tmp_path / "queue", DOCUMENTED, size)
    (seq,) = (json.loads(line)["seq"] for line in segments(tmp_path)[-1].read_bytes().splitlines())
    assert seq == 5
    problems = [found.problem for found in queue.check().damaged]
    assert any("missing" in problem for problem in problems)
    assert queue.check(repair_at="2026-11-26T00:00:00.000Z").set_aside
    assert queue.check().damaged == []
    accept(queue, 7)
    queue.tidy(["dst_a"], START + 1)
    assert queue.check().damaged == []
    queue.close()


def segments(path: Path) -> list[Path]:
    return sorted((path / "queue" / "events").glob("*.jsonl"))


@pytest.mark.parametrize("index", [0, 1, 2, 3], ids=["first", "second", "third", "last"])
def test_a_segment_that_is_removed_by_hand_is_named_with_its_events_until_it_is_noted(
    tmp_path: Path, index: int
) -> None:
    queue = LocalQueue(tmp_path / "queue", DOCUMENTED, 1)
    queue.join(["dst_a"])
    events = [accept(queue, number)[0] for number in range(4)]
    gone = events.pop(index)
    segments(tmp_path)[index].unlink()
    missing = f"bytes {gone.position:,} to {gone.position + gone.length:,} of the event log are missing"
    for checked in (queue.check(), queue.check_recent(1_000)):
        assert missing in checked.damaged[0].problem
    assert accept(queue, 9)[0].position == 4 * gone.length
    assert queue.check().damaged
    queue.check(repair_at="2026-11-26T00:00:00.000Z")
    assert queue.check().damaged == queue.check_recent(1_000).damaged == []
    queue.close()


def test_what_is_removed_because_nobody_needs_it_is_not_missed(tmp_path: Path) -> None:
    queue = LocalQueue(tmp_path / "queue", DOCUMENTED, 1)
    accept(queue, 1)
    accept(queue, 2)
    queue.tidy([], START + 1)
    assert len(segments(tmp_path)) == 1
    assert queue.check().damaged == queue.check_recent(1_000).damaged == []
    queue.close()
