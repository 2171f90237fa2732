"""Unusual surroundings, such as closed streams and odd bytes: no traceback, and a correct exit status."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from arkcli.cli.app import run
from tests.test_docs import surroundings
from tests.world import World

FULL = b"error: standard output cannot be written (No space left on device)\n"
ODD = os.fsdecode(b"odd\xff")


def shell(world: World, home: Path, command: str, **variables: str | None) -> subprocess.CompletedProcess[bytes]:
    # Let output be buffered, so that some of it is written only at the end.
    buffered = {key: value for key, value in surroundings(world, home).items() if key != "PYTHONUNBUFFERED"}
    environment = {**buffered, **{key: value for key, value in variables.items() if value is not None}}
    for key, value in variables.items():
        if value is None:
            del environment[key]
    for place in ("/dev/full", "/proc"):
        if place in command and not Path(place).exists():
            pytest.skip(f"this system has no {place}")
    done = subprocess.run(["bash", "-c", command], env=environment, cwd=home, capture_output=True, check=False)
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    return done


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        ("ark queue <&- >&- 2>&-", 0, b""),
        ("ark send signal.promoted --sample --queue >&-", 0, b"accepted evt_"),
        ("ark send signal.promoted --queue <&-", 2, b"error: $: this is not JSON: it is empty"),
        ("ark dest show nobody 2>&-", 2, b""),
        ("ark config path > /dev/full", 74, FULL),
        ("ark config path --json > /dev/full", 74, FULL),
        ("ark queue --json > /dev/full", 74, FULL),
        ("ark dest show nobody --json > /dev/full", 2, b"error: there is no destination"),
        ("ark sign --secret s < /dev/null > /dev/full", 74, FULL),
        ("ark > /dev/full", 74, FULL),
        ("ark --version > /dev/full", 74, FULL),
        ("ark log | true", 0, b""),
        ("ark secret rotate > /dev/full", 74, b"replaced the signing secret"),
        ("ark dest pause crm > /dev/full", 74, b"paused crm\n" + FULL),
        ("ark dest pause crm --json > /dev/full", 74, b"paused crm\n" + FULL),
        ("ark dest add https://b.example/ --no-ping > /dev/full", 74, b"added b.example"),
        ("ark secret rotate --reveal > /dev/full", 74, FULL[:-1] + b": replaced the signing secret"),
        ("ark drain > /dev/full", 74, b"attempted 0 in "),
        ("ark send signal.promoted --sample --queue --json > /dev/full", 74, FULL[:-1] + b": evt_"),
        (
            "ark send signal.promoted --sample --queue --json | true",
            0,
            b"warning: standard output cannot be written (Bro",
        ),
        ("ark send signal.promoted --sample --queue 2> /dev/full | true", 0, b""),
        (
            "echo '{}' | ark send signal.promoted --no-validate --ndjson --queue > /dev/full",
            74,
            b"up to line 1, and no",
        ),
        ("ark dest pause crm --json | true", 0, b""),
        ("ark dest show nobody --json | true", 2, b"error: there is no destination"),
        ("ark log -n 99999999999999999999", 2, b"is not in the range"),
        ("ark queue list -n 99999999999999999999", 2, b"is not in the range"),
        (f"ark queue list -n {sys.maxsize}; ark log -n {sys.maxsize}", 0, b""),
        ("ark queue --prometheus ''", 2, b"error: . cannot be written: it is a directory"),
        ("ark queue --prometheus /dev/null", 2, b"error: /dev/null cannot be replaced: it is a device or a pipe"),
        ("ark queue --prometheus /", 2, b"error: / cannot be written: it is a directory"),
        ("ln -s loop loop; ark listen --port 0 --secret s --save loop", 2, b"error: --save: loop cannot be written: "),
        ("ark listen --port 0 --secret s --host a..b", 2, b"error: cannot listen on 'a..b': there is no such host"),
        ("ark listen --port 0 --secret s --host $'\\xff'", 2, b"error: cannot listen on "),
        ("ark completion bash | head -c 1 > /dev/null", 0, b""),
        ("ark send $'odd\\xff' --sample", 2, b"error: there is no event"),
        ("ark sign --secret s $'odd\\xff'", 2, b"cannot be read: No such file"),
        ("echo > $'odd\\xff'; ark sign --secret s $'odd\\xff'", 0, b""),
        ("ark ping $'odd\\xff'", 2, b"there is no destination"),
        ("ark sign --secret s .", 2, b"Is a directory"),
        ("mkdir -p d/destinations.toml; ARK_CONFIG_DIR=$PWD/d ark dest list", 78, b"Is a directory"),
        ("ARK_CONFIG_DIR=/etc/passwd ark dest list", 78, b"Not a directory"),
        ("ARK_STATE_DIR=/etc/passwd ark queue", 78, b"Not a directory"),
        ("ARK_STATE_DIR=/proc/nothing ark drain", 78, b"cannot be opened"),
        ("ARK_CONFIG_DIR=/proc/nothing ark secret rotate", 78, b"cannot be written"),
        ("unset ARK_CONFIG_DIR ARK_STATE_DIR HOME; ark config path", 0, b""),
        ("unset ARK_CONFIG_DIR ARK_STATE_DIR; HOME=/proc/nothing ark secret rotate", 78, b"cannot be written"),
        ("cd d && rmdir ../d && ark sign --secret s < /dev/null", 0, b""),
        ("COLUMNS=nonsense ark --help > /dev/null", 0, b""),
        ("COLUMNS=0 ark drain --help > /dev/null", 0, b""),
        ("ark queue --color", 2, b"there is no option '--color'"),
        ("ark --color sometimes queue", 2, b"'sometimes' is not one of"),
    ],
)
def test_nothing_that_surrounds_a_run_is_a_traceback(
    world: World, tmp_path: Path, command: str, status: int, said: bytes
) -> None:
    world.ark("dest", "add", "https://crm.example/", "--name", "crm", "--no-ping")
    (tmp_path / "d").mkdir()
    done = shell(world, tmp_path, f"set -o pipefail; {command}")
    assert (done.returncode, said in done.stderr) == (status, True), done.stderr


@pytest.mark.parametrize("option", ["--curl", "--dry-run"])
def test_what_is_only_shown_and_could_not_be_written_is_not_shown_elsewhere(
    world: World, tmp_path: Path, option: str
) -> None:
    world.ark("secret", "rotate")
    world.ark("dest", "add", "https://crm.example/", "--name", "crm", "--no-ping")
    done = shell(world, tmp_path, f"ark send signal.promoted --sample {option} > /dev/full")
    assert (done.returncode, done.stderr) == (74, FULL)


def test_a_secret_that_could_not_be_written_is_not_shown_elsewhere(world: World, tmp_path: Path) -> None:
    world.ark("secret", "set", stdin=b"correct horse battery staple")
    done = shell(world, tmp_path, "ark secret show --reveal > /dev/full")
    assert (done.returncode, done.stderr) == (74, FULL)


@pytest.mark.parametrize("command", ["ark queue list", "ark queue list --json"])
def test_a_list_that_nobody_reads_to_its_end_ends_early_without_a_word(
    world: World, tmp_path: Path, command: str
) -> None:
    world.ark("dest", "add", "https://crm.example/", "--name", "crm", "--no-ping")
    line = b'{"signal":{"id":"sig_1","signal_name":"x","source":"news"}}\n'
    world.ark("send", "signal.promoted", "--ndjson", "--queue", stdin=3_000 * line)
    done = shell(world, tmp_path, f"set -o pipefail; {command} | head -c 1")
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_pipe_that_somebody_made_non_blocking_takes_everything(world: World) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    script = "import time; time.sleep(0.5); import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"
    with subprocess.Popen([sys.executable, "-c", script], stdin=reading, stdout=subprocess.PIPE) as reader:
        os.close(reading)
        command = [sys.executable, "-m", "arkcli", "send", "signal.promoted", "--sample", "--dry-run", "--json"]
        big = ["--set", f"signal.description={'x' * 100_000}", "--url", "https://example.com/", "--header", "a: b"]
        done = subprocess.run([*command, *big], stdout=writing, env={**os.environ, "ARK_SECRET": "s"}, check=False)
        os.close(writing)
        assert reader.stdout is not None
        assert (done.returncode, reader.stdout.read()[-2:]) == (0, b"}\n")


@pytest.mark.parametrize("room", range(16_000, 40_000, 6_000))
def test_too_little_memory_is_told_in_one_line(world: World, tmp_path: Path, room: int) -> None:
    world.ark("dest", "add", "https://crm.example/", "--name", "crm", "--no-ping")
    done = shell(world, tmp_path, f"ulimit -v {room}; ark send signal.promoted --sample")
    if b"Fatal Python error" in done.stderr:
        pytest.skip("this Python cannot even start with so little")
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"error: not enough memory\n")
    assert world.event_lines == []


SHORT = """
import resource, sys
from arkcli.actions.home import Home

