"""Accepts a stream of payloads, one per line, while it arrives: `ark send EVENT --ndjson`."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

import msgspec

from arkcli import times
from arkcli.contract.events import LARGE_BODY, MAX_BODY
from arkcli.errors import Interrupted, NotAccepted, PayloadError, UsageError
from arkcli.intake.lines import Arrived, Lines
from arkcli.intake.writer import Writer
from arkcli.model import Draft, Event
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
    #: Whether the event was accepted before, with the same body, and so not again.
    repeated: bool = False


class Keys(NamedTuple):
    """For a stream whose ids are idempotency keys."""

    #: Raises UsageError if the event, which has a payload's key, was not made from that payload.
    check_same: Callable[[bytes, Event], None]
    #: The event accepted before under a key.
    find: Callable[[str], Event | None]


class _Batch:
    """Lines that are accepted together."""

    def __init__(self, begun: float) -> None:
        self.begun = begun
        self.size = 0
        self.last_line = 0
        self.drafts: list[Draft] = []
        #: The payloads of the drafts, if they have to be compared with those of events accepted before.
        self.payloads: list[bytes] = []
        self.receipts: list[Receipt] = []

    @property
    def good(self) -> list[int]:
        """Which receipts are those of the drafts, in order."""
        return [number for number, receipt in enumerate(self.receipts) if receipt.error is None]

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
        keys: Keys | None = None,
    ) -> None:
        """`make` makes an event from a payload, a time (ISO 8601) and digits for its ids, or raises PayloadError.

        `new_digits` takes a number of events and returns new digits for each. With `keys`, every event's id is an
        idempotency key.
        """
        self._make = make
        self._new_digits = new_digits
        self._clock = clock
        self._writer = writer
        self._process = process
        self._keys = keys
        #: For `refusals`: a digest of the body that first had a key in this stream.
        self._seen: dict[str, bytes] = {}
        self._under_way: _Batch | None = None
        #: How many events are durable, how many of their lines came before, how many lines were rejected, and how many
        #: bodies are large.
        self.accepted = 0
        self.repeated = 0
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
                    self._writer.submit(batch.drafts, aside=batch.is_full(), unique=self._keys is not None)
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
        """Reads up to the end of the stream, accepts nothing, and yields a receipt for every line to be refused.

        With `keys`, `make` has to give the same body for the same payload, and every key is remembered. Raises
        NotAccepted if the stream cannot be copied, and Interrupted after a stop.
        """
        try:
            for batch in self._batches(lines):
                if batch is not None:
                    self.last_line = batch.last_line
                    if self._keys is not None:
                        self._look_up(batch, self._keys)
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
            if self._keys is not None and text is not None:
                batch.payloads.append(text)
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
        before = self.refused + self.repeated
        if self._keys is not None:
            self._settle(batch, self._keys)
        self.accepted += len(batch.drafts) - (self.refused + self.repeated - before)
        self.last_line = batch.last_line
        self._process.accepted = self._so_far() if self.accepted else None
        yield batch.receipts

    def _settle(self, batch: _Batch, keys: Keys) -> None:
        """Corrects the receipts of lines whose keys belong to events accepted before."""
        events = self._writer.events
        for number, draft, payload, event in zip(batch.good, batch.drafts, batch.payloads, events, strict=True):
            if event.body is not draft.body and not self._is_refused(batch, number, payload, event, keys):
                batch.receipts[number] = Receipt(batch.receipts[number].line, event.id, None, repeated=True)
                self.repeated += 1

    def _look_up(self, batch: _Batch, keys: Keys) -> None:
        """Refuses the lines whose keys belong to another event, accepted before or earlier in the stream."""
        for number, draft, payload in zip(batch.good, batch.drafts, batch.payloads, strict=True):
            digest = sha256(draft.body).digest()
            known = keys.find(draft.id)
            if known is not None:
                self._is_refused(batch, number, payload, known, keys)
            elif self._seen.setdefault(draft.id, digest) != digest:
                self._refuse(batch, number, f"the id {draft.id!r} belongs to an earlier line, which is another event")

    def _is_refused(self, batch: _Batch, number: int, payload: bytes, event: Event, keys: Keys) -> bool:
        try:
            keys.check_same(payload, event)
        except UsageError as error:
            self._refuse(batch, number, str(error))
            return True
        return False

    def _refuse(self, batch: _Batch, number: int, error: str) -> None:
        batch.receipts[number] = Receipt(batch.receipts[number].line, None, error)
        self.refused += 1

    def _so_far(self, uncertain: _Batch | None = None) -> str:
        following = f"{self.last_line + 1:,}"
        accepted = f"accepted {counted(self.accepted, 'event')}, from the good lines up to line {self.last_line:,}"
        if uncertain is not None:
            some = f"some of lines {following} to {uncertain.last_line:,} may have been accepted, too"
            return f"{accepted}; {some}; compare them with `ark queue list` before you send those lines again"
        return f"{accepted}, and nothing from line {following} on" if self.last_line else "nothing was accepted"
