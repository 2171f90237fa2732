"""Hosts: homes with nothing in common but a database and the key; each with a network of its own to the database."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from arkcli.actions.send import Order, draft
from arkcli.cli.session import Session
from arkcli.system.clock import SystemClock
from tests import postgres
from tests.test_processes import start
from tests.world import PAYLOAD, World

#: How long a test waits for what has to happen, in seconds.
PATIENCE: Final = 40.0


class Host(World):
    """A home whose time is the machine's, and the network between it and the database."""

    def __init__(self, home: Path, url: str, network: postgres.Network) -> None:
        super().__init__(home, database=network.url)
        self.network = network
        #: The way for the administrator, which no outage concerns.
        self.url = url
        self.running: list[subprocess.Popen[str]] = []

    def session(self, stdin: bytes = b"") -> Session:
        made = super().session(stdin)
        return Session(self.variables, made.stdin, made.stdout, made.stderr, SystemClock(), os.urandom)

    def start(self, *args: str, at: float = 0.0, stdin: Any = subprocess.DEVNULL) -> "subprocess.Popen[str]":
        """Starts `ark` in a process whose clock is ahead by a number of seconds."""
        self.running.append(start(self, *args, at=at, stdin=stdin))
        return self.running[-1]

    def accept(self, count: int) -> list[str]:
        """Accepts events; returns their ids."""
        home = self.session().home
        drafts = [draft(home, Order(event="signal.promoted", payload=PAYLOAD)) for _ in range(count)]
        home.queue.accept(drafts)
        home.close()
        return [made.id for made in drafts]

    def standing(self, name: str = "d") -> Any:
        """What `ark queue` says of a destination."""
        found = self.ark("queue", "--json").json["destinations"]
        return next(one for one in found if one["name"] == name)

    def share_key(self, other: "Host") -> None:
        """Copies the key to another host, as its administrator would."""
        key = other.home / "config" / "queue.key"
        key.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.home / "config" / "queue.key", key)


@contextmanager
def hosts(directory: Path, url: str, count: int = 2) -> Iterator[list[Host]]:
    """Hosts that share the database at a URL."""
    with ExitStack() as stack:
        made = [Host(directory / f"host{n}", url, stack.enter_context(postgres.network(url))) for n in range(count)]
        assert made[0].ark("dest", "list").status == 0
        for other in made[1:]:
            made[0].share_key(other)
        try:
            yield made
        finally:
            for process in (process for host in made for process in host.running):
                if process.poll() is None:
                    process.kill()
                process.communicate()


def until(holds: Callable[[], Any], within: float = PATIENCE) -> float:
    """Waits until something holds; returns after how many seconds it did."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < within, "it did not happen in time"
        time.sleep(0.02)
    return time.monotonic() - began


def sql(host: Host, statement: str) -> list[tuple[Any, ...]]:
    """The rows of a statement, which an administrator runs."""
    return postgres.query(host.url, statement)
