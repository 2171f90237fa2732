"""The drain of `bench.drain` over https, against wrk over https and against the same drain over plain http.

Also counts its TLS handshakes.
"""

from collections.abc import Mapping
from typing import Final

from bench import measure
from bench.contestants import bare, drain, wrk
from bench.drain import COUNT
from bench.home import Home, workplace
from bench.measure import Contestant, Goal, Options, Result
from bench.servers import Nginx, nginx

_IN_FLIGHT: Final = 64
_GOALS: Final = (Goal(at_least=0.12),)
_OF_PLAIN: Final = (Goal(at_least=0.7),)
#: One handshake per connection, and no more connections than attempts in flight.
_HANDSHAKES: Final = (Goal(at_most=_IN_FLIGHT, of_value=True),)


def results(options: Options) -> list[Result]:
    """Deliveries per second, by the run's own clock and of the whole process; connections, each with one handshake."""
    with (
        workplace() as directory,
        nginx(directory / "nginx", tls=True) as server,
        nginx(directory / "plain-nginx") as plain_server,
    ):
        home, plain = Home(directory), Home(directory / "plain")
        url = f"{server.url}/hook"
        home.add("nginx", url, server.ca_file)
        plain.add("nginx", f"{plain_server.url}/hook")
        for one in (home, plain):
            one.accept(COUNT)
            one.save()
        most = ("--per-destination", str(_IN_FLIGHT))
        found = measure.alternate(
            options.rounds,
            [
                wrk("wrk", directory, url),
                _counted("ark", server, drain("ark", home, COUNT, *most)),
                drain("plain", plain, COUNT, *most),
                bare("bare", directory, url, COUNT, str(server.ca_file)),
                drain("plain again", plain, COUNT, *most),
                wrk("again", directory, url),
            ],
        )
    what = f"ark drain --per-destination {_IN_FLIGHT} over TLS"
    whole, connections = found["ark, whole process"], found["ark, connections"]
    return [
        Result(what, "deliveries/s", found["ark"], "wrk", found["wrk"], found["again"], _GOALS),
        Result(what, "deliveries/s", found["ark"], "over http", found["plain"], found["plain again"], _OF_PLAIN),
        Result(f"{what}, whole process", "deliveries/s", whole, "wrk", found["wrk"], found["again"]),
        Result(f"{what}, handshakes", "connections", connections, goals=_HANDSHAKES),
        Result(f"{what}, resumed", "of those", found["ark, resumed"]),
        Result("bare libcurl loop over TLS", "requests/s", found["bare"], "wrk", found["wrk"], found["again"]),
    ]


def _counted(name: str, server: Nginx, contestant: Contestant) -> Contestant:
    """Adds the number of connections to a contestant's result."""

    def counted() -> Mapping[str, float]:
        server.forget()
        found = contestant()
        connections = server.connections
        resumed = sum(line.endswith("r") for line in connections)
        return {**found, f"{name}, connections": len(connections), f"{name}, resumed": resumed}

    return counted


if __name__ == "__main__":
    measure.main(results)
