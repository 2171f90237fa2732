"""Every command shown in the documents works as shown."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from arkcli.cli.app import COMMANDS
from arkcli.contract.events import PURPOSES
from arkcli.model import DOCUMENTED
from arkcli.signing import sign
from arkcli.times import describe_duration
from tests.world import PAYLOAD, TestReceiver, World, verifying

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CONSOLE = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)


#: A request that was saved, signed with the secret of `surroundings`.
RECEIVED = f"POST / HTTP/1.1\r\nX-SignalArk-Signature: {sign('s3cret', PAYLOAD)}\r\n\r\n".encode() + PAYLOAD


def commands(document: Path) -> list[str]:
    blocks = CONSOLE.findall(document.read_text())
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def surroundings(world: World, home: Path) -> dict[str, str]:
    """Environment variables of a shell in which the documents' commands can be run."""
    return {
        **os.environ,
        **world.variables,
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SECRET": "s3cret",
        "SIGNATURE": sign("s3cret", PAYLOAD),
    }


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_shown_works(
    document: Path,
    world: World,
    receive: Callable[..., TestReceiver],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    if document.name == "scaling.md":
        world.variables["ARK_QUEUE"] = request.getfixturevalue("empty_database")
    (tmp_path / "payload.json").write_bytes(PAYLOAD)
    (tmp_path / "payloads.ndjson").write_bytes(PAYLOAD + b"\n" + PAYLOAD + b"\n")
    environment = surroundings(world, tmp_path) | {"URL": receive(200).url}
    right = receive(verifying(lambda: ["s3cret", *world.shared_secrets()])).url
    (tmp_path / "received.http").write_bytes(RECEIVED)
    if document.name in ("operating.md", "applications.md", "receivers.md"):
        # They assume that a destination exists.
        world.add(receive(200), "crm")
    for command in commands(document):
        if command.startswith("ark listen"):
            assert listens(f"{command} --port 0", tmp_path, environment)
            continue
        variables = {**environment, "URL": right} if "ark check" in command else environment
        done = subprocess.run(
            ["bash", "-euc", command], cwd=tmp_path, env=variables, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr


def listens(command: str, directory: Path, environment: dict[str, str]) -> bool:
    """Whether a receiver prints its URL, and stops on SIGTERM."""
    with subprocess.Popen(
        ["bash", "-euc", f"exec {command}"], cwd=directory, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        process.terminate()
        return said.startswith("listening on http://127.0.0.1:") and process.wait(20) == 130


def test_the_explanation_that_the_readme_shows_is_the_one_that_is_given(world: World) -> None:
    told = world.ark("verify", "--explain", "--secret", "k", "--signature", sign("k", PAYLOAD), stdin=PAYLOAD + b"\n")
    assert f"```text\n{told.err}```" in (ROOT / "README.md").read_text()


def test_the_readme_shows_every_command() -> None:
    shown = " ".join(commands(ROOT / "README.md"))
    for word in (
        "dest add",
        "send",
        "drain",
        "queue",
        "sign",
        "check",
        "verify --explain",
        "listen",
        "secret show",
        "events",
    ):
        assert f"ark {word}" in shown


def test_the_readme_tells_what_every_command_does() -> None:
    rows = re.findall(r"^\| (`ark .+?) \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`ark (\w+)", row)} == COMMANDS.keys()


def test_the_gate_runs_the_very_command_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    gate = (ROOT / ".ci" / "run").read_text()
    (command,) = re.findall(r"<!-- command: tests -->\n```sh\n(.*)\n```", readme)
    assert "pytest" in command
    assert "<!-- command: tests -->" in gate


@pytest.mark.parametrize(
    "helps",
    [
        *(["dest add", "dest set", "dest show"], ["send"], ["drain"], ["listen"], ["sign"], ["verify"], ["replay"]),
        *(["queue list", "queue retry", "queue drop", "queue check"], ["secret"], ["ping"], ["log"]),
    ],
    ids=" ".join,
)
def test_every_option_in_the_readme_exists(world: World, helps: list[str]) -> None:
    word = helps[0].split()[0] if helps[0].startswith("dest") else helps[0]
    rows = (ROOT / "README.md").read_text().splitlines()
    row = next(line for line in rows if line.startswith("|") and f"ark {word}" in line)
    shown = "".join(world.ark(*words.split(), "--help").out for words in helps)
    for option in re.findall(r"`(--[a-z-]+)", row):
        assert option in shown


def test_what_the_code_cites_of_the_contract_stands_in_it() -> None:
    page = (ROOT / "docs" / "contract.md").read_text()
    headings = set(re.findall(r"^## (.+)$", page, re.MULTILINE))
    code = "".join(path.read_text() for path in (ROOT / "arkcli").rglob("*.py"))
    cited = set(re.findall(r'\(contract,\s+"([^"]+)"', code))
    assert {"Requests", "Events", "Delivery and retries"} <= cited <= headings
    assert {row[0]: row[1] for row in re.findall(r"^\| `([a-z_.]+)` \| (.+) \|$", page, re.MULTILINE)} == PURPOSES
    assert [describe_duration(delay / 1000) for delay in DOCUMENTED.delays] == ["30 s", "5 min", "30 min", "2 h"]
    assert "30 seconds, 5 minutes, 30 minutes and 2 hours after the attempt before it: five" in page


def test_each_claim_about_security_names_its_tests_and_they_exist() -> None:
    claims, _, index = (ROOT / "docs" / "security.md").read_text().partition("\n## Tests\n")
    expected = []
    for section in claims.split("\n## ")[1:]:
        rows = re.findall(r"^\| (?!attack)([^|:]+)[^|]*\| .+ \|$", section, re.MULTILINE)
        expected += [row.strip() for row in rows] or [section.partition("\n")[0]]
    rows = re.findall(r"^\| (?!claim)([^|]+) \| (.+) \|$", index, re.MULTILINE)
    assert [claim for claim, _ in rows] == expected
    for claim, tests in rows:
        paths = re.findall(r"`(tests/[^`]+)`", tests)
        assert paths, claim
        assert [path for path in paths if not (ROOT / path).exists()] == []
