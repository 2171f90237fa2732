"""`ark send --ndjson`: receipts, bad lines, --strict, and deliveries."""

import errno
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arkcli.cli.app import run
from arkcli.intake.stream import LONGEST_LINE
from tests.queue.local.faults import hooked
from tests.world import PAYLOAD, SIGNAL, Result, TestReceiver, World, answer, in_turn

Receive = Callable[..., TestReceiver]
SEND = ("send", "signal.promoted", "--ndjson")
BAD = b'{"signal": {"id": 5}}'


def payload(number: int) -> bytes:
    return json.dumps({**SIGNAL, "number": number}).encode()


def stream(count: int) -> bytes:
    return b"".join(payload(number) + b"\n" for number in range(1, count + 1))


def receipts(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.out.splitlines()]


def accepted(world: World) -> list[tuple[str, int]]:
    """Ids and numbers of the events in the event log, in order."""
    found = map(json.loads, world.event_lines)
    return [(line["id"], line["body"].get("number")) for line in found]


@pytest.fixture
def server(world: World, receive: Receive) -> TestReceiver:
    made = receive(200)
    world.add(made, "crm")
    return made


def test_every_line_is_an_event_and_its_receipt_says_which(world: World, server: TestReceiver) -> None:
    result = world.ark(*SEND, "--queue", "--json", stdin=stream(300))
    assert (result.status, result.err) == (0, "")
    found = receipts(result)
    assert [receipt["line"] for receipt in found] == list(range(1, 301))
    assert all(receipt.keys() == {"line", "event_id"} for receipt in found)
    assert accepted(world) == [(receipt["event_id"], receipt["line"]) for receipt in found]
    assert len({receipt["event_id"] for receipt in found}) == 300
    assert server.connections == 0


def test_a_body_is_the_same_as_that_of_a_single_send(world: World, server: TestReceiver) -> None:
    text = b'{ "signal":{"id":"s","signal_name":"n","source":"news","x":1.10}, "big":1e400 }'
    world.ark("send", "signal.promoted", stdin=text)
    world.ark(*SEND, stdin=text)
    single, line = (json.loads(request.body) for request in server.requests)
    assert single.keys() == line.keys()
    assert b'"x":1.10},"big":1e400}' in server.requests[1].body
    assert server.requests[1].body.startswith(b'{"event":"signal.promoted","timestamp":"')


@pytest.mark.parametrize("way", ["file", "dash", "standard input"])
def test_lines_come_from_a_file_or_standard_input(world: World, server: TestReceiver, tmp_path: Path, way: str) -> None:
    file = tmp_path / "payloads.ndjson"
    file.write_bytes(stream(3))
    arguments = {"file": [str(file)], "dash": ["-"], "standard input": []}[way]
    assert world.ark(*SEND, *arguments, "--queue", stdin=file.read_bytes()).status == 0
    assert [number for _, number in accepted(world)] == [1, 2, 3]


def test_the_text_of_a_receipt_is_tab_separated_and_the_rest_goes_to_standard_error(
    world: World, server: TestReceiver
) -> None:
    result = world.ark(*SEND, stdin=stream(2) + BAD + b"\n")
    lines = [line.split("\t") for line in result.out.splitlines()]
    assert [line[0] for line in lines] == ["1", "2", "3"]
    assert [line[1] for line in lines] == [*(found for found, _ in accepted(world)), "-"]
    assert lines[2][2] == "$.signal.id: expected a non-empty string, got 5"
    assert result.err.splitlines() == [
        "accepted 2 events; 1 line was refused",
        "crm: 2 delivered, 0 to retry, 0 dead",
    ]


