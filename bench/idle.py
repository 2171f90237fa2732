"""Nothing due: time and memory of `ark drain` and `ark queue` while many deliveries wait, against an empty queue.

They wait for a retry in half an hour, or for a paused destination.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from bench import measure
from bench.home import Home, workplace
from bench.measure import Contestant, Finished, Found, Goal, Options, Result

_WAITING: Final = (10_000, 100_000)
_MANY: Final = 1_000_000
_GOALS: Final = (Goal(at_most=1.2),)
_MEMORY: Final = (Goal(at_most=64, of_value=True),)
_ROUNDS: Final = 11

Command = Callable[[Home], Finished]
_COMMANDS: Final[Mapping[str, Command]] = {
    "ark drain": lambda home: home.drain(0)[0],
    "ark queue": lambda home: home.ark("queue"),
}


def results(options: Options) -> list[Result]:
    """Milliseconds of the whole process and its peak memory, for each number of waiting deliveries."""
    counts = (*_WAITING, _MANY) if options.full else _WAITING
    return [*_compare(options, counts, "to retry", paused=False), *_compare(options, counts, "paused", paused=True)]


def _compare(options: Options, counts: Sequence[int], what: str, *, paused: bool) -> list[Result]:
    rows = []
    with workplace() as directory:
        homes = {count: _home(directory / str(count), count, paused=paused) for count in (0, *counts)}
        for name, command in _COMMANDS.items():
            runs = [_contestant(str(count), command, home) for count, home in homes.items()]
            again = _contestant("again", command, homes[0])
            found = measure.alternate(max(options.rounds, _ROUNDS), [*runs, again])
            rows += [row for count in counts for row in _rows(f"{name}, {count:,} {what}", count, found)]
    return rows


def _rows(name: str, count: int, found: Found) -> list[Result]:
    times, memory = found[f"{count}, ms"], found[f"{count}, MiB"]
    return [
        Result(name, "ms", times, "empty queue", found["0, ms"], found["again, ms"], _GOALS),
        Result(f"{name}, peak memory", "MiB", memory, "empty queue", found["0, MiB"], found["again, MiB"], _MEMORY),
    ]


def _home(directory: Path, count: int, *, paused: bool) -> Home:
    home = Home(directory)
    added = home.add("nobody", "http://127.0.0.1:9/hook")
    home.accept(count)
    if paused:
        home.pause([added])
    elif count:
        home.fail(added)
    return home


def _contestant(name: str, command: Command, home: Home) -> Contestant:
    def contestant() -> dict[str, float]:
        finished = command(home)
        return {f"{name}, ms": finished.seconds * 1000, f"{name}, MiB": finished.mebibytes}

    return contestant


if __name__ == "__main__":
    measure.main(results)
