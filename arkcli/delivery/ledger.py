"""Which destinations are in trouble, and what there is to tell about them. Pure; docs/internals.md, section 10.

All processes that deliver share one ledger, and each changes it only when something begins or ends. Times are
milliseconds, UTC.
"""

from collections.abc import Collection, Iterable, Mapping, MutableMapping, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from arkcli.model import Outcome, State
from arkcli.queue.engine import Standing

#: How long nobody else tells what a process has taken to tell. Longer than a command may run.
LEASE: Final = 90_000
#: How long to wait before a command that failed runs again, and how often it runs at most.
_AGAIN_AFTER: Final = 60_000
_TRIES: Final = 3
#: What nobody could tell for this long is not told any more.
_STALE: Final = 86_400_000
#: For how many destinations to find out at once whether they still fail.
_ASKED: Final = 200


class Kind(StrEnum):
    """What is told."""

    FAILING = "failing"
    DEAD = "dead"
    RECOVERED = "recovered"
    PAUSED = "paused"


class Rule(msgspec.Struct, frozen=True):
    """When to tell that a destination fails, and when to pause it (None: never). `tells`: whether anybody is told.

    `lifetime`: how long a delivery is tried before it dies.
    """

    tells: bool
    failing_for: int
    pause_after: int | None
    lifetime: int


class Seen(msgspec.Struct):
    """What this process has seen of a destination since it last read the ledger.

    `failing_since`: the first failure after the last success; `failed_at`: the last one. `died` counts deliveries.
    """

    failing_since: int | None = None
    failed_at: int | None = None
    has_delivered: bool = False
    died: int = 0


def see(seen: MutableMapping[str, Seen], destination_id: str, states: Sequence[State | None], now: int) -> None:
    """Adds the outcomes of attempts at a destination. A None is another process's."""
    is_delivered = State.DELIVERED in states
    failed = len(states) - states.count(None)
    if not is_delivered and not failed:
        return
    if (found := seen.get(destination_id)) is None:
        found = seen[destination_id] = Seen()
    if is_delivered:
        found.has_delivered, found.failing_since = True, None
    else:
        found.failing_since, found.failed_at = found.failing_since or now, now
    found.died += states.count(State.DEAD)


class Trouble(msgspec.Struct, array_like=True):
    """A destination's trouble. `since`: when it began to fail; None if it does not.

    `failing`, `died` and `paused` say what has been told. `owed`: whether to tell when it recovers.
    """

    since: int | None = None
    failing: bool = False
    died: bool = False
    paused: bool = False
    owed: bool = False


class Fact(msgspec.Struct, array_like=True):
    """Something to tell. Until `until` a process is at it, or waits to try again."""

    destination_id: str
    kind: Kind
    at: int
    since: int | None
    until: int = 0
    tries: int = 0

    @property
    def key(self) -> tuple[str, str, int]:
        """Tells it from all others."""
        return self.destination_id, self.kind, self.at


class Failure(msgspec.Struct, array_like=True):
    """How the command failed the last time, if it has not succeeded since."""

    at: int
    reason: str


