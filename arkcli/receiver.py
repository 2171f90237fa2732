"""A receiver on this machine: takes webhooks, checks their signatures, and answers as it is told."""

from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType
from typing import Any, Final, NamedTuple

from arkcli import signing
from arkcli.signing import Secret

#: The largest body that is taken, in bytes.
_LARGEST: Final = 1024 * 1024
#: How long a request may take to arrive, in seconds.
_PATIENCE: Final = 15.0


class Received(NamedTuple):
    """One request as it came."""

    event: str
    delivery: str
    attempt: str
    signature: str
    body: bytes
    valid: bool
    status: int


class Receiver:
    """Listens on the loopback interface while in its `with` block, and keeps what it received."""

    def __init__(self, secret: Callable[[], Secret], answers: Sequence[int], port: int = 0) -> None:
        """Gives the answers in that order, the last one for ever; to a wrong signature always 401.

        `secret` is asked at each request, since the first one may come before there is a secret.
        """
        self.received: list[Received] = []
        self._secret = secret
        self._answers = list(answers)
        receiver = self

        class Handler(_Handler):
            take = receiver._take

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/webhook"

    def __enter__(self) -> "Receiver":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _take(self, headers: Any, body: bytes) -> int:
        signature = headers.get(signing.SIGNATURE_HEADER, "")
        valid = signing.verify(self._secret(), body, signature)
        status = 401 if not valid else self._answers[0] if len(self._answers) == 1 else self._answers.pop(0)
        event, delivery, attempt = (headers.get(f"X-SignalArk-{name}", "") for name in ("Event", "Delivery", "Attempt"))
        self.received.append(Received(event, delivery, attempt, signature, body, valid, status))
        return status


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _PATIENCE
    take: Callable[[Any, bytes], int]

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > _LARGEST:
            self.close_connection = True
            self._answer(413 if length.isdecimal() else 411)
            return
        self._answer(self.take(self.headers, self.rfile.read(int(length))))

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass
