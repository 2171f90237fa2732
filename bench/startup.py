"""Start-up: `ark` commands and a press of Tab as whole processes, against `python -c pass`; and one event accepted by a
process of its own, against other queues.

`ark` is the console script that the installer wrote. Scripts by older pips import `re`, which alone costs half of a
`python -c pass`.
"""

import contextlib
import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from arkcli import signing
from bench import measure, peers
from bench.home import EVENT, Home, bodies, workplace
from bench.measure import ARK, Contestant, Goal, Options, Result, Samples
from bench.servers import redis

_GOALS: Final = (Goal(at_most=3.5),)
_PARSER_GOALS: Final = (Goal(at_most=7.0),)
_HOME_GOALS: Final = (Goal(at_most=9.0),)
#: People notice 150 ms, and `python -c pass` takes 11 ms.
_TAB_GOALS: Final = (Goal(at_most=13.5),)
_TAB: Final = "ark queue show <Tab>"
_SEND: Final = "ark send --queue"
_GOAL_OF: Final = {
    "ark verify --json": _PARSER_GOALS,
    **dict.fromkeys((_SEND, "ark queue", "ark drain, nothing due"), _HOME_GOALS),
    _TAB: _TAB_GOALS,
}
_QUEUES: Final = ("huey, synced", "dramatiq, synced")
_SECRET: Final = "a secret of the benchmark"
_ROUNDS: Final = 21


def results(options: Options) -> list[Result]:
    """A row for each command, and one for each queue that takes an event from a process of its own."""
    with workplace() as directory, contextlib.ExitStack() as stack:
        payload = directory / "body.json"
        payload.write_bytes(bodies(1)[0])
        (directory / "secret").write_text(_SECRET, "utf-8")
        secret = ["--secret-file", str(directory / "secret")]
        signature = signing.sign(_SECRET, payload.read_bytes())
        filled, idle = _home(directory / "filled"), _home(directory / "idle")
        commands: dict[str, tuple[list[str], dict[str, str]]] = {
            "ark --version": ([ARK, "--version"], {}),
            "ark sign": ([ARK, "sign", *secret], {}),
            "ark verify": ([ARK, "verify", *secret, "--signature", signature], {}),
            # This option needs the parser, as every other command does.
            "ark verify --json": ([ARK, "verify", "--json", *secret, "--signature", signature], {}),
            _SEND: ([ARK, "send", EVENT, "--queue"], filled.variables),
            "ark queue": ([ARK, "queue"], filled.variables),
            "ark drain, nothing due": ([ARK, "drain"], idle.variables),
            _TAB: ([ARK, "queue", "show"], {"_ARK_COMPLETE": "="}),
            "python -c pass": ([sys.executable, "-c", "pass"], {}),
            "again": ([sys.executable, "-c", "pass"], {}),
        }
        measured = measure.alternate(
            max(options.rounds, _ROUNDS),
            [
                *(_contestant(name, command, payload, variables) for name, (command, variables) in commands.items()),
                _enqueue(_QUEUES[0], "huey", payload, lambda: directory),
                _enqueue(_QUEUES[1], "dramatiq", payload, _port(stack, directory / "redis")),
            ],
        )
    pass_, again = measured.pop("python -c pass"), measured.pop("again")
    queues = {name: measured.pop(name, Samples()) for name in _QUEUES}
    rows = [
        Result(name, "ms", found, "python -c pass", pass_, again, _GOAL_OF.get(name, _GOALS))
        for name, found in measured.items()
    ]
    return rows + [Result(_SEND, "ms", measured[_SEND], *queue) for queue in queues.items()]


def _home(directory: Path) -> Home:
    home = Home(directory)
    home.add("crm", "http://127.0.0.1:9/")
    return home


def _port(stack: contextlib.ExitStack, directory: Path) -> Callable[[], int]:
    """Starts Redis when it is first asked for its port: it may be absent."""
    return functools.cache(lambda: stack.enter_context(redis(directory, durable=True)))


def _contestant(name: str, command: Sequence[str], stdin: Path, variables: dict[str, str]) -> Contestant:
    return lambda: {name: measure.run(command, variables, stdin).seconds * 1000}


def _enqueue(name: str, queue: str, payload: Path, where: Callable[[], object]) -> Contestant:
    script = str(Path(__file__).with_name("peer_one.py"))
    return lambda: {name: measure.run([peers.python(), script, queue, str(payload), str(where())]).seconds * 1000}


if __name__ == "__main__":
    measure.main(results)
