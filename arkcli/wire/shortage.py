"""Resources that this machine can run out of during an attempt. Such an attempt says nothing about the receiver.

A lasting problem, such as a missing permission, is not a shortage, unless it stops every attempt.
"""

import contextlib
import errno
import socket
from collections.abc import Iterable
from typing import Final

_SHORTAGES: Final = {
    errno.EMFILE: "file descriptors (EMFILE)",
    errno.ENFILE: "file descriptors (ENFILE)",
    errno.ENOMEM: "memory (ENOMEM)",
    errno.ENOBUFS: "memory (ENOBUFS)",
}
#: Either IP family alone may be switched off or forbidden. If both are, no destination is to blame.
_REFUSALS: Final = (errno.EAFNOSUPPORT, errno.EACCES, errno.EPERM)
MEMORY: Final = "memory"
THREADS: Final = "threads"
DESCRIPTORS: Final = _SHORTAGES[errno.EMFILE]
#: How many descriptors a name look-up opens at once: the resolver's, and those to list this machine's addresses.
_FOR_A_LOOK_UP: Final = 3


def words(lacking: str) -> str:
    """Why no attempt was made."""
    return f"this machine is out of {lacking}"


def shortage(number: int | None) -> str | None:
    """The resource that `socket` ran out of, from its error number; None if the number means something else."""
    if number not in _REFUSALS:
        return _SHORTAGES.get(number or 0)
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            socket.socket(family).close()
            return None
    return f"network sockets ({errno.errorcode[number]}: this process may open none)"


def of_ports(number: int, addresses: Iterable[str]) -> str | None:
    """The resource that `connect` to these addresses ran out of, from its error number; None if it ran out of none.

    EADDRNOTAVAIL means either that no local port is free, or that this machine has no address of the right family. The
    latter is lasting, so it is not a shortage.
    """
    if number == errno.EADDRNOTAVAIL and all(_has_way_to(address) for address in addresses):
        return "local ports (EADDRNOTAVAIL)"
    return shortage(number)


def of_sockets() -> str | None:
    """The resource that is too scarce for a name look-up, or None: the look-up itself reports only that it failed."""
    opened: list[socket.socket] = []
    try:
        for _ in range(_FOR_A_LOOK_UP):
            opened.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    except OSError as error:
        return shortage(error.errno)
    finally:
        for one in opened:
            one.close()
    return None


def of_descriptors_for(ca_file: str) -> str | None:
    """The resource that was too scarce to read a file of CA certificates; None if the file itself is at fault."""
    import ssl

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(ca_file)
    except ssl.SSLError:
        return None
    except OSError as error:
        return shortage(error.errno)
    # It can be read now: descriptors have been closed in the meantime.
    return DESCRIPTORS


def _has_way_to(address: str) -> bool:
    """Whether this machine has an address from which it can reach another. Sends nothing."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))
    except OSError:
        return False
    return True
