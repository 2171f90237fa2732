"""The pages of `ark listen --ui`: requests as they come, each in detail, and what to do with them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from arkcli.actions import requests
from arkcli.errors import UsageError
from arkcli.receiver.receiver import Orders, Receiver
from arkcli.receiver.record import Numbered, Received
from arkcli.receiver.resend import body_of, signed_again, text_of
from arkcli.text import escaped
from arkcli.web.asked import Answer, Asked, Gone, Shown, part_of
from arkcli.web.site import Route

if TYPE_CHECKING:
    from arkcli.receiver.plan import Answer as Planned

#: How often a browser is told that the connection is still there, in seconds.
_STILL: Final = 15.0


class Inspector:
    """Remembers the newest requests, shows them, and obeys the page's forms."""

    def __init__(self, orders: Orders, now: Callable[[], int], plan: str) -> None:
        """`plan` says how requests are answered. `begin` comes before anything else."""
        self._orders, self._now, self._plan = orders, now, plan
        self._requests = Numbered(requests.REMEMBERED, requests.REMEMBERED_BYTES)
        self._changed: asyncio.Event | None = None

    def begin(self, receiver: Receiver, copy: Callable[[int, Received], str]) -> None:
        """Takes what comes. `copy` returns a request as a curl command, or raises ValueError."""
        self._receiver, self._copy = receiver, copy

    def add(self, received: Received) -> None:
        """Takes a request that came, and tells the browsers. Call this in the receiver's thread."""
        self._requests.add(received)
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    @property
    def newest(self) -> int:
        """The number of the newest request; 0 before the first."""
        return self._requests.last

    async def news(self, seen: int) -> AsyncIterator[int | None]:
        """The number of the newest request whenever one has come after the one that was seen; None now and then."""
        while True:
            if self._requests.last == seen:
                self._changed = changed = self._changed or asyncio.Event()
                with suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), _STILL)
            yield None if self._requests.last == seen else self._requests.last
            seen = self._requests.last

    def routes(self) -> list[Route]:
        """What answers which path."""
        return [
            Route("GET", "", self.all),
            Route("GET", r"request/(\d{1,9})", self.one),
            Route("GET", r"request/(\d{1,9})/edit", self.form),
            Route("POST", "answers", self.choose),
            Route("POST", r"request/(\d{1,9})/resend", self.resend),
            Route("POST", r"request/(\d{1,9})/edit", self.edit),
        ]

    def all(self, asked: Asked) -> Answer:
        """The requests, the newest first."""
        words = asked.query.get("q", "").strip()
        found = [one for one in reversed(self._requests.items()) if requests.matches(one[1], words)]
        rows = [(number, one, requests.verdict_of(one), [*requests.remarks_of(one)]) for number, one in found]
        current = next((name for name, known in requests.ANSWERS.items() if known == self._receiver.choice), "plan")
        values = {"part": part_of(rows, asked), "plan": self._plan, "answers": requests.ANSWERS, "current": current}
        return Shown("requests.html", values | {"totals": self._receiver.totals, "forgotten": self._forgotten})

    def one(self, _: Asked, number: str) -> Answer:
        """One request in detail."""
        received = self._found(number)
        body = received.request.body or b""
        try:
            command, problem = self._copy(int(number), received), None
        except ValueError as error:
            command, problem = "", str(error)
        same = [
            (known, other)
            for known, other in self._requests.items()
            if received.delivery and other.delivery == received.delivery and other is not received
        ]
        before = next((one for one in reversed(same) if one[0] < int(number)), None)
        values = {
            "number": int(number),
            "one": received,
            "verdict": requests.verdict_of(received),
            "remarks": [*requests.remarks_of(received)],
            "took": requests.took_of(received.took),
            "head": "\n".join(map(escaped, requests.head_of(received.request))),
            "pretty": text_of(body).decode("utf-8", "backslashreplace"),
            "raw": escaped(body.decode("utf-8", "backslashreplace")),
            "hex": requests.hex_of(body),
            "reply": received.reply,
            "said": text_of(received.reply.body).decode("utf-8", "backslashreplace") if received.reply else "",
            "command": command,
            "problem": problem,
            "same": same,
            "before": before,
            "differences": requests.differences(before[1].request, received.request) if before else [],
            "not_resent": requests.why_not_sent(self._orders, int(number), received, signed_again=False),
            "not_edited": requests.why_not_sent(self._orders, int(number), received, signed_again=True),
        }
        return Shown("request.html", values)

    def choose(self, asked: Asked) -> Answer:
        """Chooses what the next requests are answered."""
        name = asked.form.get("answer", "")
        if name not in requests.ANSWERS:
            raise UsageError("choose one of the answers")
        choice: Planned | None = requests.ANSWERS[name]
        self._receiver.choice = choice
        return Gone("", f"From the next request on: {self._plan if choice is None else choice}.")

    def resend(self, _: Asked, number: str) -> Answer:
        """Sends a request to the application again."""
        received = self._to_send(number, signed=False)
        self._receiver.resend(received, received.request, "resent")
        return Gone("", f"Sent #{number} to the application again; its answer comes as another row.")

    def form(self, _: Asked, number: str) -> Answer:
        """The form to edit a body."""
        try:
            text = text_of(self._to_send(number, signed=True).request.body or b"").decode()
        except UnicodeDecodeError:
            raise UsageError(f"the body of #{number} is not UTF-8, so it cannot be edited here") from None
        return Shown("edit.html", {"number": int(number), "text": text})

    def edit(self, asked: Asked, number: str) -> Answer:
        """Sends an edited body to the application, signed again."""
        received = self._to_send(number, signed=True)
        # A form's lines end in CRLF (WHATWG HTML, "Constructing the entry list").
        text = asked.form.get("body", "").replace("\r\n", "\n").encode()
        body = body_of(text, received.request.body or b"")
        request = signed_again(received.request, body, self._orders.secrets()[0], self._now() // 1000)
        self._receiver.resend(received, request, "edited")
        return Gone("", f"Sent #{number}, edited and signed again, to the application.")

    def _found(self, number: str) -> Received:
        found = self._requests.get(int(number))
        if found is None:
            raise UsageError(f"there is no request #{number}; only the newest are remembered")
        return found

    def _to_send(self, number: str, *, signed: bool) -> Received:
        received = self._found(number)
        if why := requests.why_not_sent(self._orders, int(number), received, signed_again=signed):
            raise UsageError(why)
        return received

    @property
    def _forgotten(self) -> int:
        return self._requests.last - len(self._requests.items())
