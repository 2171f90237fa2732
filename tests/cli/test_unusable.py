"""One destination's secret or proxy cannot be used: the others are served all the same, and the exit status tells."""

from collections.abc import Callable
from typing import Final

import pytest

import arkcli
from tests.world import PAYLOAD, TestReceiver, World

Receive = Callable[..., TestReceiver]
SEND: Final = ("send", "signal.promoted")
#: What is wrong with b, as its table in destinations.toml says it, and what `ark` says.
TROUBLES: Final = {
    "no secret file": ('secret = "file:/gone/s"', "the secret file /gone/s cannot be read: No such file or directory"),
    "no secret in the environment": (
        'secret = "env:GONE"',
        "the secret of b is env:GONE, but GONE is not in the environment; export it",
    ),
    "no proxy file": (
        'proxy = "file:/gone/p"',
        "the proxy of b: the proxy file /gone/p cannot be read: No such file or directory",
    ),
    "an empty proxy file": (
        'proxy = "file:/dev/null"',
        "the proxy of b: the proxy file /dev/null is empty; write the proxy into it",
    ),
    "not a proxy": ('proxy = "http://nonsense"', "the proxy of b: 'http://nonsense' is not a proxy"),
}


class Three:
    """Destinations a, b and c, of which b cannot be used."""

    def __init__(self, world: World, receive: Receive, setting: str) -> None:
        self.receivers = {name: receive(200) for name in "abc"}
        for name, found in self.receivers.items():
            world.add(found, name)
        text = world.store_file.read_text()
        world.store_file.write_text(text.replace('name = "b"', f'name = "b"\n{setting}'))

    @property
    def served(self) -> dict[str, int]:
        return {name: len(found.requests) for name, found in self.receivers.items()}


@pytest.fixture
def three(world: World, receive: Receive) -> Three:
    return Three(world, receive, TROUBLES["no secret file"][0])


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_send_delivers_to_the_others_and_leaves_that_one_to_a_drain(
    world: World, receive: Receive, trouble: str
) -> None:
    setting, why = TROUBLES[trouble]
    three = Three(world, receive, setting)
    sent = world.ark(*SEND, "--json", stdin=PAYLOAD)
    assert (sent.status, three.served) == (75, {"a": 1, "b": 0, "c": 1})
    assert f"b is left out: {why}" in sent.err
    found = {one["destination"]: one for one in sent.json["deliveries"]}
    assert [found[name]["outcome"] for name in "abc"] == ["delivered", "waiting", "delivered"]
    assert found["b"]["error"].startswith(why)
    # When it can be used again, it gets the event.
    world.store_file.write_text(world.store_file.read_text().replace(setting, ""))
    assert (world.ark("drain").status, three.served) == (0, {"a": 1, "b": 1, "c": 1})


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_ping_reaches_the_others_and_is_no_success(world: World, receive: Receive, trouble: str) -> None:
    setting, why = TROUBLES[trouble]
    three = Three(world, receive, setting)
    pinged = world.ark("ping", "--json")
    assert (pinged.status, three.served) == (1, {"a": 1, "b": 0, "c": 1})
    assert [(one["destination"], one["outcome"]) for one in pinged.json["deliveries"]] == [
        ("a", "delivered"),
        ("c", "delivered"),
    ]
    ((name, reason),) = [one.values() for one in pinged.json["broken"]]
    assert (name, reason.startswith(why), f"b is left out: {why}" in pinged.err) == ("b", True, True)


def test_a_stream_is_accepted_and_delivered_to_the_others(world: World, three: Three) -> None:
    sent = world.ark(*SEND, "--ndjson", stdin=PAYLOAD.strip() + b"\n" + PAYLOAD.strip() + b"\n")
    assert (sent.status, three.served) == (75, {"a": 2, "b": 0, "c": 2})
    assert "warning: b is left out: the secret file /gone/s cannot be read" in sent.err


def test_a_dry_run_shows_the_requests_to_the_others(world: World, three: Three) -> None:
    shown = world.ark(*SEND, "--dry-run", "--json", stdin=PAYLOAD)
    assert (shown.status, [one["destination"] for one in shown.json["requests"]]) == (1, ["a", "c"])
    assert [one["name"] for one in shown.json["broken"]] == ["b"]
    world.ark(*SEND, "--queue", stdin=PAYLOAD)
    shown = world.ark("queue", "show", "last", "--headers", "--json")
    assert (shown.status, [one["destination"] for one in shown.json["requests"]]) == (1, ["a", "c"])
    assert [one["name"] for one in shown.json["broken"]] == ["b"]


def test_an_application_gets_the_reason_and_the_others_are_delivered_to(world: World, three: Three) -> None:
    with arkcli.open(world.home / "config", world.home / "state") as ark:
        sent = ark.send("signal.promoted", PAYLOAD)
    assert [one.outcome for one in sent.deliveries] == ["delivered", "waiting", "delivered"]
    assert sent.deliveries[1].error == "the secret file /gone/s cannot be read: No such file or directory"


@pytest.mark.parametrize("command", [(*SEND, "--to", "b"), ("ping", "b"), (*SEND, "--dry-run", "--to", "b")])
def test_where_none_can_be_used_nothing_is_accepted_or_sent(
    world: World, three: Three, command: tuple[str, ...]
) -> None:
    refused = world.ark(*command, stdin=PAYLOAD)
    assert (refused.status, refused.out, three.served) == (2, "", {"a": 0, "b": 0, "c": 0})
    assert refused.err == "error: the secret file /gone/s cannot be read: No such file or directory\n"
    assert world.event_lines == []


def test_a_paused_one_that_cannot_be_used_troubles_no_send(world: World, three: Three) -> None:
    world.ark("dest", "pause", "b")
    sent = world.ark(*SEND, stdin=PAYLOAD)
    assert (sent.status, "left out" in sent.err, three.served) == (0, False, {"a": 1, "b": 0, "c": 1})
