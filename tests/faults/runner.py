"""Runs `ark` many times, each in a process of its own, for a hundredth of what starting Python costs.

A server that has imported everything forks for each run. It may be another user's, have little room for files, or be a
program begun from nothing (`real`). The server has mounts of its own where root may make some; they end with it.
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
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

ROOT = Path(__file__).parents[2]
#: Whoever runs `ark` where root runs the tests: modes and owners mean nothing to root.
SOMEBODY = 54_321
#: No command may take longer; one that does hangs.
PATIENCE_S = 10.0
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

    @property
    def garbled(self) -> bool:
        """Whether it printed something else than JSON."""
        return bool(self.out) and not self.documents

    def accepted(self) -> list[str]:
        """The ids of the events that it said it had accepted."""
        found = (document.get("event_id") or document.get("event", {}).get("id") for document in self.documents)
        return [event for event in found if event]

    def __str__(self) -> str:
        status = "hangs" if self.status is None else f"exit {self.status}"
        return f"$ ark {' '.join(self.args)}\n{self.out}{self.err}({status})"


class Runner:
    """The server's other end."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.faults.runner"]
        self._server = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        #: `mounts`: whether it may mount; `user`: who runs `ark`, None where that is whoever runs the tests.
        self.mounts, self.user = self._ask()
        #: No file may grow beyond so many bytes, unless that is negative.
        self.room = -1

    def ark(self, home: Path, *args: str, at: float, stdin: str = "", real: bool = False) -> Ran:
        """One run, its clock so many seconds ahead."""
        order = {"args": args, "home": str(home), "at": at, "stdin": stdin, "real": real, "room": self.room}
        return Ran(list(args), *self._ask(order))

    def system(self, *command: object) -> None:
        """Runs a command where `ark` runs: among the same mounts, but as the user of the tests."""
        status, said = self._ask({"system": [str(word) for word in command]})
        assert status == 0, said

    def unbound(self, place: Path) -> None:
        """Takes the bounds away that a full disk at a place was made of."""
        self.room = -1
        if self.mounts:
            self.system("umount", "-l", place)

    def close(self) -> None:
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(PATIENCE_S)
        self._server.stdout.close()

    def _ask(self, order: dict[str, Any] | None = None) -> Any:
        assert self._server.stdin is not None and self._server.stdout is not None
        if order is not None:
            self._server.stdin.write(json.dumps(order) + "\n")
            self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())


def serve() -> None:
    """Runs what is asked for, until nobody can ask any more."""
    orders, answers = os.fdopen(os.dup(0), "r"), os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    import arkcli

    for found in pkgutil.walk_packages(arkcli.__path__, "arkcli."):
        importlib.import_module(found.name)
    mounts = os.geteuid() == 0 and _own_mounts()
    user = SOMEBODY if os.geteuid() == 0 and (mounts or not _closed()) else None
    answer: object = (mounts, user)
    while True:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
        line = orders.readline()
        if not line:
            return
        order = json.loads(line)
        answer = _system(order["system"]) if "system" in order else _run(order, user)


def _system(command: Sequence[str]) -> tuple[int, str]:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.returncode, done.stdout


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
        said = []
        for stream in (out, err):
            stream.seek(0)
            said.append(stream.read().decode("utf-8", "replace"))
        return status, said[0], said[1]


def _waited(child: int) -> int | None:
    """The exit status of a child, which leads a group; None when it had to be killed, with all of its group."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if (ended := os.waitpid(child, os.WNOHANG))[0]:
            return os.waitstatus_to_exitcode(ended[1])
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
            moved = [sys.executable, "-m", "tests.ark_at", str(order["at"])]
            os.execv(sys.executable, [*moved, *order["args"]])
        from arkcli.cli.app import run
        from arkcli.environment import Environment
        from tests.ark_at import MovedClock

        environment = Environment.of_this_process()
        environment.clock = MovedClock(order["at"])
        status = run(order["args"], environment)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    except BaseException:
        os.write(2, traceback.format_exc().encode())
        os._exit(70)


def _own_mounts() -> bool:
    """Gives this process mounts of its own, among which others can read the Python that runs it."""
    if ctypes.CDLL(None).unshare(_NEW_MOUNTS) or _system(["mount", "--make-rprivate", "/"])[0]:
        return False
    with tempfile.TemporaryDirectory() as kept:
        while closed := _closed():
            # What is closed is covered by a directory that leads to nothing but what is needed.
            names = sorted({path.relative_to(closed[0]).parts[0] for path in _needed() if closed[0] in path.parents})
            moves = [f'mkdir "$2/{name}" && mount --move "$1/{name}" "$2/{name}"' for name in names]
            binds = [f'mkdir "$1/{name}" && mount --bind "$2/{name}" "$1/{name}"' for name in names]
            steps = [*binds, 'mount -t tmpfs -o mode=755 tmpfs "$2"', *moves]
            if _system(["sh", "-c", " && ".join(steps), "sh", kept, str(closed[0])])[0]:
                return False
    return True


def _needed() -> set[Path]:
    python = Path(sys.executable)
    return {python, python.resolve(), Path(os.__file__).resolve(), Path(tempfile.gettempdir()), ROOT / "arkcli"}


def _closed() -> list[Path]:
    """The directories that keep others from this Python, the outermost first."""
    parents = {parent for path in _needed() for parent in path.parents}
    return sorted(parent for parent in parents if not parent.stat().st_mode & 0o001)


if __name__ == "__main__":
    serve()
