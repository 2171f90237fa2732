"""The requests of `ark check`: valid events where they are to be accepted, and forged in one way each where not."""

import json

import pytest

from arkcli.actions.trials import ACCEPTED, EVENTS, LARGE, REFUSED, Trial, trials
from arkcli.contract import events
from arkcli.contract.bodies import check_raw_body
from arkcli.signing import SIGNATURE_HEADER, Secret, verify
from arkcli.signing.scheme import BODY, STANDARD, Joined, Scheme
from arkcli.signing.standard import Webhook
from arkcli.signing.verdict import Signature, judge
from tests.world import START

SECRET, OTHER = Secret("s3cret"), Secret("another")


def made(event: str = "signal.promoted", scheme: Scheme = BODY) -> dict[str, Trial]:
    batches = [f"batch_{number}" for number in range(EVENTS)]
    return {trial.name: trial for trial in trials(event, START, batches, OTHER, scheme)}


def headers(trial: Trial) -> dict[str, str]:
    scheme = trial.scheme
    return dict(zip(scheme.headers, scheme.signer(SECRET)("evt_1.dst_1", START // 1000, trial.body), strict=True))


def is_right(trial: Trial) -> bool:
    found = {name.lower(): value for name, value in headers(trial).items()}
    return verify(SECRET, trial.body, found.get(SIGNATURE_HEADER.lower(), ""))


@pytest.mark.parametrize("event", events.EVENTS)
def test_every_body_is_a_valid_event_and_exactly_those_to_be_accepted_are_signed_right(event: str) -> None:
    found = made(event)
    for trial in found.values():
        check_raw_body(event, trial.body)
        assert is_right(trial) == (trial.wanted == ACCEPTED), trial.name
    assert [trial.wanted for trial in found.values()] == [ACCEPTED] * 6 + [REFUSED] * 6


def test_no_two_trials_are_about_one_event_except_for_the_one_that_repeats_it() -> None:
    found = made()
    bodies = {trial.number: trial.body for trial in found.values()}
    assert len(set(bodies.values())) == len(bodies) == 11
    assert found["repeat"].body == found["valid-event"].body
    assert found["repeat"].number == found["valid-event"].number


@pytest.mark.parametrize("event", events.EVENTS)
def test_each_trial_is_what_it_says(event: str) -> None:
    found = made(event)
    plain, more = json.loads(found["valid-event"].body), json.loads(found["unknown-fields"].body)
    assert "added_later" in more.keys() - plain.keys()
    assert not found["unicode"].body.isascii()
    assert "🚀" in found["unicode"].body.decode()
    assert len(found["large"].body) == LARGE == 262_144
    assert list(headers(found["header-case"])) == [SIGNATURE_HEADER.lower()]
    assert verify(OTHER, found["other-secret"].body, headers(found["other-secret"])[SIGNATURE_HEADER])
    assert len(headers(found["cut-signature"])[SIGNATURE_HEADER]) == 62
    assert headers(found["no-signature"]) == {}


@pytest.mark.parametrize("event", events.EVENTS)
def test_one_byte_of_the_changed_body_is_another_than_the_one_that_was_signed(event: str) -> None:
    trial = made(event)["changed-body"]
    signature = headers(trial)[SIGNATURE_HEADER]
    place = trial.body.index(b'Z"', trial.body.index(b'"timestamp"')) - 1
    fits = [digit for digit in b"0123456789" if verify(SECRET, _with(trial.body, place, digit), signature)]
    assert len(fits) == 1
    assert fits != [trial.body[place]]


def _with(body: bytes, place: int, byte: int) -> bytes:
    return body[:place] + bytes([byte]) + body[place + 1 :]


@pytest.mark.parametrize("keys_are_sorted", [False, True])
def test_a_receiver_that_serialises_again_finds_the_signature_right_whether_it_sorts_keys_or_not(
    keys_are_sorted: bool,
) -> None:
    found = made()
    for name, separators in (("spaces-added", (",", ":")), ("spaces-removed", (", ", ": "))):
        document = json.loads(found[name].body)
        again = json.dumps(document, separators=separators, sort_keys=keys_are_sorted).encode()
        assert verify(SECRET, again, headers(found[name])[SIGNATURE_HEADER])
        assert again != found[name].body


def test_standard_webhooks_are_forged_as_well_and_at_the_end_alone() -> None:
    found = made(scheme=Joined((BODY, STANDARD)))

    def results(trial: Trial) -> tuple[bool, Signature | None]:
        lower = {name.lower(): value for name, value in headers(trial).items()}
        verdict = judge([SECRET], trial.body, lower.get(SIGNATURE_HEADER.lower()), Webhook.of(lower.get), START)
        return verdict.signature is Signature.VALID, verdict.webhook

    assert {results(trial) for trial in found.values() if trial.wanted == ACCEPTED} == {(True, Signature.VALID)}
    wrong, old = found.pop("other-webhook"), found.pop("old-webhook")
    assert {results(trial) for trial in found.values() if trial.wanted == REFUSED} == {
        (False, Signature.MISMATCH),
        (False, Signature.MALFORMED),
        (False, None),
    }
    assert (results(wrong), results(old)) == ((True, Signature.MISMATCH), (True, Signature.STALE))
    assert {trial.number for trial in (wrong, old)} == {EVENTS - 2, EVENTS - 1}
