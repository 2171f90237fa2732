"""Parts of a queue that are of different ages: what is accepted afterwards is delivered or waits, and it is told.

Each row takes a queue with a life behind it and takes a part away, cuts it, or puts a copy of another age in its place.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.world import PAYLOAD, TestReceiver, World, answer

Receive = Callable[..., TestReceiver]
#: What a row does to a queue: its directory, the copy that was made halfway, and the one made at the end.
Harm = Callable[[Path, Path, Path], object]
NEW: Final = ["new-1", "new-2", "new-3"]


class Row(NamedTuple):
    """A part and its age, what brings it about, and whether it is told of.

    `wait` are the destinations whose new events wait for a repair. What is `healed` is told of until the next event.
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


@pytest.fixture
def lived(world: World, receive: Receive) -> tuple[World, TestReceiver]:
    """A queue in which `a` and `b` had six events each, one of which was retried; with a copy from halfway."""
    found = receive(lambda told: answer(503 if told.delivery.startswith("old-3.") and told.attempt == 1 else 200))
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
    del found.requests[:]
    return world, found


def send(world: World, event_id: str, size: int, *options: str) -> int:
    text = f"signal.description={'x' * size}"
    return world.ark("send", "signal.promoted", "--id", event_id, "--set", text, *options, stdin=PAYLOAD).status


def settle(world: World) -> None:
    """Has a checkpoint written for each destination, as it is once a thousand lines are told, and removes it."""
    queue = world.environment().queue
    for place in (world.queue_directory / "destinations").iterdir():
        journal = queue._journal_at(place)  # type: ignore[attr-defined] # noqa: SLF001
        journal.load_to_append()
        journal.save()
        journal.close()
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
        # What the mark does not tell of is found with the next event.
        assert (world.ark("queue", "check").status == 78) is (row.told or row.healed) or "mark removed" in row.name
    for number, event_id in enumerate(NEW):
        assert send(world, event_id, number, *(["--queue"] if first == "queued" else [])) != 1
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
