"""Test helpers: a clock that is moved by hand, a separate home, and real receivers on real sockets."""

import functools
import io
import json
import os
import pty
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import trustme
import typer

from arkcli import model
from arkcli.actions.home import Home
from arkcli.actions.shared import Given, Shared
from arkcli.cli.app import run
from arkcli.cli.session import Session
from arkcli.model import RetrySchedule
from arkcli.queue.local.claim import Claim
from arkcli.queue.local.queue import LocalQueue
from arkcli.signing import verify
from arkcli.system.clock import Clock

START = 1_795_000_000_000

# A parser keeps nothing of a run, and making it takes a fifth of the time of a run in this process.
typer.main.get_command = functools.cache(typer.main.get_command)


class FakeClock:
    """A clock that moves only by hand and by sleeping.

    Only `monotonic` also advances in real time: it times attempts, which wait for real sockets.
    """

    def __init__(self, now: int = START) -> None:
        self.milliseconds = now
        self.seconds = 0.0
        self._began = time.monotonic()

    def now(self) -> int:
        return self.milliseconds

    def monotonic(self) -> float:
        return self.seconds + time.monotonic() - self._began

    def sleep(self, seconds: float) -> None:
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        self.milliseconds += round(seconds * 1000)
        self.seconds += max(seconds, 0.0)


class Result(NamedTuple):
    """The output of one run of `ark`, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class HereSession(Session):
    """A session in which the time of a database is that of the clock."""

    def new_home(self) -> Home:
        made = super().new_home()

        def timed(given: Given) -> Shared:
            from tests.timed import TimedShared

            return TimedShared.of(made, given)

        made.shared_at = timed  # type: ignore[method-assign]
        return made


@contextmanager
def terminal() -> Iterator[tuple[TextIO, Callable[[], str]]]:
    """A terminal to write to, and a function that returns what was written."""
    ours, theirs = pty.openpty()
    try:
        with open(theirs, "w", encoding="utf-8") as stream:  # noqa: PTH123 - it is a descriptor

            def written() -> str:
                # Reading from a terminal blocks until there is something to read: this end marker.
                stream.write("\x04")
                stream.flush()
                text = b""
                while not text.endswith(b"\x04"):
                    text += os.read(ours, 65_536)
                return text[:-1].decode()

            yield stream, written
    finally:
        os.close(ours)


class World:
    """A home for `ark`. Each call of `ark` is one run; all runs share the clock.

    `database` is the URL of an empty database that keeps the queue and the store, in place of files; then its time is
    that of the clock, too. Worlds of one database are hosts that share it.
    """

    def __init__(
        self,
        home: Path,
        retries: RetrySchedule = model.DOCUMENTED,
        *,
        database: str | None = None,
        clock: FakeClock | None = None,
    ) -> None:
        self.home = home
        self.clock = clock or FakeClock()
        self.retries = retries
        self.variables = {"ARK_CONFIG_DIR": str(home / "config"), "ARK_STATE_DIR": str(home / "state")}
        if database is not None:
            self.variables["ARK_QUEUE"] = database
        self._random = iter(range(1, 1 << 62))

    def randomness(self, size: int) -> bytes:
        words = (next(self._random).to_bytes(8, "big") for _ in range(0, size, 8))
        return b"".join(words)[-size:]

    def session(self, stdin: bytes = b"") -> Session:
        out, err = io.StringIO(), io.StringIO()
        binary = io.BytesIO(stdin)
        return HereSession(self.variables, binary, out, err, self.clock, self.randomness, self.retries)

    def ark(self, *args: str, stdin: bytes = b"", clock: Clock | None = None) -> Result:
        """One run in this process, by the world's clock or by another one."""
        session = self.session(stdin)
        if clock is not None:
            session.home.clock = clock
        status = run(args, session)
        session.home.close()
        assert isinstance(session.stdout, io.StringIO)
        assert isinstance(session.stderr, io.StringIO)
        return Result(status, session.stdout.getvalue(), session.stderr.getvalue())

    def on_a_terminal(self, *args: str, columns: int, **variables: str) -> str:
        """Both streams of one run of `ark` on a terminal."""
        with terminal() as (stream, written):
            session = self.session()
            session.variables = {**self.variables, "COLUMNS": str(columns), **variables}
            session.stdout = session.stderr = stream
            run(args, session)
            session.home.close()
            return written().replace("\r\n", "\n")

    def answered(self, text: bytes, *args: str) -> Result:
        """One run whose standard input is a terminal where this is typed."""
        ours, theirs = pty.openpty()
        try:
            os.write(ours, text)
            with open(theirs, "rb") as typed:  # noqa: PTH123 - it is a descriptor
                session = self.session()
                session.stdin = typed
                status = run(args, session)
                session.home.close()
                return Result(status, session.stdout.getvalue(), session.stderr.getvalue())  # type: ignore[attr-defined]
        finally:
            os.close(ours)

    def shared_secrets(self) -> list[str]:
        """The shared signing secret, if there is one."""
        return self.ark("secret", "show", "--reveal").out.split()

    def add(self, receiver: "TestReceiver", name: str, *options: str) -> None:
        """Adds a receiver as a destination, without a ping."""
        result = self.ark("dest", "add", receiver.url, "--name", name, "--allow-local", "--no-ping", *options)
        assert result.status == 0, result

    def moved_to(self, home: Path) -> "World":
        """The same world with a copy of its home, as it goes on there."""
        moved = World(home, self.retries)
        moved.clock.advance((self.clock.now() - moved.clock.now()) / 1000)
        moved._random = iter(range(1 << 62, 1 << 63))
        return moved

    @contextmanager
    def held(self, name: str, purpose: str = "drain") -> Iterator[Claim]:
        """Claims a destination, as another process would."""
        destination = self.session().home.store.read().find(name)
        assert destination is not None
        other = LocalQueue(self.queue_directory, self.retries)
        claim = other.claim(destination.id, purpose)
        assert claim is not None
        try:
            yield claim
        finally:
            claim.release()
            other.close()

    @property
    def store_file(self) -> Path:
        return self.home / "config" / "destinations.toml"

    @property
    def queue_directory(self) -> Path:
        return self.home / "state" / "queue"

    @property
    def event_lines(self) -> list[bytes]:
        files = sorted((self.queue_directory / "events").glob("*.jsonl"))
        # A process that was killed, or that still runs, may leave room behind the last line.
        return b"".join(path.read_bytes().rstrip(b"\t") for path in files).splitlines()


