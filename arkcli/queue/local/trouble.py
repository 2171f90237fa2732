"""Whether a system error affects one destination, or all."""

import errno
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar

from arkcli.errors import ArkError, Broken, Gone, NotAccepted, NotRecorded
from arkcli.system import files
from arkcli.system.refused import in_words

#: The disk or the quota is full.
NO_ROOM: Final = frozenset((errno.ENOSPC, errno.EDQUOT))
#: Errors that the next destination would meet as well: the disk, the process or the machine is short of something.
_EVERYBODYS: Final = NO_ROOM | {errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOLCK}


def used_up(error: OSError, directory: Path) -> str:
    """What the disk has run out of, as text for the user."""
    if error.errno == errno.EDQUOT:
        return "the disk quota is exhausted"
    takes_bytes = directory.is_dir() and not files.has_inodes(directory)
    return "the disk has no inode left" if takes_bytes else "the disk is full"


def no_room(error: OSError, directory: Path, what: str) -> NotAccepted:
    """The error for `what` could not be done in a queue's directory because a disk is full."""
    said = f"{what} in {directory}, so nothing was accepted or attempted. Free some space and try again"
    return NotAccepted(used_up(error, directory), said)


def trouble(place: Path, error: OSError) -> ArkError:
    """The error to raise for one in a destination's directory: Gone, Broken, or NotRecorded if it affects all."""
    destination_id = place.name
    if error.errno in _EVERYBODYS:
        return NotRecorded(f"the outcomes of attempts cannot be recorded ({error.strerror}): ark stopped delivering")
    if is_gone(place):
        return Gone(destination_id, f"{place} is missing")
    where, why = error.filename or place, in_words(error, place.parent.parent)
    return Broken(destination_id, f"{where} cannot be used ({why}); `ark queue check` says more")


def is_gone(path: Path) -> bool:
    """Whether a path certainly does not exist."""
    try:
        path.lstat()
    except OSError as error:
        # If this process may not look, the path may exist.
        return isinstance(error, FileNotFoundError)
    return False


@contextmanager
def part_of(place: Path) -> Iterator[None]:
    """Raises Gone, Broken or NotRecorded instead of an OSError in the block."""
    try:
        yield
    except OSError as error:
        raise trouble(place, error) from error


class Placed(Protocol):
    """Anything that belongs to one destination, with that destination's directory."""

    place: Path


Self = TypeVar("Self", bound=Placed)
Parameters = ParamSpec("Parameters")
Answered = TypeVar("Answered")


def told(
    method: Callable[Concatenate[Self, Parameters], Answered],
) -> Callable[Concatenate[Self, Parameters], Answered]:
    """Makes a method raise Gone, Broken or NotRecorded instead of OSError; so does an iterator that it returns."""

    @functools.wraps(method)
    def telling(self: Self, /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Answered:
        with part_of(self.place):
            found: Any = method(self, *args, **kwargs)
        return _each(self, found) if isinstance(found, Iterator) else found  # type: ignore[return-value]

    return telling


def _each(owner: Placed, found: Iterator[Any]) -> Iterator[Any]:
    with part_of(owner.place):
        yield from found
