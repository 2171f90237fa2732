"""What a queue can do, whatever it is made of: the seam between the engines and everything else.

A queue is one log of events and, for each destination, a place in that log and a record of what happened. An engine is
a folder beside this file; `local` is one. Only the module that opens a queue knows which engine it is.
docs/internals.md has the guide to writing another one; it has to pass tests/queue/test_engine.py.

Times are milliseconds since 1970, UTC. `now` is the caller's wall clock: the local engine, whose clock that is, decides
by it what is due. An engine with a clock of its own, such as a database, does not look at it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from arkcli.errors import Broken, NotRecorded
from arkcli.model import Answer, Attempt, Delivery, Draft, Event, State

#: What came of an attempt.
Result = tuple[Delivery, Answer]


class Holder(NamedTuple):
    """Who has claimed a destination: the process id, None when it is not known, and what it does."""

    process: int | None
    purpose: str

    def __str__(self) -> str:
        return "another process" if self.process is None else f"process {self.process} ({self.purpose})"


class Outage(msgspec.Struct, frozen=True, kw_only=True):
    """A receiver that is unreachable: since when, until when no attempt is made, and how the last one failed.

    Times are milliseconds, UTC. `probes` counts the failed attempts made since.
    """

    since: int
    until: int
    probes: int
    error: str


class Standing(NamedTuple):
    """What waits for a destination. `retrying` counts what waits for each attempt after the first.

    `outage` is set while attempts are held back.
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
        """How many deliveries are not done, the dead ones included."""
        return self.waiting + sum(self.retrying) + self.dead


class Pending(msgspec.Struct, frozen=True, gc=False):
    """A delivery that is not done: waiting, retrying or dead. `attempt` is the last one made, 0 for none."""

    event: Event
    state: State
    attempt: int
    next_attempt_at: int | None
    last_status: int | None
    last_error: str | None


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Which deliveries to these destinations: those of certain events, and every dead one with `dead`."""

    destination_ids: tuple[str, ...]
    event_ids: frozenset[str] = frozenset()
    dead: bool = False

    def holds(self, pending: Pending) -> bool:
        """Whether a delivery is among them."""
        return pending.event.id in self.event_ids or (self.dead and pending.state is State.DEAD)


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """Which old events to send again to these destinations: certain ones, or those accepted within a time.

    `everybody` says that no destination was named: then an event goes only to those that it was for. With `failed` it
    goes only where its delivery is retrying or dead.
    """

    destination_ids: tuple[str, ...]
    everybody: bool
    event_ids: frozenset[str] = frozenset()
    since: int | None = None
    until: int | None = None
    event: str | None = None
    failed: bool = False


class Totals(NamedTuple):
    """How many events are in the log, one that was sent again once only, and how many bytes all of it takes."""

    events: int
    size: int


class Damage(NamedTuple):
    """A damaged record: the file or table it is in, its number from 1 there, and what is wrong with it."""

    file: str
    line: int
    problem: str


class Checked(NamedTuple):
    """What a check found. `set_aside` says where copies of what is damaged are; None when it was left as it is."""

    lines: int
    damaged: list[Damage]
    set_aside: str | None


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of a queue's content, as every engine can give and take it, in this order.

    First each event, under an id of its own; then for each destination its place (no event), and behind it each
    delivery that is retrying or dead, or waits though its event is done with (it is sent again); then what is still
    told there, oldest first: attempts, and that a delivery was dropped.
    """

    event: Event | None = None
    destination_id: str | None = None
    #: For a destination's place: all events before this number (from 0, in the order of this dump) are done with, and
    #: so are those with the numbers `ahead`.
    passed: int | None = None
    ahead: tuple[int, ...] = ()
    #: For a delivery: where it stands, the last attempt made, when that failed, and what came of it.
    pending: Pending | None = None
    failed_at: int | None = None
    attempt: Attempt | None = None
    #: The id of an event whose delivery was discarded, at `failed_at`. Only the history tells of it.
    dropped: str | None = None


