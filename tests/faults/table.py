"""The table that is crossed: parts of the store and the queue, faults, and commands."""

from typing import NamedTuple


class Part(NamedTuple):
    """A part of a home: where it is (`{id}` is clara's), and whether it is a file, a lock or a directory."""

    pattern: str
    kind: str


_PLACE, _SEGMENT = "state/queue/destinations/{id}", "[0-9]" * 20 + ".jsonl"
PARTS = {
    "config": Part("config", "directory"),
    "store": Part("config/destinations.toml", "file"),
    "store-lock": Part("config/destinations.toml.lock", "lock"),
    "state": Part("state", "directory"),
    "queue": Part("state/queue", "directory"),
    "version": Part("state/queue/VERSION", "file"),
    "queue-lock": Part("state/queue/lock", "lock"),
    "events": Part("state/queue/events", "directory"),
    "events-lock": Part("state/queue/events/lock", "lock"),
    "event-segment": Part(f"state/queue/events/{_SEGMENT}", "file"),
    "destinations": Part("state/queue/destinations", "directory"),
    "place": Part(_PLACE, "directory"),
    "place-lock": Part(f"{_PLACE}/lock", "lock"),
    "journal": Part(f"{_PLACE}/journal", "directory"),
    "journal-segment": Part(f"{_PLACE}/journal/{_SEGMENT}", "file"),
    "checkpoint": Part(f"{_PLACE}/checkpoint.json", "file"),
    "dead-letters": Part(f"{_PLACE}/dead.jsonl", "file"),
    "away-note": Part(f"{_PLACE}/away.json", "file"),
    "drains": Part("state/queue/drains", "directory"),
    "drain": Part("state/queue/drains/[0-9]*-*", "lock"),
    "damaged": Part("state/queue/damaged", "directory"),
    "damaged-lines": Part("state/queue/damaged/*.jsonl", "file"),
}
#: Where another copy is another past: what was promised by then is all that anybody can know of.
WHOLES = ("state", "queue")


class Fault(NamedTuple):
    """What is done to which kinds of part, and what takes only that back, as shell scripts.

    They know the part as $part, the same as it was before and after as $older and $newer, a free name as $aside, and
    whoever runs `ark` as $user.
    """

    kinds: str
    script: str
    cure: str = ""


_AWAY = 'mv "$part" "$aside"; '
_OURS = '; chown -h "$user" "$part"'
_SIZE = '$(wc -c < "$part")'
#: A disk of its own, with not a page and not an inode to spare.
_FULL = """cp -a "$part" "$aside"
pages=$(find "$part" -type f -printf '%s\\n' | awk '{n += int(($1 + 4095) / 4096)} END {print n ? n : 1}')
mount -t tmpfs -o "size=$((pages * 4096)),nr_inodes=$(find "$part" | wc -l)" tmpfs "$part"
chown "$user" "$part"; chmod 700 "$part"; cp -a "$aside/." "$part" """

FAULTS = {
    "nothing": Fault("", ""),
    "flipped": Fault(
        "file", f'for n in 1 2; do printf X | dd of="$part" bs=1 seek=$(({_SIZE} * n / 3)) conv=notrunc; done'
    ),
    "halved": Fault("file", f'truncate -s $(({_SIZE} / 2)) "$part"'),
    "emptied": Fault("file", 'truncate -s 0 "$part"'),
    "garbage-appended": Fault("file lock", """printf '\\0garbage\\n{"crc":\\377\\n' >> "$part" """),
    "taken-away": Fault("file lock directory", _AWAY),
    "a-link": Fault("file lock directory", _AWAY + 'ln -s "$aside" "$part"' + _OURS),
    "a-directory": Fault("file lock", _AWAY + 'mkdir -m 700 "$part"' + _OURS),
    "a-file": Fault("directory", _AWAY + '(umask 077; touch "$part")' + _OURS),
    "a-fifo": Fault("file lock directory", _AWAY + 'mkfifo -m 600 "$part"' + _OURS),
    "foreign": Fault("file lock directory", 'chown -R 65534 "$part"', 'chown -R "$user" "$part"'),
    "older": Fault("file directory", _AWAY + 'if test -e "$older"; then cp -a "$older" "$part"; fi'),
    "newer": Fault("file directory", _AWAY + 'cp -a "$newer" "$part"'),
    "read-only": Fault("file lock directory", 'chmod -R a-w "$part"', 'chmod -R u+w "$part"'),
    "full": Fault("directory", _FULL, 'mount -o remount,size=64m,nr_inodes=10000 "$part"'),
}


class Command(NamedTuple):
    """A command, its exit status where nothing is wrong, and what it is to do or to tell (`cell` knows these words)."""

    lines: tuple[str, ...]
    status: int
    does: str = ""


_SEND = "send signal.promoted"
COMMANDS = {
    "send": Command((f"{_SEND} --sample",), 75, "accepts delivers"),
    "send-ndjson": Command((f"{_SEND} --ndjson",), 75, "accepts delivers"),
    "send-queue": Command((f"{_SEND} --sample --queue",), 0, "accepts"),
    "drain": Command(("drain",), 0, "drains"),
    "queue": Command(("queue",), 0, "counts"),
    "queue-list": Command(("queue list",), 0, "lists"),
    "queue-show": Command(("queue show {retried}",), 0, "shows"),
    "queue-check": Command(("queue check",), 0),
    "queue-repair": Command(("queue check --repair", "drain"), 0, "drains"),
    "queue-retry": Command(("queue retry --all-dead",), 0),
    "queue-drop": Command(("queue drop {retried} --yes",), 0),
    "replay": Command(("replay --since 2020-01-01T00:00:00Z --dry-run",), 0, "replays"),
    "log": Command(("log",), 0, "logs"),
    "dest-list": Command(("dest list",), 0, "counts"),
    "dest-pause": Command(("dest pause dora",), 0, "pauses"),
    "doctor": Command(("doctor",), 0),
}
