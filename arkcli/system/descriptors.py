"""The limit on this process's open files."""

import os
import resource
import sys
from contextlib import suppress
from typing import Final

#: The limits to try if the system refuses the hard one: macOS allows neither "unlimited" nor more than its OPEN_MAX or
#: kern.maxfilesperproc (setrlimit(2)).
_FALLBACKS: Final = (10_240, 4_096)
#: How many files an ark process has open before it delivers.
_OPEN_AT_FIRST: Final = 16


def raise_limit() -> None:
    """Raises the limit as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (hard, *_FALLBACKS) if soft != hard else ():
        if limit == hard or limit > soft:
            with suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
                break


def limit() -> int:
    """How many files this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def free() -> int:
    """How many more files this process may open."""
    try:
        return limit() - len(os.listdir("/dev/fd"))  # noqa: PTH208 - a Path for each would open as many again
    except OSError:
        # Unknown on this system: assume that the process has just started.
        return limit() - _OPEN_AT_FIRST
