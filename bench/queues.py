"""Other clients and queues against `ark drain`: curl, httpx, huey on SQLite, dramatiq and Celery on Redis, and
Procrastinate on PostgreSQL, which syncs as shipped.

Events are enqueued one at a time, as in a program whose events come one by one. Only `ark` and the peers called synced
have an event on stable storage when enqueuing returns.
"""

import contextlib
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bench import measure, peers
from bench.contestants import drain
from bench.home import Home, bodies, draft, payload, workplace
from bench.measure import Contestant, Options, Result
from bench.servers import nginx, postgres, redis

COUNT: Final = 3_000
#: Fewer for httpx, which would take half a minute.
_FEW: Final = 500
_IN_FLIGHT: Final = 64
_HERE: Final = Path(__file__).parent
_QUEUES: Final = ("huey", "huey, synced", "dramatiq", "dramatiq, synced", "Celery", "Celery, synced", "Procrastinate")


def results(options: Options) -> list[Result]:
    """Deliveries and enqueued events per second, of `ark` against each peer."""
    with workplace() as directory, nginx(directory / "nginx") as server:
        url = f"{server.url}/hook"
        home = Home(directory)
        home.add("nginx", url)
        home.accept(COUNT)
        home.save()
        path = directory / "bodies"
        path.write_bytes(b"".join(body + b"\n" for body in bodies(COUNT)))
        few = directory / "few-bodies"
        few.write_bytes(b"".join(body + b"\n" for body in bodies(_FEW)))
        found = measure.alternate(
            options.rounds,
            [
                drain("ark", home, COUNT, "--per-destination", str(_IN_FLIGHT)),
                _accept,
                _curl(directory, url),
                _script("httpx", "httpx", url, few),
                _huey("huey", url, path, "as-shipped"),
                _huey("huey, synced", url, path, "synced"),
                _on_redis("dramatiq", "dramatiq", url, path, durable=False),
                _on_redis("dramatiq, synced", "dramatiq", url, path, durable=True),
                _on_redis("Celery", "celery", url, path, durable=False),
                _on_redis("Celery, synced", "celery", url, path, durable=True),
                _procrastinate("Procrastinate", url, path),
                drain("again", home, COUNT, "--per-destination", str(_IN_FLIGHT)),
            ],
        )
    again = found["again"]
    rows = [
        Result(f"ark drain, {COUNT:,} due", "deliveries/s", found["ark"], peer, found[f"{peer}, deliver"])
        for peer in ("curl --parallel", "httpx", *_QUEUES)
    ]
    rows.append(Result(f"ark drain, {COUNT:,} due", "deliveries/s", found["ark"], "itself", again))
    rows += [
        Result("accept one by one, durable", "events/s", found["accept"], peer, found[f"{peer}, enqueue"])
        for peer in _QUEUES
    ]
    return rows


def _accept() -> dict[str, float]:
    with workplace() as directory, Home(directory).session() as session:
        payloads = [payload(session, number) for number in range(COUNT)]
        started = time.perf_counter()
        for found in payloads:
            session.home.queue.accept([draft(session, found)])
        return {"accept": COUNT / (time.perf_counter() - started)}


def _curl(directory: Path, url: str) -> Contestant:
    """One curl process that posts all bodies."""
    one = directory / "one-body.json"
    one.write_bytes(bodies(1)[0])
    settings = {"url": url, "data-binary": f"@{one}", "header": "Content-Type: application/json", "output": "/dev/null"}
    transfer = "".join(f'{name} = "{value}"\n' for name, value in settings.items())
    configuration = directory / "curl.conf"
    configuration.write_text("next\n".join([transfer] * COUNT), "utf-8")

    def contestant() -> dict[str, float]:
        command = [peers.program("curl"), "--silent", "--fail", "--parallel", "--parallel-max", str(_IN_FLIGHT)]
        finished = measure.run([*command, "--config", str(configuration)])
        return {"curl --parallel, deliver": COUNT / finished.seconds}

    return contestant


def _script(name: str, script: str, *arguments: object) -> Contestant:
    return lambda: _run(name, script, *arguments)


def _run(name: str, script: str, *arguments: object) -> Mapping[str, float]:
    command = [peers.python(), str(_HERE / f"peer_{script}.py"), *map(str, arguments)]
    measured: dict[str, float] = json.loads(measure.run(command).output)
    return {f"{name}, {what}": value for what, value in measured.items()}


def _huey(name: str, url: str, path: Path, synced: str) -> Contestant:
    def contestant() -> Mapping[str, float]:
        with tempfile.TemporaryDirectory() as database:
            return _run(name, "huey", url, path, database, synced)

    return contestant


def _on_redis(name: str, script: str, url: str, path: Path, *, durable: bool) -> Contestant:
    def contestant() -> Mapping[str, float]:
        with contextlib.ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            port = stack.enter_context(redis(directory / "redis", durable=durable))
            return _run(name, script, url, path, port)

    return contestant


def _procrastinate(name: str, url: str, path: Path) -> Contestant:
    def contestant() -> Mapping[str, float]:
        with contextlib.ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            directory.chmod(0o755)
            return _run(name, "procrastinate", url, path, stack.enter_context(postgres(directory / "postgres")))

    return contestant


if __name__ == "__main__":
    measure.main(results)
