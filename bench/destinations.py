"""10 to 10,000 destinations: what commands cost, and whether they work with 256 descriptors.

All destinations are one nginx, at a path of their own. The exponent is that of the processor time between the two
largest numbers of destinations. Exponent 1: ten times as many destinations take ten times as long.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import log
from typing import Final, NamedTuple

from bench import measure
from bench.home import EVENT, Home, workplace
from bench.measure import ARK, Contestant, Goal, Options, Result, Samples
from bench.servers import nginx

_COUNTS: Final = (10, 100, 1_000)
_MANY: Final = 10_000
_DESCRIPTORS: Final = 256
_NEW: Final = ("dest", "add", "http://127.0.0.1:9/new", "--no-ping", "--allow-local")
_LINEAR: Final = (Goal(at_most=1, of_value=True),)
_FEW_FILES: Final = (Goal(at_most=_DESCRIPTORS, of_value=True),)
#: For how many seconds idle drains run. The difference is what being idle costs: both have looked at each destination.
_IDLE: Final = (6, 12)


class Step(NamedTuple):
    """A command, and what precedes it."""

    arguments: Sequence[str]
    before: Callable[[Home], object] = repr


def _accept(home: Home) -> None:
    home.ark("send", EVENT, "--sample", "--queue")


_STEPS: Final[Mapping[str, Step]] = {
    "first join, by ark queue": Step(("queue",), Home.forget),
    "ark queue": Step(("queue",)),
    "ark send to all": Step(("send", EVENT, "--sample")),
    "ark drain, one due each": Step(("drain",), _accept),
    "ark drain, nothing due": Step(("drain",)),
    "ark dest list": Step(("dest", "list")),
    "ark dest add --name": Step((*_NEW, "--name", "new")),
    "ark dest add": Step(_NEW),
}


def results(options: Options) -> list[Result]:
    """Milliseconds of the whole process, and at the largest number peak memory, descriptors and exponent."""
    counts = (*_COUNTS, _MANY) if options.full else _COUNTS
    rows = []
    with workplace() as directory, nginx(directory / "nginx") as server:
        homes = {count: Home(directory / str(count)) for count in counts}
        for count, home in homes.items():
            home.add_many([f"{server.url}/{number}" for number in range(count)])
        for name, step in _STEPS.items():
            rows += _rows(options, name, homes, partial(_run, step), partial(_confined, step))
        rows += _idle(options, homes)
    return rows


Measure = Callable[[Home], Mapping[str, float]]


def _rows(
    options: Options, name: str, homes: Mapping[int, Home], measured: Measure, confined: Callable[[Home], int]
) -> list[Result]:
    runs = [_contestant(count, home, measured) for count, home in homes.items()]
    found = measure.alternate(options.rounds, runs)
    *_, before, last = homes
    busy = [min(found[f"{count} busy"]) for count in (before, last)]
    exponent = log(busy[1] / busy[0]) / log(last / before)
    most = Goal(at_most=64 + last / 128, of_value=True)
    many = f"{name}, {last:,} destinations"
    return [
        *(Result(f"{name}, {count:,} destinations", "ms", found[f"{count} ms"]) for count in homes),
        Result(f"{name}, exponent of processor time", "", Samples([exponent]), goals=_LINEAR),
        Result(f"{many}, peak memory", "MiB", found[f"{last} MiB"], goals=(most,)),
        Result(f"{many}, most descriptors", "", Samples([confined(homes[last])]), goals=_FEW_FILES),
    ]


def _contestant(count: int, home: Home, measured: Measure) -> Contestant:
    return lambda: {f"{count} {unit}": value for unit, value in measured(home).items()}


def _run(step: Step, home: Home) -> Mapping[str, float]:
    with home.restored():
        step.before(home)
        finished = home.ark(*step.arguments)
    return {"ms": finished.seconds * 1000, "busy": finished.processor_seconds, "MiB": finished.mebibytes}


def _confined(step: Step, home: Home) -> int:
    with home.restored():
        step.before(home)
        return measure.most_descriptors([ARK, *step.arguments], home.variables, _DESCRIPTORS)


def _idle(options: Options, homes: Mapping[int, Home]) -> list[Result]:
    """Processor milliseconds in each idle second."""

    def measured(home: Home) -> Mapping[str, float]:
        short, long = (home.ark("drain", "--for", f"{seconds}s").processor_seconds for seconds in _IDLE)
        return {"ms": max(long - short, 0.0) * 1000 / (_IDLE[1] - _IDLE[0])}

    found = measure.alternate(options.rounds, [_contestant(count, home, measured) for count, home in homes.items()])
    name = "ark drain --watch, idle, processor time in a second"
    return [Result(f"{name}, {count:,} destinations", "ms", found[f"{count} ms"]) for count in homes]


if __name__ == "__main__":
    measure.main(results)
