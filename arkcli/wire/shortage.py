"""What this machine can have too little of for an attempt: then it says nothing about the receiver.

What will not be there a moment later either, such as a permission, is not a shortage, unless every attempt needs it.
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
#: One family may be switched off or forbidden; without any, no destination is to blame.
_REFUSALS: Final = (errno.EAFNOSUPPORT, errno.EACCES, errno.EPERM)
MEMORY: Final = "memory"
THREADS: Final = "threads"
DESCRIPTORS: Final = _SHORTAGES[errno.EMFILE]
#: As many as a name look-up has open at once: the resolver's, and those of the kernel's list of addresses.
_FOR_A_LOOK_UP: Final = 3


def words(lacking: str) -> str:
    """Why no attempt was made."""
    return f"this machine is out of {lacking}"


def shortage(number: int | None) -> str | None:
    """What an error number of `socket` says there is too little of; None where it says something else."""
    if number not in _REFUSALS:
        return _SHORTAGES.get(number or 0)
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            socket.socket(family).close()
            return None
    return f"network sockets ({errno.errorcode[number]}: this process may open none)"


def of_ports(number: int, addresses: Iterable[str]) -> str | None:
    """What `connect` found too little of on the way to one of these addresses.

    EADDRNOTAVAIL says that no local port is free, but also that this machine has no address to reach that one from,
    which will not pass.
    """
    if number == errno.EADDRNOTAVAIL and all(_has_way_to(address) for address in addresses):
        return "local ports (EADDRNOTAVAIL)"
    return shortage(number)


def of_sockets() -> str | None:
    """What there is too little of for a name look-up, which itself reports only that it failed."""
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
    """What there was too little of to read a file of CA certificates; None where the file itself is at fault."""
    import ssl

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(ca_file)
    except ssl.SSLError:
        return None
    except OSError as error:
        return shortage(error.errno)
    # It can be read by now: whoever had the descriptors has closed some.
    return DESCRIPTORS


def _has_way_to(address: str) -> bool:
    """Whether this machine has an address to reach another from. Nothing is sent."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))
    except OSError:
        return False
    return True
