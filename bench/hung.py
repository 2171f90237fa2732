"""Silent destinations: some of a hundred never answer. How long until all others have received everything?

The peer is the same run with the silent destinations paused.
"""

import subprocess
import time
from collections.abc import Sequence
from typing import Final

from bench import measure
from bench.home import Home, workplace
from bench.measure import ARK, LONGEST, Contestant, Goal, Options, Result
from bench.servers import Nginx, nginx, silent

DESTINATIONS: Final = 100
EVENTS: Final = 100
_SILENT: Final = (1, 8, 20)
_GOALS: Final = (Goal(at_most=1.5),)


def results(options: Options) -> list[Result]:
    """Milliseconds from the start of the process to the last delivery to a healthy destination."""
    rows = []
    for count in _SILENT:
        with workplace() as directory, nginx(directory / "nginx") as server, silent() as nobody:
            home = Home(directory)
            healthy = DESTINATIONS - count
            for number in range(healthy):
                home.add(f"healthy-{number}", f"{server.url}/logged/{number}")
            hung = [home.add(f"silent-{number}", f"{nobody}/{number}") for number in range(count)]
            home.accept(EVENTS)
            home.save()
            found = measure.alternate(
                options.rounds,
                [
                    _contestant("without", home, server, healthy, paused=hung),
                    _contestant("with", home, server, healthy, active=hung),
                    _contestant("again", home, server, healthy, paused=hung),
                ],
            )
        what = f"{healthy} healthy destinations, {count} silent"
        rows.append(Result(what, "ms", found["with"], "silent ones paused", found["without"], found["again"], _GOALS))
    return rows


def _contestant(
    name: str, home: Home, server: Nginx, healthy: int, *, paused: Sequence[str] = (), active: Sequence[str] = ()
) -> Contestant:
    def contestant() -> dict[str, float]:
        home.rewind()
        home.pause(paused, paused=True)
        home.pause(active, paused=False)
        server.forget()
        started = time.time()
        process = subprocess.Popen(
            [ARK, "drain"],
            env=measure.environment(home.variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            last = _last_of(server, healthy * EVENTS)
        finally:
            _stop(process)
        return {name: (last - started) * 1000}

    return contestant


def _last_of(server: Nginx, count: int) -> float:
    """When request number `count` was answered, in seconds since 1970."""
    until = time.monotonic() + LONGEST
    while len(moments := server.moments) < count:
        if time.monotonic() > until:
            raise RuntimeError(f"after {LONGEST} s only {len(moments)} of {count} deliveries have come in")
        time.sleep(0.05)
    return moments[count - 1]


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Sends a signal for a clean stop, then a second one, which does not wait for attempts in flight."""
    for _ in range(2):
        process.terminate()
        time.sleep(0.05)
    process.wait(10)


if __name__ == "__main__":
    measure.main(results)
