"""The built-in payloads: valid, realistic, and with dates from the given clock."""

import json
from typing import Any

import msgspec
import pytest

from arkcli import times
from arkcli.contract import samples
from arkcli.contract.bodies import Filling, make_body
from arkcli.contract.events import EVENTS, LARGE_BODY, Account, Engagement, Signal
from tests.world import START

#: Signal Ark's Play Templates and their windows in days (contract, "Body").
TEMPLATES = {
    "Executive Leadership Hire": 14,
    "Funding Event Alert": 7,
    "Competitive Co-Mention": 7,
    "High Intent Keyword Match": 7,
    "Tech Stack Signal": None,
}
LEADS = [event for event in EVENTS if event != "ping"]


def sample(event: str, now: int = START) -> dict[str, Any]:
    found = json.loads(samples.sample(event, now))
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("now", [0, START, 4_102_444_800_000])
@pytest.mark.parametrize("event", EVENTS)
def test_the_sample_of_every_event_makes_a_valid_body(event: str, now: int) -> None:
    body = make_body(event, samples.sample(event, now), Filling(times.to_text(now), "batch_1"))
    assert len(body) < LARGE_BODY


@pytest.mark.parametrize("event", EVENTS)
def test_a_sample_leaves_the_envelope_to_be_filled_in(event: str) -> None:
    assert not sample(event).keys() & {"event", "timestamp", "batchId"}


@pytest.mark.parametrize("event", EVENTS)
def test_a_complete_sample_is_the_sample_in_a_whole_envelope(event: str) -> None:
    whole = json.loads(samples.complete(event, START, "batch_1"))
    batch = {} if event == "ping" else {"batchId": "batch_1"}
    assert whole == {"event": event, "timestamp": times.to_text(START), **batch, **sample(event)}
    assert (
        make_body(event, json.dumps(whole).encode(), Filling("", ""))
        == json.dumps(whole, separators=(",", ":"), ensure_ascii=True).encode()
    )


def test_the_sample_of_a_ping_holds_nothing_that_could_be_mistaken_for_a_lead() -> None:
    assert sample("ping") == {}


@pytest.mark.parametrize("event", LEADS)
def test_a_sample_tells_of_what_has_happened_and_not_of_the_future(event: str) -> None:
    told = sample(event)
    date = told["engagement"]["engagement_date"] if "engagement" in told else told["signal"]["detected_at"]
    assert START - 7 * 86_400_000 < times.from_text(date) <= START


@pytest.mark.parametrize(
    ("event", "part", "kind"),
    [
        (event, part, kind)
        for event in LEADS
        for part, kind in (("signal", Signal), ("engagement", Engagement), ("account", Account))
        if part in EVENTS[event].__struct_fields__
    ],
)
def test_a_sample_shows_every_field_that_the_contract_names(event: str, part: str, kind: type[msgspec.Struct]) -> None:
    assert set(kind.__struct_fields__) <= sample(event)[part].keys()


def test_the_plays_of_a_sample_are_templates_that_signal_ark_ships() -> None:
    plays = sample("signal.play_matched")["plays"]
    assert plays
    assert all(TEMPLATES[play["name"]] == play["window_days"] for play in plays)


def test_a_signal_that_is_only_promoted_has_matched_no_play_yet() -> None:
    assert sample("signal.promoted")["plays"] == []