class Ledger(msgspec.Struct, omit_defaults=True):
    """The troubles by destination, and what is still to be told, in order."""

    troubles: dict[str, Trouble] = {}
    facts: list[Fact] = []
    failure: Failure | None = None

    @staticmethod
    def of(data: bytes | None) -> "Ledger":
        """The ledger in a document; an empty one if there is none, or if it cannot be read."""
        try:
            return msgspec.json.decode(data, type=Ledger) if data else Ledger()
        except msgspec.MsgspecError:
            return Ledger()

    def document(self) -> bytes | None:
        """The document; None if the ledger is empty."""
        return msgspec.json.encode(self) if self.troubles or self.facts or self.failure else None

    def to_ask(self, seen: Mapping[str, Seen], now: int, rule: Rule, asked: Collection[str]) -> list[str]:
        """The destinations whose standing decides what happens now, without those `asked` about lately."""
        ended = [
            found
            for found, news in seen.items()
            if (known := self.troubles.get(found)) and ((news.died and known.died) or _may_have_ended(known, news))
        ]
        failing = [found for found, news in seen.items() if news.failing_since is not None]
        due = [found for found in self.troubles if found not in asked]
        due = [found for found in dict.fromkeys(failing + due) if _is_due(self.troubles.get(found), now, rule)]
        return ended + due[:_ASKED]

    def settle(self, seen: Mapping[str, Seen], standings: Mapping[str, Standing], now: int, rule: Rule) -> None:
        """Takes in what a process has seen, and the standings it has asked for."""
        for found, news in seen.items():
            known = self.troubles.get(found) or Trouble()
            standing = standings.get(found)
            if news.failing_since is not None:
                self._fails(found, known, news, rule, now)
            elif standing and _may_have_ended(known, news) and _last(standing) is Outcome.DELIVERED:
                self._recovers(found, known, standing, now)
            # If the dead letters before these are gone, somebody has dealt with them: this is another trouble.
            if news.died and rule.tells and (not known.died or (standing and standing.dead <= news.died)):
                known.died = True
                # If it took nothing while this delivery was tried, the destination fails, and not one event alone.
                known.owed = known.owed or (known.since is not None and now - known.since >= rule.lifetime)
                self._tell(found, Kind.DEAD, now, known.since)
            if known != Trouble():
                self.troubles[found] = known
            else:
                self.troubles.pop(found, None)
        for found, asked in standings.items():
            known = self.troubles.get(found) or Trouble()
            # If an attempt is due, its outcome decides: perhaps none was made because nothing drained.
            is_known = (found in seen and seen[found].failing_since is not None) or not _has_due(asked, now)
            if is_known and _is_due(known, now, rule) and asked.undone and _last(asked) is Outcome.FAILED:
                known.failing = known.owed = True
                self._tell(found, Kind.FAILING, now, known.since)

    def _fails(self, found: str, known: Trouble, news: Seen, rule: Rule, now: int) -> None:
        # A destination that has been reported must work for longer than a moment.
        if known.since is None or known.since > now or (news.has_delivered and not known.owed):
            known.since = news.failing_since
        assert known.since is not None
        failed_for = (news.failed_at or now) - known.since
        if rule.pause_after is not None and failed_for >= rule.pause_after and not known.paused:
            known.paused, known.owed = True, known.owed or rule.tells
            self._tell(found, Kind.PAUSED, now, known.since)

    def _recovers(self, found: str, known: Trouble, standing: Standing, now: int) -> None:
        if known.owed:
            self._tell(found, Kind.RECOVERED, now, known.since)
        known.died = known.died and not known.owed and bool(standing.dead)
        known.since, known.failing, known.paused, known.owed = None, False, False, False

    def _tell(self, found: str, kind: Kind, now: int, since: int | None) -> None:
        self.facts.append(Fact(found, kind, now, since))

    def resume(self, found: str) -> None:
        """Starts the time again, because somebody has resumed a destination. Its recovery is still told."""
        if (known := self.troubles.get(found)) is not None:
            known.since, known.failing, known.paused = None, False, False
            self.facts = [fact for fact in self.facts if fact.destination_id != found or fact.kind is not Kind.PAUSED]

    def forget_all_but(self, ids: Iterable[str]) -> None:
        """Forgets destinations that have been removed."""
        for gone in self.troubles.keys() - set(ids):
            del self.troubles[gone]

    def take(self, now: int, most: int) -> list[Fact]:
        """Takes up to `most` facts to tell: for each destination the first one, unless another process is at it."""
        self.facts = [fact for fact in self.facts if now - fact.at < _STALE]
        first: dict[str, Fact] = {}
        for fact in self.facts:
            first.setdefault(fact.destination_id, fact)
        # A time far beyond the lease comes from a wrong clock. Another process may have read its clock a moment later.
        taken = [fact for fact in first.values() if not now < fact.until <= now + 2 * LEASE][:most]
        for fact in taken:
            fact.until, fact.tries = now + LEASE, fact.tries + 1
        return taken

    def told(self, fact: Fact, now: int, failure: str | None) -> None:
        """Notes that a fact has been told, or why it could not be; after a few tries it is dropped."""
        self.failure = None if failure is None else Failure(now, failure)
        if failure is None or fact.tries >= _TRIES:
            self.facts = [known for known in self.facts if known.key != fact.key]
        for known in self.facts:
            if known.key == fact.key:
                known.until = now + _AGAIN_AFTER


def _may_have_ended(known: Trouble, news: Seen) -> bool:
    return news.has_delivered and news.failing_since is None and (known.since is not None or known.owed)


def _is_due(known: Trouble | None, now: int, rule: Rule) -> bool:
    if known is None or known.since is None or known.failing:
        return False
    return rule.tells and now - known.since >= rule.failing_for


def _has_due(standing: Standing, now: int) -> bool:
    return standing.outage is None and standing.next_due_at is not None and standing.next_due_at <= now


def _last(standing: Standing | None) -> Outcome | None:
    return None if standing is None or standing.last is None else standing.last.outcome
