"""The table of all combinations: parts of the store and the queue, faults, and commands."""

from itertools import product

_PLACE, _SEGMENT = "state/queue/destinations/{id}", "[0-9]" * 20 + ".jsonl"
#: Parts of a home: their paths (`{id}` is Clara's), and whether they are files, locks or directories.
PARTS = {
    "config": ("config", "directory"),
    "store": ("config/destinations.toml", "file"),
    "store-lock": ("config/destinations.toml.lock", "lock"),
    "state": ("state", "directory"),
    "queue": ("state/queue", "directory"),
    "version": ("state/queue/VERSION", "file"),
    "accepted": ("state/queue/accepted", "file"),
    "joined": ("state/queue/joined", "file"),
    "queue-lock": ("state/queue/lock", "lock"),
    "events": ("state/queue/events", "directory"),
    "events-lock": ("state/queue/events/lock", "lock"),
    "event-segment": (f"state/queue/events/{_SEGMENT}", "file"),
    "destinations": ("state/queue/destinations", "directory"),
    "place": (_PLACE, "directory"),
    "place-lock": (f"{_PLACE}/lock", "lock"),
    "journal": (f"{_PLACE}/journal", "directory"),
    "journal-segment": (f"{_PLACE}/journal/{_SEGMENT}", "file"),
    "checkpoint": (f"{_PLACE}/checkpoint.json", "file"),
    "dead-letters": (f"{_PLACE}/dead.jsonl", "file"),
    "outage": (f"{_PLACE}/outage.json", "file"),
    "drains": ("state/queue/drains", "directory"),
    "drain": ("state/queue/drains/[0-9]*-*", "lock"),
    "damaged": ("state/queue/damaged", "directory"),
    "damaged-lines": ("state/queue/damaged/*.jsonl", "file"),
}
#: Parts whose older or newer copy replaces the whole history: `ark` can only know what had been promised by then.
WHOLES = ("state", "queue")
_AWAY = 'mv "$part" "$aside"; '
_OURS = '; chown -h "$user" "$part"'
_SIZE = '$(wc -c < "$part")'
#: Puts the part on its own disk, without a free page or inode.
_FULL = """cp -a "$part" "$aside"
pages=$(find "$part" -type f -printf '%s\\n' | awk '{n += int(($1 + 4095) / 4096)} END {print n ? n : 1}')
mount -t tmpfs -o "size=$((pages * 4096)),nr_inodes=$(find "$part" | wc -l)" tmpfs "$part"
chown "$user" "$part"; chmod 700 "$part"; cp -a "$aside/." "$part" """
#: Faults: the kinds of part that they apply to, the script that breaks a part, and the script that undoes only that, if
#: there is one. Scripts get the $part, its older and newer copies ($older, $newer), a free name ($aside) and the user
#: who runs `ark` ($user).
FAULTS = {
    "nothing": ("", "", ""),
    "flipped": (
        "file",
        f'for n in 2 4 6 8 9; do printf X | dd of="$part" bs=1 seek=$(({_SIZE} * n / 10)) conv=notrunc; done',
        "",
    ),
    "halved": ("file", f'truncate -s $(({_SIZE} / 2)) "$part"', ""),
    "emptied": ("file", 'truncate -s 0 "$part"', ""),
    "garbage-appended": ("file lock", """printf '\\0garbage\\n{"crc":\\377\\n' >> "$part" """, ""),
    "taken-away": ("file lock directory", _AWAY, ""),
    "a-link": ("file lock directory", _AWAY + 'ln -s "$aside" "$part"' + _OURS, ""),
    "a-directory": ("file lock", _AWAY + 'mkdir -m 700 "$part"' + _OURS, ""),
    "a-file": ("directory", _AWAY + '(umask 077; touch "$part")' + _OURS, ""),
    "a-fifo": ("file lock directory", _AWAY + 'mkfifo -m 600 "$part"' + _OURS, ""),
    "foreign": ("file lock directory", 'chown -R 65534 "$part"', 'chown -R "$user" "$part"'),
    "older": ("file directory", _AWAY + 'test ! -e "$older" || cp -a "$older" "$part"', ""),
    "newer": ("file directory", _AWAY + 'test ! -e "$newer" || cp -a "$newer" "$part"', ""),
    "read-only": ("file lock directory", 'chmod -R a-w "$part"', 'chmod -R u+w "$part"'),
    "full": ("directory", _FULL, 'mount -o remount,size=64m,nr_inodes=10000 "$part"'),
}
_SEND = "send signal.promoted"
#: Commands: what is run, the exit status without a fault, and the expected results (words that `cell` knows).
COMMANDS = {
    "send": ((f"{_SEND} --sample",), 75, "accepts delivers"),
    "send-ndjson": ((f"{_SEND} --ndjson",), 75, "accepts delivers"),
    "send-queue": ((f"{_SEND} --sample --queue",), 0, "accepts"),
    "drain": (("drain",), 0, "drains"),
    "queue": (("queue",), 0, "counts"),
    "queue-list": (("queue list",), 0, "lists"),
    "queue-show": (("queue show {retried}",), 0, "shows"),
    "queue-check": (("queue check",), 0, ""),
    "queue-repair": (("queue check --repair", "drain"), 0, "drains"),
    "queue-retry": (("queue retry --all-dead",), 0, ""),
    "queue-drop": (("queue drop {retried} --yes",), 0, ""),
    "replay": (("replay --since 2020-01-01T00:00:00Z --dry-run",), 0, "replays"),
    "log": (("log",), 0, "logs"),
    "dest-list": (("dest list",), 0, "counts"),
    "dest-pause": (("dest pause dora",), 0, "pauses"),
    "doctor": (("doctor",), 0, ""),
}
CELLS = [
    (part, fault, command)
    for (part, (_, kind)), fault, command in product(PARTS.items(), FAULTS, COMMANDS)
    if kind in FAULTS[fault][0].split()
]
