"""A drain on a queue with missing destinations."""

import shutil
from contextlib import closing
from pathlib import Path

from arkcli.delivery.drain import Drain, Plan
from arkcli.delivery.loop import Token
from arkcli.delivery.places import Limits
from arkcli.model import DOCUMENTED
from arkcli.queue.local.queue import LocalQueue
from arkcli.system.clock import SystemClock
from arkcli.wire.wire import Wire
from tests.wire.test_wire import endpoint


def test_a_drain_ends_though_a_place_was_taken_away_under_it(tmp_path: Path) -> None:
    """Removed by hand: `dest remove` removes a destination from the store first, so drains no longer ask for it."""
    clock = SystemClock()
    target = endpoint("http://127.0.0.1:9/")
    told: list[str] = []
    gives_up_at = clock.monotonic() + 20
    with closing(LocalQueue(tmp_path / "queue", DOCUMENTED)) as queue:
        queue.join([target.destination.id])
        shutil.rmtree(tmp_path / "queue" / "destinations" / target.destination.id)
        wire: Wire[Token] = Wire("", clock)

        def stopping() -> bool:
            return clock.monotonic() > gives_up_at

        drain = Drain(queue, wire, clock, Limits(), 8, lambda: [target], stopping, lambda: None, told.append)
        drained = drain.run(Plan())
        wire.close()
    assert drained.destinations == []
    assert not stopping()
