"""Whose a file is: root changes a directory as its owner, so that the kernel refuses what that user may not do."""

import contextlib
import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def as_owner(path: Path) -> Iterator[tuple[str | Path, int | None]]:
    """During a block, root acts as the owner of the directory that contains `path`: in all threads, so one at a time.
    Only affects root.

    Yields a path and None or, for root, a name and its directory's descriptor (`dir_fd`), which cannot be swapped.
    """
    with contextlib.nullcontext() if os.getuid() else _acting:
        if os.geteuid():
            yield path, None
            return
        try:
            above, owner = _open_directory(path.parent)
            try:
                with _acting_as(owner, path.parent) if owner.st_uid else contextlib.nullcontext():
                    yield path.name, above
            finally:
                os.close(above)
        except OSError as error:
            error.filename = str(path)
            if error.filename2:
                error.filename2 = error.filename
            raise


#: Held by the thread of root that acts as another user.
_acting = threading.RLock()


def _in_a_forked_child() -> None:
    # Another thread may have held it, and that thread is not here.
    global _acting  # noqa: PLW0603 - it is the process's own
    _acting = threading.RLock()


os.register_at_fork(after_in_child=_in_a_forked_child)


def _open_directory(path: Path, linker: os.stat_result | None = None) -> tuple[int, os.stat_result]:
    """A directory and its owner; if a symbolic link in a user's directory led there, the owner of that directory."""
    flags, path = os.O_DIRECTORY | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY), path.absolute()
    descriptor = os.open(path, flags)
    # If the kernel knows the directory by the same path, there was no link. Otherwise follow the path step by step.
    with contextlib.suppress(OSError):
        if os.readlink(f"/proc/self/fd/{descriptor}") == str(path):  # noqa: PTH115 - a Path takes longer than the call
            return descriptor, linker or os.fstat(descriptor)
    os.close(descriptor)
    parts = path.parts
    found = os.fstat(descriptor := os.open("/", flags))
    for index, name in enumerate(parts[1:], 1):
        above = descriptor
        try:
            descriptor = os.open(name, flags | os.O_NOFOLLOW, dir_fd=above)
        except OSError as error:
            try:
                link = os.readlink(name, dir_fd=above)
            except OSError:
                # It is not a link: there are too many open files, for example.
                raise error from None
            real = Path(*parts[:index], link, *parts[index + 1 :])
            return _open_directory(real, linker or (found if found.st_uid else None))
        finally:
            os.close(above)
        found = os.fstat(descriptor)
    return descriptor, linker or found


@contextlib.contextmanager
def _acting_as(owner: os.stat_result, directory: Path) -> Iterator[None]:
    """Changes the effective user and group during a block; the saved user stays root."""
    # macOS tells more groups than it takes back.
    groups, group = os.getgroups()[: os.sysconf("SC_NGROUPS_MAX")], os.getegid()
    with contextlib.ExitStack() as stack:
        try:
            os.setgroups([owner.st_gid])
            stack.callback(os.setgroups, groups)
            os.setegid(owner.st_gid)
            stack.callback(os.setegid, group)
            os.seteuid(owner.st_uid)
            stack.callback(os.seteuid, 0)
        except OSError as error:
            why = f"root cannot act as user {owner.st_uid}, who owns {directory}; run ark as that user"
            raise OSError(errno.EINVAL, f"{error.strerror}: {why}") from error
        yield


def is_private(found: os.stat_result) -> bool:
    """Whether only the file's owner can read it, or a group that root (Kubernetes, say) allows to read it."""
    is_given = found.st_uid == 0 and (os.geteuid() != 0 or found.st_gid not in (0, os.getegid()))
    return not found.st_mode & (0o037 if is_given else 0o077)
