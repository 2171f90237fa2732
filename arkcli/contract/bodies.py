"""Makes the body to send from a payload, and checks a body that is sent byte for byte."""

import re
from datetime import datetime
from itertools import accumulate
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from arkcli.contract import complaints
from arkcli.contract.events import (
    BARE_DOMAIN,
    EVENTS,
    ISO_8601,
    MAX_BODY,
    PING,
    QUEUED,
    UTC_TIME,
    Ping,
    Text,
    Timestamp,
)
from arkcli.errors import PayloadError
from arkcli.text import pattern


class _Envelope(msgspec.Struct):
    event: Raw | UnsetType = UNSET
    timestamp: Raw | UnsetType = UNSET
    batchId: Raw | UnsetType = UNSET  # noqa: N815 - the documented name


#: An escape. `half`: a leading surrogate without a trailing one after it, or the other way round.
_escapes: Final = pattern(rb"(?is)\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}|(?P<half>\\ud[89a-f][0-9a-f]{2})|\\.")
#: Brackets as signed bytes: one level more or less. And all bytes that are neither brackets nor quotes.
_STEPS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NO_STEP: Final = bytes(set(range(256)) - set(b'[{]}"'))
# Capturing groups would make these 50 % slower.
_utc: Final = pattern(UTC_TIME.replace("(", "(?:"))
_iso_8601: Final = pattern(ISO_8601.replace("(", "(?:"))
_bare_domain: Final = pattern(BARE_DOMAIN)

#: A letter of `event` written as an escape, as in "\\u0065vent".
_SPELLED_OUT: Final = pattern(rb"\\u00(?:6[5eE]|7[46])")
#: How deep objects and lists may be nested: the same for every Python version, and less than any of them can read.
DEEPEST: Final = 500
TOO_DEEP: Final = f"$: nested more than {DEEPEST} levels deep; use fewer levels"

_encode: Final = msgspec.json.Encoder().encode
_envelopes: Final = msgspec.json.Decoder(_Envelope)
_decoders: Final = {name: msgspec.json.Decoder(body) for name, body in EVENTS.items()}
#: The same types with an optional envelope, so that a valid payload is decoded only once.
_payloads: Final = {
    name: msgspec.json.Decoder(
        msgspec.defstruct(
            f"{body.__name__}Payload",
            [
                ("event", Raw | UnsetType, UNSET),
                ("timestamp", Timestamp | UnsetType, UNSET),
                ("batchId", Text | UnsetType if body is not Ping else Raw | UnsetType, UNSET),
            ],
            bases=(body,),
            kw_only=True,
        )
    )
    for name, body in EVENTS.items()
}


class Filling(msgspec.Struct, frozen=True):
    """Values for a payload without them: the `timestamp` as a string, and the `batchId`."""

    timestamp: str
    batch_id: str


def make_body(event: str, payload: bytes, filling: Filling, *, validate: bool = True) -> bytes:
    """The body to send: the payload as one line of compact JSON, with missing fields of the envelope filled in.

    Removes white space between tokens and changes nothing else: not the spelling of numbers and strings, and not
    unknown fields. Without `validate`, the payload need only be a JSON object whose `event`, if present, matches.
    Raises PayloadError, which names the place.
    """
    arrived = _read_good(event, payload) if validate else None
    envelope = arrived or _read_envelope(payload)
    absent = _check_event(event, envelope, payload)
    if envelope.timestamp is UNSET:
        absent += b'"timestamp":%b,' % _encode(filling.timestamp)
    if envelope.batchId is UNSET and event != PING:
        absent += b'"batchId":%b,' % _encode(filling.batch_id)
    body = msgspec.json.format(payload, indent=-1)
    if absent:
        body = b"".join((b"{", absent[:-1] if body == b"{}" else absent, memoryview(body)[1:]))
    _check_size(body)
    if validate and arrived is None:
        _validate(event, body)
    return body


