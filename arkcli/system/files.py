"""Every write, sync, rename, truncation and unlink that `ark` makes, and its kernel locks.

No other module changes a file, so that a test can break any single step. All functions raise OSError. In another user's
directory root does each step as that user, so that the kernel refuses what that user may not do.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from arkcli.system.owner import as_owner

if TYPE_CHECKING:
    from socket import socket

FILE_MODE: Final = 0o600
DIRECTORY_MODE: Final = 0o700
#: For files that other users are meant to read and that contain nothing secret.
PUBLIC_MODE: Final = 0o644
_NEW: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
#: Long-lived descriptors are at or above this: select(2), with which libcurl waits, only reaches 1,023.
_HIGH_DESCRIPTOR: Final = 1024
#: macOS only: fsync there leaves the bytes in the drive's cache, and this empties it, too (fcntl(2)).
_FULL_SYNC: Final[int | None] = getattr(fcntl, "F_FULLFSYNC", None)
#: How network file systems and some foreign drives refuse it.
_NO_FULL_SYNC: Final = {errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOTTY}
_sync_data: Final = getattr(os, "fdatasync", os.fsync)


def make_directory(path: Path, *, durable: bool = True) -> None:
    """Makes a directory and its parents, 0700 whatever the umask. Leaves an existing directory alone."""
    if path.is_dir():
        return
    make_directory(path.parent, durable=durable)
    with contextlib.suppress(FileExistsError):
        with as_owner(path) as (name, above):
            os.mkdir(name, DIRECTORY_MODE, dir_fd=above)
            # The owner of the directory above may replace this one at any moment.
            descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
            try:
                os.fchmod(descriptor, DIRECTORY_MODE)
            finally:
                os.close(descriptor)
        if durable:
            sync_directory(path.parent)


def open_private(path: Path, flags: int) -> int:
    """Opens a regular file, 0600 from the start if it is new, and returns its descriptor."""
    with as_owner(path) as (name, above):
        flags |= os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        return _regular(os.open(name, flags, FILE_MODE, dir_fd=above), path)


def bind_private(listener: "socket", path: Path) -> None:
    """Makes a Unix socket at a path, 0600 from the start. Raises OSError if something is there."""
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(mask)


def remove_socket(path: Path) -> None:
    """Removes a Unix socket, if there is one; leaves everything else alone."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            unlink(path)


def remove_left(directory: Path, beginning: str) -> None:
    """Removes temporary files, with this prefix, that killed writers left: the kernel has freed their locks."""
    with contextlib.suppress(OSError):
        for name in os.listdir(directory):  # noqa: PTH208 - nobody needs a Path for each
            if name.startswith(beginning) and name.endswith(".tmp"):
                with contextlib.suppress(OSError), os.fdopen(open_private(directory / name, os.O_RDWR), "rb") as file:
                    # An empty file may be about to be locked.
                    if file.read(1):
                        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        unlink(directory / name)


def _regular(descriptor: int, path: Path) -> int:
    """Returns the descriptor. Raises OSError if it is not a regular file: reading a pipe would wait."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, "it is not a regular file", str(path))


def open_to_read(path: Path, buffering: int = -1) -> BinaryIO:
    """Opens a regular file for reading."""
    descriptor = _regular(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), path)
    return open(descriptor, "rb", buffering)  # noqa: PTH123 - it is a descriptor


def open_as_reader(path: Path) -> int:
    """Opens a regular file for reading, with this process's own rights, and returns its descriptor. Follows no link."""
    return _regular(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK), path)


def is_writable(descriptor: int) -> bool:
    """Whether an open file was opened to be written."""
    return fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY


def read(path: Path) -> bytes:
    """The content of a regular file."""
    # Without a buffer, which would cost more than the file: most are read for one line.
    with open_to_read(path, 0) as file:
        return file.read()


def create(path: Path) -> None:
    """Makes an empty file if there is none, and syncs its directory."""
    os.close(open_private(path, os.O_RDWR | os.O_CREAT))
    sync_directory(path.parent)


