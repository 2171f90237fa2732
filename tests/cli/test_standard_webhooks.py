"""Standard Webhooks on the command line: destinations, secrets and their overlap, `sign`, `verify`, `listen`."""

import base64
import hmac
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from arkcli.signing import Secret, sign
from arkcli.signing.scheme import STANDARD
from arkcli.signing.standard import Webhook
from arkcli.signing.verdict import Signature, judge
from arkcli.system.clock import SystemClock
from tests.receiver.running import BODY, SECRET, running
from tests.world import START, Request, TestReceiver, World

Receive = Callable[..., TestReceiver]
SEND = ("send", "signal.promoted", "--sample")
DAY = 86_400


def signatures(request: Request) -> int:
    return len(request.headers.get("webhook-signature", "").split())


def fits(request: Request, secret: str) -> bool:
    webhook = Webhook.of(request.headers.get)
    at = int(request.headers["webhook-timestamp"]) * 1000
    return judge([Secret(secret)], request.body, None, webhook, at).valid


def shared(world: World) -> str:
    return world.shared_secrets()[0]


# Destinations.


def test_a_destination_has_the_headers_while_it_wants_them(world: World, receive: Receive) -> None:
    server = receive(200)
    added = world.ark("dest", "add", server.url, "--allow-local", "--name", "crm", "--standard-webhooks", "--json")
    assert added.json["destination"]["standard_webhooks"] is True
    world.add(receive(200), "other")
    assert [one["standard_webhooks"] for one in world.ark("dest", "list", "--json").json["destinations"]] == [
        True,
        False,
    ]
    assert "standard webhooks\tyes" in world.ark("dest", "show", "crm").out
    without = world.ark("dest", "set", "crm", "--no-standard-webhooks", "--json")
    assert without.json["destination"]["standard_webhooks"] is False
    world.ark("dest", "set", "crm", "--description", "x")
    world.ark("ping", "crm")
    world.ark("dest", "set", "crm", "--standard-webhooks")
    world.ark("ping", "crm")
    # The first is the ping of `dest add`.
    assert [signatures(request) for request in server.requests] == [1, 0, 1]
    assert fits(server.requests[0], shared(world))


def test_it_is_said_where_the_librarys_secret_is(world: World, receive: Receive) -> None:
    server = receive(200)
    said = world.ark("dest", "add", server.url, "--allow-local", "--name", "crm", "--standard-webhooks").err
    assert "`ark secret show --standard-webhooks --reveal` prints it" in said
    assert "prints it" not in world.ark("dest", "set", "crm", "--description", "x").err
    own = world.ark("dest", "set", "crm", "--no-standard-webhooks", "--own-secret")
    own = world.ark("dest", "set", "crm", "--standard-webhooks")
    assert "`ark dest show crm --reveal` prints it" in own.err
    shown = world.ark("dest", "show", "crm", "--reveal", "--json").json["destination"]
    world.ark("ping")
    assert fits(server.requests[-1], shown["secret"])
    assert fits(server.requests[-1], shown["standard_webhooks_secret"])
    assert shown["standard_webhooks_secret"] in world.ark("dest", "show", "crm", "--reveal").out
    assert "whsec_" not in world.ark("dest", "show", "crm").out


def test_the_form_of_the_shared_secret_is_masked_unless_revealed(world: World) -> None:
    world.ark("secret", "set", stdin=b"x" * 30)
    form = f"whsec_{base64.b64encode(b'x' * 30).decode()}"
    shown = world.ark("secret", "show", "--standard-webhooks")
    assert (form in shown.out, "***" in shown.out) == (False, True)
    assert "`ark secret show --standard-webhooks --reveal` prints it" in shown.out
    revealed = world.ark("secret", "show", "--standard-webhooks", "--reveal")
    assert (revealed.out, revealed.err) == (f"{form}\n", "")
    assert world.ark("secret", "show", "--standard-webhooks", "--json").json["secret"] == "***"


