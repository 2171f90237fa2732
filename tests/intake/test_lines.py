"""The lines of a stream: complete however its bytes arrive, returned at once, and discarded if too long."""

import io
import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arkcli.intake.lines import Lines


class InPieces(io.RawIOBase):
    """A stream that arrives in these pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = iter(pieces)

    def read(self, _size: int = -1) -> bytes:
        return next(self._pieces, b"")


def lines_of(pieces: list[bytes], longest: int = 1 << 20, copy: io.BytesIO | None = None) -> list[bytes | None]:
    found: list[bytes | None] = []
    lines = Lines(InPieces([piece for piece in pieces if piece]), longest, copy)  # type: ignore[arg-type] # reads
    while not lines.ended:
        arrived = lines.read(0)
        assert arrived.number == len(found) + 1
        found += arrived.texts
    return found


@given(st.lists(st.binary(max_size=8) | st.sampled_from([b"\n", b"a\nb", b"\n\n", b"\r\n"]), max_size=12))
def test_lines_are_the_same_however_the_bytes_come(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    expected = whole.split(b"\n")
    if not expected[-1]:
        expected.pop()
    copy = io.BytesIO()
    assert lines_of(pieces, copy=copy) == expected
    assert copy.getvalue() == whole


@given(st.lists(st.binary(max_size=6) | st.just(b"\n"), max_size=12), st.integers(0, 4))
def test_a_line_that_is_too_long_is_not_kept_and_the_others_are(pieces: list[bytes], longest: int) -> None:
    expected = [text if text is not None and len(text) <= longest else None for text in lines_of(pieces)]
    assert lines_of(pieces, longest) == expected


def test_an_endless_line_takes_no_memory() -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(10_000):
            yield piece
        yield b"\nshort\n"

    piece = b"x" * 65_536
    lines = Lines(InPieces(endless()), 1 << 20)  # type: ignore[arg-type] # an iterator is enough
    found: list[bytes | None] = []
    while not lines.ended:
        found += lines.read(0).texts
        assert sum(map(len, lines._begun)) <= 1 << 20
    assert found == [None, b"short"]
    assert lines.taken == 10_000 * 65_536 + 7


@pytest.fixture
def pipe() -> Iterator[tuple[int, Lines]]:
    ours, theirs = os.pipe()
    with os.fdopen(ours, "rb") as stream:
        yield theirs, Lines(stream, 100)


def test_what_has_come_through_a_pipe_is_told_though_the_pipe_stays_open(pipe: tuple[int, Lines]) -> None:
    theirs, lines = pipe
    os.write(theirs, b"one\ntwo\nthr")
    assert lines.read(60).texts == [b"one", b"two"]
    assert lines.read(0) == (3, [])
    os.write(theirs, b"ee\n")
    assert lines.read(60) == (3, [b"three"])
    os.write(theirs, b"four")
    os.close(theirs)
    assert lines.read(60).texts == []
    assert lines.read(60) == (4, [b"four"])
    assert lines.ended


def test_an_empty_stream_has_no_line(pipe: tuple[int, Lines]) -> None:
    theirs, lines = pipe
    os.close(theirs)
    assert lines.read(60) == (1, [])
    assert lines.ended
