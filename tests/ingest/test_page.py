"""The programs in docs/serve.md, extracted and run unchanged: what they send arrives once."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.ingest.test_serve import serving
from tests.world import World, receiver

PAGE = Path(__file__).parent.parent.parent / "docs" / "serve.md"
PROGRAMS = dict(re.findall(r"<!-- program: (\S+) -->\n```\w+\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL))
#: For each program: the tool it needs, how to build it, how to run it, and what shows that its libraries are there.
LANGUAGES: dict[str, tuple[str, list[str], list[str], list[str]]] = {
    "application.py": (sys.executable, [], [sys.executable, "application.py"], []),
    "application.js": ("node", [], ["node", "application.js"], ["node", "-e", "require('express')"]),
    "application.go": ("go", ["go", "build", "-o", "application", "application.go"], ["./application"], []),
}


def test_the_page_has_a_program_for_each_language() -> None:
    assert PROGRAMS.keys() == LANGUAGES.keys()


@contextmanager
def application(program: str, directory: Path, address: str, token: Path) -> Iterator[str]:
    tool, build, command, probe = LANGUAGES[program]
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    if probe and subprocess.run(probe, cwd=directory, capture_output=True, check=False).returncode:
        pytest.skip("express is not installed where node finds it (NODE_PATH)")
    (directory / program).write_text(PROGRAMS[program])
    if build:
        subprocess.run(build, cwd=directory, check=True, capture_output=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {**os.environ, "ARK": address, "ARK_TOKEN_FILE": str(token)}
    with (directory / "log").open("w") as log:
        process = subprocess.Popen([*command, str(port)], cwd=directory, env=environment, stdout=log, stderr=log)
    try:
        for _ in range(500):
            with socket.socket() as probing:
                if probing.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, (directory / "log").read_text()
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.parametrize("program", LANGUAGES)
def test_an_application_sends_each_deal_once_and_says_when_it_cannot(
    world: World, tmp_path: Path, program: str
) -> None:
    with receiver() as found:
        world.add(found, "crm")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        token = world.home / "config" / "serve.token"
        with (
            serving(world, "--port", port) as served,
            application(program, tmp_path, served.addresses[0], token) as url,
        ):
            for deal in ("d1", "d2", "d1"):
                said = httpx.post(f"{url}/deals/{deal}", json={"name": "Series B"}, trust_env=False)
                assert (said.status_code, said.json()) == (200, {"event": f"promoted-{deal}"})
            served.process.kill()
            served.process.wait()
            assert httpx.post(f"{url}/deals/d3", json={"name": "Series B"}, trust_env=False).status_code == 503
            with serving(world, "--port", port):
                said = httpx.post(f"{url}/deals/d3", json={"name": "Series B"}, trust_env=False)
                assert said.status_code == 200
                end = time.monotonic() + 20
                while len(found.requests) < 3 and time.monotonic() < end:
                    time.sleep(0.02)
    deals = sorted(json.loads(request.body)["signal"]["id"] for request in found.requests)
    assert deals == ["d1", "d2", "d3"]
