"""Start-up: `ark --version`, `ark sign`, `ark verify` and a press of Tab as whole processes, against `python -c pass`.

`ark` is the console script that the installer wrote. Scripts by older pips import `re`, which alone costs half of a
`python -c pass`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from arkcli import signing
from bench import measure
from bench.home import bodies, workplace
from bench.measure import ARK, Contestant, Goal, Options, Result

GOALS: Final = (Goal(at_most=7.0),)
#: People notice 150 ms, and `python -c pass` takes 11 ms.
_TAB_GOALS: Final = (Goal(at_most=13.5),)
_TAB: Final = "ark queue show <Tab>"
_SECRET: Final = "a secret of the benchmark"
_ROUNDS: Final = 21


def results(options: Options) -> list[Result]:
    """A row for each command."""
    with workplace() as directory:
        payload = directory / "body.json"
        payload.write_bytes(bodies(1)[0])
        (directory / "secret").write_text(_SECRET, "utf-8")
        secret = ["--secret-file", str(directory / "secret")]
        signature = signing.sign(_SECRET, payload.read_bytes())
        commands = {
            "ark --version": [ARK, "--version"],
            "ark sign": [ARK, "sign", *secret],
            "ark verify": [ARK, "verify", *secret, "--signature", signature],
            # This option needs the parser, as every other command does.
            "ark verify --json": [ARK, "verify", "--json", *secret, "--signature", signature],
            _TAB: [ARK, "queue", "show"],
            "python -c pass": [sys.executable, "-c", "pass"],
            "again": [sys.executable, "-c", "pass"],
        }
        measured = measure.alternate(
            max(options.rounds, _ROUNDS), [_contestant(name, command, payload) for name, command in commands.items()]
        )
    pass_, again = measured.pop("python -c pass"), measured.pop("again")
    return [
        Result(name, "ms", found, "python -c pass", pass_, again, _TAB_GOALS if name == _TAB else GOALS)
        for name, found in measured.items()
    ]


def _contestant(name: str, command: Sequence[str], stdin: Path) -> Contestant:
    variables = {"_ARK_COMPLETE": "="} if name == _TAB else None
    return lambda: {name: measure.run(command, variables, stdin).seconds * 1000}


if __name__ == "__main__":
    measure.main(results)
