"""Latency: `ark drain` to a destination that answers after 50 ms, 64 at once, against wrk over 64 connections."""

from typing import Final

from bench import measure
from bench.contestants import drain, wrk
from bench.home import Home, workplace
from bench.measure import Goal, Options, Result
from bench.servers import slow

#: About eight seconds at the most that 64 at once and 50 ms allow, which is 1,280 a second.
COUNT: Final = 10_240
_SECONDS: Final = 0.05
_WRK_SECONDS: Final = 4
_GOALS: Final = (Goal(at_least=0.95),)


def results(options: Options) -> list[Result]:
    """Deliveries a second, by the run's own clock and as a whole process."""
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
