"""Terminal control characters, from any source: they never appear in any output."""

import json
from collections.abc import Callable, Iterator
from typing import Final

import pytest

from tests.world import SIGNAL, Request, TestReceiver, World, answer

EVIL: Final = "\x1b]0;owned\x07\x9b2J\N{RIGHT-TO-LEFT OVERRIDE}\N{ZERO WIDTH SPACE}"
#: Characters that must not remain: terminals or readers would not treat them as plain text.
HARMFUL: Final = set("\x1b\x07\x9b\N{RIGHT-TO-LEFT OVERRIDE}\N{ZERO WIDTH SPACE}")
COMMANDS: Final = (
    ("send", "signal.promoted", "--id", "event-2"),
    ("send", "signal.promoted", "--dry-run"),
    ("queue", "show", "event-1"),
    ("queue", "list"),
    ("queue",),
    ("log",),
    ("dest", "list"),
    ("dest", "show", "crm"),
    ("drain",),
    ("drain", "--dry-run"),
    ("ping",),
    ("queue", "retry", EVIL),
    ("queue", "show", EVIL),
    ("dest", "show", EVIL),
    ("send", EVIL),
    ("log", "--to", EVIL),
    ("nonsense" + EVIL,),
    ("drain", "--to", EVIL),
    ("send", "signal.promoted", "--set", f"signal.{EVIL}"),
    ("send", "signal.promoted", "--set", f"signal.icp_score={EVIL}"),
    ("sign", EVIL),
    ("verify", "--signature", EVIL, "--secret", "s"),
    ("doctor",),
    ("config", "show"),
)


@pytest.fixture
def evil(world: World, receive: Callable[..., TestReceiver]) -> Iterator[World]:
    def behave(_: Request) -> bytes:
        return answer(503, EVIL.encode())

    server = receive(behave)
    world.add(server, "crm", "--description", EVIL)
    payload = {**SIGNAL, "note": EVIL}
    world.ark("send", "signal.promoted", "--id", "event-1", stdin=json.dumps(payload, ensure_ascii=False).encode())
    assert "\N{RIGHT-TO-LEFT OVERRIDE}".encode() in server.requests[-1].body
    yield world


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["text", "json"])
@pytest.mark.parametrize("command", COMMANDS, ids=ascii)
def test_what_drives_a_terminal_does_not_come_out(evil: World, command: tuple[str, ...], form: tuple[str, ...]) -> None:
    payload = json.dumps({**SIGNAL, "note": EVIL}, ensure_ascii=False).encode()
    result = evil.ark(*command, *form, stdin=payload)
    assert not HARMFUL & set(result.out + result.err), result
