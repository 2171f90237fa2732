"""Completion: `ark completion` prints the scripts in completions/, and they work in real shells."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.world import World

KEPT = {"bash": "ark.bash", "zsh": "_ark", "fish": "ark.fish", "powershell": "ark.ps1"}
DIRECTORY = Path(__file__).parent.parent.parent / "completions"

#: A typed line, and a word that must then be offered; None: the files in the directory.
LINES = [
    ("ark dr", "drain"),
    ("ark dest sh", "show"),
    ("ark ping crm da", "data"),
    ("ark queue list --to=c", "crm"),
    ("ark queue show order:", "order:2"),
    ("ark drain --per", "--per-destination"),
    ("ark send signal.promoted pay", None),
]
MORE_LINES = [
    ("ark send signal.p", "signal.promoted"),
    ("ark queue list --to c", "crm"),
    ("ark queue show or", "order-1"),
    ("ark queue drop order-1 or", "order:2"),
    ("ark replay order-", "order-1"),
    ("ark log --outcome fa", "failed"),
    ("ark --color al", "always"),
    ("ark completion f", "fish"),
    ("ark --json dest l", "list"),
    ("ark sign --secret-file pay", None),
]


@pytest.fixture
def home(world: World, tmp_path: Path) -> World:
    for name in ("crm", "data"):
        world.ark("dest", "add", f"https://{name}.example/", "--name", name, "--no-ping")
    for event_id in ("order-1", "order:2"):
        world.ark("send", "signal.promoted", "--sample", "--queue", "--id", event_id)
    (tmp_path / "payload.json").touch()
    return world


def offered(world: World, shell: str, script: str, directory: Path) -> str:
    """What a shell prints when it runs a script."""
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not installed")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, **world.variables, "PATH": path, "HOME": str(directory), "TERM": "xterm"}
    done = subprocess.run(
        [found, "-c", script], capture_output=True, text=True, check=True, env=environment, cwd=directory, timeout=600
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("shell", KEPT)
def test_the_kept_script_is_the_printed_one(world: World, shell: str) -> None:
    assert world.ark("completion", shell).out == (DIRECTORY / KEPT[shell]).read_text()


def test_an_unknown_shell_is_bad_input(world: World) -> None:
    assert world.ark("completion", "tcsh").status == 2


BASH = """
source {script}
tried() {{
    COMP_LINE=$1 COMP_POINT=${{#1}}
    # bash itself splits at = and : too, as this does.
    local spaced=${{1//=/ = }}; spaced=${{spaced//:/ : }}
    COMP_WORDS=($spaced); [[ $spaced == *' ' && $1 == *' ' ]] && COMP_WORDS+=("")
    COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
    local files=
    compopt() {{ files=files; }}
    _ark ark
    printf '%s\\t' "${{COMPREPLY[@]}}" "$files"; echo
}}
"""


def test_bash_completes(home: World, tmp_path: Path) -> None:
    script = BASH.format(script=DIRECTORY / "ark.bash") + "\n".join(f"tried '{line}'" for line, _ in LINES)
    found = [line.split("\t") for line in offered(home, "bash", script, tmp_path).splitlines()]
    for (line, expected), words in zip(LINES, found, strict=True):
        # In order:2, bash replaces only the part after the colon.
        assert {"order:2": "2", None: "files"}.get(expected, expected) in words, line


#: Completes a line in an inner zsh, where a replaced `compadd` prints what would be offered.
ZSH_INSIDE = """
autoload -Uz compinit && compinit -u -d {dump}
source {script}
compadd() {{
    local -a shown
    builtin compadd -O shown "$@"
    print -rl -- "offered: "$^shown >> {report}
}}
_files() {{ print -r -- 'offered: files' >> {report}; }}
zle -C try complete-word _main_complete
go() {{ BUFFER=$LINE_TO_TRY; CURSOR=$#BUFFER; zle try; print -r -- 'end of line' >> {report}; zle accept-line; }}
zle -N go
bindkey '^X' go
"""


def test_zsh_completes(home: World, tmp_path: Path) -> None:
    report = tmp_path / "report"
    (tmp_path / ".zshrc").write_text(
        ZSH_INSIDE.format(dump=tmp_path / "dump", script=DIRECTORY / "_ark", report=report)
    )
    tries = "".join(
        f"zpty -w z \"LINE_TO_TRY='{line}'\"; zpty -w -n z $'\\x18'; wait_for {number}\n"
        for number, (line, _) in enumerate(LINES, start=1)
    )
    script = f"""
        zmodload zsh/zpty; zmodload zsh/zselect
        wait_for() {{
            local turn
            for turn in {{1..5000}}; do
                [[ -e {report} && $(grep -c 'end of line' {report}) -ge $1 ]] && return
                zselect -t 2
                zpty -r -t z >/dev/null
            done
        }}
        zpty z "ZDOTDIR={tmp_path} zsh -i"
        {tries}
        zpty -d z
    """
    offered(home, "zsh", script, tmp_path)
    found = report.read_text().split("end of line\n")[:-1]
    for (line, expected), text in zip(LINES, found, strict=True):
        assert f"offered: {expected or 'files'}\n" in text, line


def test_fish_completes(home: World, tmp_path: Path) -> None:
    tries = "\n".join(f"complete -C '{line}'; echo end of line" for line, _ in LINES)
    found = offered(home, "fish", f"source {DIRECTORY / 'ark.fish'}\n{tries}", tmp_path).split("end of line\n")
    for (line, expected), text in zip(LINES, found[:-1], strict=True):
        words = [word.split("\t")[0].split("=")[-1] for word in text.splitlines()]
        assert (expected or "payload.json") in words, line


@pytest.mark.parametrize(("line", "expected"), [*LINES, *MORE_LINES])
def test_what_is_offered(home: World, line: str, expected: str | None) -> None:
    *before, begun = line.split()[1:]
    home.variables["_ARK_COMPLETE"] = f"={begun}"
    result = home.ark(*before)
    assert (result.status, result.err) == (0, "")
    assert (expected or "") in [row.split("\t")[0] for row in result.out.splitlines()]


@pytest.mark.parametrize("line", ["", "ping", "queue show", "drain --to"])
def test_completing_imports_nothing_heavy(home: World, line: str) -> None:
    code = "import sys; from arkcli.__main__ import main\ntry: main()\nfinally: print(*sys.modules, file=sys.stderr)"
    environment = {**os.environ, **home.variables, "_ARK_COMPLETE": "="}
    command = [sys.executable, "-c", code, *line.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout
    heavy = {"rich", "pycurl", "httpx", "ssl", "asyncio", "http.server", "certifi", "multiprocessing"}
    assert heavy.isdisjoint(done.stderr.split())


@pytest.mark.parametrize("words", [("nonsense",), ("dest", "nonsense"), ("send", "--nonsense"), ("--version",)])
def test_completing_a_wrong_line_says_nothing(world: World, words: tuple[str, ...]) -> None:
    world.variables["_ARK_COMPLETE"] = "=x"
    result = world.ark(*words)
    assert (result.status, result.err) == (0, "")


def test_completing_with_a_broken_store_says_nothing_and_changes_nothing(world: World) -> None:
    world.store_file.parent.mkdir(parents=True)
    world.store_file.write_text("nonsense")
    world.variables["_ARK_COMPLETE"] = "="
    assert world.ark("ping") == (0, "", "")
    assert world.ark("queue", "show") == (0, "", "")
    assert not world.queue_directory.exists()


def test_the_ids_that_are_offered_are_the_latest(world: World) -> None:
    large = json.dumps({"text": "x" * 4_000}).encode()
    world.ark("dest", "add", "https://crm.example/", "--name", "crm", "--no-ping")
    for number in range(100):
        world.ark("send", "signal.promoted", "--no-validate", "--queue", "--id", f"n{number}", stdin=large)
    world.variables["_ARK_COMPLETE"] = "=n"
    found = [line.split("\t")[0] for line in world.ark("queue", "show").out.splitlines()]
    assert found[0] == "n99"
    assert 20 < len(found) < 40
