"""A queue that goes away and comes back, as a drain sees it."""

from collections.abc import Sequence

import pytest

from arkcli.delivery.patient import Patient
from arkcli.errors import InDoubt, Unreachable
from arkcli.model import DOCUMENTED, Answer, Delivery, Draft, State
from arkcli.queue.engine import Claim, Recorded, Result
from tests.queue.memory import MemoryQueue
from tests.world import START, FakeClock


class LeavingQueue(MemoryQueue):
    """A queue that can be away: it keeps outcomes, and raises what a database would."""

    away: Unreachable | InDoubt | None = None

    def __init__(self) -> None:
        super().__init__(DOCUMENTED)
        self.kept: list[tuple[Claim, Sequence[Result]]] = []

    def _there(self) -> None:
        if self.away is not None:
            raise self.away

    def look(self, ids: Sequence[str], now: int) -> list[str]:
        self._there()
        return super().look(ids, now)

    def drains(self) -> int:
        self._there()
        return 3

    def record(self, results: Sequence[tuple[Claim, Sequence[Result]]], now: int) -> list[Recorded]:
        if self.away is None:
            return super().record(results, now)
        self.kept += results
        return [Recorded([None] * len(part), is_kept=True) for _, part in results]

    def late(self) -> list[tuple[Claim, Sequence[Result], Recorded]]:
        kept, self.kept = self.kept, []
        return [(claim, part, self.record([(claim, part)], START)[0]) for claim, part in kept]


@pytest.mark.parametrize("error", [Unreachable("it is away"), InDoubt("it is away")])
def test_nothing_is_due_while_it_is_away_and_that_is_said_once(error: Unreachable | InDoubt) -> None:
    queue, clock, said = LeavingQueue(), FakeClock(), list[str]()
    patient = Patient(queue, clock, said.append)
    queue.join(["dst_a"])
    queue.accept([Draft("evt_1", "ping", "2026-11-26T12:00:00.000Z", b"{}")])
    assert (patient.look(["dst_a"], START), patient.drains(), patient.away_for) == (["dst_a"], 3, None)
    queue.away = error
    for _ in range(3):
        assert patient.look(["dst_a"], START) == ()
        # The last number that was known.
        assert patient.drains() == 3
    clock.advance(20)
    assert 20 <= (patient.away_for or 0) < 25
    queue.away = None
    assert patient.look(["dst_a"], START) == ["dst_a"]
    assert patient.away_for is None
    assert said == [
        "it is away. Deliveries wait until the database can be reached again",
        "the database can be reached again: deliveries go on",
    ]


def test_outcomes_that_are_kept_are_counted_until_they_are_recorded() -> None:
    queue = LeavingQueue()
    patient = Patient(queue, FakeClock(), lambda _: None)
    queue.join(["dst_a"])
    queue.accept([Draft(f"evt_{n}", "ping", "2026-11-26T12:00:00.000Z", b"{}") for n in range(2)])
    (claim,) = patient.claim_due(["dst_a"], 1, "drain", START)
    taken: Sequence[Delivery] = claim.take(START, 2)
    queue.away = Unreachable("it is away")
    (told,) = patient.record([(claim, [(one, Answer(200, None, 1)) for one in taken])], START)
    assert (told.is_kept, told.states, patient.kept) == (True, [None, None], 2)
    queue.away = None
    ((_, results, told),) = patient.late()
    assert (len(results), told.states, patient.kept) == (2, [State.DELIVERED, State.DELIVERED], 0)