def shorten(*_):
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, resource.RLIM_INFINITY))
    return SHORTAGE

Home.wire = shorten
from arkcli.__main__ import main
main()
"""


@pytest.mark.parametrize(
    ("limit", "shortage", "said"),
    [
        ("1 << 20", "bytes(1 << 30)", b"not enough memory"),
        # Code that runs out of memory may raise some other error.
        ("1 << 20", "__import__('nowhere')", b"not enough memory"),
        ("-1", "(f := lambda: f())()", b"the input is nested too deeply"),
    ],
)
@pytest.mark.parametrize("form", ["--json", "--quiet"])
def test_what_runs_short_after_an_event_was_accepted_says_that_it_was(
    world: World, limit: str, shortage: str, said: bytes, form: str
) -> None:
    world.ark("dest", "add", "https://crm.example/", "--name", "crm", "--no-ping")
    code = SHORT.replace("(LIMIT", f"({limit}").replace("SHORTAGE", shortage)
    args = [sys.executable, "-c", code, "send", "signal.promoted", "--sample", form]
    done = subprocess.run(args, env={**os.environ, **world.variables}, capture_output=True, check=False)
    assert done.returncode == 75
    assert done.stderr.startswith(b"error: " + said + b"; evt_")
    assert len(world.event_lines) == 1


@pytest.mark.parametrize(
    "variables",
    [
        {"LC_ALL": "C"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1:strict"},
        {"TERM": "dumb"},
        {"HOME": None},
    ],
)
def test_any_text_can_be_printed_in_any_locale(world: World, tmp_path: Path, variables: dict[str, str | None]) -> None:
    world.ark("dest", "add", "https://crm.example/", "--name", "crm", "--no-ping", "--description", "Grüße → 東京")
    done = shell(world, tmp_path, f"ark verify --help && ark dest show crm && ark dest show {ODD}", **variables)
    assert done.returncode == 2
    assert b"description" in done.stdout
    assert b"there is no destination" in done.stderr


def test_a_closed_stream_is_not_taken_by_a_file(world: World, tmp_path: Path) -> None:
    """Otherwise output would go into the event log, which would have got the number of standard output."""
    world.ark("dest", "add", "https://crm.example/", "--name", "crm", "--no-ping")
    shell(world, tmp_path, "ark send signal.promoted --sample --queue <&- >&- 2>&-")
    (line,) = world.event_lines
    assert line.startswith(b'{"crc"')
    assert world.ark("queue", "check").status == 0


def test_a_directory_that_cannot_be_written_is_named(world: World, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    world.home.mkdir(mode=0o500)
    result = world.ark("dest", "add", "https://crm.example/", "--name", "crm", "--no-ping")
    assert (result.status, str(world.home) in result.err) == (78, True)


class Interrupting(io.BytesIO):
    """A standard input on which reading is interrupted by Ctrl-C."""

    def read(self, _size: int | None = -1) -> bytes:
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("options", "out", "err"),
    [
        ((), "", "error: interrupted\n"),
        (("--json",), '{"error": {"code": "interrupted", "message": "interrupted"}}\n', ""),
    ],
)
def test_ctrl_c_is_130_and_json_if_that_was_asked_for(
    world: World, options: tuple[str, ...], out: str, err: str
) -> None:
    session = world.session()
    session.stdin = Interrupting()
    assert run(["sign", "--secret", "s", *options], session) == 130
    assert isinstance(session.stdout, io.StringIO)
    assert isinstance(session.stderr, io.StringIO)
    assert (session.stdout.getvalue(), session.stderr.getvalue()) == (out, err)


def test_ctrl_c_while_ark_is_starting_is_130_without_a_word() -> None:
    code = """
import sys

class CtrlC:
    def find_spec(self, name, *_):
        if name == "typer":
            raise KeyboardInterrupt

sys.meta_path.insert(0, CtrlC())
from arkcli.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code, "queue"], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")
