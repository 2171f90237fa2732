"""Runs `ark` many times, each in a process of its own, for a tenth of what starting Python costs.

A server that has imported everything forks for each run, or begins a program from nothing (`real`). Where root runs the
tests, somebody else runs `ark`, and the server has mounts of its own, which end with it.
"""

import ctypes
import importlib
import json
import os
import pkgutil
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import arkcli
from arkcli.cli.app import run
from arkcli.environment import Environment
from tests.ark_at import MovedClock

ROOT = Path(__file__).parents[2]
#: Whoever runs `ark` where root runs the tests: modes and owners mean nothing to root.
_SOMEBODY = 54_321
#: Seconds after which a command is taken to hang.
_PATIENCE = 10.0
_NEW_MOUNTS = 0x20000


class Ran(NamedTuple):
    """What one run said, and its exit status: None for one that hung."""

    args: list[str]
    status: int | None
    out: str
    err: str

    @property
    def documents(self) -> list[Any]:
        """What it printed as JSON, line by line; nothing where that is not JSON."""
        try:
            return [json.loads(line) for line in self.out.splitlines()]
        except ValueError:
            return []

    def accepted(self) -> list[str]:
        """The ids of the events that it said it had accepted."""
        found = (document.get("event_id") or document.get("event", {}).get("id") for document in self.documents)
        return [event for event in found if event] if self.args[0] == "send" else []

    def __str__(self) -> str:
        return f"$ ark {' '.join(self.args)}\n{self.out}{self.err}(exit {self.status})"


class Runner:
    """The server's other end."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.faults.runner"]
        self._server = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        #: Whether the server may mount, and who runs `ark`: None where that is whoever runs the tests.
        self.mounts, self.user = self._ask(None)
        #: No file may grow beyond so many bytes, unless that is negative.
        self.room = -1

    def ark(self, home: Path, *args: str, at: float, stdin: str = "", real: bool = False) -> Ran:
        """One run, its clock so many seconds ahead."""
        order = {"args": args, "home": str(home), "at": at, "stdin": stdin, "real": real, "room": self.room}
        return Ran(list(args), *self._ask(order))

    def shell(self, script: str, **variables: object) -> None:
        """Runs a script among the server's mounts, as whoever runs the tests."""
        known = {"user": os.geteuid() if self.user is None else self.user, **variables}
        said = self._ask({"script": script, "variables": {name: str(value) for name, value in known.items()}})
        assert said is None, said

    def close(self) -> None:
        self._server.communicate()

    def _ask(self, order: object) -> Any:
        assert self._server.stdin is not None and self._server.stdout is not None
        if order is not None:
            self._server.stdin.write(json.dumps(order).encode() + b"\n")
            self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())


def serve() -> None:
    """Does what is asked for, until nobody can ask any more."""
    orders, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    for stream in (0, 1):
        os.dup2(os.open(os.devnull, os.O_RDWR), stream)
    for found in pkgutil.walk_packages(arkcli.__path__, "arkcli."):
        importlib.import_module(found.name)
    root = os.geteuid() == 0
    mounts = root and _has_own_mounts()
    user = _SOMEBODY if root and not _closed() else None
    answer: object = mounts, user
    while True:
        print(json.dumps(answer), file=answers, flush=True)
        line = orders.readline()
        if not line:
            return
        order = json.loads(line)
        answer = _shell(**order) if "script" in order else _run(order, user)


def _shell(script: str, variables: dict[str, str]) -> str | None:
    """What a script said, if it failed."""
    done = subprocess.run(
        ["sh", "-ec", script],
        env={**os.environ, **variables},
        stdout=-1,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return (done.stdout or "it failed") if done.returncode else None


def _run(order: dict[str, Any], user: int | None) -> tuple[int | None, str, str]:
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(order["stdin"].encode())
        given.seek(0)
        child = os.fork()
        if not child:
            for target, stream in enumerate((given, out, err)):
                os.dup2(stream.fileno(), target)
            _be_ark(order, user)
        status = _waited(child)
        return status, *(os.pread(file.fileno(), 1 << 24, 0).decode("utf-8", "replace") for file in (out, err))


def _waited(child: int) -> int | None:
    """The exit status of a child, which leads a group; None when all of the group had to be killed."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _be_ark(order: dict[str, Any], user: int | None) -> NoReturn:
    try:
        os.setsid()
        if order["room"] >= 0:
            resource.setrlimit(resource.RLIMIT_FSIZE, (order["room"], order["room"]))
        if user is not None:
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
        os.environ.update(ARK_CONFIG_DIR=order["home"] + "/config", ARK_STATE_DIR=order["home"] + "/state")
        if order["real"]:
            os.execv(sys.executable, [sys.executable, "-m", "tests.ark_at", str(order["at"]), *order["args"]])
        environment = Environment.of_this_process()
        environment.clock = MovedClock(order["at"])
        status = run(order["args"], environment)
        sys.stdout.flush()
        os._exit(status)
    except BaseException:
        os.write(2, traceback.format_exc().encode())
        os._exit(70)


def _has_own_mounts() -> bool:
    """Gives this process mounts of its own, among which others can read the Python that runs it, if that is allowed."""
    if ctypes.CDLL(None).unshare(_NEW_MOUNTS) or _shell("mount --make-rprivate /", {}):
        return False
    with tempfile.TemporaryDirectory() as kept:
        while closed := _closed():
            # What is closed is covered by a directory that leads to nothing but what is needed.
            names = {path.relative_to(closed[0]).parts[0] for path in _needed() if closed[0] in path.parents}
            script = """for name in $names; do mkdir "$kept/$name"; mount --bind "$top/$name" "$kept/$name"; done
                mount -t tmpfs -o mode=755 tmpfs "$top"
                for name in $names; do mkdir "$top/$name"; mount --move "$kept/$name" "$top/$name"; done"""
            if _shell(script, {"names": " ".join(names), "kept": kept, "top": str(closed[0])}):
                return False
    return True


def _needed() -> list[Path]:
    python = Path(sys.executable)
    return [
        python,
        python.resolve(),
        Path(os.__file__).resolve(),
        Path(tempfile.gettempdir()) / "a home",
        ROOT / "arkcli",
    ]


def _closed() -> list[Path]:
    """The directories that keep others from what is needed, the outermost first."""
    parents = {parent for path in _needed() for parent in path.parents}
    return sorted(parent for parent in parents if not parent.stat().st_mode & 0o001)


if __name__ == "__main__":
    serve()