def test_a_bad_line_is_told_by_its_number_and_does_not_stop_the_rest(world: World, server: TestReceiver) -> None:
    pieces = [
        payload(1),
        b"not json",
        payload(3),
        b"",
        b"   ",
        b"[1]",
        b'{"event":"ping"}',
        b"\xff",
        payload(9) + b"\r",
    ]
    result = world.ark(*SEND, "--json", stdin=b"\n".join(pieces))
    assert result.status == 2
    found = receipts(result)
    assert [receipt["line"] for receipt in found] == [1, 2, 3, 6, 7, 8, 9]
    assert {receipt["line"]: receipt["error"][:20] for receipt in found if "error" in receipt} == {
        2: "$: this is not JSON:",
        6: "$: expected a JSON o",
        7: '$.event: expected "s',
        8: "$: byte 0 is not UTF",
    }
    assert sorted(json.loads(request.body)["number"] for request in server.requests) == [1, 3, 9]


def test_a_line_that_is_too_long_is_refused_without_being_held(world: World, server: TestReceiver) -> None:
    long = b'{"x":"' + b"x" * LONGEST_LINE + b'"}'
    result = world.ark(*SEND, "--queue", "--json", stdin=payload(1) + b"\n" + long + b"\n" + payload(3))
    assert result.status == 2
    (refused,) = (receipt for receipt in receipts(result) if "error" in receipt)
    assert refused == {"line": 2, "error": "$: more than 4,194,304 bytes; the maximum for a body is 1,048,576"}
    assert [number for _, number in accepted(world)] == [1, 3]


def test_long_lines_share_batches_too(world: World, server: TestReceiver) -> None:
    syncs = 0

    def count(name: str, step: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        nonlocal syncs
        syncs += name == "sync"
        step(*arguments)

    long = b"".join(payload(number)[:-1] + b',"x":"' + b"x" * 300_000 + b'"}\n' for number in range(20))
    with hooked(count):
        assert world.ark(*SEND, "--queue", stdin=long).status == 0
    assert len(world.event_lines) == 20
    assert syncs < 10


def test_quiet_tells_only_of_bad_lines(world: World, server: TestReceiver) -> None:
    assert world.ark(*SEND, "-q", stdin=stream(2)) == (0, "", "")
    result = world.ark(*SEND, "-q", stdin=payload(1) + b"\n\x1b[31m\n")
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith("warning: line 2: $: this is not JSON")
    assert "\x1b" not in result.err


def test_an_empty_stream_accepts_nothing_and_is_no_error(world: World, server: TestReceiver) -> None:
    assert world.ark(*SEND, stdin=b"\n \n") == (0, "", "accepted 0 events\n")
    assert world.event_lines == []


def test_strict_accepts_nothing_unless_every_line_is_good(world: World, server: TestReceiver) -> None:
    result = world.ark(*SEND, "--strict", "--json", stdin=stream(400) + BAD + b"\n" + payload(9) + b"\n{")
    assert result.status == 2
    *bad, error = receipts(result)
    assert [receipt["line"] for receipt in bad] == [401, 403]
    assert error["error"]["message"] == "2 lines were refused, so with --strict nothing was accepted"
    assert world.event_lines == []
    good = world.ark(*SEND, "--strict", "--json", "--queue", stdin=stream(400))
    assert (good.status, [receipt["line"] for receipt in receipts(good)]) == (0, list(range(1, 401)))
    assert len(accepted(world)) == 400


def test_what_strict_reads_twice_stands_nowhere_afterwards(world: World, server: TestReceiver) -> None:
    world.ark(*SEND, "--strict", "--queue", stdin=stream(3))
    assert [path.name for path in (world.home / "state").iterdir()] == ["queue"]


def test_set_is_made_in_every_line(world: World, server: TestReceiver) -> None:
    result = world.ark(*SEND, "--set", "signal.icp_score=12", "--set", "number.x=1", stdin=stream(1) + PAYLOAD)
    assert result.status == 2
    (body,) = (json.loads(request.body) for request in server.requests)
    assert (body["signal"]["icp_score"], body["number"]) == (12, {"x": 1})
    assert "$.number: expected an object" in result.out


def test_to_sends_every_line_to_these_alone(world: World, receive: Receive) -> None:
    servers = {name: receive(200) for name in ("a", "b")}
    for name, made in servers.items():
        world.add(made, name)
    assert world.ark(*SEND, "--to", "b", stdin=stream(5)).status == 0
    world.ark("drain")
    assert {name: len(made.requests) for name, made in servers.items()} == {"a": 0, "b": 5}


def test_without_validation_any_object_is_taken(world: World, server: TestReceiver) -> None:
    assert world.ark(*SEND, "--no-validate", "--queue", stdin=BAD).status == 0


@pytest.mark.parametrize(
    ("statuses", "status", "said"),
    [
        ((200,), 0, "crm: 20 delivered, 0 to retry, 0 dead"),
        ((500, 200), 75, "crm: 19 delivered, 1 to retry, 0 dead"),
    ],
)
def test_the_exit_status_says_whether_everybody_has_everything(
    world: World, receive: Receive, statuses: tuple[int, ...], status: int, said: str
) -> None:
    world.add(receive(in_turn(*statuses)), "crm")
    result = world.ark(*SEND, stdin=stream(20))
    assert (result.status, result.err.splitlines()[-1]) == (status, said)


def test_what_another_process_holds_or_what_is_paused_waits(world: World, receive: Receive) -> None:
    for name in ("held", "paused"):
        world.add(receive(200), name)
    world.ark("dest", "pause", "paused")
    paused = world.ark(*SEND, "--to", "paused", stdin=stream(2))
    assert (paused.status, paused.err.splitlines()[-1]) == (0, "paused is paused: its events wait")
    with world.held("held"):
        result = world.ark(*SEND, stdin=stream(2))
    assert result.status == 75
    assert "held is left to process" in result.err


def test_large_bodies_are_warned_about_once(world: World, server: TestReceiver) -> None:
    large = json.dumps({**SIGNAL, "notes": "x" * 30_000}).encode() + b"\n"
    result = world.ark(*SEND, "--queue", stdin=large * 3)
    assert result.err.count("warning") == 1
    assert "3 bodies are larger than 20,480 bytes" in result.err


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--ndjson", "--id", "x"], "--ndjson and --id do not go together: every line gets an id of its own"),
        (["--ndjson", "--sample"], "--ndjson and --sample do not go together"),
        (["--ndjson", "--raw"], "--ndjson and --raw do not go together"),
        (["--ndjson", "--dry-run"], "--ndjson and --dry-run do not go together"),
        (["--ndjson", "--curl"], "--ndjson and --curl do not go together"),
        (["--ndjson", "--url", "https://a.example"], "--ndjson and --url do not go together"),
        (["--strict"], "--strict is for --ndjson alone"),
    ],
)
def test_what_makes_no_sense_for_a_stream_is_refused_in_words(
    world: World, server: TestReceiver, options: list[str], why: str
) -> None:
    result = world.ark("send", "signal.promoted", *options, stdin=stream(1))
    assert (result.status, result.out) == (2, "")
    assert why in result.err
    assert world.event_lines == []


