"""A send to more destinations than it may hold at once."""

import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from arkcli.delivery.loop import Token
from arkcli.delivery.places import Limits
from arkcli.delivery.send import Sender
from arkcli.model import DOCUMENTED, Answer, Attempt, Destination, Draft, Event, State
from arkcli.queue.local.queue import LocalQueue
from arkcli.signing import Secret
from arkcli.system.clock import SystemClock
from arkcli.wire.wire import Endpoint, Wire
from tests.world import Request, answer, receiver

IDS = tuple(f"dst_{number}" for number in range(8))
DRAFT = Draft("evt_1", "signal.promoted", "2026-11-23T11:28:48.123Z", b"{}")


class Asked(LocalQueue):
    """A queue that notes at which destinations it was asked for the outcomes of other processes."""

    asked: set[str]

    def outcomes(self, event: Event, ids: Iterable[str]) -> dict[str, Attempt]:
        """Notes the ids."""
        self.asked.update(found := list(ids))
        return super().outcomes(event, found)


def slowly(_: Request) -> bytes:
    time.sleep(0.15)
    return answer(200)


def test_it_looks_for_the_outcomes_of_others_only_where_it_found_others(tmp_path: Path) -> None:
    clock, busy = SystemClock(), IDS[2]
    queue, other = Asked(tmp_path / "queue", DOCUMENTED), LocalQueue(tmp_path / "queue", DOCUMENTED)
    queue.asked = set()
    queue.join(IDS)
    (event,) = queue.accept([DRAFT])
    other.look((), clock.now())
    ((claim, own),) = other.claim_first(event, [busy], 1)
    other.record([(claim, [(own, Answer(204, None, 3))])], clock.now())
    with receiver(slowly) as server, closing(Wire[Token]("", clock)) as wire:
        endpoints = [
            Endpoint(Destination(id=found, name=found, url=f"{server.url}/{found}", added_at="", allow_local=True), key)
            for found in IDS
            for key in (Secret("secret"),)
        ]
        sender = Sender(wire, clock, Limits(), DOCUMENTED, lambda: False)
        sent = sender.send(queue, endpoints, event, capacity=2)
    assert {found.state for found in sent.deliveries} == {State.DELIVERED}
    assert [found.destination for found in sent.deliveries if found.attempt and found.attempt.status == 204] == [busy]
    assert queue.asked == {busy}
    claim.release()
    other.close()
    queue.close()
