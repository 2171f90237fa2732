"""`ark doctor`: checks the store, the queue, the disk, the clock and the connection to each destination. Changes and
sends nothing.
"""

import contextlib
import os
import shlex
import shutil
import stat
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from arkcli import times
from arkcli.actions.checks import Check, Status, passed
from arkcli.actions.home import Home
from arkcli.actions.reading import Reading
from arkcli.actions.server import check_database
from arkcli.errors import ArkError, Unreachable, Unreadable
from arkcli.model import AHEAD, Attempt, Destination, Event
from arkcli.queue.engine import Holder, Queue, Standing
from arkcli.queue.outage import ASKED
from arkcli.queue.pace import terms_of
from arkcli.store.store import Contents
from arkcli.system.owner import is_private
from arkcli.system.paths import elsewhere
from arkcli.system.refused import holding, name_of, taking, visible
from arkcli.text import counted
from arkcli.times import describe_duration

#: Warn if fewer bytes than _LOW_BYTES are free; fail below _NO_BYTES, where there is no room for more events.
_LOW_BYTES: Final = 100 * 1024 * 1024
_NO_BYTES: Final = 8 * 1024 * 1024
#: Warn if less than this share of the disk is free, unless at least _PLENTY bytes are.
_LOW_SHARE: Final = 0.05
_PLENTY: Final = 10 * 1024 * 1024 * 1024
#: Warn if a delivery has been due for longer than this many milliseconds. If cron runs drain, a minute is the most.
_OVERDUE: Final = 300_000
#: Name at most this many files; count the rest.
_FEW: Final = 5
#: Bytes read from the end of each file.
_TAIL: Final = 256 * 1024
#: A clock outside these years is wrong: `ark` did not exist before, and is unlikely to run after.
_SANE_YEARS: Final = range(2024, 2100)

_CRON: Final = "run it from cron: * * * * * /path/to/ark drain --for 55s --quiet"


class Space(NamedTuple):
    """A disk's space: bytes free to this user, total bytes, files that can still be created (None: no limit)."""

    free: int
    total: int
    inodes: int | None


def examine(home: Home) -> list[Check]:
    """Runs every check, in the order in which to fix problems."""
    from arkcli.actions import alerts, connections

    now, directory = home.clock.now(), home.directory
    newest: list[int] = []
    try:
        shared = home.shared
    except ArkError as error:
        wrong = Check("store", Status.FAIL, str(error), "nothing can be sent without it")
        return [wrong, *check_permissions(directory, None), check_clock(now, None)]
    checks = check_database(home) if shared is not None else []
    contents = None
    # To read a store in a database that has none yet would make it.
    if shared is None or home.has_queue:
        store, contents = check_store(home)
        checks.append(store)
    checks += check_permissions(directory, home.queue_directory if shared is None else None)
    if shared is None:
        checks.append(check_space(home.queue_directory, _space_at(home.queue_directory)))
    destinations = contents.destinations if contents else []
    if home.has_queue:
        try:
            checks += _queue_checks(home, destinations, newest)
        except (ArkError, OSError) as error:
            hint = "the queue is unchanged; `ark queue check` may say more"
            checks.append(Check("queue", Status.FAIL, f"it cannot be read: {error}", hint))
    elif shared is None:
        checks.append(check_place(home.queue_directory))
    checks.append(check_clock(now, max(newest, default=None)))
    if contents is not None:
        checks += alerts.check(home, contents)
        checks += connections.checks(home, contents)
    return checks


def _queue_checks(home: Home, destinations: Sequence[Destination], newest: list[int]) -> list[Check]:
    """The checks of a queue that can be opened. Adds the times of its newest records to `newest`."""
    queue = home.queue
    events, size = queue.totals
    place = home.queue_directory if home.shared is None else home.shared.address.masked
    said = f"{counted(events, 'event')}, {_size(size)}, in {place}"
    hint = "make it writable for the user who runs ark, or set ARK_STATE_DIR to a directory that is"
    overview = Reading(home, destinations, join=False).overview()
    standings = overview.readable
    newest += [standing.last.at for _, standing in standings if standing.last]
    newest += [times.from_text(event.at) for event in queue.recent_events(_TAIL)[-1:]]
    holders = {found.name: holder for found, _ in standings if (holder := queue.holder(found.id)) is not None}
    drained = {name for name, holder in holders.items() if holder.purpose == "drain"}
    return [
        Check("queue", Status.FAIL, queue.unwritable, hint) if queue.unwritable else passed("queue", said),
        check_damage(queue),
        check_places(overview.broken),
        check_locks(holders, _is_stopped),
        check_drain(home.clock.now(), standings, drained, queue.find),
    ]


