"""Programs in several languages: extracted from pages, built, and run as servers."""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

PAGES = Path(__file__).parent.parent / "docs"


def programs_of(page: str) -> dict[str, str]:
    """The programs in a page of the documentation, by name."""
    text = (PAGES / page).read_text()
    return dict(re.findall(r"<!-- program: (\S+) -->\n```\w+\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))


class Language(NamedTuple):
    """The tool that a program needs, the command that builds it, and the command that runs it."""

    tool: str
    build: Sequence[str]
    run: Sequence[str]

    def built(self, name: str, source: str, directory: Path) -> Sequence[str]:
        """Builds a program in a directory, or skips the test; returns the command that runs it there."""
        if shutil.which(self.tool) is None:
            pytest.skip(f"{self.tool} is not installed")
        (directory / name).write_text(source)
        if self.build:
            subprocess.run(self.build, cwd=directory, check=True, capture_output=True)
        return self.run


def needs_express(directory: Path) -> None:
    """Skips the test if node does not find Express from a directory."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    if subprocess.run(["node", "-e", "require('express')"], cwd=directory, capture_output=True, check=False).returncode:
        pytest.skip("express is not installed where node finds it (NODE_PATH)")


def node_modules(name: str, directory: Path) -> str:
    """The directory of node's modules that contains a package, installed if possible; otherwise skips the test."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("node and npm are not installed")
    there = subprocess.run([npm, "root", "-g"], capture_output=True, text=True, check=False).stdout.strip()
    if (Path(there) / name).is_dir():
        return there
    command = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(directory), name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm did not install {name} within 60 s")
    if done.returncode:
        pytest.skip(f"npm cannot install {name}: {done.stderr.strip()[-200:]}")
    return str(directory / "node_modules")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


@contextmanager
def serving_on(port: int, command: Sequence[str], directory: Path, **variables: str) -> Iterator[str]:
    """Runs a server in a directory; yields its URL when it listens. What it prints is in the files `out` and `log`."""
    environment = {**os.environ, **variables}
    with (directory / "out").open("w") as out, (directory / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=directory, env=environment, stdout=out, stderr=log)
    try:
        for _ in range(3000):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, (directory / "log").read_text()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)
