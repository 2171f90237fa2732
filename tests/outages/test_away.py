"""While the database is away, what runs goes on by itself: it waits, and keeps the answers that come meanwhile."""

import json
import signal
import threading
import time
from collections.abc import Callable

import pytest

from tests.outages.hosts import Host, sql, until
from tests.test_processes import arrived, finish
from tests.world import PAYLOAD, Request, TestReceiver, answer

Receive = Callable[..., TestReceiver]


class Slow:
    """The behaviour of a receiver that answers when it is told to."""

    def __init__(self) -> None:
        self.answers = threading.Event()

    def __call__(self, _: Request) -> bytes:
        self.answers.wait(60)
        return answer(200)


@pytest.mark.parametrize("command", ["drain --watch --json", "drain --for 60s --json", "drain --json"])
def test_a_drain_waits_for_the_database_and_records_what_was_answered_meanwhile(
    pair: list[Host], receive: Receive, command: str
) -> None:
    a, _ = pair
    slow = Slow()
    server = receive(slow)
    a.add(server, "d")
    ids = a.accept(20)
    drain = a.start(*command.split())
    until(lambda: len(server.requests) == 2)
    a.network.close()
    slow.answers.set()
    time.sleep(1)
    # Nothing begins before what was answered is recorded.
    assert len(server.requests) == 2
    a.network.open()
    until(lambda: a.standing()["waiting"] == 0)
    if command.split()[1] != "--json":
        drain.send_signal(signal.SIGTERM)
    status, out, err = finish(drain)
    said = json.loads(out)
    assert (said["attempted"], said["delivered"]) == (20, 20)
    assert arrived(server) == dict.fromkeys(ids, 1)
    assert err.count("Deliveries wait until the database can be reached again") == 1
    assert err.count("the database can be reached again: deliveries go on") == 1
    assert status == 0


@pytest.mark.outage
def test_a_drain_that_ends_while_the_database_is_away_says_what_is_not_recorded(
    pair: list[Host], receive: Receive
) -> None:
    a, b = pair
    slow = Slow()
    server = receive(slow)
    a.add(server, "d")
    a.accept(5)
    drain = a.start("drain", "--watch", "--json")
    until(lambda: len(server.requests) == 2)
    a.network.close()
    slow.answers.set()
    drain.send_signal(signal.SIGTERM)
    status, out, err = finish(drain)
    assert (status, json.loads(out)["attempted"]) == (1, 0)
    assert "2 answers could not be recorded; those deliveries are made again" in err
    assert "Traceback" not in err
    sql(b, "update ark.share set until = now() - interval '1 s'")
    assert b.ark("drain", "--json").json["delivered"] == 5
    assert sorted(arrived(server).values()) == [1, 1, 1, 2, 2]


@pytest.mark.parametrize("is_back", [True, pytest.param(False, marks=pytest.mark.outage)])
def test_a_send_whose_answer_cannot_be_recorded_waits_for_the_database_and_says_if_that_was_in_vain(
    pair: list[Host], receive: Receive, is_back: bool
) -> None:
    a, b = pair

    def leave(_: Request) -> bytes:
        a.network.close()
        return answer(200)

    server = receive(leave)
    a.add(server, "d")
    sending = a.start("send", "signal.promoted", "--id", "order-1", "--json", "--sample")
    until(lambda: server.requests)
    if is_back:
        time.sleep(0.5)
        server.behave = lambda _: answer(200)
        a.network.open()
    status, out, err = finish(sending)
    (delivery,) = json.loads(out)["deliveries"]
    if is_back:
        assert (status, delivery["outcome"], err) == (0, "delivered", "")
    else:
        assert (status, delivery["outcome"]) == (75, "waiting")
        assert "the event is accepted and queued, but cannot reach the database" in err
        sql(b, "update ark.pending set due_at = due_at - interval '15 s'")
    assert b.ark("drain", "--json").json["attempted"] == int(not is_back)
    assert [request.attempt for request in server.requests] == [1] * (1 if is_back else 2)


def test_a_send_that_cannot_reserve_after_it_accepted_says_that_the_event_is_queued(
    pair: list[Host], receive: Receive
) -> None:
    a, b = pair
    server = receive(200)
    a.add(server, "d")
    # The server ends the connection as soon as the event is there.
    sql(
        a,
        "create function ark.leave() returns trigger language plpgsql as $$ begin "
        "perform pg_terminate_backend(pg_backend_pid()); return null; end $$",
    )
    sql(a, "create trigger leave after insert on ark.pending execute function ark.leave()")
    result = a.ark("send", "signal.promoted", "--id", "order-1", "--json", stdin=PAYLOAD)
    assert result.status == 75
    assert result.json["deliveries"][0]["outcome"] == "waiting"
    assert "the event is accepted and queued, but" in result.err
    sql(a, "drop trigger leave on ark.pending")
    assert b.ark("drain", "--json").json["delivered"] == 1
    assert arrived(server) == {"order-1": 1}