def check_store(home: Home) -> tuple[Check, Contents | None]:
    """Checks that destinations.toml can be read and is valid. Also returns its contents; None if it is not."""
    try:
        contents = home.store.read()
    except (Unreadable, Unreachable) as error:
        cure = f"fix or restore {home.store.path}; " if home.shared is None else ""
        return Check("store", Status.FAIL, str(error), f"{cure}nothing can be sent without it"), None
    path = home.store.name
    if not contents.destinations:
        said, hint = f"{path} has no destination", "add one: ark dest add URL"
        if (other := elsewhere(home.variables)) is not None:
            said += f", and ark does not look into {other}"
            hint = f"move what you want to keep from there to {home.store.path.parent}, or {hint}"
        return Check("store", Status.WARN, said, hint), contents
    paused = sum(found.paused for found in contents.destinations)
    said = f"{path} holds {counted(len(contents.destinations), 'destination')}"
    if paused:
        said += f", {paused} paused"
    return Check("store", Status.PASS, said), contents


def check_permissions(config: Path, queue: Path | None) -> list[Check]:
    """Checks that all files belong to this user (for root: the directory's owner), and no one else can touch them.

    `queue` is None if the queue is not in files.
    """
    foreign, loose, owners, modes = [], [], {}, {}
    # Files that root put beside destinations.toml only have to be readable. Root may have created the queue in a
    # directory that belongs to another user, so look at the parent, too.
    directories = [(config, [config], os.R_OK)]
    if queue is not None:
        directories.append((queue, [queue, queue.parent], os.R_OK | os.W_OK))
    for directory, places, need in directories:
        found = [place.stat() for place in places if not os.geteuid() and place.exists()]
        user, group = next(((at.st_uid, at.st_gid) for at in found if at.st_uid), (os.geteuid(), os.getegid()))
        for path, its in _all_in(directory):
            is_usable = os.geteuid() and os.access(path, need | (os.X_OK if path.is_dir() else 0))
            is_given = path.is_file() and its.st_mode & stat.S_IRGRP and is_private(its)
            theirs = 0o077 if its.st_uid == user else 0 if its.st_mode & stat.S_ISVTX else 0o022
            if its.st_uid != user and not (is_usable or is_given):
                foreign.append(path)
                made = holding(str(path), str(directory))
                cure = taking(made, f"{user}:{group}") if made else f"run ark as {name_of(its.st_uid)}"
                owners[directory] = cure
            elif its.st_mode & theirs and not is_given:
                loose.append(path)
                modes[directory] = f"chmod -R u=rwX,go= {shlex.quote(str(directory))}"
    checks = []
    if foreign:
        said = f"{_named(foreign)} owned by another user"
        checks.append(Check("owner", Status.FAIL, said, " && ".join(owners.values())))
    if loose:
        secret = any(path.name in ("destinations.toml", "queue.key") for path in loose)
        said = f"{_named(loose)} readable or writable by other users" + (
            ", including the signing secret" if secret else ""
        )
        checks.append(Check("permissions", Status.FAIL if secret else Status.WARN, said, " && ".join(modes.values())))
    return checks or [Check("permissions", Status.PASS, "only you can read and write ark's files")]


def _all_in(directory: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """A directory and everything in it except links; or the path that this user is not allowed to enter."""
    try:
        paths = [directory, *directory.rglob("*")] if directory.stat() else []
    except OSError as error:
        paths = [Path(visible(directory)[0])] if isinstance(error, PermissionError) else []
    for path in paths:
        with contextlib.suppress(OSError):
            if not stat.S_ISLNK((found := path.lstat()).st_mode):
                yield path, found


def check_space(directory: Path, space: Space) -> Check:
    """Checks that the queue's disk has room for more events."""
    said = f"{_size(space.free)} free of {_size(space.total)} at {directory}"
    hint = "free some space, or lower [queue] keep in destinations.toml so that old events are removed sooner"
    if space.inodes == 0:
        return Check("space", Status.FAIL, f"the disk cannot take more files at {directory}", hint)
    if space.free < _NO_BYTES:
        return Check("space", Status.FAIL, said, hint)
    nearly_full = space.free < space.total * _LOW_SHARE and space.free < _PLENTY
    return Check("space", Status.WARN, said, hint) if space.free < _LOW_BYTES or nearly_full else passed("space", said)


def check_place(directory: Path) -> Check:
    """Checks that a queue that does not exist yet can be created."""
    nearest = Path(visible(directory)[0])
    if nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK):
        return passed("queue", f"none yet; the first event creates {directory}")
    why = "is not writable for you" if nearest.is_dir() else "is not a directory"
    hint = "set ARK_STATE_DIR to a directory that you can write to, or fix that one"
    return Check("queue", Status.FAIL, f"{directory} cannot be made: {nearest} {why}", hint)


def check_damage(queue: Queue) -> Check:
    """Checks that the newest part of each file in the queue can be read."""
    damaged = queue.check_recent(_TAIL).damaged
    if damaged:
        said = f"{counted(len(damaged), 'problem')}, the first in {damaged[0].file}: {damaged[0].problem}"
        hint = "everything else is safe; `ark queue check` reads the whole queue, and --repair repairs it"
        return Check("damage", Status.FAIL, said, hint)
    return passed("damage", "none in the newest part of each file; `ark queue check` reads the whole queue")


