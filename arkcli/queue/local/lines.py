"""Line formats of the queue: sealing, encoding and decoding. docs/internals.md, section 2, describes them."""

import base64
import binascii
import re
import zlib
from typing import Final, TypeVar

import msgspec

from arkcli import times
from arkcli.model import Attempt, Draft, Event, Outcome
from arkcli.queue.local.stored import Instead, StoredDraft, StoredEvent

Kind = TypeVar("Kind")

OPENING: Final = b'{"crc":"'
_BODY: Final = b',"body":'
#: In place of the body where it holds a newline, which no line can.
_RAW: Final = b',"raw":"'
#: Where the fields begin.
SEALED: Final = len(OPENING) + 8 + 2


class Damaged(ValueError):
    """A line that is not what was written. The message says what is wrong with it."""


def seal(fields: bytes) -> bytes:
    """A line, with its newline, from the fields of an object: `"a":1}`, without the opening brace."""
    return b"%b%b\n" % (seal_for(fields), fields)


def seal_for(fields: bytes | memoryview) -> bytes:
    """What a line with these fields begins with: SEALED bytes, the checksum among them."""
    return b'{"crc":"%08x",' % zlib.crc32(fields)


def is_whole(line: bytes) -> bool:
    """Whether the line (without its newline) is one that `seal` made."""
    return line.startswith(seal_for(memoryview(line)[SEALED:]))


def check(line: bytes) -> None:
    """Raises Damaged unless the line (without its newline) is one that `seal` made."""
    if not is_whole(line):
        looks_sealed = line.startswith(OPENING) and line.startswith(b'",', SEALED - 2)
        raise Damaged("the checksum does not fit" if looks_sealed else "not a sealed line")


class EventHead(msgspec.Struct, gc=False):
    """An event line without its body. Its keys are those of the file."""

    seq: int
    addressed: int
    id: str
    at: str
    event: str
    to: tuple[str, ...] | None = None
    instead: dict[str, Instead] | None = None


class AttemptLine(msgspec.Struct, gc=False, omit_defaults=True):
    """A journal line that tells of an attempt. Its keys are those of the file."""

    pos: int
    len: int
    id: str
    event: str
    attempt: int
    at: str
    outcome: Outcome
    ms: int
    status: int | None = None
    error: str | None = None
    excerpt: str = ""
    after: tuple[int, int] | None = None
    instead: Instead | None = None

    def to_attempt(self) -> Attempt:
        """The attempt, in the words of the model."""
        return Attempt(
            event_id=self.id,
            event=self.event,
            attempt=self.attempt,
            at=times.from_text(self.at),
            outcome=self.outcome,
            status=self.status,
            error=self.error,
            duration_ms=self.ms,
            excerpt=self.excerpt,
        )


class DeadLine(msgspec.Struct, gc=False, omit_defaults=True):
    """A line of the dead letters: an event's full copy, and how and when its last attempt failed."""

    pos: int
    len: int
    id: str
    at: str
    event: str
    died_at: str
    body: bytes = b""
    status: int | None = None
    error: str | None = None

    def to_event(self) -> StoredEvent:
        """The event that is dead."""
        return StoredEvent(self.id, self.event, self.at, self.body, None, self.pos, self.len)


class DropLine(msgspec.Struct, gc=False, omit_defaults=True):
    """A journal line that gives a delivery up. `attempt` is the one that will not be made: for a dead
    delivery one more than there are attempts.

    `action` is why: `drop` (the user said so), `damaged` (its event cannot be read), `void` (it was to take the place
    of a delivery that went on meanwhile).
    """

    pos: int
    len: int
    id: str
    event: str
    action: str
    attempt: int
    at: str
    after: tuple[int, int] | None = None


class Snapshot(msgspec.Struct):
    """A destination's state as of journal position `journal`. Progress is [cursor, [[start, end, lines], …]].

    `gone` are the events, by position, that are no longer dead but may still stand among the dead letters. `newest` is
    the furthest event that was seen: position, length (0: nobody knows which) and id.
    """

    journal: int
    first: tuple[int, list[tuple[int, int, int]]]
    lanes: list[tuple[int, list[tuple[int, int, int]]]]
    retrying: list[int]
    dead: int
    last: AttemptLine | None = None
    gone: list[int] = []
    newest: tuple[int, int, str] | None = None


class _SnapshotLine(msgspec.Struct):
    snapshot: Snapshot


#: What a decoder raises.
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_STORED: Final = (StoredDraft, StoredEvent)
_POSITION: Final = re.compile(rb'"pos":(-?\d+),')
_encoder: Final = msgspec.json.Encoder()
_events: Final = msgspec.json.Decoder(EventHead)
_dead: Final = msgspec.json.Decoder(DeadLine)
_attempts: Final = msgspec.json.Decoder(AttemptLine)
_drops: Final = msgspec.json.Decoder(DropLine)
_snapshots: Final = msgspec.json.Decoder(_SnapshotLine)


