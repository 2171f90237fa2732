"""A receiver: verifies and reports each request, and answers it by plan or through an application."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

import msgspec

from arkcli import signing
from arkcli.contract.headers import ATTEMPT_HEADER, DELIVERY_HEADER
from arkcli.httpd.connection import Callbacks, ServerLimits
from arkcli.httpd.messages import Reply, Request, Silence
from arkcli.httpd.server import serving
from arkcli.receiver.plan import Answer
from arkcli.receiver.record import Deliveries, Received, event_of
from arkcli.signing import Secret
from arkcli.signing.verdict import Explainer, Signature, Verdict, judge
from arkcli.system import files
from arkcli.system.clock import Clock

if TYPE_CHECKING:
    from arkcli.receiver.forward import Forwarder

#: How long a sender waits for an answer, in seconds (contract, "Delivery and retries").
SENDER_WAITS: Final = 10.0
#: How long answers under way may take after a stop, in seconds.
_GRACE: Final = 2.0
#: Descriptors for everything except connections. Each connection may need a second one, to the application.
_OTHER_DESCRIPTORS: Final = 100
#: A 401 must say how to authenticate (RFC 9110, section 15.5.2).
_CHALLENGE: Final = ((b"WWW-Authenticate", signing.SIGNATURE_HEADER.encode()),)

Report = Callable[[Received], None]


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """A receiver's settings. It ends after `count` requests or `timeout` seconds; `delay` is in seconds, too.

    `secrets` is called for each request and returns the secrets with which it may be signed.
    """

    secrets: Callable[[], Sequence[Secret]]
    plan: Iterator[Answer]
    delay: float = 0.0
    forwarder: "Forwarder | None" = None
    forward_unverified: bool = False
    count: int | None = None
    timeout: float | None = None


class Totals(msgspec.Struct):
    """The number of requests received."""

    requests: int = 0
    valid: int = 0
    repeated: int = 0


class Receiver:
    """Receives requests until it is stopped, and reports each before it answers."""

    def __init__(
        self,
        orders: Orders,
        clock: Clock,
        report: Report,
        complain: Callable[[str], None] = lambda _: None,
        limits: ServerLimits = ServerLimits(),  # noqa: B008 - it is immutable
    ) -> None:
        """`complain` gets a message about what is not a valid HTTP request. What `report` raises ends the run."""
        self.totals = Totals()
        self._orders = orders
        self._clock = clock
        self._report = report
        self._complain = complain
        self._limits = limits
        self._deliveries = Deliveries()
        self._explainer = Explainer(orders.secrets, clock)
        self._error: BaseException | None = None
        self._told = False
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def has_enough(self) -> bool:
        """Whether `count` requests have come."""
        return self._orders.count is not None and self.totals.requests >= self._orders.count

    def run(self, listeners: Iterable[socket.socket]) -> None:
        """Serves until `count` or `timeout` is reached, or `stop` is called. Raises what `report` raised."""
        asyncio.run(self._run(listeners))
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Makes `run` end soon. May be called from a signal handler and from any thread."""
        self._told = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)

    @contextlib.contextmanager
    def in_background(self, listeners: Iterable[socket.socket]) -> Iterator[None]:
        """Runs in its own thread for the length of a block."""
        thread = Thread(target=self.run, args=(listeners,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.stop()
            thread.join()

    async def _run(self, listeners: Iterable[socket.socket]) -> None:
        self._enough, self._stopping = asyncio.Event(), asyncio.Event()
        self._loop = asyncio.get_running_loop()
        if self._told:
            self._stopping.set()
        most = min(self._limits.connections, (files.descriptor_limit() - _OTHER_DESCRIPTORS) // 2)
        limits = self._limits._replace(connections=max(most, 1))
        callbacks = Callbacks(self._take, self._complain, self._fail)
        try:
            async with serving(listeners, callbacks, limits) as connections:
                await _first(self._enough.wait(), self._stopping.wait(), seconds=self._orders.timeout)
            if self.has_enough:
                connections.dismiss(patient=True)
                await _first(connections.quiet(), self._stopping.wait())
            connections.dismiss(patient=False)
            await _first(connections.gone(), seconds=_GRACE)
            connections.abort()
            await _first(connections.gone(), seconds=_GRACE)
        finally:
            self._loop = None
            if self._orders.forwarder is not None:
                await self._orders.forwarder.close()

    def _fail(self, error: BaseException) -> None:
        self._error = self._error or error
        self._stopping.set()

    async def _take(self, request: Request) -> Reply | Silence:
        if request.method != "POST":
            return _greet(request)
        if self.has_enough:
            return Reply(503, body=b"this receiver has had as many requests as it was to take\n")
        received = self._receive(request)
        if request.body is None:
            return self._tell(received, Reply(413, body=f"{received.verdict.reason}\n".encode()))
        if self._orders.forwarder is not None and (received.verdict.valid or self._orders.forward_unverified):
            return await self._forward(received, self._orders.forwarder)
        if not received.verdict.valid:
            return self._tell(received, Reply(401, _CHALLENGE, f"{received.verdict.reason}\n".encode()))
        answer = next(self._orders.plan)
        told = self._tell(received, answer if isinstance(answer, Silence) else Reply(answer))
        if self._orders.delay:
            await asyncio.sleep(self._orders.delay)
        return told

    def _receive(self, request: Request) -> Received:
        if request.body is None:
            why = f"the body is larger than {self._limits.body:,} bytes; it was not read"
            verdict, explanation = Verdict(Signature.UNCHECKED, why), None
        else:
            signature = request.header(signing.SIGNATURE_HEADER)
            verdict = judge(self._orders.secrets(), request.body, signature)
            explanation = self._explainer.explain(verdict, request.body, signature)
        delivery, attempt = request.header(DELIVERY_HEADER), request.header(ATTEMPT_HEADER) or ""
        received = Received(
            at=self._clock.now(),
            request=request,
            verdict=verdict,
            explanation=explanation,
            event=event_of(request),
            delivery=delivery,
            attempt=int(attempt) if attempt.isdecimal() and len(attempt) < 10 else None,
            before=self._deliveries.count(delivery),
        )
        self.totals.requests += 1
        self.totals.valid += verdict.valid
        self.totals.repeated += received.before > 0
        if self.has_enough:
            self._enough.set()
        return received

    async def _forward(self, received: Received, forwarder: "Forwarder") -> Reply:
        try:
            await asyncio.sleep(self._orders.delay)
            begun = self._clock.monotonic()
            reply = await forwarder.forward(received.request)
        except asyncio.CancelledError:
            received.error = "the connection ended before the application had answered"
            self._report(received)
            raise
        took = self._clock.monotonic() - begun
        received.error = reply.error
        if reply.error is None and took >= SENDER_WAITS:
            received.error = f"the application took {took:.1f} s; a sender waits {SENDER_WAITS:g} s at most"
        self._tell(received, reply)
        return reply

    def _tell(self, received: Received, answer: Reply | Silence) -> Reply | Silence:
        if isinstance(answer, Silence):
            received.answer = answer.value
        else:
            received.answer = str(answer.status)
            received.status = answer.status
        self._report(received)
        return answer


async def _first(*awaited: Coroutine[Any, Any, object], seconds: float | None = None) -> None:
    """Waits for the first of these coroutines, or for `seconds`; cancels the others."""
    tasks = [asyncio.ensure_future(one) for one in awaited]
    await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


def _greet(request: Request) -> Reply:
    if request.method in ("GET", "HEAD") and request.target.partition("?")[0] == "/":
        text = "This is `ark listen`, a webhook receiver. It is running; POST a signed body to any path.\n"
        return Reply(200, ((b"Content-Type", b"text/plain; charset=utf-8"),), text.encode())
    return Reply(405, ((b"Allow", b"POST"),), b"webhooks come by POST\n")
