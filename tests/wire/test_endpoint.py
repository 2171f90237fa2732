"""An endpoint that replaces another one keeps its connections, and nothing else of the old one remains."""

import gc
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from arkcli.model import Answer, Delivery, Outcome
from arkcli.signing import Concealed, Secret, sign
from arkcli.system.clock import SystemClock
from arkcli.wire.transfer import Transfer
from arkcli.wire.wire import Endpoint, Wire
from tests.wire.attempts import attempt as post
from tests.wire.test_wire import BODY, EVENT, Receive, endpoint
from tests.world import Certificates, answer, receiver


def changed(before: Endpoint, **settings: Any) -> Endpoint:
    """The endpoint that replaces this one after a change of its destination or its secret."""
    secret = settings.pop("secret", before.secret)
    return Endpoint(msgspec.structs.replace(before.destination, **settings), secret, before)


@contextmanager
def uncollected() -> Iterator[Callable[[], int]]:
    """Switches off garbage collection, which seldom runs in a drain; yields a function that counts new handles."""

    def handles() -> int:
        return sum(type(found) is Transfer for found in gc.get_objects())

    gc.collect()
    before = handles()
    gc.disable()
    try:
        yield lambda: handles() - before
    finally:
        gc.enable()


def descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def test_a_thousand_secrets_one_after_another_leave_one_connection_and_one_handle(receive: Receive) -> None:
    server, target = receive(200), endpoint("http://127.0.0.1:9/")
    target = changed(target, url=server.url)
    with uncollected() as handles, closing(Wire[int]("", SystemClock())) as wire:
        post(wire, target)
        before = descriptors()
        for number in range(1000):
            target = changed(target, secret=Secret(f"secret {number}"))
            assert post(wire, target).outcome is Outcome.DELIVERED
        assert (handles(), server.connections, descriptors()) == (1, 1, before)
    assert [request.signature for request in server.requests[-2:]] == [
        sign("secret 998", BODY),
        sign("secret 999", BODY),
    ]


def test_a_thousand_urls_one_after_another_leave_no_more_connections_than_are_kept(receive: Receive) -> None:
    server, target = receive(200), endpoint("http://127.0.0.1:9/")
    with uncollected() as handles, closing(Wire[int]("", SystemClock(), 4)) as wire:
        wire.wait(0)
        before = descriptors()
        for number in range(1000):
            target = changed(target, url=f"{server.url}/{number}")
            assert post(wire, target).outcome is Outcome.DELIVERED
        assert handles() == 1
        # This process has both ends of each connection, and the receiver closes its end a moment later.
        ends = time.monotonic() + 10
        while descriptors() - before > 2 * 4 and time.monotonic() < ends:
            time.sleep(0.05)
        assert descriptors() - before <= 2 * 4
    assert [request.line.split()[1] for request in server.requests[-2:]] == ["/hook/998", "/hook/999"]


def test_an_attempt_in_flight_ends_as_it_began_and_then_nothing_is_left_of_its_endpoint(receive: Receive) -> None:
    released: list[str] = []

    def behave(_: object) -> bytes:
        while not released:
            time.sleep(0.01)
        return answer(200)

    server, other = receive(behave), receive(200)
    with uncollected() as handles, closing(Wire[int]("", SystemClock())) as wire:
        target = endpoint(server.url)
        wire.start(target, [(Delivery(EVENT, 1), number) for number in range(4)])
        assert wire.wait(0.2) == []
        target = changed(target, url=other.url, secret=Secret("new"))
        assert post(wire, target).outcome is Outcome.DELIVERED
        assert handles() == 5
        released.append("now")
        ended: list[tuple[int, Answer]] = []
        while wire.in_flight:
            ended += wire.wait(0.5)
        assert sorted((number, found.outcome) for number, found in ended) == [
            (number, Outcome.DELIVERED) for number in range(4)
        ]
        del ended
        assert handles() == 1
    assert {request.signature for request in server.requests} == {sign("secret", BODY)}
    assert {request.signature for request in other.requests} == {sign("new", BODY)}


@pytest.mark.parametrize(
    ("settings", "is_same"),
    [
        ({"name": "new"}, True),
        ({"headers": {"X-New": Concealed("1")}}, True),
        ({"userinfo": Concealed("me:new")}, True),
        ({"secret": Secret("new")}, True),
        ({"url": "http://127.0.0.1:9/new"}, False),
        ({"allow_local": False}, False),
        ({"ca_file": "/new.pem"}, False),
    ],
    ids=str,
)
def test_connections_are_used_on_where_nothing_has_changed_that_they_depend_on(
    settings: dict[str, Any], is_same: bool
) -> None:
    before = endpoint("http://127.0.0.1:9/")
    after = changed(before, **settings)
    assert (after.idle is before.idle, after.alias == before.alias) == (is_same, is_same)


def test_a_ca_file_that_is_replaced_counts_within_seconds(tmp_path: Path) -> None:
    """libcurl itself would use the file's old content for a day, and every attempt would fail."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    old, new = Certificates(tmp_path / "old"), Certificates(tmp_path / "new")
    ca_file = shutil.copy(old.ca_file, tmp_path / "ca.pem")
    # Without kept connections, so that every attempt makes a handshake.
    with closing(Wire[int]("", SystemClock(), 0)) as wire:
        with receiver(200, old.wrapping("127.0.0.1")) as server:
            target = endpoint(server.url, ca_file=str(ca_file))
            assert post(wire, target).outcome is Outcome.DELIVERED
            shutil.copy(new.ca_file, ca_file)
        with receiver(200, new.wrapping("127.0.0.1")) as server:
            target = changed(target, url=server.url)
            ends = time.monotonic() + 10
            while (found := post(wire, target)).outcome is Outcome.FAILED and time.monotonic() < ends:
                assert "its issuer is not trusted" in str(found.error)
                time.sleep(0.2)
            assert found.outcome is Outcome.DELIVERED
