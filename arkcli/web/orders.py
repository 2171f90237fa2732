"""What `ark ui` changes: each function takes a form, calls one action, and says what came of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote

from arkcli import times
from arkcli.actions import advice, destinations, operate, send
from arkcli.actions.destinations import Wanted
from arkcli.actions.drain import Job, drain, only
from arkcli.actions.reading import Reading
from arkcli.actions.wording import due, short_answer
from arkcli.contract import samples
from arkcli.contract.events import PING, PURPOSES, QUEUED, check_queued
from arkcli.delivery.drain import Plan
from arkcli.errors import ArkError, Interrupted, NotAccepted, Unfinished, UsageError
from arkcli.model import Answer as Answered
from arkcli.model import Attempt, Outcome, State
from arkcli.queue.engine import Replay, Selection
from arkcli.receiver.resend import text_of
from arkcli.text import counted
from arkcli.web.asked import Answer, Asked, Gone, Shown
from arkcli.web.console import DESTINATION, EVENT, Console, destination_of
from arkcli.web.site import Route

if TYPE_CHECKING:
    from arkcli.actions.home import Home
    from arkcli.system.process import Process

#: For how long one click delivers what is due, in seconds.
_AT_ONCE: Final = 8.0
_NOT_WELL: Final = (State.RETRYING, State.DEAD)


class Task(NamedTuple):
    """A form, what it needs, and the destinations and the event (if any) that it is about.

    `where` is the page that is shown next.
    """

    asked: Asked
    home: "Home"
    process: "Process"
    reading: Reading
    where: str
    event_id: str = ""

    @property
    def selection(self) -> Selection:
        """The unfinished deliveries of its event, or the dead ones if it has none."""
        ids = tuple(one.id for one in self.reading.destinations)
        events = frozenset((self.event_id,)) if self.event_id else frozenset[str]()
        return Selection(destination_ids=ids, event_ids=events, dead=not self.event_id)


class Orders:
    """Answers what changes something."""

    def __init__(self, console: Console, warn: Callable[[str], None]) -> None:
        self._console = console
        self._warn = warn

    def routes(self) -> list[Route]:
        """What answers which path."""
        return [
            Route("GET", "add", lambda _: Shown("add.html", {"given": {}, "problem": None})),
            Route("GET", "send", self.sample),
            Route("GET", "replay", self.again),
            Route("POST", "add", self.add),
            Route("POST", "send", self.send),
            Route("POST", "replay", self.replay_many),
            Route("POST", f"dest/{DESTINATION}/(pause|resume|ping|deliver|remove|secret)", self.at_destination),
            Route("POST", f"(?:dest/{DESTINATION}/)?dead/(retry|drop)", self.dead),
            Route("POST", f"event/{EVENT}/(retry|drop|replay)", self.at_event),
        ]

    @contextmanager
    def _task(self, asked: Asked, where: str, known_id: str | None = None) -> Iterator[Task]:
        """What a form needs, about one destination or about all."""
        with self._console.lent() as (home, process):
            found = [destination_of(home, known_id)] if known_id else home.store.read_again().destinations
            try:
                yield Task(asked, home, process, Reading(home, found), where)
            except ArkError as error:
                if process.accepted and not isinstance(error, NotAccepted | Interrupted):
                    raise Unfinished(f"{process.accepted}, but {error}") from error
                raise
            finally:
                self._console.glance.forget()

    def at_destination(self, asked: Asked, known_id: str, verb: str) -> Answer:
        """Does something with a destination."""
        does: Mapping[str, Callable[[Task], Answer]] = {
            "pause": self._pause, "resume": self._pause, "ping": self._ping, "deliver": self._drained,
            "remove": self._remove, "secret": self._secret,
        }  # fmt: skip
        with self._task(asked, f"dest/{known_id}", known_id) as task:
            return does[verb](task)

    def at_event(self, asked: Asked, event_id: str, verb: str) -> Answer:
        """Does something with an event's deliveries, at the destination that the form names or at all."""
        does = {"retry": self._retry, "drop": self._drop, "replay": self._replay}
        with self._task(asked, f"event/{quote(event_id)}", asked.form.get("to")) as task:
            return does[verb](task._replace(event_id=task.reading.event(event_id).id))

    def dead(self, asked: Asked, known_id: str | None, verb: str) -> Answer:
        """Retries or discards the dead deliveries, of one destination or of all."""
        with self._task(asked, f"dest/{known_id}" if known_id else "dead", known_id) as task:
            if verb == "drop":
                return self._drop(task)
            if not operate.retry(task.home, task.selection, dry=False):
                return Gone(task.where, "Nothing to do: no delivery is dead.")
            return self._drained(task)

    # Destinations.

    def add(self, asked: Asked) -> Answer:
        """Adds a destination once it has answered a ping."""
        given = {name: value.strip() for name, value in asked.form.items()}
        wanted = Wanted(
            url=given.get("url", ""),
            name=given.get("name") or None,
            description=given.get("description") or None,
            allow_local=given.get("allow_local") == "yes",
        )
        try:
            with self._task(asked, "") as task:
                added, answer, fresh = destinations.add(task.home, wanted, ping=given.get("no_ping") != "yes")
        except ArkError as error:
            return Shown("add.html", {"given": given, "problem": str(error)}, 422)
        pinged = "saved without a ping" if answer is None else f"the ping was answered {_answered(answer)}"
        made = " A signing secret was made for your receivers; reveal it below." if fresh else ""
        return Gone(f"dest/{added.id}", f"Added {added.name}: {pinged}.{made}")

    def _pause(self, task: Task) -> Answer:
        (found,), paused = task.reading.destinations, task.asked.path.endswith("/pause")
        destinations.set_paused(task.home, found.id, paused=paused)
        said = "Paused: its events wait." if paused else "Resumed: the next `ark drain` delivers what waited."
        return Gone(task.where, f"{found.name}: {said}")

    def _ping(self, task: Task) -> Answer:
        home, (known,) = task.home, task.reading.destinations
        endpoint = home.endpoint(known, home.store.read_again())
        for found, answer in destinations.ping_all(home, [endpoint], task.process.stopping):
            if answer.outcome is Outcome.DELIVERED:
                return Gone(task.where, f"The ping was answered {_answered(answer)}.")
            helps = advice.hint(home.variables, found.url, answer.error or "")
            return Gone(task.where, f"The ping failed: {answer.error}. {helps}.", failed=True)
        raise Interrupted("ark is stopping: no ping was sent")

    def _remove(self, task: Task) -> Answer:
        (found,) = task.reading.destinations
        if not task.asked.is_confirmed:
            held = next((one.standing for one in task.reading.overview().places), None)
            lost = counted(held.undone, "delivery", "deliveries") if held else "what waits for it"
            return _question(task.asked, f"Remove {found.name}, and discard {lost}?", task.where)
        dropped = destinations.remove(task.home, found)
        return Gone("", f"Removed {found.name}; {counted(dropped, 'delivery was', 'deliveries were')} discarded.")

    def _secret(self, task: Task) -> Answer:
        (found,) = task.reading.destinations
        secret = task.home.secret_of(found, task.home.store.read_again())
        return self._console.destination(task.asked, found.id, secret)

    # Deliveries.

    def _drained(self, task: Task) -> Answer:
        """Delivers what is due, for a few seconds."""
        job = Job(only(task.reading.destinations), Plan(seconds=_AT_ONCE))
        done = drain(task.home, job, self._warn, task.process.stopping)
        counts = [done.total(what) for what in ("attempted", "delivered", "retrying", "dead")]
        said = "Attempted {:,}: {:,} delivered, {:,} to retry, {:,} dead.".format(*counts)
        held = [f" {one.name} is left to {one.by}, which is delivering to it." for one in done.held]
        back = [f" {name} is held back: it was unreachable." for name in done.held_back]
        rest = " More is due." if done.duration_s >= _AT_ONCE else ""
        failed = any(counts[2:]) or bool(back)
        return Gone(task.where, "".join((said, *held, *back, rest)), failed)

    def _retry(self, task: Task) -> Answer:
        chosen = operate.unfinished(task.reading, task.selection)
        operate.retry(task.home, task.selection, dry=False)
        return self._attempted(task, chosen)

    def _replay(self, task: Task) -> Answer:
        """Sends an event again, delivered or not."""
        chosen = task.selection
        everybody = not task.asked.form.get("to")
        again = Replay(destination_ids=chosen.destination_ids, everybody=everybody, event_ids=chosen.event_ids)
        operate.replay(task.home, again, dry=False)
        return self._attempted(task, operate.unfinished(task.reading, chosen, [State.WAITING]))

    def _attempted(self, task: Task, chosen: Mapping[str, Sequence[str]]) -> Answer:
        """Attempts what was queued again at once."""
        if not chosen:
            return Gone(task.where, "Nothing to do: no delivery is left.")
        done = operate.attempt(task.home, task.reading.destinations, chosen, self._warn, task.process.stopping)
        states = [tried.state for tried in done.deliveries]
        said = _counts(states)
        if len(states) == 1:
            (tried,) = done.deliveries
            answered = f", answered {_answered(tried.attempt)}" if tried.attempt else ""
            due_at = tried.next_attempt_at
            following = "" if due_at is None else f"; next attempt {due(due_at, task.home.clock.now())}"
            said = f"{tried.destination.name}: {tried.state}{answered}{following}"
        return Gone(task.where, f"{said}.", any(state in _NOT_WELL for state in states))

    def _drop(self, task: Task) -> Answer:
        sure = task.asked.is_confirmed
        count = operate.drop(task.home, task.reading.destinations, task.selection, dry=not sure)
        if count and not sure:
            return _question(task.asked, f"Discard {counted(count, 'delivery', 'deliveries')} for good?", task.where)
        done = f"{counted(count, 'delivery was', 'deliveries were')} discarded."
        return Gone(task.where, done if count else "Nothing to do: there is nothing to discard.")

    # Events.

    def again(self, asked: Asked) -> Answer:
        """The form to send past events again."""
        with self._task(asked, "") as task:
            return Shown("replay.html", {"destinations": task.reading.destinations, "events": QUEUED})

    def replay_many(self, asked: Asked) -> Answer:
        """Queues past events again, after a question if they are several."""
        try:
            back = round(times.parse_duration(asked.form.get("since", "").strip()) * 1000)
        except ValueError as error:
            raise UsageError(str(error)) from None
        with self._task(asked, "replay", asked.form.get("to")) as task:
            chosen = Replay(
                destination_ids=task.selection.destination_ids,
                everybody=not asked.form.get("to"),
                since=task.home.clock.now() - back,
                event=asked.form.get("event") or None,
                failed=asked.form.get("failed") == "yes",
            )
            count = operate.replay(task.home, chosen, dry=not asked.is_confirmed)
            if count > 1 and not asked.is_confirmed:
                return _question(asked, f"Send {counted(count, 'event')} again?", task.where)
            if not asked.is_confirmed:
                count = operate.replay(task.home, chosen, dry=False)
        done = f"Queued again: {counted(count, 'event')}. `ark drain` delivers what is due."
        return Gone("", done if count else "Nothing to do: no event matches.")

    def sample(self, asked: Asked) -> Answer:
        """The form to send an event, with its sample."""
        event = asked.query.get("event") or "signal.promoted"
        check_queued(event)
        with self._task(asked, "") as task:
            text = text_of(samples.sample(event, task.home.clock.now())).decode()
            return _form(task, {"event": event, "to": asked.query.get("to", ""), "payload": text})

    def send(self, asked: Asked) -> Answer:
        """Accepts an event and delivers it at once."""
        given = {name: asked.form.get(name, "") for name in ("event", "to", "payload")}
        with self._task(asked, "") as task:
            contents = task.home.store.read_again()
            try:
                check_queued(given["event"])
                if not contents.destinations:
                    raise UsageError("there is no destination yet; add one first")
                to = [destination_of(task.home, given["to"])] if given["to"] else None
                order = send.Order(event=given["event"], payload=given["payload"].encode(), to=to)
                sending = send.send(task.home, order, contents, task.process, now=True)
            except UsageError as error:
                return _form(task, given, str(error))
        states, accepted = [sent.state for sent in sending.deliveries], sending.event.id
        failed = any(state in _NOT_WELL for state in states)
        return Gone(f"event/{quote(accepted)}", f"Accepted {accepted}: {_counts(states)}.", failed)


def _form(task: Task, given: Mapping[str, str], problem: str | None = None) -> Answer:
    events = {name: said for name, said in PURPOSES.items() if name != PING}
    values = {"given": given, "events": events, "destinations": task.reading.destinations, "problem": problem}
    return Shown("send.html", values, 422 if problem else 200)


def _question(asked: Asked, question: str, back: str) -> Answer:
    return Shown("question.html", {"question": question, "back": back, "fields": asked.form})


def _answered(made: Answered | Attempt) -> str:
    return f"{short_answer(made)} in {made.duration_ms} ms"


def _counts(states: Sequence[State]) -> str:
    return ", ".join(f"{states.count(state):,} {state}" for state in State if state in states)
