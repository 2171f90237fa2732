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
        command = [peers.program("wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(self._script), url]
        said = measure.run(command).output.decode()
        found = re.search(r"Requests/sec:\s*([\d.]+)", said)
        if found is None or "Non-2xx" in said or "Socket errors" in said:
            raise RuntimeError(f"wrk failed: {said}")
        return float(found[1])
