"""What a person at a terminal sees while `ark` works, and what happens at Ctrl-C."""

import json
import re
import threading
from collections.abc import Callable

import pytest

from tests.terminal import CTRL_C, Terminal
from tests.test_processes import accept
from tests.world import Request, TestReceiver, World, answer, hang

Receive = Callable[..., TestReceiver]
SEND = ("send", "signal.promoted", "--sample")


def until(release: threading.Event) -> Callable[[Request], bytes]:
    """The behaviour of a receiver that answers when it is released."""

    def behave(_: Request) -> bytes:
        release.wait(20)
        return answer(200)

    return behave


@pytest.fixture
def release() -> threading.Event:
    return threading.Event()


@pytest.fixture
def three(world: World, receive: Receive, release: threading.Event) -> World:
    """A world with three destinations, of which one does not answer before it is released."""
    world.add(receive(200), "crm")
    world.add(receive(lambda _: answer(500, b'{"error": "the database is down"}')), "lake")
    world.add(receive(until(release)), "globex-eu-west")
    return world


@pytest.mark.parametrize("columns", [50, 120])
def test_a_send_says_which_destinations_are_still_awaited_and_takes_that_away_at_the_end(
    three: World, release: threading.Event, columns: int
) -> None:
    terminal = Terminal(three, *SEND, columns=columns)
    terminal.until("2 of 3 answered; waiting for globex-eu-west, [0-9] s")
    of = "" if columns == 50 else " of 10"
    assert re.fullmatch(f"2 of 3 answered; waiting for globex-eu-west, [0-9] s{of}", terminal.screen[-1])
    assert "\n" not in terminal.text.partition("answered")[2]
    release.set()
    assert terminal.finish() == 75
    assert terminal.screen[0].startswith("accepted evt_")
    assert not any("waiting for" in line for line in terminal.screen)
    assert any(line.startswith("lake: The receiver's application failed; see its") for line in terminal.screen)
    # At 50 columns the table becomes records, whose lines may be of any length.
    assert all(len(line) <= columns for line in terminal.screen if not line.startswith("answer"))


def test_ctrl_c_is_acknowledged_at_once_and_what_is_in_flight_ends(three: World, release: threading.Event) -> None:
    terminal = Terminal(three, *SEND)
    terminal.until("waiting for globex")
    terminal.press(CTRL_C)
    terminal.until("leave it to the next")
    acknowledged = next(at for at, line in enumerate(terminal.screen) if line.startswith("stopping"))
    assert re.fullmatch("stopping: 1 attempt is in flight and ends within (8|9|10) s;", terminal.screen[acknowledged])
    assert terminal.screen[acknowledged + 1] == "  Ctrl-C again to leave it to the next `ark drain`"
    release.set()
    assert terminal.finish() == 130
    assert any(re.match("globex-eu-west +delivered", line) for line in terminal.screen)


def test_on_a_dumb_terminal_the_acknowledgement_is_a_line_of_its_own_and_data_stay_on_standard_output(
    world: World, receive: Receive, release: threading.Event
) -> None:
    asked = threading.Event()

    def behave(request: Request) -> bytes:
        asked.set()
        return until(release)(request)

    world.add(receive(behave), "crm")
    terminal = Terminal(world, "ping", "--json", TERM="dumb")
    assert asked.wait(20)
    terminal.press(CTRL_C)
    terminal.until("stopping: 1 attempt is in flight")
    release.set()
    assert terminal.finish() == 130
    assert terminal.screen[0] == "^C"
    assert json.loads(terminal.screen[3])["deliveries"][0]["outcome"] == "delivered"


def test_a_second_ctrl_c_ends_at_once_and_says_what_was_accepted(three: World) -> None:
    terminal = Terminal(three, *SEND)
    terminal.until("waiting for globex")
    terminal.press(CTRL_C)
    terminal.until("leave it to the next")
    terminal.press(CTRL_C)
    assert terminal.finish() == 130
    event_id = json.loads(three.event_lines[0])["id"]
    assert terminal.screen[-3:] == [
        f"interrupted: {event_id} is accepted and queued;",
        f"  `ark queue show {event_id}` shows its deliveries",
        "",
    ]


def test_a_ping_that_is_stopped_is_left_to_nobody(world: World, receive: Receive, release: threading.Event) -> None:
    world.add(receive(until(release)), "crm")
    terminal = Terminal(world, "ping", columns=120)
    terminal.until("0 of 1 answered; waiting for crm")
    terminal.press(CTRL_C)
    terminal.until("stopping: 1 attempt is in flight and ends within (9|10) s;\r?\n  Ctrl-C again to stop at once")
    release.set()
    assert terminal.finish() == 130


