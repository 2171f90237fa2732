"""Whose the files are: root, other users, and the directories that containers are given."""

import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from arkcli.actions import doctor
from arkcli.actions.doctor import Status
from arkcli.errors import ArkError, Unreadable
from arkcli.queue.local.queue import LocalQueue
from arkcli.schedule import DOCUMENTED
from arkcli.store.shelf import FileShelf
from arkcli.store.store import Store
from arkcli.system import files
from arkcli.system.refused import of_system
from tests.as_user import USER, as_user, give, in_child, needs_root, open_home
from tests.world import TestReceiver, World

pytestmark = needs_root

MINUTE = 60


@pytest.fixture
def home() -> Iterator[Path]:
    with open_home() as found:
        yield found


def owners(directory: Path) -> set[tuple[int, int]]:
    return {(found.lstat().st_uid, found.lstat().st_gid) for found in (directory, *directory.rglob("*"))}


def refusal(run: Callable[[], object]) -> str:
    """What is said when it is refused."""
    try:
        run()
    except OSError as error:
        return str(of_system(error))
    except ArkError as error:
        return str(error)
    return ""


MADE: dict[str, Callable[[Path], object]] = {
    "directory": lambda at: files.make_directory(at / "a" / "b"),
    "created": lambda at: files.create(at / "file"),
    "overwritten": lambda at: files.overwrite(at / "file", b"x", durable=False),
    "replaced": lambda at: files.replace(at / "file", b"x"),
    "lock": lambda at: files.Lock(at / "lock").close(),
    "line file": lambda at: files.LineFile(at / "lines").close(),
}


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_what_root_makes_in_anothers_directory_is_that_users(home: Path, make: Callable[[Path], object]) -> None:
    os.chown(home, USER, USER + 1)
    make(home)
    assert owners(home) == {(USER, USER + 1)}
    modes = {stat.S_IMODE(found.stat().st_mode) for found in home.rglob("*")}
    assert modes <= {0o600, 0o700}


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_where_it_cannot_be_given_away_nothing_is_made_and_the_reason_is_told(
    home: Path, make: Callable[[Path], object]
) -> None:
    os.chown(home, USER, USER)

    def without_the_right_to() -> str:
        # CAP_CHOWN is 0, and PR_CAPBSET_DROP is 24; what is not bounded is lost when root changes its user.
        import ctypes

        header, rights = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        libc = ctypes.CDLL(None)
        assert libc.capget(header, rights) == 0
        rights[0] &= ~1
        assert libc.capset(header, rights) == 0
        return refusal(lambda: make(home))

    said = in_child(without_the_right_to)
    assert f"would lock out user {USER}, who owns {home}; run ark as that user" in said
    assert list(home.iterdir()) == []


def test_what_root_replaces_keeps_its_owner_and_group(home: Path) -> None:
    os.chown(home, USER, USER)
    for owner in ((USER, USER), (USER + 1, USER), (0, USER)):
        (home / "file").touch()
        os.chown(home / "file", *owner)
        files.replace(home / "file", b"x")
        found = (home / "file").stat()
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (*owner, 0o600)


def test_what_root_was_killed_over_is_given_away_by_the_next(home: Path) -> None:
    os.chown(home, USER, USER)
    child = os.fork()
    if not child:
        os.fchown = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        files.Lock(home / "lock")
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert (home / "lock").stat().st_uid == 0
    files.Lock(home / "lock").close()
    assert owners(home) == {(USER, USER)}


@pytest.mark.parametrize("content", [b"", b"x"])
def test_what_may_be_roots_own_is_never_given_away(home: Path, content: bytes) -> None:
    os.chown(home, USER, USER)
    (home / "roots").write_bytes(content)
    if not content:
        # Its other name may be anywhere.
        (home / "other").hardlink_to(home / "roots")
    files.Lock(home / "roots").close()
    assert (home / "roots").stat().st_uid == 0


def test_a_whole_day_of_roots_leaves_the_service_user_all_it_needs(
    home: Path, receive: Callable[..., TestReceiver]
) -> None:
    world = World(home / "it's ark")
    for part in ("config", "state", "received"):
        files.make_directory(world.home / part)
    give(world.home)
    os.chown(home, 0, 0)
    world.add(receive(500), "dying")
    world.ark("dest", "add", "http://127.0.0.1:1/", "--name", "down", "--allow-local", "--no-ping")
    for _ in range(6):
        world.ark("send", "signal.promoted", "--sample")
        world.clock.advance(180 * MINUTE)
        world.ark("drain")
    world.ark("queue", "--prometheus", str(world.home / "received" / "ark.prom"))
    (segment,) = (world.queue_directory / "events").glob("*.jsonl")
    segment.write_bytes(segment.read_bytes().replace(b"signal.promoted", b"signal.promotes", 1))
    world.ark("queue", "check", "--repair")
    made = {found.name for found in world.home.rglob("*")}
    assert made >= {"VERSION", "lock", "joined", "accepted", "destinations.toml.lock", "checkpoint.json", "drains"}
    assert made >= {"dead.jsonl", "outage.json", "damaged", "ark.prom"}
    assert owners(world.home) == {(USER, USER)}
    (check,) = doctor.check_permissions(world.home / "config", world.queue_directory)
    assert check.status is Status.PASS

    def go_on() -> list[int]:
        given = [("send", "signal.promoted", "--sample", "--queue"), ("dest", "pause", "down"), ("queue", "check")]
        return [world.ark(*args).status for args in given]

    assert as_user(USER, go_on) == [0, 0, 0]


