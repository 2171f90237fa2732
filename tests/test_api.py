"""`import arkcli`: the same destinations and queue as the command, from an application and from several threads."""

import gc
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

import arkcli
from arkcli.errors import ArkError, PayloadError, Unreadable, UsageError
from tests.world import PAYLOAD, SIGNAL, Certificates, Hang, Request, World, answer, in_turn, receiver


@pytest.fixture
def ark(world: World) -> Iterator[arkcli.Ark]:
    with opened(world) as found:
        yield found


def opened(world: World) -> arkcli.Ark:
    return arkcli.open(world.home / "config", world.home / "state")


def plain(value: msgspec.Struct) -> dict[str, Any]:
    """A value as JSON would have it."""
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(value))
    return found


def keys(document: object) -> object:
    """The shape of a JSON document: its keys, those of the first element for a list."""
    if isinstance(document, dict):
        return {name: keys(value) for name, value in document.items()}
    return [keys(value) for value in document[:1]] if isinstance(document, list) else None


def test_an_event_reaches_every_destination_and_the_result_says_so(world: World, ark: arkcli.Ark) -> None:
    with receiver() as good, receiver(lambda _: answer(500, b"the table is locked")) as bad:
        world.add(good, "crm")
        world.add(bad, "lake")
        sent = ark.send("signal.promoted", SIGNAL)
    crm, lake = sent.deliveries
    assert (crm.destination, crm.outcome, crm.attempt, crm.status, crm.error) == ("crm", "delivered", 1, 200, None)
    assert (lake.destination, lake.outcome, lake.status, lake.excerpt) == (
        "lake",
        "retrying",
        500,
        "the table is locked",
    )
    assert lake.next_attempt_at is not None
    body = json.loads(good.requests[0].body)
    assert body.items() >= {**SIGNAL, "event": "signal.promoted", "timestamp": sent.event.at}.items()
    assert (sent.event.type, sent.event.bytes, sent.repeated) == ("signal.promoted", len(good.requests[0].body), False)


@pytest.mark.parametrize("form", [dict, lambda found: json.dumps(found).encode(), json.dumps])
def test_a_payload_is_a_mapping_or_json(world: World, ark: arkcli.Ark, form: Callable[[Any], Any]) -> None:
    with receiver() as found:
        world.add(found, "crm")
        sent = ark.send("signal.promoted", form(SIGNAL | {"note": "Åsa"}))
    assert sent.deliveries[0].outcome == "delivered"
    assert json.loads(found.requests[0].body)["note"] == "Åsa"


def test_the_same_id_and_payload_again_do_nothing_and_another_payload_is_refused(world: World, ark: arkcli.Ark) -> None:
    with receiver() as found:
        world.add(found, "crm")
        first = ark.send("signal.promoted", SIGNAL, id="deal-1")
        again = ark.send("signal.promoted", SIGNAL, id="deal-1")
        with pytest.raises(UsageError, match="belongs to another event"):
            ark.send("signal.promoted", SIGNAL | {"note": "other"}, id="deal-1")
    assert (first.event.id, first.repeated) == ("deal-1", False)
    assert (again.event, again.repeated, again.deliveries) == (first.event, True, ())
    assert len(found.requests) == 1


def test_what_is_accepted_waits_until_something_drains(world: World, ark: arkcli.Ark) -> None:
    with receiver() as found, receiver() as other:
        world.add(found, "crm")
        world.add(other, "lake")
        sent = ark.accept("signal.promoted", SIGNAL, to=["crm"])
        assert [(one.destination, one.outcome, one.attempt) for one in sent.deliveries] == [("crm", "waiting", 0)]
        assert found.requests == []
        assert [(place.name, place.waiting) for place in ark.queue().destinations] == [("crm", 1), ("lake", 0)]
        drained = ark.drain()
    assert (drained.attempted, drained.delivered, drained.retrying, drained.dead) == (1, 1, 0, 0)
    assert len(found.requests) == 1
    assert ark.queue().destinations[0].waiting == 0


def test_a_story_tells_every_attempt(world: World, ark: arkcli.Ark) -> None:
    with receiver(lambda _: answer(503, b"later")) as found:
        world.add(found, "crm")
        sent = ark.send("signal.promoted", SIGNAL)
    story = ark.story("last")
    assert story.event.id == sent.event.id
    assert json.loads(story.event.body)["signal"] == SIGNAL["signal"]
    (told,) = story.deliveries
    assert (told.destination, told.state) == ("crm", "retrying")
    assert [(one.attempt, one.outcome, one.status, one.excerpt) for one in told.attempts] == [
        (1, "failed", 503, "later")
    ]
    assert ark.story(sent.event.id[:20]) == story


