"""Verdicts on signatures, and explanations of those that do not match."""

import pytest

from arkcli.signing import Secret, sign
from arkcli.signing.verdict import VALID, Explainer, Signature, judge
from tests.world import FakeClock

SECRETS = [Secret("new"), Secret("old")]
BODY = b'{"event":"ping"}'
FITS = sign("new", BODY)


@pytest.mark.parametrize(
    ("signature", "verdict"),
    [
        (FITS, Signature.VALID),
        (sign("old", BODY), Signature.VALID),
        ("sha256=" + FITS.upper(), Signature.VALID),
        (None, Signature.MISSING),
        ("", Signature.MALFORMED),
        (FITS[:-1], Signature.MALFORMED),
        ("0" * 64, Signature.MISMATCH),
        (sign("other", BODY), Signature.MISMATCH),
    ],
)
def test_the_verdict_names_what_is_wrong(signature: str | None, verdict: Signature) -> None:
    found = judge(SECRETS, BODY, signature)
    assert found.signature is verdict
    assert found.valid == (found.reason is None) == (verdict is Signature.VALID)


def test_a_body_in_pieces_is_judged_as_one_and_left_unread_where_the_signature_cannot_be_one() -> None:
    pieces = iter([BODY[:5], BODY[5:]])
    assert judge(SECRETS, pieces, "nonsense").signature is Signature.MALFORMED
    assert judge(SECRETS, pieces, FITS) is VALID
    assert list(pieces) == []


def explained(explainer: Explainer, body: bytes, signature: str | None) -> str | None:
    return explainer.explain(judge(SECRETS, body, signature), body, signature)


def test_a_body_that_was_changed_on_the_way_is_explained() -> None:
    said = explained(Explainer(lambda: SECRETS, FakeClock()), BODY + b"\n", FITS)
    assert said is not None
    assert "ends in a newline" in said


def test_what_fits_is_missing_or_cannot_be_known_is_not_explained() -> None:
    explainer = Explainer(lambda: SECRETS, FakeClock())
    assert explainer.explain(VALID, BODY, FITS) is None
    assert explained(explainer, BODY, None) is None
    assert explained(explainer, BODY, "0" * 64) is None


def test_there_is_one_explanation_a_second_at_most_and_none_of_a_large_body() -> None:
    clock = FakeClock()
    explainer = Explainer(lambda: SECRETS, clock)
    large = b" " * 100_000
    assert explained(explainer, large + b"\n", sign("new", large)) is None
    assert explained(explainer, BODY + b"\n", FITS) is not None
    assert explained(explainer, BODY + b"\n", FITS) is None
    clock.advance(0.9)
    assert explained(explainer, BODY + b"\n", FITS) is None
    clock.advance(0.2)
    assert explained(explainer, BODY + b"\n", FITS) is not None
