"""`ark listen`: requests a second that are verified, printed and answered, against the standard library's server."""

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
#: What a busy sender sends, ten times over.
_GOALS: Final = (Goal(at_least=1000, of_value=True),)

#: Reads a body, answers 200, and does nothing else.
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
    """Answers a second with a line printed for each, and with each saved, body and all."""
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
    """Starts a server, posts to it with wrk, and ends it."""

    def contestant() -> dict[str, float]:
        with (directory / f"{name}.out").open("w+b") as said, _started(command, said) as url:
            return {name: wrk.rate(url, _SECONDS)}

    return contestant


@contextlib.contextmanager
def _started(command: Sequence[str], said: IO[bytes]) -> Iterator[str]:
    """A server that says first where it listens. What it says goes on into a file, as a shell's `>` would have it."""
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
