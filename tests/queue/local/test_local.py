"""The queue on this host: nothing accepted is lost and nothing done is done again, whoever is killed."""

import os
import resource
import signal
import stat
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final

import pytest

from arkcli import times
from arkcli.errors import ArkError, Broken, NotAccepted, NotRecorded, Unreadable
from arkcli.model import Answer, Draft, RetrySchedule, State
from arkcli.queue.local import lines
from arkcli.queue.local.claim import Claim
from arkcli.queue.local.deadletters import DeadLetters
from arkcli.queue.local.journal import Journal
from arkcli.queue.local.lines import AttemptLine, DeadLine, DropLine
from arkcli.queue.local.queue import LocalQueue
from arkcli.queue.local.stored import StoredDelivery, StoredDraft, StoredEvent
from arkcli.system import files
from tests.queue.local.machine import FORKS, MEMORY, filled, in_processes, path_of, small_disk
from tests.world import START

SHORT: Final = RetrySchedule((1_000, 2_000, 4_000, 8_000))
LATER: Final = 10_000
ROTATING: Final = 700
A: Final = "dst_a"
B: Final = "dst_b"
OK: Final = Answer(200, None, 3)
BAD: Final = Answer(500, "HTTP 500", 3)


@contextmanager
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        yield Path(name) / "queue"


@pytest.fixture
def path() -> Iterator[Path]:
    with directory() as found:
        yield found


@contextmanager
def queue_in(path: Path, segment_size: int = 1 << 26) -> Iterator[LocalQueue]:
    queue = LocalQueue(path, SHORT, segment_size)
    try:
        yield queue
    finally:
        queue.close()


@contextmanager
def claimed(queue: LocalQueue, destination: str) -> Iterator[Claim]:
    claim = queue.claim(destination, "drain")
    assert claim is not None
    try:
        yield claim
    finally:
        claim.release()


def draft(number: int, to: tuple[str, ...] | None = None, size: int = 0) -> Draft:
    body = b'{"number":%d,"fill":"%b"}' % (number, b"x" * size)
    return Draft(f"evt_{number}", "signal.promoted", times.to_text(START + number), body, to)


def accept(queue: LocalQueue, *numbers: int, to: tuple[str, ...] | None = None) -> list[StoredEvent]:
    return queue.accept([draft(number, to) for number in numbers])


def take_all(claim: Claim, now: int) -> list[StoredDelivery]:
    taken = []
    while deliveries := claim.take(now, 7):
        taken += deliveries
    return taken


def attempt_all(queue: LocalQueue, destination: str, answer: Answer, now: int) -> list[StoredDelivery]:
    """Claims, attempts what is due, writes down the same answer to all of it, and releases."""
    queue.look([], 0)
    with claimed(queue, destination) as claim:
        taken = take_all(claim, now)
        claim.record([(delivery, answer) for delivery in taken], now)
    return taken


def finish(queue: LocalQueue, destination: str, answer: Answer, now: int) -> list[tuple[str, int]]:
    """Attempts until nothing waits any more; tells what was attempted."""
    attempted: list[tuple[str, int]] = []
    for _ in range(12):
        attempted += [(found.event.id, found.attempt) for found in attempt_all(queue, destination, answer, now)]
        now += LATER
    return attempted


def fail_once(queue: LocalQueue, destination: str, now: int = START) -> list[StoredDelivery]:
    return attempt_all(queue, destination, BAD, now)


def dead(path: Path, destination: str) -> list[str]:
    return [letter.id for letter in letters_of(path, destination)]


def letters_of(path: Path, destination: str) -> list[DeadLine]:
    return list(DeadLetters(path / "destinations" / destination / "dead.jsonl"))


def journal_file(path: Path, destination: str) -> Path:
    return max((path / "destinations" / destination / "journal").glob("*.jsonl"))


