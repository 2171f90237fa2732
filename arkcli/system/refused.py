"""Explains errors of the operating system: who owns a file, and how to fix it."""

import errno
import os

from arkcli.errors import ArkError


def of_system(error: OSError) -> ArkError:
    """An ArkError that explains an error of the operating system."""
    where = f"{error.filename}: " if error.filename else ""
    return ArkError(f"{where}{in_words(error)}")


def in_words(error: OSError, directory: object = None) -> str:
    """Explains an error of the operating system. With `directory`, ark's one that contains the file, adds the fix."""
    said, name = error.strerror or str(error), error.filename2 or error.filename
    if error.errno == errno.EBUSY:
        return f"{said}: it is a mount point itself; mount its directory instead"
    if not isinstance(error, PermissionError) or not isinstance(name, str):
        return said
    place, found = visible(name)
    user, group = os.geteuid(), os.getegid()
    if not user:
        # Root acted as the owner of ark's directory, so that user was refused.
        at = visible(directory)[1] if directory else found
        user, group = at.st_uid, at.st_gid
    said += f" ({place} belongs to {name_of(found.st_uid)}, mode {found.st_mode & 0o7777:04o})"
    made = holding(place, str(directory)) if found.st_uid != user else None
    whose = "yours" if os.geteuid() else f"{name_of(user)}'s"
    return f"{said}; run ark as that user, or make it {whose}: `{taking(made, f'{user}:{group}')}`" if made else said


def holding(place: str, directory: str) -> str | None:
    """The directory of ark's that contains a path, or the state directory itself. None if that may contain other files:
    ark must not advise a user to take over /var/lib.
    """
    if f"{place}/".startswith(f"{directory}/"):
        return directory
    if (place, "queue") != os.path.split(directory):
        return None
    try:
        return place if os.listdir(place) == ["queue"] else None  # noqa: PTH208 - every command imports this module
    except OSError:
        # ark makes it 0700. Only root's home is like that, too.
        is_made = os.lstat(place).st_mode & 0o7777 == 0o700 and place != os.path.expanduser("~root")  # noqa: PTH111
        return place if is_made else None


def visible(path: object) -> tuple[str, os.stat_result]:
    """A path, or the nearest directory above it that this user can examine, and its lstat."""
    place = str(path)
    while True:
        try:
            return place, os.lstat(place)
        except OSError:
            place = os.path.dirname(os.path.abspath(place))  # noqa: PTH100, PTH120 - every command imports this module


def name_of(user: int) -> str:
    """`root`, or a user by number, which chown(1) accepts, too."""
    return "root" if user == 0 else f"user {user}"


def taking(directory: object, owner: str = "") -> str:
    """The command that gives a directory and its content to this user, or to `owner` (as for chown(1))."""
    import shlex

    command = f"chown -R {owner or f'{os.geteuid()}:{os.getegid()}'} {shlex.quote(str(directory))}"
    return f"sudo {command}" if os.geteuid() else command
