"""What others may change: when it is read again, and what counts while it cannot be read. The clock is passed in."""

import errno
import os
import time
from pathlib import Path

import pytest

from arkcli.errors import Unreadable
from arkcli.system.followed import Followed, stamp_of


class Kept:
    """Something that is kept elsewhere: its stamp, its value (or why there is none), and how often it was read."""

    def __init__(self, value: str | Exception = "old") -> None:
        self.stamp: object = 1
        self.value = value
        self.reads = 0
        self.now = 0.0
        self.warnings: list[str] = []

    def read(self) -> str:
        self.reads += 1
        if isinstance(self.value, Exception):
            raise self.value
        return self.value

    def followed(self, *, every: float = 0.0, patient: bool = False) -> "Looked":
        return Looked(self, every=every, patient=patient)


class Looked(Followed[str]):
    """It is looked at at a time, in seconds; at first at 0."""

    def __init__(self, kept: Kept, *, every: float, patient: bool) -> None:
        self.kept = kept
        warn = kept.warnings.append
        super().__init__(lambda: kept.stamp, kept.read, lambda: kept.now, warn, every=every, patient=patient)

    def at(self, now: float) -> bool:
        self.kept.now = now
        return self.look()


BROKEN = Unreadable("the file is broken")
TOLD = "the file is broken. Until it can be read, ark uses what it read last"


def test_the_first_look_reads_and_what_has_not_changed_is_not_read_over_and_over() -> None:
    kept = Kept()
    followed = kept.followed()
    assert followed.value == "old"
    assert not any(followed.at(now / 10) for now in range(1, 100))
    # Once more when its stamp has settled: a change within the same tick of a file system's clock has the same stamp.
    assert kept.reads == 2


def test_a_change_with_the_same_stamp_as_what_was_just_read_is_noticed() -> None:
    kept = Kept()
    followed = kept.followed()
    kept.value = "new"
    assert followed.at(0.1)
    assert followed.value == "new"


def test_a_change_is_read_at_the_next_look() -> None:
    kept = Kept()
    followed = kept.followed()
    followed.at(0.1)
    kept.stamp, kept.value = 2, "new"
    assert followed.at(0.2)
    assert followed.value == "new"


def test_it_is_looked_at_no_more_often_than_told() -> None:
    kept = Kept()
    followed = kept.followed(every=0.25)
    kept.stamp, kept.value = 2, "new"
    assert not followed.at(0.2)
    assert followed.value == "old"
    assert followed.at(0.25)
    assert followed.value == "new"


def test_a_patient_one_reads_a_change_at_the_look_after_the_one_that_saw_it() -> None:
    kept = Kept()
    followed = kept.followed(patient=True)
    followed.at(0.1)
    kept.stamp, kept.value = 2, "half"
    assert not followed.at(0.2)
    assert followed.value == "old"
    kept.stamp, kept.value = 3, "whole"
    assert followed.at(0.3)
    assert followed.value == "whole"
    assert kept.reads == 3


def test_a_patient_one_falls_not_behind_what_changes_all_the_time() -> None:
    kept = Kept("0.0")
    followed = kept.followed(patient=True)
    for step in range(1, 40):
        kept.stamp, kept.value = step, str(step / 10)
        followed.at(step / 10)
        assert step / 10 - float(followed.value) <= 0.11


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (BROKEN, TOLD),
        (
            OSError(errno.EMFILE, "Too many open files", "/x"),
            "/x: Too many open files. Until it can be read, ark uses what it read last",
        ),
    ],
)
def test_while_it_cannot_be_read_it_is_what_it_was_and_that_is_told_once(error: Exception, told: str) -> None:
    kept = Kept()
    followed = kept.followed()
    followed.at(0.1)
    for step in range(2, 200):
        kept.stamp, kept.value = step // 3, error
        assert not followed.at(step / 10)
        assert followed.value == "old"
    assert kept.warnings == [told]
    kept.stamp, kept.value = "right again", "new"
    assert followed.at(20.0)
    assert followed.value == "new"
    kept.stamp, kept.value = "broken again", error
    followed.at(20.1)
    assert kept.warnings == [told, told]


def test_what_is_broken_is_not_read_all_the_time_but_now_and_then_since_the_cause_may_lie_elsewhere() -> None:
    kept = Kept()
    followed = kept.followed()
    kept.stamp, kept.value = 2, BROKEN
    for step in range(1, 101):
        followed.at(step / 10)
    assert kept.reads <= 5
    kept.value = "new"
    for step in range(101, 160):
        followed.at(step / 10)
    assert followed.value == "new"


def test_what_never_could_be_read_says_why_and_comes_in_when_it_can() -> None:
    kept = Kept(BROKEN)
    followed = kept.followed()
    with pytest.raises(Unreadable, match="the file is broken"):
        _ = followed.value
    assert kept.warnings == []
    kept.stamp, kept.value = 2, "there now"
    assert followed.at(0.1)
    assert followed.value == "there now"


def test_the_same_value_again_is_no_change() -> None:
    kept = Kept()
    followed = kept.followed()
    followed.at(0.1)
    kept.stamp = 2
    assert not followed.at(0.2)
    assert kept.reads == 3


def test_the_stamp_of_a_file_tells_of_every_change(tmp_path: Path) -> None:
    file = tmp_path / "file"
    assert stamp_of(file) is None
    file.write_text("one")
    found = file.stat()
    seen = {stamp_of(file)}
    # A file system's clock ticks: what is done within one tick is told apart by reading once more.
    time.sleep(0.02)
    # As long as before, and dated as before: `cp -p`, `touch -r`.
    file.write_text("two")
    os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))
    seen.add(stamp_of(file))
    file.write_text("three")
    seen.add(stamp_of(file))
    other = tmp_path / "other"
    other.write_text("three")
    os.utime(other, ns=(found.st_atime_ns, found.st_mtime_ns))
    other.replace(file)
    seen.add(stamp_of(file))
    file.unlink()
    seen.add(stamp_of(file))
    assert len(seen) == 5
    assert stamp_of(file) is None


def test_the_stamp_of_a_link_is_that_of_the_file_it_leads_to(tmp_path: Path) -> None:
    """As Kubernetes has it: the file is a link into `..data`, and that is a link which is swapped."""
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "secret").write_text(f"value {version}")
    (tmp_path / "..data").symlink_to("1")
    (tmp_path / "secret").symlink_to("..data/secret")
    before = stamp_of(tmp_path / "secret")
    assert before == stamp_of(tmp_path / "1" / "secret")
    (tmp_path / "new").symlink_to("2")
    (tmp_path / "new").replace(tmp_path / "..data")
    assert stamp_of(tmp_path / "secret") == stamp_of(tmp_path / "2" / "secret") != before