def spoil_line(file: Path, number: int) -> None:
    """Flips a bit in the middle of one line of a file."""
    found = file.read_bytes().splitlines(keepends=True)
    line = bytearray(found[number])
    line[len(line) // 2] ^= 0x01
    found[number] = bytes(line)
    file.write_bytes(b"".join(found))


def save_checkpoint(path: Path, destination: str, segment_size: int = 1 << 26) -> None:
    """What a run does that wrote much."""
    journal = Journal(path / "destinations" / destination, 4, segment_size)
    journal.load_to_append()
    journal.save()
    journal.close()


def everything(path: Path) -> dict[str, bytes]:
    return {str(found.relative_to(path)): found.read_bytes() if found.is_file() else b"" for found in path.rglob("*")}


def name_of(function: object) -> str:
    return getattr(function, "__name__", "")


#: What changes files. A process that is killed between two of these is killed before the second.
CHANGES: Final = {"open", "pwrite", "fdatasync", "fsync", "ftruncate", "mkdir", "replace", "rename", "unlink"}


def die_at_call(step: int) -> None:
    """Kills this process as it makes its so-many-th system call that changes files, counted from here."""
    left = step

    def listen(_frame: FrameType, event: str, function: object) -> None:
        nonlocal left
        if event == "c_call" and getattr(function, "__module__", "") == "posix" and name_of(function) in CHANGES:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(listen)


# --- opening


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_queue_is_made_for_its_user_alone_whatever_the_umask(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with queue_in(path, ROTATING) as queue:
            queue.join([A])
            accept(queue, *range(9))
            finish(queue, A, BAD, START)
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(found.stat().st_mode) for found in [path, *path.rglob("*")] if found.is_dir()}
    assert modes == {0o700}
    assert {stat.S_IMODE(found.stat().st_mode) for found in path.rglob("*") if found.is_file()} == {0o600}
    assert (path / "VERSION").read_bytes() == b"1\n"


@pytest.mark.parametrize("version", ["2\n", "10", "1.1\n", "", "one\n", "\0"])
def test_a_queue_of_another_version_is_refused_and_not_touched(path: Path, version: str) -> None:
    path.mkdir()
    (path / "VERSION").write_text(version)
    before = everything(path)
    with pytest.raises(Unreadable, match="update ark"):
        LocalQueue(path, SHORT)
    assert everything(path) == before


def test_where_a_queue_cannot_be_made_the_error_says_where(path: Path) -> None:
    path.write_bytes(b"a file is in the way")
    with pytest.raises(Unreadable, match=str(path)):
        LocalQueue(path, SHORT)


# --- joining and leaving


def test_who_leaves_leaves_nothing_and_joins_again_as_a_new_one(path: Path) -> None:
    with queue_in(path) as queue:
        queue.join([A, B])
        accept(queue, 1)
        queue.leave(A)
        assert [found.name for found in (path / "destinations").iterdir()] == [B]
    with queue_in(path) as queue:
        queue.join([A])
        assert queue.standing(A).waiting == 0
        assert queue.standing(B).waiting == 1


def join_and_accept(path: Path, name: int) -> None:
    with queue_in(path, ROTATING) as queue:
        for number in range(10):
            queue.join([f"dst_{number}"])
            accept(queue, 100 * name + number)


def test_processes_that_join_the_same_destinations_at_once_do_not_disturb_each_other(path: Path) -> None:
    assert in_processes(join_and_accept, *((path, name) for name in range(4))) == [0] * 4
    with queue_in(path, ROTATING) as queue:
        places = sorted(found.name for found in (path / "destinations").iterdir())
        assert places == [f"dst_{number}" for number in range(10)]
        for number in range(10):
            got = [found.event.id for found in attempt_all(queue, f"dst_{number}", OK, START)]
            # Whoever was accepted after the join returned is there, once.
            assert set(got) >= {f"evt_{100 * name + later}" for name in range(4) for later in range(number, 10)}
            assert len(got) == len(set(got))


def join_and_die(path: Path, step: int) -> None:
    queue = LocalQueue(path, SHORT)
    die_at_call(step)
    queue.join([A])
    sys.setprofile(None)


def test_wherever_joining_is_killed_the_next_join_does_it() -> None:
    killed = 0
    for step in range(1, 200):
        with directory() as path:
            with queue_in(path) as queue:
                accept(queue, 1)
            (code,) = in_processes(join_and_die, (path, step))
            with queue_in(path) as queue:
                queue.join([A])
                accept(queue, 2)
                assert [found.event.id for found in fail_once(queue, A)] == ["evt_2"]
        if code == 0:
            break
        assert code == -signal.SIGKILL
        killed += 1
    assert killed > 10
    assert code == 0


def test_what_a_killed_join_left_is_removed_by_the_next(path: Path) -> None:
    with queue_in(path) as queue:
        for step in range(1, 200):
            assert in_processes(join_and_die, (path, step)) == [-signal.SIGKILL]
            left = [found.name for found in (path / "destinations").iterdir()]
            if left:
                break
        assert left != [A]
        queue.join([A])
        assert [found.name for found in (path / "destinations").iterdir()] == [A]


# --- claims


@pytest.mark.parametrize("part", ["events", "destinations", f"destinations/{A}", f"destinations/{A}/journal"])
def test_a_link_that_leads_out_of_the_queue_is_not_followed(path: Path, part: str) -> None:
    outside = path.with_name("outside")
    with queue_in(path) as queue:
        queue.join([A])
        accept(queue, 1)
    (path / part).rename(outside)
    (path / part).symlink_to(outside)
    before = {found: found.stat().st_mtime_ns for found in outside.rglob("*")}
    with pytest.raises((Unreadable, Broken), match="is a symbolic link"), queue_in(path) as queue:
        queue.claim(A, "drain")
    with pytest.raises((Unreadable, Broken), match="is a symbolic link"), queue_in(path) as queue:
        queue.standing(A)
    assert {found: found.stat().st_mtime_ns for found in outside.rglob("*")} == before


@pytest.mark.parametrize("file", ["lock", "dead.jsonl", "journal/00000000000000000000.jsonl"])
def test_a_file_that_is_a_link_is_not_written_through(path: Path, file: str) -> None:
    outside = path.with_name("outside")
    outside.write_bytes(b"precious\n")
    with queue_in(path) as queue:
        queue.join([A])
        accept(queue, 1)
    found = path / "destinations" / A / file
    found.unlink(missing_ok=True)
    found.symlink_to(outside)
    with queue_in(path) as queue, suppress(ArkError, OSError):
        finish(queue, A, BAD, START)
    assert outside.read_bytes() == b"precious\n"


def claim_take_and_hang(path: Path, ready: Path, how: str) -> None:
    queue = LocalQueue(path, SHORT)
    claim = queue.claim(A, "drain")
    assert claim is not None
    taken = take_all(claim, START)
    if how == "recorded":
        claim.record([(taken[0], BAD)], START)
    ready.write_text(how)
    signal.pause()


@pytest.mark.parametrize("how", ["taken", "recorded"])
def test_a_claim_is_free_at_once_when_its_holder_is_killed_and_loses_nothing_it_had_written(
    path: Path, tmp_path: Path, how: str
) -> None:
    ready = tmp_path / "ready"
    os.mkfifo(ready)
    with queue_in(path) as queue:
        queue.join([A])
        accept(queue, 1, 2)
        child = FORKS.Process(target=claim_take_and_hang, args=(path, ready, how))
        child.start()
        assert ready.read_text() == how
        assert queue.claim(A, "drain") is None
        child.kill()
        child.join()
        with claimed(queue, A) as claim:
            again = [(found.event.id, found.attempt) for found in take_all(claim, START)]
            assert again == ([("evt_1", 1), ("evt_2", 1)] if how == "taken" else [("evt_2", 1)])
            assert [(found.event.id, found.attempt) for found in take_all(claim, START + LATER)] == (
                [] if how == "taken" else [("evt_1", 2)]
            )


def test_a_claim_lets_go_of_every_file_when_released(path: Path) -> None:
    listing = Path("/dev/fd")
    with queue_in(path, ROTATING) as queue:
        queue.join([A])
        event, *_ = accept(queue, *range(20))
        fail_once(queue, A)
        before = len(list(listing.iterdir()))
        for _ in range(10):
            with claimed(queue, A) as claim:
                take_all(claim, START)
            queue.standing(A)
            queue.outcomes(event, [A])
        assert len(list(listing.iterdir())) == before


# --- taking and recording


def test_a_claim_takes_what_others_have_accepted_since_and_gives_nothing_up_that_it_has_not_looked_for(
    path: Path,
) -> None:
    with queue_in(path, 1) as queue, queue_in(path, 1) as other:
        queue.join([A])
        accept(queue, 1)
        assert len(attempt_all(queue, A, OK, START)) == 1
        # Another process accepts an event into a segment that this one has not seen, and its first attempt fails.
        accept(other, 2)
        assert len(fail_once(other, A)) == 1
        with claimed(queue, A) as claim:
            assert [(found.event.id, found.attempt) for found in take_all(claim, START + LATER)] == [("evt_2", 2)]


def deliver_with_others(path: Path, said: Path) -> None:
    made = []
    with queue_in(path, 4000) as queue:
        for number in range(400):
            queue.look([], 0)
            destination = (A, B)[number % 2]
            claim = queue.claim(destination, "drain")
            if claim is None:
                continue
            taken = claim.take(START + LATER * 99, 3)
            claim.record([(found, OK) for found in reversed(taken)], START)
            claim.release()
            made += [f"{destination} {found.event.id} {found.attempt}" for found in taken]
    said.write_text("\n".join(made))


def test_processes_that_share_the_work_attempt_everything_once(path: Path, tmp_path: Path) -> None:
    with queue_in(path, 4000) as queue:
        queue.join([A, B])
        accept(queue, *range(200))
        said = [tmp_path / f"said-{number}" for number in range(3)]
        assert in_processes(deliver_with_others, *((path, name) for name in said)) == [0] * 3
        made = [line for name in said for line in name.read_text().splitlines()]
        made += [f"{place} {event} {number}" for place in (A, B) for event, number in finish(queue, place, OK, START)]
        assert Counter(made) == Counter(f"{place} evt_{number} 1" for place in (A, B) for number in range(200))
        assert [queue.standing(place).waiting for place in (A, B)] == [0, 0]


# --- the standing


def test_the_standing_is_right_when_an_editor_took_the_last_newline(path: Path) -> None:
    with queue_in(path) as queue:
        queue.join([A])
        _, second = accept(queue, 1, 2)
        with claimed(queue, A) as claim:
            delivery = claim.first_attempt(second)
            assert delivery is not None
            claim.record([(delivery, OK)], START)
    (file,) = (path / "events").glob("*.jsonl")
    file.write_bytes(file.read_bytes()[:-1])
    with queue_in(path) as queue:
        assert queue.standing(A).waiting == 1


def test_looking_at_the_standing_changes_nothing(path: Path) -> None:
    with queue_in(path, ROTATING) as queue:
        queue.join([A])
        accept(queue, *range(9))
        fail_once(queue, A)
        with max((path / "events").glob("*.jsonl")).open("ab") as file:
            file.write(b'{"crc":"torn')
        before = everything(path)
        queue.standing(A)
        queue.look([], 0)
        assert everything(path) == before


# --- the dead


def test_the_dead_are_kept_once_with_their_bodies_even_when_the_checkpoint_is_lost_again_and_again(path: Path) -> None:
    with queue_in(path) as queue:
        queue.join([A])
        accept(queue, *range(5))
        finish(queue, A, BAD, START)
        assert sorted(dead(path, A)) == [f"evt_{number}" for number in range(5)]
    for _ in range(3):
        (path / "destinations" / A / "checkpoint.json").unlink(missing_ok=True)
        with queue_in(path) as queue:
            assert queue.standing(A).dead == 5
            assert finish(queue, A, BAD, START + 10**9) == []
        assert len(dead(path, A)) == 5


def test_the_copy_that_a_crash_left_out_is_made_by_the_next_holder(path: Path) -> None:
    with queue_in(path) as queue:
        queue.join([A])
        (event,) = accept(queue, 1)
        finish(queue, A, BAD, START)
    # As a kill between the journal's line and the copy leaves it.
    (path / "destinations" / A / "dead.jsonl").unlink()
    (path / "destinations" / A / "checkpoint.json").unlink(missing_ok=True)
    with queue_in(path) as queue:
        assert queue.standing(A).dead == 1
        with claimed(queue, A):
            pass
        (letter,) = letters_of(path, A)
        assert letter.to_event() == event
        assert (letter.died_at, letter.status, letter.error) == (times.to_text(START + 4 * LATER), 500, "HTTP 500")


def test_a_dead_letter_that_could_not_be_kept_is_kept_by_the_next_holder(tmp_path: Path) -> None:
    path = tmp_path / "disk" / "queue"
    with small_disk(tmp_path / "disk", "size=512k"):
        with queue_in(path) as queue:
            queue.join([A])
            queue.accept([draft(1, size=60_000)])
            now = START
            for _ in range(4):
                fail_once(queue, A, now)
                now += LATER
            # There is room for lines of the journal and for checkpoints, but not for the copy.
            with filled(tmp_path / "disk", leaving=32_768), pytest.raises(NotRecorded, match="No space left"):
                fail_once(queue, A, now)
            assert dead(path, A) == []
            assert queue.standing(A).dead == 1
        with queue_in(path) as queue, claimed(queue, A):
            pass
        assert dead(path, A) == ["evt_1"]


def test_a_dead_letter_that_could_not_be_kept_is_not_forgotten_when_another_outcome_is_recorded(path: Path) -> None:
    with queue_in(path) as queue:
        queue.join([A])
        accept(queue, 1, 2)
        now = START
        for _ in range(4):
            fail_once(queue, A, now)
            now += LATER
        (path / "destinations" / A / "dead.jsonl").mkdir()
        with claimed(queue, A) as claim:
            first, second = take_all(claim, now)
            with pytest.raises(Broken, match=r"dead\.jsonl"):
                claim.record([(first, BAD)], now)
            (path / "destinations" / A / "dead.jsonl").rmdir()
            claim.record([(second, OK)], now)
    with queue_in(path) as queue, claimed(queue, A):
        pass
    assert dead(path, A) == ["evt_1"]


def test_a_dead_letter_that_was_dropped_stays_dropped_when_the_checkpoint_is_lost(path: Path) -> None:
    place = path / "destinations" / A
    with queue_in(path) as queue:
        queue.join([A])
        (event,) = accept(queue, 1)
        finish(queue, A, BAD, START)
    journal = Journal(place, 4)
    journal.load_to_append()
    journal.append([DropLine(event.position, event.length, event.id, event.name, "drop", 6, times.to_text(START))])
    journal.save()
    journal.close()
    (place / "dead.jsonl").write_bytes(b"")
    (place / "checkpoint.json").unlink(missing_ok=True)
    with queue_in(path) as queue:
        with claimed(queue, A):
            pass
        assert queue.standing(A).dead == 0
        assert dead(path, A) == []


# --- damage


def test_a_broken_first_failure_does_not_cost_its_neighbours_their_retries(path: Path) -> None:
    with queue_in(path) as queue:
        queue.join([A])
        accept(queue, 1)
        fail_once(queue, A, START)
        fail_once(queue, A, START + LATER)
    spoil_line(journal_file(path, A), 1)
    with queue_in(path) as queue:
        accept(queue, 2)
        now = START + 2 * LATER
        with claimed(queue, A) as claim:
            taken = {found.event.id: found for found in take_all(claim, now)}
            assert taken["evt_2"].attempt == 1
            # The neighbour fails first, then the one whose line is broken.
            for found in (taken["evt_2"], *(taken[name] for name in taken if name != "evt_2")):
                claim.record([(found, BAD)], now)
        made = [attempt for event, attempt in finish(queue, A, BAD, now + LATER) if event == "evt_2"]
        assert made == [2, 3, 4, 5]
        assert sorted(dead(path, A)) == ["evt_1", "evt_2"]
        assert queue.standing(A)[:3] == (0, (0, 0, 0, 0), 2)


@pytest.mark.parametrize("broken", [1, 2, 3])
def test_an_attempt_whose_line_is_broken_is_made_again_and_its_delivery_never_has_two_chains(
    path: Path, broken: int
) -> None:
    with queue_in(path) as queue:
        queue.join([A])
        accept(queue, 1)
        now = START
        for _ in range(3):
            fail_once(queue, A, now)
            now += LATER
    spoil_line(journal_file(path, A), broken)
    with queue_in(path) as queue:
        made = [attempt for _, attempt in finish(queue, A, BAD, now)]
        assert made == list(range(made[0], 6))
        assert made[0] in (broken, 4)
        assert dead(path, A) == ["evt_1"]
        assert queue.standing(A)[:3] == (0, (0, 0, 0, 0), 1)


@pytest.mark.parametrize("summed_up_by", ["checkpoint", "segment"])
def test_an_attempt_whose_line_breaks_after_it_was_summed_up_is_made_again(path: Path, summed_up_by: str) -> None:
    size = 400 if summed_up_by == "segment" else 1 << 26
    with queue_in(path, size) as queue:
        queue.join([A])
        accept(queue, 1, 2)
        fail_once(queue, A, START)
        broken = journal_file(path, A)
        if summed_up_by == "checkpoint":
            save_checkpoint(path, A)
        else:
            accept(queue, 3)
            attempt_all(queue, A, OK, START)
            assert journal_file(path, A) != broken
    spoil_line(broken, 1)
    with queue_in(path, size) as queue:
        assert len({event for event, _ in finish(queue, A, OK, START + LATER)}) == 2
        assert queue.standing(A)[:3] == (0, (0, 0, 0, 0), 0)


@pytest.mark.parametrize("answer", [BAD, OK])
def test_a_death_that_was_built_upon_a_broken_line_does_not_count_and_leaves_no_letter(
    path: Path, answer: Answer
) -> None:
    with queue_in(path) as queue:
        queue.join([A])
        accept(queue, 1)
        finish(queue, A, BAD, START)
        assert dead(path, A) == ["evt_1"]
    spoil_line(journal_file(path, A), 1)
    (path / "destinations" / A / "checkpoint.json").unlink(missing_ok=True)
    with queue_in(path) as queue:
        finish(queue, A, answer, START + 20 * LATER)
        expected = ["evt_1"] if answer is BAD else []
        assert dead(path, A) == expected
        assert queue.standing(A)[:3] == (0, (0, 0, 0, 0), len(expected))


def test_what_was_built_upon_a_line_that_broke_later_does_not_go_on(path: Path) -> None:
    # The journal tells, in this order: three failures of the first event, then two of the second.
    with queue_in(path) as queue:
        queue.join([A])
        accept(queue, 1)
        for now in (START, START + 1_000, START + 3_000):
            assert len(fail_once(queue, A, now)) == 1
        accept(queue, 2)
        for now in (START + 3_100, START + 4_100):
            assert [found.event.id for found in fail_once(queue, A, now)] == ["evt_2"]
    save_checkpoint(path, A)
    spoil_line(journal_file(path, A), 4)
    with queue_in(path) as queue:
        made = finish(queue, A, BAD, START + LATER)
        for event in ("evt_1", "evt_2"):
            attempts = [attempt for found, attempt in made if found == event]
            # One attempt may have been in flight when the damage was met; the chain begins again beside it.
            assert attempts[1:] == list(range(attempts[1], 6)), event
        assert sorted(dead(path, A)) == ["evt_1", "evt_2"]


@pytest.mark.parametrize("spoilt", [0, 1, 2])
def test_a_broken_event_line_costs_its_own_delivery_and_no_other(path: Path, spoilt: int) -> None:
    with queue_in(path) as queue:
        queue.join([A])
        accept(queue, 0, 1, 2)
    spoil_line(max((path / "events").glob("*.jsonl")), spoilt)
    with queue_in(path) as queue:
        got = [found.event.id for found in attempt_all(queue, A, OK, START)]
        assert got == [f"evt_{number}" for number in range(3) if number != spoilt]
        accept(queue, 3)
        assert [found.event.id for found in attempt_all(queue, A, OK, START)] == ["evt_3"]
        assert queue.standing(A).waiting == 0


def test_an_event_that_breaks_between_two_attempts_is_given_up_and_said_so(path: Path) -> None:
    with queue_in(path) as queue:
        queue.join([A])
        accept(queue, 0, 1)
        fail_once(queue, A, START)
    spoil_line(max((path / "events").glob("*.jsonl")), 0)
    with queue_in(path) as queue:
        assert [found.event.id for found in attempt_all(queue, A, OK, START + LATER)] == ["evt_1"]
        assert queue.standing(A)[:3] == (0, (0, 0, 0, 0), 0)
    entries = [lines.decode_journal(line) for line in journal_file(path, A).read_bytes().splitlines()]
    assert [entry.action for entry in entries if isinstance(entry, DropLine)] == ["damaged"]
    assert sum(isinstance(entry, AttemptLine) for entry in entries) == 3


@pytest.mark.parametrize("spoil", [b"x", b"\0"])
def test_when_the_last_newline_is_damaged_what_is_accepted_next_is_delivered_all_the_same(
    path: Path, spoil: bytes
) -> None:
    with queue_in(path) as queue:
        queue.join([A])
        accept(queue, 0, 1)
        attempt_all(queue, A, OK, START)
    (file,) = (path / "events").glob("*.jsonl")
    file.write_bytes(file.read_bytes()[:-1] + spoil)
    with queue_in(path) as queue:
        accept(queue, 2)
        assert "evt_2" in [found.event.id for found in attempt_all(queue, A, OK, START)]


# --- what is removed


EVERYTHING: Final = START + 10**12


def event_files(path: Path) -> int:
    return len(list((path / "events").glob("*.jsonl")))


def test_what_everybody_has_and_nobody_retries_is_removed_and_the_rest_goes_on(path: Path) -> None:
    with queue_in(path, 1) as queue:
        queue.join([A, B])
        accept(queue, *range(3))
        attempt_all(queue, A, OK, START)
        for number in range(3, 9):
            accept(queue, number)
            attempt_all(queue, A, BAD if number == 6 else OK, START)
        attempt_all(queue, B, OK, START)
        accept(queue, 9)
        before = event_files(path)
        queue.tidy([A, B], START)
        assert event_files(path) == before, "nothing is old enough"
        queue.tidy([A, B], EVERYTHING)
        # The batch, and one each: of those, 6 waits for its retry, and 9 for its first attempt.
        assert event_files(path) == before - 4
    with queue_in(path, 1) as queue:
        assert finish(queue, A, OK, START + LATER) == [("evt_9", 1), ("evt_6", 2)]
        assert finish(queue, B, OK, START + LATER) == [("evt_9", 1)]


@pytest.mark.parametrize("lost", [False, True], ids=["checkpoint", "no-checkpoint"])
def test_when_old_segments_are_gone_the_rest_tells_the_same(path: Path, lost: bool) -> None:
    with queue_in(path, 1) as queue:
        queue.join([A])
        now = START
        for number in range(8):
            accept(queue, number)
            attempt_all(queue, A, BAD if number % 2 else OK, now)
            now += 1_500
        before = queue.standing(A)
        files = len(list((path / "destinations" / A / "journal").iterdir()))
        queue.tidy([A], EVERYTHING)
        assert len(list((path / "destinations" / A / "journal").iterdir())) < files
        assert queue.standing(A) == before
    if lost:
        (path / "destinations" / A / "checkpoint.json").unlink(missing_ok=True)
    with queue_in(path, 1) as queue:
        assert queue.standing(A) == before


def test_a_process_that_slept_while_another_delivered_and_removed_repeats_nothing(path: Path) -> None:
    with queue_in(path, 1) as sleeping, queue_in(path, 1) as other:
        # B waits for everything, so that the events stay.
        sleeping.join([A, B])
        accept(sleeping, 1)
        assert len(attempt_all(sleeping, A, OK, START)) == 1
        for number in range(2, 6):
            accept(other, number)
            assert len(attempt_all(other, A, OK, START)) == 1
        other.tidy([A, B], EVERYTHING)
        assert attempt_all(sleeping, A, OK, START) == []
        assert sleeping.standing(A).waiting == 0
        assert sleeping.standing(B).waiting == 5


def deliver_and_remove(path: Path) -> None:
    with queue_in(path, 300) as queue:
        for number in range(150):
            accept(queue, number)
            now = START + number * 1_500
            for destination, answer in ((A, OK), (B, OK if number % 3 else BAD)):
                attempt_all(queue, destination, answer, now)
            queue.tidy([A, B], EVERYTHING)


def test_reading_goes_on_while_another_process_delivers_and_removes(path: Path) -> None:
    with queue_in(path, 300) as queue:
        queue.join([A, B])
        child = FORKS.Process(target=deliver_and_remove, args=(path,))
        child.start()
        looks = 0
        while child.exitcode is None:
            looks += 1
            for destination in (A, B):
                standing = queue.standing(destination)
                assert 0 <= standing.waiting <= 1
                assert standing.dead == 0
                with closing(queue.view(destination)) as view:
                    assert len(list(view.deliveries())) <= 150
                    assert all(found.attempt == 1 or destination == B for found in view.attempts())
            assert all(event.id == "evt_1" for event in [queue.find("evt_1")] if event is not None)
            assert sum(1 for _ in queue.events()) <= 150
        assert child.exitcode == 0
        assert looks > 10


def test_an_event_is_not_removed_when_the_line_that_told_of_its_attempt_is_broken(path: Path) -> None:
    with queue_in(path, 1) as queue:
        queue.join([A])
        accept(queue, 1)
        fail_once(queue, A, START)
        broken = journal_file(path, A)
        for number in (2, 3):
            accept(queue, number)
            attempt_all(queue, A, OK, START)
    spoil_line(broken, 1)
    with queue_in(path, 1) as queue:
        queue.tidy([A], EVERYTHING)
        assert [event for event, _ in finish(queue, A, OK, START + LATER)] == ["evt_1"]


def test_an_event_is_not_removed_before_the_copy_that_a_crash_left_out_is_made(path: Path) -> None:
    with queue_in(path, 1) as queue:
        queue.join([A])
        accept(queue, 1)
        finish(queue, A, BAD, START)
        accept(queue, 2)
    # As a kill between the journal's line and the copy leaves it.
    (path / "destinations" / A / "dead.jsonl").unlink()
    (path / "destinations" / A / "checkpoint.json").unlink(missing_ok=True)
    with queue_in(path, 1) as queue:
        queue.tidy([A], EVERYTHING)
        with claimed(queue, A):
            pass
        assert dead(path, A) == ["evt_1"]


def test_a_segment_that_a_crash_left_empty_may_outlive_those_before_it(path: Path) -> None:
    with queue_in(path, 300) as queue:
        # B waits for everything, so that the events stay.
        queue.join([A, B])
        accept(queue, 1, 2, 3)
        attempt_all(queue, A, OK, START)
        newest = journal_file(path, A)
        end = int(newest.stem) + newest.stat().st_size
    (path / "destinations" / A / "journal" / f"{end:020d}.jsonl").touch()
    with queue_in(path, 300) as queue:
        accept(queue, 4)
        attempt_all(queue, A, OK, START)
        queue.tidy([A, B], EVERYTHING)
    (path / "destinations" / A / "checkpoint.json").unlink(missing_ok=True)
    with queue_in(path, 300) as queue:
        assert queue.standing(A).waiting == 0
        assert attempt_all(queue, A, OK, START) == []


# --- sending again


def again(queue: LocalQueue, destination: str, *events: str) -> list[StoredEvent]:
    """Asks for deliveries that are retrying or dead to be sent again at once."""
    queue.look([], 0)
    with closing(queue.view(destination)) as view:
        found = [one for one in view.deliveries() if one.event.id in events and one.state is not State.WAITING]
    return queue.accept(
        [
            StoredDraft(
                one.event.id, one.event.name, one.event.at, one.event.body, (destination,), {destination: one.key}
            )
            for one in found
        ]
    )


def test_asking_twice_sends_once_and_lists_once(path: Path) -> None:
    with queue_in(path, ROTATING) as queue:
        queue.join([A])
        accept(queue, 1)
        fail_once(queue, A)
        with closing(queue.view(A)) as view:
            (found,) = view.deliveries()
        draft_again = StoredDraft("evt_1", "ping", times.to_text(START), found.event.body, (A,), {A: found.key})
        queue.accept([draft_again, draft_again])
        assert queue.standing(A).waiting == 1
        with closing(queue.view(A)) as view:
            assert len(list(view.deliveries())) == 1
        assert finish(queue, A, OK, START) == [("evt_1", 1)]


# --- what is on disk before what


@contextmanager
def steps() -> Iterator[list[str]]:
    """The writes, syncs and replacements made meanwhile, in order, each with the name of its file."""
    made: list[str] = []

    def listen(frame: FrameType, event: str, function: object) -> None:
        call = name_of(function)
        if event == "call" and frame.f_code is files.sync.__code__:
            call = "sync"
        if call == "sync" or (event == "c_call" and call == "pwrite" and "descriptor" in frame.f_locals):
            name = path_of(frame.f_locals["descriptor"])
            made.append(f"{call} {'journal' if name.parent.name == 'journal' else name.name}")
        elif event == "c_call" and call == "replace" and "target" in frame.f_locals:
            made.append(f"replace {Path(frame.f_locals['target']).name}")

    sys.setprofile(listen)
    try:
        yield made
    finally:
        sys.setprofile(None)


def test_a_letter_goes_only_when_the_line_that_says_so_is_on_disk(path: Path) -> None:
    with queue_in(path) as queue:
        queue.join([A])
        accept(queue, 1)
        finish(queue, A, BAD, START)
        again(queue, A, "evt_1")
        with steps() as made:
            attempt_all(queue, A, OK, START)
    written, gone = made.index("pwrite journal"), made.index("replace dead.jsonl")
    assert "sync journal" in made[written:gone]


@pytest.mark.parametrize("forgotten", [False, True], ids=["at-once", "by-the-next-holder"])
def test_a_letter_is_kept_only_when_the_line_that_says_so_is_on_disk(path: Path, forgotten: bool) -> None:
    place = path / "destinations" / A
    with queue_in(path) as queue:
        queue.join([A])
        accept(queue, 1)
        for day in range(4):
            fail_once(queue, A, START + day * LATER)
        with steps() as made:
            fail_once(queue, A, START + 4 * LATER)
    if forgotten:
        # As a kill between the journal's line and the copy leaves it.
        (place / "dead.jsonl").unlink()
        (place / "checkpoint.json").unlink(missing_ok=True)
        with queue_in(path) as queue, steps() as made, claimed(queue, A):
            pass
    assert made.index("sync journal") < made.index("pwrite dead.jsonl")


# --- a full disk


@pytest.mark.parametrize("size", [ROTATING, 1 << 26], ids=["next-segment", "same-segment"])
def test_on_a_full_disk_what_cannot_be_recorded_is_attempted_again_when_there_is_room(
    tmp_path: Path, size: int
) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, "size=512k"):
        with queue_in(disk / "queue", size) as queue:
            queue.join([A])
            accept(queue, *range(40))
            with claimed(queue, A) as claim:
                taken = take_all(claim, START)
                claim.record([(found, OK) for found in taken[:5]], START)
                with filled(disk):
                    with pytest.raises(NotAccepted):
                        queue.accept([draft(99, size=20_000)])
                    with pytest.raises(NotRecorded):
                        claim.record([(found, Answer(500, "x" * 400, 3)) for found in taken[5:]], START)
            assert queue.standing(A)[:3] == (35, (0, 0, 0, 0), 0)
            assert [found.event.id for found in attempt_all(queue, A, OK, START)] == [f"evt_{n}" for n in range(5, 40)]
        with queue_in(disk / "queue", size) as queue:
            assert queue.standing(A)[:3] == (0, (0, 0, 0, 0), 0)


