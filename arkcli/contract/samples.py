"""A realistic payload for each event, to start from: `ark send EVENT --sample`, `ark events sample EVENT`."""

from typing import Any, Final

import msgspec

from arkcli import times
from arkcli.contract.bodies import Filling, make_body
from arkcli.contract.events import PING

_DAY: Final = 86_400_000

_ACCOUNT: Final[dict[str, Any]] = {
    "id": "acc_8f2c41",
    "name": "Northwind Robotics",
    "domain": "northwindrobotics.com",
    "industry": "Industrial automation",
    "employees": 340,
    "headquarters": "Austin, Texas",
    "annual_revenue_usd": 58_000_000,
    "crm": "Salesforce",
}


def sample(event: str, now: int) -> bytes:
    """The sample payload of an event as JSON, with dates relative to `now` (milliseconds, UTC).

    It has no envelope, which is filled in as for any payload.
    """
    return msgspec.json.encode(_PAYLOADS[event](now))


def complete(event: str, now: int, batch_id: str) -> bytes:
    """The sample as a complete body with its envelope, as a receiver would get it at `now`."""
    return make_body(event, sample(event, now), Filling(times.to_text(now), batch_id))


def _funding(now: int) -> dict[str, Any]:
    return {
        "signal": {
            "id": "sig_4b7e19d2",
            "signal_name": "Series B funding round",
            "source": "funding",
            "source_url": "https://news.example.com/northwind-robotics-series-b",
            "detected_at": times.to_text(now - _DAY // 4),
            "description": "Northwind Robotics raised a $42M Series B led by Juniper Ridge Capital, with Halvorsen"
            " Ventures taking part, to open two assembly sites and double its field engineering team to 120.",
            "icp_score": 87,
            "why_now": "Fresh budget, and 60 field engineers to hire and equip within two quarters. The round closed"
            " three weeks ago, so next year's tools are being chosen now.",
        },
        "account": _ACCOUNT,
        "plays": [],
    }


def _executive_hire(now: int) -> dict[str, Any]:
    return {
        "signal": {
            "id": "sig_c90a55e8",
            "signal_name": "New VP of Revenue Operations names a competitor",
            "source": "linkedin",
            "source_url": "https://www.linkedin.com/posts/dana-okafor-example-first-week",
            "detected_at": times.to_text(now - _DAY),
            "description": "Dana Okafor joined Northwind Robotics as VP of Revenue Operations, after six years in the"
            " same role at Halvorsen Systems. Her first post says that the team is leaving Clearline Intent at the end"
            " of the quarter and asks for recommendations; two people answer with your product's name.",
            "icp_score": 92,
            "why_now": "New leaders choose their tools within the first ninety days; the Clearline contract ends in"
            " seven weeks, and you are already on the list.",
        },
        "account": _ACCOUNT,
        "plays": [
            {
                "id": "play_exec_hire",
                "name": "Executive Leadership Hire",
                "window_days": 14,
                "matched_at": times.to_text(now),
            },
            {
                "id": "play_co_mention",
                "name": "Competitive Co-Mention",
                "window_days": 7,
                "matched_at": times.to_text(now),
            },
        ],
    }


def _warm_lead(now: int) -> dict[str, Any]:
    return {
        "engagement": {
            "platform": "linkedin",
            "engagement_type": "comment",
            "engager_name": "Priya Raman",
            "engager_title": "Director of Sales Operations",
            "engager_company": "Northwind Robotics",
            "engager_profile_url": "https://www.linkedin.com/in/priya-raman-example",
            "company_domain": "northwindrobotics.com",
            "engagement_content": "Eleven minutes is wild. We are at a day and a half and losing deals over it. Does"
            " this push into Salesforce, or is it one more inbox to watch?",
            "post_content": "How we cut lead response time from two days to eleven minutes, without a new hire.",
            "post_url": "https://www.linkedin.com/posts/signal-ark-lead-response",
            "engagement_date": times.to_text(now - _DAY // 8),
            "warmth_score": 81,
        },
        "account": _ACCOUNT,
    }


_PAYLOADS: Final = {
    PING: lambda _now: {},
    "signal.promoted": _funding,
    "signal.play_matched": _executive_hire,
    "social.lead_promoted": _warm_lead,
}
