"""A stall fails no delivery: an answer that arrived while this process was stopped is in time.

Each stall is real: a signal stops the process for longer than the deadline of an attempt.
"""

import json
import signal
import ssl
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hostile.rows import AUTHORITY, GOOD
from tests.hostile.servers import Handler, Hostile, Talk
from tests.hostile.test_answers import _start
from tests.world import PAYLOAD, World

#: Longer than the deadline.
STALL = 11.0
#: An exit status, and the printed document.
Ended = tuple[int, dict[str, object]]
COMMANDS = ("send", "drain", "ping", "dest add")


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("127.0.0.1").configure_cert(context)
    return context


def _stalled_over(answer: bytes, stop: Callable[[], None], plain: bool) -> Handler:
    """Stops the sender when its request has arrived, and answers while it is stopped."""

    def handle(talk: Talk) -> None:
        if not plain:
            talk.secure(_context())
        if talk.read() is None:
            return
        stop()
        talk.say(answer)
        talk.hang()

    return handle


class Stalled:
    """A command that is stopped during its attempt and continues after the deadline."""

    def __init__(self, home: Path, command: str, *, plain: bool) -> None:
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None
        self._started = threading.Event()
        self._server = Hostile(_stalled_over(GOOD, self._stop, plain))
        url = f"http{'' if plain else 's'}://127.0.0.1:{self._server.port}/"
        world, ca_file, payload = World(home), str(home / "ca.pem"), home / "payload.json"
        home.mkdir()
        AUTHORITY.cert_pem.write_to_path(ca_file)
        payload.write_bytes(PAYLOAD)
        options = ("--name", "crm", "--allow-local", "--ca-file", ca_file)
        if command != "dest add":
            assert world.ark("dest", "add", url, *options, "--no-ping").status == 0
        if command == "drain":
            assert world.ark("send", "signal.promoted", str(payload), "--queue").status == 0
        self._words = {
            "send": ("send", "signal.promoted", str(payload)),
            "drain": ("drain",),
            "ping": ("ping",),
            "dest add": ("dest", "add", url, *options),
        }[command]

    def _stop(self) -> None:
        self._started.wait(5)
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        threading.Timer(STALL, self._process.send_signal, [signal.SIGCONT]).start()

    def start(self) -> None:
        self._process = _start(self._home, *self._words)
        self._started.set()

    def end(self) -> Ended:
        assert self._process is not None
        out, _ = self._process.communicate(timeout=60)
        self._server.close()
        return self._process.returncode, json.loads(out)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, bool], Ended]:
    """Runs every command on both protocols, all at once."""
    home = tmp_path_factory.mktemp("stalls")
    made = {
        (command, plain): Stalled(home / f"{command}-{plain}", command, plain=plain)
        for command in COMMANDS
        for plain in (True, False)
    }
    for stalled in made.values():
        stalled.start()
    return {key: stalled.end() for key, stalled in made.items()}


@pytest.mark.parametrize("plain", [True, False], ids=["http", "https"])
@pytest.mark.parametrize("command", COMMANDS)
def test_an_answer_that_lies_ready_after_a_stop_came_in_time(
    ended: dict[tuple[str, bool], Ended], command: str, plain: bool
) -> None:
    status, said = ended[command, plain]
    assert status == 0, said
    if command == "drain":
        assert said["delivered"] == 1
    else:
        text = json.dumps(said)
        assert '"outcome": "delivered"' in text
        assert '"status": 200' in text
