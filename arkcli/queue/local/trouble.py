"""Whose trouble it is when the system refuses something: one destination's, or everybody's."""

import errno
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar

from arkcli.errors import ArkError, Broken, Gone, NotAccepted, NotRecorded
from arkcli.system import files
from arkcli.system.refused import in_words

#: A disk or a quota is full.
NO_ROOM: Final = frozenset((errno.ENOSPC, errno.EDQUOT))
#: What the next destination would meet as well: the disk, this process or this machine is short of something.
_EVERYBODYS: Final = NO_ROOM | {errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOLCK}


def used_up(error: OSError, directory: Path) -> str:
    """What a disk has no more of, in words, when it said so."""
    if error.errno == errno.EDQUOT:
        return "the disk quota is exhausted"
    takes_bytes = directory.is_dir() and not files.has_inodes(directory)
    return "the disk has no inode left" if takes_bytes else "the disk is full"


def no_room(error: OSError, directory: Path, what: str) -> NotAccepted:
    """That something cannot be done in a queue's directory, because a disk is full."""
    said = f"{what} in {directory}, so nothing was accepted or attempted. Free some space and try again"
    return NotAccepted(used_up(error, directory), said)


def trouble(place: Path, error: OSError) -> ArkError:
    """What an error in a destination's directory means: Gone, Broken, or NotRecorded where it is everybody's."""
    destination_id = place.name
    if error.errno in _EVERYBODYS:
        return NotRecorded(f"the outcomes of attempts cannot be recorded ({error.strerror}): ark stopped delivering")
    if is_gone(place):
        return Gone(destination_id, f"{place} is missing")
    where, why = error.filename or place, in_words(error, place.parent.parent)
    return Broken(destination_id, f"{where} cannot be used ({why}); `ark queue check` says more")


def is_gone(path: Path) -> bool:
    """Whether it is certain that nothing is there."""
    try:
        path.lstat()
    except OSError as error:
        # Where nobody can look, it may be there.
        return isinstance(error, FileNotFoundError)
    return False


@contextmanager
def part_of(place: Path) -> Iterator[None]:
    """What the system refuses within the block is raised as Gone, Broken or NotRecorded."""
    try:
        yield
    except OSError as error:
        raise trouble(place, error) from error


class Placed(Protocol):
    """What belongs to one destination, and the directory that it is kept in."""

    place: Path


Self = TypeVar("Self", bound=Placed)
Parameters = ParamSpec("Parameters")
Answered = TypeVar("Answered")


def told(
    method: Callable[Concatenate[Self, Parameters], Answered],
) -> Callable[Concatenate[Self, Parameters], Answered]:
    """A method that raises Gone, Broken and NotRecorded instead of OSError; so does the iterator that it returns."""

    @functools.wraps(method)
    def telling(self: Self, /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Answered:
        with part_of(self.place):
            found: Any = method(self, *args, **kwargs)
        return _each(self, found) if isinstance(found, Iterator) else found  # type: ignore[return-value]

    return telling


def _each(owner: Placed, found: Iterator[Any]) -> Iterator[Any]:
    with part_of(owner.place):
        yield from found
