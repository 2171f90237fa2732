"""Groups unfinished deliveries by destination, by reason or by event, in constant memory. Pure functions."""

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Final, NamedTuple

from arkcli.actions.reading import Named
from arkcli.model import Attempt, Outcome
from arkcli.queue.engine import Pending

#: What an attempt's error says, and the same in a word or two. The first pattern that matches counts.
_SHORT: Final = (
    (r"answered (\d+),", r"\1"),
    (r".* within \d+ s$", "timeout"),
    (r"no connection: (?:connection )?(.*)", r"no connection: \1"),
    (r"the name cannot be resolved", "name not found"),
    (r"the certificate does not verify: (?:it is |it has |its )?([^;,]*).*", r"certificate: \1"),
    (r"the TLS handshake failed.*", "TLS handshake failed"),
    (r"the connection (?:broke|was closed).*", "connection closed"),
    (r"the server answered before.*", "answered too early"),
    (r"([^:;(]*[^:;( ]).*", r"\1"),
)
#: How many names of destinations a group keeps.
_NAMES: Final = 100


class By(StrEnum):
    """What deliveries can be grouped by."""

    DESTINATION = "destination"
    ERROR = "error"
    EVENT = "event"


def short_reason(status: int | None, error: str | None) -> str | None:
    """Why the last attempt failed, in a word or two: `500`, `timeout`, `no connection: refused`; None without one."""
    if error is None:
        return None if status is None else str(status)
    for pattern, short in _SHORT:
        found = re.match(pattern, error, re.DOTALL)
        if found is not None:
            return found.expand(short).strip()
    return error


class Group:
    """Deliveries that have something in common. `example` is the id of one's event.

    `names` are the first destinations of these deliveries, and `destinations` is the number of all of them.
    """

    def __init__(self, example: str) -> None:
        self.count = 0
        self.destinations = 0
        self.example = example
        self.names: list[str] = []
        self._last: str | None = None

    def add(self, name: str) -> None:
        """Adds a delivery to a destination. All those to one destination have to come one after another."""
        self.count += 1
        if name != self._last:
            self._last = name
            self.destinations += 1
            if self.destinations <= _NAMES:
                self.names.append(name)


def grouped(found: Iterable[Named], by: By) -> list[tuple[str | None, Group]]:
    """Groups deliveries that come destination by destination; the largest group first, with what it has in common."""
    groups: dict[str | None, Group] = {}
    for destination, pending in found:
        key = _key(by, destination.name, pending)
        if key not in groups:
            groups[key] = Group(pending.event.id)
        groups[key].add(destination.name)
    return sorted(groups.items(), key=lambda item: -item[1].count)


class Failure(NamedTuple):
    """Failed attempts at one destination with the same reason: how many, and the last of them."""

    reason: str
    attempts: int
    last: Attempt


def failures(attempts: Iterable[Attempt]) -> list[Failure]:
    """Groups the failed ones of a destination's attempts, oldest first, by their reason; the latest reason first."""
    groups: dict[str, Failure] = {}
    for attempt in attempts:
        if attempt.outcome is Outcome.FAILED:
            reason = short_reason(attempt.status, attempt.error) or ""
            before = groups.pop(reason, None)
            groups[reason] = Failure(reason, (before.attempts if before else 0) + 1, attempt)
    return list(reversed(groups.values()))


def _key(by: By, name: str, pending: Pending) -> str | None:
    if by is By.ERROR:
        return short_reason(pending.last_status, pending.last_error)
    return name if by is By.DESTINATION else pending.event.name
