"""Commands do not import modules that they do not need; checked in new processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from arkcli import __version__
from arkcli.signing import sign

SECRET, BODY = "s3cret", b'{"event":"ping"}'
#: Modules that are slow to import and not needed to sign or verify.
HEAVY = {
    *(
        "httpx",
        "rich",
        "jinja2",
        "pycurl",
        "asyncio",
        "httptools",
        "msgspec",
        "http.server",
        "socketserver",
        "ssl",
        "platformdirs",
    ),
    *("tomllib", "tomli_w", "tomlkit", "certifi", "importlib.metadata", "arkcli.wire", "arkcli.queue.local.queue"),
    "arkcli.signing.explain.search",
}

RUN = """
import sys
from arkcli.cli.app import run
from arkcli.cli.session import Session
status = run(sys.argv[1:], Session.of_this_process())
print("status", status, *sys.modules, file=sys.stderr)
"""
MAIN = """
import sys
from arkcli.__main__ import main
main()
print("status", 0, *sys.modules, file=sys.stderr)
"""
LIBRARY = """
import sys
from arkcli.signing import sign, verify
print("status", 0, *sys.modules, file=sys.stderr)
"""


def started(code: str, *args: str, **variables: str) -> tuple[str, set[str]]:
    """A new process's standard output, and the modules that it has imported by its end."""
    command = [sys.executable, "-c", code, *args]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ARK_")}
    process = subprocess.run(command, input=BODY, env=inherited | variables, capture_output=True, check=True)
    report = process.stderr.decode().splitlines()[-1].split()
    assert report[:2] == ["status", "0"], process.stderr
    return process.stdout.decode().strip(), set(report[2:])


@pytest.mark.parametrize("where", ["option", "environment", "file"])
@pytest.mark.parametrize("command", ["sign", "verify"])
def test_a_signature_costs_only_what_it_needs(tmp_path: Path, command: str, where: str) -> None:
    (tmp_path / "secret").write_text(SECRET)
    args = {"option": ["--secret", SECRET], "environment": [], "file": ["--secret-file", f"{tmp_path}/secret"]}[where]
    variables = {"ARK_SECRET": SECRET} if where == "environment" else {}
    signature = ["--signature", sign(SECRET, BODY)] if command == "verify" else []
    said, modules = started(RUN, command, *args, *signature, **variables)
    assert said == ("valid" if command == "verify" else sign(SECRET, BODY))
    assert modules & {*HEAVY, "json"} == set()


@pytest.mark.parametrize("command", ["sign", "verify"])
def test_a_plain_signature_costs_no_parser_either(command: str) -> None:
    signature = ["--signature", sign(SECRET, BODY)] if command == "verify" else []
    said, modules = started(MAIN, command, "--secret", SECRET, *signature)
    assert said == ("valid" if command == "verify" else sign(SECRET, BODY))
    assert modules & {*HEAVY, "json", "typer", "inspect", "shutil", "subprocess", "pathlib"} == set()


@pytest.mark.parametrize("command", ["sign", "verify"])
def test_a_signature_as_json_costs_json_besides(command: str) -> None:
    signature = ["--signature", sign(SECRET, BODY)] if command == "verify" else []
    said, modules = started(RUN, command, "--json", "--secret", SECRET, *signature)
    assert said.startswith('{"')
    assert "json" in modules
    assert modules & HEAVY == set()


def test_the_version_costs_nothing_but_itself() -> None:
    said, modules = started(MAIN, "--version")
    assert said == f"ark {__version__}"
    assert modules & {*HEAVY, "json", "typer", "click", "argparse"} == set()
    assert {name for name in modules if name.startswith("arkcli")} == {"arkcli", "arkcli.__main__", "arkcli.version"}


def test_the_library_for_signatures_imports_nothing_else_of_ark() -> None:
    _, modules = started(LIBRARY)
    assert {name for name in modules if name.startswith("arkcli")} == {"arkcli", "arkcli.signing", "arkcli.version"}
    assert modules & {*HEAVY, "json", "typer"} == set()


