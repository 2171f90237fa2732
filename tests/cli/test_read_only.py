"""A read-only queue and store: commands that only read work as usual and change nothing; the others say why they fail.

`ark` runs in processes of another user, with separate mounts.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.runner import Ran, Runner
from tests.world import receiver

ADD = "dest add --allow-local --no-ping http://127.0.0.1:9/"
SEND = "send signal.promoted --sample --queue --id"
#: Scripts that make a home read-only, and the message that names the part that cannot be written.
KINDS = {
    "a read-only mount": (
        'mount --bind "$home" "$home"; mount -o remount,ro,bind "$home"',
        "{home}/state/queue: Read-only file system",
    ),
    "a backup without write permission": ('chmod -R a-w "$home"', "{home}/state/queue: Permission denied"),
    "files that may only be read": (
        'find "$home" -type f -exec chmod 400 {} +',
        "{home}/state/queue/events/lock: Permission denied",
    ),
    "another user's queue": (
        'chown -R root "$home/state"; chmod -R u=rwX,go=rX "$home/state"',
        "{home}/state/queue: Permission denied",
    ),
    "another user's queue without locks": (
        'find "$home/state" -name lock -delete; chown -R root "$home/state"; chmod -R u=rwX,go=rX "$home/state"',
        "{home}/state/queue: Permission denied",
    ),
}
READERS = [
    "queue",
    "queue list",
    "queue show one",
    "queue retry one --dry-run",
    "queue drop one --dry-run",
    "log",
    "log --stats",
    "dest list",
    "dest show a",
    "drain --dry-run",
    "replay --since -1h --dry-run",
]
WRITERS = [
    "send signal.promoted --sample",
    "send signal.promoted --ndjson",
    "drain",
    "queue retry one",
    "queue drop one --yes",
    "queue check --repair",
    "replay one",
    "dest remove a --yes",
]


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    with ExitStack() as stack:
        found = Runner()
        stack.callback(found.close)
        if not found.mounts or found.user is None:
            pytest.skip("that takes root, who may mount, and a user that can run this Python")
        yield found


@pytest.fixture(scope="module")
def top(runner: Runner) -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="ark-read-only-"))
    directory.chmod(0o755)
    runner.shell('mkdir "$home"; chown "$user" "$home"', home=directory / "original")
    yield directory
    runner.shell('umount -l "$top"/* || true', top=directory)
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def original(runner: Runner, top: Path) -> Path:
    """A home with waiting, retrying and attempted deliveries at a; b has none, and the queue does not know it yet."""
    home = top / "original"
    ark(runner, home, f"{ADD}a --name a", f"{SEND} one")
    assert runner.ark(home, "drain", 0, "").status == 0
    ark(runner, home, f"{SEND} two")
    runner.shell('cp -a "$home/state" "$home/before"', home=home)
    ark(runner, home, f"{ADD}b --name b")
    runner.shell('rm -r "$home/state"; mv "$home/before" "$home/state"', home=home)
    return home


def ark(runner: Runner, home: Path, *lines: str) -> list[Ran]:
    done = [runner.ark(home, line, 0, "") for line in lines]
    assert [ran.status for ran in done] == [0] * len(done), done
    return done


def copy(runner: Runner, original: Path, name: str) -> Path:
    runner.shell('cp -a "$original" "$home"', original=original, home=original.parent / name)
    return original.parent / name


def tree(runner: Runner, home: Path) -> str:
    # Run it in the server's mount namespace, which differs from ours.
    found = home.with_name(f"{home.name}.tree")
    runner.shell('cd "$home"; find . -printf "%p %m %U %s %T@\\n" | sort > "$found"', home=home, found=found)
    return found.read_text("utf-8")


@pytest.mark.parametrize("kind", KINDS)
def test_what_only_reads_tells_the_same_and_changes_nothing_and_what_writes_says_why_it_cannot(
    runner: Runner, original: Path, kind: str
) -> None:
    twin, home = copy(runner, original, f"{kind} twin"), copy(runner, original, kind)
    runner.shell(KINDS[kind][0], home=home)
    before = tree(runner, home)
    for read, expected in zip(ark(runner, home, *READERS), ark(runner, twin, *READERS), strict=True):
        assert (read.out, read.err) == (expected.out, expected.err)
    queue, _ = ark(runner, home, "queue", "queue check")
    (document,) = queue.documents
    assert [(row["name"], row["waiting"], row["retrying"]) for row in document["destinations"]] == [
        ("a", 1, 1),
        ("b", 0, 0),
    ]
    why = KINDS[kind][1].format(home=home)
    for line in WRITERS:
        ran = runner.ark(home, line, 0, "{}")
        assert (ran.status, why in ran.out) == (78, True), ran
    doctor = runner.ark(home, "doctor", 0, "")
    assert (doctor.status, why in doctor.out) == (1, True)
    added = runner.ark(home, f"{ADD}c --name c", 0, "")
    assert (added.status, why in added.out or f"{home}/config/" in added.out) == (78, True)
    assert tree(runner, home) == before


def test_what_cannot_be_made_is_empty_to_readers_and_named_by_writers(runner: Runner, top: Path) -> None:
    home = top / "nothing"
    runner.shell('mkdir "$home"; mount -t tmpfs -o ro tmpfs "$home"', home=home)
    (queue, *_) = ark(runner, home, "queue", "queue list", "queue check", "log", "dest list")
    assert queue.documents == [{"destinations": [], "events": 0, "bytes": 0}]
    added = runner.ark(home, f"{ADD}a --name a", 0, "")
    assert (added.status, str(home) in added.out, "Read-only file system" in added.out) == (78, True, True)
    doctor = runner.ark(home, "doctor", 0, "")
    assert (doctor.status, "cannot be made" in doctor.out) == (1, True)


def test_nothing_is_attempted_where_the_journal_can_only_be_read(runner: Runner, original: Path) -> None:
    home = copy(runner, original, "a journal")
    with receiver() as found:
        ark(runner, home, f"dest set a --url {found.url} --no-ping")
        runner.shell('chmod 400 "$home"/state/queue/destinations/*/journal/*', home=home)
        drained = runner.ark(home, "drain", 60, "")
        assert (drained.status, "Permission denied" in drained.out, found.requests) == (1, True, [])
        (document,) = runner.ark(home, "queue", 60, "").documents
        assert document["destinations"][0]["retrying"] == 1


def test_a_place_that_is_not_in_the_copy_begins_where_it_would_or_is_named(runner: Runner, original: Path) -> None:
    twin, home = copy(runner, original, "a part twin"), copy(runner, original, "a part")
    for one in (twin, home):
        runner.shell('rm -r "$home"/state/queue/destinations/*', home=one)
    runner.shell('chmod -R a-w "$home"', home=home)
    assert ark(runner, home, *READERS[:2])[1].out == ark(runner, twin, *READERS[:2])[1].out
    # The same with a queue that has had more than its first few attempts.
    runner.shell('rm "$home/state/queue/joined"', home=twin)
    ark(runner, twin, "queue")
    runner.shell('rm -r "$home"/state/queue/destinations/*; chmod -R a-w "$home"', home=twin)
    lost = runner.ark(twin, "queue", 0, "")
    assert (lost.status, "journal has nothing readable" in lost.out) == (1, True), lost
