"""A receiver: verifies and reports each request, and answers it by plan or through an application."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from arkcli import signing
from arkcli.contract.headers import ATTEMPT_HEADER, DELIVERY_HEADER
from arkcli.httpd.connection import Callbacks, ServerLimits
from arkcli.httpd.messages import Reply, Request, Silence
from arkcli.httpd.run import Run
from arkcli.httpd.server import Entrance, serving
from arkcli.receiver.plan import Answer
from arkcli.receiver.record import Deliveries, Received, event_of
from arkcli.signing import Secret
from arkcli.signing.standard import Webhook
from arkcli.signing.verdict import Explainer, Signature, Verdict, judge
from arkcli.system import descriptors
from arkcli.system.clock import Clock

if TYPE_CHECKING:
    from arkcli.receiver.forward import Forwarder

#: How long a sender waits for an answer, in seconds (contract, "Delivery and retries").
SENDER_WAITS: Final = 10.0
#: How long answers under way may take after a stop, in seconds.
_GRACE: Final = 2.0
#: How often to ask whether keys may be read, in seconds: a shell puts a job into the foreground without telling it.
_LOOK_EVERY: Final = 0.1
#: Descriptors for everything except connections. Each connection may need a second one, to the application.
_OTHER_DESCRIPTORS: Final = 100
_SIGNED_BEFORE: Final = "it is signed with the secret before; the sender needs the new one"
#: A 401 must say how to authenticate (RFC 9110, section 15.5.2).
_CHALLENGE: Final = ((b"WWW-Authenticate", signing.SIGNATURE_HEADER.encode()),)

Report = Callable[[Received], None]


class Keys(Protocol):
    """Somebody who presses keys while requests come. All methods are called in the loop's thread."""

    def fileno(self) -> int:
        """The descriptor that keys come from."""

    def are_wanted(self) -> bool:
        """Whether keys may be read now; asked after each `pressed`, and ten times a second."""

    def pressed(self) -> None:
        """Reads what was pressed, and does it."""


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """A receiver's settings. It ends after `count` requests or `timeout` seconds; `delay` is in seconds, too.

    `secrets` is called for each request and returns the secrets with which it may be signed; `before` returns those
    that were replaced, to recognise them. If there are `events`, any others are answered, and nothing else.
    """

    secrets: Callable[[], Sequence[Secret]]
    before: Callable[[], Sequence[Secret]] = tuple
    events: frozenset[str] = frozenset()
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
        #: What valid requests are answered from the next one on; None: by the plan or by the application.
        self.choice: Answer | None = None
        self._orders = orders
        self._clock = clock
        self._report = report
        self._complain = complain
        self._limits = limits
        self._deliveries = Deliveries()
        self._explainer = Explainer(orders.secrets, clock)
        self._run = Run()
        self.stop = self._run.stop
        self._resending: set[asyncio.Task[None]] = set()

    @property
    def has_enough(self) -> bool:
        """Whether `count` requests have come."""
        return self._orders.count is not None and self.totals.requests >= self._orders.count

    def run(
        self, listeners: Iterable[socket.socket], keys: Keys | None = None, beside: Sequence[Entrance] = ()
    ) -> None:
        """Serves until `count` or `timeout` is reached, or `stop` is called; what is `beside`, too.

        Raises what `report` or `keys` raised.
        """
        self._run.until_end(lambda: self._serve(listeners, keys, beside))

    @contextlib.contextmanager
    def in_background(self, listeners: Iterable[socket.socket], beside: Sequence[Entrance] = ()) -> Iterator[None]:
        """Runs in its own thread for the length of a block."""
        thread = Thread(target=self.run, args=(listeners, None, beside), daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.stop()
            thread.join()

    def resend(self, received: Received, request: Request, again: str) -> None:
        """Sends a request to the application, and reports it as `again`. There must be an application.

        `received` is what it was made from. It does not count as a request. May be called from any thread.
        """
        given = {"at": self._clock.now(), "request": request, "event": event_of(request), "again": again}
        fresh = {"explanation": None, "error": None, "reply": None, "took": None}
        self._run.call(lambda: self._begin(msgspec.structs.replace(received, **given, **fresh)))

    def _begin(self, received: Received) -> None:
        task = asyncio.ensure_future(self._resend(received))
        self._resending.add(task)
        task.add_done_callback(self._resending.discard)

    async def _resend(self, received: Received) -> None:
        assert self._orders.forwarder is not None
        try:
            await self._forward(received, self._orders.forwarder)
        except Exception as error:
            self._run.fail(error)

    async def _serve(self, listeners: Iterable[socket.socket], keys: Keys | None, beside: Sequence[Entrance]) -> None:
        self._enough = asyncio.Event()
        most = min(self._limits.connections, (descriptors.limit() - _OTHER_DESCRIPTORS) // 2)
        limits = self._limits._replace(connections=max(most, 1))
        callbacks = Callbacks(self._take, self._complain, self._run.fail)
        try:
            async with contextlib.AsyncExitStack() as stack:
                for one in beside:
                    others = Callbacks(one.take, lambda _: None, self._run.fail)
                    found = await stack.enter_async_context(serving(one.listeners, others, one.limits or limits))
                    stack.callback(found.abort)
                connections = await stack.enter_async_context(serving(listeners, callbacks, limits))
                ends = (self._enough.wait(), self._run.stopped(), *([] if keys is None else [self._attend(keys)]))
                await _first(*ends, seconds=self._orders.timeout)
            if self.has_enough:
                connections.dismiss(patient=True)
                await _first(connections.quiet(), self._run.stopped())
            await connections.end(_GRACE)
        finally:
            for task in self._resending:
                task.cancel()
            if self._orders.forwarder is not None:
                await self._orders.forwarder.close()

    async def _attend(self, keys: Keys) -> None:
        """Reads keys while they are wanted. Ends only with an error."""
        loop = asyncio.get_running_loop()
        descriptor = keys.fileno()
        is_reading = False

        def look() -> None:
            nonlocal is_reading
            if is_reading is not keys.are_wanted():
                is_reading = not is_reading
                if is_reading:
                    loop.add_reader(descriptor, pressed)
                else:
                    loop.remove_reader(descriptor)

        def pressed() -> None:
            keys.pressed()
            look()

        try:
            while True:
                look()
                await asyncio.sleep(_LOOK_EVERY)
        except Exception as error:
            self._run.fail(error)
        finally:
            loop.remove_reader(descriptor)

    async def _take(self, request: Request) -> Reply | Silence:
        if request.method != "POST":
            return _greet(request)
        if self.has_enough:
            return Reply(503, body=b"this receiver has had as many requests as it was to take\n")
        verdict = self._judge(request)
        if self._orders.events and event_of(request) not in self._orders.events:
            return _refusal(request, verdict) or Reply(200)
        received = self._receive(request, verdict)
        choice, forwarder = self.choice, self._orders.forwarder
        may_pass = verdict.valid or (self._orders.forward_unverified and request.body is not None)
        if forwarder is not None and choice is None and may_pass:
            return await self._forward(received, forwarder)
        if refusal := _refusal(request, verdict):
            return self._tell(received, refusal)
        answer = next(self._orders.plan) if choice is None else choice
        told = self._tell(received, answer if isinstance(answer, Silence) else Reply(answer))
        if self._orders.delay:
            await asyncio.sleep(self._orders.delay)
        return told

    def _judge(self, request: Request) -> Verdict:
        if request.body is None:
            why = f"the body is larger than {self._limits.body:,} bytes; it was not read"
            return Verdict(Signature.UNCHECKED, why)
        return self._judged(request, request.body, self._orders.secrets())

    def _judged(self, request: Request, body: bytes, secrets: Sequence[Secret]) -> Verdict:
        signature, webhook = _signatures(request)
        return judge(secrets, body, signature, webhook, self._clock.now())

    def _explain(self, request: Request, verdict: Verdict) -> str | None:
        if request.body is None or verdict.valid:
            return None
        before = self._orders.before()
        if before and self._judged(request, request.body, before).valid:
            return _SIGNED_BEFORE
        return self._explainer.explain(verdict, request.body, *_signatures(request))

    def _receive(self, request: Request, verdict: Verdict) -> Received:
        delivery, attempt = request.header(DELIVERY_HEADER), request.header(ATTEMPT_HEADER) or ""
        received = Received(
            at=self._clock.now(),
            request=request,
            verdict=verdict,
            explanation=self._explain(request, verdict),
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
        received.reply = reply if reply.error is None else None
        received.took, received.error = round(took * 1000), reply.error
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


def _signatures(request: Request) -> tuple[str | None, Webhook | None]:
    return request.header(signing.SIGNATURE_HEADER), Webhook.of(request.header, DELIVERY_HEADER)


def _refusal(request: Request, verdict: Verdict) -> Reply | None:
    """The answer to a request that is invalid or too large; None if it is neither."""
    if verdict.valid:
        return None
    said = f"{verdict.reason}\n".encode()
    return Reply(413, body=said) if request.body is None else Reply(401, _CHALLENGE, said)


def _greet(request: Request) -> Reply:
    if request.method in ("GET", "HEAD") and request.target.partition("?")[0] == "/":
        text = "This is `ark listen`, a webhook receiver. It is running; POST a signed body to any path.\n"
        return Reply(200, ((b"Content-Type", b"text/plain; charset=utf-8"),), text.encode())
    return Reply(405, ((b"Allow", b"POST"),), b"webhooks come by POST\n")