# --- killed anywhere


def outcome(destination: str, delivery: StoredDelivery) -> Answer:
    """What the receivers of this story answer: one refuses everything, the other takes the second attempt."""
    return OK if destination == B and delivery.attempt == 2 else BAD


def live_and_die(path: Path, step: int, said: Path) -> None:
    """A short life of a queue, up to its so-many-th step. It says what is done as soon as it is."""
    words = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def say(*found: object) -> None:
        os.write(words, (" ".join(map(str, found)) + "\n").encode())

    die_at_call(step)
    queue = LocalQueue(path, SHORT, ROTATING)
    queue.join([A, B])
    for day in range(4):
        now = START + day * LATER
        for event in queue.accept([draft(10 * day), draft(10 * day + 1)]):
            say("accepted", event.id)
        for destination in (A, B):
            claim = queue.claim(destination, "drain")
            assert claim is not None
            taken = take_all(claim, now)
            for batch in (taken[1::2], taken[::2]):
                claim.record([(found, outcome(destination, found)) for found in batch], now)
                for found in batch:
                    say("recorded", destination, found.event.id, found.attempt)
            claim.release()
    queue.close()
    sys.setprofile(None)
    say("lived")


def survive(path: Path, said: list[list[str]]) -> None:
    """Does what is left to do, and checks it against what the one who died had said."""
    accepted = [words[1] for words in said if words[0] == "accepted"]
    recorded = {(words[1], words[2]): int(words[3]) for words in said if words[0] == "recorded"}
    made: dict[tuple[str, str], list[int]] = {}
    with queue_in(path, ROTATING) as queue:
        queue.join([A, B])
        for day in range(4, 10):
            for destination in (A, B):
                now = START + day * LATER
                queue.look([], 0)
                with claimed(queue, destination) as claim:
                    for found in take_all(claim, now):
                        made.setdefault((destination, found.event.id), []).append(found.attempt)
                        claim.record([(found, outcome(destination, found))], now)
        for (destination, event), attempts in made.items():
            last = 2 if destination == B else 5
            assert attempts == list(range(attempts[0], last + 1)), (destination, event)
            # One attempt may have been written down and not said.
            assert attempts[0] - recorded.get((destination, event), 0) in (1, 2)
        for destination, last in ((A, 5), (B, 2)):
            for event in accepted:
                assert made.get((destination, event), [0])[-1] == last or recorded[destination, event] >= last - 1
            standing = queue.standing(destination)
            assert (standing.waiting, standing.retrying, standing.next_due_at) == (0, (0, 0, 0, 0), None)
        letters = dead(path, A)
        assert set(letters) >= set(accepted)
        assert len(letters) == len(set(letters)) == queue.standing(A).dead
        assert queue.standing(B).dead == 0
        assert dead(path, B) == []


