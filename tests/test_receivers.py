"""The programs in docs/receivers.md, extracted and run unchanged."""

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from arkcli.contract import samples
from arkcli.contract.events import MAX_BODY
from arkcli.signing import sign
from arkcli.system.clock import SystemClock
from tests.programs import PAGES, Language, free_port, needs_express, programs_of, serving_on
from tests.world import START, Behaviour, Request, TestReceiver, World, answer

PAGE = PAGES / "receivers.md"
PROGRAMS = programs_of("receivers.md")

BODY = '{"text":"Zoë"}\r\n'.encode() + b"\x00\xff"
SECRET, BEFORE = "s3cret", "the one before"
RIGHT = sign(SECRET, BODY)

LANGUAGES = {
    "verify.py": Language(sys.executable, [], [sys.executable, "verify.py"]),
    "verify.js": Language("node", [], ["node", "verify.js"]),
    "verify.go": Language("go", ["go", "build", "-o", "verify", "verify.go"], ["./verify"]),
    "verify.php": Language("php", [], ["php", "verify.php"]),
    "Verify.java": Language("javac", ["javac", "Verify.java"], ["java", "-XX:TieredStopAtLevel=1", "Verify"]),
}

#: Body, signature, variables, and whether the signature is valid.
CASES = [
    (BODY, RIGHT, {"ARK_SECRET": SECRET}, True),
    (BODY, RIGHT.upper(), {"ARK_SECRET": SECRET}, True),
    (BODY, f"sha256={RIGHT}", {"ARK_SECRET": SECRET}, True),
    (BODY, f"SHA256={RIGHT.upper()}", {"ARK_SECRET": SECRET}, True),
    (BODY, RIGHT, {"ARK_SECRET": "the next one", "ARK_SECRET_BEFORE": SECRET}, True),
    (BODY, RIGHT, {"ARK_SECRET": SECRET, "ARK_SECRET_BEFORE": BEFORE}, True),
    (BODY + b"\n", RIGHT, {"ARK_SECRET": SECRET}, False),
    (BODY, RIGHT, {"ARK_SECRET": "another", "ARK_SECRET_BEFORE": BEFORE}, False),
    (BODY, RIGHT, {}, False),
    (BODY, RIGHT, {"ARK_SECRET": ""}, False),
    (BODY, "", {"ARK_SECRET": SECRET}, False),
    (BODY, RIGHT[:-1], {"ARK_SECRET": SECRET}, False),
    (BODY, "é" * 32, {"ARK_SECRET": SECRET}, False),
]


def test_wherever_the_page_reads_raw_bodies_with_express_it_raises_the_limit() -> None:
    text = PAGE.read_text("utf-8")
    assert text.count("express.raw({") == text.count('express.raw({ type: "*/*", limit: "2mb" })') == 2


def test_the_page_has_a_program_in_five_languages_and_two_receivers_of_each_kind() -> None:
    assert PROGRAMS.keys() == {*LANGUAGES, "receiver.py", "receiver.js", "standard.py", "standard.js"}


def made(program: str, directory: Path) -> Sequence[str]:
    return LANGUAGES[program].built(program, PROGRAMS[program], directory)


@pytest.mark.parametrize("program", LANGUAGES)
def test_the_program_of_a_language_verifies(program: str, tmp_path: Path) -> None:
    run = made(program, tmp_path)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ARK_")}
    for body, signature, variables, valid in CASES:
        command, environment = [*run, signature], {**inherited, **variables}
        done = subprocess.run(command, input=body, cwd=tmp_path, env=environment, capture_output=True, check=False)
        said = (done.returncode, done.stdout.split(), done.stderr)
        assert said == ((0, [b"valid"], b"") if valid else (1, [b"invalid"], b"")), (signature, variables)


@contextmanager
def running(command: str, program: str, directory: Path) -> Iterator[str]:
    """Runs a receiver of the page as a process; yields its URL."""
    for name in (program, f"verify{Path(program).suffix}"):
        (directory / name).write_text(PROGRAMS[name])
    port, secrets = free_port(), {"ARK_SECRET": "the next one", "ARK_SECRET_BEFORE": SECRET}
    with serving_on(port, [command, program, str(port)], directory, **secrets) as url:
        yield f"{url}/hook"


