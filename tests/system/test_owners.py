"""Whose the files are: root, other users, and the directories that containers are given."""

import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from arkcli.actions import doctor
from arkcli.actions.checks import Check, Status
from arkcli.errors import ArkError, Unreadable
from arkcli.model import DOCUMENTED
from arkcli.queue.local.queue import LocalQueue
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
@pytest.mark.parametrize("right", [6, 7], ids=["CAP_SETGID", "CAP_SETUID"])
def test_where_root_cannot_become_that_user_nothing_is_made_and_the_reason_is_told(
    home: Path, make: Callable[[Path], object], right: int
) -> None:
    os.chown(home, USER, USER)

    def without_the_right_to() -> tuple[str, int, int, list[int]]:
        import ctypes

        header, rights = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        libc = ctypes.CDLL(None)
        assert libc.capget(header, rights) == 0
        rights[0] &= ~(1 << right)
        assert libc.capset(header, rights) == 0
        return refusal(lambda: make(home)), os.geteuid(), os.getegid(), os.getgroups()

    said, *after = in_child(without_the_right_to)
    assert f"root cannot act as user {USER}, who owns {home}; run ark as that user" in said
    assert list(home.iterdir()) == []
    assert after == [os.geteuid(), os.getegid(), os.getgroups()]


def _user_and_groups() -> tuple[object, ...]:
    return os.getuid(), os.geteuid(), os.getgid(), os.getegid(), os.getgroups()


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_root_is_root_again_whatever_happens(home: Path, make: Callable[[Path], object]) -> None:
    os.chown(home, USER, USER)
    before = _user_and_groups()
    make(home)
    assert _user_and_groups() == before
    home.chmod(0)
    assert "Permission denied" in refusal(lambda: files.Lock(home / "other"))
    assert _user_and_groups() == before


@pytest.mark.parametrize("owner", [(USER, USER), (USER + 1, USER), (0, USER)])
def test_what_root_replaces_keeps_its_owner_in_roots_directory_and_is_the_users_in_anothers(
    home: Path, owner: tuple[int, int]
) -> None:
    for directory, becomes in ((0, owner), (USER, (USER, USER))):
        os.chown(home, directory, directory)
        (home / "file").touch()
        os.chown(home / "file", *owner)
        files.replace(home / "file", b"x")
        found = (home / "file").stat()
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (*becomes, 0o600)


def test_root_gets_to_a_users_directory_that_the_user_gets_to_in_another_way(home: Path) -> None:
    # As systemd has it for a DynamicUser: /var/lib/private, with a link to what is in there.
    (home / "private" / "ark").mkdir(parents=True)
    os.chown(home / "private" / "ark", USER, USER)
    (home / "private").chmod(0o700)
    (home / "ark").symlink_to("private/ark")
    for make in MADE.values():
        make(home / "ark")
    files.reserve(home / "ark", 1)
    files.remove_tree(home / "ark" / "a")
    assert owners(home / "private" / "ark") == {(USER, USER)}
    assert {found.name for found in (home / "ark").iterdir()} == {"file", "lock", "lines"}


def test_wherever_root_is_killed_no_file_of_roots_is_left(home: Path) -> None:
    for make in MADE.values():
        for step in range(1, 200):
            directory = home / "state"
            directory.mkdir()
            os.chown(directory, USER, USER)
            is_done = not killed_in_step(step, lambda: make(directory))  # noqa: B023
            assert owners(directory) == {(USER, USER)}
            shutil.rmtree(directory)
            if is_done:
                break
        assert is_done
        assert step > 5


def killed_in_step(step: int, run: Callable[[], object]) -> bool:
    """Runs in a child that is killed right before its step-th system call; whether it got so far."""
    child = os.fork()
    if not child:
        try:
            in_step(step, lambda: os.kill(os.getpid(), signal.SIGKILL), run)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def in_step(step: int, then: Callable[[], object], run: Callable[[], object]) -> bool:
    """Runs, and does something right before the step-th system call; whether it got so far."""
    left = step

    def listen(_frame: object, event: str, function: object) -> None:
        nonlocal left
        if event == "c_call" and getattr(function, "__module__", "") in {"posix", "fcntl"}:
            left -= 1
            if left == 0:
                then()

    sys.setprofile(listen)
    try:
        run()
    except (OSError, ArkError):
        pass
    finally:
        sys.setprofile(None)
    return left <= 0


def everything(directory: Path) -> dict[Path, object]:
    """All that a user could do to root's directory: names, owners, modes, content."""
    return {
        found: (*found.lstat()[:6], found.is_file() and found.read_bytes())
        for found in (directory, *directory.rglob("*"))
    }