def test_wherever_a_process_is_killed_nothing_is_lost_and_nothing_recorded_is_repeated(
    request: pytest.FixtureRequest,
) -> None:
    killed = 0
    for step in range(1, 2000, 1 if request.config.getoption("--all-faults") else 3):
        with directory() as path:
            said = path.with_name("said")
            (code,) = in_processes(live_and_die, (path, step, said))
            words = [line.split() for line in said.read_text().splitlines()] if said.exists() else []
            survive(path, words)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        killed += 1
    assert words[-1] == ["lived"]
    assert killed > 30


# --- much of it


def test_a_thousand_destinations_cost_one_line_an_event_and_may_all_be_claimed_at_once(path: Path) -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 3000:
        pytest.skip("this system does not let a process have so many files open")
    names = [f"dst_{number}" for number in range(1000)]
    with queue_in(path) as queue:
        queue.join(names)
        events = accept(queue, *range(10_000))
        (file,) = (path / "events").glob("*.jsonl")
        assert file.read_bytes().count(b"\n") == 10_000
        written = sum(found.stat().st_size for found in (path / "destinations").rglob("*") if found.is_file())
        assert written < 1000 * 1000
        claims = [claim for name in names if (claim := queue.claim(name, "drain")) is not None]
        assert len(claims) == 1000
        for claim in claims:
            assert claim.take(START, 2) == [StoredDelivery(event, 1) for event in events[:2]]
            claim.record([(StoredDelivery(events[1], 1), OK)], START)
        for claim in claims:
            claim.release()
        assert queue.standing(names[999]).waiting == 9_999


