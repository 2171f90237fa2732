"""The requests of `ark check`: what a receiver must accept, and what it must refuse. Pure: it sends nothing."""

import json
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import msgspec

from arkcli import times
from arkcli.contract import samples
from arkcli.contract.bodies import Filling, make_body
from arkcli.contract.events import PING
from arkcli.signing import Secret
from arkcli.signing.scheme import BODY, STANDARD, Joined, Scheme, Sign

#: The size of a large body, in bytes: less than what ark may send, and more than many receivers take by default.
LARGE: Final = 256 * 1024
#: How many events the trials are about at most.
EVENTS: Final = 13
#: How old a replayed request is, in seconds: twice what the specification's libraries accept.
OLD: Final = 600
#: What a receiver has to answer.
ACCEPTED: Final = "2xx"
REFUSED: Final = "4xx"
#: Letters of two, three and four bytes in UTF-8.
_LETTERS: Final = "Zoë Nguyễn, 東京 🚀"
#: Where an event has a long text. A ping has none: it gets a field.
_TEXT: Final = {PING: (None, "note"), "social.lead_promoted": ("engagement", "post_content")}
_SIGNAL_TEXT: Final = ("signal", "description")


class _Altered(NamedTuple):
    """A scheme that makes another's headers in another way."""

    name: str
    headers: tuple[str, ...]
    signer: Callable[[Secret], Sign]


def _forged(
    scheme: Scheme, other: Secret | None = None, signed: bytes | None = None, earlier: int = 0, cut: int = 0
) -> Scheme:
    """Signs with the `other` secret, or as if another body were `signed`, or `earlier` (in seconds), or with signatures
    that are `cut` by this number of characters.
    """

    def signer(secret: Secret) -> Sign:
        sign = scheme.signer(other or secret)

        def forge(delivery_id: str, at: int, body: bytes) -> tuple[str, ...]:
            values = sign(delivery_id, at - earlier, body if signed is None else signed)
            named = zip(scheme.headers, values, strict=True)
            return tuple(value[:-cut] if cut and "signature" in name.lower() else value for name, value in named)

        return forge

    return _Altered(scheme.name, scheme.headers, signer)


class Trial(msgspec.Struct, frozen=True):
    """One request. `sent` describes it; `wanted` is the class of statuses that passes: ACCEPTED or REFUSED.

    `number` tells events apart: the trial that repeats an event has the number of the first.
    """

    name: str
    sent: str
    wanted: str
    number: int
    body: bytes
    scheme: Scheme = BODY


def trials(event: str, now: int, batches: list[str], other: Secret, scheme: Scheme = BODY) -> list[Trial]:
    """The requests for an event's sample at `now` (milliseconds, UTC), in the order in which they are to be sent.

    `batches` are the batch ids of up to EVENTS events. `other` is the secret of a forger. What is genuine is signed by
    `scheme`; with Standard Webhooks in it, their headers are also forged alone.
    """
    bodies = _Bodies(event, now, batches)
    alone = [] if scheme == BODY else _refused_alone(bodies, other)
    return [*_accepted(bodies, scheme), *_refused(bodies, other, scheme), *alone]


class _Bodies:
    """Makes bodies, each of an event of its own."""

    def __init__(self, event: str, now: int, batches: list[str]) -> None:
        self._event = event
        self._payload = msgspec.json.decode(samples.sample(event, now))
        self._timestamp = times.to_text(now)
        self._batches = iter(batches)

    def plain(self) -> bytes:
        return self._body(self._payload)

    def with_fields(self) -> bytes:
        """With fields that no event has today."""
        within = {
            key: {**value, "added_later": 1} if isinstance(value, dict) else value
            for key, value in self._payload.items()
        }
        return self._body({**within, "added_later": {"list": [None, True, 1.5]}})

    def with_text(self, text: str) -> bytes:
        return self._body(self._put(text))

    def large(self) -> bytes:
        """Of exactly LARGE bytes."""
        filling = Filling(self._timestamp, next(self._batches))
        short = make_body(self._event, msgspec.json.encode(self._put("x")), filling)
        return make_body(self._event, msgspec.json.encode(self._put("x" * (LARGE - len(short) + 1))), filling)

    def compact_and_spaced(self) -> tuple[bytes, bytes]:
        """One document twice. Its keys are sorted, so that serialisers that sort them make the same bytes."""
        document = json.loads(self.plain())
        spaced = json.dumps(document, sort_keys=True)
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode(), spaced.encode()

    def _put(self, text: str) -> dict[str, Any]:
        above, name = _TEXT.get(self._event, _SIGNAL_TEXT)
        return {**self._payload, above: {**self._payload[above], name: text}} if above else {name: text}

    def _body(self, payload: dict[str, Any]) -> bytes:
        return make_body(self._event, msgspec.json.encode(payload), Filling(self._timestamp, next(self._batches)))


def _accepted(bodies: _Bodies, scheme: Scheme) -> Iterator[Trial]:
    valid = bodies.plain()
    yield Trial("valid-event", "a valid event", ACCEPTED, 0, valid, scheme)
    yield Trial("repeat", "the same event again", ACCEPTED, 0, valid, scheme)
    yield Trial("unknown-fields", "an event with new fields", ACCEPTED, 1, bodies.with_fields(), scheme)
    yield Trial("unicode", "letters outside ASCII, in UTF-8", ACCEPTED, 2, bodies.with_text(_LETTERS), scheme)
    yield Trial("large", f"a body of {LARGE:,} bytes", ACCEPTED, 3, bodies.large(), scheme)
    sent = "the header's name in lower case"
    lowercase = _Altered(scheme.name, tuple(map(str.lower, scheme.headers)), scheme.signer)
    yield Trial("header-case", sent, ACCEPTED, 4, bodies.plain(), lowercase)


def _refused(bodies: _Bodies, other: Secret, scheme: Scheme) -> Iterator[Trial]:
    def forged(name: str, sent: str, number: int, body: bytes, **how: Any) -> Trial:
        return Trial(name, sent, REFUSED, number, body, _forged(scheme, **how))

    yield forged("other-secret", "signed with another secret", 5, bodies.plain(), other=other)
    body = bodies.plain()
    yield forged("changed-body", "one byte changed after signing", 6, _changed(body), signed=body)
    yield forged("cut-signature", "62 of the signature's 64 digits", 7, bodies.plain(), cut=2)
    yield Trial("no-signature", "no signature header", REFUSED, 8, bodies.plain(), Joined(()))
    compact, spaced = bodies.compact_and_spaced()
    yield forged("spaces-added", "JSON re-encoded: spaces added", 9, spaced, signed=compact)
    compact, spaced = bodies.compact_and_spaced()
    yield forged("spaces-removed", "JSON re-encoded: spaces removed", 10, compact, signed=spaced)


def _refused_alone(bodies: _Bodies, other: Secret) -> Iterator[Trial]:
    """With the right signature in the documented header."""
    wrong, old = (Joined((BODY, _forged(STANDARD, **how))) for how in ({"other": other}, {"earlier": OLD}))
    yield Trial("other-webhook", "webhook-signature by another secret", REFUSED, 11, bodies.plain(), wrong)
    yield Trial("old-webhook", f"webhook-timestamp {OLD // 60} minutes old", REFUSED, 12, bodies.plain(), old)


def _changed(body: bytes) -> bytes:
    """The body with its timestamp a millisecond earlier or later: still a valid event."""
    end = body.index(b'Z"', body.index(b'"timestamp":"')) - 1
    return body[:end] + b"%d" % (int(body[end : end + 1]) ^ 1) + body[end + 1 :]
