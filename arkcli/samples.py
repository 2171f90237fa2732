"""A realistic payload for each event, to start from: `ark send EVENT --sample`."""

from typing import Any, Final

import msgspec

from arkcli import contract, times

_DAY: Final = 86_400_000

_ACCOUNT: Final[dict[str, Any]] = {
    "id": "acc_8f2c41",
    "name": "Northwind Robotics",
    "domain": "northwindrobotics.com",
    "industry": "Industrial automation",
    "employees": 340,
    "headquarters": "Austin, Texas",
}


def sample(event: str, now: int) -> bytes:
    """The sample payload of an event, as JSON; `now` (milliseconds, UTC) dates what it tells of.

    The envelope is left out, so it is filled in like any payload's.
    """
    return msgspec.json.encode(_PAYLOADS[event](now))


def _funding(now: int) -> dict[str, Any]:
    return {
        "signal": {
            "id": "sig_4b7e19d2",
            "signal_name": "Series B funding round",
            "source": "funding",
            "source_url": "https://news.example.com/northwind-robotics-series-b",
            "detected_at": times.to_text(now - _DAY // 4),
            "description": "Northwind Robotics raised a $42M Series B led by Juniper Ridge Capital to open two new"
            " assembly sites and double its field engineering team.",
            "icp_score": 87,
            "why_now": "Fresh budget and a public plan to double field engineering within two quarters.",
        },
        "account": _ACCOUNT,
        "plays": [],
    }


def _executive_hire(now: int) -> dict[str, Any]:
    return {
        "signal": {
            "id": "sig_c90a55e8",
            "signal_name": "New VP of Revenue Operations",
            "source": "linkedin",
            "source_url": "https://www.linkedin.com/posts/northwind-robotics-welcomes-vp-revops",
            "detected_at": times.to_text(now - _DAY),
            "description": "Dana Okafor joined Northwind Robotics as VP of Revenue Operations, after six years in the"
            " same role at Halvorsen Systems.",
            "icp_score": 92,
            "why_now": "New leaders review their tools within the first ninety days.",
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
            "engagement_content": "We are looking at exactly this for Q1. Does it push into our CRM?",
            "post_content": "How we cut lead response time from two days to eleven minutes.",
            "post_url": "https://www.linkedin.com/posts/signal-ark-lead-response",
            "engagement_date": times.to_text(now - _DAY // 8),
            "warmth_score": 81,
        },
        "account": _ACCOUNT,
    }


_PAYLOADS: Final = {
    contract.PING: lambda _now: {},
    "signal.promoted": _funding,
    "signal.play_matched": _executive_hire,
    "social.lead_promoted": _warm_lead,
}