@pytest.mark.parametrize(
    ("command", "term"),
    [((*SEND, "--quiet"), "xterm"), (("drain",), "dumb")],
    ids=["quiet", "dumb"],
)
def test_nothing_is_drawn_for_a_script_or_on_a_dumb_terminal(
    world: World, receive: Receive, command: tuple[str, ...], term: str
) -> None:
    def behave(request: Request) -> bytes:
        server.closing.wait(0.6)
        return answer(200)

    server = receive(behave)
    world.add(server, "crm")
    accept(world, 1)
    terminal = Terminal(world, *command, TERM=term)
    assert terminal.finish() == 0
    assert not re.search(r"\x1b\[K|waiting for|answered|done", terminal.text)


def test_what_answers_at_once_is_not_announced(world: World, receive: Receive) -> None:
    world.add(receive(200), "crm")
    terminal = Terminal(world, *SEND)
    assert terminal.finish() == 0
    assert not re.search("waiting for|1 answered|\x1b\\[K", terminal.text)


def test_a_drain_shows_how_far_it_is_and_a_line_for_each_failure(three: World, release: threading.Event) -> None:
    ids = accept(three, 2)
    terminal = Terminal(three, "drain", columns=140)
    terminal.until("4 of 6 done .*slowest: globex-eu-west, 1 s")
    assert re.fullmatch("4 of 6 done  [0-9]+/s  2 delivered  2 to retry  slowest: .*", terminal.screen[-1])
    release.set()
    assert terminal.finish() == 0
    failures = [line for line in terminal.screen if "lake: " in line]
    said = 'lake: answered 500, not a 2xx: {"error": "the database is down"}; attempt 1, the next in 30 s; '
    assert sorted(line[9:] for line in failures) == [said + found for found in sorted(ids)]
    assert all(re.fullmatch(r"\d\d:\d\d:\d\d ", line[:9]) for line in failures)
    assert not any("done" in line for line in terminal.screen)
    assert any(line.startswith("attempted 6 in ") for line in terminal.screen)


def test_a_thousand_failures_are_told_in_a_few_lines(world: World, receive: Receive) -> None:
    world.add(receive(500), "lake")
    accept(world, 1_000)
    terminal = Terminal(world, "drain")
    assert terminal.finish() == 0
    told = sum("lake: answered 500" in line for line in terminal.screen)
    more = sum(int(found[1].replace(",", "")) for found in re.finditer("and ([0-9,]+) more failed", terminal.text))
    assert told <= 30
    assert told + more == 1_000


def test_a_watching_drain_says_when_the_next_delivery_is_due_and_stops_at_ctrl_c(
    world: World, receive: Receive
) -> None:
    world.add(receive(500), "lake")
    accept(world, 1)
    terminal = Terminal(world, "drain", "--watch")
    terminal.until("nothing due; the next in [23][0-9] s")
    terminal.press(CTRL_C)
    terminal.until("stopping\r?\n")
    assert terminal.finish() == 130
    assert not any("nothing due" in line for line in terminal.screen)


def test_a_stream_is_delivered_with_the_progress_of_a_drain(three: World, release: threading.Event) -> None:
    path = three.home.parent / "payloads.ndjson"
    path.write_bytes(b'{"signal":{"id":"s","signal_name":"n","source":"news"}}\n' * 3)
    terminal = Terminal(three, "send", "signal.promoted", "--ndjson", str(path))
    terminal.until("6 of 9 done")
    terminal.press(CTRL_C)
    terminal.until("stopping: 2 attempts are in flight and end within (8|9|10) s;\r?\n  Ctrl-C again to leave them")
    release.set()
    assert terminal.finish() == 130
    assert any(line == "accepted 3 events" for line in terminal.screen)
    told = " ".join(line.strip() for line in terminal.screen)
    assert "interrupted: the accepted events are queued, and `ark drain` delivers what is left" in told


def test_a_receiver_that_hangs_is_named_while_it_is_added(world: World, receive: Receive) -> None:
    terminal = Terminal(world, "dest", "add", receive(hang).url, "--allow-local")
    terminal.until("waiting for the receiver to answer the ping, [01] s")
    terminal.press(CTRL_C)
    assert terminal.finish() == 130
    assert terminal.screen[-2:] == ["error: interrupted", ""]