def test_attributes_are_the_keys_that_the_command_prints(world: World, ark: arkcli.Ark) -> None:
    with receiver(in_turn(200, 503)) as found:
        world.add(found, "crm")
        said = world.ark("send", "signal.promoted", "--sample", "--json").json
        sent = plain(ark.send("signal.promoted", SIGNAL))
        for known in sent["deliveries"]:
            del known["excerpt"]
        assert keys(said) == keys({name: sent[name] for name in ("event", "deliveries")})
        drained = plain(ark.drain())
        said = world.ark("drain", "--json").json
        assert set(drained) == set(said) - {"held"}
        ark.accept("signal.promoted", SIGNAL)
    for command, value in ((["queue"], ark.queue()), (["queue", "show", "last"], ark.story("last"))):
        document = plain(value)
        assert document.pop("broken") == []
        assert keys(document) == keys(world.ark(*command, "--json").json)


DEEP: list[Any] = []
for _ in range(5000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("event", "payload", "options", "error", "said"),
    [
        (
            "signal.promotd",
            SIGNAL,
            {},
            UsageError,
            "no event 'signal.promotd' to send; the events are signal",
        ),
        ("ping", {}, {}, UsageError, "there is no event 'ping' to send"),
        ("signal.promoted", {}, {}, PayloadError, r"\$.*signal"),
        ("signal.promoted", b"{", {}, PayloadError, "JSON"),
        ("signal.promoted", [1], {}, UsageError, "JSON"),
        ("signal.promoted", {"a": {1, 2}}, {}, UsageError, "cannot be written as JSON: .*set"),
        ("signal.promoted", {"a": float("nan")}, {}, UsageError, "cannot be written as JSON"),
        ("signal.promoted", {"a": DEEP}, {}, UsageError, "nested too deeply"),
        ("signal.promoted", '{"a": "\ud800"}', {}, UsageError, "cannot be written as JSON: .*surrogates"),
        ("signal.promoted", SIGNAL, {"to": ["nobody"]}, UsageError, "there is no destination 'nobody'"),
        ("signal.promoted", SIGNAL, {"to": []}, UsageError, "`to` names no destination; leave it out for all"),
        ("signal.promoted", SIGNAL, {"to": "nobody"}, UsageError, "there is no destination 'nobody'"),
        ("signal.promoted", SIGNAL, {"id": "a b"}, UsageError, "an id has up to 128 letters"),
    ],
)
def test_what_the_caller_has_to_change_is_an_error_with_words_and_nothing_is_accepted(
    world: World, ark: arkcli.Ark, event: str, payload: Any, options: Any, error: type[ArkError], said: str
) -> None:
    with receiver() as found:
        world.add(found, "crm")
        with pytest.raises(error, match=said):
            ark.send(event, payload, **options)
        assert found.requests == []
    assert ark.queue().events == 0


def test_without_a_destination_nothing_is_accepted(ark: arkcli.Ark) -> None:
    for call in (ark.send, ark.accept):
        with pytest.raises(UsageError, match="there is no destination yet; add one with `ark dest add URL`"):
            call("signal.promoted", SIGNAL)
    assert ark.queue().events == 0


def test_a_destination_that_is_added_changed_or_paused_meanwhile_is_seen(world: World, ark: arkcli.Ark) -> None:
    with receiver() as one, receiver() as two:
        world.add(one, "crm")
        ark.send("signal.promoted", SIGNAL)
        world.add(two, "lake")
        assert len(ark.send("signal.promoted", SIGNAL).deliveries) == 2
        assert world.ark("dest", "set", "crm", "--url", f"{two.url}/2", "--no-ping").status == 0
        assert world.ark("dest", "pause", "lake").status == 0
        ark.send("signal.promoted", SIGNAL)
    assert (len(one.requests), len(two.requests)) == (2, 2)


def test_connections_are_kept_from_one_send_to_the_next(world: World, ark: arkcli.Ark) -> None:
    with receiver(keep_alive) as found:
        world.add(found, "crm")
        for _ in range(5):
            assert ark.send("signal.promoted", SIGNAL).deliveries[0].outcome == "delivered"
            with pytest.raises(PayloadError):
                ark.send("signal.promoted", {})
        assert (len(found.requests), found.connections) == (5, 1)


