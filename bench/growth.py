"""How the cost of `send`, `drain`, `queue` and `queue check` grows with the number of waiting deliveries.

At one destination all but a few deliveries wait for a retry in half an hour; another one, which answers, has none.
The cost is a power of that number. Exponent 0: it does not grow. Exponent 1: it doubles when the number doubles.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from math import log
from pathlib import Path
from typing import Final

from bench import measure
from bench.home import EVENT, Home, workplace
from bench.measure import Contestant, Finished, Goal, Options, Result, Samples
from bench.servers import nginx

_WAITING: Final = (1_000, 10_000, 100_000)
_MANY: Final = 1_000_000
_DUE: Final = 1_000
#: With 1,000 times as many deliveries waiting, the cost may be 1.4 times as high.
_FLAT: Final = (Goal(at_most=0.05, of_value=True),)
_MEMORY: Final = (Goal(at_most=64, of_value=True),)


def _drain_some(home: Home, to: str) -> Finished:
    home.accept(_DUE, to)
    return home.drain(_DUE)[0]


Command = Callable[[Home, str], Finished]

_COMMANDS: Final[Mapping[str, tuple[Command, tuple[Goal, ...]]]] = {
    "ark send": (lambda home, to: home.ark("send", EVENT, "--sample", "--to", to), _FLAT),
    "ark drain, nothing due": (lambda home, _: home.drain(0)[0], _FLAT),
    f"ark drain, {_DUE:,} due": (_drain_some, _FLAT),
    "ark queue": (lambda home, _: home.ark("queue"), ()),
    "ark queue check": (lambda home, _: home.ark("queue", "check"), ()),
}


def results(options: Options) -> list[Result]:
    """Milliseconds and peak memory of each command, and the growth exponents of both."""
    counts = (*_WAITING, _MANY) if options.full else _WAITING
    rows = []
    with workplace() as directory, nginx(directory / "nginx") as server:
        homes = {count: _home(directory / str(count), count, f"{server.url}/hook") for count in counts}
        for name, (command, goals) in _COMMANDS.items():
            runs = [_contestant(str(count), command, *home) for count, home in homes.items()]
            runs.append(_contestant("again", command, *homes[counts[0]]))
            found = measure.alternate(options.rounds, runs)
            for unit, shown, limits in (("ms", counts, ()), ("MiB", counts[-1:], _MEMORY)):
                samples = {count: found[f"{count}, {unit}"] for count in counts}
                rows += _rows(name, unit, samples, found[f"again, {unit}"], shown, limits)
                rows.append(Result(f"{name}, exponent of {unit}", "", Samples([_exponent(samples)]), goals=goals))
    return rows


def _rows(
    name: str, unit: str, samples: Mapping[int, Samples], again: Samples, shown: Sequence[int], goals: tuple[Goal, ...]
) -> list[Result]:
    first, *_ = samples
    name += ", peak memory" if unit == "MiB" else ""
    peer = f"{first:,} waiting"
    return [
        Result(f"{name}, {count:,} waiting", unit, samples[count], goals=goals)
        if count == first
        else Result(f"{name}, {count:,} waiting", unit, samples[count], peer, samples[first], again, goals)
        for count in shown
    ]


def _exponent(samples: Mapping[int, Samples]) -> float:
    """The slope of a line fitted to the minimum of each size, on logarithmic axes. Minima, because noise only adds."""
    sizes = [log(count) for count in samples]
    return statistics.linear_regression(sizes, [log(min(found)) for found in samples.values()]).slope


def _home(directory: Path, count: int, url: str) -> tuple[Home, str]:
    home = Home(directory)
    waiting = home.add("nobody", "http://127.0.0.1:9/hook")
    home.accept(count)
    home.fail(waiting)
    return home, home.add("nginx", url)


def _contestant(name: str, command: Command, home: Home, to: str) -> Contestant:
    def contestant() -> dict[str, float]:
        finished = command(home, to)
        return {f"{name}, ms": finished.seconds * 1000, f"{name}, MiB": finished.mebibytes}

    return contestant


if __name__ == "__main__":
    measure.main(results)
