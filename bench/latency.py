"""Latency: `ark drain`, 64 in flight, to a destination that answers after 50 ms, against wrk over 64 connections."""

from typing import Final

from bench import measure
from bench.contestants import drain, wrk
from bench.home import Home, workplace
from bench.measure import Goal, Options, Result
from bench.servers import slow

#: About eight seconds of work: 64 in flight at 50 ms each allow at most 1,280 per second.
COUNT: Final = 10_240
_SECONDS: Final = 0.05
_WRK_SECONDS: Final = 4
_GOALS: Final = (Goal(at_least=0.95),)


def results(options: Options) -> list[Result]:
    """Deliveries per second, by the run's own clock and of the whole process."""
    with workplace() as directory, slow(_SECONDS) as server:
        home = Home(directory)
        url = f"{server}/hook"
        home.add("slow", url)
        home.accept(COUNT)
        home.save()
        found = measure.alternate(
            options.rounds,
            [
                wrk("wrk", directory, url, _WRK_SECONDS),
                drain("ark", home, COUNT, "--per-destination", "64"),
                wrk("again", directory, url, _WRK_SECONDS),
            ],
        )
    what = "ark drain --per-destination 64, answers after 50 ms"
    whole = found["ark, whole process"]
    return [
        Result(what, "deliveries/s", found["ark"], "wrk", found["wrk"], found["again"], _GOALS),
        Result(f"{what}, whole process", "deliveries/s", whole, "wrk", found["wrk"], found["again"]),
    ]


if __name__ == "__main__":
    measure.main(results)
