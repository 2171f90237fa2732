"""Times and durations as text. In the code, a time is an integer: milliseconds since 1970, UTC."""

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST: Final = 1000 * 366 * 86400.0
_RATE: Final = re.compile(r"([1-9]\d{0,5})/([smh])")
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def to_text(milliseconds: int) -> str:
    """ISO 8601 in UTC with milliseconds and `Z`: 2026-11-23T11:28:48.123Z."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{_second(seconds)}.{rest:03d}Z"


def from_text(text: str) -> int:
    """The time in an ISO 8601 string; UTC if it has no zone. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


def parse_duration(text: str) -> float:
    """Seconds in `30s`, `5m`, `2h`, `7d`, `1h30m` or `250ms`. Raises ValueError."""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is not a duration; write it as 30s, 5m, 2h or 7d")
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if seconds > _LONGEST:
        raise ValueError(f"{text[:40]!r} is longer than a thousand years")
    return seconds


def parse_rate(text: str) -> tuple[int, int]:
    """The count, and the period in milliseconds, of `10/s`, `300/m` or `5000/h`. Raises ValueError."""
    found = _RATE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:40]!r} is not a rate; write it as 10/s, 300/m or 5000/h")
    return int(found[1]), round(_SECONDS[found[2]] * 1000)


def describe_duration(seconds: float) -> str:
    """The shortest of `0.3 s`, `45 s`, `5 min`, `2 h`, `3 d` that is about right."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"
