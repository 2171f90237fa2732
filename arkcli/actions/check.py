"""`ark check`: does a receiver accept genuine events and refuse forged ones? Nothing is stored.

Which answer shows which mistake, and what to do about it, is in `_ADVICE`.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from arkcli import times
from arkcli.actions import advice, destinations
from arkcli.actions.home import Home
from arkcli.actions.trials import ACCEPTED, EVENTS, Trial, trials
from arkcli.errors import DeliveryFailed
from arkcli.model import Answer, Destination, Event
from arkcli.signing import SIGNATURE_HEADER, Secret
from arkcli.signing.scheme import BODY, BOTH

_RAW: Final = "Verify the raw bytes of the body, before anything parses them"
_AGAIN: Final = f"{_RAW}: this receiver serialises the JSON again, and verifies that"
_LATE: Final = "Answer within 10 s: verify the signature, save the event, answer, and do the work afterwards"
_REFUSED: Final = (
    "Give the receiver the secret that ark signs with, and verify the raw bytes of the body: JSON that was parsed and"
    " serialised again has another signature"
)
_LIMIT: Final = (
    "Raise the limit for bodies to 1 MiB, the largest that ark sends: Express, for one, stops at 100 kB by default, and"
    " so may a proxy in front of the receiver"
)
_REDIRECTED: Final = "Answer here, or use the URL that it redirects to: senders of webhooks follow no redirects"
_FAILED: Final = "Answer 401 to what you refuse: a 5xx looks like a fault, and the sender tries again"
#: What to do, by the trial's name and how it was answered (the first digit of the status; `-`: not at all; empty: any
#: other way). The first row that fits counts.
_ADVICE: Final = {
    ("", "3"): _REDIRECTED,
    ("valid-event", "4"): _REFUSED,
    ("valid-event", ""): "See the receiver's log: it fails on a valid event",
    ("repeat", ""): "Answer 2xx to an event that you have already: to a sender, 409 is a failure, and it tries again",
    ("unknown-fields", ""): "Ignore fields that you do not know: events may get new ones at any time",
    ("unicode", ""): f"{_RAW}: they are UTF-8, and decoding them as Latin-1 or ASCII changes or breaks them",
    ("large", ""): _LIMIT,
    ("large", "-"): _LIMIT,
    ("header-case", ""): (
        "Look the header up whatever the case of its name: proxies may change it, and HTTP allows that"
    ),
    ("other-secret", "2"): (
        "Verify the signature before you answer, and answer 401 if it does not match: otherwise anybody can send events"
        " here"
    ),
    ("changed-body", "2"): "Compute the HMAC over the whole raw body: a part of it is not covered",
    ("cut-signature", "2"): (
        "Compare the whole signature, its length included, with a constant-time function: this receiver compares only"
        " the beginning"
    ),
    ("no-signature", "2"): (
        f"Answer 401 if {SIGNATURE_HEADER} is missing: this receiver skips the check then, or refuses with a 2xx"
    ),
    ("other-webhook", "2"): (
        "Verify webhook-signature: this receiver verifies another header only, which does not withstand replays"
    ),
    ("old-webhook", "2"): (
        "Refuse a webhook-timestamp that is more than 5 minutes away from your clock, as the libraries do: otherwise"
        " anybody who has seen a request can send it again"
    ),
    ("spaces-added", "2"): _AGAIN,
    ("spaces-removed", "2"): _AGAIN,
    ("cut-signature", "5"): f"{_FAILED}; Node's timingSafeEqual, for one, throws when the lengths differ",
    ("no-signature", "5"): f"{_FAILED}; check first whether the header is there",
    ("", "5"): _FAILED,
    ("", "-"): "Answer every request, 401 if you refuse it: to a sender, silence is a failure, and it tries again",
    ("", ""): "Answer 401 to what you refuse",
}
#: A failure here explains later ones that were answered in the same way.
_ROOTS: Final = ("valid-event", "other-secret")


class Finding(msgspec.Struct, frozen=True):
    """A trial and its answer. `advice` says what to do; None if the receiver did right."""

    trial: Trial
    answer: Answer
    advice: str | None

    @property
    def passed(self) -> bool:
        """Whether the receiver did right."""
        return self.advice is None


def check(home: Home, destination: Destination, event: str, secret: Secret) -> Iterator[Finding]:
    """Sends each trial, once the one before has been answered, and yields what came back.

    Raises DeliveryFailed if the first trial is not answered: then the others would not be, either.
    """
    from arkcli.wire.wire import Endpoint

    destination = home.routed(destination, home.store.read())
    now = home.clock.now()
    digits = home.new_digits(EVENTS)
    batches = [f"batch_{one}" for one in digits]
    found: dict[str, Finding] = {}
    with home.sender(lambda: False) as sender:
        scheme = BOTH if destination.standard_webhooks else BODY
        planned = trials(event, now, batches, destinations.new_secret(home), scheme)
        for trial in planned:
            sent = Event(f"evt_{digits[trial.number]}", event, times.to_text(now), trial.body)
            endpoint = Endpoint(destination, secret, scheme=trial.scheme)
            ((_, answer),) = sender.ping([endpoint], sent)
            if answer.status is None and not found:
                raise DeliveryFailed(_unanswered(home, destination, answer, len(planned) - 1))
            roots = [found[name] for name in _ROOTS if name in found]
            found[trial.name] = Finding(trial, answer, _advice(trial, answer, roots))
            yield found[trial.name]


def _unanswered(home: Home, destination: Destination, answer: Answer, left: int) -> str:
    why = answer.error or ""
    helps = _LATE if answer.timed_out else advice.hint(home.variables, destination.url, why)
    return f"{destination.url} did not answer a valid event: {why}. {helps}; the other {left} checks were not made"


def _advice(trial: Trial, answer: Answer, roots: Sequence[Finding]) -> str | None:
    how = _how(answer)
    if f"{how}xx" == trial.wanted:
        return None
    for root in roots:
        if not root.passed and _is_alike(trial, answer, root.answer):
            return f"The same as for {root.trial.name}: do that first"
    if answer.timed_out:
        return _LATE
    of_all = ("", how) if how in "3-" else (trial.name, "")
    return next(_ADVICE[key] for key in ((trial.name, how), of_all, ("", how), ("", "")) if key in _ADVICE)


def _is_alike(trial: Trial, answer: Answer, other: Answer) -> bool:
    """Whether two wrong answers are the same: the same status to what is genuine, the same class to what is forged."""
    return answer.status == other.status if trial.wanted == ACCEPTED else _how(answer) == _how(other)


def _how(answer: Answer) -> str:
    return "-" if answer.status is None else str(answer.status)[0]