def check_raw_body(event: str, body: bytes, *, validate: bool = True) -> None:
    """Checks a body that will be sent byte for byte. Nothing is filled in, so it must contain `event`.

    Raises PayloadError, which names the place.
    """
    if _check_event(event, _read_envelope(body), body):
        raise PayloadError(f'$.event: required but missing: expected "{event}", since --raw fills in nothing')
    _check_size(body)
    if validate:
        _validate(event, body)


def check_object(payload: bytes) -> None:
    """Raises PayloadError unless the payload is a JSON object."""
    _read_envelope(payload)


def refill(event: str, payload: bytes, sent: bytes) -> bytes:
    """The body of `payload`, with missing values filled in from the body `sent`.

    Equals `sent` exactly if `sent` was made from this payload. Raises PayloadError.
    """
    before = _read_envelope(sent)
    filling = Filling(timestamp=_text(before.timestamp), batch_id=_text(before.batchId))
    return make_body(event, payload, filling, validate=False)


def event_of(payload: bytes) -> str:
    """The event type that a payload names itself. Raises PayloadError."""
    given = _read_envelope(payload).event
    name = _text(given)
    if name in QUEUED:
        return name
    if name == PING:
        raise PayloadError("$.event: a ping is never queued; send it with `ark ping`")
    problem = "required but missing: " if given is UNSET else ""
    got = "" if given is UNSET else f", got {complaints.excerpt(bytes(given))}"
    raise PayloadError(f"$.event: {problem}expected one of {', '.join(QUEUED)}{got}")


def _text(raw: Raw | UnsetType) -> str:
    if raw is UNSET:
        return ""
    value = msgspec.json.decode(raw)
    return value if isinstance(value, str) else ""


def _read_good(event: str, payload: bytes) -> "_Envelope | None":
    """Decodes and checks a payload in one pass. None if it is invalid: `_validate` then explains why.

    Raises PayloadError if it is nested too deep.
    """
    check_depth(payload)
    try:
        if not payload.isascii():
            payload.decode("utf-8")
        decoded: Any = _payloads[event].decode(payload)
        _check_values(decoded)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, PayloadError):
        return None
    return decoded  # type: ignore[no-any-return]


def _check_size(body: bytes) -> None:
    if len(body) > MAX_BODY:
        raise PayloadError(f"$: {len(body):,} bytes; the maximum for a body is {MAX_BODY:,}")


#: Where the decoder found something, in its own words.
_BYTE: Final = pattern(r"\(byte (\d+)\)")


def check_depth(payload: bytes) -> None:
    """Raises PayloadError if a payload is nested more than DEEPEST levels deep."""
    # Deleting a byte and comparing the lengths is faster than counting it.
    if len(payload) - len(payload.replace(b"{", b"").replace(b"[", b"")) > DEEPEST:
        marks = payload.replace(rb"\\", b"").replace(rb"\"", b"").translate(_STEPS, _NO_STEP)
        # Leaves out strings, most of which are empty now, and the innermost level.
        steps = b"\x00" + b"".join(marks.replace(b'""', b"").split(b'"')[::2]).replace(b"\x01\xff", b"")
        if max(accumulate(memoryview(steps).cast("b"))) >= DEEPEST:
            raise PayloadError(TOO_DEEP)


def half_a_pair(text: bytes) -> str | None:
    """If only unpaired surrogates make `text` invalid JSON: a message about the first one, with its position."""
    half = next((found for found in _escapes.finditer(text) if found["half"]), None)
    try:
        msgspec.json.decode(_escapes.sub(lambda found: b" " if found["half"] else found[0], text), type=Raw)
    except (msgspec.DecodeError, RecursionError):
        return None
    return half and f"the escape {half['half'].decode()} at byte {half.start()} is half of a surrogate pair; remove it"