def post(url: str, body: bytes, signature: str, delivery: str) -> int:
    headers = {"X-SignalArk-Signature": signature, "X-SignalArk-Delivery": delivery, "Content-Type": "application/json"}
    return httpx.post(url, content=body, headers=headers, trust_env=False).status_code


def check_receiver(url: str, world: World, events_done: Callable[[], list[str]]) -> None:
    """Checks that a real sender's events are accepted once each, and nothing else is."""

    def done_with(count: int) -> list[str]:
        while len(found := events_done()) < count:
            clock.sleep(0.01)
        return found

    clock = SystemClock()
    world.clock.milliseconds = clock.now()
    world.ark("secret", "set", stdin=SECRET.encode())
    assert world.ark("dest", "add", url, "--allow-local").status == 0
    assert world.ark("send", "signal.promoted", "--sample").status == 0
    small = samples.complete("signal.play_matched", clock.now(), "batch_1")
    # The largest body that is ever sent.
    body = small[:-1] + b',"padding":"%b"}' % (b"x" * (MAX_BODY - len(small) - len(',"padding":""')))
    assert len(body) == MAX_BODY
    for signature in (sign("wrong", body), "", sign(SECRET, body + b"\n")):
        assert post(url, body, signature, "dlv_1") == 401
    assert post(url, b"", sign("wrong", b""), "dlv_1") == 401
    for delivery in ("dlv_1", "dlv_1", "dlv_2"):
        assert post(url, body, sign(SECRET, body), delivery) == 204
    assert world.ark("send", "social.lead_promoted", "--sample").status == 0
    assert done_with(4) == ["ping", "signal.promoted", "signal.play_matched", "social.lead_promoted"]


def test_the_receiver_in_python_takes_each_event_once(world: World, tmp_path: Path) -> None:
    def inbox() -> list[str]:
        with closing(sqlite3.connect(tmp_path / "inbox.db")) as opened:
            return [json.loads(body)["event"] for (body,) in opened.execute("SELECT body FROM inbox ORDER BY rowid")]

    with running(sys.executable, "receiver.py", tmp_path) as url:
        check_receiver(url, world, inbox)
        assert world.ark("check", url, "--allow-local").out.endswith("\n12 of 12 passed\n")
        old = samples.complete("signal.promoted", START - 400 * 86_400_000, "batch_1")
        assert post(url, old, sign(SECRET, old), "dlv_3") == 401


def test_the_receiver_with_express_takes_each_event_once(world: World, tmp_path: Path) -> None:
    needs_express(tmp_path)
    with running("node", "receiver.js", tmp_path) as url:
        check_receiver(url, world, lambda: (tmp_path / "out").read_text().split())
        assert world.ark("check", url, "--allow-local").out.endswith("\n12 of 12 passed\n")


@pytest.mark.parametrize("program", ["verify.py", "verify.go", "verify.php"])  # the others start slowly
def test_a_receiver_with_the_program_of_a_language_passes_every_check(
    program: str, world: World, receive: Callable[[Behaviour], TestReceiver], tmp_path: Path
) -> None:
    run = made(program, tmp_path)
    environment = {**os.environ, "ARK_SECRET": SECRET}

    def behave(request: Request) -> bytes:
        command = [*run, request.headers.get("x-signalark-signature", "")]
        done = subprocess.run(command, input=request.body, cwd=tmp_path, env=environment, check=False)
        return answer(401 if done.returncode else 204)

    world.variables["ARK_SECRET"] = SECRET
    result = world.ark("check", receive(behave).url, "--allow-local")
    assert (result.status, result.err) == (0, "")


def test_the_script_for_a_build_checks_the_receiver_and_fails_with_it(tmp_path: Path) -> None:
    (script,) = re.findall(r"<!-- script: check -->\n```sh\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    for name in ("verify.py", "receiver.py"):
        (tmp_path / name).write_text(PROGRAMS[name])
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    script = script.replace("8787", str(free_port()))

    def built() -> subprocess.CompletedProcess[str]:
        environment = {"PATH": path, "HOME": str(tmp_path)}
        return subprocess.run(
            ["bash", "-euc", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    assert "12 of 12 passed" in built().stdout
    (tmp_path / "receiver.py").write_text(PROGRAMS["receiver.py"].replace("if not verify(", "if False and verify("))
    careless = built()
    assert careless.returncode == 1
    assert "other-secret\tfail\t204\t4xx" in careless.stdout
