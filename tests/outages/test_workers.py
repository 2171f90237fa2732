"""Workers on two hosts: killed, paused, cut off from the database; with other clocks; and how many attempts at once."""

import json
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing

import pytest

from arkcli.actions import send as actions
from arkcli.actions.send import Order
from arkcli.model import State
from arkcli.system.process import Process
from tests.outages.hosts import Host, sql, until
from tests.test_processes import arrived, finish
from tests.world import PAYLOAD, Request, TestReceiver, answer

pytestmark = pytest.mark.outage

Receive = Callable[..., TestReceiver]
#: As if the lease had been renewed 20 s ago.
EXPIRE = "update ark.share set until = now() - interval '1 s'"


def attempts(server: TestReceiver) -> dict[tuple[str, int], int]:
    """How often each attempt arrived."""
    return Counter((request.delivery, request.attempt) for request in server.requests)


def holding(first: int, release: threading.Event) -> Callable[[Request], bytes]:
    """The behaviour of a receiver that does not answer its first requests before it is told to."""
    left = iter(range(first))

    def behave(_: Request) -> bytes:
        if next(left, None) is not None:
            release.wait(60)
        return answer(200)

    return behave


def test_the_deliveries_of_a_killed_worker_are_made_with_the_same_attempt_numbers(
    pair: list[Host], receive: Receive
) -> None:
    a, b = pair
    never = threading.Event()
    server = receive(holding(2, never))
    a.add(server, "d")
    ids = a.accept(20)
    killed = a.start("drain", "--watch")
    until(lambda: len(server.requests) == 2)
    in_flight = {request.delivery for request in server.requests}
    killed.send_signal(signal.SIGKILL)
    killed.wait()

    early = b.ark("drain", "--json").json
    assert (early["attempted"], [held["purpose"] for held in early["held"]]) == (0, ["drain"])
    sql(b, EXPIRE)
    assert b.ark("drain", "--json").json["delivered"] == 20
    counts = arrived(server)
    assert set(counts) == set(ids)
    assert {found for found, times in counts.items() if times == 2} == {one.partition(".")[0] for one in in_flight}
    assert {number for _, number in attempts(server)} == {1}
    never.set()


def test_a_worker_killed_between_answer_and_record_has_its_attempts_repeated_byte_for_byte(
    pair: list[Host], receive: Receive
) -> None:
    a, b = pair

    def answered(_: Request) -> bytes:
        # From now on no outcome reaches the database.
        a.network.hold("up")
        return answer(200)

    server = receive(answered)
    a.add(server, "d")
    a.accept(8)
    killed = a.start("drain", "--watch")
    until(lambda: server.requests)
    time.sleep(0.2)
    server.behave = lambda _: answer(200)
    killed.kill()
    killed.wait()
    a.network.cut()
    a.network.release()
    made = {request.delivery: request for request in server.requests}
    recorded = {found for (found,) in sql(b, "select e.id from ark.attempt join ark.event e using (seq)")}
    unrecorded = [found for found in made if found.partition(".")[0] not in recorded]
    assert unrecorded

    sql(b, EXPIRE)
    assert b.ark("drain").status == 0
    for found in unrecorded:
        again = [request for request in server.requests if request.delivery == found]
        assert [(one.attempt, one.body) for one in again] == [(1, made[found].body)] * 2
    assert set(arrived(server)) == {found for (found,) in sql(b, "select id from ark.event")}


def test_a_worker_that_wakes_after_its_lease_has_its_answers_refused_and_says_so(
    pair: list[Host], receive: Receive
) -> None:
    a, b = pair
    answers = threading.Event()
    server = receive(holding(2, answers))
    a.add(server, "d")
    a.accept(30)
    paused = a.start("drain", "--for", "30s", "--json")
    until(lambda: len(server.requests) == 2)
    paused.send_signal(signal.SIGSTOP)
    sql(b, EXPIRE)
    assert b.ark("drain", "--json").json["delivered"] == 30
    answers.set()
    time.sleep(0.2)
    paused.send_signal(signal.SIGCONT)
    time.sleep(1)
    paused.send_signal(signal.SIGTERM)
    status, out, err = finish(paused)
    assert status == 0, err
    assert json.loads(out)["attempted"] == 0
    assert err.count("d: 2 answers came too late to be recorded") == 1
    assert sql(b, "select count(*), count(distinct seq) from ark.attempt") == [(30, 30)]


