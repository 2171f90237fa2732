"""The interface of a queue: what every engine does for the rest of ark.

A queue is one log of events and, for each destination, a place: its progress through that log and a record of what
happened. An engine is a folder beside this file; `local` is one. Only the module that opens a queue knows which engine
it is. docs/internals.md says how to write another engine; it has to pass tests/queue/test_engine.py.

Times are milliseconds since 1970, UTC. `now` is the caller's wall clock. The local engine decides by it what is due;
an engine with its own clock, such as a database, ignores it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from arkcli.errors import Broken, NotRecorded
from arkcli.model import Answer, Attempt, Delivery, Draft, Event, State
from arkcli.queue.memo import Memos
from arkcli.queue.outage import Outage
from arkcli.queue.pace import Terms, Turn

#: A delivery that was attempted, and the answer.
Result = tuple[Delivery, Answer]


class Holder(NamedTuple):
    """The process that has claimed a destination: its id (None if unknown or elsewhere), its purpose, and its host, if
    that is another one.
    """

    process: int | None
    purpose: str
    host: str | None = None

    def __str__(self) -> str:
        if self.host is not None:
            return f"a process on {self.host} ({self.purpose})"
        return "another process" if self.process is None else f"process {self.process} ({self.purpose})"


class Standing(NamedTuple):
    """What is pending at a destination. `retrying` counts the deliveries that wait for attempt 2, 3, and so on.

    Times are milliseconds, UTC. `outage` is set while attempts are held back.
    """

    waiting: int
    retrying: tuple[int, ...]
    dead: int
    next_due_at: int | None
    oldest_at: int | None
    last: Attempt | None
    outage: Outage | None = None

    @property
    def undone(self) -> int:
        """The number of unfinished deliveries, including dead ones."""
        return self.waiting + sum(self.retrying) + self.dead


class Pending(msgspec.Struct, frozen=True, gc=False):
    """An unfinished delivery: waiting, retrying or dead. `attempt` is the last one made, 0 if there was none."""

    event: Event
    state: State
    attempt: int
    next_attempt_at: int | None
    last_status: int | None
    last_error: str | None


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Selects deliveries to these destinations: those of these events and, with `dead`, all dead ones."""

    destination_ids: tuple[str, ...]
    event_ids: frozenset[str] = frozenset()
    dead: bool = False


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """Selects old events to send again to these destinations: by id, or by when they were accepted.

    `everybody` says that the user named no destination: then an event goes only to the destinations it was for. With
    `failed` it goes only where its delivery is retrying or dead.
    """

    destination_ids: tuple[str, ...]
    everybody: bool
    event_ids: frozenset[str] = frozenset()
    since: int | None = None
    until: int | None = None
    event: str | None = None
    failed: bool = False


class Totals(NamedTuple):
    """The number of events in the log, where a resent event counts once, and the log's size in bytes."""

    events: int
    size: int


class Damage(NamedTuple):
    """A damaged record: its file or table, its number there (from 1), and the problem."""

    file: str
    line: int
    problem: str


class Checked(NamedTuple):
    """The result of a check. `set_aside` says where the damaged records were copied; None if nothing was changed."""

    lines: int
    damaged: list[Damage]
    set_aside: str | None


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of a queue's content, which every engine can dump and restore. They come in this order.

    First each event, under its own id. Then for each destination its place (no event), each delivery that is retrying
    or dead, or that waits because a finished event is sent again, and its history, oldest first: attempts and dropped
    deliveries.
    """

    event: Event | None = None
    destination_id: str | None = None
    #: For a destination's place: it has finished all events before this number (from 0, in the order of this dump), and
    #: the events with the numbers in `ahead`. `outage`: its receiver's, if there is one.
    passed: int | None = None
    ahead: tuple[int, ...] = ()
    outage: Outage | None = None
    #: For a delivery: its state and last attempt, and when that failed. `attempt` is for the history.
    pending: Pending | None = None
    failed_at: int | None = None
    attempt: Attempt | None = None
    #: For the history: the id of an event whose delivery was discarded, at `failed_at`.
    dropped: str | None = None


class Claim(Protocol):
    """The exclusive right to deliver to one destination, until it is released."""

    @property
    def destination_id(self) -> str:
        """The destination."""

    @property
    def outage(self) -> Outage | None:
        """The receiver's outage, as the last process that claimed the destination stored it."""

    @property
    def has_lapsed(self) -> bool:
        """Whether another process may claim the destination by now, since this one could not reach the queue in time.

        No attempt may be under way any more.
        """

    def note(self, outage: Outage | None) -> None:
        """Stores the receiver's outage for the next process that claims the destination; None ends the outage."""

    def take(self, now: int, most: int) -> Sequence[Delivery]:
        """Takes up to `most` due deliveries, longest due first.

        Finds what other processes accept only after `Queue.look`. Raises Broken, and NotRecorded if no outcome, of this
        or another destination, could be recorded.
        """

    def take_behind(self, most: int) -> Sequence[Delivery]:
        """Takes up to `most` first attempts at events accepted after the one passed to `claim_first`.

        It may leave an event to the process that accepted it for a moment. A claim by `claim_due` has none.
        """

    def is_due(self, now: int) -> bool:
        """Whether `take` would return something."""

    def admit(self, terms: Terms, most: int, now: int) -> Turn:
        """Lets up to `most` attempts begin, within what the destination allows all processes together.

        They count from now on until `record` has their outcomes, or `give_back`. See `arkcli.queue.pace`.
        """

    def give_back(self, count: int) -> None:
        """Says that attempts that `admit` let begin were not made."""

    def next_due_at(self) -> int | None:
        """When the next delivery is due; None if nothing waits."""

    def release(self) -> None:
        """Ends the claim. The engine remembers whether anything due is left."""


