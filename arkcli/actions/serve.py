"""Sets up and runs `ark serve`: the process that takes events, and beside it the one that delivers them."""

import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path
from typing import Final, NamedTuple

from arkcli.actions import metrics
from arkcli.actions.home import Home
from arkcli.actions.reading import Reading
from arkcli.actions.send import Order, check_same, draft
from arkcli.errors import ArkError, NotAccepted, Unreachable, UsageError
from arkcli.httpd.server import Entrance, is_open_to_all, listen_on, listening_at, socket_path, url_of
from arkcli.ingest.commits import Commits
from arkcli.ingest.door import Door, Inside, Making, alone
from arkcli.ingest.serving import Serving
from arkcli.model import Draft, Event
from arkcli.signing import Secret
from arkcli.signing.secrets import TOKEN, SecretFiles
from arkcli.store.store import Contents
from arkcli.system import files
from arkcli.system.child import Child
from arkcli.system.process import Process
from arkcli.system.systemd import notify, passed_sockets

#: The random bytes of a new token; it is written as hex digits.
_TOKEN: Final = 32
_NO_DESTINATION: Final = "there is no destination yet; add one with `ark dest add URL`"


class Ways(NamedTuple):
    """Where events come in: a Unix socket at a path, a TCP port on this machine (0: any free one), or neither.

    `token_file` has the token that clients on TCP must send; None: the file `serve.token` beside destinations.toml.
    """

    path: Path | None
    port: int | None
    token_file: Path | None


class Running(NamedTuple):
    """What a service takes from the command: how to open a home, its process, and where warnings go."""

    open_home: Callable[[], Home]
    process: Process
    warn: Callable[[str], None]


def serve(
    running: Running,
    ways: Ways,
    drain: Sequence[str],
    ready: Callable[[list[str]], None],
    beside: Sequence[Entrance] = (),
) -> None:
    """Runs until the process is told to stop. `drain` are the arguments of the `ark` that delivers.

    `ready` is called with the addresses once it listens. What is `beside` is served, too. Raises UsageError, and Moved
    and Replaced when an event comes after the queue has been moved away or replaced.
    """
    home = running.open_home()
    intake = _Intake(home)
    child = Child(drain, home.variables)
    service = Serving(child, intake.accept, running.warn)
    running.process.stop_on_signals(service.stop)
    with ExitStack() as stack:
        # Last: what is in flight ends.
        stack.callback(child.wait)
        listeners = passed_sockets(home.variables)
        if ways.path is not None:
            listeners.append(stack.enter_context(listening_at(ways.path)))
        if ways.port is not None:
            listeners += map(stack.enter_context, listen_on("127.0.0.1", ways.port))
        open_to_all = [one for one in listeners if is_open_to_all(one)]
        token = _token(home, ways.token_file, running.warn) if open_to_all else None
        # Each with a home of its own: they run in threads of their own.
        problems = partial(_problems, running.open_home(), intake, child)
        inside = Inside(alone(problems), alone(_metrics(running.open_home)))
        making = Making(intake.draft, intake.check_same)

        def entrances(commits: Commits) -> list[Entrance]:
            ours = [one for one in listeners if one not in open_to_all]
            ways = ((ours, None), (open_to_all, token))
            doors = [Entrance(found, Door(making, commits, inside, known).take) for found, known in ways if found]
            return [*doors, *beside]

        def listening() -> None:
            ready([_address(one) for one in listeners])
            notify(home.variables, "READY=1")

        stack.callback(notify, home.variables, "STOPPING=1")
        service.run(entrances, listening)


class _Intake:
    """Makes events of requests and accepts them. `accept` runs in a thread of its own, with the home's queue."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._joined: Contents | None = None
        #: Why the last events were not accepted, if so.
        self.trouble: str | None = None

    def draft(self, event: str, payload: bytes, event_id: str | None) -> Draft:
        return draft(self._home, Order(event=event, payload=payload, event_id=event_id))

    def check_same(self, event: str, payload: bytes, event_id: str | None, accepted: Event) -> None:
        check_same(Order(event=event, event_id=event_id), payload, accepted)

    def accept(self, drafts: Sequence[Draft], unique: bool) -> Sequence[Event]:
        try:
            contents = self._home.store.read_again()
            if not contents.destinations:
                raise UsageError(_NO_DESTINATION)
            if contents is not self._joined:
                self._home.joined(contents.destinations)
                self._joined = contents
            accepted = self._home.queue.accept(drafts, unique=unique)
        except Unreachable as error:
            self.trouble = str(error)
            raise NotAccepted(str(error), "nothing was accepted") from error
        except (ArkError, OSError) as error:
            self.trouble = str(error)
            raise
        self.trouble = None
        return accepted


def _problems(home: Home, intake: _Intake, child: Child) -> list[str]:
    """What keeps events from being accepted or delivered."""
    found = []
    try:
        if not home.store.read().destinations:
            found.append(_NO_DESTINATION)
    except ArkError as error:
        found.append(str(error))
    if intake.trouble is not None and intake.trouble not in found:
        found.append(f"the last event was not accepted: {intake.trouble}")
    if not child.is_running:
        found.append("the process that delivers is not running")
    return found


def _metrics(open_home: Callable[[], Home]) -> Callable[[], bytes]:
    """Returns a function that reads the queue and returns the metrics; it may be called in any one thread at a time."""
    home_of = cache(open_home)

    def read() -> bytes:
        home = home_of()
        reading = Reading(home, home.store.read_again().destinations)
        return metrics.exposition(reading.overview(), reading.totals, home.clock.now())

    return read


def _token(home: Home, path: Path | None, warn: Callable[[str], None]) -> Callable[[], Secret]:
    """Returns a function that returns the current token. Makes a token if the file is missing. Raises UsageError."""
    file = path or home.store.path.with_name("serve.token")
    if not file.exists():
        try:
            files.make_directory(file.parent)
            files.replace(file, home.randomness(_TOKEN).hex().encode() + b"\n", durable=True)
        except OSError as error:
            raise UsageError(f"{file} cannot be written: {error.strerror}; give another --token-file") from None
    kept = SecretFiles(home.clock.monotonic, warn)

    def now() -> Secret:
        kept.look()
        return kept.read(file, TOKEN)

    now()
    return now


def _address(listener: socket.socket) -> str:
    return socket_path(listener) if listener.family == socket.AF_UNIX else url_of(listener)