def test_clocks_that_differ_by_hours_change_nothing(pair: list[Host], receive: Receive) -> None:
    a, b = pair
    server = receive(holding(0, threading.Event()))
    a.add(server, "d")
    ids = a.accept(10)
    early, late = a.start("drain", "--for", "2s", at=-3600), b.start("drain", "--for", "2s", at=3600)
    sent = b.start("send", "signal.promoted", "--sample", at=3600, stdin=subprocess.DEVNULL)
    assert [finish(one)[0] for one in (sent, early, late)] == [0, 0, 0]
    assert len(server.requests) == len(ids) + 1
    assert set(arrived(server).values()) == {1}
    failing = receive(500)
    a.add(failing, "failing")
    assert a.start("send", "signal.promoted", "--sample", at=3600).wait() == 75
    # The retry is due after 30 s by the database's clock.
    assert finish(b.start("drain", "--json", at=3600))[0] == 0
    assert len(failing.requests) == 1
    sql(a, "update ark.pending set due_at = due_at - interval '30 s'")
    assert finish(b.start("drain", "--json", at=-3600))[0] == 0
    assert [request.attempt for request in failing.requests] == [1, 2]


@pytest.mark.parametrize("shift", ["+", "-"], ids=["forward", "back"])
def test_a_database_clock_that_jumps_repeats_no_attempt_and_loses_none(
    pair: list[Host], receive: Receive, shift: str
) -> None:
    a, b = pair
    answers = threading.Event()
    server = receive(holding(2, answers))
    failing = receive(500)
    a.add(server, "d")
    a.accept(10)
    a.add(failing, "failing")
    assert a.ark("send", "signal.promoted", "--sample", "--to", "failing").status == 75
    before = a.start("drain", "--for", "4s", "--json")
    until(lambda: len(server.requests) == 2)
    # To set the clock forward is to set all that was noted back.
    back = {"+": "-", "-": "+"}[shift]
    sql(
        a,
        f"update ark.share set until = until {back} interval '1 h'; "
        f"update ark.pending set due_at = due_at {back} interval '1 h', failed_at = failed_at {back} interval '1 h'; "
        f"update ark.worker set until = until {back} interval '1 h'",
    )
    heir = b.start("drain", "--for", "2s", "--json")
    time.sleep(0.5)
    answers.set()
    results = [finish(one) for one in (before, heir)]
    assert [status for status, *_ in results] == [0, 0]
    assert sql(b, "select count(*), count(distinct seq) from ark.attempt where attempt = 1 and outcome = 'd'") == [
        (10, 10)
    ]
    # A failure in the future is due at once: the clock was set back. So is what an hour has passed for.
    assert [request.attempt for request in failing.requests] == [1, 2]


def test_eight_attempts_are_in_flight_at_most_by_drains_and_sends_of_all_hosts_together(
    pair: list[Host], receive: Receive
) -> None:
    a, _ = pair
    full = threading.Event()

    def slow(_: Request) -> bytes:
        full.wait(30)
        time.sleep(0.1)
        return answer(200)

    server = receive(slow)
    a.add(server, "d")
    drains = [host.start("drain", "--watch") for host in pair]
    until(lambda: sql(a, "select count(*) from ark.worker where drains") == [(2,)])
    states, count = Counter[State](), iter(range(60))

    def send(host: Host) -> None:
        # As `ark send` does, but signals are for the first thread alone.
        with closing(host.session().home) as home:
            contents = home.store.read()
            while next(count, None) is not None:
                order = Order(event="signal.promoted", payload=PAYLOAD)
                (sent,) = actions.send(home, order, contents, Process(), now=True).deliveries
                states[sent.state] += 1

    senders = [threading.Thread(target=send, args=(host,)) for host in pair * 4]
    for sender in senders:
        sender.start()
    # A drain may be quicker than the sends; then it begins with two attempts.
    until(lambda: len(server.requests) >= 2)
    time.sleep(1)
    # A drain claims it while sends have eight attempts under way, and sends come while a drain has it.
    a.accept(40)
    time.sleep(0.5)
    full.set()
    for sender in senders:
        sender.join()
    until(lambda: not a.standing()["waiting"])
    for drain in drains:
        drain.send_signal(signal.SIGTERM)
        assert finish(drain)[0] == 0
    assert server.most_at_once == 8
    assert set(arrived(server).values()) == {1}
    assert (len(server.requests), states) == (100, {State.DELIVERED: 60})