class View(Protocol):
    """The deliveries of one destination, read while other processes deliver. Close it after use.

    Its methods raise Gone if the destination has been removed, and Broken if its part of the queue cannot be read.
    With `now`, whatever a wrong clock dated later than `now` is due now, and is reported so.
    """

    def standing(self, now: int | None = None) -> Standing:
        """The counts, and when the next attempt is due."""

    def deliveries(self, chosen: Selection | None = None, now: int | None = None) -> Iterator[Pending]:
        """All unfinished deliveries, or the selected ones. The destinations in the selection are ignored.

        All of them come in order: retrying (longest first), waiting, dead. Selecting a few is cheap among any number of
        others.
        """

    def is_waiting(self, event: Event) -> bool:
        """Whether an event's first attempt is still to be made."""

    def attempts(self) -> Iterator[Attempt]:
        """All attempts still in the history, oldest first, up to now. `new_attempts` continues from there."""

    def new_attempts(self) -> Iterator[Attempt]:
        """The attempts made since the last call of `attempts` or `new_attempts`. Read the iterator to its end."""

    def recent(self, size: int) -> tuple[Sequence[Attempt], bool]:
        """The newest attempts, about `size` bytes, oldest first, and whether these are all."""

    def history(self, event_id: str) -> tuple[State | None, Sequence[Attempt]]:
        """An event's state here and its attempts, oldest first. State None: the history does not contain the event.

        An event resent by hand is waiting, and keeps its earlier attempts, until its first attempt is made again.
        """

    def close(self) -> None:
        """Closes what is open."""


class Recorded(NamedTuple):
    """What `record` did for one claim: the new state of each delivery, or why nothing was recorded.

    The state is None for a delivery that another process has by now. A Broken error concerns this destination only;
    after NotRecorded the outcomes of others cannot be recorded either. `is_kept`: the queue will record them as soon as
    it can, and tell then (`Queue.late`); until then the states are None.
    """

    states: Sequence[State | None]
    error: Broken | NotRecorded | None = None
    is_kept: bool = False


class Work(Protocol):
    """What a drain needs of a queue. See `Queue`, too, about errors."""

    def drains(self) -> int:
        """The number of drains that share this queue now. The first call adds this process, until `close`."""

    def look(self, ids: Sequence[str], now: int) -> Sequence[str]:
        """Reads what others have accepted; returns the destinations that may have something due, claimed or not.

        It may return too many, but never too few for long.
        """

    def claim_due(self, ids: Iterable[str], most: int, purpose: str, now: int) -> Sequence[Claim]:
        """Claims up to `most` destinations, in this order, that are not claimed and have something due.

        Others are shown the `purpose`. Raises NotRecorded if no destination's outcomes could be recorded.
        """

    def record(self, results: Sequence[tuple[Claim, Sequence[Result]]], now: int) -> Sequence[Recorded]:
        """Records the outcomes of attempts; returns, for each claim, the new states of its deliveries."""

    def late(self) -> Sequence[tuple[Claim, Sequence[Result], Recorded]]:
        """The outcomes that `record` kept, and that have been recorded since the last call."""

    @property
    def broken(self) -> Mapping[str, str]:
        """The destinations whose part of the queue could not be used at the last try, and why, as text for the user.

        They are left out of every result. One that can be used again disappears from here.
        """

    def holder(self, destination_id: str) -> Holder | None:
        """Who has claimed a destination; None if nobody has."""


