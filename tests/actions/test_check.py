"""`ark check` against receivers on real sockets: one that does right, and others that make one usual mistake each."""

import hmac
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from arkcli.actions import destinations
from arkcli.actions.check import Finding, check
from arkcli.actions.destinations import Wanted
from arkcli.errors import DeliveryFailed
from arkcli.signing import Secret, sign, verify
from tests.world import FakeClock, Request, World, answer, hang, receiver

SECRET = "s3cret"

COUNT = 12
ACCEPTED = ("valid-event", "repeat", "unknown-fields", "unicode", "large", "header-case")
REFUSED = ("other-secret", "changed-body", "cut-signature", "no-signature", "spaces-added", "spaces-removed")
#: A status, or None to close the connection without an answer.
Judge = Callable[[Request], int | None]


def given(request: Request) -> str:
    return request.headers.get("x-signalark-signature", "")


def right(request: Request) -> int:
    return 204 if verify(SECRET, request.body, given(request)) else 401


def naive(request: Request, body: bytes | None = None) -> bool:
    return hmac.compare_digest(given(request), sign(SECRET, request.body if body is None else body))


def reserialising(**how: Any) -> Judge:
    def judge(request: Request) -> int:
        again = json.dumps(json.loads(request.body), **how).encode()
        return 204 if naive(request, again) else 401

    return judge


def remembering() -> Judge:
    seen: set[str] = set()

    def judge(request: Request) -> int:
        if right(request) == 204 and request.delivery in seen:
            return 409
        seen.add(request.delivery)
        return right(request)

    return judge


def unknown(request: Request) -> bool:
    return "added_later" in json.loads(request.body)


def decoding(encoding: str) -> Judge:
    def judge(request: Request) -> int:
        try:
            text = request.body.decode(encoding)
        except UnicodeDecodeError:
            return 500
        return 204 if naive(request, text.encode()) else 401

    return judge


class Row(NamedTuple):
    """A receiver, the checks that it does not pass, and the check whose advice names its mistake."""

    judge: Judge
    fails: tuple[str, ...]
    named_by: str = ""
    advice: str = ""


COMPACT = (",", ":")
MISTAKES = {
    "does right": Row(right, ()),
    "verifies nothing": Row(lambda _: 200, REFUSED, "other-secret", "otherwise anybody can send events here"),
    "serialises again, as JavaScript does": Row(
        reserialising(separators=COMPACT, ensure_ascii=False), ("spaces-added",), "spaces-added", "serialises the JSON"
    ),
    "serialises again, as Python does": Row(
        reserialising(), (*ACCEPTED, "spaces-removed"), "spaces-removed", "serialises the JSON again"
    ),
    "serialises again and sorts": Row(
        reserialising(sort_keys=True, separators=COMPACT),
        (*ACCEPTED, "spaces-added"),
        "valid-event",
        "JSON that was parsed and serialised again",
    ),
    "has another secret": Row(lambda _: 403, ACCEPTED, "valid-event", "Give the receiver the secret"),
    "accepts a missing signature": Row(
        lambda it: right(it) if given(it) else 204,
        ("no-signature",),
        "no-signature",
        "this receiver skips the check then",
    ),
    "compares a prefix": Row(
        lambda it: 204 if sign(SECRET, it.body)[:8] == given(it)[:8] else 401,
        ("cut-signature",),
        "cut-signature",
        "compares only the beginning",
    ),
    "compares as far as the signature goes": Row(
        lambda it: 204 if sign(SECRET, it.body).startswith(given(it)) else 401,
        ("cut-signature", "no-signature"),
        "cut-signature",
        "compares only the beginning",
    ),
    "rejects unknown fields": Row(
        lambda it: 422 if unknown(it) else right(it), ("unknown-fields",), "unknown-fields", "Ignore fields"
    ),
    "limits bodies to 100 kB": Row(
        lambda it: 413 if len(it.body) > 102_400 else right(it),
        ("large",),
        "large",
        "Express, for one, stops at 100 kB",
    ),
    "hangs up on a large body": Row(
        lambda it: None if len(it.body) > 102_400 else right(it), ("large",), "large", "Raise the limit"
    ),
    "refuses with 500": Row(
        lambda it: 204 if right(it) == 204 else 500, REFUSED, "other-secret", "a 5xx looks like a fault"
    ),
    "throws when the lengths differ": Row(
        lambda it: right(it) if len(given(it)) == 64 else 500,
        ("cut-signature", "no-signature"),
        "cut-signature",
        "timingSafeEqual",
    ),
    "throws without the header": Row(
        lambda it: right(it) if given(it) else 500, ("no-signature",), "no-signature", "whether the header is there"
    ),
    "refuses with silence": Row(
        lambda it: 204 if right(it) == 204 else None, REFUSED, "other-secret", "silence is a failure"
    ),
    "refuses with a redirect": Row(
        lambda it: 204 if right(it) == 204 else 302, REFUSED, "other-secret", "follow no redirects"
    ),
    "redirects": Row(lambda _: 308, (*ACCEPTED, *REFUSED), "valid-event", "the URL that it redirects to"),
    "refuses a repeat": Row(remembering(), ("repeat",), "repeat", "Answer 2xx to an event that you have already"),
    "decodes as Latin-1": Row(decoding("latin-1"), ("unicode",), "unicode", "decoding them as Latin-1 or ASCII"),
    "decodes as ASCII": Row(decoding("ascii"), ("unicode",), "unicode", "decoding them as Latin-1 or ASCII"),
    "knows one spelling of the header": Row(
        lambda it: right(it) if b"X-SignalArk-Signature" in it.head else 401,
        ("header-case",),
        "header-case",
        "whatever the case of its name",
    ),
    "fails": Row(lambda _: 500, (*ACCEPTED, *REFUSED), "valid-event", "See the receiver's log"),
}


