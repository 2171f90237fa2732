"""Runs a function as another user, in a child process. That user may be unable to read this Python, so everything is
imported before.
"""

import importlib
import os
import pickle
import pkgutil
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import certifi
import pytest

import arkcli

Value = TypeVar("Value")

#: A user id that nobody has on this machine.
USER = 54321

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def as_user(user: int, run: Callable[[], Value], *, group: int | None = None, groups: Sequence[int] = ()) -> Value:
    """Returns what a function returns when that user calls it."""
    for found in pkgutil.walk_packages(arkcli.__path__, "arkcli."):
        importlib.import_module(found.name)
    for name in ("platformdirs.unix", "tempfile", "shlex", "pwd", "concurrent.futures.thread"):
        importlib.import_module(name)
    certifi.where()

    def of_that_user() -> Value:
        os.setgroups(list(groups))
        os.setgid(user if group is None else group)
        os.setuid(user)
        return run()

    return in_child(of_that_user)


def in_child(run: Callable[[], Value]) -> Value:
    """Returns what a function returns in a child process."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        try:
            said: tuple[bool, Any] = (True, run())
        except BaseException:
            said = (False, traceback.format_exc())
        with open(writing, "wb") as file:  # noqa: PTH123 - it is a descriptor
            pickle.dump(said, file)
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as file:  # noqa: PTH123 - it is a descriptor
        data = file.read()
    os.waitpid(child, 0)
    is_right, value = pickle.loads(data)
    assert is_right, value
    return value  # type: ignore[no-any-return]


@contextmanager
def open_home() -> Iterator[Path]:
    """A directory that every user can enter."""
    home = Path(tempfile.mkdtemp(prefix="ark test "))
    home.chmod(0o755)
    try:
        yield home
    finally:
        shutil.rmtree(home)


def give(path: Path, user: int = USER, group: int | None = None) -> None:
    """Makes a user the owner of a directory and everything in it."""
    for found in (path, *path.rglob("*")):
        os.chown(found, user, user if group is None else group, follow_symlinks=False)