@pytest.mark.parametrize(
    "lost", ["config/destinations.toml", "config", "state", "state/queue", "state/queue/events/lock"]
)
def test_a_user_who_is_locked_out_is_given_the_command_that_cures_it(home: Path, lost: str) -> None:
    world = World(home / "it's ark")
    world.ark("dest", "add", "https://crm.example/", "--name", "crm", "--no-ping")
    world.ark("send", "signal.promoted", "--sample", "--queue")
    give(world.home)
    os.chown(world.home / lost, 0, 0)
    result = as_user(USER, lambda: world.ark("queue"))
    assert (result.status, f"{world.home / lost} belongs to root" in result.err) == (78, True), result.err
    named = as_user(USER, lambda: world.ark("doctor", "--json"))
    check = next(found for found in named.json["checks"] if found["name"] == "owner")
    assert str(world.home / lost) in check["message"]
    if lost == "state":
        # It may hold more than the queue: nobody is told to take that over.
        return
    cure = result.err.partition("`sudo ")[2].partition("`")[0]
    assert check["hint"] == f"sudo {cure}"
    subprocess.run(["sh", "-c", cure], check=True)
    assert as_user(USER, lambda: world.ark("queue")).status == 0


def test_doctor_names_all_that_are_wrong_to_root_with_one_command(home: Path) -> None:
    world = World(home / "it's ark")
    world.ark("dest", "add", "https://crm.example/", "--name", "crm", "--no-ping")
    world.ark("send", "signal.promoted", "--sample", "--queue")
    for part in ("config", "state"):
        os.chown(world.home / part, USER, USER)
    (check,) = doctor.check_permissions(world.home / "config", world.queue_directory)
    assert (check.name, check.status) == ("owner", Status.FAIL)
    assert str(world.store_file) in check.message
    assert check.hint is not None
    subprocess.run(["sh", "-c", check.hint], check=True)
    assert owners(world.home / "state") == owners(world.home / "config") == {(USER, USER)}
    assert doctor.check_permissions(world.home / "config", world.queue_directory)[0].status is Status.PASS


SECRET = b'version = 1\n[workspace]\nsecret = "s3cret"\n'


@pytest.mark.parametrize(
    ("owner", "group", "mode", "reader", "is_read"),
    [
        # As Kubernetes gives a Secret with fsGroup; and what nobody gave on purpose.
        (0, USER, 0o440, USER, True),
        (0, USER, 0o640, USER, True),
        (0, USER, 0o640, 0, True),
        (0, USER, 0o460, USER, False),
        (0, USER, 0o444, USER, False),
        (0, 0, 0o640, 0, False),
        (USER, USER, 0o600, USER, True),
        (USER, USER, 0o640, USER, False),
        (USER, USER, 0o600, 0, True),
        # Whose it is could change it.
        (USER + 1, USER, 0o640, USER, False),
        (USER + 1, USER, 0o660, USER, False),
    ],
)
def test_who_may_have_a_store_that_others_read(
    home: Path, owner: int, group: int, mode: int, reader: int, is_read: bool
) -> None:
    store = home / "destinations.toml"
    store.write_bytes(SECRET)
    os.chown(store, owner, group)
    store.chmod(mode)
    said = as_user(reader, lambda: refusal(FileShelf(store).read))
    assert (said == "") == is_read, said


def test_a_secret_as_kubernetes_mounts_it_is_read_through_its_links_and_doctor_is_content(home: Path) -> None:
    mount = home / "mount"
    (mount / "..2026_10_01").mkdir(parents=True)
    (mount / "..2026_10_01" / "destinations.toml").write_bytes(SECRET)
    (mount / "..data").symlink_to("..2026_10_01")
    (mount / "destinations.toml").symlink_to("..data/destinations.toml")
    give(mount, 0, USER + 7)
    (mount / "..2026_10_01" / "destinations.toml").chmod(0o440)
    (mount / "..2026_10_01").chmod(0o2755)
    mount.chmod(0o3777)

    def read() -> tuple[object, list[doctor.Check]]:
        return Store(mount).read().workspace.secret is not None, doctor.check_permissions(mount, home / "no queue")

    is_read, checks = as_user(USER, read, groups=[USER + 7])
    assert (is_read, [check.status for check in checks]) == (True, [Status.PASS])