def keep_alive(_: Request) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def test_many_threads_send_at_once_and_a_drain_runs_beside_them(world: World, ark: arkcli.Ark) -> None:
    failed = threading.Event()

    def behave(_: Request) -> bytes:
        return answer(200)

    with receiver(behave) as found:
        world.add(found, "crm")
        with ThreadPoolExecutor(9) as pool:
            draining = pool.submit(ark.drain, watch=True)
            sends = [pool.submit(ark.send, "signal.promoted", SIGNAL | {"n": n}) for n in range(160)]
            accepts = [pool.submit(ark.accept, "signal.promoted", SIGNAL | {"n": -n}) for n in range(1, 81)]
            accepted = [future.result().event.id for future in (*sends, *accepts)]
            until = time.monotonic() + 20
            while ark.queue().destinations[0].waiting and time.monotonic() < until:
                time.sleep(0.05)
            ark.close()
            drained = draining.result(10)
    assert not failed.is_set()
    assert drained.delivered >= 1
    assert len(set(accepted)) == 240
    bodies = Counter(json.loads(request.body)["n"] for request in found.requests)
    assert bodies == Counter(range(-80, 160))
    assert len({request.delivery for request in found.requests}) == 240


def test_a_slow_receiver_holds_up_only_the_thread_that_waits_for_it(world: World, ark: arkcli.Ark) -> None:
    waiting, go_on = threading.Event(), threading.Event()

    def slow(_: Request) -> bytes:
        waiting.set()
        go_on.wait(10)
        return answer(200)

    with receiver(slow) as hung, receiver() as quick:
        world.add(hung, "hung")
        world.add(quick, "quick")
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(ark.send, "signal.promoted", SIGNAL, to=["hung"])
            waiting.wait(10)
            assert ark.send("signal.promoted", SIGNAL, to=["quick"]).deliveries[0].outcome == "delivered"
            assert not first.done()
            go_on.set()
            assert first.result(10).deliveries[0].outcome == "delivered"


def test_closing_ends_a_watching_drain_and_later_calls_say_so(world: World, ark: arkcli.Ark) -> None:
    with receiver() as found:
        world.add(found, "crm")
        with ThreadPoolExecutor(1) as pool:
            draining = pool.submit(ark.drain, watch=True)
            ark.accept("signal.promoted", SIGNAL)
            while not found.requests:
                time.sleep(0.01)
            ark.close()
            assert draining.result(10).delivered == 1
    for call in (ark.queue, ark.drain, lambda: ark.send("signal.promoted", SIGNAL), lambda: ark.story("last")):
        with pytest.raises(UsageError, match="this ark has been closed"):
            call()


def test_an_interrupted_send_leaves_its_event_to_a_drain(world: World, ark: arkcli.Ark) -> None:
    def interrupt(_: Request) -> bytes:
        os.kill(os.getpid(), signal.SIGINT)
        raise Hang

    with receiver(interrupt) as found:
        world.add(found, "crm")
        # The command line that added it has its own handler.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with pytest.raises(KeyboardInterrupt):
            ark.send("signal.promoted", SIGNAL)
        found.behave = lambda _: answer(200)
        assert ark.drain().delivered == 1
        assert ark.send("signal.promoted", SIGNAL).deliveries[0].outcome == "delivered"


def test_nothing_of_the_process_is_changed(world: World) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, soft), hard))
    limits = [resource.getrlimit(number) for number in (resource.RLIMIT_NOFILE, resource.RLIMIT_CORE)]
    mask, threshold = os.umask(0o022), gc.get_threshold()
    try:
        with receiver() as found, opened(world) as ark:
            world.add(found, "crm")
            ark.send("signal.promoted", SIGNAL)
            ark.drain()
            ark.queue()
        assert [resource.getrlimit(number) for number in (resource.RLIMIT_NOFILE, resource.RLIMIT_CORE)] == limits
        assert os.umask(0o022) == 0o022
        assert gc.get_threshold() == threshold
        readable = [path for path in world.home.rglob("*") if path.stat().st_mode & 0o077]
        assert readable == []
    finally:
        os.umask(mask)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert handlers == [
        signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)
    ]


def test_a_forked_child_uses_nothing_of_its_parent(world: World, ark: arkcli.Ark) -> None:
    with receiver(keep_alive) as found:
        world.add(found, "crm")
        ark.send("signal.promoted", SIGNAL)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = 0 if ark.send("signal.promoted", SIGNAL).deliveries[0].outcome == "delivered" else 2
                ark.close()
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        assert ark.send("signal.promoted", SIGNAL).deliveries[0].outcome == "delivered"
        # One for the parent, which is still open, and one for the child.
        assert (len(found.requests), found.connections) == (3, 2)