#: What commands pay for only when they do it.
NETWORK = {"pycurl", "certifi", "arkcli.wire.transfer"}
REPAIR = {f"arkcli.queue.local.{name}" for name in ("check", "dump", "misfits", "requeue", "restore")}
OPTIONS = {"json", "arkcli.cli.dryrun", *(f"arkcli.contract.{name}" for name in ("assignments", "keys", "spelling"))}
SELDOM = {"rich", "tomli_w", "tomlkit", "asyncio", "arkcli.actions.advice", "arkcli.actions.preview"}
#: Loads OpenSSL.
SIGNING = {"hmac", "_hashlib"}


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """A home with one destination, which nobody can reach."""
    found = {"ARK_CONFIG_DIR": f"{tmp_path}/config", "ARK_STATE_DIR": f"{tmp_path}/state"}
    started(RUN, "dest", "add", "http://127.0.0.1:9/", "--name", "crm", "--allow-local", "--no-ping", **found)
    return found


def test_an_event_that_is_only_queued_costs_no_delivery(home: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "body.json").write_text(started(RUN, "events", "sample", "signal.promoted", **home)[0])
    said, modules = started(MAIN, "send", "signal.promoted", f"{tmp_path}/body.json", "--queue", **home)
    assert said == "crm\twaiting\t-\t-\t-"
    delivery = {"arkcli.delivery.loop", "arkcli.delivery.drain", "arkcli.wire.wire", "arkcli.intake.stream", "socket"}
    others = {"arkcli.cli.ping", "arkcli.actions.destinations", "arkcli.actions.reading", "arkcli.cli.quick"}
    assert modules & {*NETWORK, *REPAIR, *OPTIONS, *SELDOM, *SIGNING, *delivery, *others} == set()


def test_a_drain_with_nothing_due_costs_no_way_to_the_network(home: dict[str, str]) -> None:
    said, modules = started(MAIN, "drain", **home)
    assert said.startswith("attempted 0 ")
    assert modules & {*NETWORK, *REPAIR, *OPTIONS, *SELDOM, *SIGNING} == set()


def test_a_look_at_the_queue_costs_neither_a_change_nor_a_delivery(home: dict[str, str]) -> None:
    said, modules = started(MAIN, "queue", **home)
    assert said.startswith("crm\t0")
    delivery = {"arkcli.delivery.loop", "arkcli.wire.wire"}
    assert modules & {*NETWORK, *REPAIR, *OPTIONS, *SELDOM, *SIGNING, *delivery} == set()


def test_names_are_completed_without_a_way_to_the_network(home: dict[str, str]) -> None:
    said, modules = started(RUN, "send", "signal.promoted", "--to", _ARK_COMPLETE="=c", **home)
    assert said == "crm\thttp://127.0.0.1:9/"
    assert modules & {*NETWORK, "arkcli.wire.wire"} == set()


def test_a_pattern_is_compiled_when_it_is_first_used(home: dict[str, str]) -> None:
    code = """
import re, sys
compiled = []
compile = re._compile
def noted(source, flags):
    compiled.append(sys._getframe(2).f_globals["__name__"])
    return compile(source, flags)
re._compile = noted
from arkcli.__main__ import main
main()
print("status", 0, *compiled, file=sys.stderr)
"""
    _, by = started(code, "queue", **home)
    assert {name for name in by if name.startswith("arkcli.")} <= {"arkcli.text", "arkcli.times"}


def test_a_parser_that_keeps_comments_is_paid_for_by_what_changes_a_table_alone(tmp_path: Path) -> None:
    home = {"ARK_CONFIG_DIR": f"{tmp_path}/config", "ARK_STATE_DIR": f"{tmp_path}/state"}
    add = ("dest", "add", "http://127.0.0.1:9/", "--name", "crm", "--allow-local", "--no-ping")
    assert "tomlkit" not in started(RUN, *add, **home)[1]
    assert "tomlkit" not in started(RUN, "dest", "list", **home)[1]
    assert "tomlkit" in started(RUN, "dest", "pause", "crm", **home)[1]
