"""Where a queue may be."""

from pathlib import Path

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


def test_where_nothing_is_known_of_mounts_a_path_counts_as_local() -> None:
    assert shared_file_system(Path("/home"), "") is None


def test_what_this_machine_says_of_its_mounts_is_understood() -> None:
    mounts = Path("/proc/self/mountinfo").read_text("utf-8")
    assert shared_file_system(Path("/proc/self"), mounts) is None
