"""Line formats of the queue: sealing, encoding and decoding. docs/internals.md, section 2, describes them."""

import base64
import binascii
import zlib
from typing import Final, NamedTuple, TypeVar

import msgspec

from arkcli import times
from arkcli.model import Attempt, Draft, Event, Outcome
from arkcli.queue.local.stored import Instead, StoredDraft, StoredEvent
from arkcli.text import pattern

Kind = TypeVar("Kind")

OPENING: Final = b'{"crc":"'
_BODY: Final = b',"body":'
#: Replaces `body` if the body contains a newline, which a line cannot.
_RAW: Final = b',"raw":"'
_BEHIND: Final = len(_BODY)
#: Offset of the fields.
SEALED: Final = len(OPENING) + 8 + 2


class Damaged(ValueError):
    """A line that differs from what was written. The message says what is wrong."""


def seal(fields: bytes) -> bytes:
    """A line, with its newline, from an object's fields without the opening brace: `"a":1}`."""
    return b"%b%b\n" % (seal_for(fields), fields)


def seal_for(fields: bytes | memoryview) -> bytes:
    """The first SEALED bytes of a line with these fields, including the checksum."""
    return b'{"crc":"%08x",' % zlib.crc32(fields)


def is_whole(line: bytes) -> bool:
    """Whether `seal` made this line (without its newline)."""
    return line.startswith(seal_for(memoryview(line)[SEALED:]))


def check(line: bytes) -> None:
    """Raises Damaged unless `seal` made this line (without its newline)."""
    if not is_whole(line):
        looks_sealed = line.startswith(OPENING) and line.startswith(b'",', SEALED - 2)
        raise Damaged("the checksum does not fit" if looks_sealed else "not a sealed line")


class Ends(NamedTuple):
    """Up to which positions a file has whole lines: what was `synced`, and what was written when the last process
    `ended` its work; 0: unknown.
    """

    synced: int = 0
    ended: int = 0

    def are_torn(self, tail: bytes, start: int) -> bool:
        """Whether a crash can have left these bytes at the end of the file: the beginning of a line.

        A power failure leaves zeros where nothing was synced.
        """
        begun = tail.rstrip(b"\0")
        if start < self.synced or start < self.ended <= start + len(begun):
            return False
        return begun.startswith(OPENING[: len(begun)]) and begun.count(OPENING) <= 1 and b"\0" not in begun


class EventHead(msgspec.Struct, gc=False):
    """An event line without its body. Fields are named as in the file."""

    seq: int
    addressed: int
    id: str
    at: str
    event: str
    to: tuple[str, ...] | None = None
    instead: dict[str, Instead] | None = None


class AttemptLine(msgspec.Struct, gc=False, omit_defaults=True):
    """A journal line that records an attempt. Fields are named as in the file."""

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
        """The attempt as a domain type."""
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
    """A dead letter: a full copy of the event, and how and when its last attempt failed."""

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
        """The dead event."""
        return StoredEvent(self.id, self.event, self.at, self.body, None, self.pos, self.len)


