"""The events and the types of their bodies: which fields are required, and the types of the known fields.

Unknown fields are allowed and sent unchanged.
"""

from typing import Annotated, Final, Literal, get_args

import msgspec
from msgspec import Meta

from arkcli.errors import UsageError

#: The largest accepted body, in bytes.
MAX_BODY: Final = 1024 * 1024
#: A larger body (in bytes) is accepted with a warning: many receivers reject it.
LARGE_BODY: Final = 20 * 1024

_DATE: Final = (
    "[0-9]{4}(-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])|(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])"
    "|-W(0[1-9]|[1-4][0-9]|5[0-3])(-[1-7])?|W(0[1-9]|[1-4][0-9]|5[0-3])[1-7]?)"
)
_TIME: Final = "([01][0-9]|2[0-3])(:[0-5][0-9](:[0-5][0-9]([.,][0-9]+)?)?|[0-5][0-9]([0-5][0-9]([.,][0-9]+)?)?)?"
#: ISO 8601 as a pattern, also for JSON Schema. It does not check whether the calendar has that day.
UTC_TIME: Final = f"^{_DATE}T{_TIME}Z$"
#: The same with any offset, or only a date. Also with a space instead of `T`, which is common.
ISO_8601: Final = f"^{_DATE}([T ]{_TIME}(Z|[+-]([01][0-9]|2[0-3])(:?[0-5][0-9])?)?)?$"
BARE_DOMAIN: Final = r"^[^/:\s]*$"

Text = Annotated[str, Meta(min_length=1, description="a non-empty string")]
#: A float, because 87.0 is an integer, too, in JSON Schema.
Score = Annotated[float, Meta(ge=0, le=100, multiple_of=1, description="an integer from 0 to 100")]
_Source = Literal[
    "funding", "job_posting", "linkedin", "news", "review_site", "tech_install", "twitter", "web_visit", "other"
]
SignalSource = Annotated[_Source, Meta(description=f"one of {', '.join(get_args(_Source))}")]
MaybeText = Annotated[str | None, Meta(description="a string")]
MaybeTime = Annotated[str | None, Meta(description="a string", extra_json_schema={"pattern": ISO_8601})]
MaybeDomain = Annotated[str | None, Meta(description="a string", extra_json_schema={"pattern": BARE_DOMAIN})]
MaybeScore = Annotated[Score | None, Meta(description="an integer from 0 to 100")]


class Signal(msgspec.Struct):
    """`signal`, documented by example."""

    id: Text
    signal_name: Text
    source: SignalSource
    source_url: MaybeText = None
    detected_at: MaybeTime = None
    description: MaybeText = None
    icp_score: MaybeScore = None
    why_now: MaybeText = None


class Account(msgspec.Struct):
    """The company context."""

    id: MaybeText = None
    name: MaybeText = None
    domain: MaybeDomain = None


class Play(msgspec.Struct):
    """A matched Play Template."""

    name: Text


class Engagement(msgspec.Struct):
    """A person's action on a social platform."""

    platform: Text
    engagement_type: Text
    engager_name: MaybeText = None
    engager_title: MaybeText = None
    engager_company: MaybeText = None
    engager_profile_url: MaybeText = None
    company_domain: MaybeText = None
    engagement_content: MaybeText = None
    post_content: MaybeText = None
    post_url: MaybeText = None
    engagement_date: MaybeText = None
    warmth_score: MaybeScore = None


MatchedPlay = Annotated[Play, Meta(description="an object")]
MaybeAccount = Annotated[Account | None, Meta(description="an object")]
Timestamp = Annotated[
    str, Meta(description="an ISO 8601 time in UTC, ending in Z", extra_json_schema={"pattern": UTC_TIME})
]


class Ping(msgspec.Struct):
    """The body of `ping`: nothing that could be mistaken for a lead."""

    timestamp: Timestamp


class SignalPromoted(msgspec.Struct):
    """The body of `signal.promoted`."""

    timestamp: Timestamp
    batchId: Text  # noqa: N815 - the documented name
    signal: Annotated[Signal, Meta(description="an object")]
    account: MaybeAccount = None
    plays: Annotated[list[MatchedPlay] | None, Meta(description="a list of objects")] = None


class PlayMatched(SignalPromoted, kw_only=True):
    """The body of `signal.play_matched`."""

    plays: Annotated[list[MatchedPlay], Meta(min_length=1, description="a list of at least one play")]


class LeadPromoted(msgspec.Struct):
    """The body of `social.lead_promoted`."""

    timestamp: Timestamp
    batchId: Text  # noqa: N815 - the documented name
    engagement: Annotated[Engagement, Meta(description="an object")]
    account: MaybeAccount = None


Body = Ping | SignalPromoted | PlayMatched | LeadPromoted

PING: Final = "ping"
EVENTS: Final[dict[str, type[Body]]] = {
    PING: Ping,
    "signal.promoted": SignalPromoted,
    "signal.play_matched": PlayMatched,
    "social.lead_promoted": LeadPromoted,
}
#: The events that are queued. A ping is only made at once.
QUEUED: Final = tuple(event for event in EVENTS if event != PING)
#: What each event is sent for (contract, "Events").
PURPOSES: Final = {
    PING: "a destination is added (connectivity check)",
    "signal.promoted": "a signal passed ICP filtering and entered the active pipeline",
    "signal.play_matched": "a promoted signal matched one or more Play Templates",
    "social.lead_promoted": "a social engagement scored high enough to enter the sales pipeline",
}


def check_queued(event: str) -> None:
    """Raises UsageError, which names the events, if there is no such event to queue."""
    if event not in QUEUED:
        raise UsageError(f"there is no event {event!r} to send; the events are {', '.join(QUEUED)}")
