"""Where a queue may be."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from arkcli.queue.local.opening import shared_file_system

MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:21 / /proc rw,nosuid shared:12 - proc proc rw
31 22 0:40 / /home rw,relatime shared:2 - nfs4 server:/home rw,vers=4.2
32 31 8:2 / /home/local rw,relatime - xfs /dev/sdb1 rw
33 22 0:41 / /mnt/a\\040share rw,relatime - cifs //server/share rw
34 22 0:42 / /mnt/remote rw,relatime - fuse.sshfs user@server:/ rw
35 22 8:3 / /mnt/over rw,relatime - ext4 /dev/sdc1 rw
36 35 0:43 / /mnt/over rw,relatime - nfs server:/over rw
37 22 0:44 / /mnt/host rw,relatime - fakeowner grpcfuse rw
38 22 0:45 / /mnt/vm rw,relatime - virtiofs share rw
39 22 0:46 / /mnt/s3 rw,nosuid - fuse mountpoint-s3 rw
40 22 0:47 / /mnt/gcs rw,nosuid - fuse.gcsfuse bucket rw
41 22 0:48 / /mnt/mac rw,nosuid - fuse.osxfs osxfs rw
42 22 0:49 / /mnt/lab rw,relatime - beegfs beegfs_nodev rw
43 22 0:50 / /mnt/box rw,relatime - fuse.fuse-overlayfs fuse-overlayfs rw
44 22 0:51 / /mnt/crypt rw,relatime - fuse.gocryptfs /plain rw
45 22 8:4 / /mnt/usb rw,relatime - fuseblk /dev/sdd1 rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/ark", None),
        ("/proc/1", None),
        ("/home", "nfs4"),
        ("/home/ada/.local/state", "nfs4"),
        ("/homeless/state", None),
        ("/home/local/state", None),
        ("/home/local2/state", "nfs4"),
        ("/mnt/a share/state", "cifs"),
        ("/mnt/remote/state", "fuse.sshfs"),
        ("/mnt/over/state", "nfs"),
        ("/mnt/host/state", "fakeowner"),
        ("/mnt/vm/state", "virtiofs"),
        ("/mnt/s3/state", "fuse"),
        ("/mnt/gcs/state", "fuse.gcsfuse"),
        ("/mnt/mac/state", "fuse.osxfs"),
        ("/mnt/lab/state", "beegfs"),
        ("/mnt/box/state", None),
        ("/mnt/crypt/state", None),
        ("/mnt/usb/state", None),
    ],
)
def test_a_shared_file_system_is_known_by_the_innermost_and_latest_mount(path: str, kind: str | None) -> None:
    assert shared_file_system(Path(path), MOUNTS) == kind


#: As mount(8) prints it on macOS.
MAC: Final = """\
/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)
devfs on /dev (devfs, local, nobrowse)
/dev/disk3s5 on /System/Volumes/Data (apfs, local, journaled, nobrowse, protect, root data)
map auto_home on /System/Volumes/Data/home (autofs, automounted, nobrowse)
//ada@nas/all that we had in one share - old on /Volumes/share (1) - old (smbfs, nodev, nosuid, mounted by ada)
nas:/export on /Volumes/export (nfs, nodev, nosuid, mounted by ada)
https://dav.example/ on /Volumes/dav (webdav, nodev, noexec, nosuid, mounted by ada)
/dev/disk4s1 on /Volumes/stick (msdos, local, nodev, nosuid, noowners, noatime, fskit)
ark on /Volumes/fused (macfuse, nodev, nosuid, synchronous, mounted by ada)
shared on /Volumes/My Shared Files (AppleVirtIOFS, local, automounted)
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/Users/ada/.local/state/ark", None),
        ("/System/Volumes/Data/Users/ada", None),
        ("/System/Volumes/Data/home/ada", "autofs"),
        ("/Volumes/share (1) - old/ark", "smbfs"),
        ("/Volumes/export/ark", "nfs"),
        ("/Volumes/exports/ark", None),
        ("/Volumes/dav/ark", "webdav"),
        ("/Volumes/stick/ark", None),
        ("/Volumes/fused/ark", "macfuse"),
        ("/Volumes/My Shared Files/ark", "AppleVirtIOFS"),
    ],
)
def test_where_there_is_no_mountinfo_what_mount_prints_is_understood(path: str, kind: str | None) -> None:
    assert shared_file_system(Path(path), MAC) == kind


def test_the_mount_of_linux_is_understood_too_where_proc_is_missing() -> None:
    mounts = "/dev/sda1 on / type ext4 (rw,relatime)\nnas:/export on /mnt/a share type nfs4 (rw,vers=4.2)\n"
    assert shared_file_system(Path("/var/lib"), mounts) is None
    assert shared_file_system(Path("/mnt/a share/state"), mounts) == "nfs4"


def test_where_nothing_is_known_of_mounts_a_path_counts_as_local() -> None:
    assert shared_file_system(Path("/home"), "") is None


@pytest.mark.skipif(not Path("/proc/self/mountinfo").exists(), reason="needs /proc")
def test_what_this_machine_says_of_its_mounts_is_understood() -> None:
    mounts = Path("/proc/self/mountinfo").read_text("utf-8")
    assert shared_file_system(Path("/proc/self"), mounts) is None


@pytest.mark.skipif(shutil.which("mount") is None, reason="needs mount(8)")
def test_what_the_mount_command_of_this_machine_prints_is_understood(tmp_path: Path) -> None:
    mounts = subprocess.run(["mount"], capture_output=True, text=True, check=True).stdout
    assert shared_file_system(tmp_path.resolve(), mounts) is None
    assert shared_file_system(Path("/"), mounts) is None