class DropLine(msgspec.Struct, gc=False, omit_defaults=True):
    """A journal line that discards a delivery.

    `attempt` is the one that will not be made: for a dead delivery, one more than there are attempts. `action` is the
    reason: `drop` (the user asked for it), `damaged` (its event cannot be read), `void` (it was to replace a delivery
    that has since gone on).
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

    `gone` are the events, by position, that are no longer dead but may still be in the dead letters. `newest` is the
    furthest event seen: position, length (0 if the event is unknown) and id.
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


#: The errors that a decoder raises.
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_STORED: Final = (StoredDraft, StoredEvent)
_POSITION: Final = pattern(rb'"pos":(-?\d+),')
_encoder: Final = msgspec.json.Encoder()
_events: Final = msgspec.json.Decoder(EventHead)
_dead: Final = msgspec.json.Decoder(DeadLine)
_attempts: Final = msgspec.json.Decoder(AttemptLine)
_drops: Final = msgspec.json.Decoder(DropLine)
_snapshots: Final = msgspec.json.Decoder(_SnapshotLine)


def encode_event(event: Draft | Event, seq: int, addressed: int) -> bytes:
    """An event line, with its newline. The body is the last key, verbatim unless it contains a newline."""
    head = f'"seq":{seq},"addressed":{addressed},"id":"{event.id}","at":"{event.at}","event":"{event.name}"'.encode()
    if event.to is not None:
        head += b',"to":%b' % _encoder.encode(event.to)
    if isinstance(event, _STORED) and event.instead is not None:
        head += b',"instead":%b' % _encoder.encode(event.instead)
    key, body = _embedded(event.body)
    head += key
    # Piece by piece, so that the body is copied only once.
    crc = zlib.crc32(b"}", zlib.crc32(body, zlib.crc32(head)))
    return b"".join((b'{"crc":"%08x",' % crc, head, body, b"}\n"))


def decode_event(line: bytes, position: int) -> StoredEvent:
    """The event in the line (without its newline) at a position. Raises Damaged."""
    check(line)
    return event_of(line, position)


def event_of(line: bytes, position: int) -> StoredEvent:
    """Like `decode_event`, for a line whose checksum is known to fit."""
    header, body = _split_off_body(line)
    try:
        decoded = _events.decode(header)
    except _UNREADABLE as error:
        raise Damaged(str(error)) from None
    size = len(line) + 1
    return StoredEvent(decoded.id, decoded.event, decoded.at, body, decoded.to, position, size, decoded.instead)


def events_in(data: bytes, position: int) -> list[StoredEvent] | None:
    """The events in a block of lines that begins at a position; None unless every line is whole and has a plain body.

    Does in one loop what `seal_for` and `event_of` do for each line: every delivery begins here.
    """
    found, begin, view = list[StoredEvent](), 0, memoryview(data)
    find, is_there, decode, crc32 = data.find, data.startswith, _events.decode, zlib.crc32
    try:
        while end := find(b"\n", begin) + 1:
            cut = find(_BODY, begin, end)
            if cut < 0 or not is_there(b'{"crc":"%08x",' % crc32(view[begin + SEALED : end - 1]), begin):
                return None
            head, body = decode(data[begin:cut] + b"}"), data[cut + _BEHIND : end - 2]
            at = position + begin
            found.append(StoredEvent(head.id, head.event, head.at, body, head.to, at, end - begin, head.instead))
            begin = end
    except _UNREADABLE:
        return None
    return found


def event_counts(line: bytes) -> tuple[int, int]:
    """`seq` and `addressed` of the line that follows this event line. Raises Damaged."""
    check(line)
    head = head_of(line)
    return head.seq + 1, head.addressed + (head.to is not None)


def head_of(line: bytes) -> EventHead:
    """An event line without its body. The checksum must be known to fit. Raises Damaged."""
    return _decode(_events, _split_off_body(line)[0])


def position_of(line: bytes) -> int:
    """The position of the event of a journal line or a dead letter; -1 if it has none."""
    found = _POSITION.match(line, SEALED)
    return -1 if found is None else int(found[1])


def encode_dead(line: DeadLine) -> bytes:
    """A dead letter's line, with its newline. The body is stored as in an event line."""
    header = _encoder.encode(msgspec.structs.replace(line, body=b""))
    return seal(b"%b%b%b}" % (header[1:-1], *_embedded(line.body)))


def decode_dead(line: bytes) -> DeadLine:
    """The dead letter in a line (without its newline). Raises Damaged."""
    check(line)
    header, body = _split_off_body(line)
    return msgspec.structs.replace(_decode(_dead, header), body=body)


def _split_off_body(line: bytes) -> tuple[bytes, bytes]:
    """A sealed line without its body, and the body.

    The body is not parsed: that was done when it was accepted, and it must be readable however deeply it is nested.
    Quotes in a JSON string are escaped, so the first `"body"` is the key.
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
    """The body as the last member of a line: the comma and the key, and the value."""
    return (_RAW, base64.b64encode(body) + b'"') if b"\n" in body else (_BODY, body)


def pieces(line: bytes) -> list[bytes]:
    """A whole line as a list of one; the lines in a damaged one, which contains several if a newline was lost.

    With one byte between each two of them they are as long as the line.
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
    """A line without a body, such as a journal line, with its newline."""
    fields = _encoder.encode(line)[1:]
    # Like `seal`, but inlined: this is done for every delivery.
    return b'{"crc":"%08x",%b\n' % (zlib.crc32(fields), fields)


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """A snapshot line, with its newline."""
    return encode(_SnapshotLine(snapshot))


def decode_journal(line: bytes) -> AttemptLine | DropLine | Snapshot:
    """The entry in a journal line (without its newline). Raises Damaged."""
    check(line)
    return entry_of(line)


def entry_of(line: bytes) -> AttemptLine | DropLine | Snapshot:
    """Like `decode_journal`, for a line whose checksum is known to fit."""
    if line.startswith(b'"snapshot"', SEALED):
        return _decode(_snapshots, line).snapshot
    # Quotes in a JSON string are escaped, so this can only be a key.
    return _decode(_drops, line) if b',"action":' in line else _decode(_attempts, line)


def _decode(decoder: msgspec.json.Decoder[Kind], line: bytes) -> Kind:
    try:
        return decoder.decode(line)
    except _UNREADABLE as error:
        raise Damaged(str(error)) from None
