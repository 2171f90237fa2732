"""`ark drain` of 20,000 due deliveries of 2 KB to one nginx, against wrk posting the same body.

For comparison, a bare loop over libcurl, which neither signs nor records: the limit of the library that `ark` uses.
"""

from pathlib import Path
from typing import Final

from bench import measure
from bench.contestants import bare, drain, together, wrk
from bench.home import Home, workplace
from bench.measure import Goal, Options, Result, Samples
from bench.servers import nginx

COUNT: Final = 20_000
_MANY: Final = 1_000_000
_DESTINATIONS: Final = 4
_GOALS: Final = (Goal(at_least=0.4),)
_MEMORY: Final = (Goal(at_most=64, of_value=True),)
_PART: Final = (Goal(at_least=0.35, of_value=True),)


def results(options: Options) -> list[Result]:
    """Deliveries per second, by the run's own clock and of the whole process, and peak memory."""
    with workplace() as directory, nginx(directory / "nginx") as server:
        home = Home(directory)
        url = f"{server.url}/hook"
        home.add("nginx", url)
        home.accept(COUNT)
        home.save()
        found = measure.alternate(
            options.rounds,
            [
                wrk("wrk", directory, url),
                drain("64", home, COUNT, "--per-destination", "64"),
                drain("8", home, COUNT),
                bare("bare", directory, url, COUNT),
                wrk("again", directory, url),
            ],
        )
        rows = _several(options, directory / "several", url)
        rows += _many(directory / "many", url) if options.full else []
    for name, what in (("64", "ark drain --per-destination 64"), ("8", "ark drain")):
        whole, memory = found[f"{name}, whole process"], found[f"{name}, memory"]
        rows += [
            Result(what, "deliveries/s", found[name], "wrk", found["wrk"], found["again"], _GOALS),
            Result(f"{what}, whole process", "deliveries/s", whole, "wrk", found["wrk"], found["again"]),
            Result(f"{what}, peak memory", "MiB", memory, goals=_MEMORY),
        ]
    rows.append(Result("bare libcurl loop", "requests/s", found["bare"], "wrk", found["wrk"], found["again"]))
    return rows


def _several(options: Options, directory: Path, url: str) -> list[Result]:
    """The same work spread over several destinations, by one drain and by two at once."""
    home = Home(directory)
    for number in range(_DESTINATIONS):
        home.add(f"nginx-{number}", f"{url}/{number}")
    home.accept(COUNT // _DESTINATIONS)
    home.save()
    runs = [together("one", home, COUNT, 1), together("two", home, COUNT, 2), together("again", home, COUNT, 1)]
    found = measure.alternate(options.rounds, runs)
    what = f"two ark drain at once, {_DESTINATIONS} destinations"
    return [
        Result(what, "deliveries/s", found["two"], "one drain", found["one"], found["again"]),
        Result(f"{what}, part of the one that made fewer", "of all", found["two, least"], goals=_PART),
    ]


def _many(directory: Path, url: str) -> list[Result]:
    """One run over a million deliveries, for its memory."""
    home = Home(directory)
    home.add("nginx", url)
    home.accept(_MANY)
    home.save()
    found = drain("many", home, _MANY)()
    what = f"ark drain, {_MANY:,} due"
    return [
        Result(what, "deliveries/s", Samples([found["many"]])),
        Result(f"{what}, peak memory", "MiB", Samples([found["many, memory"]]), goals=_MEMORY),
    ]


if __name__ == "__main__":
    measure.main(results)
