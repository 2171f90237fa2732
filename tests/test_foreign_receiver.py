"""Debian's package `webhook`, a receiver that we did not write, checks our signature."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.programs import free_port, serving_on
from tests.world import PAYLOAD, World


@pytest.fixture(scope="module")
def webhook() -> str:
    """The program, installed if possible."""
    if found := shutil.which("webhook"):
        return found
    if shutil.which("apt-get") is None:
        pytest.skip("apt-get is not available, so Debian's package webhook cannot be installed")
    if os.geteuid() != 0:
        pytest.skip("only root may install Debian's package webhook")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", "webhook"]):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode:
            pytest.skip(f"{' '.join(command)} failed: {done.stderr.strip()[-200:]}")
    found = shutil.which("webhook")
    assert found is not None
    return found


@contextmanager
def running(webhook: str, directory: Path, secret: str) -> Iterator[str]:
    """Runs webhook with one hook, which requires a valid signature; yields its URL."""
    hook = {
        "id": "signalark",
        "execute-command": "/bin/true",
        "response-message": "taken",
        "trigger-rule": {
            "match": {
                "type": "payload-hmac-sha256",
                "secret": secret,
                "parameter": {"source": "header", "name": "X-SignalArk-Signature"},
            }
        },
    }
    hooks = directory / "hooks.json"
    hooks.write_text(json.dumps([hook]))
    port = free_port()
    command = [webhook, "-hooks", str(hooks), "-ip", "127.0.0.1", "-port", str(port), "-verbose"]
    with serving_on(port, command, directory) as url:
        yield f"{url}/hooks/signalark"


def test_our_signature_passes_the_check_of_debians_webhook(webhook: str, world: World, tmp_path: Path) -> None:
    secret = world.ark("secret", "rotate", "--reveal", "--json").json["secret"]
    with running(webhook, tmp_path, secret) as url:
        added = world.ark("dest", "add", url, "--allow-local", "--name", "debian")
        assert added.status == 0, added.err
        assert world.ark("send", "signal.promoted", stdin=PAYLOAD).status == 0

        world.ark("secret", "rotate")
        refused = world.ark("send", "signal.promoted", "--json", stdin=PAYLOAD)
        assert refused.status == 75
        assert refused.json["deliveries"][0]["outcome"] == "retrying"