def test_a_secret_that_libraries_may_refuse_is_remarked_on(world: World, receive: Receive) -> None:
    remark = "the secret has 5 bytes; Standard Webhooks wants at least 24, so a library may refuse it\n"
    world.ark("secret", "set", stdin=b"short")
    assert world.ark("secret", "show", "--standard-webhooks", "--reveal").err == remark
    world.add(receive(200), "crm")
    assert remark in world.ark("dest", "set", "crm", "--standard-webhooks").err
    assert remark not in world.ark("dest", "set", "crm", "--description", "x").err
    world.ark("secret", "rotate")
    assert "a library may refuse" not in world.ark("secret", "show", "--standard-webhooks").err


@pytest.mark.parametrize("header", STANDARD.headers)
def test_nobody_else_sets_these_headers(world: World, header: str) -> None:
    assert world.ark("dest", "add", "https://a.example/", "--no-ping", "--header", f"{header}: x").status == 2


# A change of the secret.


def test_the_end_of_the_overlap_is_said_and_kept(world: World, receive: Receive) -> None:
    server = receive(200)
    world.ark("secret", "rotate")
    world.add(server, "plain")
    assert "webhook-signature" not in world.ark("secret", "rotate").err
    world.ark("dest", "set", "plain", "--standard-webhooks")
    old = shared(world)
    said = world.ark("secret", "rotate").err
    until = "2026-11-19T11:06:40.000Z"
    assert START == 1_795_000_000_000
    assert f"until {until}, webhook-signature has a signature with each of the two secrets" in said
    for late, count in ((DAY - 1, 3), (1, 1)):
        world.clock.advance(late)
        world.ark(*SEND)
        request = server.requests[-1]
        # The third one is the secret before `old`, which was replaced at the same time.
        assert (signatures(request), fits(request, shared(world)), fits(request, old)) == (count, True, count == 3)
        assert request.signature == sign(shared(world), request.body)


def test_the_overlap_can_be_set_and_switched_off(world: World, receive: Receive) -> None:
    server = receive(200)
    world.ark("secret", "rotate")
    world.add(server, "crm", "--standard-webhooks")
    world.ark("secret", "rotate")

    def overlap(value: str) -> dict[str, object]:
        text = world.store_file.read_text()
        lines = [line for line in text.splitlines() if not line.startswith("overlap")]
        lines.insert(lines.index("[workspace]") + 1, f'overlap = "{value}" # mine')
        world.store_file.write_text("\n".join(lines) + "\n")
        shown = world.ark("config", "show", "--json")
        return {one["name"]: one for one in shown.json["settings"]}["workspace.overlap"] if not shown.status else {}

    assert overlap("1h")["source"] == str(world.store_file)
    for value, late, count in (("1h", 3599, 2), ("1h", 1, 1), ("2h", 0, 2), ("0s", 0, 1)):
        assert overlap(value)["value"] == value
        world.clock.advance(late)
        world.ark("ping")
        assert signatures(server.requests[-1]) == count
    said = world.ark("secret", "rotate").err
    assert "webhook-signature" not in said
    assert "# mine" in world.store_file.read_text()
    overlap("soon")
    refused = world.ark("dest", "list")
    assert (refused.status, "workspace.overlap: 'soon' is not a duration" in refused.err) == (78, True)


def test_by_default_it_is_a_day(world: World) -> None:
    found = {one["name"]: one for one in world.ark("config", "show", "--json").json["settings"]}["workspace.overlap"]
    assert (found["value"], found["source"]) == ("24h", "default")


def test_a_time_of_the_change_that_is_none_is_named(world: World) -> None:
    world.ark("secret", "rotate")
    world.ark("secret", "rotate")
    text = world.store_file.read_text().replace('secret_changed_at = "', 'secret_changed_at = "x')
    world.store_file.write_text(text)
    assert "workspace.secret_changed_at: 'x2026" in world.ark("dest", "list").err


