"""What systemd and `ark` tell each other: sockets that it opened, and that the service is ready (sd_notify(3))."""

import os
import socket
from collections.abc import Mapping
from typing import Final

from arkcli.errors import UsageError

#: The first descriptor that systemd passes (sd_listen_fds(3)).
_FIRST: Final = 3


def passed_sockets(variables: Mapping[str, str]) -> list[socket.socket]:
    """The listening sockets that systemd opened for this process; empty without socket activation.

    Raises UsageError for anything else that it passed.
    """
    if variables.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = variables.get("LISTEN_FDS", "")
    return [_passed(_FIRST + number) for number in range(int(count) if count.isdecimal() else 0)]


def _passed(descriptor: int) -> socket.socket:
    try:
        found = socket.socket(fileno=descriptor)
        found.set_inheritable(False)
        is_right = found.type == socket.SOCK_STREAM and found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError:
        is_right = False
    if not is_right:
        raise UsageError(f"descriptor {descriptor} is not a listening socket; use ListenStream= and Accept=no")
    return found


def notify(variables: Mapping[str, str], state: str) -> None:
    """Tells the service manager a state such as `READY=1`. Without one it does nothing."""
    address = variables.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.sendto(state.encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)
