"""Rows of the database as events and deliveries, with what is needed to find them again; and SQL that they share."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from arkcli import times
from arkcli.model import AHEAD, Attempt, Delivery, Draft, Event, Outcome
from arkcli.queue.engine import Pending
from arkcli.queue.outage import Outage

#: PostgreSQL has no NUL in its text. Unicode promises that this character means nothing.
_NUL: Final = "\ufdd0"
_OUTCOMES: Final = {"d": Outcome.DELIVERED, "f": Outcome.FAILED}


def ms(moment: str) -> str:
    """SQL for a time in milliseconds since 1970."""
    return f"(extract(epoch from {moment}) * 1000)::bigint"


#: The columns of an event `e` for `event_of`.
EVENT: Final = f'e.seq, e.id, e.name, {ms("e.at")}, e."to", e.body'
#: The columns of an attempt `a` at an event `e` for `attempt_of_row`.
ATTEMPT: Final = f"e.id, e.name, a.attempt, {ms('a.at')}, a.outcome::text, a.status, a.error, a.ms, a.excerpt"
#: Whether an event `e` is for a share `s`, and whether a delivery of one has been recorded in any way.
IS_FOR: Final = '(e."to" is null or s.id = any(e."to"))'
IS_KNOWN: Final = """
(exists (select from ark.attempt a where a.destination = s.destination and a.seq = e.seq)
 or exists (select from ark.pending p where p.destination = s.destination and p.seq = e.seq))
"""
#: The earliest time that only a clock that was set back explains.
SET_BACK: Final = f"(now() + interval '{AHEAD} ms')"
#: Whether a pending delivery `p` is under way in an `ark send`.
IS_RESERVED: Final = "(p.holder is not null and p.due_at > now())"
#: Whether a pending delivery `p` waits for the first attempt that its event has ever had.
IS_FIRST: Final = "(p.attempt = 0 and p.round = 0)"


def outage_of(text: str | None, ahead: int) -> Outage | None:
    """A stored outage by this host's clock. The database's, by which it is stored, is `ahead` milliseconds ahead."""
    return None if text is None else _shifted(msgspec.json.decode(text, type=Outage), -ahead)


def outage_text(outage: Outage | None, ahead: int) -> str | None:
    """An outage as it is stored; see `outage_of`."""
    return None if outage is None else msgspec.json.encode(_shifted(outage, ahead)).decode()


def _shifted(outage: Outage, by: int) -> Outage:
    return msgspec.structs.replace(outage, since=outage.since + by, until=outage.until + by)


class StoredEvent(Event, frozen=True, gc=False):
    """An event in the log. `round`: how often it has been sent again by hand, where it waits for that."""

    seq: int = 0
    round: int = 0


class StoredDelivery(Delivery, frozen=True, gc=False):
    """An attempt that is due. `is_pending` says that it has a row in ark.pending."""

    event: StoredEvent
    is_pending: bool = False


class StoredPending(Pending, frozen=True, gc=False):
    """An unfinished delivery, and when it failed (milliseconds, UTC)."""

    failed_at: int | None = None


def to_column(text: str) -> str:
    """Text as PostgreSQL can store it."""
    return text.replace("\0", _NUL) if "\0" in text else text


def from_column(text: str) -> str:
    """Text from the database."""
    return text.replace(_NUL, "\0") if _NUL in text else text


def array_of(ids: Iterable[str]) -> str:
    """Destinations as text that PostgreSQL reads as an array."""
    escaped = (to_column(found).replace("\\", "\\\\").replace('"', '\\"') for found in ids)
    return "{" + ",".join(f'"{found}"' for found in escaped) + "}"


def event_of(row: tuple[Any, ...], sent_again: int = 0) -> StoredEvent:
    """An event from the columns EVENT."""
    seq, event_id, name, at, to, body = row
    found = None if to is None else tuple(map(from_column, to))
    return StoredEvent(from_column(event_id), from_column(name), times.to_text(at), body, found, seq, sent_again)


def stored(draft: Draft, seq: int) -> StoredEvent:
    """A draft that was written as an event."""
    return StoredEvent(draft.id, draft.name, draft.at, draft.body, draft.to, seq)


def attempt_of_row(row: tuple[Any, ...]) -> Attempt:
    """An attempt from the columns ATTEMPT."""
    event_id, name, attempt, at, outcome, status, error, duration, excerpt = row
    return Attempt(
        event_id=from_column(event_id),
        event=from_column(name),
        attempt=attempt,
        at=at,
        outcome=_OUTCOMES[outcome],
        status=status,
        error=None if error is None else from_column(error),
        duration_ms=duration,
        excerpt=from_column(excerpt or ""),
    )