def test_a_secret_of_its_own_overlaps_with_the_one_before_too(world: World, receive: Receive) -> None:
    server = receive(200)
    world.ark("secret", "rotate")
    world.add(server, "crm", "--standard-webhooks")
    first = shared(world)
    said = world.ark("dest", "set", "crm", "--own-secret").err
    assert "until 2026-11-19T11:06:40.000Z, webhook-signature has a signature with each" in said
    world.ark("ping")
    second = world.ark("dest", "show", "crm", "--reveal", "--json").json["destination"]["secret"]
    world.ark("dest", "set", "crm", "--workspace-secret")
    world.ark("ping")
    # The shared one before has not been replaced, so it is not the former one.
    world.ark("secret", "rotate")
    world.ark("ping")
    third = shared(world)
    pairs = [(first, second), (second, first), (third, second, first)]
    assert [signatures(request) for request in server.requests] == [2, 2, 3]
    for request, secrets in zip(server.requests, pairs, strict=True):
        assert all(fits(request, secret) for secret in secrets)
    world.clock.advance(DAY)
    world.ark("ping")
    assert (signatures(server.requests[-1]), fits(server.requests[-1], third)) == (1, True)


def test_without_these_headers_no_copy_of_a_secret_of_its_own_is_kept(world: World, receive: Receive) -> None:
    world.ark("secret", "rotate")
    world.add(receive(200), "crm", "--own-secret")
    world.ark("dest", "set", "crm", "--own-secret")
    (found,) = tomllib.loads(world.store_file.read_text())["destinations"]
    assert not found.keys() & {"previous", "secret_changed_at"}


def test_a_second_change_within_the_overlap_ends_none_before_its_time(world: World, receive: Receive) -> None:
    server = receive(200)
    world.ark("secret", "rotate")
    world.add(server, "crm", "--standard-webhooks")
    secrets = [shared(world)]
    for _ in range(3):
        world.clock.advance(3600)
        world.ark("secret", "rotate")
        secrets.append(shared(world))
    # One is taken back into use, and is not kept twice.
    world.ark("secret", "set", stdin=secrets[2].encode())
    secrets = [*secrets[:2], secrets[3], secrets[2]]
    for late, count in ((0, 4), (DAY - 2 * 3600, 3), (3600, 2), (3600, 1)):
        world.clock.advance(late)
        world.ark("ping")
        assert [fits(server.requests[-1], one) for one in secrets] == [False] * (4 - count) + [True] * count
        assert signatures(server.requests[-1]) == count
    world.ark("secret", "rotate")
    # What does not sign any more is not kept any longer than the one before.
    assert "earlier" not in world.store_file.read_text()


def test_a_secret_of_its_own_ends_no_overlap_of_the_shared_ones(world: World, receive: Receive) -> None:
    server = receive(200)
    world.ark("secret", "rotate")
    world.add(server, "crm", "--standard-webhooks")
    secrets = [shared(world)]
    world.ark("secret", "rotate")
    secrets.append(shared(world))
    for _ in range(2):
        world.clock.advance(3600)
        world.ark("dest", "set", "crm", "--own-secret")
        secrets.append(world.ark("dest", "show", "crm", "--reveal", "--json").json["destination"]["secret"])
    world.ark("ping")
    assert [fits(server.requests[-1], one) for one in secrets] == [True] * 4
    world.clock.advance(DAY - 3600)
    world.ark("ping")
    assert [fits(server.requests[-1], one) for one in secrets] == [False, False, True, True]


@pytest.mark.parametrize("item", ["hunter2", "soon hunter2"])
def test_an_earlier_secret_without_its_time_is_named_and_not_shown(world: World, item: str) -> None:
    world.ark("secret", "rotate")
    world.store_file.write_text(world.store_file.read_text() + f'earlier = ["{item}"]\n')
    refused = world.ark("dest", "list")
    assert (refused.status, "workspace.earlier: expected the time" in refused.err) == (78, True)
    assert "hunter2" not in refused.err