def test_a_child_that_only_closes_leaves_its_parents_connections_alone(
    world: World, ark: arkcli.Ark, tmp_path: Path
) -> None:
    """Over TLS, closing sends an alert that would end the parent's connection."""
    certificates = Certificates(tmp_path)
    with receiver(keep_alive, certificates.wrapping("127.0.0.1")) as found:
        world.add(found, "crm", "--ca-file", certificates.ca_file)
        ark.send("signal.promoted", SIGNAL)
        child = os.fork()
        if child == 0:
            try:
                ark.close()
                gc.collect()
            finally:
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert ark.send("signal.promoted", SIGNAL).deliveries[0].outcome == "delivered"
        assert (len(found.requests), found.connections) == (2, 1)


def test_a_child_that_is_forked_during_a_send_holds_no_destination(world: World, ark: arkcli.Ark) -> None:
    waiting, go_on = threading.Event(), threading.Event()

    def slow(_: Request) -> bytes:
        waiting.set()
        go_on.wait(10)
        return answer(200)

    with receiver(slow) as found, ThreadPoolExecutor(1) as pool:
        world.add(found, "crm")
        sent = pool.submit(ark.send, "signal.promoted", SIGNAL)
        waiting.wait(10)
        child = os.fork()
        if child == 0:
            signal.pause()
            os._exit(1)
        try:
            go_on.set()
            assert sent.result(10).deliveries[0].outcome == "delivered"
            ark.accept("signal.promoted", SIGNAL)
            assert world.ark("drain", "--json").json["delivered"] == 1
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def test_a_child_that_is_forked_while_another_thread_calls_does_not_wait_for_it(world: World, ark: arkcli.Ark) -> None:
    world.ark("dest", "list")
    with ark._homes._lock:
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            status = 1
            try:
                status = len(ark.queue().destinations)
            finally:
                os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def test_one_that_was_not_closed_is_closed_when_nobody_has_it_any_more_with_a_warning(world: World) -> None:
    def descriptors() -> int:
        return len(list(Path("/dev/fd").iterdir()))

    with receiver(keep_alive) as found:
        world.add(found, "crm")
        with opened(world) as ark:
            ark.send("signal.promoted", SIGNAL)
        # What earlier tests have left may be closed at any time.
        gc.collect()
        before = descriptors()
        ark = opened(world)
        ark.send("signal.promoted", SIGNAL)
        assert descriptors() > before
        with pytest.warns(ResourceWarning, match="an Ark was not closed"):
            del ark
            gc.collect()
        assert descriptors() <= before


def test_a_warning_goes_to_the_logger(
    world: World, ark: arkcli.Ark, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with receiver() as found:
        world.add(found, "crm")
        secret = world.home / "gone"
        text = world.store_file.read_text()
        world.store_file.write_text(text.replace('name = "crm"', f'name = "crm"\nsecret = "file:{secret}"'))
        with caplog.at_level(logging.WARNING, "arkcli"):
            assert ark.drain().left_out == ("crm",)
    assert any("crm is left out" in record.getMessage() for record in caplog.records)
    assert capfd.readouterr() == ("", "")


def test_a_store_that_cannot_be_read_is_an_error_that_names_the_file(world: World, ark: arkcli.Ark) -> None:
    with receiver() as found:
        world.add(found, "crm")
    world.store_file.write_text("version = ")
    with pytest.raises(Unreadable, match=r"destinations\.toml"):
        ark.send("signal.promoted", SIGNAL)


def test_to_import_it_costs_nothing_heavy_and_never_the_command_line(tmp_path: Path) -> None:
    code = "import sys, arkcli; print(*sys.modules); arkcli.open('/nowhere/c', '/nowhere/s'); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    first, opened = map(set, map(str.split, run.stdout.splitlines()))
    assert {name for name in first if name.startswith("arkcli")} == {"arkcli", "arkcli.version"}
    assert opened & {"typer", "click", "rich", "httpx", "pycurl", "asyncio"} == set()
    assert not any(name.startswith("arkcli.cli") for name in opened)


PAGE = Path(__file__).parent.parent / "docs" / "python.md"


@pytest.mark.parametrize("name", ["send", "service"])
def test_the_programs_on_the_page_run_as_shown(world: World, name: str, tmp_path: Path) -> None:
    (tmp_path / "payload.json").write_bytes(PAYLOAD)
    program = PAGE.read_text().split(f"<!-- program: {name} -->\n```python\n")[1].split("```")[0]
    with receiver() as found:
        world.add(found, "crm")
        run = subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            env={**os.environ, **world.variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        assert (run.returncode, run.stderr) == (0, "")
    with opened(world) as ark:
        event = ark.story("last").event
    first = run.stdout.splitlines()[0]
    assert first == {"send": "sig_7-promoted", "service": f"{event.id} is accepted"}[name]
    if name == "send":
        assert run.stdout.splitlines()[1] == "crm delivered 200 None"