class Queue(Work, Memos, Protocol):
    """A queue shared by any number of processes. Methods that write raise Unreadable if this process can only read.

    All of them raise Unreachable and InDoubt if the queue is in a database that cannot be reached, except `record` and
    `close`, and those of a claim.
    """

    @property
    def unwritable(self) -> str | None:
        """Why this process can only read the queue, as text for the user; None if it can write."""

    def join(self, ids: Iterable[str], *, to_read: bool = False) -> Mapping[str, str]:
        """Makes sure that each destination has its place; a new one starts after the last event.

        Returns a message for each destination whose place was lost. Raises NotAccepted if there is no room. With
        `to_read`, a queue that cannot be written is not an error: nothing waits for a new destination.
        """

    def leave(self, destination_id: str) -> int:
        """Removes a destination and its pending deliveries; returns how many those were. Raises Held."""

    def accept(self, drafts: Sequence[Draft], *, unique: bool = False) -> Sequence[Event]:
        """Makes events durable, all or none, and returns them in order. Raises NotAccepted.

        With `unique`, a draft whose id has been accepted before is not written; the existing event is returned.
        """

    def claim_first(self, event: Event, ids: Iterable[str], most: int) -> Sequence[tuple[Claim, Delivery]]:
        """Claims up to `most` destinations for the first attempt at an event that was just accepted.

        The event may also be that of a `Pending` in a View: a delivery that waits, perhaps because it was sent again.
        Skips those that another process has claimed or attempted. Raises NotRecorded.
        """

    def outcomes(self, event: Event, ids: Iterable[str]) -> Mapping[str, Attempt]:
        """The newest attempt that others have made at an event, by destination."""

    def view(self, destination_id: str) -> View:
        """A destination's deliveries."""

    def standings(self, ids: Iterable[str], now: int | None = None) -> Mapping[str, Standing]:
        """What is pending at each destination. One without a place is left out. `now` is as in `View`."""

    def find(self, event_id: str) -> Event | None:
        """The first event accepted under an id, as of the last look; None if there is none (any more)."""

    def find_prefix(self, beginning: str) -> Sequence[Event]:
        """The first events of up to two ids with this prefix, ordered by id. Two mean that the prefix is ambiguous."""

    def events(self) -> Iterator[Event]:
        """All events in the log, oldest first, as of the last look. A resent event may appear again."""

    def recent_events(self, size: int) -> Sequence[Event]:
        """The newest events, about `size` bytes, oldest first."""

    @property
    def totals(self) -> Totals:
        """How much is in the log."""

    def retry(self, selection: Selection, now: int, *, dry: bool = False) -> int:
        """Makes retrying deliveries due now and revives dead ones; returns how many. `dry` only counts.

        Each waits for its first attempt again and keeps its earlier attempts. One that was already due may continue
        where it was; one in flight simply continues. Raises NotAccepted.
        """

    def drop(self, selection: Selection, now: int, *, dry: bool = False) -> int:
        """Discards deliveries; returns how many. Raises Held; then nothing of that destination was discarded."""

    def replay(self, chosen: Replay, now: int, *, dry: bool = False) -> int:
        """Sends old events again, delivered or not; returns how many events. Raises UsageError and NotAccepted.

        Skips a destination where the event still waits for its first attempt.
        """

    def dump(self) -> Iterator[Record]:
        """The content of the queue, for any engine to restore. Raises Held if a destination is claimed."""

    def restore(self, records: Iterable[Record]) -> None:
        """Fills an empty queue from a dump. Raises NotAccepted, and UsageError if the queue is not empty."""

    def tidy(self, ids: Iterable[str], before: int) -> None:
        """Removes what is older than a time, if every destination has passed it and no retry needs it.

        `ids` must be all destinations.
        """

    def check(self, *, repair_at: str | None = None) -> Checked:
        """Checks everything for damage; with `repair_at`, the time as text, sets the damage aside. Raises Busy."""

    def check_recent(self, size: int) -> Checked:
        """Checks only the newest part of each file or table, about `size` bytes."""

    def close(self) -> None:
        """Closes what is open."""