def test_a_former_secret_that_cannot_be_read_stops_no_delivery(world: World, receive: Receive) -> None:
    server = receive(200)
    world.variables["OLD"] = "in the environment"
    world.ark("secret", "set", stdin=b"env:OLD")
    world.add(server, "crm", "--standard-webhooks")
    world.ark("secret", "rotate")
    world.ark("ping")
    assert signatures(server.requests[-1]) == 2
    del world.variables["OLD"]
    assert world.ark("ping").status == 0
    assert signatures(server.requests[-1]) == 1


def test_the_probe_of_a_rotation_is_signed_with_the_new_secret_alone(
    world: World, receive: Receive, tmp_path: Path
) -> None:
    server = receive(200)
    world.ark("secret", "rotate")
    world.add(server, "crm", "--standard-webhooks")
    world.ark("secret", "rotate")
    (tmp_path / "new").write_text("the new one")
    assert world.ark("secret", "rotate", "--probe", "--secret-file", str(tmp_path / "new")).status == 0
    assert (signatures(server.requests[-1]), fits(server.requests[-1], "the new one")) == (1, True)


def test_a_secret_of_its_own_before_the_last_change_is_explained(world: World, receive: Receive) -> None:
    world.ark("secret", "rotate")
    world.add(receive(200), "crm", "--standard-webhooks", "--own-secret")
    old = world.ark("dest", "show", "crm", "--reveal", "--json").json["destination"]["secret"]
    world.ark("dest", "set", "crm", "--own-secret")
    told = world.ark("verify", "--explain", "--signature", sign(old, b"{}"), stdin=b"{}")
    assert "the secret of crm before the last change" in told.err


# What is sent, shown.


