"""Whether a directory can be a queue: its version, its file system, and that no symbolic link leads out of it."""

import errno
import os
from pathlib import Path
from typing import Final

from arkcli.errors import Unreadable
from arkcli.queue.local.moving import VERSION, Version
from arkcli.queue.local.trouble import is_gone
from arkcli.system import files
from arkcli.system.refused import in_words, visible
from arkcli.text import pattern

#: File systems, by their names in mountinfo or for mount(8), whose locks another machine may not see: network file
#: systems, object stores, and what a virtual machine shares with its host. Plain `fuse` may be anything: mountpoint-s3
#: mounts so.
_SHARED: Final = (
    " fuse 9p afpfs afs applevirtiofs beegfs blobfuse blobfuse2 ceph ceph-fuse cifs cosfs curlftpfs davfs davfs2"
    " fakeowner gcsfuse geesefs gfs2 glusterfs goofys gpfs grpcfuse gvfsd-fuse hdfs juicefs lustre mfs moosefs"
    " mountpoint-s3 nfs nfs4 ocfs2 orangefs ossfs osxfs panfs prl_fs quobyte rclone s3fs s3ql seaweedfs smb3 smbfs"
    " sshfs vboxsf virtiofs vmhgfs vmhgfs-fuse webdav wekafs "
)
#: What mount(8) prints for a file system: on macOS the type comes first in the brackets.
_MOUNTED: Final = pattern(r" on (?P<place>/.*?) (type (?P<kind>\S+) )?\((?P<words>[^()]*)\)$")


def prepare(directory: Path, version: Version) -> str | None:
    """Makes the missing directories of a queue. Raises Unreadable if it cannot be a queue or has been moved, and
    OSError.

    If this process can only read it, makes nothing and returns why, as text for the user. A missing queue is empty.
    """
    _check_local(directory)
    unwritable = _unwritable(directory)
    if unwritable is None:
        files.make_directory(directory)
    if unwritable is None and is_gone(directory / "VERSION"):
        files.replace(directory / "VERSION", b"%d\n" % VERSION)
    version.check()
    for part in ("events", "events/index", "destinations"):
        if (directory / part).is_symlink():
            raise Unreadable(is_a_link(directory / part))
    for part in ("events", "destinations") if unwritable is None else ():
        files.make_directory(directory / part)
        if not (directory / part).is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory / part))
    return unwritable


def _unwritable(directory: Path) -> str | None:
    parts = [directory / part for part in ("", "events", "destinations", "events/lock")]
    found = [path for path in parts if os.access(path, os.R_OK) and not os.access(path, os.W_OK)]
    if is_gone(directory):
        nearest = visible(directory)[0]
        found = [] if os.access(nearest, os.W_OK) else [Path(nearest)]
    if not found:
        return None
    number = errno.EROFS if os.statvfs(found[0]).f_flag & os.ST_RDONLY else errno.EACCES
    said = in_words(OSError(number, os.strerror(number), str(found[0])), directory)
    return f"the queue cannot be opened to write, and nothing was accepted or changed: {found[0]}: {said}"


def _check_local(directory: Path) -> None:
    try:
        mounts = Path("/proc/self/mountinfo").read_text("utf-8", "replace")
    except OSError:
        from arkcli.system.child import printed

        # Where there is no /proc, as on macOS.
        mounts = printed("mount")
    kind = shared_file_system(directory.resolve(), mounts)
    if kind is not None:
        raise Unreadable(
            f"{directory} is on a network or shared file system ({kind}), where file locks are not reliable; set "
            "ARK_STATE_DIR to a directory on a local disk"
        )


def is_a_link(path: Path) -> str:
    """The message that a path is a symbolic link."""
    return f"{path} is a symbolic link; the queue must not contain links. Replace it with the directory"


def shared_file_system(path: Path, mounts: str) -> str | None:
    """The type of the file system that holds a path, if several machines may share it. None if it is local or unknown.

    `mounts` is the content of /proc/self/mountinfo (proc(5)), or what mount(8) prints.
    """
    holder, kind, is_local = "", "", True
    for line in mounts.splitlines():
        place, its_kind, its_local = _mounted(line)
        if len(place) >= len(holder) and path.is_relative_to(place):
            holder, kind, is_local = place, its_kind, its_local
    return kind if not is_local or f" {kind.lower().removeprefix('fuse.')} " in _SHARED else None


def _mounted(line: str) -> tuple[str, str, bool]:
    """The place and the type of a mounted file system, and whether the system calls it local (as far as it says)."""
    fields, _, described = line.partition(" - ")
    if len(known := fields.split(" ")) >= 6 and known[0].isdigit():
        return known[4].replace("\\040", " "), described.split(" ")[0], True
    if (found := _MOUNTED.search(line)) is None:
        return "//", "", True
    words = found["words"].split(", ")
    return (found["place"], found["kind"], True) if found["kind"] else (found["place"], words[0], "local" in words)