def test_a_ping_is_never_a_stream(world: World, server: TestReceiver) -> None:
    result = world.ark("send", "ping", "--ndjson", stdin=b"{}")
    assert result.status == 2
    assert "a ping takes no --ndjson" in result.err
    assert server.connections == 0


def test_without_a_destination_nothing_is_read(world: World) -> None:
    result = world.ark(*SEND, stdin=stream(1))
    assert result.status == 2
    assert "ark dest add" in result.err


def test_a_disk_that_fills_up_in_the_middle_leaves_what_was_accepted_and_says_which(
    world: World, server: TestReceiver
) -> None:
    syncs = 0

    def third_sync_fails(name: str, step: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        nonlocal syncs
        syncs += name == "sync"
        if name == "sync" and syncs == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        step(*arguments)

    fill = b'"' + b"x" * 10_000 + b'"'
    lines = [payload(number)[:-1] + b', "fill": ' + fill + b"}\n" for number in range(1, 1001)]
    lines[4] = BAD + b"\n"
    with hooked(third_sync_fails):
        result = world.ark(*SEND, "--json", stdin=b"".join(lines))
    assert result.status == 1
    *found, error = receipts(result)
    last = found[-1]["line"]
    assert error["error"]["code"] == "not_accepted"
    assert error["error"]["message"] == (
        f"the disk is full: accepted {last - 1:,} events, from the good lines up to line {last:,}, "
        f"and nothing from line {last + 1:,} on"
    )
    assert 5 < last < 1000
    assert [found for found, _ in accepted(world)] == [
        receipt["event_id"] for receipt in found if "error" not in receipt
    ]
    assert server.connections == 0
    rest = world.ark(*SEND, "--json", "--queue", stdin=b"".join(lines[last:]))
    assert rest.status == 0
    assert [number for _, number in accepted(world)] == [number for number in range(1, 1001) if number != 5]


def test_a_disk_that_is_full_from_the_first_line_on_accepts_nothing(world: World, server: TestReceiver) -> None:
    def full(name: str, step: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        if name == "write_all":
            raise OSError(errno.ENOSPC, "No space left on device")
        step(*arguments)

    with hooked(full):
        result = world.ark(*SEND, stdin=stream(3))
    assert (result.status, result.out) == (1, "")
    assert result.err == "error: the disk is full: nothing was accepted\n"
    assert world.event_lines == []


def test_an_answer_other_than_2xx_is_retried_as_for_a_single_send(world: World, receive: Receive) -> None:
    made = receive(lambda request: answer(200 if request.attempt > 1 else 503))
    world.add(made, "crm")
    assert world.ark(*SEND, stdin=stream(3)).status == 75
    world.clock.advance(30)
    assert world.ark("drain", "--json").json["delivered"] == 3
    assert len({request.signature for request in made.requests}) == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_stream_that_cannot_be_copied_for_strict_is_not_accepted(world: World, server: TestReceiver) -> None:
    session = world.session(stream(3))
    with Path("/dev/full").open("r+b", buffering=0) as full:
        session.home.nameless_file = lambda: full  # type: ignore[method-assign] # a full disk
        status = run([*SEND, "--strict"], session)
    assert status == 1
    assert isinstance(session.stderr, io.StringIO)
    said = "error: the stream cannot be copied (No space left on device): nothing was accepted\n"
    assert session.stderr.getvalue() == said
    assert world.event_lines == []


def test_a_secret_that_cannot_be_had_is_told_before_anything_is_accepted_unless_it_is_only_queued(
    world: World, receive: Receive, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("s3cret")
    (tmp_path / "secret").chmod(0o600)
    world.add(receive(200), "crm", "--secret-file", str(tmp_path / "secret"))
    kept = world.store_file.read_text()
    world.store_file.write_text(kept.replace('secret = "s3cret"', 'secret = "env:NOT_HERE"'))
    assert kept != world.store_file.read_text()
    for command in (SEND, SEND[:-1]):
        assert world.ark(*command, "--queue", stdin=stream(1)).status == 0
        refused = world.ark(*command, stdin=stream(1))
        assert refused.status == 2
        assert "NOT_HERE" in refused.err
    assert len(world.event_lines) == 2


def test_what_is_accepted_and_held_back_is_not_said_to_be_done(world: World, receive: Receive) -> None:
    world.add(receive(503), "d")
    queue = b"\n".join([PAYLOAD.strip()] * 20) + b"\n"
    world.ark("send", "signal.promoted", "--ndjson", "--queue", stdin=queue)
    world.ark("drain")
    result = world.ark("send", "signal.promoted", "--ndjson", "--json", stdin=PAYLOAD.strip() + b"\n")
    assert result.status == 75


@pytest.mark.parametrize("begin", [b"{\n", b"[\n  {\n", b"  {  \n"])
def test_a_document_over_several_lines_is_one_error_and_nothing_is_accepted(
    world: World, receive: Receive, begin: bytes
) -> None:
    world.add(receive(200), "d")
    for options in ((), ("--strict",), ("--json",)):
        result = world.ark("send", "signal.promoted", "--ndjson", "--queue", *options, stdin=begin + b'"a": 1\n}\n')
        assert result.status == 2
        said = result.json["error"]["message"] if options == ("--json",) else result.err
        assert "the input is a JSON document over several lines, and --ndjson takes one document per line" in said
        assert said.count("\n") <= 1
    assert world.event_lines == []