def check_places(broken: Mapping[str, str]) -> Check:
    """Checks that each destination's part of the queue can be used; `broken` has the reason by name."""
    if broken:
        name, why = next(iter(broken.items()))
        more = f"; and {len(broken) - 1} more" if len(broken) > 1 else ""
        return Check("places", Status.FAIL, f"{name}: {why}{more}", "nothing is delivered to it until this is fixed")
    return passed("places", "each destination's part of the queue can be used")


def check_locks(holders: dict[str, Holder], is_stopped: Callable[[int], bool]) -> Check:
    """Reports which process is delivering to each destination, and checks that it is not suspended."""
    stopped = {
        name: holder.process for name, holder in holders.items() if holder.process and is_stopped(holder.process)
    }
    if stopped:
        name, process = next(iter(stopped.items()))
        said = f"process {process} is delivering to {name} but is suspended, so no other process can deliver to it"
        return Check("locks", Status.FAIL, said, f"kill -CONT {process}, or kill {process}")
    if not holders:
        return passed("locks", "no process is delivering now")
    held = ", ".join(f"{name} by {holder}" for name, holder in holders.items())
    return passed("locks", f"being delivered to: {held}")


def check_drain(
    now: int,
    standings: Sequence[tuple[Destination, Standing]],
    drained: Container[str],
    find: Callable[[str], Event | None],
) -> Check:
    """Checks that due deliveries are attempted, which only `ark drain` does.

    Each destination is judged by its delivery that has been due longest. `drained` has the names of destinations that a
    drain is delivering to now; `find` returns an event that is still kept.
    """

    def is_in_turn(last: Attempt, due_at: int) -> bool:
        """Whether a drain made this attempt: a drain starts with the delivery that has been due longest."""
        event = None if last.attempt > 1 else find(last.event_id)
        return event is None or times.from_text(event.at) <= due_at

    overdue, is_at_work = [], False
    for found, standing in standings:
        due_at, last = standing.next_due_at, standing.last
        is_asked = standing.outage is not None and standing.outage.reason == ASKED
        if found.paused or is_asked or due_at is None or now - due_at <= _OVERDUE:
            continue
        limits = terms_of(found)
        recently = _OVERDUE if limits is None else _OVERDUE + limits.period
        is_recent = last is not None and now - last.at <= recently and is_in_turn(last, due_at)
        if is_recent or found.name in drained:
            is_at_work = True
        else:
            overdue.append((due_at, found.name))
    if overdue:
        since, name = min(overdue)
        late = describe_duration((now - since) / 1000)
        said = f"deliveries to {name} have been due since {times.to_text(since)} ({late}), and no process attempts them"
        if len(overdue) > 1:
            said += f"; the same is true of {counted(len(overdue) - 1, 'more destination')}"
        return Check("drain", Status.WARN, said, _CRON)
    return passed("drain", "what is due is being attempted" if is_at_work else "nothing is overdue")


def check_clock(now: int, newest: int | None) -> Check:
    """Checks that the clock is roughly right: retries and certificates depend on it."""
    said = times.to_text(now)
    hint = "set the clock, and keep it synchronised"
    hint += ": timedatectl set-ntp true" if shutil.which("timedatectl") else ""
    if datetime.fromtimestamp(now / 1000, UTC).year not in _SANE_YEARS:
        return Check("clock", Status.FAIL, f"it says {said}", hint)
    if newest is not None and newest > now + AHEAD:
        back = describe_duration((newest - now) / 1000)
        return Check(
            "clock", Status.WARN, f"it says {said}, {back} before the newest record in the queue: it was set back", hint
        )
    return passed("clock", said)


def _named(paths: Sequence[Path]) -> str:
    more = f" and {len(paths) - _FEW} more" if len(paths) > _FEW else ""
    return f"{', '.join(map(str, paths[:_FEW]))}{more} {'is' if len(paths) == 1 else 'are'}"


def _space_at(directory: Path) -> Space:
    """The space of the disk that a directory is on, or would be on."""
    found = os.statvfs(visible(directory)[0])
    inodes = found.f_favail if found.f_files else None
    return Space(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize, inodes)


def _size(count: int) -> str:
    size, unit = float(count), "bytes"
    for unit in ("bytes", "KB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if size >= 10 or unit == "bytes" else f"{size:.1f} {unit}"


def _is_stopped(process: int) -> bool:
    """Whether a process has been stopped by a signal (proc(5): the state letter after the name)."""
    try:
        state = Path(f"/proc/{process}/stat").read_text("utf-8", "replace").rpartition(") ")[2]
    except OSError:
        from arkcli.system.child import printed

        state = "" if Path("/proc/self").exists() else printed("ps", "-o", "state=", "-p", str(process)).strip()
    return state[:1] in ("T", "t")