class Claim(Protocol):
    """The sole right to deliver to one destination, until it is released."""

    @property
    def destination_id(self) -> str:
        """The destination."""

    @property
    def outage(self) -> Outage | None:
        """The receiver's outage, as whichever process held the destination last has stored it."""

    def note(self, outage: Outage | None) -> None:
        """Stores the receiver's outage for whichever process holds the destination next; None ends it."""

    def take(self, now: int, most: int) -> Sequence[Delivery]:
        """The next deliveries that are due, those first that have been due longest; `most` at most.

        What others accept meanwhile is found once the queue has looked. Raises Broken, and NotRecorded where nobody's
        outcomes could be written down.
        """

    def take_behind(self, most: int) -> Sequence[Delivery]:
        """The first attempts of events that were accepted after the one that `claim_first` was given; `most` at most.

        None where the claim was made by `claim_due`.
        """

    def next_due_at(self) -> int | None:
        """When the next delivery falls due; None when nothing waits."""

    def release(self) -> None:
        """Gives the right back. The engine remembers whether anything is left that is due."""


class View(Protocol):
    """The deliveries of one destination, read while others deliver. Close it after use.

    Its methods raise Gone where the destination has been removed meanwhile, and Broken where its part of the queue
    cannot be read. With `now`, what a wrong clock dated after it is told to be due now, as it is.
    """

    def standing(self, now: int | None = None) -> Standing:
        """The counts, and what is due next."""

    def deliveries(self, chosen: Selection | None = None, now: int | None = None) -> Iterator[Pending]:
        """Every delivery that is not done, or those chosen, whatever destinations that names.

        All of them come in order: what is retrying, longest first, then what waits, then what is dead. A few that are
        chosen cost little, however many others there are.
        """

    def is_waiting(self, event: Event) -> bool:
        """Whether an event's first attempt is still to be made."""

    def attempts(self) -> Iterator[Attempt]:
        """Every attempt that is still told of, oldest first, up to now. `new_attempts` goes on from there."""

    def new_attempts(self) -> Iterator[Attempt]:
        """The attempts made since `attempts` was called, or since this was read last, up to now. Read it to its end."""

    def recent(self, size: int) -> tuple[Sequence[Attempt], bool]:
        """The newest attempts, about `size` bytes of them, oldest first, and whether these are all."""

    def history(self, event_id: str) -> tuple[State | None, Sequence[Attempt]]:
        """Where an event stands here, and its attempts, oldest first. None: nothing is told of it.

        One that was sent again by hand is waiting until its first attempt is made anew, with all those before.
        """

    def close(self) -> None:
        """Closes what is open."""


class Recorded(NamedTuple):
    """What became of one claim's part of a record: where each delivery stands now, or why nothing was written down.

    None for a delivery that somebody else has meanwhile. A Broken error is this destination's alone; after NotRecorded
    the outcomes of others cannot be written down either.
    """

    states: Sequence[State | None]
    error: Broken | NotRecorded | None = None