@pytest.mark.parametrize(
    ("owner", "group", "mode", "user", "said"),
    [
        (USER, USER, 0o700, USER, ""),
        (USER, USER, 0o755, USER, ""),
        (USER, USER, 0o775, USER, ""),
        (0, 0, 0o755, USER, ""),
        (0, 0, 0o1777, USER, ""),
        # A container's arbitrary user, and a volume of its fsGroup.
        (1001, 5, 0o770, USER, ""),
        (0, 5, 0o2775, USER, ""),
        (USER, USER, 0o777, USER, "others can write to"),
        (0, 0, 0o777, USER, "others can write to"),
        (0, 0, 0o777, 0, "others can write to"),
        (USER, 6, 0o770, USER, "others can write to"),
        (1001, 1001, 0o755, USER, "belongs to user 1001, who could change it"),
        (1001, 1001, 0o1777, USER, "belongs to user 1001, who could change it"),
        (1001, 1001, 0o755, 0, ""),
        (1001, 6, 0o770, 0, ""),
    ],
)
def test_a_configuration_directory_that_somebody_else_controls_is_refused(
    home: Path, owner: int, group: int, mode: int, user: int, said: str
) -> None:
    config = home / "con fig"
    config.mkdir()
    (config / "destinations.toml").write_bytes(SECRET)
    os.chown(config / "destinations.toml", user, 5)
    (config / "destinations.toml").chmod(0o600)
    os.chown(config, owner, group)
    config.chmod(mode)
    refused = as_user(user, lambda: refusal(Store(config).read), groups=[5])
    assert (said in refused, bool(refused)) == (True, bool(said)), refused
    if "chmod" in refused:
        cure = refused.partition("`")[2].partition("`")[0]
        subprocess.run(["sh", "-c", cure], check=True)
        assert as_user(user, lambda: refusal(Store(config).read), groups=[5]) == ""


def test_nothing_is_made_in_a_configuration_directory_that_is_refused(home: Path) -> None:
    home.chmod(0o777)

    def change() -> None:
        with Store(home).change():
            pass

    assert "others can write to" in refusal(change)
    assert list(home.iterdir()) == []


def test_a_containers_arbitrary_user_goes_on_in_directories_of_its_group_and_doctor_warns(home: Path) -> None:
    world = World(home)
    for part in ("config", "state"):
        (home / part).mkdir()
        os.chown(home / part, 1001, 0)
        (home / part).chmod(0o770)

    def use() -> list[object]:
        world.ark("dest", "add", "https://crm.example/", "--name", "crm", "--no-ping")
        sent = world.ark("send", "signal.promoted", "--sample", "--queue").status
        checks = doctor.check_permissions(home / "config", world.queue_directory)
        return [sent, *((check.name, check.status.value) for check in checks)]

    assert as_user(USER, use, group=0) == [0, ("permissions", "warn")]
    assert owners(world.queue_directory) == {(USER, 0)}


def test_root_leaves_to_a_service_what_it_gave_to_it_to_read(home: Path) -> None:
    store = home / "destinations.toml"
    store.write_bytes(SECRET)
    os.chown(store, 0, USER)
    store.chmod(0o440)
    with Store(home).change() as contents:
        contents.queue.keep = "2d"
    assert as_user(USER, lambda: Store(home).read().queue.keep) == "2d"
    assert (store.stat().st_uid, stat.S_IMODE(store.stat().st_mode)) == (0, 0o640)


@pytest.mark.parametrize(
    ("mount", "said"),
    [
        ('mount --bind "$1/destinations.toml" "$1/destinations.toml"', "it is a mount of its own; mount its directory"),
        ('mount --bind "$1" "$1"; mount -o remount,ro,bind "$1"', "Read-only file system"),
    ],
)
def test_a_store_that_is_mounted_so_that_it_cannot_be_replaced_says_so(home: Path, mount: str, said: str) -> None:
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("no mounts of its own can be made here")
    world = World(home)
    world.ark("dest", "add", "https://crm.example/", "--name", "crm", "--no-ping")
    script = f'mount --make-rprivate /; {mount}; exec "$2" -c "from arkcli.__main__ import main; main()" dest pause crm'
    command = ["unshare", "-m", "sh", "-ec", script, "sh", str(home / "config"), sys.executable]
    done = subprocess.run(command, env={**os.environ, **world.variables}, capture_output=True, text=True, check=False)
    assert (done.returncode, said in done.stderr) == (78, True), done.stderr


def test_a_directory_without_the_rights_of_its_owner_is_named_with_its_mode(home: Path) -> None:
    give(home)
    home.chmod(0o500)
    said = as_user(USER, lambda: refusal(lambda: LocalQueue(home / "queue", DOCUMENTED).accept([])))
    assert f"Permission denied ({home} belongs to user {USER}, mode 0500)" in said
    assert "sudo" not in said


def test_nobody_is_told_to_take_over_what_holds_more_than_arks_files(home: Path) -> None:
    def change() -> None:
        with Store(home / "config").change():
            pass

    said = as_user(USER, lambda: refusal(change))
    assert f"({home} belongs to root, mode 0755)" in said
    assert "chown" not in said


def test_unreadable_is_what_a_store_and_a_queue_raise(home: Path) -> None:
    (home / "queue").mkdir(mode=0o700)

    def kind() -> bool:
        with pytest.raises(Unreadable):
            LocalQueue(home / "queue", DOCUMENTED)
        return True

    assert as_user(USER, kind)
