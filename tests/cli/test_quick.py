"""The fast path of `ark sign` and `ark verify`: it does exactly what the commands do, or nothing."""

import io
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import pytest
import typer
from hypothesis import example, given, settings
from hypothesis import strategies as st

from arkcli.cli import quick, sign, verify
from arkcli.cli.app import run
from arkcli.cli.session import Session
from arkcli.signing import sign as signature_of

SECRET, BODY = "s3cret", b'{"event":"ping"}\n'
SIGNATURE = signature_of(SECRET, BODY)


class Said(NamedTuple):
    status: int
    out: str
    err: str


def session(stdin: bytes, variables: dict[str, str]) -> Session:
    return Session(variables, io.BytesIO(stdin), io.StringIO(), io.StringIO())


def said(world: Session, status: int) -> Said:
    assert isinstance(world.stdout, io.StringIO)
    assert isinstance(world.stderr, io.StringIO)
    return Said(status, world.stdout.getvalue(), world.stderr.getvalue())


def both(args: Sequence[str], stdin: bytes, variables: dict[str, str]) -> tuple[bool, Said, Said]:
    """Whether the fast path handled it; the output of `ark` with it, and the output of the full command."""
    one, other = session(stdin, variables), session(stdin, variables)
    done = quick.run(args, one)
    if not done:
        assert said(one, 0) == (0, "", "")
    return done, said(one, 0 if done else run(args, one)), said(other, run(args, other))


@pytest.fixture(scope="module")
def files() -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory() as name:
        contents = {
            "secret": SECRET.encode() + b"\n",
            "other": b"another",
            "empty": b"",
            "body": BODY,
            "large": b"x" * 2**21,
        }
        for file, content in contents.items():
            Path(name, file).write_bytes(content)
            Path(name, file).chmod(0o600)
        yield {file: str(Path(name, file)) for file in (*contents, "nothing")} | {"directory": name}


@pytest.mark.parametrize(
    "args",
    [
        ("sign", "--secret", SECRET),
        ("sign", "--secret-file", "secret"),
        ("sign", "body", "--secret", SECRET),
        ("sign", "-", "--secret", SECRET),
        ("verify", "--secret", SECRET, "--signature", SIGNATURE),
        ("verify", "--secret-file", "secret", "-s", f"sha256={SIGNATURE.upper()}"),
        ("verify", "--signature", f"X-SignalArk-Signature: {SIGNATURE}", "body", "--secret", SECRET),
    ],
)
def test_what_is_plain_is_done_the_quick_way_and_says_the_same(files: dict[str, str], args: Sequence[str]) -> None:
    done, ours, theirs = both([files.get(word, word) for word in args], BODY, {})
    assert done
    assert ours == theirs == (0, f"{SIGNATURE if args[0] == 'sign' else 'valid'}\n", "")


def test_the_secret_of_the_environment_serves_both() -> None:
    assert both(["sign"], BODY, {"ARK_SECRET": SECRET})[0]
    assert both(["verify", "-s", SIGNATURE], BODY, {"ARK_SECRET": SECRET})[0]


@pytest.mark.parametrize("module", [sign, verify])
def test_the_options_are_those_of_the_commands_and_take_one_value(module: object) -> None:
    command = typer.main.get_command(module.app)  # type: ignore[attr-defined] # a command's module has one
    declared = {word: found for found in command.params for word in found.opts}
    for word, name in quick.OPTIONS[module.__name__.rpartition(".")[2]].items():  # type: ignore[attr-defined] # it has
        assert declared[word].name == name
        assert declared[word].nargs == 1
        assert not getattr(declared[word], "is_flag", False)
    assert [found.name for found in command.params if found.param_type_name == "argument"] == ["file"]


WORDS = st.sampled_from(
    [
        *(
            "--secret",
            "--secret-file",
            "--signature",
            "-s",
            "--json",
            "--quiet",
            "-q",
            "--help",
            "--explain",
            "--",
            "-",
        ),
        *(SECRET, SIGNATURE, SIGNATURE.upper(), "another", "", " ", "--secret=s3cret", f"-s{SIGNATURE}", "é\udc80"),
        *("secret", "other", "empty", "body", "large", "nothing", "directory"),
    ]
)


@settings(max_examples=150, deadline=None)
@example("sign", ["--secret", "--json"], BODY, None)
@example("verify", ["--secret", SECRET, "-s", SIGNATURE], BODY + b"x", None)
@example("verify", ["--secret", SECRET, "--secret", "another", "-s", SIGNATURE], BODY, None)
@example("sign", ["--secret", SECRET, "--secret-file", "other"], BODY, None)
@example("sign", ["--secret", SECRET], b"x" * (2**20 + 1), None)
@given(
    command=st.sampled_from(["sign", "verify"]),
    words=st.lists(WORDS, max_size=7),
    stdin=st.sampled_from([b"", BODY, b"x" * 2**20, b"y" * (2**20 + 1)]),
    secret=st.sampled_from([None, SECRET, "another", ""]),
)
def test_with_the_quick_way_and_without_it_any_command_line_does_the_same(
    files: dict[str, str], command: str, words: list[str], stdin: bytes, secret: str | None
) -> None:
    nowhere = {"ARK_CONFIG_DIR": files["nothing"], "ARK_STATE_DIR": files["nothing"]}
    variables = nowhere if secret is None else {**nowhere, "ARK_SECRET": secret}
    _, ours, theirs = both([command, *(files.get(word, word) for word in words)], stdin, variables)
    assert ours == theirs


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt()])
def test_standard_input_that_breaks_off_is_for_the_command_to_tell(error: BaseException) -> None:
    class Broken:
        def read(self, _: int) -> bytes:
            raise error

    args = ["sign", "--secret", SECRET]
    one, other = session(b"", {}), session(b"", {})
    one.stdin = other.stdin = cast("BinaryIO", Broken())
    assert not quick.run(args, one)
    ours, theirs = said(one, run(args, one)), said(other, run(args, other))
    assert ours == theirs
    assert (ours.status, ours.out) == (130 if isinstance(error, KeyboardInterrupt) else 1, "")


@pytest.mark.parametrize("command", ["send", "--json", "--version", ""])
def test_other_commands_are_not_touched(command: str) -> None:
    assert quick.parse([command]) is None
    assert quick.parse([]) is None


@pytest.mark.parametrize("size", [10, 2**20, 2**20 + 1, 3 * 2**20])
def test_a_body_that_can_be_read_only_once_is_read_once(size: int) -> None:
    body = b"x" * size
    read, write = os.pipe()
    writing = threading.Thread(target=lambda: Path(f"/dev/fd/{write}").write_bytes(body))
    writing.start()
    process = subprocess.Popen(
        [sys.executable, "-m", "arkcli", "sign", f"/dev/fd/{read}", "--secret", SECRET],
        stdout=subprocess.PIPE,
        pass_fds=[read],
    )
    os.close(read)
    writing.join()
    os.close(write)
    assert process.communicate()[0].decode().strip() == signature_of(SECRET, body)


def test_a_reader_that_has_gone_is_no_traceback() -> None:
    read, write = os.pipe()
    os.close(read)
    process = subprocess.run(
        [sys.executable, "-m", "arkcli", "sign", "--secret", SECRET],
        input=BODY,
        stdout=write,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(write)
    assert (process.returncode, process.stderr) == (0, b"")
