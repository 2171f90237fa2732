"""Windows, simulated: what its Python lacks is taken away before arkcli is imported."""

import os
import subprocess
import sys

import pytest

from arkcli.signing import sign

TAKEN_AWAY = """
import hmac, os, pathlib, signal, sys
for name in ("fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty"):
    sys.modules[name] = None
for name in (
    *("chown", "fchown", "fork", "getegid", "geteuid", "getgid", "getgroups", "getuid", "mkfifo", "pread", "pwrite"),
    *("fdatasync", "register_at_fork", "setegid", "seteuid", "setgid", "setgroups", "setsid", "setuid", "statvfs"),
    *("sched_getaffinity", "uname", "O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK"),
):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGALRM", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGUSR1", "pthread_sigmask"):
    if hasattr(signal, name):
        delattr(signal, name)
os.name, sys.platform = "nt", "win32"
"""


def on_windows(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", TAKEN_AWAY + code, *args]
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize("line", ["", "--version", "--help", "sign --secret s", "dest list --json", "nonsense"])
def test_every_command_says_in_one_sentence_what_to_use(line: str) -> None:
    done = on_windows("from arkcli.__main__ import main; main()", *line.split())
    assert (done.returncode, done.stdout) == (2, "")
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("error: ark does not run on Windows; use WSL 2: ")


def test_an_application_can_sign_and_verify() -> None:
    done = on_windows(
        "from arkcli.signing import sign, verify\nprint(sign('s', b'x'), verify('s', b'x', sign('s', b'x')))"
    )
    assert (done.stdout, done.stderr) == (f"{sign('s', b'x')} True\n", "")


def test_the_simulation_takes_away_what_the_commands_need() -> None:
    done = on_windows("import arkcli.system.files")
    assert os.name == "posix"
    assert "ModuleNotFoundError" in done.stderr
