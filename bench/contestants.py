"""The contestants that post bodies: wrk, `ark drain`, and a bare loop over libcurl. Each makes one run; rates are per
second.
"""

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from bench import measure
from bench.home import Home, bodies
from bench.measure import Contestant
from bench.wrk import Wrk


def wrk(name: str, directory: Path, url: str, seconds: int = 2) -> Contestant:
    """Posts with wrk over 64 connections for this many seconds."""
    peer = Wrk(directory, bodies(1)[0])
    return lambda: {name: peer.rate(url, seconds)}


def drain(name: str, home: Home, count: int, *options: str) -> Contestant:
    """Drains what was due when the home was saved. Rates: by the run's own clock and of the whole process; memory."""

    def contestant() -> Mapping[str, float]:
        home.rewind()
        finished, seconds = home.drain(count, *options)
        return {
            name: count / seconds,
            f"{name}, whole process": count / finished.seconds,
            f"{name}, memory": finished.mebibytes,
        }

    return contestant


def together(name: str, home: Home, count: int, drains: int) -> Contestant:
    """Drains what was due with this many drains at once: the rate from the first start to the last end, and the
    smallest share of the work that one of them did.
    """

    def contestant() -> Mapping[str, float]:
        home.rewind()
        command = [measure.ARK, "drain", "--json"]
        variables = measure.environment(home.variables)
        began = time.monotonic()
        running = [subprocess.Popen(command, env=variables, stdout=subprocess.PIPE) for _ in range(drains)]
        made = [json.loads(one.communicate(timeout=measure.LONGEST)[0])["attempted"] for one in running]
        seconds = time.monotonic() - began
        if sum(made) != count:
            raise RuntimeError(f"of {count} deliveries {sum(made)} were attempted")
        return {name: count / seconds, f"{name}, least": min(made) / count}

    return contestant


def bare(name: str, directory: Path, url: str, count: int, *ca_file: str) -> Contestant:
    """Posts `count` bodies with a bare loop over libcurl."""
    path = directory / "bodies"
    path.write_bytes(b"".join(body + b"\n" for body in bodies(count)))
    command = [sys.executable, "-m", "bench.bare", url, str(path), *ca_file]
    return lambda: {name: float(measure.run(command).output)}
