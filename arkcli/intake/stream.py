"""Accepts a stream of payloads, one per line, while it arrives: `ark send EVENT --ndjson`."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from arkcli import times
from arkcli.contract.events import LARGE_BODY, MAX_BODY
from arkcli.errors import Interrupted, NotAccepted, PayloadError, UsageError
from arkcli.intake.lines import Arrived, Lines
from arkcli.intake.writer import Writer
from arkcli.model import Draft
from arkcli.system.clock import Clock
from arkcli.system.process import Process
from arkcli.text import counted

#: The longest line, in bytes: a body, and room for white space that compacting removes.
LONGEST_LINE: Final = 4 * MAX_BODY
#: A batch is accepted when it has this many lines or bytes,
_BATCH: Final = 2_000
_BATCH_SIZE: Final = 2 * 1024 * 1024
#: or when nothing has arrived for _LULL, or its first line has waited for _PATIENCE. Seconds.
_LULL: Final = 0.01
_PATIENCE: Final = 0.1


_PRETTY: Final = (
    "the input is a JSON document over several lines, and --ndjson takes one document per line: leave out --ndjson, or "
    "write each document on one line (`jq -c .`). Nothing was accepted"
)


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """The result of a line: the id of its event, or why it was not accepted."""

    line: int
    event_id: str | None
    error: str | None


class _Batch:
    """Lines that are accepted together."""

    def __init__(self, begun: float) -> None:
        self.begun = begun
        self.size = 0
        self.last_line = 0
        self.drafts: list[Draft] = []
        self.receipts: list[Receipt] = []

    def is_full(self) -> bool:
        return self.size >= _BATCH_SIZE or len(self.receipts) >= _BATCH


class _Broken(Exception):
    """The stream cannot be read any further; the message says why."""


class Intake:
    """Makes an event of every line and accepts them in batches. A batch is made durable while the next one is read.

    Blank lines are counted but skipped.
    """

    def __init__(
        self,
        make: Callable[[bytes, str, str], Draft],
        new_digits: Callable[[int], Sequence[str]],
        clock: Clock,
        writer: Writer,
        process: Process,
    ) -> None:
        """`make` makes an event from a payload, a time (ISO 8601) and digits for its ids, or raises PayloadError.

        `new_digits` takes a number of events and returns new digits for each.
        """
        self._make = make
        self._new_digits = new_digits
        self._clock = clock
        self._writer = writer
        self._process = process
        self._under_way: _Batch | None = None
        #: How many events are durable, how many lines were rejected, and how many bodies are large.
        self.accepted = 0
        self.refused = 0
        self.large = 0
        #: Every line up to this one has been accepted or rejected.
        self.last_line = 0

    def accept(self, lines: Lines) -> Iterator[list[Receipt]]:
        """Accepts every valid line up to the end of the stream; yields receipts in order, once the events are durable.

        Raises NotAccepted, and Interrupted after a stop; both say what was accepted. `accepted` is correct in any case.
        Raises UsageError, with nothing accepted, if the stream is a document over several lines.
        """
        try:
            for batch in self._arriving(lines):
                yield from self._finished()
                if batch is not None:
                    self._under_way = batch
                    self._process.accepted = self._so_far(batch)
                    # If the stream fills batches, more lines are coming.
                    self._writer.submit(batch.drafts, aside=batch.is_full())
                    if not self._writer.is_busy:
                        yield from self._finished()
            yield from self._finished()
        except _Broken as broken:
            yield from self._finished()
            raise NotAccepted(str(broken), self._so_far()) from broken
        finally:
            # The caller may have stopped reading receipts, but the batch under way still counts.
            with contextlib.suppress(NotAccepted):
                list(self._finished())
            self._writer.close()
        if self._process.stopping():
            raise Interrupted(f"interrupted: {self._so_far()}")

    def refusals(self, lines: Lines) -> Iterator[list[Receipt]]:
        """Reads up to the end of the stream, accepts nothing, and yields a receipt for every invalid line.

        Raises NotAccepted if the stream cannot be copied, and Interrupted after a stop.
        """
        try:
            for batch in self._batches(lines):
                if batch is not None:
                    self.last_line = batch.last_line
                    yield [found for found in batch.receipts if found.error is not None]
            lines.flush()
        except OSError as error:
            raise NotAccepted(f"the stream cannot be copied ({error.strerror})", "nothing was accepted") from error
        if self._process.stopping():
            raise Interrupted(f"interrupted while waiting for line {self.last_line + 1:,}: nothing was accepted")

    def _arriving(self, lines: Lines) -> Iterator[_Batch | None]:
        try:
            yield from self._batches(lines)
        except OSError as error:
            raise _Broken(f"the stream cannot be read ({error.strerror})") from error

    def _batches(self, lines: Lines) -> Iterator[_Batch | None]:
        """Batches as they fill or the stream pauses; None if there is time to finish the batch under way."""
        batch = _Batch(0.0)
        while not (lines.ended or self._process.stopping()):
            before = lines.taken
            arrived = lines.read(_LULL if batch.receipts or self._under_way else _PATIENCE)
            is_lull = lines.taken == before
            if not batch.receipts:
                batch.begun = self._clock.monotonic()
            for begin in range(0, len(arrived.texts), _BATCH):
                self._add(batch, Arrived(arrived.number + begin, arrived.texts[begin : begin + _BATCH]))
                if batch.is_full():
                    yield batch
                    batch = _Batch(self._clock.monotonic())
            if batch.receipts and (is_lull or self._clock.monotonic() - batch.begun >= _PATIENCE):
                yield batch
                batch = _Batch(0.0)
            elif is_lull:
                yield None
        if batch.receipts:
            yield batch

    def _add(self, batch: _Batch, arrived: Arrived) -> None:
        at = times.to_text(self._clock.now())
        fresh = self._new_digits(len(arrived.texts))
        for number, (text, digits) in enumerate(zip(arrived.texts, fresh, strict=True), arrived.number):
            try:
                draft = self._draft(text, at, digits)
            except PayloadError as error:
                if number == 1 and text is not None and text.strip() in (b"{", b"["):
                    raise UsageError(_PRETTY) from error
                if text is None or text.strip():
                    batch.receipts.append(Receipt(number, None, str(error)))
                    self.refused += 1
                continue
            size = len(draft.body)
            self.large += size > LARGE_BODY
            batch.size += size
            batch.drafts.append(draft)
            batch.receipts.append(Receipt(number, draft.id, None))
        batch.last_line = arrived.number + len(arrived.texts) - 1

    def _draft(self, text: bytes | None, at: str, digits: str) -> Draft:
        if text is None:
            raise PayloadError(f"$: more than {LONGEST_LINE:,} bytes; the maximum for a body is {MAX_BODY:,}")
        return self._make(text, at, digits)

    def _finished(self) -> Iterator[list[Receipt]]:
        """Waits for the batch under way and yields its receipts. Raises NotAccepted."""
        if self._under_way is None:
            return
        batch, self._under_way = self._under_way, None
        reason = self._writer.finish()
        if reason is not None:
            so_far = self._process.accepted = self._so_far(batch if self._writer.is_uncertain else None)
            raise NotAccepted(reason, so_far)
        self.accepted += len(batch.drafts)
        self.last_line = batch.last_line
        self._process.accepted = self._so_far() if self.accepted else None
        yield batch.receipts

    def _so_far(self, uncertain: _Batch | None = None) -> str:
        following = f"{self.last_line + 1:,}"
        accepted = f"accepted {counted(self.accepted, 'event')}, from the good lines up to line {self.last_line:,}"
        if uncertain is not None:
            some = f"some of lines {following} to {uncertain.last_line:,} may have been accepted, too"
            return f"{accepted}; {some}; compare them with `ark queue list` before you send those lines again"
        return f"{accepted}, and nothing from line {following} on" if self.last_line else "nothing was accepted"
