"""A directory's side in a move. The file VERSION says whether the queue is ready, is being filled, or has been moved.

Every process reads it when it opens the queue, and again under the lock before it accepts an event or claims a
destination: one that was idle must not go on in a queue that has been moved away.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

import msgspec

from arkcli.errors import Unreadable
from arkcli.queue import moves
from arkcli.queue.moves import Mark
from arkcli.system import files
from arkcli.system.followed import stamp_of

VERSION: Final = 1
#: The file with the mark's other parts, beside VERSION. It is kept when the queue is ready again.
MOVE: Final = "move.json"


class Version:
    """The file VERSION of a queue that this process has opened."""

    def __init__(self, directory: Path, *, is_moving: bool) -> None:
        """Reads nothing yet. `is_moving`: for a move, to which the mark does not apply."""
        self._directory = directory
        # As text: a path would be converted for each event, which takes longer than the system call.
        self._file = str(directory / "VERSION")
        self._is_moving = is_moving
        self._stamp: object = None

    def check(self) -> None:
        """Raises Moved, Filling and Unreadable if the queue cannot be used (any more). Reads only a changed file."""
        if self._is_moving:
            return
        stamp = stamp_of(self._file)
        if stamp is None or stamp != self._stamp:
            moves.check(mark_of(self._directory), f"the queue in {self._directory}")
            self._stamp = stamp


def mark_of(directory: Path) -> Mark:
    """The mark of a queue; ready if there is none. Raises Unreadable if only a newer ark can read it, and OSError."""
    path = directory / "VERSION"
    try:
        found = files.read(path).decode("utf-8", "replace").strip()
    except FileNotFoundError:
        found = str(VERSION)
    if found not in (str(VERSION), "moving", "moved"):
        raise Unreadable(
            f"{path} says {found[:40]!r}, and this ark reads version {VERSION}: nothing was changed; update ark to "
            "use it"
        )
    try:
        mark = msgspec.json.decode(files.read(directory / MOVE), type=Mark)
    except (FileNotFoundError, msgspec.MsgspecError):
        mark = Mark()
    return mark._replace(state="ready" if found == str(VERSION) else found)  # type: ignore[arg-type]


def note(directory: Path, mark: Mark) -> None:
    """Marks a queue durably. Raises OSError."""
    files.replace(directory / MOVE, msgspec.json.encode(mark) + b"\n")
    files.replace(directory / "VERSION", b"%s\n" % (str(VERSION) if mark.state == "ready" else mark.state).encode())


def empty(directory: Path) -> None:
    """Removes everything in a queue but its mark, and the copies of damaged lines that `ark queue check` has made."""
    for found in directory.iterdir():
        if found.name not in ("VERSION", MOVE, "lock", "damaged"):
            (files.remove_tree if found.is_dir() and not found.is_symlink() else files.unlink)(found)


def holds(directory: Path) -> str:
    """What is in a queue, as text; empty if there is nothing."""
    if any(path.stat().st_size for path in directory.glob("events/*.jsonl")):
        return "events"
    return "destinations" if any(directory.glob("destinations/[!.]*")) else ""


class LocalMoves:
    """See `moves.Moves`."""

    def __init__(self, directory: Path, still: Callable[[], AbstractContextManager[None]]) -> None:
        """`still` is that of the queue, which is opened by then."""
        self._directory = directory
        self.still = still

    @property
    def mark(self) -> Mark:
        """The mark."""
        return mark_of(self._directory)

    def note(self, mark: Mark, known: Mark | None = None) -> bool:
        """Marks the queue, if its mark is the `known` one."""
        if known not in (None, self.mark):
            return False
        note(self._directory, mark)
        return True

    def begin(self, asked: Mark) -> Mark:
        """Removes what is left of the queue that was here, unless this move has ended."""
        directory = self._directory
        files.make_directory(directory)
        with closing(files.Lock(directory / "lock")) as lock, lock.held():
            mark = moves.begun(self.mark, holds(directory), asked, f"the queue in {directory}")
            if mark.state == "moving":
                self.note(mark)
                empty(directory)
        return mark

    def finish(self, begun: Mark) -> None:
        """Makes the queue ready."""
        self.note(begun._replace(state="ready"))

    def has_content(self) -> bool:
        """Whether there are events or destinations."""
        return bool(holds(self._directory))

    def clear(self) -> None:
        """Removes everything but the mark."""
        empty(self._directory)

    def close(self) -> None:
        """Nothing is open."""


@contextmanager
def kept_still(directory: Path, held: Callable[[str, str], AbstractContextManager[object]]) -> Iterator[None]:
    """Keeps others from accepting and delivering during a block. `held` claims a destination for a block."""
    with ExitStack() as stack:
        for place in sorted((directory / "destinations").glob("[!.]*")):
            stack.enter_context(held(place.name, "move"))
        # Shared: others, and the dump, can read on.
        lock = stack.enter_context(closing(files.Lock(directory / "events" / "lock")))
        stack.enter_context(lock.held(shared=True))
        yield
