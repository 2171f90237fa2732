"""A send to more destinations than it may hold at once."""

import time
from collections.abc import Iterable, Sequence
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
    """A queue that notes its looks, and at which destinations it was asked for the outcomes of other processes."""

    asked: set[str]
    looks = 0

    def look(self, ids: Sequence[str], now: int) -> list[str]:
        """Counts."""
        self.looks += 1
        return super().look(ids, now)

    def outcomes(self, event: Event, ids: Iterable[str]) -> dict[str, Attempt]:
        """Notes the ids."""
        self.asked.update(found := list(ids))
        return super().outcomes(event, found)


class Still(SystemClock):
    """A clock on which no time passes."""

    def monotonic(self) -> float:
        """Any."""
        return 1_000.0


def endpoints(url: str, ids: Iterable[str]) -> list[Endpoint]:
    return [
        Endpoint(
            Destination(id=found, name=found, url=f"{url}/{found}", added_at="", allow_local=True), Secret("secret")
        )
        for found in ids
    ]


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
        sender = Sender(wire, clock, Limits(), DOCUMENTED, lambda: False)
        sent = sender.send(queue, endpoints(server.url, IDS), event, capacity=2)
    assert {found.state for found in sent.deliveries} == {State.DELIVERED}
    assert [found.destination for found in sent.deliveries if found.attempt and found.attempt.status == 204] == [busy]
    assert queue.asked == {busy}
    claim.release()
    other.close()
    queue.close()


def test_it_does_not_look_at_the_queue_again_when_all_is_delivered(tmp_path: Path) -> None:
    clock, queue = Still(), Asked(tmp_path / "queue", DOCUMENTED)
    queue.join(IDS)
    (event,) = queue.accept([DRAFT])
    with receiver(lambda _: answer(200)) as server, closing(Wire[Token]("", clock)) as wire:
        sent = Sender(wire, clock, Limits(), DOCUMENTED, lambda: False).send(
            queue, endpoints(server.url, IDS), event, capacity=8
        )
    assert ({found.state for found in sent.deliveries}, queue.looks) == ({State.DELIVERED}, 0)
    queue.close()
