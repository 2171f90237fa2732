"""What `ark ui` changes: each function takes a form, calls one action, and says what came of it."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from arkcli import times
from arkcli.actions import advice, destinations, operate, send
from arkcli.actions.destinations import Wanted
from arkcli.actions.drain import Job, drain, only
from arkcli.actions.reading import Reading
from arkcli.actions.wording import from_now, short_answer
from arkcli.contract import samples
from arkcli.contract.events import PURPOSES, check_queued
from arkcli.delivery.drain import Plan
from arkcli.errors import ArkError, UsageError
from arkcli.model import Outcome, State
from arkcli.queue.engine import Replay, Selection
from arkcli.receiver.resend import text_of
from arkcli.text import counted
from arkcli.web.asked import Answer, Asked, Gone, Shown
from arkcli.web.console import Console, destination_of
from arkcli.web.site import Route

if TYPE_CHECKING:
    from arkcli.actions.home import Home
    from arkcli.model import Destination
    from arkcli.system.process import Process

#: For how long one click delivers what is due, in seconds.
_AT_ONCE: Final = 8.0
_DEAD: Final = (State.RETRYING, State.DEAD)


class Orders:
    """Answers what changes something."""

    def __init__(self, console: Console, warn: Callable[[str], None]) -> None:
        self._homes = console.homes
        self._console = console
        self._warn = warn

    def routes(self) -> list[Route]:
        """What answers which path."""
        dest, event = "dest/(dst_[a-z0-9]+)", "event/([A-Za-z0-9._:-]+)"
        posts: list[tuple[str, Callable[..., Answer]]] = [
            ("add", self.add),
            ("send", self.send),
            ("replay", self.replay_many),
            ("dead/(retry|drop)", self.dead),
            (f"{dest}/(pause|resume)", self.pause),
            (f"{dest}/ping", self.ping),
            (f"{dest}/deliver", self.deliver),
            (f"{dest}/remove", self.remove),
            (f"{dest}/secret", self.secret),
            (f"{dest}/dead/(retry|drop)", self.dead_of),
            (f"{event}/retry", self.retry),
            (f"{event}/drop", self.drop),
            (f"{event}/replay", self.replay),
        ]
        gets = [Route("GET", "add", self.form), Route("GET", "send", self.sample), Route("GET", "replay", self.again)]
        return [*gets, *(Route("POST", pattern, self._changing(answer)) for pattern, answer in posts)]

    def _changing(self, answer: Callable[..., Answer]) -> Callable[..., Answer]:
        def changed(*given: Any) -> Answer:
            try:
                return answer(*given)
            finally:
                self._console.glance.forget()

        return changed

    # Destinations.

    def form(self, _: Asked) -> Answer:
        """The form for a new destination."""
        return Shown("add.html", {"given": {}, "problem": None})

    def add(self, asked: Asked) -> Answer:
        """Adds a destination once it has answered a ping."""
        given = asked.form
        wanted = Wanted(
            url=given.get("url", "").strip(),
            name=given.get("name", "").strip() or None,
            description=given.get("description", "").strip() or None,
            allow_local=given.get("allow_local") == "yes",
        )
        try:
            with self._homes.lent() as (home, _):
                added, answer, fresh = destinations.add(home, wanted, ping=given.get("no_ping") != "yes")
        except ArkError as error:
            return Shown("add.html", {"given": given, "problem": str(error)}, 422)
        said = f"Added {added.name}: "
        said += "saved without a ping." if answer is None else f"the ping was answered {_answered(answer)}."
        said += " A signing secret was made for your receivers; reveal it below." if fresh else ""
        return Gone(f"dest/{added.id}", said)

    def pause(self, _: Asked, known_id: str, verb: str) -> Answer:
        """Pauses or resumes a destination."""
        with self._homes.lent() as (home, _process):
            name = destination_of(home, known_id).name
            destinations.set_paused(home, known_id, paused=verb == "pause")
        said = "Paused: its events wait." if verb == "pause" else "Resumed: the next `ark drain` delivers what waited."
        return Gone(f"dest/{known_id}", f"{name}: {said}")

    def ping(self, _: Asked, known_id: str) -> Answer:
        """Sends a ping."""
        with self._homes.lent() as (home, process):
            found = destination_of(home, known_id)
            endpoints = home.endpoints([found], home.store.read_again())
            answers = destinations.ping_all(home, endpoints, process.stopping)
            if not answers:
                raise UsageError("ark is stopping: no ping was sent")
            ((_found, answer),) = answers
            said = f"The ping was answered {_answered(answer)}."
            if failed := answer.outcome is Outcome.FAILED:
                helps = advice.hint(home.variables, found.url, answer.error or "")
                said = f"The ping failed: {answer.error}. {helps}."
        return Gone(f"dest/{known_id}", said, failed)

    def remove(self, asked: Asked, known_id: str) -> Answer:
        """Removes a destination, after a question."""
        with self._homes.lent() as (home, _):
            found = destination_of(home, known_id)
            if not asked.is_confirmed:
                waits = next((one.standing for one in Reading(home, [found]).overview().places), None)
                lost = counted(waits.undone, "delivery", "deliveries") if waits else "what waits for it"
                return _question(asked, f"Remove {found.name}, and discard {lost}?", f"dest/{known_id}")
            dropped = destinations.remove(home, found)
        return Gone("", f"Removed {found.name}; {counted(dropped, 'delivery was', 'deliveries were')} discarded.")

    def secret(self, asked: Asked, known_id: str) -> Answer:
        """Shows the secret that signs for a destination."""
        with self._homes.lent() as (home, _):
            secret = home.secret_of(destination_of(home, known_id), home.store.read_again())
        return self._console.destination(asked, known_id, secret.reveal().decode("utf-8", "backslashreplace"))

    def deliver(self, _: Asked, known_id: str) -> Answer:
        """Delivers what is due to a destination, for a few seconds."""
        with self._homes.lent() as (home, process):
            return Gone(f"dest/{known_id}", *self._drained(home, process, [destination_of(home, known_id)]))

    # Deliveries.

    def dead(self, asked: Asked, verb: str) -> Answer:
        """Retries or discards all dead deliveries."""
        with self._homes.lent() as (home, process):
            return self._dead(asked, verb, home, process, home.store.read_again().destinations, "dead")

    def dead_of(self, asked: Asked, known_id: str, verb: str) -> Answer:
        """Retries or discards the dead deliveries of a destination."""
        with self._homes.lent() as (home, process):
            return self._dead(asked, verb, home, process, [destination_of(home, known_id)], f"dest/{known_id}")

    def _dead(
        self, asked: Asked, verb: str, home: "Home", process: "Process", to: "Sequence[Destination]", back: str
    ) -> Answer:
        reading = Reading(home, to)
        selection = Selection(destination_ids=tuple(one.id for one in reading.destinations), dead=True)
        if verb == "retry":
            if not operate.retry(home, selection, dry=False):
                return Gone(back, "Nothing to do: no delivery is dead.")
            return Gone(back, *self._drained(home, process, to))
        return self._dropped(asked, home, reading, selection, back)

    def retry(self, asked: Asked, event_id: str) -> Answer:
        """Attempts the unfinished deliveries of an event at once."""
        with self._homes.lent() as (home, process):
            reading = _reading(home, asked)
            selection = _selection(reading, event_id)
            chosen = operate.unfinished(reading, selection)
            operate.retry(home, selection, dry=False)
            return self._attempted(home, process, reading, chosen, event_id)

    def drop(self, asked: Asked, event_id: str) -> Answer:
        """Discards the unfinished deliveries of an event, after a question."""
        with self._homes.lent() as (home, _):
            reading = _reading(home, asked)
            return self._dropped(asked, home, reading, _selection(reading, event_id), f"event/{quote(event_id)}")

    def replay(self, asked: Asked, event_id: str) -> Answer:
        """Sends an event again, delivered or not, and attempts it at once."""
        with self._homes.lent() as (home, process):
            reading = _reading(home, asked)
            selection = _selection(reading, event_id)
            operate.replay(
                home,
                Replay(
                    destination_ids=selection.destination_ids,
                    everybody=not asked.form.get("to"),
                    event_ids=selection.event_ids,
                ),
                dry=False,
            )
            chosen = operate.unfinished(reading, selection, [State.WAITING])
            return self._attempted(home, process, reading, chosen, event_id)

    def again(self, _: Asked) -> Answer:
        """The form to send past events again."""
        with self._homes.lent() as (home, _process):
            return Shown("replay.html", {"destinations": home.store.read_again().destinations, "events": PURPOSES})

    def replay_many(self, asked: Asked) -> Answer:
        """Queues past events again, after a question if they are several."""
        with self._homes.lent() as (home, _):
            try:
                back = round(times.parse_duration(asked.form.get("since", "").strip()) * 1000)
            except ValueError as error:
                raise UsageError(str(error)) from None
            reading = _reading(home, asked)
            chosen = Replay(
                destination_ids=tuple(one.id for one in reading.destinations),
                everybody=not asked.form.get("to"),
                since=home.clock.now() - back,
                event=asked.form.get("event") or None,
                failed=asked.form.get("failed") == "yes",
            )
            if not asked.is_confirmed:
                count = operate.replay(home, chosen, dry=True)
                if count > 1:
                    return _question(asked, f"Send {counted(count, 'event')} again?", "replay")
            count = operate.replay(home, chosen, dry=False)
        done = f"Queued again: {counted(count, 'event')}. `ark drain` delivers them."
        return Gone("", done if count else "Nothing to do: no event matches.")

    # Events.

    def sample(self, asked: Asked) -> Answer:
        """The form to send an event, with its sample."""
        event = asked.query.get("event") or "signal.promoted"
        check_queued(event)
        with self._homes.lent() as (home, _):
            text = text_of(samples.sample(event, home.clock.now())).decode()
            return self._send_form(home, {"event": event, "to": asked.query.get("to", ""), "payload": text})

    def _send_form(self, home: "Home", given: "dict[str, str]", problem: str | None = None) -> Answer:
        events = {name: said for name, said in PURPOSES.items() if name != "ping"}
        known = home.store.read_again().destinations
        values = {"given": given, "events": events, "destinations": known, "problem": problem}
        return Shown("send.html", values, 422 if problem else 200)

    def send(self, asked: Asked) -> Answer:
        """Accepts an event and delivers it at once."""
        given = {name: asked.form.get(name, "") for name in ("event", "to", "payload")}
        with self._homes.lent() as (home, process):
            contents = home.store.read_again()
            try:
                check_queued(given["event"])
                to = [destination_of(home, given["to"])] if given["to"] else None
                if not contents.destinations:
                    raise UsageError("there is no destination yet; add one first")
                order = send.Order(event=given["event"], payload=given["payload"].encode(), to=to)
                sending = send.send(home, order, contents, process, now=True)
            except UsageError as error:
                return self._send_form(home, given, str(error))
        states = [sent.state for sent in sending.deliveries]
        failed = any(state in _DEAD for state in states)
        return Gone(f"event/{quote(sending.event.id)}", f"Accepted {sending.event.id}: {_counts(states)}.", failed)

    # What came of it.

    def _attempted(
        self,
        home: "Home",
        process: "Process",
        reading: Reading,
        chosen: "dict[str, list[str]]",
        event_id: str,
    ) -> Answer:
        where = f"event/{quote(event_id)}"
        if not chosen:
            return Gone(where, "Nothing to do: no delivery is left.")
        done = operate.attempt(home, reading.destinations, chosen, self._warn, process.stopping)
        states = [tried.state for tried in done.deliveries]
        if len(done.deliveries) == 1:
            (tried,) = done.deliveries
            said = f"{tried.destination.name}: {tried.state}"
            said += f", answered {_answered(tried.attempt)}" if tried.attempt else ""
            if tried.next_attempt_at is not None:
                said += f"; next attempt {from_now(tried.next_attempt_at, home.clock.now())}"
        else:
            said = _counts(states)
        return Gone(where, f"{said}.", any(state in _DEAD for state in states))

    def _dropped(self, asked: Asked, home: "Home", reading: Reading, selection: Selection, back: str) -> Answer:
        count = operate.drop(home, reading.destinations, selection, dry=not asked.is_confirmed)
        many = counted(count, "delivery", "deliveries")
        if not count:
            return Gone(back, "Nothing to do: there is nothing to discard.")
        if not asked.is_confirmed:
            return _question(asked, f"Discard {many} for good?", back)
        return Gone(back, f"{many} {'was' if count == 1 else 'were'} discarded.")

    def _drained(self, home: "Home", process: "Process", to: "Sequence[Destination]") -> tuple[str, bool]:
        """Delivers what is due for a few seconds; what came of it, and whether something failed."""
        done = drain(home, Job(only(to), Plan(seconds=_AT_ONCE)), self._warn, process.stopping)
        said = f"Attempted {done.total('attempted'):,}: {done.total('delivered'):,} delivered, "
        said += f"{done.total('retrying'):,} to retry, {done.total('dead'):,} dead."
        held = [f" {one.name} is left to {one.by}, which is delivering to it." for one in done.held]
        back = [f" {name} is held back: it was unreachable." for name in done.held_back]
        rest = " What is left is due still." if done.duration_s >= _AT_ONCE else ""
        return "".join((said, *held, *back, rest)), bool(done.total("retrying") or done.total("dead") or done.held_back)


def _reading(home: "Home", asked: Asked) -> Reading:
    """Reads the queue at the destination that a form names, else at all."""
    named = asked.form.get("to")
    return Reading(home, [destination_of(home, named)] if named else home.store.read_again().destinations)


def _selection(reading: Reading, event_id: str) -> Selection:
    found = reading.event(event_id)
    return Selection(destination_ids=tuple(one.id for one in reading.destinations), event_ids=frozenset((found.id,)))


def _question(asked: Asked, question: str, back: str) -> Shown:
    return Shown("question.html", {"question": question, "back": back, "fields": asked.form})


def _answered(made: Any) -> str:
    return f"{short_answer(made)} in {made.duration_ms} ms"


def _counts(states: "Sequence[State]") -> str:
    return ", ".join(f"{states.count(state):,} {state}" for state in State if state in states)
