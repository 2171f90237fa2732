"""One function makes the body that is sent, and one checks a body that is sent byte for byte."""

import json
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
    UTC_TIME,
    Ping,
    SignalPromoted,
    Text,
    Timestamp,
)
from arkcli.errors import PayloadError


class _Envelope(msgspec.Struct):
    event: Raw | UnsetType = UNSET
    timestamp: Raw | UnsetType = UNSET
    batchId: Raw | UnsetType = UNSET  # noqa: N815 - the documented name


#: An escape. `half`: of a leading surrogate that no trailing one follows, or of a trailing one behind no leading one.
_escapes: Final = re.compile(rb"(?is)\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}|(?P<half>\\ud[89a-f][0-9a-f]{2})|\\.")
#: A level more or less, as signed bytes; and what is neither a bracket nor a quote.
_STEPS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NO_STEP: Final = bytes(set(range(256)) - set(b'[{]}"'))
# Groups that are kept would take half as long again.
_utc: Final = re.compile(UTC_TIME.replace("(", "(?:"))
_iso_8601: Final = re.compile(ISO_8601.replace("(", "(?:"))
_bare_domain: Final = re.compile(BARE_DOMAIN)

#: A letter of `event` that is spelled as an escape, as in "\\u0065vent".
_SPELLED_OUT: Final = re.compile(rb"\\u00(?:6[5eE]|7[46])")
#: How many objects and lists may be nested in one another: the same on every Python, and less than any can read.
DEEPEST: Final = 500
TOO_DEEP: Final = f"$: nested more than {DEEPEST} levels deep; use fewer levels"

_encode: Final = msgspec.json.Encoder().encode
_envelopes: Final = msgspec.json.Decoder(_Envelope)
_decoders: Final = {name: msgspec.json.Decoder(body) for name, body in EVENTS.items()}
#: The same types with an envelope that may be absent: one reading tells all there is to know of a good payload.
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
    """What goes in where a payload leaves it out: `timestamp` as text, and the `batchId`."""

    timestamp: str
    batch_id: str


def make_body(event: str, payload: bytes, filling: Filling, *, validate: bool = True) -> bytes:
    """The body to send: the payload as one line of compact JSON, with the envelope filled in where it was absent.

    Numbers and strings keep their spelling and unknown fields pass untouched; only white space between tokens goes.
    With `validate` off, the payload need only be a JSON object whose `event` does not contradict.
    Raises PayloadError, naming the place.
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
    """Checks a body that is to be sent byte for byte. Nothing is filled in, so `event` must stand in it.

    Raises PayloadError, naming the place.
    """
    if _check_event(event, _read_envelope(body), body):
        raise PayloadError(f'$.event: required but missing: expected "{event}", since --raw fills in nothing')
    _check_size(body)
    if validate:
        _validate(event, body)


def check_object(payload: bytes) -> None:
    """Raises PayloadError unless a payload is a JSON object."""
    _read_envelope(payload)


def refill(event: str, payload: bytes, sent: bytes) -> bytes:
    """The body that `payload` would have made at the time `sent` was made: `sent`'s own values fill what is absent.

    Equal to `sent` exactly when the payload is the one it was made from. Raises PayloadError.
    """
    before = _read_envelope(sent)
    filling = Filling(timestamp=_text(before.timestamp), batch_id=_text(before.batchId))
    return make_body(event, payload, filling, validate=False)


def _text(raw: Raw | UnsetType) -> str:
    if raw is UNSET:
        return ""
    value = msgspec.json.decode(raw)
    return value if isinstance(value, str) else ""


def _read_good(event: str, payload: bytes) -> "_Envelope | None":
    """What a payload says, read in one go; None when anything but its depth is wrong, for `_validate` to explain."""
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
_BYTE: Final = re.compile(r"\(byte (\d+)\)")


def check_depth(payload: bytes) -> None:
    """Raises PayloadError where a payload is nested more than DEEPEST levels deep."""
    # To delete a byte is a quicker way to count it than to count it.
    if len(payload) - len(payload.replace(b"{", b"").replace(b"[", b"")) > DEEPEST:
        marks = payload.replace(rb"\\", b"").replace(rb"\"", b"").translate(_STEPS, _NO_STEP)
        # Left out: strings, most of which are empty now, and the innermost level.
        steps = b"\x00" + b"".join(marks.replace(b'""', b"").split(b'"')[::2]).replace(b"\x01\xff", b"")
        if max(accumulate(memoryview(steps).cast("b"))) >= DEEPEST:
            raise PayloadError(TOO_DEEP)


def half_a_pair(text: bytes) -> str | None:
    """Of what is JSON but for halves of surrogate pairs: which escape is the first, and where."""
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
    payload = payload.rstrip()
    if "trailing characters" in problem and payload[:1] in (b"{", b"["):
        return "there is more after the first document; `ark send --ndjson` takes one document per line"
    place = _BYTE.search(problem)
    if place is None or b"\n" not in payload:
        return problem
    before = payload[: int(place[1])]
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
    """Where `event` stands twice, some receivers read the first and some the last (RFC 8259, 4)."""
    outermost: list[tuple[str, Any]] = []

    def keep(pairs: list[tuple[str, Any]]) -> None:
        outermost[:] = pairs

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
    """Checks what the types cannot say."""
    if decoded.timestamp is not UNSET and not _is_time(decoded.timestamp, _utc):
        raise PayloadError(
            complaints.expected("$.timestamp", "an ISO 8601 time in UTC, ending in Z", decoded.timestamp)
        )
    detected_at = decoded.signal.detected_at if isinstance(decoded, SignalPromoted) else None
    if detected_at is not None and not _is_time(detected_at, _iso_8601):
        raise PayloadError(complaints.expected("$.signal.detected_at", "an ISO 8601 time", detected_at))
    account = None if isinstance(decoded, Ping) else decoded.account
    if account is not None and account.domain is not None and not _bare_domain.fullmatch(account.domain):
        bare = "a bare domain: no scheme, no path, no trailing slash"
        raise PayloadError(complaints.expected("$.account.domain", bare, account.domain))


def _is_time(text: str, pattern: re.Pattern[str]) -> bool:
    if not pattern.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
