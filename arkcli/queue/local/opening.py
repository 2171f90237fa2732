"""Whether a directory can be a queue: its version, its file system, and that nothing leads out of it."""

import errno
import os
import re
from pathlib import Path
from typing import Final

from arkcli import files
from arkcli.errors import Unreadable

VERSION: Final = 1

#: Whose locks another machine may not see, as mountinfo names them: network file systems, object stores, and what the
#: host of a virtual machine shares with it. A plain `fuse` does not say what it is; mountpoint-s3 is mounted so.
_SHARED: Final = re.compile(
    r"fuse|(fuse\.)?(9p|afs|beegfs|blobfuse2?|ceph(-fuse)?|cifs|cosfs|curlftpfs|davfs2?|fakeowner|gcsfuse|geesefs|gfs2"
    r"|glusterfs|goofys|gpfs|grpcfuse|gvfsd-fuse|hdfs|juicefs|lustre|mfs|moosefs|mountpoint-s3|nfs4?|ocfs2|orangefs|ossfs"
    r"|osxfs|panfs|prl_fs|quobyte|rclone|s3fs|s3ql|seaweedfs|smb3|smbfs|sshfs|vboxsf|virtiofs|vmhgfs(-fuse)?|wekafs)"
)


def prepare(directory: Path) -> None:
    """Makes the directories of a queue where there are none. Raises Unreadable where it cannot be one, and OSError."""
    _check_local(directory)
    files.make_directory(directory)
    _check_version(directory / "VERSION")
    for part in ("events", "events/index", "destinations"):
        if (directory / part).is_symlink():
            raise Unreadable(is_a_link(directory / part))
    for part in ("events", "destinations"):
        files.make_directory(directory / part)
        if not (directory / part).is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory / part))


def _check_local(directory: Path) -> None:
    try:
        mounts = Path("/proc/self/mountinfo").read_text("utf-8", "replace")
    except OSError:
        # Not Linux: then nobody can tell, and docs/internals.md says what is assumed.
        return
    kind = shared_file_system(directory.resolve(), mounts)
    if kind is not None:
        raise Unreadable(
            f"{directory} is on a network or shared file system ({kind}), where locks cannot be trusted; "
            f"set ARK_STATE_DIR to a directory on a local disk"
        )


def is_a_link(path: Path) -> str:
    """Why a link is not followed, in words."""
    return f"{path} is a symbolic link; the queue must not contain links. Replace it with the directory"


def _check_version(path: Path) -> None:
    try:
        found = files.read(path).decode("utf-8", "replace").strip()
    except FileNotFoundError:
        files.replace(path, b"%d\n" % VERSION)
        return
    if found != str(VERSION):
        raise Unreadable(
            f"{path} says {found[:40]!r}, and this ark reads version {VERSION}: it is untouched; update ark to use it"
        )


def shared_file_system(path: Path, mounts: str) -> str | None:
    """The kind of file system that holds a path, where several machines may share it; None when it is a local one.

    `mounts` is what /proc/self/mountinfo says (proc(5)).
    """
    holder, kind = "", ""
    for line in mounts.splitlines():
        fields, _, described = line.partition(" - ")
        place = fields.split(" ")[4].replace("\\040", " ")
        if len(place) >= len(holder) and path.is_relative_to(place):
            holder, kind = place, described.split(" ")[0]
    return kind if _SHARED.fullmatch(kind) else None