class Swap:
    """A user's directory, of which that user makes a link to root's at some moment."""

    def __init__(self, home: Path) -> None:
        self.roots, self.state = home / "roots", home / "state"
        self.queue = self.state / "queue"

    def prepare(self) -> None:
        for directory in (self.roots, self.state):
            shutil.rmtree(directory, ignore_errors=True)
        self.queue.mkdir(parents=True)
        for name in ("a", "a/b", "events", "destinations"):
            (self.roots / name).mkdir(parents=True)
        for name in ("file", "lock", "lines", "VERSION", "events/lock", "joined"):
            (self.roots / name).touch(0o644)
        give(self.state)

    def __call__(self) -> None:
        self.queue.rename(self.state / "away")
        self.queue.symlink_to(self.roots)
        if not os.geteuid():
            os.lchown(self.queue, USER, USER)


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_whenever_a_user_swaps_a_directory_for_a_link_root_changes_nothing_of_roots(
    home: Path, make: Callable[[Path], object]
) -> None:
    swap = Swap(home)
    for step in range(1, 200):
        swap.prepare()
        before = everything(swap.roots)
        is_done = not in_step(step, swap, lambda: make(swap.queue))
        assert everything(swap.roots) == before, step
        assert owners(swap.state) == {(USER, USER)}, step
        if is_done:
            break
    assert is_done
    assert step > 5


def test_whenever_a_user_swaps_the_queue_root_who_sends_changes_nothing_of_roots(home: Path) -> None:
    world, swap = World(home), Swap(home)
    world.ark("dest", "add", "https://crm.example/", "--name", "crm", "--no-ping")
    world.ark("send", "signal.promoted", "--sample", "--queue")
    for step in range(1, 1500, 29):
        swap.prepare()
        before = everything(swap.roots)
        is_done = not in_step(step, swap, lambda: world.ark("send", "signal.promoted", "--sample", "--queue"))
        assert everything(swap.roots) == before, step
        assert owners(swap.state) == {(USER, USER)}, step
        if is_done:
            break
    assert is_done
    assert step > 100


def test_a_dangling_link_in_place_of_the_store_is_refused_and_named(home: Path) -> None:
    world, target = World(home), home / "not mounted" / "destinations.toml"
    world.ark("dest", "add", "https://crm.example/", "--name", "crm", "--no-ping")
    world.store_file.unlink()
    world.store_file.symlink_to(target)
    for command in (("secret", "rotate"), ("dest", "list"), ("dest", "add", "https://crm.example/")):
        result = world.ark(*command)
        assert result.status == 78, command
        assert f"{world.store_file} is a link to {target}, which does not exist" in result.err
    assert world.store_file.is_symlink()
    assert not target.parent.exists()


def test_a_link_loop_in_place_of_the_store_is_told(home: Path) -> None:
    (home / "destinations.toml").symlink_to("other")
    (home / "other").symlink_to("destinations.toml")
    assert "Too many levels of symbolic links" in refusal(Store(home).read)

    def change() -> None:
        with Store(home).change():
            pass

    assert "Too many levels of symbolic links" in refusal(change)


@pytest.mark.parametrize(
    ("owner", "mode", "user", "said"),
    [
        (USER, 0o700, USER, ""),
        (USER, 0o777, USER, "others can write to"),
        (USER, 0o770, USER, "others can write to"),
        (1001, 0o755, USER, "belongs to user 1001, who could change it"),
        (0, 0o755, 0, ""),
        (0, 0o775, 0, "others can write to"),
        (0, 0o777, 0, "others can write to"),
    ],
)
def test_the_directory_that_a_link_to_the_store_leads_to_is_judged_as_well(
    home: Path, owner: int, mode: int, user: int, said: str
) -> None:
    (home / "real").mkdir()
    (home / "real" / "kept").write_bytes(SECRET)
    os.chown(home / "real" / "kept", user, user)
    (home / "real" / "kept").chmod(0o600)
    os.chown(home / "real", owner, 5)
    (home / "real").chmod(mode)
    (home / "config").mkdir()
    (home / "config" / "destinations.toml").symlink_to("../real/kept")
    os.chown(home / "config", user, user)
    refused = as_user(user, lambda: refusal(Store(home / "config").read))
    assert (said in refused, bool(refused)) == (True, bool(said)), refused
    assert not said or str(home / "real") in refused


def test_root_refuses_a_store_of_somebody_who_does_not_own_the_directory_and_names_the_cure(home: Path) -> None:
    (home / "destinations.toml").write_bytes(SECRET)
    (home / "destinations.toml").chmod(0o600)
    os.chown(home, USER, USER)
    os.chown(home / "destinations.toml", USER + 1, USER)
    said = refusal(Store(home).read)
    assert f"belongs to user {USER + 1}, who could change it" in said
    subprocess.run(["sh", "-c", said.split("`")[1]], check=True)
    assert owners(home) == {(USER, USER)}
    assert refusal(Store(home).read) == ""


def test_where_the_configuration_directory_is_none_nobody_is_told_to_change_its_mode() -> None:
    said = refusal(Store(Path("/dev/null")).read)
    assert ("Not a directory" in said, "chmod" in said) == (True, False), said


@pytest.mark.parametrize("group", ["root", "its own"])
def test_root_saves_to_where_a_users_link_leads_as_that_user(home: Path, group: str) -> None:
    config, roots = home / "config", home / "roots"
    for directory in (config, roots):
        directory.mkdir()
    (roots / "destinations.toml").write_bytes(SECRET)
    (roots / "destinations.toml").chmod(0o600)
    (config / "destinations.toml").symlink_to(roots / "destinations.toml")
    give(config, USER, 0 if group == "root" else None)

    def change() -> None:
        with Store(config).change() as contents:
            contents.queue.keep = "2d"

    assert "Permission denied" in refusal(change)
    assert {found.name: found.read_bytes() for found in roots.iterdir()} == {"destinations.toml": SECRET}