def _read_envelope(payload: bytes) -> _Envelope:
    check_depth(payload)
    try:
        payload.decode("utf-8")
        return _envelopes.decode(payload)
    except UnicodeDecodeError as error:
        raise PayloadError(f"$: byte {error.start} is not UTF-8; save the payload as UTF-8 and try again") from None
    except msgspec.ValidationError as error:
        raise PayloadError(f"$: expected a JSON object: {error}") from None
    except msgspec.DecodeError as error:
        if payload.startswith(b"\xef\xbb\xbf"):
            problem = "it begins with a byte-order mark; save it as UTF-8 without one"
        elif not payload.strip():
            problem = "it is empty; give a JSON object"
        else:
            problem = half_a_pair(payload) or _placed(str(error), payload)
        raise PayloadError(f"$: this is not JSON: {problem}") from None
    except RecursionError:
        raise PayloadError(TOO_DEEP) from None


def _placed(problem: str, payload: bytes) -> str:
    """What the decoder found, with line and column (from 1) where a payload has several lines."""
    payload, problem = payload.rstrip(), problem.removeprefix("JSON is malformed: ")
    place = _BYTE.search(problem)
    if place is None:
        return problem
    position = int(place[1])
    if "trailing characters" in problem:
        # The decoder has read one byte more.
        position -= 1
        if payload[position : position + 1] in (b"{", b"["):
            return "it holds several documents; send them with --ndjson, one per line"
    if b"\n" not in payload:
        return problem
    before = payload[:position]
    column = len(before) - before.rfind(b"\n")
    line = before.count(b"\n") + 1
    return f"{problem[: place.start()]}(line {line}, column {column})"


def _check_event(event: str, envelope: _Envelope, payload: bytes) -> bytes:
    if envelope.event is UNSET:
        return b'"event":%b,' % _encode(event)
    try:
        given = msgspec.json.decode(envelope.event)
    except msgspec.MsgspecError:
        given = None
    if given != event:
        found = complaints.excerpt(bytes(envelope.event))
        raise PayloadError(f'$.event: expected "{event}" as on the command line, got {found}')
    if payload.count(b'"event"') > 1 or (b"\\" in payload and _SPELLED_OUT.search(payload)):
        _check_each_event(event, payload)
    return b""


def _check_each_event(event: str, payload: bytes) -> None:
    """Raises PayloadError if `event` appears twice with different values: some receivers read the first, others the
    last (RFC 8259, 4).
    """
    outermost: list[tuple[str, Any]] = []

    def keep(pairs: list[tuple[str, Any]]) -> None:
        outermost[:] = pairs

    import json

    json.loads(payload, object_pairs_hook=keep, parse_int=str, parse_float=str)
    if any(value != event for key, value in outermost if key == "event"):
        raise PayloadError("$.event: `event` appears more than once with different values; keep one")


def _validate(event: str, body: bytes) -> None:
    try:
        decoded = _decoders[event].decode(body)
    except msgspec.ValidationError as error:
        raise PayloadError(complaints.explain(EVENTS[event], str(error), body)) from None
    _check_values(decoded)


def _check_values(decoded: Any) -> None:
    """Checks what the types cannot express. Raises PayloadError."""
    if decoded.timestamp is not UNSET and not _is_time(decoded.timestamp, _utc):
        raise PayloadError(
            complaints.expected("$.timestamp", "an ISO 8601 time in UTC, ending in Z", decoded.timestamp)
        )
    detected_at = getattr(getattr(decoded, "signal", None), "detected_at", None)
    if detected_at is not None and not _is_time(detected_at, _iso_8601):
        raise PayloadError(complaints.expected("$.signal.detected_at", "an ISO 8601 time", detected_at))
    domain = getattr(getattr(decoded, "account", None), "domain", None)
    if domain is not None and not _bare_domain.fullmatch(domain):
        bare = "a bare domain: no scheme, no path, no trailing slash"
        raise PayloadError(complaints.expected("$.account.domain", bare, domain))


def _is_time(text: str, form: re.Pattern[str]) -> bool:
    if not form.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
