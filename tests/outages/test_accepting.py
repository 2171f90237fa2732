"""Events are accepted, or the user is told that they are not, wherever the connection to the database breaks."""

import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from arkcli.database.address import address_of
from arkcli.database.connection import Database
from arkcli.errors import NotAccepted
from arkcli.model import DOCUMENTED, Draft
from arkcli.queue.postgres.queue import PostgresQueue
from tests import postgres
from tests.ingest.test_serve import serving
from tests.outages.hosts import Host, sql, until
from tests.world import PAYLOAD, Request, TestReceiver, World, answer

Receive = Callable[..., TestReceiver]


@pytest.fixture
def network(empty_database: str) -> Iterator[postgres.Network]:
    with postgres.network(empty_database) as made:
        yield made


@pytest.fixture
def url(empty_database: str) -> str:
    """Leads to the database, whatever becomes of the network."""
    return empty_database


#: What waits for a lock in the database that is asked.
WAITING = (
    "select pid from pg_locks join pg_stat_activity using (pid) where not granted and datname = current_database()"
)


def accepted(url: str) -> list[str]:
    return [found for (found,) in postgres.query(url, "select id from ark.event order by seq")]


@pytest.mark.parametrize(("way", "count"), [("up", 3), ("down", 3), ("up", 100), ("down", 100)])
def test_wherever_the_connection_breaks_all_are_accepted_once_or_none_is(
    network: postgres.Network, url: str, way: str, count: int
) -> None:
    def batch(number: int) -> list[Draft]:
        return [Draft(f"evt_{number}_{n}", "ping", "2026-11-26T12:00:00.000Z", PAYLOAD) for n in range(count)]

    def connected() -> PostgresQueue:
        queue = PostgresQueue(Database(address_of(network.url, {})), DOCUMENTED)
        queue.look([], 0)
        return queue

    with closing(connected()) as queue:
        before = network.passed[way]
        queue.accept(batch(1))
        whole = network.passed[way] - before
    outcomes = set()
    for number, size in enumerate([*range(1, whole, whole // 25), 1_000_000], 2):
        asked = [draft.id for draft in batch(number)]
        # The last cut may not have come: then it must not break the next connection.
        network.cut_after(1 << 40, way)
        with closing(connected()) as queue:
            network.cut_after(size, way)
            try:
                events = queue.accept(batch(number))
            except NotAccepted as error:
                assert str(error).endswith(": nothing was accepted")
                assert not set(asked) & set(accepted(url))
                outcomes.add("not accepted")
            else:
                assert [event.id for event in events] == asked == accepted(url)[-count:]
                outcomes.add("accepted")
    found = accepted(url)
    assert len(found) == len(set(found))
    # The answers about a few come after the commit, so that what was cut off then had been accepted.
    assert outcomes == ({"accepted"} if (way, count) == ("down", 3) else {"not accepted", "accepted"})


@pytest.mark.parametrize("is_sent", [False, True], ids=["before-the-commit", "in-the-commit"])
def test_what_a_killed_send_has_not_committed_is_not_accepted_and_all_else_is_delivered(
    pair: list[Host], receive: Receive, is_sent: bool
) -> None:
    a, b = pair
    server = receive(200)
    a.add(server, "d")
    with psycopg.connect(a.url) as other:
        # Whoever has this lock keeps others from committing events.
        other.execute("select * from ark.meta for update")
        killed = a.start("send", "signal.promoted", "--sample")
        until(lambda: sql(a, WAITING) != [])
        if not is_sent:
            # As if the end of what it sent had been lost with it. Stopped, so that it does not send it again.
            killed.send_signal(signal.SIGSTOP)
            sql(a, f"select pg_terminate_backend(pid, 5000) from ({WAITING}) waiting")
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        a.network.cut()
    count = int(is_sent)
    until(lambda: sql(a, "select count(*) from ark.event") == [(count,)])
    assert b.ark("drain", "--json").json["delivered"] == count
    assert len(server.requests) == count


def test_the_deliveries_of_a_send_killed_after_the_commit_are_due_when_its_reservation_ends(
    pair: list[Host], receive: Receive
) -> None:
    a, b = pair
    process: list[subprocess.Popen[str]] = []

    def kill(_: Request) -> bytes:
        process.pop().kill() if process else None
        return answer(200)

    server = receive(kill)
    a.add(server, "d")
    process.append(a.start("send", "signal.promoted", "--sample"))
    process[0].wait()
    assert b.ark("drain", "--json").json["attempted"] == 0
    # 15 s pass.
    sql(a, "update ark.pending set due_at = due_at - interval '15 s'")
    assert b.ark("drain", "--json").json["delivered"] == 1
    first, second = server.requests
    assert (first.attempt, first.body, first.delivery) == (second.attempt, second.body, second.delivery)


@pytest.mark.parametrize("is_accepted", [True, False])
def test_a_commit_in_doubt_for_half_a_minute_is_told_with_the_command_that_settles_it(
    tmp_path: Path, network: postgres.Network, url: str, receive: Receive, is_accepted: bool
) -> None:
    # On a clock on which half a minute is over at once.
    world = World(tmp_path / "home", database=network.url)
    server = receive(200)
    world.add(server, "d")
    holder = psycopg.connect(url)
    # Whoever has this lock keeps others from committing events.
    holder.execute("select * from ark.meta for update")

    def lose_the_commit() -> None:
        until(lambda: postgres.query(url, WAITING) != [])
        # By now all of it has been sent.
        network.close()
        if not is_accepted:
            postgres.query(url, f"select pg_terminate_backend(pid, 5000) from ({WAITING}) waiting")
        holder.close()

    losing = threading.Thread(target=lose_the_commit)
    losing.start()
    doubtful = world.ark("send", "signal.promoted", "--id", "order-1", "--json", stdin=PAYLOAD)
    losing.join()
    assert doubtful.status == 1
    told = doubtful.json["error"]
    assert told["code"] == "in_doubt"
    assert told["message"].startswith("not known whether order-1 was accepted; run again with --id order-1 (")
    until(lambda: postgres.query(url, "select count(*) from ark.event") == [(int(is_accepted),)])

    network.open()
    again = world.ark("send", "signal.promoted", "--id", "order-1", "--json", stdin=PAYLOAD)
    assert (again.status, again.json.get("repeated", False)) == (0, is_accepted)
    assert world.ark("drain").status == 0
    assert [request.delivery.partition(".")[0] for request in server.requests] == ["order-1"]


def test_every_command_says_in_one_sentence_that_the_database_is_away(pair: list[Host], receive: Receive) -> None:
    a, _ = pair
    a.add(receive(200), "d")
    a.variables["ARK_QUEUE"] = a.variables["ARK_QUEUE"].replace("postgres@", "postgres:hunter2@")
    a.network.close()
    where = f"the database postgresql://postgres:***@127.0.0.1:{a.network.port}/"
    commands = (
        "queue", "queue show x", "queue retry x", "queue drop x --yes", "log", "log -f", "replay x", "dest list",
        "dest show d", "dest pause d", "dest remove d --yes", "secret show", "secret rotate", "drain", "drain --watch",
        "drain --for 2s", "ping", "queue upgrade", "log --stats",
        "dest add https://example.com/", "send signal.promoted --sample", "send signal.promoted --sample --queue",
    )  # fmt: skip
    for command in commands:
        result = a.ark(*command.split())
        lines = result.err.splitlines()
        assert (command, result.status, result.out) == (command, 1, "")
        assert len(lines) == 1, result
        assert lines[0].startswith("error: ")
        assert where in lines[0]
        assert "hunter2" not in lines[0]
        assert lines[0].endswith("nothing was accepted") == command.startswith("send")


def test_a_stream_that_the_database_leaves_says_how_much_of_it_was_accepted(pair: list[Host], receive: Receive) -> None:
    a, _ = pair
    a.add(receive(200), "d")
    stream = a.start("send", "signal.promoted", "--ndjson", "--queue", stdin=subprocess.PIPE)
    assert stream.stdin is not None
    assert stream.stdout is not None
    line = PAYLOAD.decode() + "\n"
    for _ in range(3):
        stream.stdin.write(line)
        stream.stdin.flush()
        assert stream.stdout.readline().split("\t")[1].startswith("evt_")
    # An idle connection that was dropped, as when the server restarts, is opened again.
    a.network.cut()
    stream.stdin.write(line)
    stream.stdin.flush()
    assert stream.stdout.readline().split("\t")[1].startswith("evt_")
    a.network.close()
    status, out, err = finish_with(stream, line)
    assert (status, out) == (1, "")
    assert err.rstrip().endswith("accepted 4 events, from the good lines up to line 4, and nothing from line 5 on")
    assert sql(a, "select count(*) from ark.event") == [(4,)]


def finish_with(process: "subprocess.Popen[str]", text: str) -> tuple[int, str, str]:
    out, err = process.communicate(text, timeout=60)
    return process.returncode, out, err


def test_serve_goes_on_by_itself(pair: list[Host], receive: Receive) -> None:
    a, _ = pair
    server = receive(200)
    a.add(server, "d")
    with serving(a, "--port", "0") as served:
        assert served.send().status == 202
        until(lambda: len(server.requests) == 1)
        a.network.close()
        refused = served.send()
        assert (refused.status, refused.json["error"]["code"]) == (503, "not_accepted")
        assert refused.json["error"]["message"].endswith(": nothing was accepted")
        assert served.ask("GET", "/healthz").status == served.ask("GET", "/metrics").status == 503
        a.network.open()
        until(lambda: served.send().status == 202)
        until(lambda: len(server.requests) == 2)
        assert served.ask("GET", "/healthz").json == {"ok": True, "problems": []}
        status, _, err = served.stop()
    assert status == 0
    assert "Traceback" not in err
    assert sql(a, "select count(*) from ark.event") == [(2,)]
