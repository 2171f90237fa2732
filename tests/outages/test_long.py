"""Outages as long as real ones: leases that end, a database that stalls, a partition, a server killed under load."""

import json
import os
import pwd
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests import postgres
from tests.outages.hosts import Host, hosts, sql, until
from tests.queue.local.machine import filled, small_disk
from tests.test_processes import arrived, finish
from tests.world import PAYLOAD, SIGNAL, Request, Result, TestReceiver, answer

pytestmark = pytest.mark.outage

Receive = Callable[..., TestReceiver]


class Arrivals:
    """The behaviour of a receiver that takes `seconds` to answer; notes when requests came, and when they ended."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.began: list[float] = []
        self.ended: list[float] = []

    def __call__(self, _: Request) -> bytes:
        self.began.append(time.monotonic())
        time.sleep(self._seconds)
        return answer(200)


def test_a_killed_workers_deliveries_are_taken_over_within_21_seconds(pair: list[Host], receive: Receive) -> None:
    a, b = pair
    never = threading.Event()
    servers = [receive(lambda _: (never.wait(60) and answer(200)) or answer(200)) for _ in range(2)]
    for name, server in zip("de", servers, strict=True):
        a.add(server, name)
    ids = a.accept(10)
    killed = a.start("drain", "--watch")
    until(lambda: all(len(server.requests) == 2 for server in servers))
    heir = b.start("drain", "--watch", "--json")
    time.sleep(1)
    killed.kill()
    for server in servers:
        server.behave = lambda _: answer(200)
    taken_over = until(lambda: all(len(server.requests) == 12 for server in servers))
    assert 14 < taken_over <= 21
    heir.send_signal(signal.SIGTERM)
    assert finish(heir)[0] == 0
    for server in servers:
        assert set(arrived(server)) == set(ids)
        assert {request.attempt for request in server.requests} == {1}
    never.set()


def test_no_answer_that_comes_while_the_database_stalls_for_15_seconds_is_late(
    pair: list[Host], receive: Receive
) -> None:
    a, _ = pair
    servers = [receive(Arrivals(seconds)) for seconds in (2, 5, 8)]
    for name, server in zip("def", servers, strict=True):
        a.add(server, name)
    ids = a.accept(6)
    drain = a.start("drain", "--watch", "--json")
    until(lambda: all(len(server.requests) == 2 for server in servers))
    a.network.hold()
    time.sleep(15)
    a.network.release()
    until(lambda: sql(a, "select count(*) from ark.attempt") == [(18,)], 90)
    drain.send_signal(signal.SIGTERM)
    status, out, err = finish(drain)
    assert (status, json.loads(out)["delivered"], json.loads(out)["retrying"]) == (0, 18, 0), err
    for server in servers:
        assert arrived(server) == dict.fromkeys(ids, 1)
    assert sql(a, "select count(*) from ark.attempt where outcome <> 'd'") == [(0,)]


def test_a_worker_cut_off_from_the_database_stops_in_time_for_its_heir(pair: list[Host], receive: Receive) -> None:
    a, b = pair

    def hang(_: Request) -> bytes:
        hanging.closing.wait(60)
        return answer(200)

    quick = Arrivals(0.3)
    hanging, answering = receive(hang), receive(quick)
    a.add(hanging, "hanging")
    a.add(answering, "quick")
    ids = a.accept(400)
    cut_off = a.start("drain", "--watch", "--json")
    until(lambda: len(answering.requests) > 40 and hanging.requests)
    a.network.hold()
    began = time.monotonic()
    assert connections(cut_off, hanging)
    heir = b.start("drain", "--watch", "--json")
    # Only what had been asked for before begins, and nothing after 9 s; all has ended when the leases do.
    time.sleep(9.5)
    count = len(answering.requests)
    ended = 9.5 + until(lambda: not connections(cut_off, hanging))
    assert (count, ended < 19.5) == (len(answering.requests), True), ended
    assert time.monotonic() - began < 20
    hanging.behave = lambda _: answer(200)
    until(lambda: b.standing("hanging")["waiting"] == b.standing("quick")["waiting"] == 0, 120)
    # What the cut-off worker had in flight may have been repeated once.
    for server in (hanging, answering):
        assert set(arrived(server)) == set(ids)
        assert sum(arrived(server).values()) - len(ids) <= 8
    a.network.cut()
    a.network.release()
    time.sleep(1)
    for drain in (cut_off, heir):
        drain.send_signal(signal.SIGTERM)
    (first, *_), (second, *_) = (finish(drain) for drain in (cut_off, heir))
    assert (first, second) == (0, 0)
    assert sql(a, "select count(*), count(distinct (destination, seq)) from ark.attempt") == [(800, 800)]


def connections(process: "subprocess.Popen[str]", server: TestReceiver) -> int:
    """How many connections a process has to a receiver."""
    opened = Path(f"/proc/{process.pid}/fd")
    inodes = {str(found.readlink()) for found in opened.iterdir()}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    return sum(
        row[2].endswith(f":{server.port:04X}") and row[3] == "01" and f"socket:[{row[9]}]" in inodes for row in rows
    )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[postgres.Server]:
    try:
        made = postgres.Server()
    except postgres.Absent as absent:
        pytest.skip(str(absent))
    try:
        yield made
    finally:
        made.remove()


def test_a_server_killed_four_times_under_load_from_two_hosts_loses_nothing_acknowledged(
    tmp_path: Path, server: postgres.Server, receive: Receive
) -> None:
    with hosts(tmp_path, server.url) as (a, b):
        receivers = [receive(200), receive(Arrivals(0.02))]
        for name, one in zip("de", receivers, strict=True):
            a.add(one, name)
        drains = [host.start("drain", "--watch", "--json") for host in (a, b)]
        until(lambda: sql(a, "select count(*) from ark.worker where drains") == [(2,)])
        acknowledged: list[str] = []
        refused: list[str] = []
        done = threading.Event()

        def load(host: Host, number: int) -> None:
            count = 0
            while not done.is_set():
                count += 1
                # Half of them as a stream, and half one by one.
                found = f"order-{number}-{count}"
                sent = host.start("send", "signal.promoted", "--id", found, "--json", "--sample", "--queue")
                status, out, err = finish(sent)
                said = json.loads(out)
                if status == 0:
                    acknowledged.append(said["event"]["id"])
                else:
                    assert (status, said["error"]["code"]) in ((1, "not_accepted"), (1, "in_doubt")), (status, out, err)
                    assert "nothing was accepted" in said["error"]["message"] or "not known" in said["error"]["message"]
                    refused.append(found)
                assert "Traceback" not in err

        loads = [threading.Thread(target=load, args=(host, number)) for number, host in enumerate((a, b))]
        stream = threading.Thread(target=flood, args=(b, acknowledged, done))
        for thread in (*loads, stream):
            thread.start()
        for _ in range(4):
            time.sleep(4)
            server.kill()
            time.sleep(1.5)
            server.start()
        time.sleep(3)
        done.set()
        for thread in (*loads, stream):
            thread.join()
        assert len(acknowledged) > 100
        until(lambda: all(a.standing(name)["waiting"] == 0 for name in "de"), 120)
        for drain in drains:
            drain.send_signal(signal.SIGTERM)
        results = [finish(drain) for drain in drains]
        assert [status for status, *_ in results] == [0, 0], results
        for one in receivers:
            counts = arrived(one)
            assert set(acknowledged) <= set(counts)
            # The last second of records may have been forgotten, and what was in flight.
            assert sum(counts.values()) - len(counts) < len(counts)
            assert {request.attempt for request in one.requests} == {1}
        assert refused


def flood(host: Host, acknowledged: list[str], done: threading.Event) -> None:
    """Accepts events by the hundred, as a service does that stays connected."""
    from arkcli.actions.send import Order, draft
    from arkcli.errors import InDoubt, NotAccepted, Unreachable

    home = host.session().home
    while not done.is_set():
        drafts = [draft(home, Order(event="signal.promoted", payload=PAYLOAD)) for _ in range(100)]
        try:
            acknowledged += [event.id for event in home.queue.accept(drafts)]
        except (NotAccepted, InDoubt, Unreachable):
            time.sleep(0.1)
        time.sleep(0.5)
    home.close()


def test_outcomes_that_a_crashed_server_has_forgotten_are_repeated(
    tmp_path: Path, server: postgres.Server, receive: Receive
) -> None:
    # Nothing is flushed by itself for a while.
    with hosts(tmp_path, server.url) as (a, _):
        postgres.query(server.url, "alter system set wal_writer_delay = '10s'")
        postgres.query(server.url, "alter system set wal_writer_flush_after = '1GB'")
        postgres.query(server.url, "select pg_reload_conf()")
        one = receive(200)
        a.add(one, "d")
        ids = a.accept(30)
        drain = a.start("drain", "--watch", "--json")
        until(lambda: len(one.requests) == 30)
        until(lambda: sql(a, "select count(*) from ark.attempt") == [(30,)])
        server.kill()
        server.start()
        until(lambda: a.standing()["waiting"] == 0)
        drain.send_signal(signal.SIGTERM)
        status, _, err = finish(drain)
        assert status == 0, err
        counts = arrived(one)
        assert set(counts) == set(ids)
        assert max(counts.values()) == 2
        assert {request.attempt for request in one.requests} == {1}


def test_a_full_disk_of_the_server_accepts_nothing_and_loses_nothing(
    tmp_path: Path, server: postgres.Server, receive: Receive
) -> None:
    # The server's user cannot enter the directory of a test.
    disk = server.home / "disk"
    with small_disk(disk, "size=8m,mode=777"), hosts(tmp_path, server.url) as (a, b):
        one = receive(200)
        a.add(one, "d")
        place = disk / "rows"
        place.mkdir(mode=0o700)
        if not os.geteuid():
            os.chown(place, pwd.getpwnam("nobody").pw_uid, -1)
        postgres.query(server.url, f"create tablespace small location '{place}'")
        for table in ("event", "attempt"):
            sql(a, f"alter table ark.{table} set tablespace small")
        ids = a.accept(20)
        with filled(disk):
            # What fits into the pages that are there is still accepted.
            refused = until_refused(a)
            assert refused.status == 1
            said = refused.json["error"]
            assert said["code"] == "not_accepted"
            assert "could not extend file" in said["message"]
            assert "No space left on device" in said["message"]
            assert said["message"].endswith(": nothing was accepted")
            count = sql(a, "select count(*) from ark.event")[0][0]
            drain = b.start("drain", "--watch", "--json")
            until(lambda: len(one.requests) >= 2)
            time.sleep(2)
        until(lambda: b.standing()["waiting"] == 0)
        drain.send_signal(signal.SIGTERM)
        status, out, err = finish(drain)
        assert (status, json.loads(out)["delivered"]) == (0, count), err
        counts = arrived(one)
        assert set(ids) <= set(counts)
        assert (len(counts), set(counts.values())) == (count, {1})


def until_refused(host: Host) -> Result:
    """Sends until an event is not accepted."""
    body = json.dumps({**SIGNAL, "notes": "x" * 7_000}).encode()
    while True:
        result = host.ark("send", "signal.promoted", "--queue", "--json", "--no-validate", stdin=body)
        if result.status:
            return result


def has_received(server: TestReceiver, count: int) -> bool:
    return len(server.requests) == count


def test_a_restart_of_the_server_stops_nobody(tmp_path: Path, server: postgres.Server, receive: Receive) -> None:
    with hosts(tmp_path, server.url) as (a, b):
        one = receive(200)
        a.add(one, "d")
        watching, timed = a.start("drain", "--watch", "--json"), b.start("drain", "--for", "25s", "--json")
        stream = a.start("send", "signal.promoted", "--ndjson", "--queue", stdin=subprocess.PIPE)
        assert stream.stdin is not None
        until(lambda: sql(a, "select count(*) from ark.worker where drains") == [(2,)])
        for number in range(1, 4):
            stream.stdin.write(PAYLOAD.decode() + "\n")
            stream.stdin.flush()
            until(partial(has_received, one, number))
            server.stop()
            time.sleep(2)
            refused = b.ark("send", "signal.promoted", "--sample")
            assert (refused.status, refused.err.rstrip().endswith(": nothing was accepted")) == (1, True)
            server.start()
        stream.stdin.write(PAYLOAD.decode() + "\n")
        status, _, err = finish(stream)
        assert status == 0, err
        until(lambda: len(one.requests) == 4)
        for drain in (watching, timed):
            drain.send_signal(signal.SIGTERM)
        ended = [finish(drain) for drain in (watching, timed)]
        assert [status for status, *_ in ended] == [0, 0], ended
        assert set(arrived(one).values()) == {1}
