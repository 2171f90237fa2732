"""The pages of `ark ui`: destinations, what fails, dead letters, events, and one event's story."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

from arkcli.actions import grouping, stats, trouble
from arkcli.actions.homes import Glance, Homes
from arkcli.actions.reading import Delivered, Place, Reading
from arkcli.contract.events import QUEUED
from arkcli.errors import ArkError, UsageError
from arkcli.model import Destination, State
from arkcli.queue.engine import Selection
from arkcli.receiver.resend import text_of
from arkcli.signing import Secret
from arkcli.signing.standard import serialized
from arkcli.text import is_harmless
from arkcli.url import shown_proxy
from arkcli.web.asked import Answer, Asked, Gone, Shown, part_of, part_of_many
from arkcli.web.site import Route

if TYPE_CHECKING:
    from arkcli.actions.home import Home
    from arkcli.model import Event
    from arkcli.system.process import Process

#: Bytes read from the end of a journal for a picture: about a thousand attempts; and of the event log for a list.
_TAIL: Final = 256 * 1024
#: The longest command that is shown, in characters.
_LONGEST_COMMAND: Final = 64 * 1024
_HOUR: Final = 3_600_000
_DAY: Final = 24
#: Patterns of the ids in paths.
DESTINATION: Final = "(dst_[a-z0-9]+)"
EVENT: Final = "([A-Za-z0-9._:-]+)"
_ALL_DEAD: Final = Selection(destination_ids=(), dead=True)


class Row(NamedTuple):
    """A destination in a list: how it does in a word, and its last day; None if its attempts cannot be read."""

    place: Place
    status: str
    day: stats.Recent | None


class Request(NamedTuple):
    """A delivery with the headers that an attempt sends now, and a command that sends it; or why there are none.

    The command is empty if it cannot be copied from a page byte for byte.
    """

    delivered: Delivered
    head: Sequence[str]
    command: str
    problem: str | None


class Console:
    """Answers what only looks. `orders` answers what changes something."""

    def __init__(self, homes: Homes) -> None:
        self._homes = homes
        self.glance = Glance()

    @contextmanager
    def lent(self) -> "Iterator[tuple[Home, Process]]":
        """Lends a home that knows what others have accepted, and a process that is told to stop, during a block."""
        with self._homes.lent() as (home, process):
            if home.has_queue:
                home.queue.look((), home.clock.now())
            yield home, process

    def routes(self) -> list[Route]:
        """What answers which path."""
        return [
            Route("GET", "", self.overview),
            Route("GET", f"dest/{DESTINATION}", self.destination),
            Route("GET", "failing", self.failing),
            Route("GET", "dead", self.dead),
            Route("GET", "events", self.events),
            Route("GET", "find", self.find),
            Route("GET", f"event/{EVENT}", self.event),
        ]

    def warm(self) -> None:
        """Takes the first overview before somebody looks. What is wrong, those who look are told."""
        with suppress(ArkError, OSError), self.lent() as (home, _):
            self.glance.overview(home, home.store.read_again().destinations)

    def overview(self, asked: Asked) -> Answer:
        """The destinations, those in trouble first."""
        with self.lent() as (home, _):
            now = home.clock.now()
            overview = self.glance.overview(home, home.store.read_again().destinations)
            words = asked.query.get("q", "").strip().lower()
            places = [
                place
                for place in trouble.worst_first(overview.places, now)
                if words in place.destination.name or words in place.destination.url.lower()
            ]
            part = part_of(places, asked)
            reading = Reading(home, [place.destination for place in part.rows])
            rows = [self._row(reading, place, now) for place in part.rows]
            sums = trouble.sums(overview.places, now)
        return Shown("overview.html", {"part": part._replace(rows=rows), "sums": sums, "broken": overview.broken})

    def destination(self, asked: Asked, known_id: str, revealed: Secret | None = None) -> Answer:
        """One destination: its settings, what fails, and what waits. `revealed` is its signing secret."""
        with self.lent() as (home, _):
            found = destination_of(home, known_id)
            proxy = home.store.read_again().with_proxy(found).proxy
            now, reading = home.clock.now(), Reading(home, [found])
            place = next(iter(reading.overview().places), Place(found, None))
            recent = reading.recent(found, _TAIL)
            values: dict[str, Any] = {
                "row": self._row(reading, place, now),
                "failures": grouping.failures(recent[0] if recent else ()),
                "since": reading.failing_since(found),
                "part": part_of_many(reading.deliveries(), asked),
                "broken": reading.broken,
                "proxy": None if proxy is None else shown_proxy(proxy.reveal().decode()),
                "revealed": revealed and revealed.reveal().decode("utf-8", "backslashreplace"),
                "serialized": revealed and found.standard_webhooks and serialized(revealed).reveal().decode(),
                "events": QUEUED,
            }
        return Shown("destination.html", values)

    def failing(self, asked: Asked) -> Answer:
        """What fails, by destination and answer."""
        with self.lent() as (home, _):
            now = home.clock.now()
            overview = self.glance.overview(home, home.store.read_again().destinations)
            worst = [one for one in trouble.worst_first(overview.places, now) if trouble.is_in_trouble(one, now)]
            part = part_of(worst, asked)
            reading = Reading(home, [place.destination for place in part.rows])
            rows = [
                (place, trouble.status_of(place, now), grouping.failures(found[0] if found else ()))
                for place in part.rows
                for found in [reading.recent(place.destination, _TAIL)]
            ]
        return Shown("failing.html", {"part": part._replace(rows=rows), "broken": overview.broken})

    def dead(self, asked: Asked) -> Answer:
        """Dead deliveries."""
        with self.lent() as (home, _):
            reading = self._with_letters(home)
            part = part_of_many(reading.deliveries(_ALL_DEAD), asked)
            broken = reading.broken
        return Shown("dead.html", {"part": part, "broken": broken})

    def _with_letters(self, home: "Home") -> Reading:
        """Reads the queue at those destinations that have dead deliveries, or whose part of it cannot be read."""
        places = self.glance.overview(home, home.store.read_again().destinations).places
        return Reading(home, [one.destination for one in places if one.standing is None or one.standing.dead])

    def events(self, asked: Asked) -> Answer:
        """The newest events."""
        with self.lent() as (home, _):
            newest = {one.id: one for one in home.queue.recent_events(_TAIL)} if home.has_queue else {}
            kind = asked.query.get("event", "")
            part = part_of([one for one in reversed(newest.values()) if kind in ("", one.name)], asked)
        return Shown("events.html", {"part": part, "events": QUEUED})

    def find(self, asked: Asked) -> Answer:
        """Leads to the event that an id names."""
        with self.lent() as (home, _):
            reading = self._with_letters(home)
            return Gone(f"event/{quote(reading.event(asked.query.get('id', '').strip()).id)}")

    def event(self, asked: Asked, event_id: str) -> Answer:
        """One event: its body, and every attempt at every destination."""
        with self.lent() as (home, _):
            contents = home.store.read_again()
            reading = Reading(home, contents.destinations)
            to = contents.find(asked.query.get("to", ""))
            part = part_of(contents.destinations if to is None else [to], asked)
            story = reading.story(event_id, part.rows)
            order = (State.DEAD, State.RETRYING, State.WAITING)
            rows = sorted(story.deliveries, key=lambda one: one.state not in order)
            requests = [_request(home, story.event, one) for one in rows]
            body = story.event.body
        values: dict[str, Any] = {
            "event": story.event,
            "pretty": text_of(body).decode("utf-8", "backslashreplace"),
            "raw": body.decode("utf-8", "backslashreplace"),
            "part": part._replace(rows=requests),
            "to": to,
            "broken": story.broken,
            "state": State,
        }
        return Shown("event.html", values)

    def _row(self, reading: Reading, place: Place, now: int) -> Row:
        found = reading.recent(place.destination, _TAIL)
        day = None if found is None else stats.recent(found, now, _DAY, _HOUR)
        return Row(place, trouble.status_of(place, now), day)


def destination_of(home: "Home", known_id: str) -> Destination:
    """The destination with an id. Raises UsageError."""
    found = home.store.read_again().find(known_id)
    if found is None:
        raise UsageError("there is no such destination (any more)")
    return found


def _request(home: "Home", event: "Event", one: Delivered) -> Request:
    from arkcli.actions import preview

    known, contents = one.destination, home.store.read_again()
    try:
        endpoints = [home.endpoint(known, contents)]
        attempt = one.attempts[-1].attempt if one.attempts else 1
        (request,) = preview.requests(event, endpoints, home.clock.now() // 1000, attempt)
        ((_, command),) = preview.commands(event, [contents.with_proxy(known)])
    except ArkError as error:
        return Request(one, (), "", str(error))
    is_whole = len(command) <= _LONGEST_COMMAND and is_harmless(command)
    return Request(one, request.head, command if is_whole else "", None)
