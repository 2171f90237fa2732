"""Runs `ark` many times, each in a separate process, for a tenth of the cost of starting Python.

A server that has imported everything forks for each run. If root runs the tests, `ark` runs as another user, and the
server has its own mounts, which end with it.
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
#: The user id for `ark` if root runs the tests: root ignores modes and owners.
_SOMEBODY = 54_321
#: Seconds after which a command counts as hanging.
_PATIENCE = 10
_NEW_MOUNTS = 0x20000


class Ran(NamedTuple):
    """The output of one run, and its exit status; None if it hung."""

    line: str
    status: int | None
    out: str
    err: str

    @property
    def documents(self) -> list[Any]:
        """Its standard output as JSON, line by line; empty if that is not JSON."""
        try:
            return [json.loads(line) for line in self.out.splitlines()]
        except ValueError:
            return []

    def accepted(self) -> list[str]:
        """The ids of the events that a send reported as accepted."""
        return re.findall(r'id": "(evt_\w+)"', self.out) if self.line.startswith("send") else []

    def __str__(self) -> str:
        return f"$ ark {self.line} --json\n{self.out}{self.err}(exit {self.status})"


class Runner:
    """The client of the server."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.faults.runner"]
        self._server = subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        #: Whether the server may mount, and the user id that runs `ark` (None: the same as the tests).
        self.mounts, self.user = self._answer()

    def ark(self, home: Path, line: str, at: float, stdin: str, *, real: bool = False) -> Ran:
        """Runs a command line with its clock `at` seconds ahead; `real` starts a new Python for it."""
        order = {"home": str(home), "args": [*line.split(), "--json"], "at": at, "stdin": stdin, "real": real}
        return Ran(line, *self._answer(order))

    def shell(self, script: str, **variables: object) -> None:
        """Runs a script with the server's mounts, as the user who runs the tests."""
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
    """Answers orders until standard input ends."""
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
    """Runs a script; returns its output if it failed, else None."""
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
    """If allowed, gives this process its own mounts, in which other users can read this Python."""
    if ctypes.CDLL(None).unshare(_NEW_MOUNTS) or _shell("mount --make-rprivate /", {}):
        return False
    # Cover each closed directory with a new one that contains only what is needed.
    script = """for name in $names; do mkdir "$kept/$name"; mount --bind "$top/$name" "$kept/$name"; done
        mount -t tmpfs -o mode=755 tmpfs "$top"
        for name in $names; do mkdir "$top/$name"; mount --move "$kept/$name" "$top/$name"; rmdir "$kept/$name"; done
        rmdir "$kept" """
    while closed := _closed():
        # Never remove this with its contents: they may be the real directories.
        kept = tempfile.mkdtemp()
        top, names = closed[0]
        if _shell(script, {"names": names, "kept": kept, "top": top}):
            return False
    return True


def _closed() -> list[tuple[str, str]]:
    """Directories that other users cannot enter but need to, outermost first, and the needed names in each."""
    python, home = Path(sys.executable), Path(tempfile.gettempdir(), "home")
    needed = (python, python.resolve(), Path(os.__file__).resolve(), _ROOT / "tests", home)
    parents = sorted({parent for path in needed for parent in path.parents if not parent.stat().st_mode & 0o001})
    inside = [{path.relative_to(top).parts[0] for path in needed if top in path.parents} for top in parents]
    return [(str(top), " ".join(names)) for top, names in zip(parents, inside, strict=True)]


if __name__ == "__main__":
    serve()
