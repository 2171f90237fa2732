"""`ark send`: changing the payload, showing the request without sending it, and sending to a single URL."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from arkcli.signing import sign
from tests.world import PAYLOAD, SIGNAL, Certificates, TestReceiver, World, in_turn, receiver

Receive = Callable[..., TestReceiver]
PROMOTED = ("send", "signal.promoted")
SECRET = "s3cr3t with 'quotes' and $dollars"
RAW = b' {\r\n\t"event" : "signal.promoted",\n "timestamp":"2026-11-23T11:28:48Z", "batchId":"b",\n "signal":'
RAW += b'{"id":"s", "signal_name":"\xc3\xa9 \\u00e9", "source":"news", "x":1.10}, "big":1e400}\n\n'


def bodies(server: TestReceiver) -> list[bytes]:
    return [request.body for request in server.requests]


@pytest.mark.parametrize("way", ["file", "standard input", "sample"])
def test_values_are_set_wherever_the_payload_comes_from(
    world: World, crm: TestReceiver, tmp_path: Path, way: str
) -> None:
    (tmp_path / "payload.json").write_bytes(PAYLOAD)
    source = {"file": [str(tmp_path / "payload.json")], "standard input": [], "sample": ["--sample"]}[way]
    settings = ["--set", "signal.icp_score=12", "--set", "signal.why_now=Ask them", "--set", "plays[0].name=Hiring"]
    assert world.ark(*PROMOTED, *source, *settings, stdin=PAYLOAD).status == 0
    body = json.loads(bodies(crm)[0])
    assert (body["signal"]["icp_score"], body["signal"]["why_now"]) == (12, "Ask them")
    assert body["plays"][0]["name"] == "Hiring"


def test_what_is_not_set_keeps_its_spelling(world: World, crm: TestReceiver) -> None:
    text = json.dumps(SIGNAL, separators=(",", ":"))[:-1] + ',"a":1.10,"b":1e400,"c":' + "9" * 400 + ',"\\u0064":"\\/"}'
    assert world.ark(*PROMOTED, "--set", "signal.icp_score=1", stdin=text.encode()).status == 0
    assert bodies(crm)[0].endswith(text[1:].replace('"icp_score":87', '"icp_score":1').encode())


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--set", "signal.icp_score=101"], "$.signal.icp_score: expected an integer from 0 to 100, got 101"),
        (["--set", "signal.icp_score.x=1"], "$.signal.icp_score: expected an object to put 'x' into, got 87"),
        (["--set", "event=ping"], '$.event: expected "signal.promoted" as on the command line'),
        (["--set", "signal"], "--set takes PATH=VALUE"),
        (["--raw", "--set", "a=1"], "--raw and --set do not go together"),
        (["--raw", "--sample"], "--raw and --sample do not go together"),
        (["--raw"], '$.event: required but missing: expected "signal.promoted", since --raw fills in nothing'),
        (["--sample", "payload.json"], "--sample and FILE do not go together"),
        (["--dry-run", "--curl"], "--dry-run and --curl do not go together"),
        (["--allow-local"], "--allow-local is for --url alone"),
        (["--header", "A: b"], "--header is for --url alone"),
        (["--secret-file", "x"], "--secret-file is for --url alone"),
        (["--ca-file", "x"], "--ca-file is for --url alone"),
        (["--url", "https://a.example", "--to", "crm"], "--url and --to do not go together"),
        (["--url", "https://a.example", "--queue"], "--url and --queue do not go together"),
        (["--url", "https://a.example"], "--url signs with the secret in --secret-file FILE or in ARK_SECRET"),
        (["--url", "http://a.example", "--dry-run"], "https"),
    ],
)
def test_what_cannot_be_is_refused_in_words_and_nothing_is_accepted(
    world: World, crm: TestReceiver, options: list[str], why: str
) -> None:
    result = world.ark(*PROMOTED, *options, stdin=PAYLOAD)
    assert (result.status, result.out) == (2, "")
    assert why in result.err
    assert world.event_lines == []
    assert crm.connections == 0


@pytest.mark.parametrize("options", [["--set", "a=1"], ["--raw"], ["--id", "x"], ["--queue"], ["payload.json"]])
def test_a_ping_takes_only_what_a_ping_takes(world: World, crm: TestReceiver, options: list[str]) -> None:
    result = world.ark("send", "ping", *options)
    assert result.status == 2
    assert "a ping takes no" in result.err
    assert crm.connections == 0


def test_the_same_id_is_known_again_with_what_is_set(world: World, crm: TestReceiver) -> None:
    send = [*PROMOTED, "--id", "one", "--set", "signal.icp_score=5"]
    assert world.ark(*send, stdin=PAYLOAD).status == 0
    assert "nothing was sent again" in world.ark(*send, stdin=PAYLOAD).out
    assert world.ark(*PROMOTED, "--id", "one", stdin=PAYLOAD).status == 2
    assert len(bodies(crm)) == 1


class TestRaw:
    def test_the_bytes_are_stored_signed_and_sent_as_they_are_on_every_attempt(
        self, world: World, receive: Receive, tmp_path: Path
    ) -> None:
        server = receive(in_turn(500, 200))
        world.add(server, "crm")
        (tmp_path / "body").write_bytes(RAW)
        assert world.ark(*PROMOTED, str(tmp_path / "body"), "--raw").status == 75
        world.clock.advance(30)
        assert world.ark("drain").status == 0
        assert bodies(server) == [RAW, RAW]
        secret = world.ark("secret", "show", "--reveal", "--json").json["secret"]
        assert [request.signature for request in server.requests] == [sign(secret, RAW)] * 2
        assert world.ark("queue", "check").status == 0

    def test_it_survives_death_and_revival_and_is_shown_and_replayed(self, world: World, receive: Receive) -> None:
        server = receive(in_turn(*[500] * 5, 200))
        world.add(server, "crm")
        sent = world.ark(*PROMOTED, "--raw", "--json", stdin=RAW).json["event"]
        assert sent["bytes"] == len(RAW)
        for seconds in (30, 300, 1800, 7200):
            world.clock.advance(seconds)
            world.ark("drain")
        assert world.ark("queue", "--json").json["destinations"][0]["dead"] == 1
        assert world.ark("queue", "check").status == 0
        assert world.ark("queue", "show", sent["id"], "--json").json["event"]["body"].encode() == RAW
        assert world.ark("queue", "retry", "--all-dead").status == 0
        assert world.ark("drain", "--json").json["delivered"] == 1
        assert world.ark("replay", sent["id"]).status == 0
        assert world.ark("drain", "--json").json["delivered"] == 1
        assert bodies(server) == [RAW] * 7

    def test_the_same_id_is_known_again_by_its_exact_bytes(self, world: World, crm: TestReceiver) -> None:
        send = [*PROMOTED, "--raw", "--id", "one"]
        assert world.ark(*send, stdin=RAW).status == 0
        assert "nothing was sent again" in world.ark(*send, stdin=RAW).out
        assert world.ark(*send, stdin=RAW + b" ").status == 2
        assert bodies(crm) == [RAW]

    @pytest.mark.parametrize(
        ("body", "why"),
        [
            (b"\xef\xbb\xbf" + RAW, "byte-order mark"),
            (RAW.replace(b'"news"', b'"rss"'), "$.signal.source: expected one of"),
            (RAW.replace(b'"timestamp"', b'"when"'), "$.timestamp: required"),
            (b"[]", "$: expected a JSON object"),
        ],
    )
    def test_it_is_still_an_event(self, world: World, crm: TestReceiver, body: bytes, why: str) -> None:
        result = world.ark(*PROMOTED, "--raw", stdin=body)
        assert result.status == 2
        assert why in result.err
        assert world.event_lines == []

    def test_without_validation_the_right_event_is_enough(self, world: World, crm: TestReceiver) -> None:
        body = b'{"event":"signal.promoted"}\n'
        assert world.ark(*PROMOTED, "--raw", "--no-validate", stdin=body).status == 0
        assert world.ark(*PROMOTED, "--raw", "--no-validate", stdin=b'{"event":"ping"}').status == 2
        assert bodies(crm) == [body]


class TestDryRun:
    def test_it_shows_what_sending_would_send_and_does_nothing(self, world: World, receive: Receive) -> None:
        server = receive(200)
        world.add(server, "crm", "--header", "Authorization: Bearer t0ken")
        before = sorted(world.home.rglob("*"))
        result = world.ark(*PROMOTED, "--dry-run", "--json", stdin=PAYLOAD)
        assert (result.status, result.err) == (0, "")
        event, (request,) = result.json["event"], result.json["requests"]
        assert event.keys() == {"id", "type", "at", "bytes"}
        assert (request["destination"], request["method"], request["url"]) == ("crm", "POST", server.url)
        secret = world.ark("secret", "show", "--reveal", "--json").json["secret"]
        assert request["headers"]["X-SignalArk-Signature"] == sign(secret, request["body"].encode())
        assert request["headers"]["Authorization"] == "***"
        assert "t0ken" not in result.out
        assert sorted(world.home.rglob("*")) == before
        assert server.connections == 0

    def test_a_user_name_in_the_url_is_masked_like_any_header_that_may_be_a_secret(self, world: World) -> None:
        world.ark("dest", "add", "https://ann:t0ken@a.example/x", "--no-ping", "--name", "crm")
        for option in ("--dry-run", "--curl"):
            result = world.ark(*PROMOTED, option, stdin=PAYLOAD)
            assert result.status == 0
            assert "t0ken" not in result.out
            assert "YW5uOnQwa2Vu" not in result.out
            assert "https://a.example/x" in result.out

    def test_its_headers_are_those_that_are_then_sent(self, world: World, receive: Receive) -> None:
        server = receive(200)
        world.add(server, "crm", "--header", "X-Empty:", "--header", "X-Full: y")
        shown = world.ark(*PROMOTED, "--dry-run", "--id", "one", "--json", stdin=PAYLOAD).json["requests"][0]
        world.ark(*PROMOTED, "--id", "one", stdin=PAYLOAD)
        (sent,) = server.requests
        names = {name.lower() for name in shown["headers"]}
        assert names == sent.headers.keys() - {"host", "content-length"}
        for name, value in shown["headers"].items():
            if name.lower() not in ("x-signalark-signature", "x-empty", "x-full"):
                assert sent.headers[name.lower()] == value

    def test_its_text_is_the_request(self, world: World, crm: TestReceiver) -> None:
        result = world.ark(*PROMOTED, "--dry-run", stdin=PAYLOAD)
        head, body, _ = result.out.split("\n\n")
        assert head.splitlines()[:2] == [f"POST {crm.url}", "Content-Type: application/json"]
        assert json.loads(body)["signal"] == SIGNAL["signal"]

    def test_every_destination_has_its_own_and_a_paused_one_none(self, world: World, receive: Receive) -> None:
        for name in ("a", "b", "c"):
            world.add(receive(200), name)
        world.ark("dest", "pause", "b")
        shown = world.ark(*PROMOTED, "--dry-run", "--json", stdin=PAYLOAD).json["requests"]
        assert [request["destination"] for request in shown] == ["a", "c"]
        assert world.ark(*PROMOTED, "--dry-run", stdin=PAYLOAD).err == "b is paused: the event would wait\n"
        (only,) = world.ark(*PROMOTED, "--dry-run", "--to", "c", "--json", stdin=PAYLOAD).json["requests"]
        assert only["destination"] == "c"

    def test_it_validates(self, world: World, crm: TestReceiver) -> None:
        assert world.ark(*PROMOTED, "--dry-run", stdin=b"{}").status == 2

    def test_a_ping_can_be_looked_at(self, world: World, crm: TestReceiver) -> None:
        (request,) = world.ark("send", "ping", "--dry-run", "--json").json["requests"]
        assert json.loads(request["body"]).keys() == {"event", "timestamp"}
        assert crm.connections == 0


class TestUrl:
    @pytest.fixture(autouse=True)
    def secret(self, world: World) -> None:
        world.variables["ARK_SECRET"] = SECRET

    def test_it_is_one_attempt_and_nothing_is_stored(self, world: World, receive: Receive) -> None:
        server = receive(200)
        result = world.ark(*PROMOTED, "--url", server.url, "--allow-local", "--json", stdin=PAYLOAD)
        assert result.status == 0
        assert result.json["event"].keys() == {"id", "type", "at", "bytes"}
        (delivery,) = result.json["deliveries"]
        assert delivery["destination"] == "127.0.0.1"
        assert (delivery["outcome"], delivery["attempt"], delivery["status"]) == ("delivered", 1, 200)
        (request,) = server.requests
        assert request.signature == sign(SECRET, request.body)
        assert request.attempt == 1
        assert not world.home.exists()

    def test_a_failure_is_told_even_when_quiet_and_not_repeated(self, world: World, receive: Receive) -> None:
        server = receive(503)
        result = world.ark(*PROMOTED, "--url", server.url, "--allow-local", "-q", stdin=PAYLOAD)
        assert result.status == 1
        assert result.out.startswith("127.0.0.1\tfailed\tanswered 503, not a 2xx\t")
        assert len(server.requests) == 1
        assert not world.home.exists()

    def test_a_secret_file_goes_before_the_environment(self, world: World, receive: Receive, tmp_path: Path) -> None:
        server = receive(200)
        (tmp_path / "secret").write_text("other\n")
        options = ["--url", server.url, "--allow-local", "--secret-file", str(tmp_path / "secret")]
        assert world.ark(*PROMOTED, *options, "--raw", stdin=RAW).status == 0
        assert server.requests[0].signature == sign("other", RAW)

    def test_headers_and_certificates_are_as_for_a_destination(self, world: World, tmp_path: Path) -> None:
        certificates = Certificates(tmp_path)
        with receiver(200, certificates.wrapping("127.0.0.1")) as server:
            options = ["--url", server.url, "--allow-local", "--header", "X-Team: sales"]
            assert world.ark(*PROMOTED, *options, stdin=PAYLOAD).status == 1
            trusting = world.ark(*PROMOTED, *options, "--ca-file", certificates.ca_file, stdin=PAYLOAD)
            assert trusting.status == 0
            assert server.requests[0].headers["x-team"] == "sales"

    @pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "https://127.0.0.1:9/", "ftp://a.example/", "nonsense"])
    def test_addresses_are_guarded(self, world: World, url: str) -> None:
        assert world.ark(*PROMOTED, "--url", url, stdin=PAYLOAD).status in (1, 2)

    def test_a_ping_can_be_sent_to_it(self, world: World, receive: Receive) -> None:
        server = receive(200)
        assert world.ark("send", "ping", "--url", server.url, "--allow-local").status == 0
        assert json.loads(server.requests[0].body)["event"] == "ping"

    def test_it_can_be_looked_at_first(self, world: World, receive: Receive) -> None:
        server = receive(200)
        result = world.ark(*PROMOTED, "--url", server.url, "--allow-local", "--dry-run", "--json", stdin=RAW)
        (request,) = result.json["requests"]
        assert request["headers"]["X-SignalArk-Signature"] == sign(SECRET, request["body"].encode())
        assert server.connections == 0


NASTY = 'it\'s "a" `id` $(id) $HOME ${x} \\ \\n ! !! # ; & | < > * ? [a] {b} ~ %s \u0081\u0088 é 😀 \u2028'


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
class TestCurl:
    @pytest.fixture
    def shell(self, world: World) -> Callable[..., "subprocess.CompletedProcess[str]"]:
        def run(command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
            path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
            environment = {**os.environ, **world.variables, "PATH": path, **variables}
            return subprocess.run(
                ["sh"], input=command, env=environment, capture_output=True, text=True, check=False, timeout=60
            )

        return run

    @pytest.mark.parametrize("kind", ["compact", "raw", "large"])
    def test_the_command_delivers_these_bytes_with_a_right_signature(
        self, world: World, crm: TestReceiver, shell: Callable[..., "subprocess.CompletedProcess[str]"], kind: str
    ) -> None:
        if kind == "raw":
            nasty = json.dumps(NASTY, ensure_ascii=False).encode()
            body = RAW.replace(b'"big"', nasty + b':1,\n\n"big"')
            command = world.ark(*PROMOTED, "--raw", "--curl", stdin=body).out
        else:
            fill = "x" * 900_000 if kind == "large" else ""
            setting = f"signal.why_now={json.dumps(NASTY + fill, ensure_ascii=False)}"
            command = world.ark(*PROMOTED, "--set", setting, "--curl", stdin=PAYLOAD).out
        done = shell(command, ARK_SECRET=SECRET)
        assert (done.returncode, done.stderr) == (0, "")
        (request,) = crm.requests
        assert request.signature == sign(SECRET, request.body)
        if kind == "raw":
            assert request.body == body
        else:
            assert json.loads(request.body)["signal"]["why_now"] == NASTY + fill
        assert request.line == "POST /hook HTTP/1.1"
        assert request.headers["content-type"] == "application/json"
        assert request.headers["x-signalark-event"] == "signal.promoted"
        assert request.attempt == 1

    def test_it_holds_no_secret_and_stores_nothing(self, world: World, receive: Receive) -> None:
        server = receive(200)
        world.add(server, "crm", "--header", "Authorization: Bearer t0ken")
        secret = world.ark("secret", "show", "--reveal", "--json").json["secret"]
        result = world.ark(*PROMOTED, "--curl", "--json", stdin=PAYLOAD)
        assert secret not in result.out
        assert "t0ken" not in result.out
        (found,) = result.json["commands"]
        assert found["destination"] == "crm"
        body = shlex.split(found["command"], comments=True)[1].removeprefix("body=")
        assert sign(secret, body.encode()) not in result.out
        assert server.connections == 0
        assert world.event_lines == []

    def test_a_header_of_the_users_comes_from_the_environment(
        self, world: World, receive: Receive, shell: Callable[..., "subprocess.CompletedProcess[str]"]
    ) -> None:
        server = receive(200)
        world.add(server, "crm", "--header", "Authorization: Bearer t0ken", "--header", "X-$a`b: 1")
        command = world.ark(*PROMOTED, "--curl", stdin=PAYLOAD).out
        value = "Bearer 'a' \"b\" $c `d` \\e"
        missing = shell(command, ARK_SECRET=SECRET, HEADER_AUTHORIZATION=value)
        assert missing.returncode != 0
        assert "HEADER_X__A_B" in missing.stderr
        assert server.connections == 0
        done = shell(command, ARK_SECRET=SECRET, HEADER_AUTHORIZATION=value, HEADER_X__A_B="2")
        assert (done.returncode, done.stderr) == (0, "")
        (request,) = server.requests
        assert request.headers["authorization"] == value
        assert request.headers["x-$a`b"] == "2"

    def test_headers_whose_names_look_the_same_to_a_shell_have_each_a_variable(
        self, world: World, receive: Receive, shell: Callable[..., "subprocess.CompletedProcess[str]"]
    ) -> None:
        server = receive(200)
        world.add(server, "crm", "--header", "X-A: 1", "--header", "X_A: 2", "--header", "X-A-2: 3")
        command = world.ark(*PROMOTED, "--curl", stdin=PAYLOAD).out
        names = re.findall(r"\$\{(HEADER_\w+)", command)
        assert len(set(names)) == len(names) == 3
        done = shell(command, ARK_SECRET=SECRET, **{name: f"value of {name}" for name in names})
        assert (done.returncode, done.stderr) == (0, "")
        (request,) = server.requests
        assert {request.headers[name] for name in ("x-a", "x_a", "x-a-2")} == {f"value of {name}" for name in names}

    def test_what_the_user_has_told_curl_changes_nothing(
        self, world: World, crm: TestReceiver, tmp_path: Path, shell: Callable[..., "subprocess.CompletedProcess[str]"]
    ) -> None:
        (tmp_path / ".curlrc").write_text('header = "X-Mine: 1"\n')
        command = world.ark(*PROMOTED, "--curl", stdin=PAYLOAD).out
        assert shell(command, ARK_SECRET=SECRET, CURL_HOME=str(tmp_path)).returncode == 0
        (request,) = crm.requests
        assert "x-mine" not in request.headers

    @pytest.mark.parametrize("harmful", ["\N{RIGHT-TO-LEFT OVERRIDE}", "\x9b2J", "\N{LINE SEPARATOR}"])
    def test_what_could_mislead_a_terminal_is_for_files_and_pipes_alone(
        self, world: World, crm: TestReceiver, tmp_path: Path, harmful: str
    ) -> None:
        payload = json.dumps({**SIGNAL, "note": f"a{harmful}b"}, ensure_ascii=False)
        file = tmp_path / "payload.json"
        file.write_text(payload, encoding="utf-8")
        shown = world.on_a_terminal(*PROMOTED, str(file), "--curl", columns=500)
        assert harmful not in shown
        assert "`ark send … --curl > send.sh`" in shown
        assert f"a{harmful}b" in world.ark(*PROMOTED, str(file), "--curl").out
        file.write_text(json.dumps(SIGNAL, indent="\t"), encoding="utf-8")
        assert "curl -q" in world.on_a_terminal(*PROMOTED, str(file), "--curl", columns=500)

    def test_what_is_missing_in_the_environment_is_named_and_nothing_is_sent(
        self, world: World, crm: TestReceiver, shell: Callable[..., "subprocess.CompletedProcess[str]"]
    ) -> None:
        done = shell(world.ark(*PROMOTED, "--curl", stdin=PAYLOAD).out)
        assert done.returncode != 0
        assert "ARK_SECRET" in done.stderr
        assert crm.connections == 0

    def test_a_failure_has_its_exit_status(
        self, world: World, receive: Receive, shell: Callable[..., "subprocess.CompletedProcess[str]"]
    ) -> None:
        world.add(receive(500), "crm")
        done = shell(world.ark(*PROMOTED, "--curl", stdin=PAYLOAD).out, ARK_SECRET=SECRET)
        assert (done.returncode, done.stdout.split()) == (22, ["500"])
        assert "500" in done.stderr

    def test_it_prints_the_status_for_curl_takes_a_redirect_for_a_success(
        self, world: World, receive: Receive, shell: Callable[..., "subprocess.CompletedProcess[str]"]
    ) -> None:
        for status in (204, 302):
            world.add(receive(status), f"d{status}")
        done = shell(world.ark(*PROMOTED, "--curl", stdin=PAYLOAD).out, ARK_SECRET=SECRET)
        assert (done.returncode, done.stdout.split()) == (0, ["204", "302"])

    def test_every_destination_has_a_command_and_one_address_needs_no_store(
        self, world: World, receive: Receive, shell: Callable[..., "subprocess.CompletedProcess[str]"]
    ) -> None:
        servers = [receive(200), receive(200)]
        url = f"{servers[0].url}?a=[1]&b='{{x}}'"
        alone = world.ark(*PROMOTED, "--url", url, "--allow-local", "--curl", stdin=PAYLOAD)
        assert alone.status == 0
        assert not world.home.exists()
        assert shell(alone.out, ARK_SECRET=SECRET).returncode == 0
        assert servers[0].requests[0].line == f"POST {url.partition(str(servers[0].port))[2]} HTTP/1.1"
        for number, server in enumerate(servers):
            world.add(server, f"d{number}")
        done = shell(world.ark(*PROMOTED, "--curl", stdin=PAYLOAD).out, ARK_SECRET=SECRET)
        assert done.returncode == 0
        assert [len(server.requests) for server in servers] == [2, 1]