def test_what_sudo_has_made_in_roots_directory_is_cured_by_the_command_that_is_printed(home: Path) -> None:
    world = World(home / "config of user")
    world.ark("dest", "add", "https://crm.example/", "--name", "crm", "--no-ping")
    give(world.home)
    (home / "var lib").mkdir()
    world.variables["ARK_STATE_DIR"] = str(state := home / "var lib" / "state")
    assert world.ark("send", "signal.promoted", "--sample", "--queue").status == 0
    assert owners(state) == {(0, 0)}
    refused = as_user(USER, lambda: world.ark("send", "signal.promoted", "--sample", "--queue"))
    assert f"{state} belongs to root, mode 0700" in refused.err
    named = as_user(USER, lambda: world.ark("doctor", "--json"))
    check = next(found for found in named.json["checks"] if found["name"] == "owner")
    cure = refused.err.partition("`sudo ")[2].partition("`")[0]
    assert check["hint"] == f"sudo {cure}"
    subprocess.run(["sh", "-c", cure], check=True)
    assert as_user(USER, lambda: world.ark("send", "signal.promoted", "--sample", "--queue")).status == 0
    assert owners(home / "var lib") == {(0, 0), (USER, USER)}


def test_a_record_is_not_kept_where_a_users_link_leads(home: Path) -> None:
    from arkcli.cli.listen import _kept

    theirs = home / "theirs"
    theirs.mkdir()
    (home / "roots").touch(0o600)
    (theirs / "log").symlink_to(home / "roots")
    give(theirs)
    assert "cannot be written: Permission denied" in refusal(lambda: _kept(theirs / "log"))
    assert (home / "roots").read_bytes() == b""


@pytest.mark.parametrize("real", ["theirs/log", "private/log"])
def test_a_record_is_kept_where_roots_link_leads_and_the_file_is_that_users(home: Path, real: str) -> None:
    (home / real).parent.mkdir()
    give((home / real).parent)
    (home / "log").symlink_to(real)
    kept = files.LineFile(home / "log")
    kept.append(b"one")
    (home / real).rename(home / f"{real}.1")
    kept.append(b"two")
    kept.close()
    assert [(home / name).read_bytes() for name in (f"{real}.1", real)] == [b"one\n", b"two\n"]
    assert owners((home / real).parent) == {(USER, USER)}


@pytest.mark.parametrize("target", ["roots", "by way of roots link"])
def test_a_link_that_a_user_made_is_followed_as_that_user(home: Path, target: str) -> None:
    swap = Swap(home)
    swap.prepare()
    swap()
    (home / "by way of roots link").symlink_to("state/queue")
    before = everything(swap.roots)
    for make in MADE.values():
        place = swap.queue if target == "roots" else home / target
        assert "Permission denied" in refusal(lambda: make(place / "a"))  # noqa: B023
    assert everything(swap.roots) == before


def test_a_file_of_roots_in_a_users_directory_is_left_alone_and_root_is_told_the_cure(home: Path) -> None:
    world = World(home)
    world.ark("dest", "add", "https://crm.example/", "--name", "crm", "--no-ping")
    world.ark("send", "signal.promoted", "--sample", "--queue")
    give(world.home / "state")
    lock = world.queue_directory / "events" / "lock"
    os.chown(lock, 0, 0)
    said = world.ark("send", "signal.promoted", "--sample", "--queue").err
    assert f"({lock} belongs to root, mode 0600); run ark as that user, or make it user {USER}'s" in said
    assert lock.stat().st_uid == 0
    subprocess.run(["sh", "-c", said.partition("'s: `")[2].partition("`")[0]], check=True)
    assert world.ark("send", "signal.promoted", "--sample", "--queue").status == 0


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
        (USER, USER, 0o600, 0, False),
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

    def read() -> tuple[object, list[Check]]:
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
        (0, 6, 0o770, 0, "others can write to"),
        (0, 5, 0o2775, 0, "others can write to"),
        (0, 6, 0o1770, 0, ""),
        (0, 0, 0o770, 0, ""),
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
        (
            'mount --bind "$1/destinations.toml" "$1/destinations.toml"',
            "it is a mount point itself; mount its directory",
        ),
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


def test_many_threads_of_root_each_act_as_the_owner_of_their_directory(home: Path) -> None:
    users = {home / f"of-{number}": USER + number for number in range(4)}
    for directory, user in users.items():
        directory.mkdir()
        os.chown(directory, user, user)

    def create(directory: Path) -> None:
        for number in range(50):
            files.create(directory / str(number))

    with ThreadPoolExecutor() as pool:
        list(pool.map(create, users))
    assert {path: owners(path) for path in users} == {path: {(user, user)} for path, user in users.items()}
    assert os.geteuid() == 0
