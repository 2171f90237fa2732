"""`ark demo`: a complete example in a few seconds, on this machine only and in a temporary home."""

import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

from arkcli import signing
from arkcli.actions import destinations, send
from arkcli.actions.destinations import Wanted
from arkcli.actions.drain import Job, drain
from arkcli.actions.home import Home
from arkcli.delivery.drain import Plan
from arkcli.model import RetrySchedule
from arkcli.system.process import Process

if TYPE_CHECKING:
    from arkcli.receiver.record import Received

#: The demo retries after 1, 2, 3 and 4 s, and says so: nobody wants to watch 30 seconds pass.
SHORTENED: Final = RetrySchedule((1_000, 2_000, 3_000, 4_000))
_EVENT: Final = "signal.promoted"


class Proof(msgspec.Struct):
    """What happened in the demo, for `--json`."""

    delivered: bool
    attempts: int
    answers: list[int]
    signatures_valid: bool
    same_bytes: bool
    signature: str


def tell(outer: Home, say: Callable[[str], None]) -> Proof:
    """Runs the demo and prints each step with `say`."""
    from arkcli.httpd.server import listen_on, url_of
    from arkcli.receiver import plan
    from arkcli.receiver.receiver import Orders, Receiver

    with tempfile.TemporaryDirectory(prefix="ark-demo-") as place:
        places = {"ARK_CONFIG_DIR": f"{place}/config", "ARK_STATE_DIR": f"{place}/state", "ARK_QUEUE": ""}
        variables = {**outer.variables, **places}
        home = Home(variables, outer.clock, outer.randomness, say, SHORTENED)
        secret = destinations.new_secret(home)
        with home.store.change() as contents:
            contents.workspace.secret = secret
        workspace = home.workspace_secret(home.store.read())
        received: list[Received] = []
        orders = Orders(secrets=lambda: [workspace], plan=plan.parse("200,503,200"))
        receiver = Receiver(orders, home.clock, received.append)
        listeners = listen_on("127.0.0.1", 0)
        url = f"{url_of(listeners[0])}/webhook"
        with receiver.in_background(listeners):
            return _play(home, url, received, say)


def _play(home: Home, url: str, received: "list[Received]", say: Callable[[str], None]) -> Proof:
    say("This uses a temporary home, and retries after 1, 2, 3 and 4 s instead of 30 s, 5 min, 30 min and 2 h.\n")
    say(f"1. A receiver listens at {url}. It checks every signature, and fails once on purpose.\n")

    say(f"2. ark dest add {url} --allow-local")
    added, answer, _ = destinations.add(home, Wanted(url=url, allow_local=True, name="demo"), ping=True)
    say(f"   The ping was answered {answer.status if answer else '-'}, so {added.name} is saved.\n")

    say(f"3. ark send {_EVENT} --sample")
    order = send.Order(event=_EVENT)
    sending = send.send(home, order, home.store.read(), Process(), now=True)
    say(f"   Accepted {sending.event.id}: it is on disk before the first request is sent.")
    for sent in sending.deliveries:
        made = sent.attempt
        say(f"   {sent.destination}: {sent.state}, {made.error or made.status if made else sent.error}\n")

    say("4. ark drain --for 8s")
    delivered, attempts = _drain(home, received)
    said = "delivered" if delivered else "not delivered"
    say(f"   Attempt {attempts} was made when it was due: {said}.\n")

    heard = [request for request in received if request.event == _EVENT]
    proof = Proof(
        delivered=delivered,
        attempts=len(heard),
        answers=[request.status for request in heard if request.status],
        signatures_valid=all(request.verdict.valid for request in received),
        same_bytes=len({(one.request.body, _signature(one), one.delivery) for one in heard}) == 1,
        signature=_signature(heard[-1]),
    )
    verdict = "valid" if proof.signatures_valid else "NOT valid"
    same = "the same" if proof.same_bytes else "NOT the same"
    say("5. ark verify")
    say(f"   Every signature was {verdict}, and bytes, signature and delivery id were {same} on both attempts:")
    say(f"   {signing.SIGNATURE_HEADER}: {proof.signature}\n")
    say("Nothing was lost, and the demo has removed its files. Next: ark dest add URL")
    return proof


def _signature(received: "Received") -> str:
    return received.request.header(signing.SIGNATURE_HEADER) or ""


def _drain(home: Home, received: "list[Received]") -> tuple[bool, int]:
    """Drains until the event is delivered, or for 8 s. Returns whether it was delivered, and the last attempt."""

    def done() -> bool:
        return received[-1].event == _EVENT and received[-1].status == 200

    job = Job(lambda contents: contents.destinations, Plan(watch=True, seconds=8.0))
    drained = drain(home, job, lambda _: None, done)
    return drained.total("delivered") == 1, received[-1].attempt or 0
