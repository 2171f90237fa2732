"""The process that makes batches durable: the result is the same as without it, whatever happens to it."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from arkcli import times
from arkcli.cli.session import Session
from arkcli.intake.writer import Writer
from arkcli.model import Draft
from tests.as_user import USER, as_user, give, in_child, open_home
from tests.intake import needs_forks
from tests.queue.local.machine import filled, small_disk
from tests.world import World

AT: Final = times.to_text(1_795_000_000_000)


def drafts(*numbers: int, size: int = 0) -> list[Draft]:
    return [
        Draft(f"evt_{number}", "ping", AT, b'{"number":%d,"fill":"%b"}' % (number, b"x" * size)) for number in numbers
    ]


@pytest.fixture
def session(world: World) -> Iterator[Session]:
    made = world.session()
    yield made
    made.home.queue.close()


def writer_of(session: Session) -> Writer:
    return Writer(lambda: session.home.queue, session.home.open_queue, session.process)


@pytest.fixture
def committer(session: Session) -> Iterator[Writer]:
    made = writer_of(session)
    yield made
    made.close()


@pytest.fixture
def writer(session: Session, committer: Writer) -> int:
    """The process that the committer has started; it has accepted `evt_1`."""
    before = children()
    committer.submit(drafts(1), aside=True)
    assert committer.finish() is None
    (started,) = children() - before
    return started


def accepted(session: Session) -> list[tuple[str, bytes]]:
    session.home.queue.look([], 0)
    return [(event.id, event.body) for event in session.home.queue.events()]


def children() -> set[int]:
    """The ids of this process's children."""
    return set(map(int, Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()))


@needs_forks
def test_a_batch_is_durable_and_in_order_wherever_it_is_accepted(session: Session, committer: Writer) -> None:
    expected = []
    for first, aside in ((0, False), (10, True), (20, True), (30, False), (40, True)):
        batch = drafts(*range(first, first + 10), size=first)
        committer.submit(batch, aside=aside)
        assert committer.is_busy is aside
        assert committer.finish() is None
        assert not committer.is_busy
        expected += [(draft.id, draft.body) for draft in batch]
    assert accepted(session) == expected


def test_every_kind_of_draft_arrives_as_it_is(session: Session, committer: Writer) -> None:
    given = [
        Draft("evt_1", "signal.promoted", AT, '{"name":"Zoë 🚀"}'.encode()),
        Draft("evt_2", "ping", AT, b"{}", ("dst_a", "dst_b")),
        Draft("evt_3", "ping", AT, b"{}", ()),
        Draft("evt_4", "ping", AT, b'{\n"raw": 1}'),
    ]
    committer.submit(given, aside=True)
    assert committer.finish() is None
    session.home.queue.look([], 0)
    found = session.home.queue.events()
    assert [Draft(one.id, one.name, one.at, one.body, one.to) for one in found] == given


def test_a_batch_that_the_shared_memory_cannot_hold_is_accepted_all_the_same(
    session: Session, committer: Writer
) -> None:
    batch = drafts(1, 2, 3, 4, 5, size=1_000_000)
    committer.submit(batch, aside=True)
    assert not committer.is_busy
    assert committer.finish() is None
    assert [found for found, _ in accepted(session)] == ["evt_1", "evt_2", "evt_3", "evt_4", "evt_5"]


@needs_forks
def test_no_process_is_started_before_it_is_needed_and_none_is_left(session: Session) -> None:
    committer, before = writer_of(session), children()
    committer.submit(drafts(1), aside=False)
    assert committer.finish() is None
    assert children() == before
    committer.submit(drafts(2), aside=True)
    assert committer.finish() is None
    committer.submit(drafts(3), aside=True)
    assert len(children()) == len(before) + 1
    committer.close()
    assert children() == before
    # The batch under way at `close` is accepted.
    assert len(accepted(session)) == 3


@needs_forks
def test_a_batch_of_nothing_needs_no_process(committer: Writer) -> None:
    before = children()
    committer.submit([], aside=True)
    assert committer.finish() is None
    assert children() == before


def test_nothing_is_accepted_before_it_was_submitted(committer: Writer) -> None:
    assert committer.finish() == "it was not begun"


@needs_forks
def test_where_the_other_process_cannot_open_the_queue_this_one_goes_on(
    world: World, session: Session, committer: Writer
) -> None:
    committer.submit(drafts(1), aside=False)
    # This process has it open already. No process opens a queue with a link in it.
    (world.queue_directory / "events" / "index").symlink_to("away")
    before = children()
    committer.submit(drafts(2), aside=True)
    assert not committer.is_busy
    assert committer.finish() is None
    assert children() == before
    assert [found for found, _ in accepted(session)] == ["evt_1", "evt_2"]


@needs_forks
def test_the_other_process_says_that_the_queue_was_replaced(world: World, committer: Writer) -> None:
    committer.submit(drafts(1), aside=True)
    assert committer.finish() is None
    shutil.copytree(world.queue_directory, world.home / "copy")
    shutil.rmtree(world.queue_directory)
    (world.home / "copy").rename(world.queue_directory)
    committer.submit(drafts(2), aside=True)
    said = committer.finish()
    assert said is not None
    assert "was removed or replaced while this process used it: nothing was accepted" in said
    assert not committer.is_uncertain


