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
        return f"{said}: it is a mount of its own; mount its directory instead"
    if not isinstance(error, PermissionError) or not isinstance(name, str) or not os.geteuid():
        return said
    place, found = visible(name)
    said += f" ({place} belongs to {name_of(found.st_uid)}, mode {found.st_mode & 0o7777:04o})"
    # Nobody should take over what holds more than ark's files: /var/lib, say.
    is_within = f"{place}/".startswith(f"{directory}/") and found.st_uid != os.geteuid()
    return f"{said}; run ark as that user, or make it yours: `{taking(directory)}`" if is_within else said


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
