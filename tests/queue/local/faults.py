"""Breaking single steps of what the queue writes: killing the process there, failing there, losing power there.

Every change of a file goes through `arkcli.system.files`, so a step is one call of one of its functions.
"""

import errno
import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from arkcli.system import files
from tests.queue.local.machine import path_of

STEPS = ("create", "write_all", "sync", "sync_directory", "truncate", "move", "unlink")

Call = Callable[..., None]
Hook = Callable[[str, Call, tuple[Any, ...]], None]


@contextmanager
def hooked(hook: Hook) -> Iterator[None]:
    """Lets every step go through a hook, which is given its name, the step itself and its arguments."""
    originals: dict[str, Call] = {name: getattr(files, name) for name in STEPS}

    def stepping(name: str) -> Call:
        return lambda *arguments: hook(name, originals[name], arguments)

    for name in STEPS:
        setattr(files, name, stepping(name))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(files, name, original)


def count_steps(run: Callable[[], None]) -> int:
    """How many steps a run makes."""
    count = 0

    def hook(_: str, step: Call, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        count += 1
        step(*arguments)

    with hooked(hook):
        run()
    return count


def killed_at(number: int, run: Callable[[], None], *, halfway: bool) -> None:
    """Runs in a child process that is killed before the step with that number; with `halfway`, during its write."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, status
        return
    left = number

    def hook(_: str, step: Call, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if left == 0:
            if halfway and step.__name__ == "write_all":
                descriptor, data, position = arguments
                step(descriptor, data[: len(data) // 2], position)
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        step(*arguments)

    try:
        with hooked(hook):
            run()
    except BaseException:
        os._exit(1)
    os._exit(0)


def failing_at(number: int, code: int) -> Hook:
    """A hook that makes one step fail with an error code; a write may have got half of its bytes down by then."""
    left = number

    def hook(name: str, step: Call, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        left -= 1
        if left != -1:
            step(*arguments)
            return
        if name == "write_all" and code in (errno.ENOSPC, errno.EDQUOT):
            descriptor, data, position = arguments
            step(descriptor, data[: len(data) // 2], position)
        raise OSError(code, os.strerror(code))

    return hook


def short_at(number: int) -> Hook:
    """A hook that lets one step write only a few bytes a call, as the kernel may."""
    left = number
    pwrite = os.pwrite

    def short(descriptor: int, data: memoryview, position: int) -> int:
        return pwrite(descriptor, data[:7], position)

    def hook(_: str, step: Call, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        left -= 1
        if left == -1:
            os.pwrite = short  # type: ignore[assignment] # for the length of this step
        try:
            step(*arguments)
        finally:
            os.pwrite = pwrite

    return hook


class Operation(NamedTuple):
    """One recorded step, with paths in place of descriptors."""

    name: str
    path: Path
    data: bytes = b""
    position: int = 0


class Recorder:
    """Records the steps of a run, so that the disk can be made as a power failure at any of them would leave it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.operations: list[Operation] = []

    def hook(self, name: str, step: Call, arguments: tuple[Any, ...]) -> None:
        first = arguments[0]
        path = path_of(first) if isinstance(first, int) else first
        # Recorded before it is made, as a step that is made of steps comes before them.
        if name == "write_all":
            self.operations.append(Operation(name, path, bytes(arguments[1]), arguments[2]))
        elif name == "truncate":
            self.operations.append(Operation(name, path, b"", arguments[1]))
        elif name == "move":
            self.operations.append(Operation(name, path, os.fsencode(arguments[1])))
        else:
            self.operations.append(Operation(name, path))
        step(*arguments)

    def disk_after(self, count: int, target: Path, chance: random.Random) -> None:
        """Makes in `target` what may be left of the root if the power fails after this number of steps."""
        disk = Disk(chance)
        for operation in self.operations[:count]:
            disk.apply(operation)
        for path, content in disk.crash().items():
            place = target / path.relative_to(self._root)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)


class Inode:
    """A file's bytes: what is on stable storage, and the changes since."""

    def __init__(self) -> None:
        self.durable = b""
        self.pending: list[Operation] = []

    def sync(self) -> None:
        for operation in self.pending:
            self.durable = changed(self.durable, operation)
        self.pending.clear()

    def crash(self, chance: random.Random) -> bytes:
        """Any of the unsynced changes may have got to the disk, or a part of it."""
        content = self.durable
        for operation in self.pending:
            fate = chance.random()
            if fate < 0.5:
                content = changed(content, operation)
            elif fate < 0.7 and operation.name == "write_all":
                part = operation.data[: chance.randrange(len(operation.data) + 1)]
                content = changed(content, operation._replace(data=part))
            elif fate < 0.8 and operation.name == "write_all":
                content = changed(content, operation._replace(data=bytes(len(operation.data))))
        return content


def changed(content: bytes, operation: Operation) -> bytes:
    """The content after a write or a truncation."""
    start = operation.position
    if operation.name == "truncate":
        return content[:start].ljust(start, b"\0")
    return content[:start].ljust(start, b"\0") + operation.data + content[start + len(operation.data) :]


class Disk:
    """Names and inodes. A name is on stable storage once its directory has been synced; directories always are."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._now: dict[Path, Inode] = {}
        self._durable: dict[Path, Inode] = {}

    def apply(self, operation: Operation) -> None:
        path = operation.path
        if operation.name in ("write_all", "truncate"):
            self._now.setdefault(path, Inode()).pending.append(operation)
        elif operation.name == "sync":
            self._now.setdefault(path, Inode()).sync()
        elif operation.name == "sync_directory":
            self._durable = {known: inode for known, inode in self._durable.items() if known.parent != path}
            self._durable |= {known: inode for known, inode in self._now.items() if known.parent == path}
        elif operation.name == "create":
            self._now.setdefault(path, Inode())
        elif operation.name == "unlink":
            self._now.pop(path, None)
        else:
            self._move(path, Path(os.fsdecode(operation.data)))

    def _move(self, source: Path, target: Path) -> None:
        for names in (self._now, self._durable) if source not in self._now else (self._now,):
            for known in [known for known in names if known == source or source in known.parents]:
                names[target / known.relative_to(source) if known != source else target] = names.pop(known)

    def crash(self) -> dict[Path, bytes]:
        """What is left: of each name that is not synced, the old state or the new."""
        left = {}
        for path in self._now.keys() | self._durable.keys():
            new, old = self._now.get(path), self._durable.get(path)
            inode = new if new is old or self._chance.random() < 0.5 else old
            if inode is not None:
                left[path] = inode.crash(self._chance)
        return left