class Queue(Protocol):
    """A queue, shared by any number of processes. What writes raises Unreadable where this one can only read."""

    @property
    def unwritable(self) -> str | None:
        """Why this process can only read the queue, in words; None where it can write."""

    def join(self, ids: Iterable[str], *, to_read: bool = False) -> Mapping[str, str]:
        """Makes sure that each destination has its place; a new one starts behind the last event.

        Returns, in words, what is to be told of those that had one which is gone. Raises NotAccepted where there is no
        room for it. Where nothing can be written, whoever comes `to_read` is told that nothing waits for a new one.
        """

    def leave(self, destination_id: str) -> int:
        """Forgets a destination and all that waits for it; returns how many deliveries. Raises Held."""

    def accept(self, drafts: Sequence[Draft], *, unique: bool = False) -> Sequence[Event]:
        """Makes events durable, all or none, and returns them in order. Raises NotAccepted.

        With `unique`, a draft whose id has been accepted before is not written: its event is returned instead.
        """

    def drains(self) -> int:
        """How many drains share this queue now. The first call makes this process one of them, until `close`."""

    def look(self, ids: Sequence[str], now: int) -> Sequence[str]:
        """Those of the destinations that may have something due, also where another process has claimed them.

        It may name too many, but never too few for long. It takes in what others have accepted.
        """

    def claim_due(self, ids: Iterable[str], most: int, purpose: str, now: int) -> Sequence[Claim]:
        """Claims destinations, in this order, that nobody else has and for which something is due: `most` at most.

        `purpose` is what others are told of it. Raises NotRecorded where nobody's outcomes could be written down.
        """

    def claim_first(self, event: Event, ids: Iterable[str], most: int) -> Sequence[tuple[Claim, Delivery]]:
        """Claims destinations for the first attempt at an event that was just accepted: `most` at most.

        Leaves out those that another process has, or whose attempt has been made. Raises NotRecorded.
        """

    def record(self, results: Sequence[tuple[Claim, Sequence[Result]]], now: int) -> Sequence[Recorded]:
        """Writes down what came of attempts, and tells for each claim where it leaves its deliveries."""

    def outcomes(self, event: Event, ids: Iterable[str]) -> Mapping[str, Attempt]:
        """The newest attempts that others have made at an event, by destination."""

    @property
    def broken(self) -> Mapping[str, str]:
        """The destinations whose part of the queue could not be used when it was tried last, and why, in words.

        They are left out of whatever was asked; one that can be used again is forgotten here.
        """

    def holder(self, destination_id: str) -> Holder | None:
        """Who has claimed a destination; None when nobody has."""

    def view(self, destination_id: str) -> View:
        """A destination's deliveries."""

    def standings(self, ids: Iterable[str], now: int | None = None) -> Mapping[str, Standing]:
        """What waits for each destination. One that has no place (any more) is left out. `now` is as in `View`."""

    def find(self, event_id: str) -> Event | None:
        """The event as it was first accepted under an id, as of the last look; None when there is none (any more)."""

    def find_prefix(self, beginning: str) -> Sequence[Event]:
        """The events whose ids begin so, by id, each as it was first accepted: two at most, which is one too many."""

    def events(self) -> Iterator[Event]:
        """Every event in the log, oldest first, as of the last look. One that was sent again may come again."""

    def recent_events(self, size: int) -> Sequence[Event]:
        """The newest events, about `size` bytes of them, oldest first."""

    @property
    def totals(self) -> Totals:
        """How much is in the log."""

    def retry(self, selection: Selection, now: int, *, dry: bool = False) -> int:
        """Makes due now what is retrying, and revives what is dead; returns how many. `dry` only counts.

        It then waits for its first attempt again, with all its attempts before it. What was due already may go on where
        it stood; what is in flight goes on alone. Raises NotAccepted.
        """

    def drop(self, selection: Selection, now: int, *, dry: bool = False) -> int:
        """Discards deliveries; returns how many. Raises Held, and then nothing of that destination was dropped."""

    def replay(self, chosen: Replay, now: int, *, dry: bool = False) -> int:
        """Sends old events again, delivered or not; returns how many events. Raises UsageError and NotAccepted.

        A destination for which an event still waits for its first attempt is left out: it gets it anyway.
        """

    def dump(self) -> Iterator[Record]:
        """Everything that the queue holds, as any engine can take it. Raises Held where somebody delivers."""

    def restore(self, records: Iterable[Record]) -> None:
        """Fills an empty queue with what another one gave. Raises NotAccepted, and UsageError where it is not empty."""

    def tidy(self, ids: Iterable[str], before: int) -> None:
        """Removes what every destination has passed, no retry needs, and is older than a time. `ids`: all there are."""

    def check(self, *, repair_at: str | None = None) -> Checked:
        """Reads everything for damage; with `repair_at`, which names the time, sets it aside. Raises Busy."""

    def check_recent(self, size: int) -> Checked:
        """Reads only the newest part of everything, about `size` bytes of each."""

    def close(self) -> None:
        """Closes what is open."""
