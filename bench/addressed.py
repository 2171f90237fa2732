"""Commands while many events are addressed with `--to` to one of 30 destinations: sent, retried, revived or dead.

That destination is paused, so that nothing is due. The peer of each command is itself with an empty queue; of
`ark queue drop`, itself with a thousand such events.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from bench import measure
from bench.home import Home, workplace
from bench.measure import Contestant, Finished, Goal, Options, Result

_COUNTS: Final = (1_000, 10_000, 100_000)
_MANY: Final = 1_000_000
_DESTINATIONS: Final = 30
_FLAT: Final = (Goal(at_most=1.2),)
_MEMORY: Final = (Goal(at_most=64, of_value=True),)

_DROP: Final = "ark queue drop ONE"

Command = Callable[[Home, list[str]], Finished]
Making = Callable[[Home, str, int], None]


def _sent_to_one(home: Home, to: str, count: int) -> None:
    home.accept(count, to)


def _one_retried(home: Home, to: str, count: int) -> None:
    home.accept(count, to)
    home.fail(to)
    home.retry(to, frozenset(home.undone(to, 1)))


def _dead(home: Home, to: str, count: int) -> None:
    home.accept(count, to)
    home.fail(to, attempts=5)


def _one_revived(home: Home, to: str, count: int) -> None:
    _dead(home, to, count)
    home.retry(to, frozenset(home.undone(to, 1)))


def _revived(home: Home, to: str, count: int) -> None:
    _dead(home, to, count)
    home.retry(to)


_MADE: Final[dict[str, Making]] = {
    "sent --to one": _sent_to_one,
    "retrying, one retried": _one_retried,
    "dead": _dead,
    "dead, one revived": _one_revived,
    "dead, all revived": _revived,
}
_COMMANDS: Final[dict[str, Command]] = {
    "ark queue": lambda home, _: home.ark("queue"),
    "ark drain, nothing due": lambda home, _: home.drain(0)[0],
    _DROP: lambda home, ids: home.ark("queue", "drop", ids.pop(), "--yes"),
}


def results(options: Options) -> list[Result]:
    """Milliseconds of the whole process, and its peak memory."""
    counts = (*_COUNTS, _MANY) if options.full else _COUNTS
    rows = []
    for what, make in _MADE.items():
        with workplace() as directory:
            rows += _compare(options, directory, counts, what, make)
    return rows


def _compare(options: Options, directory: Path, counts: Sequence[int], what: str, make: Making) -> list[Result]:
    # Each round drops one event, and the smallest number takes part twice.
    most = 2 * options.rounds + 2
    all_homes = {count: _home(directory / str(count), count, make, most) for count in (0, *counts)}
    rows = []
    for name, command in _COMMANDS.items():
        homes = {count: home for count, home in all_homes.items() if count or name != _DROP}
        least, *more = homes
        runs = [_contestant(str(count), command, *home) for count, home in homes.items()]
        found = measure.alternate(options.rounds, [*runs, _contestant("again", command, *homes[least])])
        for count in more:
            peer, samples, again = (found[f"{one}, ms"] for one in (least, count, "again"))
            said = f"{name}, {count:,} {what}"
            # Revived deliveries are due, and ark examines each one as it would deliver each one.
            goals = () if make is _revived else _FLAT
            rows.append(Result(said, "ms", samples, f"{least:,}", peer, again, goals))
        said = f"{name}, {counts[-1]:,} {what}, peak memory"
        rows.append(Result(said, "MiB", found[f"{counts[-1]}, MiB"], goals=_MEMORY))
    return rows


def _home(directory: Path, count: int, make: Making, most: int) -> tuple[Home, list[str]]:
    home = Home(directory)
    to, *_ = [home.add(f"nobody-{number}", f"http://127.0.0.1:9/{number}") for number in range(_DESTINATIONS)]
    if count:
        make(home, to, count)
    home.pause([to])
    return home, home.undone(to, most)


def _contestant(name: str, command: Command, home: Home, ids: list[str]) -> Contestant:
    def contestant() -> dict[str, float]:
        finished = command(home, ids)
        return {f"{name}, ms": finished.seconds * 1000, f"{name}, MiB": finished.mebibytes}

    return contestant


if __name__ == "__main__":
    measure.main(results)
