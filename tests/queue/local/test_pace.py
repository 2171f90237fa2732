"""The file with what counts against a rate: its next reader is never too fast, and a broken one stops nobody."""

from pathlib import Path

import pytest

from arkcli.queue.local.notes import read_pace, write_pace
from arkcli.queue.pace import Pace, Terms, Turns
from tests.world import START

TEN = Terms(10, 1_000, None)


def test_what_was_under_way_has_ended_when_the_next_holder_reads_it(tmp_path: Path) -> None:
    pace = Pace()
    assert Turns().admit(pace, TEN, 7, START).count == 7
    write_pace(tmp_path, pace)
    # The process was killed; the next one comes a minute later.
    now = START + 60_000
    found, turns = read_pace(tmp_path, now), Turns()
    assert turns.admit(found, TEN, 99, now).count == 3
    turns.ended(3, now)
    assert turns.admit(found, TEN, 99, now + 1_010).count == 10


@pytest.mark.parametrize("text", [None, b"", b"{", b"[]", b'{"open": 5}', b'{"ended": {"x": 1}}', b"\xff"])
def test_a_file_that_cannot_be_read_holds_nothing_back(tmp_path: Path, text: bytes | None) -> None:
    if text is not None:
        (tmp_path / "pace.json").write_bytes(text)
    assert Turns().admit(read_pace(tmp_path, START), TEN, 99, START).count == 10
