"""What the operating system refused, in words: whose a file is, and what cures it."""

import errno
import os

from arkcli.errors import ArkError


def of_system(error: OSError) -> ArkError:
    """What the operating system refused, in our words."""
    where = f"{error.filename}: " if error.filename else ""
    return ArkError(f"{where}{in_words(error)}")


def in_words(error: OSError, directory: object = None) -> str:
    """What the operating system refused, and why; with ark's directory that holds the file, also what cures it."""
    said, name = error.strerror or str(error), error.filename2 or error.filename
    if error.errno == errno.EBUSY:
        return f"{said}: it is a mount point itself; mount its directory instead"
    if not isinstance(error, PermissionError) or not isinstance(name, str):
        return said
    place, found = visible(name)
    user, group = os.geteuid(), os.getegid()
    if not user:
        # It was refused to the owner of ark's directory, whose part root took.
        at = visible(directory)[1] if directory else found
        user, group = at.st_uid, at.st_gid
    said += f" ({place} belongs to {name_of(found.st_uid)}, mode {found.st_mode & 0o7777:04o})"
    made = holding(place, str(directory)) if found.st_uid != user else None
    whose = "yours" if os.geteuid() else f"{name_of(user)}'s"
    return f"{said}; run ark as that user, or make it {whose}: `{taking(made, f'{user}:{group}')}`" if made else said


def holding(place: str, directory: str) -> str | None:
    """The directory of ark's that a place is in, or the state directory itself. None where it may hold other files:
    nobody should take over /var/lib.
    """
    if f"{place}/".startswith(f"{directory}/"):
        return directory
    if (place, "queue") != os.path.split(directory):
        return None
    try:
        return place if os.listdir(place) == ["queue"] else None  # noqa: PTH208 - every command imports this module
    except OSError:
        # As ark makes it. Only root's home is like that, too.
        is_made = os.lstat(place).st_mode & 0o7777 == 0o700 and place != os.path.expanduser("~root")  # noqa: PTH111
        return place if is_made else None


def visible(path: object) -> tuple[str, os.stat_result]:
    """A path, or the nearest directory above it that this user can see, and what is known of it."""
    place = str(path)
    while True:
        try:
            return place, os.lstat(place)
        except OSError:
            place = os.path.dirname(os.path.abspath(place))  # noqa: PTH100, PTH120 - every command imports this module


def name_of(user: int) -> str:
    """Root, or a user by number, which chown(1) takes as well."""
    return "root" if user == 0 else f"user {user}"


def taking(directory: object, owner: str = "") -> str:
    """The command that makes a directory, and all in it, this user's, or an owner's, as chown(1) takes it."""
    import shlex

    command = f"chown -R {owner or f'{os.geteuid()}:{os.getegid()}'} {shlex.quote(str(directory))}"
    return f"sudo {command}" if os.geteuid() else command