def test_the_headers_are_shown_as_sent(world: World, receive: Receive) -> None:
    server = receive(200)
    world.ark("secret", "rotate")
    world.add(server, "crm", "--standard-webhooks")
    world.ark(*SEND)
    (sent,) = server.requests
    shown = world.ark("queue", "show", "last", "--headers", "--json").json["requests"][0]["headers"]
    assert {name: shown[name] for name in STANDARD.headers} == {name: sent.headers[name] for name in STANDARD.headers}
    planned = world.ark(*SEND, "--dry-run", "--json").json["requests"][0]
    assert planned["headers"]["webhook-timestamp"] == str(START // 1000)
    assert planned["headers"]["webhook-id"] == planned["headers"]["X-SignalArk-Delivery"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("options", [(), ("--header", "X-Token: t")])
def test_the_curl_command_signs_for_both_headers_when_it_is_run(
    world: World, receive: Receive, options: tuple[str, ...]
) -> None:
    server = receive(200)
    world.ark("secret", "rotate")
    world.add(server, "crm", "--standard-webhooks", *options)
    command = world.ark(*SEND, "--curl").out
    assert "v1," not in command
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**world.variables, "PATH": path, "ARK_SECRET": shared(world), "HEADER_X_TOKEN": "a $b"}
    done = subprocess.run(["sh"], input=command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    (request,) = server.requests
    assert fits(request, shared(world))
    assert request.signature == sign(shared(world), request.body)
    assert request.headers["webhook-id"] == request.delivery
    assert request.headers.get("x-token") == ("a $b" if options else None)


# sign and verify.


def lines(world: World, *options: str) -> str:
    return world.ark("sign", "--webhook-id", "evt_1.dst_1", "--secret", SECRET, *options, stdin=BODY).out


def test_sign_prints_header_lines_that_verify_takes(world: World) -> None:
    text = lines(world)
    document = world.ark("sign", "--webhook-id", "evt_1.dst_1", "--secret", SECRET, "--json", stdin=BODY).json
    assert text.splitlines() == [f"{name}: {value}" for name, value in document["headers"].items()]
    assert document["signature"] == document["headers"]["webhook-signature"]
    repeated = [word for line in text.splitlines() for word in ("-s", line)]
    documented = f"X-SignalArk-Signature: {sign(SECRET, BODY)}"
    for given in (["-s", text], repeated, [*repeated, "-s", documented], ["-s", f"{documented}\r\n{text}"]):
        assert world.ark("verify", "--secret", SECRET, *given, stdin=BODY) == (0, "valid\n", "")
    wrong = world.ark("verify", "--secret", SECRET, *repeated, "-s", "X-SignalArk-Signature: 00", stdin=BODY)
    assert "; webhook-signature is valid" in wrong.err
    assert world.ark("sign", "--webhook-id", "a b", "--secret", SECRET, stdin=BODY).status == 2


def test_verify_takes_the_secret_as_libraries_do(world: World) -> None:
    world.ark("secret", "rotate")
    form = world.ark("secret", "show", "--standard-webhooks", "--reveal").out.strip()
    text = world.ark("sign", "--webhook-id", "evt_1", stdin=BODY).out
    for signature in (text, sign(shared(world), BODY)):
        assert world.ark("verify", "--secret", form, "-s", signature, stdin=BODY).out == "valid\n"
        assert world.ark("verify", "--secret", shared(world), "-s", signature, stdin=BODY).out == "valid\n"


def test_verify_refuses_what_is_five_minutes_off_and_explains_it(world: World) -> None:
    text = lines(world)
    verify = ("verify", "--secret", SECRET, "-s", text)
    world.clock.advance(301)
    late = world.ark(*verify, "--explain", "--json", stdin=BODY)
    assert late.status == 1
    assert late.json["reason"].startswith("webhook-timestamp is 5 min behind the clock here, 2026-11-18T11:11:41.000Z")
    assert late.json["cause"] == "webhook-timestamp"
    assert world.ark(*verify, "--at", "301s", stdin=BODY).out == "valid\n"
    assert world.ark(*verify, "--at", "2026-11-18T11:06:40Z", stdin=BODY).out == "valid\n"
    world.clock.advance(-700)
    assert "ahead of the clock here" in world.ark(*verify, stdin=BODY).err
    assert world.ark(*verify, "--at", "soon", stdin=BODY).status == 2


def test_verify_explains_what_does_not_match(world: World) -> None:
    text = lines(world)
    key = f"whsec_{base64.b64encode(SECRET.encode()).decode()}"
    digest = hmac.digest(key.encode(), f"evt_1.{START // 1000}.".encode() + BODY, "sha256")
    values = zip(STANDARD.headers, ("evt_1", START // 1000, f"v1,{base64.b64encode(digest).decode()}"), strict=True)
    with_form = "\n".join(f"{name}: {value}" for name, value in values)
    for changed, body, cause in (
        (text, BODY + b"\n", "newline-added"),
        (text.replace("evt_1.", "evt_2.") + "X-SignalArk-Delivery: evt_1.dst_1", BODY, "webhook-id"),
        (with_form, BODY, "whsec-as-key"),
    ):
        found = world.ark("verify", "--secret", SECRET, "-s", changed, "--explain", "--json", stdin=body)
        assert (found.status, found.json["cause"]) == (1, cause), found


def test_verify_does_not_doubt_a_body_that_the_documented_signature_proves(world: World, tmp_path: Path) -> None:
    changed = lines(world).replace("evt_1", "evt_9").replace("\n", "\r\n").replace("\r\r", "\r")
    documented = f"X-SignalArk-Signature: {sign(SECRET, BODY)}"
    (tmp_path / "one.http").write_bytes(f"POST / HTTP/1.1\r\n{changed}{documented}\r\n\r\n".encode() + BODY)
    told = world.ark("verify", "--secret", SECRET, "--request", str(tmp_path / "one.http"), "--explain", "--json").json
    assert (told["valid"], told["cause"]) == (False, None)
    assert "The body and the secret are right" in told["explanation"]
    assert "Content-Length" not in told["explanation"]


def test_verify_takes_them_from_a_saved_request(world: World, tmp_path: Path) -> None:
    head = f"POST / HTTP/1.1\r\n{lines(world)}".replace("\n", "\r\n").replace("\r\r", "\r")
    (tmp_path / "one.http").write_bytes(head.encode() + b"\r\n" + BODY)
    headers = [line.split(": ") for line in lines(world).splitlines()]
    (tmp_path / "two.jsonl").write_text(json.dumps({"headers": headers, "body": BODY.decode()}) + "\n")
    for file in ("one.http", "two.jsonl"):
        verify = ("verify", "--secret", SECRET, "--request", str(tmp_path / file))
        assert world.ark(*verify).out == "valid\n"
        world.clock.advance(3600)
        assert world.ark(*verify).status == 1
        assert world.ark(*verify, "--at", "1h").out == "valid\n"
        world.clock.advance(-3600)


# listen.


def test_listen_judges_each_header_that_came_and_refuses_what_is_stale() -> None:
    with running() as receiver:
        now = SystemClock().now() // 1000

        def post(late: int = 0, key: str = SECRET, documented: str | None = SECRET) -> tuple[object, ...]:
            values = STANDARD.signer(Secret(key))("evt_1.dst_1", now - late, BODY)
            headers = dict(zip(STANDARD.headers, values, strict=True))
            if documented is not None:
                headers["X-SignalArk-Signature"] = sign(documented, BODY)
            status = httpx.post(receiver.url, content=BODY, headers=headers, trust_env=False).status_code
            verdict = receiver.received[-1].verdict
            return status, verdict.signature, verdict.webhook

        assert post() == (200, Signature.VALID, Signature.VALID)
        assert post(documented=None) == (200, Signature.MISSING, Signature.VALID)
        assert post(late=400) == (401, Signature.VALID, Signature.STALE)
        assert "behind the clock here" in str(receiver.received[-1].verdict.reason)
        assert "a replay" in str(receiver.received[-1].explanation)
        assert post(key="other") == (401, Signature.VALID, Signature.MISMATCH)
        assert post(documented="other") == (401, Signature.MISMATCH, Signature.VALID)
        assert receiver.post().status_code == 200
        assert receiver.received[-1].verdict.webhook is None


def test_listen_says_that_a_request_is_signed_with_the_secret_before() -> None:
    with running(before=lambda: [Secret("before")]) as receiver:
        values = STANDARD.signer(Secret("before"))("evt_1.dst_1", SystemClock().now() // 1000, BODY)
        headers = dict(zip(STANDARD.headers, values, strict=True))
        httpx.post(receiver.url, content=BODY, headers=headers, trust_env=False)
        assert "signed with the secret before" in str(receiver.received[-1].explanation)


def test_listen_prints_the_result_for_each_header(world: World) -> None:
    command = [sys.executable, "-m", "arkcli", "listen", "--port", "0", "--secret", SECRET, "--json", "--count", "1"]
    with subprocess.Popen(command, env={**os.environ, **world.variables}, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["listening"]
        values = STANDARD.signer(Secret(SECRET))("evt_1.dst_1", 1_700_000_000, BODY)
        headers = {**dict(zip(STANDARD.headers, values, strict=True)), "X-SignalArk-Signature": sign(SECRET, BODY)}
        assert httpx.post(url, content=BODY, headers=headers, trust_env=False).status_code == 401
        said = json.loads(process.stdout.readline())
    assert (said["valid"], said["signature"], said["webhook_signature"]) == (False, "valid", "stale")
    assert said["reason"].endswith("; X-SignalArk-Signature is valid")
