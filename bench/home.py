"""A home for `ark` in a temporary directory: destinations, accepted events, and runs of `ark` over them."""

import contextlib
import functools
import io
import itertools
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from msgspec import structs

from arkcli.actions import destinations, send
from arkcli.actions.destinations import Wanted
from arkcli.actions.send import Order
from arkcli.cli.session import Session
from arkcli.contract import samples
from arkcli.model import Answer, Draft, RetrySchedule
from arkcli.queue.engine import Selection
from bench import measure
from bench.measure import ARK, Finished

EVENT: Final = "signal.promoted"
BODY_SIZE: Final = 2048
BATCH: Final = 1000

_SENTENCE: Final = " The round was led by existing investors."


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """A temporary directory for a benchmark's files."""
    with tempfile.TemporaryDirectory(prefix="ark-bench-") as name:
        yield Path(name)


class Home:
    """A configuration and a queue for one benchmark."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.variables = {"ARK_CONFIG_DIR": str(directory / "config"), "ARK_STATE_DIR": str(directory / "state")}
        self._destinations = directory / "state" / "queue" / "destinations"
        self._store = directory / "config" / "destinations.toml"

    @property
    def event_log(self) -> list[Path]:
        """The segments of the event log."""
        return sorted((self.directory / "state" / "queue" / "events").glob("*.jsonl"))

    @contextlib.contextmanager
    def session(self, retries: RetrySchedule | None = None) -> Iterator[Session]:
        """A session of `ark` on this home, for a block, to call the package's functions with."""
        made = Session(self.variables, io.BytesIO(), io.StringIO(), io.StringIO(), retries=retries)
        try:
            yield made
        finally:
            made.home.queue.close()

    def add(self, name: str, url: str, ca_file: Path | None = None) -> str:
        """Adds a destination without a ping, and returns its id."""
        with self.session() as session:
            wanted = Wanted(name=name, url=url, allow_local=True, ca_file=ca_file)
            added, _, _ = destinations.add(session.home, wanted, ping=False)
            return added.id

    def add_many(self, urls: Sequence[str]) -> None:
        """Adds a destination for each URL in one step. They have no place in the queue yet."""
        with self.session() as session:
            made = destinations.new_secret(session.home)
            found = [
                destinations.unsaved(session.home, Wanted(name=f"customer-{number:05}", url=url, allow_local=True))
                for number, url in enumerate(urls)
            ]
            with session.home.store.change() as contents:
                contents.workspace.secret = made
                contents.destinations += found

    @contextlib.contextmanager
    def restored(self) -> Iterator[None]:
        """Restores the destinations after a block."""
        before = self._store.read_bytes()
        try:
            yield
        finally:
            self._store.write_bytes(before)

    def forget(self) -> None:
        """Removes the queue: every destination will join a new one."""
        shutil.rmtree(self.directory / "state", ignore_errors=True)

    def pause(self, ids: Sequence[str], *, paused: bool = True) -> None:
        """Pauses or resumes destinations."""
        with self.session() as session:
            for found in ids:
                destinations.set_paused(session.home, found, paused=paused)

    def accept(self, count: int, to: str | None = None) -> None:
        """Accepts `count` events of 2 KB for all destinations, or for the one with this id."""
        numbers = iter(range(count))
        with self.session() as session:
            payloads = (payload(session, number) for number in numbers)
            while batch := [draft(session, found) for found in itertools.islice(payloads, BATCH)]:
                session.home.queue.accept(
                    [found if to is None else structs.replace(found, to=(to,)) for found in batch]
                )

    def fail(self, destination_id: str, attempts: int = 3) -> None:
        """Records this many failed attempts for every waiting delivery, at the scheduled times, the last one just now.

        After three, the next attempt is due in half an hour; after five, the delivery is dead.
        """
        failed = Answer(503, "answered 503, not a 2xx", 12)
        with self.session() as session:
            (claim,) = session.home.queue.claim_due([destination_id], 1, "bench", session.home.clock.now())
            now = session.home.clock.now() - sum(session.home.schedule.delays[: attempts - 1])
            for delay in (*session.home.schedule.delays[: attempts - 1], 0):
                while batch := claim.take(now, BATCH):
                    session.home.queue.record([(claim, [(delivery, failed) for delivery in batch])], now)
                now += delay
            claim.release()

    def retry(self, destination_id: str, ids: frozenset[str] = frozenset()) -> None:
        """Makes dead deliveries, or those of certain events, due now."""
        with self.session() as session:
            selection = Selection(destination_ids=(destination_id,), event_ids=ids, dead=not ids)
            session.home.queue.retry(selection, session.home.clock.now())

    def undone(self, destination_id: str, most: int) -> list[str]:
        """The ids of some events with unfinished deliveries."""
        with self.session() as session, contextlib.closing(session.home.queue.view(destination_id)) as view:
            return [found.event.id for found in itertools.islice(view.deliveries(), most)]

    def save(self) -> None:
        """Saves the state of every destination."""
        shutil.copytree(self._destinations, self.directory / "saved")

    def rewind(self) -> None:
        """Restores the state that `save` saved: the same events are due again."""
        shutil.rmtree(self._destinations)
        shutil.copytree(self.directory / "saved", self._destinations)

    def ark(self, *arguments: str) -> Finished:
        """Runs `ark` once."""
        return measure.run([ARK, *arguments], self.variables)

    def drain(self, count: int, *options: str) -> tuple[Finished, float]:
        """Runs `ark drain`, which must deliver `count`. Returns its cost, and the seconds that it reports itself."""
        finished = self.ark("drain", "--json", *options)
        report: dict[str, Any] = json.loads(finished.output)
        if report["delivered"] != count or report["attempted"] != count:
            raise RuntimeError(f"{count} were due, and drain says {finished.output.decode()}")
        return finished, report["duration_s"]


def payload(session: Session, number: int) -> bytes:
    """A realistic, unique payload whose body will have 2 KB."""
    return _payload(session, number, _missing())


def draft(session: Session, found: bytes) -> Draft:
    """The validated event for a payload."""
    return send.draft(session.home, Order(event=EVENT, payload=found))


def bodies(count: int) -> list[bytes]:
    """The bodies of `count` such events, as they are sent."""
    session = _nowhere()
    return [draft(session, payload(session, number)).body for number in range(count)]


@functools.cache
def _missing() -> int:
    session = _nowhere()
    return BODY_SIZE - len(draft(session, _payload(session, 0, 0)).body)


def _payload(session: Session, number: int, padding: int) -> bytes:
    found = json.loads(samples.sample(EVENT, session.home.clock.now()))
    found["signal"]["id"] = f"sig_{number:08d}"
    found["signal"]["description"] += (_SENTENCE * (padding // len(_SENTENCE) + 1))[:padding]
    return json.dumps(found).encode()


def _nowhere() -> Session:
    return Session({}, io.BytesIO(), io.StringIO(), io.StringIO())
