"""`ark serve`: events accepted over HTTP per second, each durable before its answer, with 64 clients.

The peers make each event durable before they answer, too: the standard library's server that appends to a file and
syncs it, and an application on uvicorn that enqueues with huey.
"""

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from bench import measure, peers
from bench.home import EVENT, Home, bodies, workplace
from bench.measure import ARK, Contestant, Goal, Options, Result
from bench.servers import nginx
from bench.wrk import Wrk

_SECONDS: Final = 3
_GOALS: Final = (Goal(at_least=5_000, of_value=True),)
_SOON: Final = (Goal(at_most=50, of_value=True),)
_HERE: Final = Path(__file__).parent

#: A server that appends the body to a file, syncs it, and answers 202.
_PEER: Final = """
import os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
file = os.open(sys.argv[2] + "/events", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        os.write(file, self.rfile.read(int(self.headers["Content-Length"])))
        os.fdatasync(file)
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_):
        pass
class Server(ThreadingHTTPServer):
    request_queue_size = 512
    def handle_error(self, *_):
        pass
Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def results(options: Options) -> list[Result]:
    """Accepted events per second and the 99th percentile, with nothing to deliver and while it delivers."""
    with workplace() as directory, nginx(directory / "nginx") as receiver:
        body = bodies(1)[0]
        found = measure.alternate(
            options.rounds,
            [
                _peer("http.server", body, [sys.executable, "-c", _PEER]),
                _ark("ark", body, receiver.url, deliver=False),
                _ark("delivering", body, receiver.url, deliver=True),
                _peer("uvicorn + huey", body, [peers.python(), str(_HERE / "peer_uvicorn.py")]),
                _peer("again", body, [sys.executable, "-c", _PEER]),
            ],
        )
    plain, again = "http.server + fdatasync", found["again"]
    rows = []
    for what, name in (("ark serve", "ark"), ("ark serve, delivering to nginx meanwhile", "delivering")):
        rows.append(Result(what, "events/s", found[name], plain, found["http.server"], again, _GOALS))
        rows.append(Result(what, "events/s", found[name], "uvicorn + huey, synced", found["uvicorn + huey"]))
        late = found[f"{name}, p99"], plain, found["http.server, p99"], found["again, p99"]
        rows.append(Result(f"{what}, 99th percentile", "ms", *late, _SOON))
    return rows


def _ark(name: str, body: bytes, receiver: str, *, deliver: bool) -> Contestant:
    def contestant() -> dict[str, float]:
        with workplace() as directory:
            home = Home(directory)
            home.add("nginx", f"{receiver}/hook")
            if not deliver:
                measure.run([ARK, "dest", "pause", "nginx"], home.variables)
            with _running([ARK, "serve", "--json", "--port", "0"], home.variables) as process:
                assert process.stdout is not None
                (url,) = json.loads(process.stdout.readline())["listening"]
                token = (directory / "config" / "serve.token").read_text("utf-8").strip()
                return _posted(name, directory, body, f"{url}/events/{EVENT}", {"Authorization": f"Bearer {token}"})

    return contestant


def _peer(name: str, body: bytes, command: Sequence[str]) -> Contestant:
    def contestant() -> dict[str, float]:
        with workplace() as directory, socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
            free.close()
            with _running([*command, str(port), str(directory)], {}):
                _until_open(port)
                return _posted(name, directory, body, f"http://127.0.0.1:{port}/", {})

    return contestant


def _posted(name: str, directory: Path, body: bytes, url: str, headers: dict[str, str]) -> dict[str, float]:
    rate, late = Wrk(directory, body, headers).measured(url, _SECONDS)
    return {name: rate, f"{name}, p99": late}


@contextlib.contextmanager
def _running(command: Sequence[str], variables: dict[str, str]) -> "Iterator[subprocess.Popen[str]]":
    environment = measure.environment() | variables
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def _until_open(port: int) -> None:
    for _ in range(500):
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        time.sleep(0.02)
    raise RuntimeError(f"nothing listens on port {port}")


if __name__ == "__main__":
    measure.main(results)