def overwrite(path: Path, data: bytes, *, durable: bool) -> None:
    """Overwrites the beginning of a file, or makes the file if it is missing; the rest stays."""
    descriptor = open_private(path, os.O_WRONLY | os.O_CREAT)
    try:
        write_all(descriptor, data, 0)
        if durable:
            sync(descriptor)
    finally:
        os.close(descriptor)


def nameless(directory: Path) -> BinaryIO:
    """A private file without a name, open for writing and reading; it is gone when closed."""
    return open(_nameless(directory), "w+b")


def _nameless(directory: Path) -> int:
    with as_owner(_temporary(directory / "nameless")) as (name, above):
        descriptor = os.open(name, _NEW, FILE_MODE, dir_fd=above)
        os.unlink(name, dir_fd=above)
    return descriptor


def _temporary(path: Path) -> Path:
    """The path of a temporary file that is to replace another file."""
    # msgspec has imported uuid already; tempfile would take 2 ms.
    import uuid

    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")


def reserve(directory: Path, size: int) -> int:
    """A descriptor of a nameless file that reserves `size` bytes of a directory's disk until it is closed."""
    descriptor = _nameless(directory)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
        else:
            write_all(descriptor, bytes(size), 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def has_inodes(directory: Path) -> bool:
    """Whether a directory's disk has inodes left for new files."""
    found = os.statvfs(directory)
    # If there is no limit, both are 0.
    return found.f_favail > 0 or found.f_files == 0


def out_of_selects_way(descriptor: int) -> int:
    """Moves an open file to a descriptor above 1,023, if the limit on open files allows it; returns the descriptor."""
    try:
        high = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _HIGH_DESCRIPTOR)
    except OSError:
        return descriptor
    os.close(descriptor)
    return high


def write_all(descriptor: int, data: bytes, position: int) -> None:
    """Writes all of `data` at a position, repeating short writes."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, position)
        position += written
        view = view[written:]


def sync(descriptor: int) -> None:
    """Returns when the file's bytes are on stable storage."""
    if not _is_fully_synced(descriptor):
        _sync_data(descriptor)


def _is_fully_synced(descriptor: int) -> bool:
    """Has the drive store a file or directory; returns False where the system or the file system cannot ask for it."""
    if _FULL_SYNC is None:
        return False
    try:
        fcntl.fcntl(descriptor, _FULL_SYNC)
    except OSError as error:
        if error.errno not in _NO_FULL_SYNC:
            raise
        return False
    return True