def take_very_many(path: Path, said: Path) -> None:
    with queue_in(path) as queue:
        peaks, attempts = [], 0
        for now, answer in ((START, BAD), (START + LATER, OK)):
            claim = queue.claim(A, "drain")
            assert claim is not None
            batch: list[tuple[StoredDelivery, Answer]] = []
            while deliveries := claim.take(now, 1):
                batch.append((deliveries[0], answer))
                attempts += 1
                if len(batch) == 8:
                    claim.record(batch[::-1], now)
                    batch.clear()
                if attempts == 20_000:
                    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
            claim.record(batch, now)
            claim.release()
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        said.write_text(f"{attempts} {peaks[0]} {peaks[-1]}")


def test_a_hundred_thousand_waiting_events_are_taken_and_retried_in_memory_that_does_not_grow(path: Path) -> None:
    with queue_in(path) as queue:
        queue.join([A])
        for start in range(0, 100_000, 10_000):
            queue.accept([draft(number, size=300) for number in range(start, start + 10_000)])
        said = path / "said"
        assert in_processes(take_very_many, (path, said)) == [0]
        attempts, early, late = map(int, said.read_text().split())
        assert attempts == 200_000
        assert late - early < 8 * 1024
        assert queue.standing(A)[:3] == (0, (0, 0, 0, 0), 0)


def test_damage_at_a_journal_s_end_stays_damage_whoever_dies_while_claiming(path: Path) -> None:
    with queue_in(path) as queue:
        queue.join([A])
        accept(queue, 1)
        attempt_all(queue, A, OK, START)
    (journal,) = (path / "destinations" / A / "journal").glob("*.jsonl")
    spoiled = bytearray(journal.read_bytes())
    spoiled[-30], spoiled[-1] = b"xx"
    journal.write_bytes(spoiled)

    def damage() -> list[int]:
        with queue_in(path) as queue:
            return [found.line for found in queue.check().damaged]

    before = damage()
    assert len(before) == 1
    for step in range(1, 100):
        (code,) = in_processes(claim_and_die, (path, step))
        assert damage() == before
        if code == 0:
            break
    assert step > 5
    assert code == 0


def claim_and_die(path: Path, step: int) -> None:
    with queue_in(path) as queue:
        die_at_call(step)
        claim = queue.claim(A, "drain")
        assert claim is not None
        claim.release()
        sys.setprofile(None)
