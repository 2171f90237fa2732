"""wrk, the peer of all deliveries: one thread in C that posts the same body repeatedly and stores nothing."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bench import measure, peers

CONNECTIONS: Final = 64

_SCRIPT: Final = """
local file = assert(io.open("{body}", "rb"))
wrk.method, wrk.body = "POST", file:read("*a")
wrk.headers["Content-Type"] = "application/json"
"""


class Wrk:
    """wrk -t1 -c64, posting one body."""

    def __init__(self, directory: Path, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Writes wrk's script, with the body, into the directory."""
        self._script = directory / "post.lua"
        (directory / "body.json").write_bytes(body)
        lines = (f'wrk.headers["{name}"] = "{value}"\n' for name, value in (headers or {}).items())
        self._script.write_text(_SCRIPT.format(body=directory / "body.json") + "".join(lines), "utf-8")

    def rate(self, url: str, seconds: int) -> float:
        """Answers per second, measured for this many seconds. Raises Absent, and RuntimeError on any answer but 2xx."""
        return self.measured(url, seconds)[0]

    def measured(self, url: str, seconds: int) -> tuple[float, float]:
        """Answers per second, and the 99th percentile of their times in milliseconds. Raises as `rate`."""
        command = [peers.program("wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency"]
        said = measure.run([*command, "-s", str(self._script), url]).output.decode()
        found = re.search(r"Requests/sec:\s*([\d.]+)", said)
        late = re.search(r"99%\s+([\d.]+)(us|ms|s)\b", said)
        if found is None or late is None or "Non-2xx" in said or "Socket errors" in said:
            raise RuntimeError(f"wrk failed: {said}")
        return float(found[1]), float(late[1]) * {"us": 0.001, "ms": 1.0, "s": 1_000.0}[late[2]]
