"""Runs `ark` many times, each in a process of its own, for a tenth of what starting Python costs.

A server that has imported everything forks for each run. Where root runs the tests, somebody else runs `ark`, and the
server has mounts of its own, which end with it.
"""

import ctypes
import importlib
import json
import os
import pkgutil
import re
import signal
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any, NamedTuple

import arkcli
from arkcli.cli.app import run
from arkcli.cli.session import Session
from tests.ark_at import MovedClock

_ROOT = Path(__file__).parents[2]
#: Whoever runs `ark` where root runs the tests: modes and owners mean nothing to root.
_SOMEBODY = 54_321
#: Seconds after which a command is taken to hang.
_PATIENCE = 10
_NEW_MOUNTS = 0x20000


class Ran(NamedTuple):
    """What one run said, and its exit status: None for one that hung."""

    line: str
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
        """The ids of the events that a send said it had accepted."""
        return re.findall(r'id": "(evt_\w+)"', self.out) if self.line.startswith("send") else []

    def __str__(self) -> str:
        return f"$ ark {self.line} --json\n{self.out}{self.err}(exit {self.status})"


class Runner:
    """The server's other end."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.faults.runner"]
        self._server = subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        #: Whether the server may mount, and who runs `ark`: None where that is whoever runs the tests.
        self.mounts, self.user = self._answer()

    def ark(self, home: Path, line: str, at: float, stdin: str, *, real: bool = False) -> Ran:
        """Runs a command line, its clock so many seconds ahead; `real` begins a program from nothing for it."""
        order = {"home": str(home), "args": [*line.split(), "--json"], "at": at, "stdin": stdin, "real": real}
        return Ran(line, *self._answer(order))

    def shell(self, script: str, **variables: object) -> None:
        """Runs a script among the server's mounts, as whoever runs the tests."""
        known = {"user": self.user or os.geteuid()} | variables
        said = self._answer({"script": script, "variables": {name: str(value) for name, value in known.items()}})
        assert said is None, said

    def close(self) -> None:
        self._server.communicate()

    def _answer(self, order: object = None) -> Any:
        assert self._server.stdin is not None and self._server.stdout is not None
        if order is not None:
            print(json.dumps(order), file=self._server.stdin, flush=True)
        return json.loads(self._server.stdout.readline())


def serve() -> None:
    """Does what is asked for, until nobody can ask any more."""
    orders, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for found in pkgutil.walk_packages(arkcli.__path__, "arkcli."):
        importlib.import_module(found.name)
    mounts = os.geteuid() == 0 and _has_own_mounts()
    user = _SOMEBODY if os.geteuid() == 0 and not _closed() else None
    print(json.dumps((mounts, user)), file=answers, flush=True)
    for order in map(json.loads, orders):
        answer = _shell(**order) if "script" in order else _run(order, user)
        print(json.dumps(answer), file=answers, flush=True)


def _shell(script: str, variables: dict[str, str]) -> str | None:
    """What a script said, if it failed."""
    command = ["sh", "-ec", f"exec < /dev/null 2>&1; {script}"]
    done = subprocess.run(command, env={**os.environ, **variables}, stdout=subprocess.PIPE, text=True, check=False)
    return done.stdout or "it failed" if done.returncode else None


def _run(order: dict[str, Any], user: int | None) -> tuple[int | None, str, str]:
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(order["stdin"].encode())
        given.seek(0)
        child = os.fork()
        if not child:
            for target, stream in enumerate((given, out, err)):
                os.dup2(stream.fileno(), target)
            try:
                _be_ark(order, user)
            except BaseException:
                os.write(2, traceback.format_exc().encode())
                os._exit(70)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said = [os.pread(stream.fileno(), 1 << 24, 0).decode("utf-8", "replace") for stream in (out, err)]
        return None if status == -signal.SIGALRM else status, said[0], said[1]


def _be_ark(order: dict[str, Any], user: int | None) -> None:
    signal.alarm(_PATIENCE)
    if user is not None:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    os.environ.update(ARK_CONFIG_DIR=order["home"] + "/config", ARK_STATE_DIR=order["home"] + "/state")
    if order["real"]:
        os.execv(sys.executable, [sys.executable, "-m", "tests.ark_at", str(order["at"]), *order["args"]])
    session = Session.of_this_process()
    session.home.clock = MovedClock(order["at"])
    status = run(order["args"], session)
    sys.stdout.flush()
    os._exit(status)


def _has_own_mounts() -> bool:
    """Gives this process mounts of its own, among which others can read this Python, where that is allowed."""
    if ctypes.CDLL(None).unshare(_NEW_MOUNTS) or _shell("mount --make-rprivate /", {}):
        return False
    # What is closed is covered by a directory that leads to nothing but what is needed.
    script = """for name in $names; do mkdir "$kept/$name"; mount --bind "$top/$name" "$kept/$name"; done
        mount -t tmpfs -o mode=755 tmpfs "$top"
        for name in $names; do mkdir "$top/$name"; mount --move "$kept/$name" "$top/$name"; rmdir "$kept/$name"; done
        rmdir "$kept" """
    while closed := _closed():
        # Never to be removed with what is in it: that may be the real thing.
        kept = tempfile.mkdtemp()
        top, names = closed[0]
        if _shell(script, {"names": names, "kept": kept, "top": top}):
            return False
    return True


def _closed() -> list[tuple[str, str]]:
    """The directories that keep others from what is needed, the outermost first, and the names in them that are it."""
    python, home = Path(sys.executable), Path(tempfile.gettempdir(), "home")
    needed = (python, python.resolve(), Path(os.__file__).resolve(), _ROOT / "tests", home)
    parents = sorted({parent for path in needed for parent in path.parents if not parent.stat().st_mode & 0o001})
    inside = [{path.relative_to(top).parts[0] for path in needed if top in path.parents} for top in parents]
    return [(str(top), " ".join(names)) for top, names in zip(parents, inside, strict=True)]


if __name__ == "__main__":
    serve()