def checking(world: World, url: str) -> Iterator[Finding]:
    home = world.session().home
    destination = destinations.unsaved(home, Wanted(url=url, allow_local=True))
    return check(home, destination, "signal.promoted", Secret(SECRET))


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_usual_mistake_is_named_and_nothing_else(world: World, mistake: str) -> None:
    row = MISTAKES[mistake]

    def behave(request: Request) -> bytes | None:
        status = row.judge(request)
        return None if status is None else answer(status, b"why", "Location: /elsewhere")

    with receiver(behave) as server:
        found = list(checking(world, server.url))
    assert [finding.trial.name for finding in found] == [*ACCEPTED, *REFUSED]
    failed = {finding.trial.name: finding.advice for finding in found if not finding.passed}
    assert failed.keys() == set(row.fails)
    if row.fails:
        assert row.advice in (failed[row.named_by] or "")
    # One mistake is told once, and where it shows again it is referred to.
    told = [advice for advice in failed.values() if advice and not advice.startswith("The same as for ")]
    assert len(told) == len(set(told)) <= 3


def test_the_receiver_gets_new_events_one_by_one_and_the_first_twice(world: World) -> None:
    with receiver(lambda request: answer(right(request))) as server:
        list(checking(world, server.url))
        first = [request.delivery for request in server.requests]
        assert first[0] == first[1]
        assert server.requests[0].body == server.requests[1].body
        assert len(set(first)) == len(first) - 1 == COUNT - 1
        assert server.most_at_once == 1
        list(checking(world, server.url))
        second = [request.delivery for request in server.requests[COUNT:]]
    assert set(first) & set(second) == set()
    assert not (world.home / "state").exists()


@pytest.mark.parametrize("listens", [True, False])
def test_a_receiver_that_does_not_answer_the_first_is_asked_no_more(world: World, listens: bool) -> None:
    with receiver(lambda _: None) as server:
        url = server.url
        if not listens:
            server.close()
        with pytest.raises(DeliveryFailed) as raised:
            list(checking(world, url))
    assert len(server.requests) == int(listens)
    why = "the connection was closed without an answer" if listens else "no connection: connection refused"
    assert str(raised.value).startswith(f"{url} did not answer a valid event: {why}. ")
    assert str(raised.value).endswith("; the other 11 checks were not made")


class Hurried(FakeClock):
    """A clock that runs a thousand times too fast: ten seconds pass as fast as attempts are looked at."""

    def monotonic(self) -> float:
        return time.monotonic() * 1000


@pytest.mark.parametrize("answered", [0, 1])
def test_a_receiver_that_answers_late_is_told_to_answer_first(world: World, answered: int) -> None:
    world.clock = Hurried()

    def behave(request: Request) -> bytes:
        return answer(right(request)) if len(server.requests) <= answered else hang(request)

    with receiver(behave) as server:
        found = checking(world, server.url)
        if answered:
            assert next(found).passed
            late = next(found)
            assert (late.answer.status, late.answer.timed_out) == (None, True)
            assert "Answer within 10 s" in (late.advice or "")
        else:
            with pytest.raises(DeliveryFailed, match=r"within 10 s\. Answer within 10 s: verify"):
                next(found)


def test_ctrl_c_ends_it_at_once(world: World) -> None:
    arrived = threading.Event()

    def behave(request: Request) -> bytes:
        arrived.set()
        return hang(request)

    with receiver(behave) as server:
        command = [sys.executable, "-m", "arkcli", "check", server.url, "--allow-local"]
        variables = {**os.environ, **world.variables, "ARK_SECRET": SECRET}
        with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert arrived.wait(20)
            process.send_signal(signal.SIGINT)
            # Well before the receiver has had its ten seconds.
            out, err = process.communicate(timeout=8)
    assert (process.returncode, out, err) == (130, b"", b"error: interrupted\n")


def test_headers_are_sent_with_every_request(world: World) -> None:
    with receiver(lambda request: answer(right(request))) as server:
        told = world.ark("check", server.url, "--allow-local", "--header", "X-Tenant: a", stdin=b"")
        assert told.status == 2
        world.variables["ARK_SECRET"] = SECRET
        assert world.ark("check", server.url, "--allow-local", "--header", "X-Tenant: a").status == 0
    assert [request.headers["x-tenant"] for request in server.requests] == ["a"] * COUNT
