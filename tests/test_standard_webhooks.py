"""The public libraries of Standard Webhooks, in Python and Node, check what `ark` really sends."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from arkcli.signing import verify
from arkcli.system.clock import SystemClock
from tests.programs import free_port, node_modules, programs_of, serving_on
from tests.world import Behaviour, Request, TestReceiver, World, in_turn

Receive = Callable[[Behaviour | int], TestReceiver]
#: Whether a library takes a request with a secret: empty if it does, otherwise what it says.
Check = Callable[[str, Request], str]
PROGRAMS = programs_of("receivers.md")

_SCRIPT = """
const { Webhook } = require("standardwebhooks");
for (const line of require("node:fs").readFileSync(0, "utf-8").trim().split("\\n")) {
  const [secret, headers, body] = JSON.parse(line);
  try {
    new Webhook(secret).verify(body, headers);
    console.log("");
  } catch (error) {
    console.log(error.message);
  }
}
"""


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The directory of node's modules that contains the library, installed if possible."""
    return node_modules("standardwebhooks", tmp_path_factory.mktemp("standardwebhooks"))


def in_python(secret: str, request: Request) -> str:
    try:
        Webhook(secret).verify(request.body, request.headers)
    except WebhookVerificationError as error:
        return str(error)
    return ""


@pytest.fixture(params=["python", "node"])
def check(request: pytest.FixtureRequest) -> Check:
    if request.param == "python":
        return in_python
    environment = {**os.environ, "NODE_PATH": request.getfixturevalue("modules")}

    def in_node(secret: str, given: Request) -> str:
        line = json.dumps([secret, given.headers, given.body.decode()])
        command = ["node", "-e", _SCRIPT]
        return subprocess.check_output(command, input=line, env=environment, text=True).strip()

    return in_node


@pytest.fixture
def world(world: World) -> World:
    """With the real time, since the libraries look at their own clock."""
    world.clock.milliseconds = SystemClock().now()
    return world


def secret_of(world: World) -> str:
    """The secret as libraries take it."""
    return world.ark("secret", "show", "--standard-webhooks", "--reveal").out.strip()


def test_a_delivery_and_its_retry_are_taken_each_with_its_own_time(
    world: World, receive: Receive, check: Check
) -> None:
    server = receive(in_turn(503, 200))
    world.ark("secret", "rotate")
    world.add(server, "crm", "--standard-webhooks")
    world.clock.advance(-30)
    assert world.ark("send", "signal.promoted", "--set", "signal.description=Zoë 東京 🚀", "--sample").status == 75
    world.clock.advance(30)
    assert world.ark("drain", "--json").json["delivered"] == 1
    first, second = server.requests
    assert [check(secret_of(world), request) for request in (first, second)] == ["", ""]
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == first.delivery == second.delivery
    assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) == 30
    assert first.signature == second.signature
    assert verify(world.shared_secrets(), first.body, first.signature)

    changed = second._replace(headers={**second.headers, "webhook-id": "evt_1.dst_1"})
    assert check(secret_of(world), changed) == "No matching signature found"
    assert check(secret_of(world), second._replace(body=second.body + b" ")) == "No matching signature found"


def test_a_replay_after_five_minutes_is_refused(world: World, receive: Receive, check: Check) -> None:
    server = receive(200)
    world.ark("secret", "rotate")
    world.add(server, "crm", "--standard-webhooks")
    world.clock.advance(-301)
    assert world.ark("send", "signal.promoted", "--sample").status == 0
    assert check(secret_of(world), server.requests[0]) == "Message timestamp too old"


def test_during_an_overlap_both_secrets_fit_and_afterwards_only_the_new_one(
    world: World, receive: Receive, check: Check
) -> None:
    server = receive(200)
    world.ark("secret", "rotate")
    world.add(server, "crm", "--standard-webhooks")
    for age, fitting in ((24 * 3600 - 60, ["", ""]), (24 * 3600, ["No matching signature found", ""])):
        world.ark("secret", "set", stdin=b"the secret before, long enough, %d" % age)
        old = secret_of(world)
        world.clock.advance(-age)
        assert world.ark("secret", "rotate").status == 0
        world.clock.advance(age)
        assert world.ark("send", "signal.promoted", "--sample").status == 0
        sent = server.requests[-1]
        assert [check(secret, sent) for secret in (old, secret_of(world))] == fitting
        # The documented header never has two.
        assert verify(world.shared_secrets(), sent.body, sent.signature)
        assert len(sent.signature) == 64


@pytest.mark.parametrize("secret", ["x" * 24, "é" * 32, "y" * 65, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])
def test_secrets_of_all_sizes_and_in_the_form_of_libraries_fit(world: World, receive: Receive, secret: str) -> None:
    server = receive(200)
    world.ark("secret", "set", stdin=secret.encode())
    world.add(server, "crm", "--standard-webhooks")
    assert world.ark("ping").status == 0
    assert in_python(secret_of(world), server.requests[0]) == ""
    assert secret_of(world) == secret or not secret.startswith("whsec_")
    # The documented header is as it always was.
    assert verify(secret, server.requests[0].body, server.requests[0].signature)


# The receivers of docs/receivers.md.


@pytest.mark.parametrize("program", ["standard.py", "standard.js"])
def test_the_receivers_of_the_page_take_each_event_once_and_no_replay(
    program: str, world: World, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    command, variables = sys.executable, {}
    if program.endswith(".js"):
        command, variables = "node", {"NODE_PATH": request.getfixturevalue("modules")}
    world.ark("secret", "rotate")
    variables["WEBHOOK_SECRET"] = secret_of(world)
    (tmp_path / program).write_text(PROGRAMS[program])
    port = free_port()
    with serving_on(port, [command, program, str(port)], tmp_path, **variables) as server:
        url = f"{server}/hook"
        assert world.ark("dest", "add", url, "--allow-local", "--standard-webhooks", "--name", "d").status == 0
        assert world.ark("send", "signal.promoted", "--sample").status == 0
        assert world.ark("replay", "last", "--now").status == 0
        body = world.ark("queue", "show", "last", "--body").out.encode()
        for late, status in ((0, 204), (301, 401)):
            world.clock.advance(-late)
            shown = world.ark("queue", "show", "last", "--headers", "--json").json["requests"][0]
            world.clock.advance(late)
            assert httpx.post(url, content=body, headers=shown["headers"], trust_env=False).status_code == status
        checked = world.ark("check", url, "--allow-local", "--standard-webhooks")
        assert checked.out.endswith("\n14 of 14 passed\n"), checked.out
        # Those of the check last: it sends one event twice, and four others.
        assert (tmp_path / "out").read_text().split() == ["ping", "signal.promoted", *(["signal.promoted"] * 5)]


def test_a_receiver_that_looks_at_neither_the_time_nor_this_header_fails_the_check(
    world: World, receive: Receive
) -> None:
    world.ark("secret", "rotate")

    def behave(request: Request) -> bytes:
        right = verify(world.shared_secrets(), request.body, request.headers.get("x-signalark-signature", ""))
        return b"HTTP/1.1 %d x\r\nContent-Length: 0\r\n\r\n" % (204 if right else 401)

    found = world.ark("check", receive(behave).url, "--allow-local", "--standard-webhooks", "--json")
    failed = {check["name"]: check["advice"] for check in found.json["checks"] if not check["passed"]}
    assert found.status == 1
    assert failed.keys() == {"other-webhook", "old-webhook"}
    assert "more than 5 minutes away from your clock" in failed["old-webhook"]
