"""`ark listen`: requests verified, printed and answered per second, against the standard library's server."""

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Final

from arkcli import signing
from bench import measure
from bench.home import EVENT, bodies, workplace
from bench.measure import ARK, Contestant, Goal, Options, Result
from bench.wrk import Wrk

_SECRET: Final = "a secret of the benchmark"
_SECONDS: Final = 2
#: Ten times the rate of a busy sender.
_GOALS: Final = (Goal(at_least=1000, of_value=True),)

#: A server that reads the body, answers 200, and does nothing else.
_PEER: Final = """
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_):
        pass
class Server(ThreadingHTTPServer):
    request_queue_size = 512
    def handle_error(self, *_):
        pass
server = Server(("127.0.0.1", 0), Handler)
print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
"""


def results(options: Options) -> list[Result]:
    """Answers per second: with a line printed for each request, and with each request saved, too."""
    with workplace() as directory:
        body = bodies(1)[0]
        headers = {
            signing.SIGNATURE_HEADER: signing.sign(_SECRET, body),
            "X-SignalArk-Event": EVENT,
            "X-SignalArk-Delivery": "evt_0123456789abcdef0123456789ab.dst_0123456789abcdef0123456789ab",
            "X-SignalArk-Attempt": "1",
        }
        wrk = Wrk(directory, body, headers)
        (directory / "secret").write_text(_SECRET, "utf-8")
        listen = [ARK, "listen", "--port", "0", "--secret-file", str(directory / "secret")]
        saving = [*listen, "--save", str(directory / "saved.jsonl"), "--json"]
        peer = [sys.executable, "-c", _PEER]
        found = measure.alternate(
            options.rounds,
            [
                _posted("http.server", wrk, directory, peer),
                _posted("ark", wrk, directory, listen),
                _posted("saving", wrk, directory, saving),
                _posted("again", wrk, directory, peer),
            ],
        )
    rows = {"ark listen, piped": "ark", "ark listen --save FILE --json": "saving"}
    return [
        Result(what, "requests/s", found[name], "http.server", found["http.server"], found["again"], _GOALS)
        for what, name in rows.items()
    ]


def _posted(name: str, wrk: Wrk, directory: Path, command: Sequence[str]) -> Contestant:
    """Starts a server, posts to it with wrk, and stops it."""

    def contestant() -> dict[str, float]:
        with (directory / f"{name}.out").open("w+b") as said, _started(command, said) as url:
            return {name: wrk.rate(url, _SECONDS)}

    return contestant


@contextlib.contextmanager
def _started(command: Sequence[str], said: IO[bytes]) -> Iterator[str]:
    """Starts a server that first prints its URL. All its output goes to a file, as with a shell's `>`."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=measure.environment(), stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    found = re.search(r"http://[\w.:]+", process.stdout.readline().decode())
    assert found is not None
    drained = subprocess.Popen(["cat"], stdin=process.stdout, stdout=said)
    process.stdout.close()
    try:
        yield found[0]
    finally:
        process.terminate()
        process.wait(10)
        drained.wait(10)


if __name__ == "__main__":
    measure.main(results)