class Request(NamedTuple):
    """One request as received."""

    line: str
    headers: dict[str, str]
    body: bytes
    head: bytes = b""

    @property
    def attempt(self) -> int:
        return int(self.headers["x-signalark-attempt"])

    @property
    def delivery(self) -> str:
        return self.headers["x-signalark-delivery"]

    @property
    def signature(self) -> str:
        return self.headers["x-signalark-signature"]


def answer(status: int, body: bytes = b"", *headers: str) -> bytes:
    """A complete HTTP/1.1 answer."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


Behaviour = Callable[[Request], bytes | Iterator[bytes] | None]


class Accepting:
    """A server on a real socket, with a thread for each connection."""

    def __init__(self, listener: socket.socket, serve: Callable[[socket.socket], None]) -> None:
        self.connections = 0
        self.closing = threading.Event()
        self.port = int(listener.getsockname()[1])
        self.serving: list[threading.Thread] = []
        self._listener = listener
        self._serve = serve
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.closing.set()
        # Otherwise the thread could keep accepting on another socket that gets the same descriptor number.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            thread.start()
            self.serving.append(thread)


class TestReceiver(Accepting):
    """A server on a real socket. `behave` returns the bytes to answer with, in one piece or in several.

    Several pieces are sent one by one, and then the connection is closed. None: close without an answer.
    If it raises `Hang`, nothing (more) is sent until the receiver is closed.
    """

    __test__ = False

    def __init__(
        self, behave: Behaviour | int = 200, wrap: Callable[[socket.socket], socket.socket] | None = None
    ) -> None:
        self.requests: list[Request] = []
        self.most_at_once = 0
        self.behave: Behaviour = (lambda _: answer(behave)) if isinstance(behave, int) else behave
        self._wrap = wrap
        self._now = 0
        self._mutex = threading.Lock()
        self._scheme = "https" if wrap else "http"
        super().__init__(socket.create_server(("127.0.0.1", 0), backlog=512), self._answer)

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}/hook"

    def settle(self) -> None:
        """Waits until everything that ended processes have sent has been read."""
        # Connections are accepted in order: once this one is accepted, all earlier ones are.
        before = self.connections
        socket.create_connection(("127.0.0.1", self.port)).close()
        while self.connections == before:
            time.sleep(0.001)
        for thread in list(self.serving):
            thread.join(5)
        self.serving.clear()

    def _answer(self, connection: socket.socket) -> None:
        try:
            with self._wrap(connection) if self._wrap else connection as stream, stream.makefile("rb") as reader:
                while (request := read_request(reader)) is not None:
                    with self._mutex:
                        self.requests.append(request)
                        self._now += 1
                        self.most_at_once = max(self.most_at_once, self._now)
                    try:
                        said = self.behave(request)
                        if not isinstance(said, bytes):
                            for piece in said or ():
                                stream.sendall(piece)
                            return
                    except Hang:
                        self.closing.wait(60)
                        return
                    finally:
                        with self._mutex:
                            self._now -= 1
                    stream.sendall(said)
        except OSError:
            return


class Certificates:
    """Certificates from our own authority, for a receiver over TLS."""

    def __init__(self, directory: Path) -> None:
        self.authority = trustme.CA()
        self.ca_file = str(directory / "ca.pem")
        self.authority.cert_pem.write_to_path(self.ca_file)

    def wrapping(
        self, *names: str, valid_until: datetime | None = None, newest: ssl.TLSVersion | None = None
    ) -> Callable[[socket.socket], socket.socket]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if newest is not None:
            context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
            context.maximum_version = newest
            context.set_ciphers("ALL:@SECLEVEL=0")
        self.authority.issue_cert(*names, not_after=valid_until).configure_cert(context)

        def wrap(connection: socket.socket) -> socket.socket:
            try:
                return context.wrap_socket(connection, server_side=True)
            except ssl.SSLError as error:
                raise OSError(str(error)) from error

        return wrap


class Hang(Exception):
    """Raised by a behaviour that does not answer."""


def hang(_: Request) -> bytes:
    """The behaviour of a receiver that never answers."""
    raise Hang


def then_close(*pieces: bytes) -> Behaviour:
    """The behaviour of a receiver that sends these bytes and closes the connection."""
    return lambda _: iter(pieces)


def then_hang(*pieces: bytes) -> Behaviour:
    """The behaviour of a receiver that sends these bytes, and then nothing more."""

    def behave(_: Request) -> Iterator[bytes]:
        yield from pieces
        raise Hang

    return behave


def drip(receiver: "Callable[[], TestReceiver]", text: bytes, seconds: float) -> Behaviour:
    """The behaviour of a receiver that sends byte by byte, with this many seconds in between."""

    def behave(_: Request) -> Iterator[bytes]:
        for index in range(len(text)):
            yield text[index : index + 1]
            if receiver().closing.wait(seconds):
                return

    return behave


def in_turn(*statuses: int) -> Behaviour:
    """Answers with these statuses in turn, and repeats the last one."""
    left = list(statuses)
    mutex = threading.Lock()

    def behave(_: Request) -> bytes:
        with mutex:
            return answer(left.pop(0) if len(left) > 1 else left[0])

    return behave


def verifying(secrets: Callable[[], list[str]]) -> Behaviour:
    """The behaviour of a receiver that does right: 204 to what is signed with one of the secrets, 401 to all else."""
    return lambda request: answer(
        204 if verify(secrets(), request.body, request.headers.get("x-signalark-signature", "")) else 401
    )


def read_request(reader: io.BufferedIOBase | io.RawIOBase) -> Request | None:
    """The next request on a connection; None if there are no more."""
    line = reader.readline()
    if not line:
        return None
    headers = {}
    head = line
    while (header := reader.readline()) not in (b"\r\n", b""):
        head += header
        name, _, value = header.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    body = reader.read(int(headers.get("content-length", "0")))
    return Request(line.decode("latin-1").strip(), headers, body, head)


@contextmanager
def receiver(
    behave: Behaviour | int = 200, wrap: Callable[[socket.socket], socket.socket] | None = None
) -> Iterator[TestReceiver]:
    """A receiver that runs during a block."""
    made = TestReceiver(behave, wrap)
    try:
        yield made
    finally:
        made.close()


SIGNAL = {
    "signal": {"id": "sig_1", "signal_name": "Series B", "source": "funding", "icp_score": 87},
    "account": {"id": "acc_1", "name": "Northwind", "domain": "northwind.example"},
}
PAYLOAD = json.dumps(SIGNAL).encode()