def encode_event(event: Draft | Event, seq: int, addressed: int) -> bytes:
    """An event line, with its newline. The body goes in verbatim, as the last key, unless it holds a newline."""
    head = f'"seq":{seq},"addressed":{addressed},"id":"{event.id}","at":"{event.at}","event":"{event.name}"'.encode()
    if event.to is not None:
        head += b',"to":%b' % _encoder.encode(event.to)
    if isinstance(event, _STORED) and event.instead is not None:
        head += b',"instead":%b' % _encoder.encode(event.instead)
    key, body = _embedded(event.body)
    head += key
    # Piece by piece, so that a body is copied once.
    crc = zlib.crc32(b"}", zlib.crc32(body, zlib.crc32(head)))
    return b"".join((b'{"crc":"%08x",' % crc, head, body, b"}\n"))


def decode_event(line: bytes, position: int) -> StoredEvent:
    """The event of a line (without its newline) that stands at a position. Raises Damaged."""
    check(line)
    return event_of(line, position)


def event_of(line: bytes, position: int) -> StoredEvent:
    """The same for a line that is known to be whole."""
    header, body = _split_off_body(line)
    try:
        decoded = _events.decode(header)
    except _UNREADABLE as error:
        raise Damaged(str(error)) from None
    size = len(line) + 1
    return StoredEvent(decoded.id, decoded.event, decoded.at, body, decoded.to, position, size, decoded.instead)


def event_counts(line: bytes) -> tuple[int, int]:
    """`seq` and `addressed` of the line that follows this event line. Raises Damaged."""
    check(line)
    head = head_of(line)
    return head.seq + 1, head.addressed + (head.to is not None)


def head_of(line: bytes) -> EventHead:
    """All of an event line that is known to be whole but its body. Raises Damaged."""
    return _decode(_events, _split_off_body(line)[0])


def position_of(line: bytes) -> int:
    """The position of the event that a journal line or a dead letter tells of; -1 where it tells of none."""
    found = _POSITION.match(line, SEALED)
    return -1 if found is None else int(found[1])


def encode_dead(line: DeadLine) -> bytes:
    """A dead letter's line, with its newline. The body goes in like that of an event line."""
    header = _encoder.encode(msgspec.structs.replace(line, body=b""))
    return seal(b"%b%b%b}" % (header[1:-1], *_embedded(line.body)))


def decode_dead(line: bytes) -> DeadLine:
    """A dead letter's line (without its newline). Raises Damaged."""
    check(line)
    header, body = _split_off_body(line)
    return msgspec.structs.replace(_decode(_dead, header), body=body)


def _split_off_body(line: bytes) -> tuple[bytes, bytes]:
    """A sealed line without its body, and the body.

    The body is not parsed: it was when it was accepted, and however deep it is nested it must be read back. Quotes in
    a JSON string are escaped, so the first `"body"` is the key.
    """
    cut = line.find(_BODY)
    if cut >= 0:
        return line[:cut] + b"}", line[cut + len(_BODY) : -1]
    cut = line.find(_RAW)
    if cut < 0:
        raise Damaged("it has no body")
    try:
        return line[:cut] + b"}", base64.b64decode(line[cut + len(_RAW) : -2], validate=True)
    except binascii.Error as error:
        raise Damaged(f"its body is not base64: {error}") from None


def _embedded(body: bytes) -> tuple[bytes, bytes]:
    """The body as the last member of a line: the key with the comma before it, and the value."""
    return (_RAW, base64.b64encode(body) + b'"') if b"\n" in body else (_BODY, body)


def pieces(line: bytes) -> list[bytes]:
    """A line as a list; if it is damaged, the lines in it: where a newline was lost, several stand in one.

    Together with one byte between two of them they are as long as the line.
    """
    if is_whole(line):
        return [line]
    found = []
    begin = 0
    while (following := line.find(OPENING, begin + 1)) > 0:
        found.append(line[begin : following - 1])
        begin = following
    return [*found, line[begin:]]


def encode(line: msgspec.Struct) -> bytes:
    """A line without a body, such as one of a journal, with its newline."""
    fields = _encoder.encode(line)[1:]
    # As `seal` does it; this is done for every delivery.
    return b'{"crc":"%08x",%b\n' % (zlib.crc32(fields), fields)


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """A snapshot line, with its newline."""
    return encode(_SnapshotLine(snapshot))


def decode_journal(line: bytes) -> AttemptLine | DropLine | Snapshot:
    """What a journal line (without its newline) says. Raises Damaged."""
    check(line)
    return entry_of(line)


def entry_of(line: bytes) -> AttemptLine | DropLine | Snapshot:
    """The same for a line that is known to be whole."""
    if line.startswith(b'"snapshot"', SEALED):
        return _decode(_snapshots, line).snapshot
    # Quotes inside a JSON string are escaped, so this can only be a key.
    return _decode(_drops, line) if b',"action":' in line else _decode(_attempts, line)


def _decode(decoder: msgspec.json.Decoder[Kind], line: bytes) -> Kind:
    try:
        return decoder.decode(line)
    except _UNREADABLE as error:
        raise Damaged(str(error)) from None