def sync_directory(path: Path) -> None:
    """Returns when the names in a directory are on stable storage."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not _is_fully_synced(descriptor):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def truncate(descriptor: int, size: int) -> None:
    """Cuts an open file to `size` bytes."""
    os.ftruncate(descriptor, size)


def move(source: Path, target: Path) -> None:
    """Renames a file or directory on the same disk in one step, replacing the target."""
    with as_owner(source) as (name, above):
        os.replace(
            name, os.path.relpath(target, source.parent) if above else target, src_dir_fd=above, dst_dir_fd=above
        )


def rename(source: Path, target: Path) -> None:
    """Moves a file within a directory and syncs the directory."""
    move(source, target)
    sync_directory(target.parent)


def unlink(path: Path) -> None:
    """Removes a file, if it exists."""
    with contextlib.suppress(FileNotFoundError), as_owner(path) as (name, above):
        os.unlink(name, dir_fd=above)


def remove_tree(path: Path) -> None:
    """Removes a directory and everything in it. Ignores all errors."""
    with contextlib.suppress(OSError), as_owner(path) as (name, above):
        shutil.rmtree(name, ignore_errors=True, dir_fd=above)


def replace(path: Path, data: bytes | Iterable[bytes], *, durable: bool = True, mode: int = FILE_MODE) -> None:
    """Replaces a file's content in one step: a reader sees the old or the new content, never a part.

    The new content may come in pieces. `durable` waits until it would survive a power failure. A file that root
    replaces in its own directory keeps its owner and group. Removes what a killed writer of the same file left.
    """
    remove_left(path.parent, f".{path.name}.")
    temporary, before = _temporary(path), None
    with as_owner(path) as (name, above):
        descriptor = os.open(temporary.name if above else temporary, _NEW, FILE_MODE, dir_fd=above)
        with contextlib.suppress(FileNotFoundError):
            before = None if os.geteuid() else os.stat(name, dir_fd=above, follow_symlinks=False)
    try:
        with contextlib.suppress(OSError):
            # Locked until it has its name, so that no other process takes it for a leftover.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if before:
            os.fchown(descriptor, before.st_uid, before.st_gid)
        position = 0
        for piece in [data] if isinstance(data, bytes) else data:
            write_all(descriptor, piece, position)
            position += len(piece)
        if mode != FILE_MODE:
            os.fchmod(descriptor, mode)
        if durable:
            sync(descriptor)
        move(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            unlink(temporary)
        raise
    finally:
        os.close(descriptor)
    if durable:
        sync_directory(path.parent)


class Lock:
    """A kernel lock (flock) on a file. The kernel frees it when its holder ends, for whatever reason."""

    def __init__(self, path: Path, flags: int = os.O_RDWR | os.O_CREAT) -> None:
        """Opens the lock file, and makes it if it is missing. With `O_RDONLY` it must exist."""
        self._descriptor = out_of_selects_way(open_private(path, flags))

    def acquire(self, *, shared: bool = False) -> None:
        """Waits for the lock."""
        fcntl.flock(self._descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)

    def try_acquire(self, *, shared: bool = False) -> bool:
        """Takes the lock if it is free."""
        try:
            fcntl.flock(self._descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def sign(self, holder: str) -> None:
        """Writes the holder into the lock file, for people and for `read_holder`."""
        data = holder.encode()
        write_all(self._descriptor, data, 0)
        truncate(self._descriptor, len(data))

    def signed(self) -> str:
        """What was last signed (at most 200 characters)."""
        return os.pread(self._descriptor, 200, 0).decode("utf-8", "replace")

    def close(self) -> None:
        """Frees the lock and the descriptor. Frees the lock even if a forked child has a copy of the descriptor."""
        with contextlib.suppress(OSError):
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        os.close(self._descriptor)

    @contextlib.contextmanager
    def held(self, *, shared: bool = False) -> Iterator[None]:
        """Waits for the lock and holds it during a block."""
        self.acquire(shared=shared)
        try:
            yield
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)


@contextlib.contextmanager
def shared_if_possible(path: Path) -> Iterator[None]:
    """Holds a shared lock during a block; does without if its file is missing or the file system has no locks."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            lock = stack.enter_context(contextlib.closing(Lock(path, os.O_RDONLY)))
            lock.acquire(shared=True)
        yield


class LineFile:
    """A file to append lines to; keeps its content. Makes it, 0600, if it is missing or has been moved away."""

    def __init__(self, path: Path) -> None:
        """Opens the file. Ends an incomplete last line, so that the next one is not joined to it."""
        self._path = path
        is_link = path.is_symlink()
        # Follow a symbolic link that a user made as that user.
        with as_owner(path) if is_link else contextlib.nullcontext():
            real = Path(os.path.realpath(path)) if is_link else path
            self._descriptor = open_private(real, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        size = os.fstat(self._descriptor).st_size
        if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
            self.append(b"")

    def append(self, line: bytes) -> None:
        """Appends a line, whole or not at all."""
        if not self._has_its_name():
            fresh = LineFile(self._path)
            self.close()
            self._descriptor = fresh._descriptor
        size = os.fstat(self._descriptor).st_size
        left = memoryview(line + b"\n")
        try:
            # Not at a position: macOS would obey that, and overwrite the line of another process.
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError:
            truncate(self._descriptor, size)
            raise

    def _has_its_name(self) -> bool:
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Closes the file."""
        os.close(self._descriptor)


def read_holder(path: Path) -> str:
    """What the last holder wrote into a lock file (at most 200 characters); empty if there is no file."""
    try:
        return read(path).decode("utf-8", "replace")[:200]
    except FileNotFoundError:
        return ""