@pytest.mark.parametrize("aside", [False, True])
def test_a_full_disk_is_told_and_the_next_batch_is_accepted_once_there_is_room(
    world: World, tmp_path: Path, aside: bool
) -> None:
    with small_disk(tmp_path / "disk", "size=4m"):
        world.variables["ARK_STATE_DIR"] = str(tmp_path / "disk" / "state")
        session = world.session()
        committer = writer_of(session)
        committer.submit(drafts(1), aside=aside)
        assert committer.finish() is None
        with filled(tmp_path / "disk", leaving=8192):
            committer.submit(drafts(2, 3, size=100_000), aside=aside)
            assert committer.finish() == "the disk is full"
            assert not committer.is_uncertain
        committer.submit(drafts(4), aside=aside)
        assert committer.finish() is None
        committer.close()
        assert [found for found, _ in accepted(session)] == ["evt_1", "evt_4"]
        session.home.queue.close()


@needs_forks
def test_when_the_process_is_killed_at_a_batch_nobody_knows_what_became_of_it(
    session: Session, committer: Writer, writer: int
) -> None:
    os.kill(writer, signal.SIGSTOP)
    committer.submit(drafts(2), aside=True)
    os.kill(writer, signal.SIGKILL)
    assert committer.finish() == "the process that writes events was killed by signal 9"
    assert committer.is_uncertain
    assert [found for found, _ in accepted(session)] == ["evt_1"]


@needs_forks
def test_when_the_process_is_killed_between_two_batches_the_next_one_is_not_accepted(
    session: Session, committer: Writer, writer: int
) -> None:
    os.kill(writer, signal.SIGKILL)
    while "zombie" not in Path(f"/proc/{writer}/status").read_text():
        time.sleep(0.001)
    committer.submit(drafts(2), aside=True)
    assert committer.finish() == "the process that writes events was killed by signal 9"
    assert [found for found, _ in accepted(session)] == ["evt_1"]


@needs_forks
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_whole_group_does_not_end_it_amid_a_batch(
    committer: Writer, writer: int, number: signal.Signals
) -> None:
    os.kill(writer, number)
    os.kill(writer, number)
    committer.submit(drafts(2), aside=True)
    assert committer.finish() is None


LEADER: Final = """
import os, signal, sys
from tests.intake.test_writer import drafts, writer_of
from arkcli.cli.session import Session
session = Session.of_this_process()
committer = writer_of(session)
committer.submit(drafts(1), aside=True)
assert committer.finish() is None
committer.submit(drafts(2), aside=True)
print(open(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@needs_forks
def test_it_accepts_what_it_was_given_and_ends_when_its_leader_is_killed(world: World, session: Session) -> None:
    leader = subprocess.run(
        [sys.executable, "-c", LEADER], env={**os.environ, **world.variables}, stdout=subprocess.PIPE, check=False
    )
    assert leader.returncode == -signal.SIGKILL
    child = Path(f"/proc/{int(leader.stdout)}")
    until = time.monotonic() + 20
    while child.exists() and "zombie" not in (child / "status").read_text() and time.monotonic() < until:
        time.sleep(0.01)
    assert [found for found, _ in accepted(session)] == ["evt_1", "evt_2"]


# --- where a fork is not safe


def without_forks(story: Callable[[World], object]) -> Any:
    """What a story returns in a process that may not fork and is not root's: root acts as others in all threads."""
    with open_home() as home:

        def told() -> object:
            multiprocessing.set_start_method("spawn", force=True)
            return story(World(home))

        if os.geteuid():
            return in_child(told)
        give(home)
        return as_user(USER, told)


def test_where_a_fork_is_not_safe_a_thread_accepts_the_same_in_the_same_order() -> None:
    def story(world: World) -> object:
        session = world.session()
        committer, seen = writer_of(session), []
        for first, aside in ((0, False), (10, True), (20, True), (30, False)):
            committer.submit(drafts(first, first + 1, size=first), aside=aside)
            seen += [(committer.is_busy, threading.active_count()), committer.finish(), committer.is_busy]
        committer.submit(drafts(40), aside=True)
        committer.close()
        return seen, committer.finish(), threading.active_count(), [found for found, _ in accepted(session)]

    alone, aside = [(False, 1), None, False], [(True, 2), None, False]
    left = [(False, 2), None, False]
    ids = [f"evt_{number}" for number in (0, 1, 10, 11, 20, 21, 30, 31, 40)]
    assert without_forks(story) == ([*alone, *aside, *aside, *left], None, 1, ids)


def test_what_a_thread_cannot_write_is_not_accepted_and_the_next_batch_is() -> None:
    def story(world: World) -> object:
        session = world.session()
        committer = writer_of(session)
        committer.submit(drafts(1), aside=True)
        seen: list[object] = [committer.finish()]
        log = world.queue_directory / "events"
        log.rename(log.with_name("away"))
        committer.submit(drafts(2), aside=True)
        seen += [committer.finish(), committer.is_uncertain]
        log.with_name("away").rename(log)
        committer.submit(drafts(3), aside=True)
        seen += [committer.finish()]
        committer.close()
        return seen, [found for found, _ in accepted(session)]

    (first, second, is_uncertain, third), ids = without_forks(story)
    assert first is third is None
    assert second is not None
    assert not is_uncertain
    assert ids == ["evt_1", "evt_3"]
